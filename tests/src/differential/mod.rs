//! The differential test of the TCP tracker: random conversations are given both to fwx and to the
//! kernel's own tracker (`net/netfilter/nf_conntrack_proto_tcp.c`), and the verdicts are compared packet
//! by packet.
//!
//! [`converse`] makes a conversation whose ends follow TCP, from a seed; [`mutate`] spoils one;
//! [`Oracle`] asks the kernel what it lets pass; [`Observer`] says in words where a segment lies, for the
//! classes of differences. What fwx lets pass, the test asks by replay.

mod converse;
mod end;
mod mutate;
mod observer;
mod options;
mod oracle;
mod random;
mod segment;

pub use converse::converse;
pub use mutate::mutate;
pub use observer::{Observer, Place};
pub use oracle::Oracle;
pub use random::Random;
pub use segment::{Conversation, Segment, Side};
