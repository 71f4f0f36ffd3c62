//! Start lines: what tells requests, responses, HTTP and everything else apart.
//!
//! RFC 2326 §6.1: `Method SP Request-URI SP RTSP-Version CRLF`, §7.1: `RTSP-Version SP Status-Code SP
//! Reason-Phrase CRLF`. Only the whole line tells a request from other text, so objections wait in
//! `pending` until it has ended.

use bytemuck::{Pod, Zeroable};

use super::super::finding::Findings;
use super::super::parser::Scene;
use super::super::token::{CR, HT, LF, SP, Token, is_token};
use super::words::{Method, is_known_version, status_class};
use super::{About, Finding, Flags, METHOD_MAX, PERSISTENT, Parser, State, URL_MAX};
use crate::words::clear;

/// Longest rest of a start line after its first word: a blank, the URL, a blank and the version.
const REST_MAX: u16 = URL_MAX + " ".len() as u16 + " RTSP/1.0".len() as u16;

/// What a message is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Kind(u8);

impl Kind {
    pub(super) const REQUEST: Self = Self(0);
    pub(super) const RESPONSE: Self = Self(1);
    pub(super) const HTTP_REQUEST: Self = Self(2);
    pub(super) const HTTP_RESPONSE: Self = Self(3);

    #[inline(always)]
    pub(super) const fn is_http(self) -> bool {
        self.0 >= Self::HTTP_REQUEST.0
    }

    #[inline(always)]
    pub(super) const fn is_request(self) -> bool {
        self.0 == Self::REQUEST.0
    }
}

/// What a word names as version, if it begins as one does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Protocol(u8);

impl Protocol {
    const NONE: Self = Self(0);
    const RTSP: Self = Self(1);
    const HTTP: Self = Self(2);

    /// What stands before the `/` of a version.
    #[inline(always)]
    const fn of(word: Token) -> Self {
        if word.is_ignoring_case(u32::from_be_bytes(*b"rtsp")) {
            Self::RTSP
        } else if word.is_ignoring_case(u32::from_be_bytes(*b"http")) {
            Self::HTTP
        } else {
            Self::NONE
        }
    }
}

impl Parser {
    #[inline(always)]
    pub(super) fn begin_message(&mut self, scene: &Scene) {
        self.begin_unit();
        self.head_began = scene.now;
        self.clear(Flags::OF_MESSAGE);
        self.clear(Flags::MEDIA);
        self.reported &= PERSISTENT;
        self.pending = Findings::EMPTY;
        self.content_length = 0;
        self.headers = 0;
        self.length = 0;
        self.words = 0;
        self.cseq = 0;
        self.status = 0;
        clear(&mut self.session);
        self.kind = Kind::REQUEST;
        self.method = Method::UNKNOWN;
        self.protocol = Protocol::NONE;
        self.state = State::START_LINE;
    }

    #[inline(never)]
    pub(super) fn start_line(&mut self, byte: u8) -> Findings {
        if matches!(byte, CR | LF) {
            return self.end_start_line(byte);
        }
        self.start.push(byte);
        let valid = match byte {
            SP | HT => self.blank(byte),
            0..SP | 0x7f => false,
            _ => self.word_byte(byte),
        };
        if !valid {
            return self.not_rtsp();
        }
        let limit = if self.words <= 1 { METHOD_MAX } else { REST_MAX };
        self.count(limit, About::Start)
    }

    /// A blank between words: exactly one SP, except in a reason phrase, which is free text.
    #[inline(always)]
    fn blank(&mut self, byte: u8) -> bool {
        let inside = self.has(Flags::IN_WORD);
        let begun = if inside { self.words > 2 } else { self.words >= 2 };
        let in_reason = !self.kind.is_request() && begun;
        if !in_reason && (byte == HT || !inside) {
            self.pending |= Finding::OddSpacing.bit();
        }
        !inside || self.end_word()
    }

    #[inline(always)]
    fn word_byte(&mut self, byte: u8) -> bool {
        if !self.has(Flags::IN_WORD) {
            self.set(Flags::IN_WORD);
            self.words = self.words.saturating_add(1);
            clear(&mut self.token);
            self.protocol = Protocol::NONE;
        }
        if byte == b'/' && self.protocol == Protocol::NONE {
            self.protocol = Protocol::of(self.token);
        }
        self.token.push(byte);
        if self.words == 1 {
            return self.protocol != Protocol::NONE || is_token(byte);
        }
        if self.words == 2 && self.kind.is_request() {
            if byte >= 0x80 {
                self.pending |= Finding::MalformedStartLine.bit();
            }
            if byte == b'/' && self.token.ends_a_scheme() {
                self.set(Flags::ABSOLUTE_URL);
            }
        }
        true
    }

