//! Interleaved frames (RFC 2326 §10.12): `$`, a channel, a 16-bit length and as many bytes of media; and
//! the stretches whose bytes are not looked at.

use super::super::finding::Findings;
use super::{About, Finding, Flags, INTERLEAVED_BEFORE_SETUP_MAX, Parser, State};

impl Parser {
    #[inline(always)]
    pub(super) fn begin_frame(&mut self) {
        self.begin_unit();
        self.set(Flags::MEDIA);
        self.remaining = 0;
        self.length = 0;
        self.state = State::FRAME;
    }

    /// The four bytes before the media of a frame at once, where nothing is to be said about them.
    #[inline(always)]
    pub(super) fn take_frame(&mut self, head: [u8; 4]) -> bool {
        let [begin, _, high, low] = head;
        let plain = self.state == State::BETWEEN && self.flags.is_among_frames();
        if !plain || begin != b'$' {
            return false;
        }
        self.start_offset = self.offset;
        self.start.begin_with(head);
        self.offset = self.offset.wrapping_add(4);
        self.length = 4;
        self.remaining = u32::from(high) << 8 | u32::from(low);
        self.media = self.media.saturating_add(self.remaining);
        if self.remaining > 0 {
            self.state = State::PAYLOAD;
        }
        true
    }

    /// The `$`, the channel and the 16-bit length of an interleaved frame (RFC 2326 §10.12).
    #[inline(never)]
    pub(super) fn frame(&mut self, peer: &Self, byte: u8) -> Findings {
        self.start.push(byte);
        self.length = self.length.wrapping_add(1);
        if self.length <= 2 {
            return Findings::EMPTY;
        }
        self.remaining = self.remaining << 8 | u32::from(byte);
        if self.length == 3 {
            return Findings::EMPTY;
        }
        self.media = self.media.saturating_add(self.remaining);
        self.state = if self.remaining > 0 { State::PAYLOAD } else { State::BETWEEN };
        self.media_before_setup(peer)
    }

    /// Who takes part in a SETUP shows it: one end asks, the other answers with a Transport or Session header.
    /// What was said before a join, or on a tunnel's other connection, is not known.
    #[inline(always)]
    fn media_before_setup(&mut self, peer: &Self) -> Findings {
        let known = self.flags.with(peer.flags);
        if known.has(Flags::SETUP) || known.has(Flags::JOINED) || known.has(Flags::TUNNELLED) {
            return Findings::EMPTY;
        }
        self.unexpected_media =
            self.unexpected_media.saturating_add(4).saturating_add(self.remaining);
        if self.unexpected_media <= INTERLEAVED_BEFORE_SETUP_MAX {
            return Findings::EMPTY;
        }
        self.report(Finding::InterleavedBeforeSetup.bit(), About::Start)
    }

    #[inline(always)]
    pub(super) fn payload(&mut self) -> Findings {
        self.remaining = self.remaining.saturating_sub(1);
        if self.remaining == 0 {
            self.state = State::BETWEEN;
        }
        Findings::EMPTY
    }
}
