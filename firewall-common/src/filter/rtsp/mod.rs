//! The RTSP filter: a resumable parser of one direction of a control connection.
//!
//! It follows RFC 2326 (RTSP 1.0) and RFC 7826 (RTSP 2.0) byte by byte and keeps no more than it needs to
//! go on at any byte: [`Parser::step`] has no loop, cannot panic and runs in the kernel as on the host.
//! Both ends may send requests (RFC 2326 §9), so there is one parser for both directions.
//!
//! A direction is a sequence of requests, responses and interleaved frames. Start lines are read in
//! `start_line`, headers in `header`, the heads of frames in `frame`; bodies and media are skipped unseen.

mod finding;
mod frame;
mod header;
mod start_line;
#[cfg(test)]
mod tests;

use bytemuck::{Pod, Zeroable};

pub use finding::{FINDINGS, Finding, KILL_STANDARD, KILL_STRICT};

use super::excerpt::Excerpt;
use super::finding::Findings;
use super::parser::{Outcome, Parser as FilterParser, Scene};
use super::pinhole::Wish;
use super::token::{CR, LF, Token, is_token};
use super::{FilterId, FilterInfo};
use crate::flow::Direction;
use header::{Header, Number};
use start_line::{Kind, Protocol};

/// The filter's entry in the registry.
pub const INFO: FilterInfo =
    FilterInfo { name: "rtsp", usual_ports: &[554, 8554], commands: &[], findings: &FINDINGS };

/// Longest method, in bytes; the limit of common servers, as the other limits are.
pub const METHOD_MAX: u16 = 64;
/// Longest URL, in bytes.
pub const URL_MAX: u16 = 2048;
/// Longest header value, and longest header name, in bytes.
pub const HEADER_MAX: u16 = 2048;
/// Most headers of a message.
pub const HEADERS_MAX: u16 = 255;
/// Longest body, in bytes.
pub const BODY_MAX: u32 = 128 * 1024;
/// Most bytes in interleaved frames, with their headers, that a direction may carry before it took part
/// in a SETUP. Above 0 because the reply that assigns channels may be odd enough not to be recognised.
pub const INTERLEAVED_BEFORE_SETUP_MAX: u32 = 128 * 1024;

/// The state of one direction. All-zero is the start of a stream that was seen from its SYN.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Parser {
    /// Bytes of the stream so far.
    offset: u64,
    /// Where the message or frame began.
    start_offset: u64,
    /// Where the header began that [`Parser::line`] shows.
    line_offset: u64,
    /// The word that is being read.
    token: Token,
    /// Bytes of a body or frame still to come.
    remaining: u32,
    /// The message's Content-Length.
    content_length: u32,
    /// Value of the header that is being read, if it is a number.
    number: u32,
    /// Bytes in frames before a SETUP.
    unexpected_media: u32,
    /// Findings about the line that is being read, reported when it has ended.
    pending: Findings,
    /// Findings already reported about this message.
    reported: Findings,
    /// Those of the reported findings that are about a header, not about the start line.
    about_header: Findings,
    flags: Flags,
    /// Bytes of the part of the line for which there is a limit.
    length: u16,
    /// Headers begun in this message.
    headers: u16,
    state: State,
    kind: Kind,
    protocol: Protocol,
    header: Header,
    number_state: Number,
    /// Words begun in this start line.
    words: u8,
    /// First byte of a header, see [`Flags::HELD_BYTE`].
    held_byte: u8,
    reserved: [u8; 5],
    /// The message's start line, or the frame's header.
    start: Excerpt,
    /// The header that was begun last.
    line: Excerpt,
    /// What the last message announces.
    wish: Wish,
}

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct State(u8);

impl State {
    /// Nothing yet: a message or a frame begins here.
    const BETWEEN: Self = Self(0);
    const START_LINE: Self = Self(1);
    /// The start of a line after the start line: a header, the rest of one, or the blank line.
    const HEADER_START: Self = Self(2);
    const HEADER_NAME: Self = Self(3);
    const HEADER_VALUE: Self = Self(4);
    /// A body or the payload of a frame.
    const PAYLOAD: Self = Self(5);
    /// Channel and length of an interleaved frame, after the `$`.
    const FRAME: Self = Self(6);
    /// The rest of a segment in which no message began, while joining.
    const REST_OF_SEGMENT: Self = Self(7);
    /// The rest of the stream, which is not or no longer RTSP that can be read.
    const OPAQUE: Self = Self(8);
}

/// What is to be remembered, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Flags(u32);

impl Flags {
    // Of the stream.

