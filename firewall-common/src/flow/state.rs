//! The states of a flow and how long each may be silent.

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
    /// TCP: the originator closed its side.
    FinWait = 4,
    /// TCP: the responder closed its side.
    CloseWait = 5,
    /// TCP: both sides closed, in order.
    TimeWait = 6,
    /// TCP: reset by one of the ends.
    Closed = 7,
    /// Killed by a filter or an administrator: the tombstone that later packets point back to.
    Killed = 8,
    /// Not TCP: only the originator was seen.
    Unreplied = 9,
    /// Not TCP: both ends were seen.
    Assured = 10,
}

impl State {
    /// The state that `raw` stands for; anything unknown is [`State::None`].
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::Killed,
            9 => Self::Unreplied,
            10 => Self::Assured,
            _ => Self::None,
        }
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
            Self::TimeWait => "TIME_WAIT",
            Self::Closed => "CLOSE",
            Self::Killed => "KILLED",
            Self::Unreplied => "UNREPLIED",
            Self::Assured => "ASSURED",
        }
    }

    /// Whether the flow has no answer yet and therefore lives in the table that a flood may churn.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived | Self::Unreplied)
    }

    /// Whether both ends took part. A flow that a closed port answered with a RST did not come about: it
    /// stays where a scan of closed ports can only churn itself.
    #[inline(always)]
    pub const fn is_completed(self) -> bool {
        matches!(
            self,
            Self::Established | Self::FinWait | Self::CloseWait | Self::TimeWait | Self::Assured
        )
    }

    /// Whether the flow is over, so that a new SYN begins another one.
    #[inline(always)]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Closed | Self::Killed)
    }
}

const SECOND: u64 = 1_000_000_000;

/// How long a flow in `state` may be silent, in nanoseconds. The defaults of the kernel's tracker
/// (`nf_conntrack_proto_tcp.c`, `nf_conntrack_proto_udp.c`); a tombstone stays as long as TIME_WAIT.
#[inline(always)]
pub const fn timeout_ns(state: State) -> u64 {
    let seconds = match state {
        State::None => 0,
        State::SynSent | State::FinWait | State::TimeWait | State::Killed => 120,
        State::SynReceived | State::CloseWait => 60,
        State::Established => 5 * 24 * 3600,
        State::Closed => 10,
        State::Unreplied => 30,
        State::Assured => 120,
    };
    seconds * SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_values_come_back() {
        for raw in 0..=10 {
            assert_eq!(State::from_raw(raw) as u8, raw);
        }
        assert_eq!(State::from_raw(11), State::None);
        assert_eq!(State::from_raw(255), State::None);
    }
}
