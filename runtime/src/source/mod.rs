//! Where objects come from when they come from files.

pub mod allowed;
pub mod decode;
pub mod files;
pub mod ko;
pub mod manifest;
pub mod resolve;
#[cfg(feature = "watch")]
pub mod watch;
