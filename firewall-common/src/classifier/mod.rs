//! What a policy says about a new flow: which rule is the first that matches it, among very many.
//!
//! A policy is compiled into an image, an array of [`Line`]s. Its methods are bit vectors (Lakshman and Stiliadis,
//! "High-Speed Policy-based Packet Forwarding Using Efficient Multi-dimensional Range Matching", SIGCOMM 1998),
//! aggregated and with rearranged rules (Baboescu and Varghese, "Scalable Packet Classification", SIGCOMM 2001).
//!
//! Each dimension of a packet (its source, its destination, its service) lies in a range of a [`tree`], and the
//! range's value is the line of its class; that of the interface that it came in by stands in a table. A class says by
//! reference which rules the dimension does not exclude, block by block; what the sets have in common matches. The work does not depend on how many rules there
//! are, but on how many blocks have rules for all three, and these are few: rules of the same networks and
//! protocols share a block.

mod line;
mod sources;
#[cfg(test)]
mod tests;
pub mod tree;

pub use line::{
    BLOCK_RULES, BLOCK_WORDS, BLOCKS_MAX, Head, Line, LineWords, Lines, Place, TERMS_PER_LINE,
    Terms, Tree, WORDS,
};
pub use sources::{INTERFACES_LISTED_MAX, Listed, Sources, listed};

use crate::{
    layout::INTERFACES_MAX,
    policy::Action,
    wire::{Packet, ip_protocol},
};

/// The bit of an address class, beside its line, that says that one direction of its connections may pass by.
pub const ASYMMETRIC: u32 = 1 << 31;
/// Where the line of an address class has its blocks as a source; a word for each.
pub const AS_SOURCE: usize = 0;
/// Where it has its blocks as a destination.
pub const AS_DESTINATION: usize = BLOCKS_MAX;
/// Where the line of a service class has its blocks.
pub const AS_SERVICE: usize = 0;
/// Where the line of an interface class has its blocks.
pub const AS_INTERFACE: usize = 0;
/// The number of whatever comes in by an interface that no policy has named. What this machine itself sends has 0: it
/// comes in by none; and so has what came in by an interface without programs, and is first seen on its way out.
pub const UNNAMED: u16 = INTERFACES_MAX as u16 + 1;
/// How many numbers there are for interfaces.
pub const INTERFACE_NUMBERS: usize = UNNAMED as usize + 1;
/// The classes of a packet, in the order of [`Dimension`].
pub const DIMENSIONS: usize = 4;
/// The word of a service class that is its protocol's number; 0: it belongs to none.
pub const PROTOCOL: usize = BLOCKS_MAX;

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of the flow.
    pub action: Action,
    /// Number of the rule; 0: the default.
    pub rule: u16,
    /// Number of the protocol by the policy; 0: none.
    pub protocol: u16,
    /// The rule is [`Terms::QUIET`].
    pub quiet: bool,
}

/// A service as the tree of services knows it: an IP protocol above what of it is asked for, see [`asked_for`].
#[inline(always)]
pub const fn service(ip_protocol: u8, what: u16) -> u32 {
    (ip_protocol as u32) << 16 | what as u32
}

/// What a packet asks for of its IP protocol: a destination port, if that has ports, or an ICMP type and its code.
#[inline(always)]
pub const fn asked_for(packet: &Packet) -> u16 {
    match packet.protocol {
        ip_protocol::TCP | ip_protocol::UDP => packet.destination_port,
        ip_protocol::ICMP | ip_protocol::ICMPV6 => {
            u16::from_be_bytes([packet.icmp_type, packet.icmp_code])
        }
        _ => 0,
    }
}

/// What of a packet is looked up.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Where it comes from.
    Source = 0,
    /// Where it goes.
    Destination = 1,
    /// What it asks for.
    Service = 2,
    /// By which interface it came in, see [`interface_class`].
    Interface = 3,
}

/// Judges the first packet of a flow, which came in by the interface that the policy knows by the number `interface`;
/// 0: by none. `None`: this is no image of a policy.
pub fn judge<L: Lines + ?Sized>(lines: &L, packet: &Packet, interface: u16) -> Option<Judgement> {
    let classes = [
        class(lines, packet, Dimension::Source)?,
        class(lines, packet, Dimension::Destination)?,
        class(lines, packet, Dimension::Service)?,
        interface_class(lines, interface)?,
    ];
    judge_classes(lines, &classes)
}

/// The class of an interface with this number, below [`INTERFACE_NUMBERS`]; 0: the policy asks for none. `None`: this
/// is no image of a policy.
#[inline(always)]
pub fn interface_class<L: Lines + ?Sized>(lines: &L, interface: u16) -> Option<u32> {
    match lines.head()?.interfaces {
        0 => Some(0),
        interfaces => lines.word(interfaces + u32::from(interface)),
    }
}

/// The class of a packet in one of the dimensions that it bears itself: the number of a line, and of an address
/// [`ASYMMETRIC`]. `None`: this is no image of a policy.
#[inline(always)]
pub fn class<L: Lines + ?Sized>(lines: &L, packet: &Packet, dimension: Dimension) -> Option<u32> {
    let head = lines.head()?;
    let address = match dimension {
        Dimension::Source => &packet.source,
        Dimension::Destination => &packet.destination,
        Dimension::Service => {
            let service = service(packet.protocol, asked_for(packet));
            return tree::find(lines, head.services, service);
        }
        Dimension::Interface => return None,
    };
    let trees = [head.addresses_v4, head.addresses_v6];
    of_address(lines, trees, packet.version, address)
}

