//! The decisions of `serve`, as pure functions over plain data.
//!
//! Input: API objects, observed facts, the time and random numbers, all as arguments. Output: the
//! objects, statuses, route tables and scale decisions that follow. Nothing here reads a clock, a
//! file or a socket, starts a task, takes a lock or writes a log line.

pub mod api;
pub mod autoscale;
pub mod breaker;
pub mod conditions;
pub mod cpu;
pub mod duration;
pub mod field_error;
pub mod forwarded;
pub mod image_reference;
pub mod keys;
pub mod kind;
pub mod meta;
pub mod names;
pub mod node;
pub mod object;
pub mod pace;
pub mod probe;
pub mod quantity;
pub mod reconcile;
pub mod replicas;
pub mod resources;
pub mod settings;
mod text;
pub mod time;
pub mod traffic;
pub mod turns;
