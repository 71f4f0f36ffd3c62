//! Header lines.
//!
//! RFC 2326 §15.1: `name ":" [ value ] CRLF`; a line that begins with a blank continues the one before.
//! So only the first byte of the next line ends a header, and it is judged then.

use bytemuck::{Pod, Zeroable};

use super::super::finding::Findings;
use super::super::token::{CR, HT, LF, SP, Token, is_token};
use super::state::Due;
use super::{About, BODY_MAX, Finding, Flags, HEADER_MAX, HEADERS_MAX, Parser, State};
use crate::words::clear;

/// Longest header after its colon: a blank and the value.
const VALUE_MAX: u16 = HEADER_MAX + " ".len() as u16;

/// The end of `application/x-rtsp-tunnelled`, as much of it as a [`Token`] holds.
const TUNNEL_MARKER: Token = Token::of("ication/x-rtsp-tunnelled");

/// The headers that are looked at.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Header(u8);

impl Header {
    const OTHER: Self = Self(0);
    const CSEQ: Self = Self(1);
    const CONTENT_LENGTH: Self = Self(2);
    /// Accept or Content-Type, which announce a tunnel.
    const MEDIA_TYPE: Self = Self(3);
    /// Authorization or Proxy-Authorization.
    const CREDENTIALS: Self = Self(4);
    const TRANSPORT: Self = Self(5);
    const SESSION: Self = Self(6);

    /// The header with the lower-case `name`.
    #[inline(always)]
    const fn named(name: Token) -> Self {
        if name.is(const { Token::of("cseq") }) {
            Self::CSEQ
        } else if name.is(const { Token::of("content-length") }) {
            Self::CONTENT_LENGTH
        } else if name.is(const { Token::of("content-type") })
            || name.is(const { Token::of("accept") })
        {
            Self::MEDIA_TYPE
        } else if name.is(const { Token::of("authorization") })
            || name.is(const { Token::of("proxy-authorization") })
        {
            Self::CREDENTIALS
        } else if name.is(const { Token::of("transport") }) {
            Self::TRANSPORT
        } else if name.is(const { Token::of("session") }) {
            Self::SESSION
        } else {
            Self::OTHER
        }
    }
}

/// How far a number has been read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Number(u8);

impl Number {
    pub(super) const NONE: Self = Self(0);
    const DIGITS: Self = Self(1);
    /// Blanks follow it.
    const ENDED: Self = Self(2);
    const BAD: Self = Self(3);

    #[inline(always)]
    pub(super) const fn is_good(self) -> bool {
        self.0 == Self::DIGITS.0 || self.0 == Self::ENDED.0
    }
}

impl Parser {
    /// The start of a line: of one that continues the header before, of a header, or the blank line.
    #[inline(never)]
    pub(super) fn header_start(&mut self, byte: u8) {
        if matches!(byte, SP | HT) && self.headers > 0 {
            let in_value = self.has(Flags::COLON);
            self.state = if in_value { State::HEADER_VALUE } else { State::HEADER_NAME };
            return;
        }
        if self.headers > 0 {
            self.make_due(Due::HEADER_END);
            self.make_due_of_header();
        }
        let head_ends = matches!(byte, CR | LF);
        self.make_due(if head_ends { Due::HEAD_END } else { Due::HEADER_BEGIN });
    }

    #[inline(always)]
    pub(super) fn begin_header(&mut self, byte: u8) {
        self.headers = self.headers.saturating_add(1);
        self.clear(Flags::OF_HEADER);
        self.set(Flags::HELD_BYTE);
        self.held_byte = byte;
        self.header = Header::OTHER;
        clear(&mut self.token);
        self.length = 0;
        self.state = State::HEADER_NAME;
        self.make_due(Due::NAME_BYTE);
    }

    /// Puts the first byte of a header into the excerpt, one step late.
    #[inline(always)]
    pub(super) fn keep_held_byte(&mut self) {
        if self.has(Flags::HELD_BYTE) {
            self.clear(Flags::HELD_BYTE);
            self.line_offset = self.offset.wrapping_sub(1);
            self.line.clear();
            self.line.push(self.held_byte);
        }
    }

    #[inline(never)]
    pub(super) fn header_name(&mut self, byte: u8) -> Findings {
        if matches!(byte, CR | LF) {
            self.state = State::HEADER_START;
            return self.line_end(byte);
        }
        self.keep(byte);
        self.make_due(Due::NAME_BYTE);
        Findings::EMPTY
    }

    #[inline(never)]
    pub(super) fn name_byte(&mut self, byte: u8) -> Findings {
        if is_token(byte) && !self.has(Flags::NAME_ENDED) {
            self.token.push(byte.to_ascii_lowercase());
        } else {
            self.byte_after_name(byte);
        }
        if self.has(Flags::COLON) {
            return Findings::EMPTY;
        }
        self.count(HEADER_MAX, About::Header)
    }

    #[inline(always)]
    fn byte_after_name(&mut self, byte: u8) {
        if byte == b':' && self.has(Flags::NAME_ENDED) && !self.has(Flags::BAD_NAME) {
            self.pending |= Finding::OddSpacing.bit();
        }
        self.end_name();
        match byte {
            b':' => self.colon(),
            SP | HT => {}
            _ => {
                self.set(Flags::BAD_NAME);
                self.header = Header::OTHER;
            }
        }
    }

