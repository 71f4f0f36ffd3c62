//! Which sources may come in by which interface, as the policy lists them.
//!
//! The interfaces that have a list have a bit each. Trees say of every address by which of them it may come in, and a
//! table says which bit an interface has, by the number that policies know it by.

use bytemuck::{Pod, Zeroable};

use super::{Line, Lines, Tree, of_address};
use crate::wire::Packet;

/// Most interfaces that have a list of sources: the bits of a value.
pub const INTERFACES_LISTED_MAX: usize = 32;

/// A line of the image: how sources are checked.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Sources {
    /// The [`AntiSpoofing`](crate::policy::AntiSpoofing) for interfaces without a list.
    pub mode: u32,
    /// The first of the interfaces' bits, by number; in words of the image.
    pub bits: u32,
    /// One more than the highest number of an interface that has one.
    pub bits_count: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The bits of the interfaces by which an IPv4 address may come in.
    pub addresses_v4: Tree,
    /// The same for IPv6.
    pub addresses_v6: Tree,
    /// Must be 0.
    pub reserved2: [u32; 24],
}

impl Sources {
    /// What a line says.
    #[inline(always)]
    pub fn of(line: &Line) -> &Self {
        bytemuck::cast_ref(line)
    }
}

/// What the lists say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The interface has no list.
    Unasked,
    /// The source is in its list.
    Yes,
    /// It is not.
    No,
}

/// What the lists say of the packet's source, which came in by the interface of this number. `None`: this is no image
/// of a policy.
#[inline(always)]
pub fn listed<L: Lines + ?Sized>(
    lines: &L,
    sources: &Sources,
    interface: u16,
    packet: &Packet,
) -> Option<Listed> {
    let number = u32::from(interface);
    if number >= sources.bits_count {
        return Some(Listed::Unasked);
    }
    let bit = lines.word(sources.bits + number)?;
    if bit == 0 {
        return Some(Listed::Unasked);
    }
    let trees = [sources.addresses_v4, sources.addresses_v6];
    let may = of_address(lines, trees, packet.version, &packet.source)?;
    Some(if may & bit != 0 { Listed::Yes } else { Listed::No })
}
