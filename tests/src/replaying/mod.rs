//! Replay tests: frames go through the firewall's own programs by the kernel's test-run, and each table
//! says what a frame shows and what must become of it.
//!
//! A [`Rig`] holds the loaded programs. Whatever a test sends, the rig checks what must hold for every
//! packet: a drop has a reason, that reason's counter rose by one, and no other counter of drops moved.

mod conversation;
mod expect;
mod family;
mod pool;
mod rig;
mod rtsp;

pub use conversation::{Conversation, Start};
pub use expect::{Expected, drops, passes, rejects, resets};
pub use family::{FAMILIES, Family, with_partial_checksum};
pub use rig::{Rig, STEP_NS};
pub use rtsp::{
    DESCRIBE, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ, RTSP_PORT, RTSP_PROTOCOL, rtsp_policy,
};
