//! IPv4 (RFC 791).

use network_types::ip::Ipv4Hdr;

use super::{Bytes, Packet, Result, bytes::forgotten, fragment::note_fragment};
use crate::reason::Reason;

/// Bit of the flags and fragment offset field: more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Bits of the same field: offset in units of 8 bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// An IPv4 header has at most this many bytes of options (RFC 791 §3.1).
const MAX_OPTIONS_LEN: usize = 40;

/// Reads the header at `packet.ip_offset`.
#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Result<()> {
    let offset = usize::from(forgotten(&packet.ip_offset));
    let header = frame.read::<Ipv4Hdr>(offset).ok_or(Reason::BadLength)?;
    if header.vihl >> 4 != 4 {
        return Err(Reason::IpVersion);
    }
    let header_len = usize::from(header.vihl & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes(header.tot_len));
    if header_len < Ipv4Hdr::LEN || total_len < header_len || offset + total_len > frame.len() {
        return Err(Reason::BadLength);
    }
    if header_len > Ipv4Hdr::LEN {
        packet.transport_offset = (offset + Ipv4Hdr::LEN) as u16;
        refuse_source_route(frame, offset + header_len, packet)?;
    }

    packet.version = 4;
    packet.source[0] = u32::from_ne_bytes(header.src_addr);
    packet.destination[0] = u32::from_ne_bytes(header.dst_addr);
    packet.protocol = header.proto;
    packet.ip_len = total_len as u32;
    let field = u16::from_be_bytes(header.frags);
    let more = field & MORE_FRAGMENTS != 0;
    note_fragment(packet, field & FRAGMENT_OFFSET, more, total_len - header_len)?;
    packet.fragment_id = u32::from(u16::from_be_bytes(header.id));
    packet.transport_offset = (offset + header_len) as u16;
    Ok(())
}

/// Walks the options from `packet.transport_offset` to `end` and refuses loose and strict source routes,
/// which let a sender choose a way around the rules (RFC 7126 §4.3, §4.4). Other options pass.
#[inline(always)]
fn refuse_source_route<B: Bytes + ?Sized>(
    frame: &B,
    end: usize,
    packet: &mut Packet,
) -> Result<()> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;

    for _ in 0..MAX_OPTIONS_LEN {
        let at = usize::from(forgotten(&packet.transport_offset));
        // Two bytes at a time: the last one alone has no room for a length and can only be padding.
        if at + 1 >= end {
            break;
        }
        let [kind, len] = frame.read::<[u8; 2]>(at).ok_or(Reason::BadLength)?;
        let len = match kind {
            END => break,
            NO_OPERATION => 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Reason::IpOptions),
            // A length below 2 would make the walk stand still; one beyond the header lies.
            _ if len < 2 || at + usize::from(len) > end => return Err(Reason::BadLength),
            _ => usize::from(len),
        };
        packet.transport_offset = (at + len) as u16;
    }
    Ok(())
}
