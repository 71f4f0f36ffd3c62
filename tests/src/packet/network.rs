//! The network layer: IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), ARP (RFC 826).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Mac, checksum::checksum};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

pub(super) const PROTOCOL_HOP_BY_HOP: u8 = 0;
pub(super) const PROTOCOL_ROUTING: u8 = 43;
const PROTOCOL_FRAGMENT: u8 = 44;
pub(super) const PROTOCOL_DESTINATION_OPTIONS: u8 = 60;

const IPV4_HEADER_LEN: usize = 20;
const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/// The padding option of IPv6 that has a length of its own (RFC 8200, 4.2).
const PADN: u8 = 1;
/// Fragment offsets and the lengths of IPv6 extension headers count in units of 8 bytes.
pub(super) const EIGHT: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Network {
    Arp(ArpRequest),
    V4(Ipv4),
    V6(Ipv6),
}

#[derive(Clone, Debug)]
pub(super) struct ArpRequest {
    pub(super) sender: Ipv4Addr,
    pub(super) target: Ipv4Addr,
}

#[derive(Clone, Debug)]
pub(super) struct Ipv4 {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    /// Of a length divisible by 4.
    pub(super) options: Vec<u8>,
    pub(super) identification: u16,
    pub(super) ttl: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) extensions: Vec<Extension>,
    pub(super) identification: u32,
    pub(super) hop_limit: u8,
}

/// An IPv6 extension header: its protocol number, and its bytes behind next header and length.
#[derive(Clone, Debug)]
pub(super) struct Extension {
    number: u8,
    body: Vec<u8>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// In units of 8 bytes.
    pub(super) offset: u16,
    pub(super) more_follow: bool,
}

impl Network {
    pub(super) fn ethertype(&self) -> u16 {
        match self {
            Network::Arp(_) => ETHERTYPE_ARP,
            Network::V4(_) => ETHERTYPE_IPV4,
            Network::V6(_) => ETHERTYPE_IPV6,
        }
    }

    /// What a checksum of the transport layer covers of this one; `length` is the transport's.
    pub(super) fn pseudo_header(&self, protocol: u8, length: usize) -> Vec<u8> {
        let addresses = match self {
            Network::Arp(_) => panic!("ARP carries no transport layer"),
            Network::V4(ip) => [ip.source.octets(), ip.destination.octets()].concat(),
            Network::V6(ip) => [ip.source.octets(), ip.destination.octets()].concat(),
        };
        // The layout of IPv6. That of IPv4 has other gaps, which do not change the sum.
        let length = u32::try_from(length).expect("a datagram is at most 64 KiB");
        [&addresses[..], &length.to_be_bytes(), &[0, 0, 0, protocol]].concat()
    }
}

impl ArpRequest {
    pub(super) fn packet(&self, sender: Mac) -> Vec<u8> {
        const HARDWARE_ETHERNET: u16 = 1;
        const ADDRESS_LENGTHS: [u8; 2] = [6, 4];
        const REQUEST: u16 = 1;
        [
            &HARDWARE_ETHERNET.to_be_bytes()[..],
            &ETHERTYPE_IPV4.to_be_bytes(),
            &ADDRESS_LENGTHS,
            &REQUEST.to_be_bytes(),
            &sender.0,
            &self.sender.octets(),
            &[0; 6],
            &self.target.octets(),
        ]
        .concat()
    }
}

impl Ipv4 {
    /// The packet that carries `content`, a fragment when it has a `place`.
    pub(super) fn packet(&self, protocol: u8, place: Option<Place>, content: &[u8]) -> Vec<u8> {
        let fragment = place.map_or(0, |place| {
            place.offset | if place.more_follow { IPV4_MORE_FRAGMENTS } else { 0 }
        });
        let header_len = IPV4_HEADER_LEN + self.options.len();
        let total = u16::try_from(header_len + content.len()).expect("a packet is at most 64 KiB");

        let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend(self.identification.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.ttl, protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        let sum = checksum(&[&packet]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(content);
        packet
    }
}

impl Ipv6 {
    /// The packet that carries `content`, with a fragment header when it has a `place`.
    pub(super) fn packet(&self, protocol: u8, place: Option<Place>, content: &[u8]) -> Vec<u8> {
        // From the last header to the first, because each names the one after it.
        let mut next = protocol;
        let mut headers = Vec::new();
        if let Some(place) = place {
            let field = place.offset << 3 | u16::from(place.more_follow);
            headers.extend([next, 0]);
            headers.extend(field.to_be_bytes());
            headers.extend(self.identification.to_be_bytes());
            next = PROTOCOL_FRAGMENT;
        }
        for Extension { number, body } in self.extensions.iter().rev() {
            let units = (body.len() + 2) / EIGHT - 1;
            let start = [next, u8::try_from(units).expect("a header is at most 2 KiB")];
            headers = [&start, &body[..], &headers].concat();
            next = *number;
        }
        let length = u16::try_from(headers.len() + content.len())
            .expect("what follows the IPv6 header is at most 64 KiB");

        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(headers);
        packet.extend(content);
        packet
    }
}

impl Extension {
    /// A header of protocol `number`, padded so that its length is a multiple of 8 bytes.
    pub(super) fn new(number: u8, body: &[u8]) -> Self {
        let mut body = body.to_vec();
        let len = (body.len() + 2).next_multiple_of(EIGHT) - 2;
        let padding = len - body.len();
        // In an options header padding is an option itself: PadN, or for one byte Pad1, a zero.
        let has_options = [PROTOCOL_HOP_BY_HOP, PROTOCOL_DESTINATION_OPTIONS].contains(&number);
        if has_options && padding >= 2 {
            body.extend([PADN, padding as u8 - 2]);
        }
        body.resize(len, 0);
        Self { number, body }
    }
}
