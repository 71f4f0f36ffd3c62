//! Flow keys: both directions of a flow have the same one.
//!
//! The endpoints stand in canonical order, the smaller first, so that a single lookup finds the flow
//! whichever way the packet goes.

use bytemuck::{Pod, Zeroable};

use crate::wire::Packet;

/// Key of an IPv4 flow: 16 bytes, so that the kernel's hash takes few steps. Aligned, because the kernel compares keys
/// eight bytes at a time.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct KeyV4 {
    /// The endpoints' addresses, in network byte order.
    pub addresses: [u32; 2],
    /// The endpoints' ports, in host order.
    pub ports: [u16; 2],
    /// IP protocol.
    pub protocol: u32,
}

/// Key of an IPv6 flow. Aligned, as above.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct KeyV6 {
    /// The endpoints' addresses, in network byte order.
    pub addresses: [[u32; 4]; 2],
    /// The endpoints' ports, in host order.
    pub ports: [u16; 2],
    /// IP protocol.
    pub protocol: u32,
}

/// A key, and which of its endpoints the packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oriented<K> {
    /// The key.
    pub key: K,
    /// The packet's source is the key's second endpoint.
    pub source_is_second: bool,
}

impl KeyV4 {
    /// The key of an IPv4 packet.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Oriented<Self> {
        // Address and port as one number: sorted without a branch, of which BPF would need one for each field.
        let rank = |address: u32, port: u16| u64::from(address) << 16 | u64::from(port);
        let source = rank(packet.source[0], packet.source_port);
        let destination = rank(packet.destination[0], packet.destination_port);
        // Ranks have 48 bits, so the sign of their difference tells which is greater, as all ones or none.
        let swap = (destination.wrapping_sub(source) as i64 >> 63) as u64;
        let difference = (source ^ destination) & swap;
        let (first, second) = (source ^ difference, destination ^ difference);
        let key = Self {
            addresses: [(first >> 16) as u32, (second >> 16) as u32],
            ports: [first as u16, second as u16],
            protocol: u32::from(packet.protocol),
        };
        let source_is_second = swap != 0;
        Oriented { key, source_is_second }
    }
}

impl KeyV6 {
    /// The key of an IPv6 packet.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Oriented<Self> {
        let source_is_second =
            follows(packet.source, packet.source_port, packet.destination, packet.destination_port);
        // The ends are chosen, not their words, each of which would take a branch.
        let (first, second, ports) = if source_is_second {
            (&packet.destination, &packet.source, [packet.destination_port, packet.source_port])
        } else {
            (&packet.source, &packet.destination, [packet.source_port, packet.destination_port])
        };
        let addresses = [read(first), read(second)];
        let key = Self { addresses, ports, protocol: u32::from(packet.protocol) };
        Oriented { key, source_is_second }
    }
}

/// What a key has of its two endpoints, in the order of a direction: that of the endpoint which it goes out from, the
/// second one or the first, and that of the other.
#[inline(always)]
pub const fn sides_of<T>([first, second]: &[T; 2], from_second: bool) -> (&T, &T) {
    if from_second { (second, first) } else { (first, second) }
}

/// Reads an address from where it lies, and not from the words that were read there before.
#[inline(always)]
fn read(address: &[u32; 4]) -> [u32; 4] {
    let [a, b, c, d] = address;
    // SAFETY: references are valid to read from.
    let word = |word: &u32| unsafe { core::ptr::from_ref(word).read_volatile() };
    [word(a), word(b), word(c), word(d)]
}

/// Whether endpoint `a` stands behind endpoint `b` in canonical order. Written out, because a comparison
/// of arrays becomes a call of `memcmp`, which the kernel programs do not have.
#[inline(always)]
fn follows(a: [u32; 4], a_port: u16, b: [u32; 4], b_port: u16) -> bool {
    let [a0, a1, a2, a3] = a;
    let [b0, b1, b2, b3] = b;
    if a0 != b0 {
        a0 > b0
    } else if a1 != b1 {
        a1 > b1
    } else if a2 != b2 {
        a2 > b2
    } else if a3 != b3 {
        a3 > b3
    } else {
        a_port > b_port
    }
}

/// Key of a fragmented datagram (RFC 791 §3.2, RFC 8200 §4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    /// Source address, in network byte order.
    pub source: [u32; 4],
    /// Destination address, in network byte order.
    pub destination: [u32; 4],
    /// Identification.
    pub id: u32,
    /// IP protocol; for IPv6 0: there it is no part of what names a datagram, and only the first fragment
    /// tells it.
    pub protocol: u32,
}

impl FragmentKey {
    /// The key of the datagram that a fragment belongs to.
    #[inline(always)]
    pub fn of(packet: &Packet) -> Self {
        Self {
            source: packet.source,
            destination: packet.destination,
            id: packet.fragment_id,
            protocol: if packet.version == 4 { u32::from(packet.protocol) } else { 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reversed(packet: Packet) -> Packet {
        Packet {
            source: packet.destination,
            destination: packet.source,
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            ..packet
        }
    }

    proptest! {
        #[test]
        fn both_directions_share_a_key(source: [u32; 4], destination: [u32; 4], ports: [u16; 2]) {
            let packet = Packet {
                source, destination,
                source_port: ports[0], destination_port: ports[1],
                protocol: 6, ..Packet::default()
            };
            let back = reversed(packet);
            let Oriented { key, source_is_second } = KeyV6::of(&packet);
            prop_assert_eq!(sides_of(&key.addresses, source_is_second), (&source, &destination));
            prop_assert_eq!(sides_of(&key.ports, source_is_second), (&ports[0], &ports[1]));
            prop_assert_eq!(KeyV4::of(&packet).key, KeyV4::of(&back).key);
            prop_assert_eq!(KeyV6::of(&packet).key, KeyV6::of(&back).key);
            if (source[0], ports[0]) != (destination[0], ports[1]) {
                prop_assert_ne!(
                    KeyV4::of(&packet).source_is_second, KeyV4::of(&back).source_is_second);
            }
            if (source, ports[0]) != (destination, ports[1]) {
                prop_assert_ne!(
                    KeyV6::of(&packet).source_is_second, KeyV6::of(&back).source_is_second);
            }
        }
    }
}
