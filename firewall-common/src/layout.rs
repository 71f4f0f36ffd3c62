//! What lies in the kernel's tables besides flows and policy, and the version of it all.

use bytemuck::{Pod, Zeroable};

/// Version of every type that lives in a pinned map. It is part of the pins' path: raise it with any change
/// to a map's key, value or meaning, and a new controller will not adopt tables that it would misread.
pub const VERSION: u32 = 8;

/// Most filters that can be loaded, number 0 ("none") included.
pub const FILTERS_MAX: usize = 16;
/// Most interfaces at once.
pub const INTERFACES_MAX: usize = 256;

/// Most connections at once that filters read.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Most sessions at once that pinholes belong to.
pub const SESSIONS_MAX: usize = 131_072;
/// Most pinholes at once.
pub const PINHOLES_MAX: usize = 65_536;

/// How many packets on their way through the machine are noted at once, see [`crate::crossing`]. A power of
/// two.
pub const CROSSINGS_MAX: u32 = 4096;

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
    /// Segments that a filter read.
    FilterSegments = 4,
    /// Flows that began.
    FlowsOpened = 5,
    /// Segments that a filter in monitor mode should have read and could not.
    PassedUnread = 6,
    /// Flows that got their answer, or that were taken over.
    FlowsCompleted = 7,
    /// Flows that were taken out of the table of those with an answer.
    FlowsRemoved = 8,
    /// SYNs that were answered by a challenge.
    SynsChallenged = 9,
    /// Sources that answered a challenge.
    SourcesAuthenticated = 10,
    /// Segments of no known connection that the policy lets begin one.
    FlowsAdopted = 11,
    /// Flows whose addresses the kernel translates.
    FlowsTranslated = 12,
    /// Pinholes that were opened.
    PinholesOpened = 13,
    /// Pinholes that found no room.
    PinholesRefused = 14,
    /// Flows that came by a pinhole.
    PinholeFlows = 15,
    /// Packets that took the shortcut past the kernel's stack.
    ShortCut = 16,
    /// Packets of rules that reject, and not TCP, that were answered by an ICMP error.
    RejectsAnswered = 17,
    /// Those that got no answer because nothing of their kind may be answered.
    RejectsUnanswerable = 18,
    /// Those that got no answer because there were too many.
    RejectsLimited = 19,
    /// Those that got no answer because no address of this machine is known to answer from.
    RejectsWithoutAddress = 20,
    /// Those that got no answer because the kernel would not make room for it.
    RejectsFailed = 21,
    /// Packets whose source passed because the kernel could not tell by which way it is reached.
    SourcesUnknown = 22,
}

impl Counter {
    /// Length of the counter array.
    pub const COUNT: usize = 23;
}

/// An interface whose incoming packets are judged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Port {
    /// Its hardware address, as words of a frame; all zeros: not known.
    pub address: [u16; 3],
    /// The number by which policies know it; 0: none does.
    pub number: u16,
}

/// The addresses by which this machine answers at an interface, in network byte order; all zeros: none is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct OwnAddresses {
    /// Of IPv4.
    pub v4: u32,
    /// Of IPv6.
    pub v6: [u32; 4],
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

/// How many new flows a source, or a rule, has had lately. Each word is changed by one compare-exchange.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct SourceLimits {
    /// The [`crate::limit::Bucket`] of flows without an answer.
    pub half_open: u64,
    /// The bucket of new flows a second.
    pub rate: u64,
}

/// Whether a SYN attack is on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Attack {
    /// The [`crate::limit::Bucket`] of flows without an answer, of all sources.
    pub unanswered: u64,
    /// When the attack began, nanoseconds of the monotonic clock; 0: none is on.
    pub since: u64,
}

/// What user space asks of the entry for one flow, as the kernel program that does it gets it: a frame of
/// [`Command::FRAME_LEN`] bytes whose first bytes are these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Command {
    /// Number of the flow that is meant: another one under the same key is left alone.
    pub id: u64,
    /// Number of the event that tells of the kill.
    pub event: u64,
    /// The present, nanoseconds of the monotonic clock.
    pub now: u64,
    /// The flow's key, if it is IPv4.
    pub key_v4: crate::flow::KeyV4,
    /// The flow's key, if it is IPv6.
    pub key_v6: crate::flow::KeyV6,
    /// An [`Order`].
    pub order: u32,
    /// 4 or 6.
    pub version: u32,
    /// Number of the rule that the flow is to have.
    pub rule: u16,
    /// Number of the protocol that it is to have.
    pub protocol: u16,
    /// Index of the [`crate::reason::Reason`] of a kill that is told.
    pub reason: u32,
}

