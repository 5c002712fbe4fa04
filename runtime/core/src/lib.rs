//! The decisions of `serve`, as pure functions over plain data.
//!
//! Input: API objects, observed facts, the time and random numbers, all as arguments. Output: the
//! objects, statuses, route tables and scale decisions that follow. Nothing here reads a clock, a
//! file or a socket, starts a task, takes a lock or writes a log line.

pub mod api;
pub mod conditions;
pub mod keys;
pub mod kind;
pub mod meta;
pub mod object;
pub mod time;
