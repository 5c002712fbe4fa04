//! The control plane: the store of objects, and the controller that makes the rest follow it.

pub mod store;
