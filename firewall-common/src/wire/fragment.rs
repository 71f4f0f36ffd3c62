//! Fragments of a datagram (RFC 791 §3.2, RFC 8200 §4.5).

use super::{Fragment, Packet, Result};
use crate::reason::Reason;

/// A datagram has at most this many bytes behind its IP header.
const DATAGRAM_MAX: usize = 65_535;

/// Lays down where in its datagram a packet stands.
///
/// `offset`: in units of 8 bytes. `len`: bytes behind the IP header, or behind the fragment header.
///
/// # Errors
///
/// [`Reason::BadLength`] for a fragment that would reach beyond the largest datagram (the "ping of death"), or
/// that is not the last and has no multiple of 8 bytes.
#[inline(always)]
pub(super) fn note_fragment(
    packet: &mut Packet,
    offset: u16,
    more: bool,
    len: usize,
) -> Result<()> {
    packet.fragment_offset = offset;
    packet.more_fragments = u8::from(more);
    packet.fragment = if offset != 0 {
        Fragment::Later
    } else if more {
        Fragment::First
    } else {
        Fragment::Whole
    };
    let lies = usize::from(offset) * 8 + len > DATAGRAM_MAX
        || more && (!len.is_multiple_of(8) || len == 0);
    if packet.fragment != Fragment::Whole && lies { Err(Reason::BadLength) } else { Ok(()) }
}