    /// Returns whether the line can still be the start of a message, or while joining proves to be one.
    #[inline(never)]
    fn end_word(&mut self) -> bool {
        self.clear(Flags::IN_WORD);
        match self.words {
            1 => self.end_first_word(),
            2 => {
                self.end_second_word();
                true
            }
            _ => true,
        }
    }

    #[inline(always)]
    fn end_first_word(&mut self) -> bool {
        let proof = match self.protocol {
            Protocol::RTSP => {
                self.kind = Kind::RESPONSE;
                self.check_version();
                is_known_version(self.token)
            }
            Protocol::HTTP => {
                self.kind = Kind::HTTP_RESPONSE;
                false
            }
            _ => {
                self.check_method();
                self.method != Method::UNKNOWN
            }
        };
        self.length = 0;
        proof || !self.has(Flags::JOINING)
    }

    #[inline(never)]
    fn check_method(&mut self) {
        self.method = Method::of(&self.token);
        if self.method == Method::UNKNOWN {
            self.pending |= Finding::UnknownMethod.bit();
        }
        if self.method == Method::SETUP {
            self.set(Flags::SETUP);
        }
        if self.token.is(const { Token::of("GET") }) {
            self.set(Flags::MAY_TUNNEL);
        }
        if self.token.is(const { Token::of("POST") }) {
            self.set(Flags::MAY_TUNNEL);
            self.set(Flags::POST);
        }
    }

    #[inline(always)]
    fn check_version(&mut self) {
        if !is_known_version(self.token) {
            self.pending |= Finding::UnknownVersion.bit();
        }
    }

    #[inline(always)]
    fn end_second_word(&mut self) {
        let good = if self.kind.is_request() {
            self.has(Flags::ABSOLUTE_URL) || self.token.is(const { Token::of("*") })
        } else {
            self.status = status_class(self.token);
            if self.status == b'2' {
                self.set(Flags::MAY_TUNNEL);
            }
            self.status != 0
        };
        if !good {
            self.pending |= Finding::MalformedStartLine.bit();
        }
    }

    #[inline(never)]
    fn end_start_line(&mut self, byte: u8) -> Findings {
        if self.words == 0 {
            // A line of blanks where a message would begin is as good as a blank line.
            self.state = State::BETWEEN;
            return self.report_pending(About::Start);
        }
        let in_word = self.has(Flags::IN_WORD);
        if in_word && !self.end_word() {
            return self.not_rtsp();
        }
        let valid = if self.kind.is_request() {
            self.end_request_line(in_word)
        } else {
            self.end_status_line(in_word)
        };
        // The end of a line of text, such as that of a request in a body, proves nothing.
        let doubtful =
            self.kind.is_http() || !(self.pending & Finding::MalformedStartLine.bit()).is_empty();
        if !valid || self.has(Flags::JOINING) && doubtful {
            return self.not_rtsp();
        }
        self.clear(Flags::JOINING);
        self.state = State::HEADER_START;
        if self.kind.is_http() {
            return self.begin_http(byte);
        }
        self.set(Flags::SPOKEN);
        self.report_pending(About::Start) | self.line_end(byte)
    }

    /// The version stands last. A URL with blanks in it, which careless devices send, makes more words
    /// than three.
    #[inline(always)]
    fn end_request_line(&mut self, in_word: bool) -> bool {
        if !in_word || self.words > 3 {
            self.pending |= Finding::OddSpacing.bit();
        }
        match self.protocol {
            // Two words are a request without URL, or a path in other text.
            Protocol::RTSP
                if self.words >= 3 || self.words == 2 && is_known_version(self.token) =>
            {
                self.check_version();
                true
            }
            Protocol::HTTP if self.words >= 3 => {
                self.kind = Kind::HTTP_REQUEST;
                true
            }
            _ => false,
        }
    }

    #[inline(always)]
    fn end_status_line(&mut self, in_word: bool) -> bool {
        if self.words < 2 {
            self.pending |= Finding::MalformedStartLine.bit();
        } else if self.words == 2 && in_word {
            // The blank after the code is missing; a reason may be empty.
            self.pending |= Finding::OddSpacing.bit();
        }
        true
    }

    /// HTTP may only tunnel RTSP: by GET and POST, not on a connection that RTSP was spoken on, and not in a
    /// tunnel. A response is judged by its headers.
    #[inline(always)]
    fn begin_http(&mut self, byte: u8) -> Findings {
        self.pending = Findings::EMPTY;
        let may_tunnel =
            self.has(Flags::MAY_TUNNEL) && !self.has(Flags::SPOKEN) && !self.has(Flags::BASE64);
        if self.kind == Kind::HTTP_REQUEST && !may_tunnel {
            return self.give_up(Finding::HttpWithoutTunnel);
        }
        self.line_end(byte)
    }
}