    /// Joined in the middle, and no whole start line was read since.
    const JOINING: Self = Self(1 << 0);
    /// Not every byte since the start was seen.
    const JOINED: Self = Self(1 << 1);
    /// There was an RTSP message.
    const SPOKEN: Self = Self(1 << 2);
    /// This side asked for a SETUP or answered one.
    const SETUP: Self = Self(1 << 3);
    /// The last byte was a CR that ended a line.
    const AFTER_CR: Self = Self(1 << 4);
    /// The last unit was an interleaved frame.
    const MEDIA: Self = Self(1 << 5);

    const OF_STREAM: Self = Self((1 << 6) - 1);

    // Of the message.

    /// The last byte was part of a word of the start line.
    const IN_WORD: Self = Self(1 << 6);
    /// The URL has a scheme.
    const ABSOLUTE_URL: Self = Self(1 << 7);
    /// GET or POST in a request, 2xx in a response: if this is HTTP, it may begin a tunnel.
    const MAY_TUNNEL: Self = Self(1 << 8);
    /// A header says that RTSP is tunnelled.
    const TUNNEL: Self = Self(1 << 9);
    const HAS_CSEQ: Self = Self(1 << 10);
    const HAS_LENGTH: Self = Self(1 << 11);
    /// How long the body is cannot be known.
    const BAD_LENGTH: Self = Self(1 << 12);

    // Of the header.

    const COLON: Self = Self(1 << 13);
    const NAME_ENDED: Self = Self(1 << 14);
    const BAD_NAME: Self = Self(1 << 15);
    /// The header holds credentials; nothing more of it is kept.
    const SECRET: Self = Self(1 << 16);
    /// `held_byte` is the first byte of a header. It is not in the excerpt yet, because findings
    /// about the header before, which only this byte has ended, are read from there after the step.
    const HELD_BYTE: Self = Self(1 << 17);

    const OF_HEADER: Self = Self(0b1_1111 << 13);
}

/// The line that a finding is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Start,
    Header,
}

impl FilterParser for Parser {
    const FILTER: FilterId = FilterId::Rtsp;
    const SEGMENTS_DISAGREE: u16 = Finding::SegmentsDisagree as u16;

    #[inline(always)]
    fn begin(&mut self, _direction: Direction) {}

    #[inline(always)]
    fn resync(&mut self) {
        if self.state != State::OPAQUE {
            self.state = State::REST_OF_SEGMENT;
            self.clear(Flags::AFTER_CR);
            self.clear(Flags::HELD_BYTE);
            self.clear(Flags::MEDIA);
            self.set(Flags::JOINING);
            self.set(Flags::JOINED);
        }
    }

    /// While joining, only a segment that begins with a known method or version and a blank is read.
    /// This proof may be cut by segments. It holds once the whole start line is one, and nothing is
    /// reported before: media or text that looked like a message kills no connection. A `$` proves
    /// nothing, media bytes have that value too.
    #[inline(always)]
    fn segment_start(&mut self, _scene: &Scene, _peer: &Self) {
        if self.state == State::REST_OF_SEGMENT {
            self.state = State::BETWEEN;
        }
        let in_first_word =
            self.state == State::START_LINE && self.words == 1 && self.has(Flags::IN_WORD);
        if self.has(Flags::JOINING) && in_first_word && !self.token.begins_a_message(self.length) {
            self.state = State::BETWEEN;
        }
    }

    #[inline(always)]
    fn skippable(&self) -> u32 {
        match self.state {
            // The LF of a CRLF still counts as read, else it would be taken for the body's first byte.
            _ if self.has(Flags::AFTER_CR) => 0,
            State::PAYLOAD => self.remaining,
            State::REST_OF_SEGMENT | State::OPAQUE => u32::MAX,
            _ => 0,
        }
    }

    /// The middle or the edge of an interleaved frame, not of a message.
    #[inline(always)]
    fn in_media(&self) -> bool {
        matches!(self.state, State::BETWEEN | State::FRAME | State::PAYLOAD)
            && self.has(Flags::MEDIA)
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.offset = self.offset.wrapping_add(u64::from(count));
        if self.state == State::PAYLOAD {
            self.remaining = self.remaining.saturating_sub(count);
            if self.remaining == 0 {
                self.state = State::BETWEEN;
            }
        }
    }

    /// Each finding comes once for each message.
    #[inline(always)]
    fn step(&mut self, _scene: &Scene, _peer: &Self, byte: u8) -> Outcome {
        let findings = self.read(byte);
        self.offset = self.offset.wrapping_add(1);
        findings.into()
    }

    #[inline(always)]
    fn offset(&self) -> u64 {
        self.offset
    }

    /// Of the header in question, or of the message's start line, or of the frame. For a header that is folded
    /// it is the first line. The blank line after the headers counts as part of the line before it.
    #[inline(always)]
    fn finding_offset(&self, code: u16) -> u64 {
        if self.about_header.contains(code) { self.line_offset } else { self.start_offset }
    }