impl Command {
    /// Length of the frame that carries a command.
    pub const FRAME_LEN: usize = size_of::<Self>();
}

/// What is to be done to a flow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Remove it if it has been silent for longer than its state allows at [`Command::now`].
    Expire = 1,
    /// Remove it.
    Remove = 2,
    /// Leave a tombstone in its place: it was announced by a connection that was killed, and that has been told.
    KillChild = 3,
    /// Give it the rule and the protocol of the command, as a policy says that judged it anew.
    Reassign = 4,
    /// Tell of the kill, then leave a tombstone. If the ring has no room for it, nothing is done.
    TellAndKill = 5,
    /// The same, and nobody is told if the ring has no room.
    KillAnyway = 6,
    /// Forget what filters knew of it, and end what it announced: it was pushed out of its table.
    Forget = 7,
}

/// What came of a [`Command`]: what the program returns.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandResult {
    /// The flow is not there, or not what the command takes it for.
    NotDone = 0,
    /// It is done, and told if that was asked for.
    Done = 1,
    /// It is done, and nobody was there to be told, or the ring had no room.
    Untold = 2,
    /// Nothing is done: the ring has no room.
    NoRoom = 3,
}

impl CommandResult {
    /// The result that `raw` stands for.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::NotDone),
            1 => Some(Self::Done),
            2 => Some(Self::Untold),
            3 => Some(Self::NoRoom),
            _ => None,
        }
    }
}

/// Length of the shortest Ethernet frame without its check sequence, which brings it to 64 bytes (IEEE 802.3).
pub const SHORTEST_FRAME_LEN: usize = 60;

/// What the frames of a test's flood are made of: TCP segments without options and payload. It stands in each of
/// them behind the packet: whoever gets a frame may change the packet, and the kernel uses its memory again for the
/// next. Before a frame is sent it is cut to [`SHORTEST_FRAME_LEN`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Flood {
    /// Hardware addresses, the receiver's and then the sender's.
    pub macs: [u16; 6],
    /// Where to: IPv4 address in network byte order.
    pub destination: u32,
    /// The network that the sources are in, in network byte order.
    pub source: u32,
    /// Which bits of a source differ from frame to frame, in network byte order.
    pub source_mask: u32,
    /// Port, in host order.
    pub destination_port: u32,
    /// Control bits (RFC 9293 §3.1). Those with ACK acknowledge a random number.
    pub control: u32,
    /// Interface to send by.
    pub interface: u32,
}

impl Flood {
    /// The control bit SYN.
    pub const SYN: u32 = 0x02;
    /// The control bit ACK.
    pub const ACK: u32 = 0x10;

    /// Length of the packet before it: Ethernet, IPv4 and TCP headers.
    pub const PACKET_LEN: usize = 14 + 20 + 20;
    /// Length of a frame.
    pub const FRAME_LEN: usize = Self::PACKET_LEN + size_of::<Self>();
}

/// A frame of which a measurement sends copies. It stands behind each copy, for the same reason as a [`Flood`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Stencil {
    /// The frame, which is as short as they come.
    pub frame: [u32; SHORTEST_FRAME_LEN / 4],
    /// Interface to send by.
    pub interface: u32,
}

impl Stencil {
    /// Length of copy and stencil.
    pub const FRAME_LEN: usize = SHORTEST_FRAME_LEN + size_of::<Self>();
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
    /// It became an ICMP error back to its sender.
    Reject = 3,
}

impl Verdict {
    /// The verdict that `raw` stands for.
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Pass),
            1 => Some(Self::Drop),
            2 => Some(Self::Reset),
            3 => Some(Self::Reject),
            _ => None,
        }
    }

    /// The name in replay.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            // The answer is a packet of its own; its sender's never arrives.
            Self::Drop | Self::Reject => "drop",
            Self::Reset => "reset",
        }
    }
}
