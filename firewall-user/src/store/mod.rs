//! Events on disk: the last of them, up to a number of bytes.
//!
//! They are lines of JSON with the packets in them, in files of which the oldest is removed when there is no room.
//! Whoever writes them is a reader of the hub like any other: a disk that is slow or full costs it events, which are
//! counted, and holds up nobody.

mod keeper;
mod lookback;
mod on_disk;
mod segments;
mod writer;

pub use keeper::Keeper;
pub(crate) use lookback::{Lookback, Meant, Stored};
pub use on_disk::OnDisk;
pub use segments::Segments;
