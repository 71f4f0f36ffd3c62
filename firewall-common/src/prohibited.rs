//! The answer to a packet that a rule rejects and that is not TCP: "communication administratively prohibited", of
//! IPv4 ICMP type 3 code 13 (RFC 1812 §5.2.7.1), of IPv6 ICMPv6 type 1 code 1 (RFC 4443 §3.1).
//!
//! The refused packet becomes the quotation: it keeps its place, is cut at its end, and headers are put before it.

use crate::{
    martian,
    reset::HOP_LIMIT,
    wire::{Fragment, Packet, checksum::Sum, ip_protocol},
};

/// Length of an IPv4 header without options and of an ICMP header.
pub const IPV4_HEADERS_LEN: usize = 20 + 8;
/// Length of an IPv6 header and of an ICMPv6 header.
pub const IPV6_HEADERS_LEN: usize = 40 + 8;

/// The longest answers. IPv4: what every host takes (RFC 1812 §4.3.2.3). IPv6: what every link carries (RFC 4443 §3.1).
const IPV4_MAX: u32 = 576;
const IPV6_MAX: u32 = 1280;
/// The longest quotation.
pub const QUOTE_MAX: u32 = IPV6_MAX - IPV6_HEADERS_LEN as u32;

/// Type and code, as they begin the ICMP header.
const PROHIBITED_V4: u16 = 3 << 8 | 13;
const PROHIBITED_V6: u16 = 1 << 8 | 1;

/// Whether an error may answer the packet, whose frame is for a hardware address that begins with this byte. None may
/// answer an error, what is for a group, what is from nobody, or a fragment that is not the first (RFC 1122 §3.2.2,
/// RFC 4443 §2.4 (e)).
#[inline(always)]
pub const fn is_answerable(packet: &Packet, hardware_destination: u8) -> bool {
    /// The bit that a group's hardware address has (IEEE 802 §8.2.2), the broadcast address included.
    const GROUP: u8 = 1;
    hardware_destination & GROUP == 0
        && !matches!(packet.fragment, Fragment::Later)
        && !martian::is_from_nobody(packet)
        && !martian::is_to_group(packet)
        && !is_error(packet)
}

/// Whether the packet is an ICMP error, or a redirect, which counts as one (RFC 1122 §3.2.2, RFC 4443 §2.4 (e.2)).
#[inline(always)]
const fn is_error(packet: &Packet) -> bool {
    match packet.protocol {
        ip_protocol::ICMP => matches!(packet.icmp_type, 3 | 4 | 5 | 11 | 12),
        ip_protocol::ICMPV6 => matches!(packet.icmp_type, 0..=127 | 137),
        _ => false,
    }
}

/// How much of the packet is quoted, bytes from its IP header on.
#[inline(always)]
pub const fn quote_len(packet: &Packet) -> u32 {
    let max = if packet.version == 4 {
        IPV4_MAX - IPV4_HEADERS_LEN as u32
    } else {
        IPV6_MAX - IPV6_HEADERS_LEN as u32
    };
    if packet.ip_len < max { packet.ip_len } else { max }
}

/// The headers before the quotation of an IPv4 packet. `source` is in network byte order, `quote` the sum over the
/// quotation.
#[inline(always)]
pub fn headers_v4(packet: &Packet, source: u32, quote: Sum) -> [u8; IPV4_HEADERS_LEN] {
    /// Version, header length, and the precedence that errors have (RFC 1812 §4.3.2.5).
    const BEGINS: u16 = 0x45 << 8 | 0xc0;
    /// Nobody needs to take it apart.
    const DONT_FRAGMENT: u16 = 0x4000;
    const HOPS_AND_PROTOCOL: u16 = (HOP_LIMIT as u16) << 8 | ip_protocol::ICMP as u16;
    let [destination, ..] = packet.source;
    let (from, to) = (u32::from_be(source), u32::from_be(destination));
    let len = (quote_len(packet) + IPV4_HEADERS_LEN as u32) as u16;
    let sum = Sum::default().word(BEGINS).word(len).word(DONT_FRAGMENT).word(HOPS_AND_PROTOCOL);
    let sum = sum.number(from).number(to);
    bytemuck::cast([
        pair(BEGINS, len),
        pair(0, DONT_FRAGMENT),
        pair(HOPS_AND_PROTOCOL, sum.checksum()),
        source,
        destination,
        pair(PROHIBITED_V4, quote.word(PROHIBITED_V4).checksum()),
        0,
    ])
}

