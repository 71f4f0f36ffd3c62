//! Events on disk: the last of them, up to a number of bytes.
//!
//! They are lines of JSON with the packets in them, in files of which the oldest is removed when there is no room. What
//! does not come in masses, kills and what the controller says, is in files of its own besides, so that a flood of drops
//! does not take them with it: where a file with all events is gone, the one with those is read.
//!
//! Whoever writes them is a reader of the hub like any other: a disk that is slow or full costs it events, which are
//! counted, and holds up nobody.

mod keeper;
mod lookback;
mod on_disk;
mod reading;
mod segments;
mod series;
#[cfg(test)]
mod tests;
mod writer;

pub use keeper::Keeper;
pub(crate) use lookback::{Kept, Lookback, Meant, Stored};
pub use on_disk::OnDisk;
pub use segments::Segments;
