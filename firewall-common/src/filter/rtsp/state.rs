//! What the parser is in the middle of, and what it remembers.

use bytemuck::{Pod, Zeroable};

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct State(u8);

impl State {
    /// Nothing yet: a message or a frame begins here.
    pub(super) const BETWEEN: Self = Self(0);
    pub(super) const START_LINE: Self = Self(1);
    /// The start of a line after the start line: a header, the rest of one, or the blank line.
    pub(super) const HEADER_START: Self = Self(2);
    pub(super) const HEADER_NAME: Self = Self(3);
    pub(super) const HEADER_VALUE: Self = Self(4);
    /// A body or the payload of a frame.
    pub(super) const PAYLOAD: Self = Self(5);
    /// `$`, channel and length of an interleaved frame.
    pub(super) const FRAME: Self = Self(6);
    /// The rest of a segment in which no message began, while joining.
    pub(super) const REST_OF_SEGMENT: Self = Self(7);
    /// The rest of the stream, which is not or no longer RTSP that can be read.
    pub(super) const OPAQUE: Self = Self(8);

    /// Whether it is in the head of a message.
    #[inline(always)]
    pub(super) const fn is_head(self) -> bool {
        self.0 >= Self::START_LINE.0 && self.0 <= Self::HEADER_VALUE.0
    }
}

/// What is to be remembered, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Flags(u32);

impl Flags {
    // Of the stream.

    /// Joined in the middle, and no whole start line was read since.
    pub(super) const JOINING: Self = Self(1 << 0);
    /// Not every byte since the start was seen.
    pub(super) const JOINED: Self = Self(1 << 1);
    /// There was an RTSP message.
    pub(super) const SPOKEN: Self = Self(1 << 2);
    /// This side asked for a SETUP or answered one.
    pub(super) const SETUP: Self = Self(1 << 3);
    /// The last byte was a CR that ended a line.
    pub(super) const AFTER_CR: Self = Self(1 << 4);
    /// The last unit was an interleaved frame.
    pub(super) const MEDIA: Self = Self(1 << 5);
    /// This side's head of an HTTP tunnel was read.
    pub(super) const TUNNELLED: Self = Self(1 << 6);
    /// What follows is base64 of what is to be read.
    pub(super) const BASE64: Self = Self(1 << 7);

    // Of the message.

    /// Those, and those of the header.
    pub(super) const OF_MESSAGE: Self = Self(!0 << 8);

    /// The last byte was part of a word of the start line.
    pub(super) const IN_WORD: Self = Self(1 << 8);
    /// The URL has a scheme.
    pub(super) const ABSOLUTE_URL: Self = Self(1 << 9);
    /// GET or POST in a request, 2xx in a response: if this is HTTP, it may begin a tunnel.
    pub(super) const MAY_TUNNEL: Self = Self(1 << 10);
    /// The method is POST.
    pub(super) const POST: Self = Self(1 << 11);
    /// A header says that RTSP is tunnelled.
    pub(super) const TUNNEL: Self = Self(1 << 12);
    pub(super) const HAS_CSEQ: Self = Self(1 << 13);
    /// The CSeq is a number.
    pub(super) const KNOWS_CSEQ: Self = Self(1 << 14);
    pub(super) const HAS_LENGTH: Self = Self(1 << 15);
    /// How long the body is cannot be known.
    pub(super) const BAD_LENGTH: Self = Self(1 << 16);
    pub(super) const HAS_TRANSPORT: Self = Self(1 << 17);

    // Of the header.

    pub(super) const COLON: Self = Self(1 << 18);
    pub(super) const NAME_ENDED: Self = Self(1 << 19);
    pub(super) const BAD_NAME: Self = Self(1 << 20);
    /// The header holds credentials; nothing more of it is kept.
    pub(super) const SECRET: Self = Self(1 << 21);
    /// `held_byte` is the first byte of a header. It is not in the excerpt yet, because findings
    /// about the header before, which only this byte has ended, are read from there after the step.
    pub(super) const HELD_BYTE: Self = Self(1 << 22);

    pub(super) const OF_HEADER: Self = Self(0b1_1111 << 18);

    /// Whether frames come one after another, and nothing is to be said about them: who takes part in a SETUP may
    /// send any.
    #[inline(always)]
    pub(super) const fn is_among_frames(self) -> bool {
        let asked = Self::MEDIA.with(Self::SETUP);
        let not = Self::JOINING.with(Self::AFTER_CR).with(Self::HELD_BYTE).with(Self::BASE64);
        self.0 & asked.with(not).0 == asked.0
    }

    #[inline(always)]
    pub(super) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline(always)]
    #[must_use]
    pub(super) const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    #[inline(always)]
    #[must_use]
    pub(super) const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }
}

/// What is still to be done about a byte, a bit each.
///
/// Whatever a byte leads to is done stage by stage, each called from one place (see [`super::reading`]), and not
/// by calls within calls: the kernel's verifier looks at a function anew for each place that calls it, and allows
/// no more than eight frames.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Due(u16);

impl Due {
    pub(super) const NOTHING: Self = Self(0);
    /// The byte belongs to the name of a header.
    pub(super) const NAME_BYTE: Self = Self(1 << 0);
    /// A header has ended.
    pub(super) const HEADER_END: Self = Self(1 << 1);
    /// The byte begins a header.
    pub(super) const HEADER_BEGIN: Self = Self(1 << 2);
    /// The head of a message has ended.
    pub(super) const HEAD_END: Self = Self(1 << 3);
    /// A Session header: the byte belongs to it, or it has ended.
    pub(super) const SESSION: Self = Self(1 << 4);
    /// A Transport header: the byte belongs to it, or it has ended.
    pub(super) const TRANSPORT: Self = Self(1 << 5);

    // In a Transport header.

    pub(super) const VALUE_BYTE: Self = Self(1 << 6);
    pub(super) const ADDRESS_BYTE: Self = Self(1 << 7);
    /// The name of a parameter has ended.
    pub(super) const NAME_END: Self = Self(1 << 8);
    pub(super) const ADDRESS_END: Self = Self(1 << 9);
    pub(super) const PORT_END: Self = Self(1 << 10);
    pub(super) const PARAMETER_END: Self = Self(1 << 11);
    pub(super) const ALTERNATIVE_END: Self = Self(1 << 12);
    /// A number or an address begins with the next byte.
    pub(super) const PART_BEGIN: Self = Self(1 << 13);

    #[inline(always)]
    pub(super) const fn has(self, stage: Self) -> bool {
        self.0 & stage.0 != 0
    }

    #[inline(always)]
    #[must_use]
    pub(super) const fn with(self, stage: Self) -> Self {
        Self(self.0 | stage.0)
    }
}

/// The line that a finding is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Start,
    Header,
}