/// The value of an address in the trees of IPv4 and IPv6.
#[inline(always)]
fn of_address<L: Lines + ?Sized>(
    lines: &L,
    [v4, v6]: [Tree; 2],
    version: u8,
    address: &[u32; 4],
) -> Option<u32> {
    let [a, b, c, d] = *address;
    if version == 4 {
        return tree::find(lines, v4, u32::from_be(a));
    }
    let pair = |high, low| u64::from(u32::from_be(high)) << 32 | u64::from(u32::from_be(low));
    tree::find_wide(lines, v6, pair(a, b), pair(c, d))
}

/// Judges a packet by its classes, in the order of [`Dimension`]. `None`: this is no image of a policy, or one of
/// them is 0 that must not be.
#[inline(always)]
pub fn judge_classes<L: Lines + ?Sized>(
    lines: &L,
    classes: &[u32; DIMENSIONS],
) -> Option<Judgement> {
    let head = lines.head()?;
    let class = |class: u32| match class & !ASYMMETRIC {
        // That is the head's line.
        0 => None,
        class => lines.line(class),
    };
    let [source, destination, service, interface] = *classes;
    let service = class(service)?;
    // Where no rule asks for an interface the service speaks twice: both have their blocks in the same place.
    const { assert!(AS_SERVICE == AS_INTERFACE) };
    let interface = if head.interfaces == 0 { service } else { class(interface)? };
    let classes =
        Classes { source: class(source)?, destination: class(destination)?, service, interface };
    let protocol = classes.service.words()[PROTOCOL] as u16;
    let rule = first_match(lines, head, &classes)? as u16;
    let (action, flags) = match lines.terms(rule) {
        Some(terms) if rule != 0 => (terms.action, terms.flags),
        _ => (head.default_action, 0),
    };
    let quiet = flags & Terms::QUIET != 0;
    Some(Judgement { action: Action::from_raw(action), rule, protocol, quiet })
}

/// Number of the protocol that a packet belongs to; 0: the policy names none.
pub fn protocol<L: Lines + ?Sized>(lines: &L, packet: &Packet) -> u16 {
    let class = class(lines, packet, Dimension::Service);
    class.and_then(|class| lines.line(class)).map_or(0, |class| class.words()[PROTOCOL] as u16)
}

/// The classes of a packet.
struct Classes<'a> {
    source: &'a Line,
    destination: &'a Line,
    service: &'a Line,
    interface: &'a Line,
}

/// The first rule that all classes have, as the word of a [`Place`]; 0: none does. `None`: this is no image.
#[inline(always)]
fn first_match<L: Lines + ?Sized>(lines: &L, head: &Head, classes: &Classes<'_>) -> Option<u32> {
    let mut first = NO_PLACE;
    for block in 0..BLOCKS_MAX {
        // Of the blocks that the policy does not have, the first rule is the highest number there is.
        if Place::from_word(first).order <= head.firsts[block] {
            break;
        }
        let source = classes.source.words()[AS_SOURCE + block];
        let destination = classes.destination.words()[AS_DESTINATION + block];
        let service = classes.service.words()[AS_SERVICE + block];
        let interface = classes.interface.words()[AS_INTERFACE + block];
        if source == 0 || destination == 0 || service == 0 || interface == 0 {
            continue;
        }
        let bit = lines.first_common(source, destination, service, interface)?;
        if bit < BLOCK_RULES as u32 {
            let place = lines.word(head.places + (block * BLOCK_RULES) as u32 + bit)?;
            // The order of words is that of places.
            first = if place < first { place } else { first };
        }
    }
    Some(if first == NO_PLACE { 0 } else { first })
}

/// Behind the word of any [`Place`].
const NO_PLACE: u32 = u32::MAX;

/// The lowest bit that all four lines have; [`BLOCK_RULES`]: none.
#[inline(always)]
pub fn first_common(Line(a): &Line, Line(b): &Line, Line(c): &Line, Line(d): &Line) -> u32 {
    for word in 0..BLOCK_WORDS {
        let common = a[word] & b[word] & c[word] & d[word];
        if common != 0 {
            return word as u32 * u64::BITS + lowest_bit(common);
        }
    }
    BLOCK_RULES as u32
}

/// The position of the lowest bit of a word that is not 0. BPF does not count trailing zeros; see
/// [`Findings::first`](crate::filter::finding::Findings::first).
#[inline(always)]
fn lowest_bit(word: u64) -> u32 {
    const SEQUENCE: u64 = 0x03f7_9d71_b4cb_0a89;
    static POSITIONS: [u8; 64] = {
        let mut positions = [0; 64];
        let mut position = 0;
        while position < 64 {
            positions[(SEQUENCE << position >> 58) as usize] = position;
            position += 1;
        }
        positions
    };
    let lowest = word & word.wrapping_neg();
    u32::from(POSITIONS[(lowest.wrapping_mul(SEQUENCE) >> 58) as usize])
}
