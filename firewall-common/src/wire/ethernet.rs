//! Ethernet with up to two VLAN tags (IEEE 802.3, 802.1Q, 802.1ad), and what comes without Ethernet.

use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::{Bytes, Packet, Parsed, ipv4, ipv6, transport};
use crate::{reason::Reason, words::clear};

/// How many VLAN tags are looked through: one customer and one service tag.
pub const MAX_VLAN_TAGS: usize = 2;

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// Parses a frame from its first byte and describes it in `packet`, whatever stood there before. Unless the
/// answer is [`Parsed::Ip`], `packet` holds only as much as was understood.
#[inline(always)]
pub fn parse<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Parsed {
    clear(packet);
    let aside = frame.tags_kept_aside();
    if let Some(ether_type) = frame.ether_type_aside() {
        // Without an Ethernet header there is no place for a tag: what it stood before is not known.
        let ether_type = if aside == 0 { ether_type } else { VLAN };
        return network(frame, ether_type, packet);
    }
    let Some(ethernet) = frame.read::<EthHdr>(0) else {
        return Parsed::Refused(Reason::BadLength);
    };
    let mut ether_type = u16::from_be(ethernet.ether_type);
    let mut offset = EthHdr::LEN;
    for inner in 0..MAX_VLAN_TAGS {
        if !is_vlan(ether_type) || aside + inner >= MAX_VLAN_TAGS {
            break;
        }
        let Some(tag) = frame.read::<VlanHdr>(offset) else {
            return Parsed::Refused(Reason::BadLength);
        };
        ether_type = u16::from_be(tag.ether_type);
        offset += VlanHdr::LEN;
    }

    packet.ip_offset = offset as u16;
    network(frame, ether_type, packet)
}

/// What begins at `packet.ip_offset`.
#[inline(always)]
fn network<B: Bytes + ?Sized>(frame: &B, ether_type: u16, packet: &mut Packet) -> Parsed {
    let network = match ether_type {
        IPV4 => ipv4::parse(frame, packet),
        IPV6 => ipv6::parse(frame, packet),
        // A tag too many hides what the packet is; passing it unseen would be a way around the rules.
        VLAN | SERVICE_VLAN => Err(Reason::VlanDepth),
        ARP => return Parsed::Arp,
        _ => return Parsed::NotIp,
    };
    match network.and_then(|()| transport::parse(frame, packet)) {
        Ok(()) => Parsed::Ip,
        Err(reason) => Parsed::Refused(reason),
    }
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == SERVICE_VLAN
}
