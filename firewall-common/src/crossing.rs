//! How a packet is known again where it leaves the machine, whatever its addresses have become.
//!
//! The kernel translates addresses (NAT) between the hook where a packet is judged and the one where it leaves.
//! The firewall has to learn the other pair of endpoints before the answer comes. What translation leaves as it
//! is makes a [`Fingerprint`]: a packet that is the first of its flow is noted by it on its way in, and found by
//! it on its way out, some microseconds later.

use bytemuck::{Pod, Zeroable};

use crate::{
    flow::{KeyV4, KeyV6},
    wire::{Packet, ip_protocol},
};

/// What address translation does not change of a packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Fingerprint {
    /// TCP: sequence and acknowledgment number. Otherwise the first eight bytes of payload, which in most
    /// protocols hold a number of the transaction.
    pub content: u64,
    /// Identification of the IPv4 datagram. Not that of IPv6 fragments: the kernel puts them together to track
    /// them and gives the datagram another one when it takes it apart again.
    pub id: u32,
    /// UDP: the length that its header tells. ICMP echo: its sequence number. The length of the IP packet is
    /// none of it: a datagram may come in whole and leave in fragments.
    pub extra: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
}

/// How long a packet may be on its way through the machine, in nanoseconds: fragments wait for each other there.
/// One that did not leave by then was dropped or has arrived, and another that looks like it is another.
pub const CROSSING_NS: u64 = 1_000_000_000;

impl Fingerprint {
    /// The fingerprint of a packet whose payload begins with `payload`, and whose transport header has `extra`
    /// at [`Fingerprint::extra_at`]. For TCP neither matters.
    #[inline(always)]
    pub const fn of(packet: &Packet, payload: u64, extra: u16) -> Self {
        let content = if packet.protocol == ip_protocol::TCP {
            (packet.seq as u64) << 32 | packet.ack as u64
        } else {
            payload
        };
        Self {
            content,
            id: if packet.version == 4 { packet.fragment_id } else { 0 },
            extra,
            protocol: packet.protocol,
            version: packet.version,
        }
    }

    /// Where in the transport header of `protocol` the two bytes of `extra` stand (RFC 768, RFC 792, RFC 4443);
    /// `None`: there are none.
    #[inline(always)]
    pub const fn extra_at(protocol: u8) -> Option<u32> {
        match protocol {
            ip_protocol::UDP => Some(4),
            ip_protocol::ICMP | ip_protocol::ICMPV6 => Some(6),
            _ => None,
        }
    }

    /// Where in a table of `slots`, a power of two, it is noted: the upper bits of its product with the golden
    /// ratio (Knuth, The Art of Computer Programming, volume 3, §6.4).
    #[inline(always)]
    pub const fn slot(&self, slots: u32) -> u32 {
        (self.mixed() >> 32) as u32 & (slots - 1)
    }

    /// What tells it from most others of its slot, and from none: not 0.
    #[inline(always)]
    pub const fn tag(&self) -> u32 {
        self.mixed() as u32 | 1
    }

    #[inline(always)]
    const fn mixed(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        (self.content ^ (self.id as u64) << 17 ^ self.extra as u64).wrapping_mul(GOLDEN)
    }
}

/// A packet on its way through the machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Crossing {
    /// How it is known again. All zeros while the rest is being written.
    pub fingerprint: Fingerprint,
    /// Number of its flow.
    pub flow_id: u64,
    /// When it came in, nanoseconds.
    pub at: u64,
    /// Its flow's key, if it is IPv4.
    pub key_v4: KeyV4,
    /// Its flow's key, if it is IPv6.
    pub key_v6: KeyV6,
    /// A [`crate::flow::Direction`].
    pub direction: u32,
    /// Must be 0.
    pub reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neither_fragmentation_on_the_way_nor_a_new_number_of_fragments_changes_it() {
        let whole =
            Packet { version: 4, protocol: ip_protocol::UDP, ip_len: 1500, ..Packet::default() };
        let first = Packet { ip_len: 1396, ..whole };
        assert_eq!(Fingerprint::of(&whole, 7, 1480), Fingerprint::of(&first, 7, 1480));
        assert_ne!(Fingerprint::of(&whole, 7, 1480), Fingerprint::of(&whole, 7, 1481));
        let came = Packet { version: 6, fragment_id: 1, ..whole };
        let left = Packet { fragment_id: 2, ..came };
        assert_eq!(Fingerprint::of(&came, 7, 0), Fingerprint::of(&left, 7, 0));
    }

    proptest! {
        #[test]
        fn translation_leaves_it_alone(seq: u32, id: u16, addresses: [u32; 2], ports: [u16; 2]) {
            let packet = Packet {
                seq, fragment_id: id.into(), ip_len: 60, version: 4, protocol: ip_protocol::TCP,
                source: [1, 0, 0, 0], destination: [2, 0, 0, 0], source_port: 3, destination_port: 4,
                ..Packet::default()
            };
            let translated = Packet {
                source: [addresses[0], 0, 0, 0], destination: [addresses[1], 0, 0, 0],
                source_port: ports[0], destination_port: ports[1],
                ..packet
            };
            let fingerprint = Fingerprint::of(&packet, 0, 0);
            prop_assert_eq!(fingerprint, Fingerprint::of(&translated, 0, 0));
            prop_assert!(fingerprint.slot(4096) < 4096);
            let other = Packet { seq: seq.wrapping_add(1), ..packet };
            prop_assert_ne!(fingerprint, Fingerprint::of(&other, 0, 0));
        }
    }
}