    /// Of that line, without line end, up to the byte that led to the finding. A URL's userinfo and the value of
    /// an Authorization header are replaced by `*`.
    #[inline(always)]
    fn excerpt(&self, code: u16) -> &Excerpt {
        if self.about_header.contains(code) { &self.line } else { &self.start }
    }

    #[inline(always)]
    fn wish(&self) -> &Wish {
        &self.wish
    }
}

impl Parser {
    #[inline(always)]
    fn read(&mut self, byte: u8) -> Findings {
        self.keep_held_byte();
        let mut findings = Findings::EMPTY;
        if self.has(Flags::AFTER_CR) {
            self.clear(Flags::AFTER_CR);
            if byte == LF {
                return Findings::EMPTY;
            }
            // With no header to show, the start line would give way to what begins now; such a
            // message lacks its CSeq and has been objected to.
            if self.headers > 0 || self.state == State::HEADER_START {
                findings = self.bare_line_end();
            }
        }
        findings
            | match self.state {
                State::BETWEEN => self.between(byte),
                State::START_LINE => self.start_line(byte),
                State::HEADER_START => self.header_start(byte),
                State::HEADER_NAME => self.header_name(byte),
                State::HEADER_VALUE => self.header_value(byte),
                State::FRAME => self.frame(byte),
                State::PAYLOAD => self.payload(),
                _ => Findings::EMPTY,
            }
    }

    #[inline(always)]
    fn between(&mut self, byte: u8) -> Findings {
        match byte {
            // Blank lines before a message are to be ignored, however they end (RFC 2326 §4, which
            // takes it from RFC 2068 §4.1).
            CR | LF => Findings::EMPTY,
            _ if self.has(Flags::JOINING) && (byte == b'$' || !is_token(byte)) => self.not_rtsp(),
            b'$' => {
                self.begin_frame();
                Findings::EMPTY
            }
            _ => {
                self.begin_message();
                self.start_line(byte)
            }
        }
    }

    /// Something of its own begins with this byte.
    #[inline(always)]
    fn begin_unit(&mut self) {
        self.start_offset = self.offset;
        self.start.clear();
    }

    /// The end of a line at `byte`, CR or LF. Whether CR stands alone shows only in the next byte.
    #[inline(always)]
    fn line_end(&mut self, byte: u8) -> Findings {
        if byte == LF {
            return self.bare_line_end();
        }
        self.set(Flags::AFTER_CR);
        Findings::EMPTY
    }

    #[inline(always)]
    fn bare_line_end(&mut self) -> Findings {
        if self.kind.is_http() {
            return Findings::EMPTY;
        }
        let about = if self.headers > 0 { About::Header } else { About::Start };
        self.report(Finding::BareLineEnd.bit(), about)
    }

    /// Reports those of `findings` that were not reported about this message before.
    #[inline(always)]
    fn report(&mut self, findings: Findings, about: About) -> Findings {
        let new = findings.without(self.reported);
        self.reported |= new;
        self.about_header = match about {
            About::Start => self.about_header.without(new),
            About::Header => self.about_header.with(new),
        };
        new
    }

    /// Reports what was pending about a line that has ended.
    #[inline(always)]
    fn report_pending(&mut self, about: About) -> Findings {
        let pending = self.pending;
        self.pending = Findings::EMPTY;
        self.report(pending, about)
    }

    /// This is no message. Whether one begins later cannot be told, and what would be told from text
    /// between segments would differ with their cut; so the rest of the stream is not read.
    #[inline(always)]
    fn not_rtsp(&mut self) -> Findings {
        self.give_up(Finding::NotRtsp)
    }

    /// Reports `finding` about the start line and reads no more. While joining, this was only no place
    /// to begin.
    #[inline(always)]
    fn give_up(&mut self, finding: Finding) -> Findings {
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
            return Findings::EMPTY;
        }
        self.state = State::OPAQUE;
        self.start.hide_unfinished();
        self.report(finding.bit(), About::Start)
    }

    /// Counts a byte of a part of a line that may have `limit` bytes.
    #[inline(always)]
    fn count(&mut self, limit: u16, about: About) -> Findings {
        self.length = self.length.saturating_add(1);
        if self.length <= limit {
            return Findings::EMPTY;
        }
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
            return Findings::EMPTY;
        }
        match about {
            About::Start => self.start.hide_unfinished(),
            About::Header => self.line.hide_unfinished(),
        }
        self.report(Finding::LineTooLong.bit(), about)
    }

    #[inline(always)]
    const fn has(&self, flag: Flags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    #[inline(always)]
    const fn set(&mut self, flag: Flags) {
        self.flags.0 |= flag.0;
    }

    #[inline(always)]
    const fn clear(&mut self, flag: Flags) {
        self.flags.0 &= !flag.0;
    }
}
