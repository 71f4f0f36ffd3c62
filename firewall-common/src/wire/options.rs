//! TCP options of a SYN (RFC 9293 §3.1, RFC 7323).

use super::{Bytes, Packet, Result, bytes::forgotten};
use crate::reason::Reason;

/// A SYN announces no window scale: windows of its connection are not scaled.
pub const NO_WINDOW_SCALE: u8 = u8::MAX;

/// A TCP header has at most this many bytes of options.
const MAX_OPTIONS_LEN: usize = 40;

/// Walks the options from `packet.payload_offset` to `end` and lays down the window scale. A list whose
/// lengths lie is refused: the ends might read it otherwise.
#[inline(always)]
pub(super) fn window_scale<B: Bytes + ?Sized>(
    frame: &B,
    end: usize,
    packet: &mut Packet,
) -> Result<()> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const WINDOW_SCALE: u8 = 3;

    for _ in 0..MAX_OPTIONS_LEN {
        let at = usize::from(forgotten(&packet.payload_offset));
        // Two bytes at a time: the last one alone has no room for a length and can only be padding.
        if at + 1 >= end {
            break;
        }
        let [kind, len] = frame.read::<[u8; 2]>(at).ok_or(Reason::BadLength)?;
        let len = match kind {
            END => break,
            NO_OPERATION => 1,
            _ if len < 2 || at + usize::from(len) > end => return Err(Reason::BadLength),
            _ => usize::from(len),
        };
        if kind == WINDOW_SCALE && len == 3 {
            let [_, _, shift] = frame.read::<[u8; 3]>(at).ok_or(Reason::BadLength)?;
            packet.window_scale = shift;
        }
        packet.payload_offset = (at + len) as u16;
    }
    Ok(())
}
