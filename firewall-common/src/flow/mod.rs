//! Flows: who talks to whom, since when, and in which state.

mod alias;
mod change;
mod key;
mod passage;
mod state;
mod tcp;
#[cfg(test)]
mod tests;
mod timeout;
mod window;

pub use alias::Alias;
pub use change::Change;
pub use key::{FragmentKey, KeyV4, KeyV6, Oriented, sides_of};
pub use passage::{FRESH_TICKS, Passage};
pub use state::State;
pub use tcp::{
    PassedSyn, Step, expected, judge, moves_on, note, note_first_syn, note_refused, opens, renew,
    renewed_by,
};
pub use timeout::{Timeout, Timeouts};
pub use window::{Fault, Half, Segment, after, before};

use bytemuck::{Pod, Zeroable};
use window::sides;

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

/// What passed of a flow in one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes of the IP packets.
    pub bytes: u64,
}

/// One flow: the value in the flow tables.
///
/// 128 bytes. With the kernel's 48 of an element's head and 16 of an IPv4 key the value begins on a cache line
/// of its own, and the first half of it is all that a packet of an established connection is judged by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flow {
    /// Time of the last packet that passed, or of the kill. Nanoseconds of the kernel's coarse monotonic
    /// clock.
    pub last_seen: u64,
    /// Unique number, never 0.
    pub id: u64,
    /// A [`State`]. Together with the next two one word, which a compare-exchange changes.
    pub state: u8,
    /// 1: the originator is the key's second endpoint.
    pub originator_is_second: u8,
    /// Number of the rule that let the flow in, or the connection that announced it; 0: the default.
    pub rule: u16,
    /// Number of the protocol by the policy; 0 if it names none.
    pub protocol: u16,
    /// IP protocol.
    pub ip_protocol: u8,
    /// Bit set of [`Flow::ADOPTED`] and the like.
    pub flags: u8,
    /// TCP: what the originator said, then the responder.
    pub halves: [Half; 2],
    /// TCP: a SYN that passed and changed nothing.
    pub passed_syn: PassedSyn,

    /// Original direction, then reply.
    pub tallies: [Tally; 2],
    /// Time of the first packet.
    pub created: u64,
    /// While it lives: the key of the [session](crate::filter::pinhole::Session) that let it in, 0 if none did. Once it
    /// was killed: [`killed_by`](Self::killed_by), which is written before the state.
    pub kin: u64,
    /// TCP: sequence number of each stream's first byte of payload, as the SYN announced it.
    pub first_seq: [u32; 2],
    /// Interface the first packet came in on or went out by; 0: the flow was taken over, and nobody knows.
    pub interface: u32,
    /// How its packets were last seen to cross the machine.
    pub passage: Passage,
}

const _: () = assert!(size_of::<Flow>() == 128 && core::mem::offset_of!(Flow, tallies) == 64);

impl Flow {
    /// The flow's beginning was not seen: it was there when the firewall was switched on, or its prefix is
    /// asymmetric.
    pub const ADOPTED: u8 = 1;
    /// The kernel translates its addresses: it has an alias.
    pub const TRANSLATED: u8 = 2;
    /// Another connection announced it, see [`crate::filter::pinhole`].
    pub const CHILD: u8 = 4;
    /// The rule that let it in asked for no events: [`Terms::QUIET`](crate::classifier::Terms::QUIET).
    pub const QUIET: u8 = 8;
    /// It was refused before it began, and stands for what answers it.
    pub const REFUSED: u8 = 16;

    /// It lies in a table that may push it out at any time: its packets are counted for its rule with each packet
    /// and not by what it has counted itself, see [`crate::tally`].
    pub const COUNTED_APART: u8 = 128;
    /// Flags of flows whose every packet has to be looked at.
    pub const LOOKED_AT: u8 = Self::CHILD | Self::COUNTED_APART;

    /// Whether another connection announced it.
    #[inline(always)]
    pub const fn is_child(&self) -> bool {
        self.flags & Self::CHILD != 0
    }

    /// Whether what it counts does not count for its rule.
    #[inline(always)]
    pub const fn is_counted_apart(&self) -> bool {
        self.flags & Self::COUNTED_APART != 0
    }

    /// Whether its rule asked for no events.
    #[inline(always)]
    pub const fn is_quiet(&self) -> bool {
        self.flags & Self::QUIET != 0
    }

    /// The flow's state.
    #[inline(always)]
    pub const fn state(&self) -> State {
        State::from_raw(self.state)
    }

    /// Number of the event that reported the kill; 0 while the flow lives.
    #[inline(always)]
    pub const fn killed_by(&self) -> u64 {
        if matches!(self.state(), State::Killed) { self.kin } else { 0 }
    }

    /// The direction of a packet whose source is the key's second endpoint or not.
    #[inline(always)]
    pub const fn direction(&self, source_is_second: bool) -> Direction {
        if (self.originator_is_second != 0) == source_is_second {
            Direction::Original
        } else {
            Direction::Reply
        }
    }

    /// One direction's half.
    #[inline(always)]
    pub const fn half(&mut self, direction: Direction) -> &mut Half {
        let (sender, _) = sides(&mut self.halves, direction);
        sender
    }

    /// The halves of a packet's sender and receiver.
    #[inline(always)]
    pub const fn sides(&self, direction: Direction) -> (&Half, &Half) {
        let [original, reply] = &self.halves;
        match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        }
    }

    /// Sequence number of the first byte of payload that goes in `direction`.
    ///
    /// No index: that the direction is one of two is nothing that the verifier believes.
    #[inline(always)]
    pub const fn first_seq_of(&self, direction: Direction) -> u32 {
        let [original, reply] = self.first_seq;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// Counts a packet that passes.
    #[inline(always)]
    pub const fn count(&mut self, direction: Direction, bytes: u32) {
        let [original, reply] = &mut self.tallies;
        let tally = match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        };
        tally.packets += 1;
        tally.bytes += bytes as u64;
    }

    /// Takes back what [`count`](Self::count) counted: the packet does not pass after all.
    #[inline(always)]
    pub const fn take_back(&mut self, direction: Direction, bytes: u32) {
        let [original, reply] = &mut self.tallies;
        let tally = match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        };
        tally.packets = tally.packets.saturating_sub(1);
        tally.bytes = tally.bytes.saturating_sub(bytes as u64);
    }

    /// Whether the flow has been silent for longer than its state allows.
    #[inline(always)]
    pub fn expired(&self, now: u64, timeouts: &Timeouts) -> bool {
        // Nearly every packet.
        if now <= self.last_seen.wrapping_add(timeouts.get(Timeout::Least)) {
            return false;
        }
        // Another CPU may have seen a later packet with a later clock: the difference saturates.
        let silent = now.saturating_sub(self.last_seen);
        let state = self.state();
        if silent <= timeouts.get(Timeout::Unacknowledged) {
            return silent > timeouts.of(state, self.ip_protocol);
        }
        silent > timeouts.of(state, self.ip_protocol)
            || matches!(state, State::Established) && self.awaits_acknowledgment()
    }

    /// Whether one of the ends sent what the other has not acknowledged.
    const fn awaits_acknowledgment(&self) -> bool {
        let [original, reply] = &self.halves;
        let unknown = Half::LEARNING | Half::UNJUDGED;
        (original.flags | reply.flags) & unknown == 0
            && (window::before(reply.acked, original.end)
                || window::before(original.acked, reply.end))
    }
}
