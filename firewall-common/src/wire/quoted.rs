//! The packet that an ICMP error quotes (RFC 792, RFC 4443 §2.4): the one that could not go on.
//!
//! The quotation is as long as its sender liked, but for eight bytes behind the IP header, which hold the
//! ports. So only those are read, and lengths inside it are not held against what is there.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{
    Bytes, Fragment, Packet,
    bytes::forgotten,
    ip_protocol,
    ipv6::{extension, is_extension, words},
    transport,
};
use crate::words::clear;

/// Length of the ICMP header before the quotation.
const ICMP_HEADER_LEN: usize = 8;
/// Bytes of the quoted transport header that are read.
const QUOTED_LEN: usize = 8;
/// Length of a fragment header, and what the lengths of fragments are multiples of (RFC 8200 §4.5).
const FRAGMENT_UNIT: usize = 8;
/// How many extension headers of a quoted packet are walked.
const MAX_EXTENSION_HEADERS: usize = 4;

/// Describes in `quoted` what the ICMP error in `packet` quotes: addresses, ports, protocol, and of TCP the
/// sequence number. `None`: it quotes nothing that a flow could be found by.
#[inline(always)]
pub fn quoted<B: Bytes + ?Sized>(frame: &B, packet: &Packet, quoted: &mut Packet) -> Option<()> {
    clear(quoted);
    let offset = usize::from(packet.transport_offset) + ICMP_HEADER_LEN;
    let end = usize::from(packet.payload_offset) + packet.payload_len as usize;
    quoted.version = packet.version;
    if packet.version == 4 {
        let header = frame.read::<Ipv4Hdr>(offset)?;
        let header_len = usize::from(header.vihl & 0x0f) * 4;
        // The offset within the datagram: a later fragment has no ports.
        const FRAGMENT_OFFSET: u16 = 0x1fff;
        let is_later = u16::from_be_bytes(header.frags) & FRAGMENT_OFFSET != 0;
        if header.vihl >> 4 != 4 || header_len < Ipv4Hdr::LEN || is_later {
            return None;
        }
        quoted.source[0] = u32::from_ne_bytes(header.src_addr);
        quoted.destination[0] = u32::from_ne_bytes(header.dst_addr);
        quoted.protocol = header.proto;
        return transport_start(frame, offset + header_len, end, quoted);
    }
    let header = frame.read::<Ipv6Hdr>(offset)?;
    if header.vcf[0] >> 4 != 6 {
        return None;
    }
    quoted.source = words(header.src_addr);
    quoted.destination = words(header.dst_addr);
    quoted.protocol = header.next_hdr;
    quoted.transport_offset = (offset + Ipv6Hdr::LEN) as u16;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let at = usize::from(forgotten(&quoted.transport_offset));
        if !is_extension(quoted.protocol) {
            return transport_start(frame, at, end, quoted);
        }
        // How long the quoted packet claims to be does not matter here: of a fragment, a length that is in order.
        let len = extension(frame, at, at + 2 * FRAGMENT_UNIT, quoted).ok()?;
        if quoted.fragment == Fragment::Later {
            return None;
        }
        quoted.transport_offset = (at + len) as u16;
    }
    None
}

/// Reads the start of the quoted transport header at `offset`.
#[inline(always)]
fn transport_start<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    end: usize,
    quoted: &mut Packet,
) -> Option<()> {
    if offset + QUOTED_LEN > end {
        return None;
    }
    let bytes @ [a, b, c, d, e, f, g, h] = frame.read::<[u8; QUOTED_LEN]>(offset)?;
    match quoted.protocol {
        ip_protocol::TCP | ip_protocol::UDP => {
            quoted.source_port = u16::from_be_bytes([a, b]);
            quoted.destination_port = u16::from_be_bytes([c, d]);
            quoted.seq = u32::from_be_bytes([e, f, g, h]);
        }
        ip_protocol::ICMP | ip_protocol::ICMPV6 => transport::note_icmp(bytes, quoted),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Parsed, parse};
    use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};

    /// An ICMP error about a TCP segment with this sequence number.
    fn error(v6: bool, quoted_len: usize) -> Vec<u8> {
        let mut segment = Vec::new();
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
        if v6 {
            let ip = PacketBuilder::ipv6([1; 16], [2; 16], 64);
            ip.tcp(4000, 554, 77, 0).write(&mut segment, &[]).unwrap();
            segment.truncate(quoted_len);
            link.ipv6([9; 16], [1; 16], 64)
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: 1280 })
                .write(&mut frame, &segment)
                .unwrap();
            let _ = icmpv6::TYPE_PACKET_TOO_BIG;
        } else {
            let ip = PacketBuilder::ipv4([1; 4], [2; 4], 64);
            ip.tcp(4000, 554, 77, 0).write(&mut segment, &[]).unwrap();
            segment.truncate(quoted_len);
            let unreachable =
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
            link.ipv4([9; 4], [1; 4], 64)
                .icmpv4(Icmpv4Type::DestinationUnreachable(unreachable))
                .write(&mut frame, &segment)
                .unwrap();
        }
        frame
    }

    #[test]
    fn ports_and_number_of_the_quoted_segment() {
        for v6 in [false, true] {
            let header = if v6 { 40 } else { 20 };
            for len in 0..=header + 20 {
                let frame = error(v6, len);
                let (mut packet, mut found) = (Packet::default(), Packet::default());
                assert_eq!(parse(frame.as_slice(), &mut packet), Parsed::Ip);
                let known = quoted(frame.as_slice(), &packet, &mut found);
                assert_eq!(known.is_some(), len >= header + 8, "v6 {v6}, {len} bytes");
                if known.is_some() {
                    assert_eq!((found.source_port, found.destination_port), (4000, 554));
                    assert_eq!((found.seq, found.protocol), (77, ip_protocol::TCP));
                    assert_eq!(found.source[0], 0x0101_0101);
                    assert_eq!(found.destination[0], 0x0202_0202);
                }
            }
        }
    }

    #[test]
    fn of_the_fragments_of_a_datagram_the_first_tells_its_ports() {
        const FRAGMENT: u8 = 44;
        for (offset, more, known) in [(0u16, 1, true), (0, 0, true), (1, 1, false), (181, 0, false)]
        {
            let mut datagram = Vec::new();
            let ip = PacketBuilder::ipv6([1; 16], [2; 16], 64);
            ip.udp(4000, 554).write(&mut datagram, &[7; 1232]).unwrap();
            datagram[6] = FRAGMENT;
            let [high, low] = (offset << 3 | more).to_be_bytes();
            let header = [ip_protocol::UDP, 0, high, low, 0, 0, 0, 9];
            datagram.splice(40..40, header);
            let mut frame = Vec::new();
            let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
            link.ipv6([9; 16], [1; 16], 64)
                .icmpv6(Icmpv6Type::PacketTooBig { mtu: 1280 })
                .write(&mut frame, &datagram[..1232])
                .unwrap();
            let (mut packet, mut found) = (Packet::default(), Packet::default());
            assert_eq!(parse(frame.as_slice(), &mut packet), Parsed::Ip);
            let told = quoted(frame.as_slice(), &packet, &mut found).is_some();
            assert_eq!(told, known, "offset {offset}, more {more}");
            if known {
                assert_eq!((found.source_port, found.destination_port), (4000, 554));
            }
        }
    }
}
