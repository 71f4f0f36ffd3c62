//! Where a policy on trial, the shadow, would have judged otherwise than the one in force.
//!
//! Whenever the rules are asked about the first packet of a flow, both policies are. Only the one in force acts.
//! What counts as a difference is another [`Action`]: that another rule says the same is none.

use bytemuck::{Pod, Zeroable};

use crate::{
    policy::{Action, SLOTS},
    wire::Packet,
};

/// The slot of the shadow's image, behind those of the policies that act.
pub const SHADOW_SLOT: u32 = SLOTS as u32;
/// Images of policies at once.
pub const IMAGES_MAX: usize = SLOTS + 1;
/// Most pairs of rules that are counted.
pub const PAIRS_MAX: usize = 16_384;
/// Most flows that are remembered.
pub const FLOWS_MAX: usize = 4096;

/// What both policies say: a rule and an action of each, first those of the policy in force.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Pair {
    /// Numbers of the rules; 0: the default.
    pub rules: [u16; 2],
    /// [`Action`]s.
    pub actions: [u8; 2],
    /// Must be 0.
    pub reserved: u16,
}

impl Pair {
    /// What each policy does.
    pub const fn actions(&self) -> [Action; 2] {
        let [acting, shadow] = self.actions;
        [Action::from_raw(acting as u32), Action::from_raw(shadow as u32)]
    }
}

/// A flow that the policies judge differently, by its first packet.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Difference {
    /// What they say.
    pub pair: Pair,
    /// Source address, in network byte order.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Source port and destination port, in host order; 0 where there is none.
    pub ports: [u16; 2],
    /// Index of the interface that it was judged on.
    pub interface: u32,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
    /// Must be 0.
    pub reserved: [u8; 6],
}

impl Difference {
    /// Takes down which flow it is that `packet` begins on `interface`. In place: the kernel's stack is small.
    #[inline(always)]
    pub fn note_flow(&mut self, packet: &Packet, interface: u32) {
        self.source = packet.source;
        self.destination = packet.destination;
        self.ports = [packet.source_port, packet.destination_port];
        self.interface = interface;
        self.protocol = packet.protocol;
        self.version = packet.version;
    }
}

/// When and how often the first packet of a flow was judged differently.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Sightings {
    /// First, nanoseconds of the monotonic clock.
    pub first: u64,
    /// Last.
    pub last: u64,
    /// How often.
    pub count: u64,
}

/// How often both policies were asked, on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Totals {
    /// They said the same.
    pub alike: u64,
    /// They did not.
    pub different: u64,
    /// Of these, how often there was no room to count the pair of rules,
    pub uncounted: u64,
    /// and how often none to remember the flow.
    pub unlisted: u64,
}
