//! The desk a packet is worked on at: one for each CPU, in a map, because the stack has 512 bytes and a
//! tail call leaves it behind.
//!
//! Programs run with softirqs disabled, so nothing else works at the same desk meanwhile.

use firewall_common::{
    classifier::DIMENSIONS,
    event::Record,
    filter::{
        finding::Findings,
        parser::Scene,
        pinhole::{Pinhole, PinholeKey, Session},
    },
    flow::{Direction, Flow, KeyV4, KeyV6, State},
    layout::Hook,
    policy::Binding,
    reason::Reason,
    shadow::{Difference, Sightings},
    wire::Packet,
    words::clear,
};

use crate::{maps::WORK, tables::Key};

/// Bytes of payload that are fetched at once for a filter. A power of two.
pub const CHUNK: usize = 128;

/// What is to be done with a packet.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes on its way.
    Pass = 0,
    /// The filter that is bound has to read it first.
    Read = 1,
    /// It is dropped for the reason on the desk.
    Drop = 2,
    /// It is dropped for the reason on the desk, and its sender gets a RST.
    Answer = 3,
    /// It is dropped for the reason on the desk, and its sender gets a SYN and an ACK of the cookie there.
    Challenge = 4,
    /// It goes on its way, past the kernel's stack if nothing is against it.
    Forward = 5,
    /// It is dropped for the reason on the desk, and its sender gets an ICMP error.
    Prohibit = 6,
    /// Its source has to be verified first. Nothing was done yet.
    Verify = 7,
}

impl Decision {
    /// The decision that `raw` stands for; anything unknown drops.
    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Pass,
            1 => Self::Read,
            3 => Self::Answer,
            4 => Self::Challenge,
            5 => Self::Forward,
            6 => Self::Prohibit,
            7 => Self::Verify,
            _ => Self::Drop,
        }
    }
}

/// What there is to do and to say besides the verdict: for nearly every packet nothing.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Told {
    /// Index of the [`Reason`] of a drop, or of what is told of a packet that passes.
    pub reason: u8,
    /// The [`firewall_common::flow::Change`] of the packet's flow: its beginning or its end; 0: neither.
    pub change: u8,
    /// 1: the packet's flow has no answer yet, or just got it: it has to be known again on its way out.
    pub crosses: u8,
    /// A [`firewall_common::flow::Fault`]: what [`Work::expected`] is about.
    pub fault: u8,
}

impl Told {
    /// Whether there is nothing.
    #[inline(always)]
    pub fn is_nothing(self) -> bool {
        bytemuck::cast::<Self, u32>(self) == 0
    }
}

/// What the policy in force said about a new flow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Acting {
    /// Its slot.
    pub slot: u32,
    /// As [`Work::rule`].
    pub rule: u32,
    /// As [`Work::protocol`].
    pub protocol: u16,
    /// As [`Work::flow_flags`].
    pub flow_flags: u8,
    /// An [`Action`](firewall_common::policy::Action).
    pub action: u32,
}

/// One packet at work.
#[repr(C)]
pub struct Work {
    /// The packet.
    pub packet: Packet,
    /// What it quotes, if it is an ICMP error.
    pub quoted: Packet,
    /// When it was caught.
    pub now: u64,
    /// What there is to do and to say besides the verdict.
    pub told: Told,
    /// Bytes of its frame.
    pub frame_len: u32,
    /// Interface it is on.
    pub interface: u32,
    /// Where it was caught.
    pub hook: Hook,
    /// The slot of the policy that it is judged by.
    pub slot: u32,
    /// Its key, if it is IPv4.
    pub key_v4: KeyV4,
    /// Its key, if it is IPv6.
    pub key_v6: KeyV6,
    /// The name that its flow has besides the key, and by which the packet came, if it is IPv4.
    pub alias_v4: KeyV4,
    /// The same, if it is IPv6.
    pub alias_v6: KeyV6,
    /// Its source is the key's second endpoint.
    pub source_is_second: bool,
    /// It came by its flow's other name.
    pub by_alias: bool,
    /// It is an ICMP error, and `quoted` is what it quotes.
    pub quotes: bool,
    /// What a TCP segment that is refused should have had: the first number and the last.
    pub expected: [u32; 2],
    /// Address of its flow's originator, once that has been asked for.
    pub originator: [u32; 4],
    /// The [`Decision`] about it.
    decision: u32,
    /// Its source was verified: set while that is so, and no longer than the packet is decided about.
    pub source_is_verified: bool,
    /// What the sender of a SYN is challenged with.
    pub cookie: u32,
    /// The interface that it leaves by if it is forwarded.
    pub leaves_by: u32,
    /// The flow's [`Flow::flags`].
    pub flow_flags: u8,

