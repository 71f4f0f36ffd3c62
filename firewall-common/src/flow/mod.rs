//! Flows: who talks to whom, since when, and in which state.

mod key;
mod state;
mod tcp;

pub use key::{FragmentKey, KeyV4, KeyV6, Oriented};
pub use state::{State, timeout_ns};
pub use tcp::{Step, advance, opens};

use bytemuck::{Pod, Zeroable};

/// Which way a packet goes within its flow.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the endpoint that began the flow.
    #[default]
    Original = 0,
    /// Towards it.
    Reply = 1,
}

impl Direction {
    /// The other way.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Reply => "reply",
        }
    }
}

/// What is kept about one direction of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Half {
    /// Packets that passed.
    pub packets: u64,
    /// Bytes of the IP packets that passed.
    pub bytes: u64,
    /// TCP: sequence number of the first byte of payload, as the SYN announced it.
    pub first_seq: u32,
    /// TCP: the last acknowledgment that the receiver of this direction sent.
    pub acked: u32,
    /// Bit set of [`Half::SEQ_KNOWN`] and [`Half::UNREAD`].
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
}

impl Half {
    /// `first_seq` was learnt from a SYN.
    pub const SEQ_KNOWN: u32 = 1;
    /// Payload passed that no filter read, since a filter read last or since the flow began.
    pub const UNREAD: u32 = 2;
}

/// One flow: the value in the flow tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// Time of the last packet that passed, or of the kill. Nanoseconds of the kernel's coarse monotonic
    /// clock.
    pub last_seen: u64,
    /// Time of the first packet.
    pub created: u64,
    /// Unique number, never 0.
    pub id: u64,
    /// Number of the event that reported the kill; 0 while the flow lives.
    pub killed_by: u64,
    /// A [`State`].
    pub state: u8,
    /// 1: the originator is the key's second endpoint.
    pub originator_is_second: u8,
    /// Protocol by the policy; 0 if it names none.
    pub protocol: u8,
    /// IP protocol.
    pub ip_protocol: u8,
    /// Interface the first packet came in on or went out by.
    pub interface: u32,
    /// Rule that let the flow in, counted from 1; 0: the default.
    pub rule: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Original direction, then reply.
    pub halves: [Half; 2],
}

impl Flow {
    /// The flow's state.
    #[inline(always)]
    pub fn state(&self) -> State {
        State::from_raw(self.state)
    }

    /// The direction of a packet whose source is the key's second endpoint or not.
    #[inline(always)]
    pub fn direction(&self, source_is_second: bool) -> Direction {
        if (self.originator_is_second != 0) == source_is_second {
            Direction::Original
        } else {
            Direction::Reply
        }
    }

    /// One direction's half.
    #[inline(always)]
    pub fn half(&mut self, direction: Direction) -> &mut Half {
        let [original, reply] = &mut self.halves;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// Whether the flow has been silent for longer than its state allows.
    #[inline(always)]
    pub fn expired(&self, now: u64) -> bool {
        // Another CPU may have seen a later packet with a later clock: the difference saturates.
        now.saturating_sub(self.last_seen) > timeout_ns(self.state())
    }
}
