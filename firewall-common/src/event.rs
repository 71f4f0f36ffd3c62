//! Events: what the kernel tells user space about one packet.

use bytemuck::{Pod, Zeroable};

use crate::{layout::FILTERS_MAX, reason::Reason};

/// What happened.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A flow began.
    ConnectionOpened = 1,
    /// A flow ended by its own ends.
    ConnectionClosed = 2,
    /// A filter or an administrator ended a flow.
    ConnectionKilled = 3,
    /// A packet was refused.
    PacketDropped = 4,
    /// A filter found something that is only reported.
    FilterFinding = 5,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::ConnectionOpened,
        Self::ConnectionClosed,
        Self::ConnectionKilled,
        Self::PacketDropped,
        Self::FilterFinding,
    ];

    /// The kind that `raw` stands for.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::ConnectionOpened),
            2 => Some(Self::ConnectionClosed),
            3 => Some(Self::ConnectionKilled),
            4 => Some(Self::PacketDropped),
            5 => Some(Self::FilterFinding),
            _ => None,
        }
    }

    /// Whether a rule can ask for events of this kind not to be made: of what it decides and lets in, and not of what
    /// a filter or an administrator does about it.
    #[inline(always)]
    pub const fn may_be_quiet(self) -> bool {
        matches!(self, Self::ConnectionOpened | Self::ConnectionClosed | Self::PacketDropped)
    }

    /// The name in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionOpened => "connection_opened",
            Self::ConnectionClosed => "connection_closed",
            Self::ConnectionKilled => "connection_killed",
            Self::PacketDropped => "packet_dropped",
            Self::FilterFinding => "filter_finding",
        }
    }
}

/// Most bytes of payload that a finding quotes.
pub const EXCERPT_MAX: usize = 64;
/// Most bytes of the packet that follow a record in the ring.
pub const SNAP_MAX: usize = 128;

/// One record of the ring. The first [`Record::captured`] bytes of the packet follow it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Record {
    /// Nanoseconds of the kernel's monotonic clock; in replay, of the capture.
    pub timestamp: u64,
    /// Unique number of this event.
    pub id: u64,
    /// Number of the flow; 0: none.
    pub flow_id: u64,
    /// Number of the kill event that explains a drop; 0: none.
    pub caused_by: u64,
    /// Number of the flow that announced this one; 0: none did.
    pub parent: u64,
    /// Events that the rate limit held back since the last one on this CPU: of this reason, or of this finding if it is
    /// one.
    pub suppressed: u64,
    /// Finding: offset in the stream of this direction.
    pub offset: u64,
    /// When the flow began that this event ends: [`Flow::created`](crate::flow::Flow::created), by the coarse monotonic
    /// clock, which lags a few milliseconds behind that of `timestamp`. 0: it ends none, and the next two fields mean nothing.
    pub started: u64,
    /// Packets of that flow that passed, and the one that ended it: in the original direction, in that of the reply.
    pub packets: [u64; 2],
    /// Bytes of their IP packets, likewise.
    pub bytes: [u64; 2],
    /// Source address, in network byte order; an IPv4 address takes the first word.
    pub source: [u32; 4],
    /// Destination address, likewise.
    pub destination: [u32; 4],
    /// What a refused TCP segment should have had: the first and the last number, see
    /// [`crate::flow::expected`].
    pub expected: [u32; 2],
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgment number.
    pub ack: u32,
    /// Interface index.
    pub interface: u32,
    /// Number of the rule that let the flow in; 0: the default.
    pub rule: u32,
    /// Source port in host order.
    pub source_port: u16,
    /// Destination port in host order.
    pub destination_port: u16,
    /// TCP window, unscaled.
    pub window: u16,
    /// Code of the finding within its filter.
    pub finding: u16,
    /// An [`EventKind`].
    pub kind: u8,
    /// Index of a [`crate::reason::Reason`].
    pub reason: u8,
    /// A [`crate::flow::Direction`].
    pub direction: u8,
    /// 4 or 6; 0: the packet could not be parsed.
    pub version: u8,
    /// IP protocol.
    pub ip_protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// What the packet begins with: [`Record::ETHERNET`] or [`Record::IP`].
    pub link: u8,
    /// Number of the filter; 0: none took part.
    pub filter: u8,
    /// The filter's [`crate::policy::Mode`].
    pub mode: u8,
    /// The filter's [`crate::policy::Profile`].
    pub profile: u8,
    /// Bytes of `excerpt` in use.
    pub excerpt_len: u8,
    /// A [`crate::flow::State`].
    pub state: u8,
    /// A [`crate::flow::Fault`]: what `expected` is about.
    pub fault: u8,
    /// ICMP: its type.
    pub icmp_type: u8,
    /// Bit set of the flow's [`crate::flow::Flow::ADOPTED`] and the like.
    pub flow_flags: u16,
    /// Bytes that the packet's frame has on the wire; 0: the event is about no packet, but about a flow.
    pub length: u32,
    /// Bytes of the packet that follow this record: at most [`SNAP_MAX`].
    pub captured: u16,
    /// Number of the protocol by the policy; 0: none.
    pub protocol: u16,
    /// What the finding objects to.
    pub excerpt: [u8; EXCERPT_MAX],
}

/// What a flow knows, and what else an event says, is filled in by the caller; this is the packet's part, and what a flow
/// came to.
impl Record {
    /// The packet begins with a header of Ethernet.
    pub const ETHERNET: u8 = 0;
    /// The packet begins with its IP header.
    pub const IP: u8 = 1;

