//! The RTSP filter: a resumable parser of one direction of a control connection.
//!
//! It follows RFC 2326 (RTSP 1.0) and RFC 7826 (RTSP 2.0) byte by byte and keeps no more than it needs to
//! go on at any byte: [`Parser::step`] has no loop, cannot panic and runs in the kernel as on the host.
//! Both ends may send requests (RFC 2326 §9), so there is one parser for both directions.
//!
//! A direction is a sequence of requests, responses and interleaved frames. Start lines are read in
//! `start_line`, headers in `header`, two of them further in `transport` and `session`, the heads of frames in
//! `frame`; bodies and media are skipped unseen. Where a head ends (`head`) a reply is matched to what the
//! other direction asked (`requests`), which may open pinholes (`pinholes`).

mod finding;
mod frame;
mod head;
mod header;
mod pinholes;
mod reading;
mod requests;
mod session;
mod start_line;
mod state;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;
mod words;

use bytemuck::{Pod, Zeroable};

use finding::KILL_STANDARD;
pub use finding::{FINDINGS, Finding};

use super::excerpt::Excerpt;
use super::finding::Findings;
use super::parser::{Outcome, Parser as FilterParser, Scene};
use super::pinhole::Wish;
use super::token::{LF, Token};
use super::{FilterId, FilterInfo};
use crate::flow::Direction;
use header::{Header, Number};
use requests::{Replies, Requests};
pub use requests::{UNANSWERED_MAX, WINDOW_NS};
use session::Session;
use start_line::{Kind, Protocol};
use state::{About, Due, Flags, State};
use transport::Transport;
use words::{Method, begins_a_message};

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
/// Most bytes in interleaved frames, of an end that granted no SETUP, that are waited for as text is if some of them are
/// lost.
pub const MEDIA_FLOWS: u32 = 16 * 1024;
/// Longest time that the head of a message may take, nanoseconds.
pub const HEAD_MAX_NS: u64 = 30_000_000_000;

/// Findings that a stream that goes on after them, in monitor mode, is not to repeat endlessly.
const PERSISTENT: Findings = Finding::InterleavedBeforeSetup
    .bit()
    .with(Finding::TooManyRequests.bit())
    .with(Finding::TooManyPinholes.bit());

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
    /// When the message began, nanoseconds.
    head_began: u64,
    /// The word that is being read.
    token: Token,
    /// Bytes of a body or frame still to come.
    remaining: u32,
    /// The message's Content-Length.
    content_length: u32,
    /// The number that is being read in a header.
    number: u32,
    /// The message's CSeq.
    cseq: u32,
    /// Bytes in frames before a SETUP.
    unexpected_media: u32,
    /// Bytes in frames so far, at most [`u32::MAX`].
    media: u32,
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
    method: Method,
    /// First digit of the status; 0: none.
    status: u8,
    /// Words begun in this start line.
    words: u8,
    /// First byte of a header, see [`Flags::HELD_BYTE`].
    held_byte: u8,
    /// A [`Direction`].
    direction: u8,
    /// The last number of base64.
    sextet: u8,
    /// How many there are of the four that make three bytes.
    sextets: u8,
    /// What is to be done about the byte that is being read.
    due: Due,
    reserved: [u8; 6],
    session: Session,
    transport: Transport,
    requests: Requests,
    replies: Replies,
    /// The message's start line, or the frame's header.
    start: Excerpt,
    /// The header that was begun last.
    line: Excerpt,
    /// What the last message announces.
    wish: Wish,
}

impl FilterParser for Parser {
    const FILTER: FilterId = FilterId::Rtsp;
    const SEGMENTS_DISAGREE: u16 = Finding::SegmentsDisagree as u16;
    const FOREIGN_ADDRESS: u16 = Finding::ForeignAddress as u16;
    const URGENT_DATA: u16 = Finding::UrgentData as u16;

    #[inline(always)]
    fn begin(&mut self, direction: Direction) {
        self.direction = direction as u8;
    }

    /// In base64 nothing shows where a message begins.
    #[inline(always)]
    fn resync(&mut self) {
        if self.has(Flags::BASE64) {
            self.state = State::OPAQUE;
        }
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
        if self.has(Flags::JOINING) && in_first_word && !begins_a_message(&self.token, self.length)
        {
            self.state = State::BETWEEN;
        }
    }

    #[inline(always)]
    fn skippable(&self) -> u32 {
        match self.state {
            // The LF of a CRLF still counts as read, else it would be taken for the body's first byte.
            _ if self.has(Flags::AFTER_CR) => 0,
            // Bytes of base64 are not those of the body.
            State::PAYLOAD if self.has(Flags::BASE64) => 0,
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
            && !self.has(Flags::BASE64)
    }

    /// Only where media flow: from who granted a SETUP, or where there is much of it. Who sends a frame now and then
    /// loses nothing by repeating one in order, and a few bytes of media are not to hide what follows.
    #[inline(always)]
    fn may_rejoin(&self) -> bool {
        let much = self.has(Flags::SETUP) && self.media >= MEDIA_FLOWS;
        self.in_media() && (self.replies.granted != 0 || self.has(Flags::JOINED) || much)
    }

    #[inline(always)]
    fn take_head(&mut self, next: [u8; 4]) -> bool {
        self.take_frame(next)
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
    fn step(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        let plain = if self.has(Flags::BASE64) { self.decode(byte) } else { u32::from(byte) };
        let outcome = match plain {
            0..tunnel::NOTHING => self.read(scene, peer, plain as u8),
            tunnel::NOTHING => Outcome::NONE,
            _ => self.not_rtsp().into(),
        };
        self.offset = self.offset.wrapping_add(1);
        outcome
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
        self.flags.has(flag)
    }

    #[inline(always)]
    const fn set(&mut self, flag: Flags) {
        self.flags = self.flags.with(flag);
    }

    #[inline(always)]
    const fn clear(&mut self, flag: Flags) {
        self.flags = self.flags.without(flag);
    }
}
