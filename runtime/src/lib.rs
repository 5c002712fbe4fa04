//! Runs Knative Services as WebAssembly components, in process.

pub mod clock;
pub mod control;