    /// Copies what a flow that ends has come to.
    #[inline(always)]
    pub fn sum_up(&mut self, flow: &crate::flow::Flow) {
        let [original, reply] = &flow.tallies;
        self.started = flow.created;
        self.packets = [original.packets, reply.packets];
        self.bytes = [original.bytes, reply.bytes];
    }

    /// Copies what the packet says about itself.
    #[inline(always)]
    pub fn describe(&mut self, packet: &crate::wire::Packet) {
        self.source = packet.source;
        self.destination = packet.destination;
        self.seq = packet.seq;
        self.ack = packet.ack;
        self.source_port = packet.source_port;
        self.destination_port = packet.destination_port;
        self.window = packet.window;
        self.version = packet.version;
        self.ip_protocol = packet.protocol;
        self.tcp_flags = packet.flags;
        self.icmp_type = packet.icmp_type;
    }
}

/// The rings that events go through: one of each for a CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ring {
    /// Kills alone, so that nothing else takes their room.
    Kills = 0,
    /// Everything else.
    Events = 1,
}

impl Ring {
    /// Every ring.
    pub const ALL: [Self; 2] = [Self::Kills, Self::Events];

    /// The name in events and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::Events => "events",
        }
    }

    /// Where the table of what went untold has a reason of this ring.
    #[inline(always)]
    pub const fn untold_index(self, reason: u8) -> u32 {
        self as u32 * Reason::COUNT as u32 + reason as u32
    }
}

/// Events of one ring and reason that were made, or would have been, and that nobody got to read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Untold {
    /// Held back by the rate limit.
    pub held_back: u64,
    /// Lost: the ring had no room.
    pub lost: u64,
    /// No controller was there to hear them.
    pub unheard: u64,
}

impl Untold {
    /// Length of their table, see [`Ring::untold_index`].
    pub const COUNT: usize = Ring::ALL.len() * Reason::COUNT;

    /// Whether nothing went untold.
    pub const fn is_nothing(&self) -> bool {
        self.held_back == 0 && self.lost == 0 && self.unheard == 0
    }
}

/// Findings of a filter: most codes that it may have.
const FINDINGS_MAX: usize = u32::BITS as usize;
/// Rate limits of findings, see [`finding_bucket`].
pub const FINDING_BUCKETS_MAX: usize = FILTERS_MAX * FINDINGS_MAX;

/// Which rate limit the finding `code` of a filter has.
#[inline(always)]
pub const fn finding_bucket(filter: u8, code: u16) -> u32 {
    filter as u32 * FINDINGS_MAX as u32 + code as u32
}

/// A token bucket that keeps events of one reason, or of one finding, from filling the ring: [`Bucket::RATE`] a second
/// with bursts of [`Bucket::BURST`], for each CPU. Counters stay exact; what it holds back is counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Bucket {
    /// Time of the last refill, nanoseconds.
    pub refilled: u64,
    /// Tokens used since the bucket was full. Counted down so that all zeros is a full bucket.
    pub used: u64,
    /// Events held back since the last that passed.
    pub suppressed: u64,
}

impl Bucket {
    /// Events a second.
    pub const RATE: u64 = 200;
    /// Events at once.
    pub const BURST: u64 = 200;

    /// Asks to send one event at `now` (nanoseconds). `Some(n)`: send it, and say that `n` before it were
    /// not sent.
    #[inline(always)]
    pub fn admit(&mut self, now: u64) -> Option<u64> {
        const INTERVAL: u64 = 1_000_000_000 / Bucket::RATE;
        let elapsed = now.saturating_sub(self.refilled);
        // A flood asks far more often: it is spared the division.
        if elapsed >= INTERVAL {
            self.used = self.used.saturating_sub(elapsed / INTERVAL);
            self.refilled = now;
        }
        if self.used >= Self::BURST {
            self.suppressed += 1;
            return None;
        }
        self.used += 1;
        let suppressed = self.suppressed;
        self.suppressed = 0;
        Some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_pass_and_counts_the_rest() {
        let mut bucket = Bucket::default();
        let now = 5_000_000_000;
        let passed = (0..1000).filter(|_| bucket.admit(now).is_some()).count();
        assert_eq!(passed as u64, Bucket::BURST);
        assert_eq!(bucket.admit(now + 1_000_000_000 / Bucket::RATE), Some(1000 - Bucket::BURST));
        assert_eq!(bucket.suppressed, 0);
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut bucket = Bucket { refilled: 100, used: Bucket::BURST, suppressed: 3 };
        assert_eq!(bucket.admit(50), None);
        assert_eq!(bucket.suppressed, 4);
    }

    #[test]
    fn everything_untold_is_counted_in_a_place_of_its_own() {
        let mut places: Vec<_> = Ring::ALL
            .into_iter()
            .flat_map(|ring| Reason::ALL.iter().map(move |reason| ring.untold_index(*reason as u8)))
            .collect();
        assert!(places.iter().all(|place| (*place as usize) < Untold::COUNT));
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), Untold::COUNT);
    }

    #[test]
    fn every_finding_has_a_bucket_of_its_own() {
        let mut buckets: Vec<_> = (0..FILTERS_MAX as u8)
            .flat_map(|filter| {
                (0..FINDINGS_MAX as u16).map(move |code| finding_bucket(filter, code))
            })
            .collect();
        assert!(buckets.iter().all(|bucket| (*bucket as usize) < FINDING_BUCKETS_MAX));
        buckets.sort_unstable();
        buckets.dedup();
        assert_eq!(buckets.len(), FINDING_BUCKETS_MAX);
    }
}
