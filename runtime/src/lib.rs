//! Runs Knative Services as WebAssembly components, in process.

pub mod activator;
pub mod autoscaler;
pub mod base64;
pub mod body;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod image;
pub mod ingress;
pub mod inode;
pub mod logs;
pub mod node;
pub mod pool;
pub mod priority;
pub mod private;
pub mod probe;
pub mod process;
pub mod progress;
pub mod revision;
mod runtime;
pub mod source;
pub mod tasks;

pub use runtime::{ApplyError, Builder, Error, Listener, Runtime};