    /// Index of the interface by which the first packet of the flow that is judged came in; 0: by none.
    pub came_in_by: u32,
    /// Its class in each dimension, as the policy has them: see [`firewall_common::classifier`].
    pub classes: [u32; DIMENSIONS],
    /// Number of the rule that let the flow in or refused it; 0: the default.
    pub rule: u32,
    /// Its direction in its flow.
    pub direction: Direction,
    /// The flow's state after it.
    pub state: State,
    /// Number of the protocol by the policy; 0: none.
    pub protocol: u16,
    /// Number of the flow; 0: none.
    pub flow_id: u64,
    /// Number of the kill event that explains a drop; 0: none.
    pub caused_by: u64,
    /// The session that let the flow in, and the number of the flow that announced it; 0: none.
    pub kin: u64,
    pub parent: u64,
    /// How the filter that is to read the packet is bound.
    pub binding: Binding,
    /// What the flow says to that filter: the number that the receiver acknowledged last,
    pub acked: u32,
    /// whether payload of this direction passed unread,
    pub unread: bool,
    /// and whether the originator is the second endpoint of the flow's key.
    pub originator_is_second: bool,

    /// A flow in the making.
    pub flow: Flow,
    /// The event to be sent.
    pub record: Record,
    /// Offset in the frame of the next byte that a filter reads.
    pub at: u32,
    /// Offset in the frame behind the last byte that it reads.
    pub end: u32,
    /// Offset in the frame of the first byte of `chunk`.
    pub chunk_at: u32,
    /// How many bytes of `chunk` count.
    pub chunk_len: u32,
    /// What the filter's parser may know besides the bytes.
    pub scene: Scene,
    /// What is made of its wishes.
    pub session: Session,
    pub pinhole: Pinhole,
    pub pinhole_key: PinholeKey,
    /// What the policy in force said, while the one on trial is asked,
    pub acting: Acting,
    /// what that one says otherwise, and when it does.
    pub difference: Difference,
    pub sightings: Sightings,
    /// Findings about the last byte that are still to be reported.
    pub noted: Findings,
    /// Payload on its way to a filter.
    pub chunk: [u8; CHUNK],
    /// The head of a stretch that may be skipped.
    pub head: [u8; 4],
}

impl Work {
    /// This CPU's desk. `None` cannot happen: the map has an entry 0.
    #[inline(always)]
    pub fn desk() -> Option<&'static mut Self> {
        // SAFETY: the entry lives as long as the program, and no other program runs on this CPU until
        // this one ends.
        WORK.get_ptr_mut(0).map(|work| unsafe { &mut *work })
    }

    /// The desk, for a function that the verifier knows by its signature alone, and `argument` is how its caller
    /// passed it. There the verifier takes the argument for memory of any origin, whose contents Linux 6.1 does not
    /// accept for a map's keys and values; those of a map's entry it does.
    #[inline(always)]
    pub fn passed(argument: *mut Self) -> Option<&'static mut Self> {
        // SAFETY: no instruction. It has the compiler believe that whoever gets the argument may change the desk,
        // and that the caller has to read it again.
        unsafe { core::arch::asm!("/* {0} */", in(reg) argument) };
        Self::desk()
    }

    /// Clears the desk for a new packet.
    #[inline(always)]
    pub fn begin(&mut self, hook: Hook, interface: u32, now: u64) {
        self.hook = hook;
        self.interface = interface;
        self.now = now;
        self.told = Told::default();
    }

    /// Lays out what was decided about the packet.
    #[inline(always)]
    pub fn note_decision(&mut self, decision: Decision) {
        self.decision = decision as u32;
    }

    /// What was decided, read back from the desk: the verifier of Linux 6.1 confuses values that it followed through a
    /// call, and takes what it did not come to for dead.
    #[inline(always)]
    pub fn decision(&self) -> Decision {
        // SAFETY: a reference is valid to read from.
        Decision::from_raw(unsafe { core::ptr::from_ref(&self.decision).read_volatile() })
    }

    /// The key under which the packet's flow lies.
    #[inline(always)]
    pub const fn key(&self) -> Key<'_> {
        Key { version: self.packet.version, v4: &self.key_v4, v6: &self.key_v6 }
    }

    /// The name that the packet's flow has besides [`Self::key`].
    #[inline(always)]
    pub const fn alias(&self) -> Key<'_> {
        Key { version: self.packet.version, v4: &self.alias_v4, v6: &self.alias_v6 }
    }

    /// Lays out what the packet's flow says about it.
    #[inline(always)]
    pub fn note_flow(&mut self, flow: &Flow) {
        self.flow_id = flow.id;
        self.rule = u32::from(flow.rule);
        self.protocol = flow.protocol;
        self.state = flow.state();
        self.flow_flags = flow.flags;
        if !flow.is_child() {
            clear(&mut self.parent);
        }
        clear(&mut self.caused_by);
    }

    /// The packet belongs to no flow, or not to the one that was found.
    #[inline(always)]
    pub fn forget_flow(&mut self) {
        self.rule = 0;
        self.direction = Direction::Original;
        self.state = State::None;
        self.protocol = 0;
        self.flow_flags = 0;
        clear(&mut self.flow_id);
        clear(&mut self.kin);
        clear(&mut self.parent);
        clear(&mut self.caused_by);
    }

    /// Lays out why the packet is dropped.
    #[inline(always)]
    pub fn refuse(&mut self, reason: Reason) -> Decision {
        self.told.reason = reason as u8;
        Decision::Drop
    }
}
