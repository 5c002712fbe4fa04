//! What a revision runs: bytes from a file, a build or a registry become a component.
//!
//! `componentize` turns WAT, core modules and components into component bytes; `store` keeps bytes
//! by digest. What comes out goes to [`crate::engine::Engine::prepare`].

pub mod componentize;
pub mod images;
pub mod reference;
pub mod store;

pub use componentize::{Error, Options, componentize, componentize_with};
pub use images::Images;
pub use store::{Digest, Store};
