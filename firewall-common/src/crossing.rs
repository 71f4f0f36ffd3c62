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
    /// Identification of the IPv4 datagram.
    pub id: u32,
    /// Length of the IP packet.
    pub len: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub version: u8,
}

impl Fingerprint {
    /// The fingerprint of a packet whose payload begins with `payload`, which for TCP does not matter.
    #[inline(always)]
    pub const fn of(packet: &Packet, payload: u64) -> Self {
        let content = if packet.protocol == ip_protocol::TCP {
            (packet.seq as u64) << 32 | packet.ack as u64
        } else {
            payload
        };
        Self {
            content,
            id: packet.fragment_id,
            len: packet.ip_len as u16,
            protocol: packet.protocol,
            version: packet.version,
        }
    }

    /// Where in a table of `slots`, a power of two, it is noted: the upper bits of its product with the golden
    /// ratio (Knuth, The Art of Computer Programming, volume 3, §6.4).
    #[inline(always)]
    pub const fn slot(&self, slots: u32) -> u32 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (self.content ^ (self.id as u64) << 17 ^ self.len as u64).wrapping_mul(GOLDEN);
        (mixed >> 32) as u32 & (slots - 1)
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
            let fingerprint = Fingerprint::of(&packet, 0);
            prop_assert_eq!(fingerprint, Fingerprint::of(&translated, 0));
            prop_assert!(fingerprint.slot(4096) < 4096);
            let other = Packet { seq: seq.wrapping_add(1), ..packet };
            prop_assert_ne!(fingerprint, Fingerprint::of(&other, 0));
        }
    }
}
