//! IPv6 and its extension headers (RFC 8200).

use network_types::ip::Ipv6Hdr;

use super::{Bytes, Fragment, Packet, Result, bytes::forgotten, fragment::note_fragment};
use crate::reason::Reason;

/// How many extension headers are walked. RFC 8200 §4.1 names seven kinds, of which only the destination
/// options may come twice.
pub const MAX_EXTENSION_HEADERS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Routing header type 0 is source routing and deprecated (RFC 5095).
const SOURCE_ROUTE: u8 = 0;

/// Reads the header at `packet.ip_offset` and the extension headers behind it.
#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Result<()> {
    let offset = usize::from(forgotten(&packet.ip_offset));
    let header = frame.read::<Ipv6Hdr>(offset).ok_or(Reason::BadLength)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    // A jumbogram (length 0 and a hop-by-hop option, RFC 2675) fits no Ethernet frame; what claims to be
    // one has no room for its headers below and is refused there.
    let payload_len = usize::from(u16::from_be_bytes(header.payload_len));
    let end = offset + Ipv6Hdr::LEN + payload_len;
    if end > frame.len() {
        return Err(Reason::BadLength);
    }
    packet.version = 6;
    packet.hop_limit = header.hop_limit;
    packet.source = words(header.src_addr);
    packet.destination = words(header.dst_addr);
    packet.ip_len = (Ipv6Hdr::LEN + payload_len) as u32;

    packet.protocol = header.next_hdr;
    packet.transport_offset = (offset + Ipv6Hdr::LEN) as u16;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let at = usize::from(forgotten(&packet.transport_offset));
        // What follows a later fragment's header is the middle of a datagram, not a header.
        if !is_extension(packet.protocol) || packet.fragment == Fragment::Later {
            return Ok(());
        }
        let extension_len = extension(frame, at, end, packet)?;
        if at + extension_len > end {
            return Err(Reason::BadLength);
        }
        packet.transport_offset = (at + extension_len) as u16;
    }
    Err(Reason::ExtensionHeaders)
}

/// Reads the extension header at `at`: puts the next header's number in its place and returns its length.
#[inline(always)]
pub(super) fn extension<B: Bytes + ?Sized>(
    frame: &B,
    at: usize,
    end: usize,
    packet: &mut Packet,
) -> Result<usize> {
    let [next_header, len, third, fourth, id0, id1, id2, id3] =
        frame.read::<[u8; 8]>(at).ok_or(Reason::BadLength)?;
    let this_header = core::mem::replace(&mut packet.protocol, next_header);
    match this_header {
        // Two of them, and what is a fragment for one reader is whole for another.
        FRAGMENT if packet.fragment != Fragment::Whole => Err(Reason::ExtensionHeaders),
        FRAGMENT => {
            // Offset in the upper 13 bits, "more" in the lowest (RFC 8200 §4.5). An atomic fragment has
            // neither and is a whole packet (RFC 6946).
            let field = u16::from_be_bytes([third, fourth]);
            packet.fragment_id = u32::from_be_bytes([id0, id1, id2, id3]);
            let len = end.saturating_sub(at + 8);
            note_fragment(packet, field >> 3, field & 1 != 0, len)?;
            Ok(8)
        }
        // In units of 4 bytes, less 2 (RFC 4302 §2.2).
        AUTHENTICATION => Ok((usize::from(len) + 2) * 4),
        ROUTING if third == SOURCE_ROUTE => Err(Reason::IpOptions),
        _ => Ok((usize::from(len) + 1) * 8),
    }
}

#[inline(always)]
pub(super) fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

#[inline(always)]
pub(super) fn words(address: [u8; 16]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}