/// The headers before the quotation of an IPv6 packet, likewise.
#[inline(always)]
pub fn headers_v6(packet: &Packet, source: [u32; 4], quote: Sum) -> [u8; IPV6_HEADERS_LEN] {
    const VERSION: u16 = 6 << 12;
    const NEXT_AND_HOPS: u16 = (ip_protocol::ICMPV6 as u16) << 8 | HOP_LIMIT as u16;
    const ICMP_HEADER_LEN: u32 = 8;
    let len = quote_len(packet) + ICMP_HEADER_LEN;
    // The pseudo-header (RFC 8200 §8.1) counts, too.
    let sum = quote
        .address(source)
        .address(packet.source)
        .number(len)
        .word(u16::from(ip_protocol::ICMPV6))
        .word(PROHIBITED_V6);
    let [s0, s1, s2, s3] = source;
    let [d0, d1, d2, d3] = packet.source;
    let begins = [pair(VERSION, 0), pair(len as u16, NEXT_AND_HOPS)];
    let [v0, v1] = begins;
    let icmp = pair(PROHIBITED_V6, sum.checksum());
    bytemuck::cast([v0, v1, s0, s1, s2, s3, d0, d1, d2, d3, icmp, 0])
}

/// Two words in host order as they lie in a packet.
#[inline(always)]
const fn pair(first: u16, second: u16) -> u32 {
    ((first as u32) << 16 | second as u32).to_be()
}

