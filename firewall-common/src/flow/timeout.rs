//! How long a flow may be silent.

use bytemuck::{Pod, Zeroable};

use super::State;
use crate::{bound::masked, wire::ip_protocol};

const SECOND: u64 = 1_000_000_000;

/// What a timeout is for. TCP's states have one each; so have datagrams before and after their answer.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// No timeout of its own but the shortest of all: a flow that was heard of so recently has not expired, whatever
    /// its state.
    Least = 0,
    /// [`State::SynSent`].
    SynSent = 1,
    /// [`State::SynReceived`].
    SynReceived = 2,
    /// [`State::Established`].
    Established = 3,
    /// [`State::FinWait`].
    FinWait = 4,
    /// [`State::CloseWait`].
    CloseWait = 5,
    /// [`State::LastAck`].
    LastAck = 6,
    /// [`State::TimeWait`].
    TimeWait = 7,
    /// [`State::Closed`].
    Closed = 8,
    /// [`State::Killed`]: the tombstone that later packets point back to.
    Killed = 9,
    /// UDP of which only the originator was seen.
    Udp = 10,
    /// UDP of which both ends were seen.
    UdpStream = 11,
    /// [`State::Midstream`].
    Midstream = 12,
    /// A connection whose data was not acknowledged, in place of a longer one.
    Unacknowledged = 13,
    /// ICMP echo.
    Icmp = 14,
    /// Every other protocol.
    Generic = 15,
}

impl Timeout {
    /// Every timeout and its name in policies.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::SynSent, "syn_sent"),
        (Self::SynReceived, "syn_received"),
        (Self::Established, "established"),
        (Self::FinWait, "fin_wait"),
        (Self::CloseWait, "close_wait"),
        (Self::LastAck, "last_ack"),
        (Self::TimeWait, "time_wait"),
        (Self::Closed, "close"),
        (Self::Killed, "killed"),
        (Self::Udp, "udp"),
        (Self::UdpStream, "udp_stream"),
        (Self::Midstream, "midstream"),
        (Self::Unacknowledged, "unacknowledged"),
        (Self::Icmp, "icmp"),
        (Self::Generic, "generic"),
    ];

    /// The timeout of a flow in `state`.
    #[inline(always)]
    pub const fn of(state: State, protocol: u8) -> usize {
        match state {
            State::Unreplied | State::Assured => match protocol {
                ip_protocol::UDP => state as usize,
                ip_protocol::ICMP | ip_protocol::ICMPV6 => Self::Icmp as usize,
                _ => Self::Generic as usize,
            },
            _ => state as usize,
        }
    }
}

/// All timeouts, in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Timeouts([u64; 16]);

impl Timeouts {
    /// Up to how full a table, in percent, they are whole.
    pub const WHOLE_PERCENT: u64 = 60;

    /// How many there are. A power of two, so that a mask keeps an index in bounds.
    pub const COUNT: usize = 16;

    /// How long a flow in `state` may be silent, nanoseconds.
    #[inline(always)]
    pub fn of(&self, state: State, protocol: u8) -> u64 {
        self.0[masked::<{ Self::COUNT as i32 - 1 }>(Timeout::of(state, protocol))]
    }

    /// One timeout, nanoseconds.
    #[inline(always)]
    pub const fn get(&self, timeout: Timeout) -> u64 {
        self.0[timeout as usize & (Self::COUNT - 1)]
    }

    /// Sets one timeout, nanoseconds, other than [`Timeout::Least`], which follows.
    pub fn set(&mut self, timeout: Timeout, nanoseconds: u64) {
        self.0[timeout as usize & (Self::COUNT - 1)] = nanoseconds;
        self.note_least();
    }

    fn note_least(&mut self) {
        let [least, timeouts @ ..] = &mut self.0;
        *least = timeouts.iter().copied().min().unwrap_or(0);
    }

