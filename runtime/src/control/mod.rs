//! The control plane: the store of objects, and the controller that makes the rest follow it.

pub mod controller;
pub mod events;
mod follow;
pub mod mappings;
pub mod mirror;
pub mod naming;
pub mod observe;
pub mod publish;
pub mod queue;
pub mod readers;
pub mod resume;
pub mod revisions;
pub mod routes;
pub mod settings;
mod shared_map;
pub mod snapshot;
pub mod store;
