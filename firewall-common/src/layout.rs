//! What lies in the kernel's tables besides flows and policy, and the version of it all.

use bytemuck::{Pod, Zeroable};

/// Version of every type that lives in a pinned map. It is part of the pins' path: raise it with any change
/// to a map's key, value or meaning, and a new controller will not adopt tables that it would misread.
pub const VERSION: u32 = 1;

/// Most filters that can be loaded, number 0 ("none") included.
pub const FILTERS_MAX: usize = 16;
/// Most interfaces at once.
pub const INTERFACES_MAX: usize = 256;

/// The kernel's counters beside those of [`crate::reason::Reason`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Packets that came in.
    IngressPackets = 0,
    /// Bytes of the frames that came in.
    IngressBytes = 1,
    /// Packets that went out.
    EgressPackets = 2,
    /// Bytes of the frames that went out.
    EgressBytes = 3,
    /// Events that found no room in their ring.
    EventsLost = 4,
    /// Drop events held back by their rate limit.
    EventsSuppressed = 5,
    /// Segments that a filter read.
    FilterSegments = 6,
    /// Flows that began.
    FlowsOpened = 7,
    /// Segments that a filter in monitor mode should have read and could not.
    PassedUnread = 8,
    /// Events that nobody listened to, because no controller ran.
    EventsUnheard = 9,
}

impl Counter {
    /// Length of the counter array.
    pub const COUNT: usize = 10;
}

/// What a filter did on one protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FilterCounters {
    /// Segments read.
    pub segments: u64,
    /// Findings, those that killed included.
    pub findings: u64,
    /// Connections killed.
    pub kills: u64,
    /// Segments held back to be repeated in order.
    pub held: u64,
}

/// Where a program runs.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// A packet comes in from the wire.
    #[default]
    Ingress = 0,
    /// A packet goes out to the wire.
    Egress = 1,
}

/// In replay: what the program takes from here instead of from the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ReplayInput {
    /// The packet's own time, nanoseconds.
    pub now: u64,
    /// Interface that it is taken to come in on.
    pub interface: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// In replay: what the program says about the packet it has just judged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ReplayOutput {
    /// Number of the flow; 0: none.
    pub flow_id: u64,
    /// A [`Verdict`].
    pub verdict: u8,
    /// Index of a [`crate::reason::Reason`].
    pub reason: u8,
    /// A [`crate::flow::State`].
    pub state: u8,
    /// A [`crate::flow::Direction`].
    pub direction: u8,
    /// Must be 0.
    pub reserved: u32,
}

/// What becomes of a packet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on its way.
    #[default]
    Pass = 0,
    /// It is dropped.
    Drop = 1,
    /// It became a RST, towards its receiver or back to its sender.
    Reset = 2,
}

impl Verdict {
    /// The verdict that `raw` stands for.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Pass),
            1 => Some(Self::Drop),
            2 => Some(Self::Reset),
            _ => None,
        }
    }

    /// The name in replay.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reset => "reset",
        }
    }
}
