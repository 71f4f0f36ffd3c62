//! What the fuzz targets share: from any bytes to a conversation, and what must hold of every filter that
//! reads it.
//!
//! A filter's target is one line, see `fuzz_targets/rtsp.rs`. Its seeds are conversations that people can
//! read, `corpus/NAME/*.txt`; [`conversation`] says how they are written.

mod address;
mod conversation;
mod delivery;
mod watched;
mod wire;

pub use address::address;
pub use delivery::filter;
pub use wire::wire;
