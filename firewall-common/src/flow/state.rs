//! The states of a flow.

use crate::wire::{Packet, tcp_flags};

/// State of a flow. TCP's follow RFC 9293 §3.3.2 as an observer between the ends sees them, with the names
/// of the kernel's own tracker (`nf_conntrack_proto_tcp.c`).
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// No state: the packet belongs to no flow.
    #[default]
    None = 0,
    /// TCP: the originator sent its SYN.
    SynSent = 1,
    /// TCP: the responder answered with SYN and ACK.
    SynReceived = 2,
    /// TCP: the handshake is complete.
    Established = 3,
    /// TCP: one end closed its side, and the other has not acknowledged it yet.
    FinWait = 4,
    /// TCP: one end closed its side, which the other acknowledged: the connection is half closed.
    CloseWait = 5,
    /// TCP: both ends closed, and not both have been acknowledged.
    LastAck = 6,
    /// TCP: both ends closed, in order.
    TimeWait = 7,
    /// TCP: reset by one of the ends.
    Closed = 8,
    /// Killed by a filter or an administrator: the tombstone that later packets point back to.
    Killed = 9,
    /// Not TCP: only the originator was seen.
    Unreplied = 10,
    /// Not TCP: both ends were seen.
    Assured = 11,
    /// TCP: a connection whose beginning was not seen, and of it one direction so far.
    Midstream = 12,
    /// No flow of its own: another name of one, see [`super::Alias`].
    Alias = 13,
}

impl State {
    /// The state that `raw` stands for; anything unknown is [`State::None`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        if raw > Self::Alias as u8 {
            return Self::None;
        }
        // SAFETY: states are numbered from None, 0, to Alias without a gap, and have this representation.
        unsafe { core::mem::transmute::<u8, Self>(raw) }
    }

    /// The name in replay and `fwx conn`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSE",
            Self::Killed => "KILLED",
            Self::Unreplied => "UNREPLIED",
            Self::Assured => "ASSURED",
            Self::Midstream => "MIDSTREAM",
            Self::Alias => "ALIAS",
        }
    }

    /// Whether the flow has no answer yet and therefore lives in the table that a flood may churn.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Unreplied | Self::Midstream)
    }

    /// Whether both ends took part. A flow that a closed port answered with a RST did not come about: it
    /// stays where a scan of closed ports can only churn itself.
    #[inline(always)]
    pub const fn is_completed(self) -> bool {
        matches!(
            self,
            Self::Established
                | Self::FinWait
                | Self::CloseWait
                | Self::LastAck
                | Self::TimeWait
                | Self::Assured
        )
    }

    /// Whether the flow is over, so that a new SYN begins another one.
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Closed | Self::Killed)
    }

    /// Whether a segment's receiver discards its payload in this state of the connection: that of a RST, and that of a
    /// SYN once the connection stands (RFC 9293 §3.10.7.4). A filter that read it would take what really comes for a
    /// repetition.
    #[inline(always)]
    pub const fn discards_payload(self, packet: &Packet) -> bool {
        packet.flags & tcp_flags::RST != 0
            || packet.flags & tcp_flags::SYN != 0 && !self.is_half_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_come_back() {
        for raw in 0..=13 {
            assert_eq!(State::from_raw(raw) as u8, raw);
        }
        assert_eq!(State::from_raw(14), State::None);
        assert_eq!(State::from_raw(255), State::None);
    }

    #[test]
    fn what_a_receiver_discards_no_filter_is_to_read() {
        use tcp_flags::{ACK, RST, SYN};
        for (state, flags, discarded) in [
            (State::SynSent, SYN, false),
            (State::SynReceived, SYN | ACK, false),
            (State::Established, SYN, true),
            (State::Established, ACK, false),
            (State::SynReceived, RST, true),
            (State::Established, RST | ACK, true),
        ] {
            let packet = Packet { flags, ..Packet::default() };
            assert_eq!(state.discards_payload(&packet), discarded, "{state:?} {flags:#x}");
        }
    }
}