    /// These timeouts in a table that holds `flows` of at most `max`: whole up to 60 %, from there
    /// shorter in proportion to the room that is left, as pf does it between `adaptive.start` and
    /// `adaptive.end` (pf.conf(5)). None becomes shorter than a minute unless it was so before, so that
    /// what still talks stays.
    #[must_use]
    pub fn shortened(&self, flows: u64, max: u64) -> Self {
        const LEAST: u64 = 60 * SECOND;
        let begin = max * Self::WHOLE_PERCENT / 100;
        if flows <= begin || max == 0 {
            return *self;
        }
        let (left, span) = (max.saturating_sub(flows), max - begin);
        Self(self.0.map(|whole| {
            let scaled = u128::from(whole) * u128::from(left) / u128::from(span);
            u64::try_from(scaled).unwrap_or(whole).max(whole.min(LEAST))
        }))
    }
}

/// The defaults of the kernel's tracker (`nf_conntrack_proto_tcp.c`, `nf_conntrack_proto_udp.c`,
/// `nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_generic.c`). A tombstone stays as long as TIME_WAIT.
impl Default for Timeouts {
    fn default() -> Self {
        let mut timeouts = Self([0; Self::COUNT]);
        for (timeout, seconds) in [
            (Timeout::SynSent, 120),
            (Timeout::SynReceived, 60),
            (Timeout::Established, 5 * 24 * 3600),
            (Timeout::FinWait, 120),
            (Timeout::CloseWait, 60),
            (Timeout::LastAck, 30),
            (Timeout::TimeWait, 120),
            (Timeout::Closed, 10),
            (Timeout::Killed, 120),
            (Timeout::Udp, 30),
            (Timeout::UdpStream, 120),
            (Timeout::Midstream, 300),
            (Timeout::Unacknowledged, 300),
            (Timeout::Icmp, 30),
            (Timeout::Generic, 600),
        ] {
            timeouts.set(timeout, seconds * SECOND);
        }
        timeouts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_timeout() {
        let timeouts = Timeouts::default();
        for raw in 1..=State::Midstream as u8 {
            for protocol in [ip_protocol::TCP, ip_protocol::UDP, ip_protocol::ICMP, 132] {
                assert!(timeouts.of(State::from_raw(raw), protocol) > 0, "{raw} {protocol}");
            }
        }
        assert_eq!(timeouts.of(State::Assured, ip_protocol::UDP), 120 * SECOND);
        assert_eq!(timeouts.of(State::Assured, 132), 600 * SECOND);
    }

    #[test]
    fn the_shortest_of_all_follows_the_others() {
        let mut timeouts = Timeouts::default();
        assert_eq!(timeouts.get(Timeout::Least), timeouts.get(Timeout::Closed));
        timeouts.set(Timeout::Udp, 2 * SECOND);
        assert_eq!(timeouts.get(Timeout::Least), 2 * SECOND);
        timeouts.set(Timeout::Udp, 30 * SECOND);
        assert_eq!(timeouts.get(Timeout::Least), 10 * SECOND);
        for flows in 0..=1000 {
            let shortened = timeouts.shortened(flows, 1000);
            let least = Timeout::ALL.map(|(timeout, _)| shortened.get(timeout)).into_iter().min();
            assert_eq!(Some(shortened.get(Timeout::Least)), least, "{flows}");
        }
    }

    #[test]
    fn a_table_that_fills_shortens_them() {
        let whole = Timeouts::default();
        assert_eq!(whole.shortened(600, 1000), whole);
        assert_eq!(whole.shortened(0, 0), whole);
        let half = whole.shortened(800, 1000);
        assert_eq!(half.get(Timeout::Established), whole.get(Timeout::Established) / 2);
        assert_eq!(half.get(Timeout::FinWait), 60 * SECOND);
        assert_eq!(half.get(Timeout::Closed), 10 * SECOND, "already short");
        let full = whole.shortened(1000, 1000);
        assert_eq!(full.get(Timeout::Established), 60 * SECOND);
        assert_eq!(whole.shortened(1001, 1000), full);
    }
}