/// What the transport part of a packet adds to the sum over a quotation if its checksum, `field`, is left to the device
/// to finish (see [`is_partial`](crate::reset::is_partial)): the device writes what brings the sum over that part to
/// the complement of what stood in the field, wherever the packet ends.
#[inline(always)]
pub const fn once_finished(field: u16) -> u16 {
    !field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Parsed, parse};
    use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
    use proptest::prelude::*;

    const OWN_V4: [u8; 4] = [10, 1, 0, 1];
    const OWN_V6: [u8; 16] = [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    fn datagram(v6: bool, payload: &[u8]) -> (Vec<u8>, Packet) {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip =
            if v6 { link.ipv6([0x20; 16], [0x30; 16], 9) } else { link.ipv4([10; 4], [11; 4], 9) };
        ip.udp(4000, 5000).write(&mut frame, payload).unwrap();
        let mut packet = Packet::default();
        assert_eq!(parse(frame.as_slice(), &mut packet), Parsed::Ip);
        (frame, packet)
    }

    fn sum(bytes: &[u8]) -> Sum {
        bytes.chunks(2).fold(Sum::default(), |sum, pair| {
            sum.word(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
        })
    }

    /// The IP packet that answers, as an independent implementation writes it.
    fn expected(v6: bool, quote: &[u8]) -> Vec<u8> {
        let mut written = Vec::new();
        if v6 {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: u16::try_from(quote.len() + 8).unwrap(),
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: 64,
                source: OWN_V6,
                destination: [0x20; 16],
            };
            header.write(&mut written).unwrap();
            let unreachable = etherparse::icmpv6::DestUnreachableCode::Prohibited;
            let icmp = etherparse::Icmpv6Type::DestinationUnreachable(unreachable);
            let icmp = etherparse::Icmpv6Header::with_checksum(icmp, OWN_V6, [0x20; 16], quote);
            icmp.unwrap().write(&mut written).unwrap();
        } else {
            let len = u16::try_from(quote.len() + 8).unwrap();
            let mut header = Ipv4Header::new(len, 64, IpNumber::ICMP, OWN_V4, [10; 4]).unwrap();
            header.dscp = 48.try_into().unwrap();
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            header.write(&mut written).unwrap();
            let unreachable = etherparse::icmpv4::DestUnreachableHeader::FilterProhibited;
            let icmp = etherparse::Icmpv4Type::DestinationUnreachable(unreachable);
            etherparse::Icmpv4Header::with_checksum(icmp, quote).write(&mut written).unwrap();
        }
        written.extend(quote);
        written
    }

    proptest! {
        #[test]
        fn an_answer_is_what_another_implementation_writes(
            v6: bool, payload in prop::collection::vec(any::<u8>(), 0..1400)
        ) {
            let (frame, packet) = datagram(v6, &payload);
            let quote = &frame[14..][..quote_len(&packet) as usize];
            let mut written = if v6 {
                headers_v6(&packet, bytemuck::cast(OWN_V6), sum(quote)).to_vec()
            } else {
                headers_v4(&packet, u32::from_ne_bytes(OWN_V4), sum(quote)).to_vec()
            };
            written.extend(quote);
            let max = if v6 { 1280 } else { 576 };
            prop_assert!(written.len() <= max);
            prop_assert_eq!(written, expected(v6, quote));
        }

        #[test]
        fn a_device_that_finishes_the_quoted_checksum_keeps_the_answer_whole(
            v6: bool, payload in prop::collection::vec(any::<u8>(), 1..1400)
        ) {
            let (mut frame, packet) = datagram(v6, &payload);
            let transport = usize::from(packet.transport_offset);
            let header = Sum::default().address(packet.source).address(packet.destination);
            let header = header.number(payload.len() as u32 + 8).word(17);
            let field = header.folded();
            frame[transport + 6..][..2].copy_from_slice(&field.to_be_bytes());
            let end = 14 + quote_len(&packet) as usize;
            let foreseen = sum(&frame[14..transport]).word(once_finished(field));

            // As `skb_checksum_help` does it.
            let finished = sum(&frame[transport..end]).checksum();
            frame[transport + 6..][..2].copy_from_slice(&finished.to_be_bytes());
            prop_assert_eq!(foreseen.folded(), sum(&frame[14..end]).folded());
        }
    }

    #[test]
    fn what_must_not_be_answered() {
        const UNICAST: u8 = 2;
        for v6 in [false, true] {
            let (_, packet) = datagram(v6, b"hello");
            assert!(is_answerable(&packet, UNICAST));
            assert!(!is_answerable(&packet, 0xff), "a broadcast");
            assert!(!is_answerable(&packet, if v6 { 0x33 } else { 0x01 }), "a multicast");
            let group =
                if v6 { 0xff02_0000_u32.to_be() } else { u32::from_ne_bytes([224, 0, 0, 251]) };
            let to_group = Packet { destination: [group, 0, 0, 0], ..packet };
            assert!(!is_answerable(&to_group, UNICAST), "to a group");
            let from_group = Packet { source: [group, 0, 0, 0], ..packet };
            assert!(!is_answerable(&from_group, UNICAST), "from a group");
            let from_nobody = Packet { source: [0; 4], ..packet };
            assert!(!is_answerable(&from_nobody, UNICAST), "from nobody");
            let first = Packet { fragment: Fragment::First, ..packet };
            assert!(is_answerable(&first, UNICAST), "a first fragment");
            let later = Packet { fragment: Fragment::Later, ..packet };
            assert!(!is_answerable(&later, UNICAST), "a later one");
            let protocol = if v6 { ip_protocol::ICMPV6 } else { ip_protocol::ICMP };
            let icmp = |icmp_type| Packet { protocol, icmp_type, ..packet };
            let errors: &[u8] = if v6 { &[1, 2, 3, 4, 100, 127, 137] } else { &[3, 4, 5, 11, 12] };
            for error in errors {
                assert!(!is_answerable(&icmp(*error), UNICAST), "ICMP error {error}");
            }
            let asking: &[u8] = if v6 { &[128, 129, 139] } else { &[0, 8, 13, 17] };
            for asking in asking {
                assert!(is_answerable(&icmp(*asking), UNICAST), "ICMP {asking}");
            }
        }
    }
}