    /// The name ends with the first byte that cannot be part of it, be it the colon or not: credentials
    /// are not to show for want of a colon.
    #[inline(always)]
    fn end_name(&mut self) {
        if self.has(Flags::NAME_ENDED) {
            return;
        }
        self.set(Flags::NAME_ENDED);
        self.header = Header::named(self.token);
        if self.header == Header::CREDENTIALS {
            self.line.push(b' ');
            self.line.push(b'*');
            self.set(Flags::SECRET);
        }
        if self.token == Token::EMPTY {
            self.set(Flags::BAD_NAME);
        }
    }

    #[inline(always)]
    fn colon(&mut self) {
        self.set(Flags::COLON);
        self.state = State::HEADER_VALUE;
        self.length = 0;
        self.begin_number();
        clear(&mut self.token);
        match self.header {
            Header::CSEQ => self.set(Flags::HAS_CSEQ),
            Header::TRANSPORT => self.begin_transport(),
            Header::SESSION => self.begin_session(),
            _ => {}
        }
        // Only who took part in a SETUP says these.
        if matches!(self.header, Header::TRANSPORT | Header::SESSION) {
            self.set(Flags::SETUP);
        }
    }

    #[inline(never)]
    pub(super) fn header_value(&mut self, byte: u8) -> Findings {
        match byte {
            CR | LF => {
                self.state = State::HEADER_START;
                return self.line_end(byte);
            }
            HT => {}
            0..SP | 0x7f => self.pending |= Finding::MalformedHeader.bit(),
            _ => {}
        }
        self.keep(byte);
        match self.header {
            Header::CSEQ | Header::CONTENT_LENGTH => self.number_byte(byte),
            Header::MEDIA_TYPE => {
                self.token.push(byte.to_ascii_lowercase());
                if self.token.is(TUNNEL_MARKER) {
                    self.set(Flags::TUNNEL);
                }
            }
            _ => self.make_due_of_header(),
        }
        self.count(VALUE_MAX, About::Header)
    }

    /// The two headers that are read further have something to do.
    #[inline(always)]
    fn make_due_of_header(&mut self) {
        match self.header {
            Header::TRANSPORT if self.has(Flags::COLON) => self.make_due(Due::TRANSPORT),
            Header::SESSION if self.has(Flags::COLON) => self.make_due(Due::SESSION),
            _ => {}
        }
    }

    /// A number begins with the next byte.
    #[inline(always)]
    pub(super) fn begin_number(&mut self) {
        self.number = 0;
        self.number_state = Number::NONE;
    }

    #[inline(always)]
    pub(super) fn number_byte(&mut self, byte: u8) {
        self.number_state = match (byte, self.number_state) {
            (b'0'..=b'9', Number::NONE | Number::DIGITS) => {
                let digit = u32::from(byte.wrapping_sub(b'0'));
                self.number = self.number.saturating_mul(10).saturating_add(digit);
                Number::DIGITS
            }
            (SP | HT, Number::DIGITS) => Number::ENDED,
            (SP | HT, state) => state,
            _ => Number::BAD,
        };
    }

    /// Judges the header that has ended.
    #[inline(never)]
    pub(super) fn end_header(&mut self) -> Findings {
        if self.has(Flags::BAD_NAME) || !self.has(Flags::COLON) {
            self.pending |= Finding::MalformedHeader.bit();
        } else {
            self.judge_value();
        }
        if self.kind.is_http() {
            // HTTP has its own grammar; here only its resources count.
            self.pending = Findings::EMPTY;
        }
        if self.headers > HEADERS_MAX {
            self.pending |= Finding::TooManyHeaders.bit();
        }
        self.report_pending(About::Header)
    }

    #[inline(always)]
    fn judge_value(&mut self) {
        match self.header {
            Header::CONTENT_LENGTH => self.end_content_length(),
            Header::CSEQ => self.end_cseq(),
            _ => {}
        }
    }

    #[inline(always)]
    fn end_cseq(&mut self) {
        if self.number_state.is_good() {
            self.set(Flags::KNOWS_CSEQ);
            self.cseq = self.number;
        } else {
            self.pending |= Finding::MalformedCseq.bit();
        }
    }

    #[inline(always)]
    fn end_content_length(&mut self) {
        let differs = self.has(Flags::HAS_LENGTH) && self.content_length != self.number;
        if !self.number_state.is_good() || self.number == u32::MAX || differs {
            self.pending |= Finding::BadContentLength.bit();
            self.set(Flags::BAD_LENGTH);
        } else if self.number > BODY_MAX {
            self.pending |= Finding::BodyTooLong.bit();
        }
        self.set(Flags::HAS_LENGTH);
        self.content_length = self.number;
    }

    /// Puts a byte of a header into the excerpt.
    #[inline(always)]
    fn keep(&mut self, byte: u8) {
        if !self.has(Flags::SECRET) {
            self.line.push(byte);
        }
    }
}
