//! The SMTP filter: a resumable parser of one direction of a mail session.
//!
//! It follows RFC 5321 (SMTP), with pipelining (RFC 2920), chunks (RFC 3030), AUTH (RFC 4954), STARTTLS (RFC 3207),
//! SMTPUTF8 (RFC 6531) and LMTP (RFC 2033), byte by byte. The client's commands are read in `command` and `path`,
//! its messages in `text`, the server's replies in `reply`; `turn` says which reply answers which command, and so
//! what the client's bytes are. Behind an accepted STARTTLS nothing is read.

mod command;
mod finding;
mod path;
mod reply;
#[cfg(test)]
mod tests;
mod text;
mod turn;
mod verb;

use bytemuck::{Pod, Zeroable};

pub use command::{AUTH_LINE_MAX, LINE_MAX};
pub use finding::{FINDINGS, Finding};
pub use reply::REPLY_MAX;
pub use text::TEXT_LINE_MAX;

use super::excerpt::Excerpt;
use super::finding::Findings;
use super::parser::{Outcome, Parser as FilterParser, Scene};
use super::pinhole::Wish;
use super::{FilterId, FilterInfo};
use crate::flow::Direction;
use path::Path;
use turn::Turn;
use verb::{Form, Verb};

/// The filter's entry in the registry.
pub const INFO: FilterInfo = FilterInfo {
    name: "smtp",
    usual_ports: &[25, 587],
    commands: &verb::COMMANDS,
    findings: &FINDINGS,
};

/// The state of one direction. All-zero is the start of a client's stream that was seen from its SYN.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Parser {
    /// Bytes of the stream so far.
    offset: u64,
    /// Where the line began that is being read.
    start_offset: u64,
    /// Where that line began in which something was found last.
    found_offset: u64,
    /// The last bytes of the word that is being read, in capitals, see [`verb::register`].
    word: u64,
    turn: Turn,
    flags: Flags,
    /// Findings about the line that is being read, reported when it has ended.
    pending: Findings,
    /// Findings already reported about this line, or this message.
    reported: Findings,
    /// Bytes of the line so far.
    length: u32,
    /// Bytes of a chunk still to come.
    remaining: u32,
    /// The size that a command names.
    number: u32,
    /// Bytes of the path so far.
    path_length: u16,
    /// Code of the reply, as far as it was read.
    code: u16,
    state: State,
    place: Place,
    verb: Verb,
    form: Form,
    path: Path,
    /// Words begun in this line.
    words: u8,
    /// Bytes of the word so far.
    word_length: u8,
    /// The word from which on nothing is shown.
    hides_from: u8,
    reserved: [u8; 4],
    /// The command, or the line of a reply; while a message is read, the command that began it.
    line: Excerpt,
    /// Always the same: SMTP opens no pinholes.
    wish: Wish,
}

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct State(u8);

impl State {
    const COMMAND: Self = Self(0);
    /// A line of an AUTH exchange.
    const CREDENTIALS: Self = Self(1);
    /// Nothing yet: that depends on the reply to the command.
    const WAITING: Self = Self(2);
    const TEXT: Self = Self(3);
    const CHUNK: Self = Self(4);
    const REPLY: Self = Self(5);
    /// The rest of a segment in which nothing begins, while joining.
    const REST_OF_SEGMENT: Self = Self(6);
    /// The rest of the stream, which is not or no longer SMTP.
    const OPAQUE: Self = Self(7);
}

/// How far a line was read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Place(u8);

impl Place {
    /// Nothing of it.
    const START: Self = Self(0);
    const LINE: Self = Self(1);

    // Of a message's line.

    /// The start of a line, or what some take for one, see [`Flags::ODD_START`].
    const TEXT_START: Self = Self(2);
    const TEXT_LINE: Self = Self(3);
    /// Behind a CR.
    const TEXT_CR: Self = Self(4);
    /// Behind the dot that begins a line.
    const TEXT_DOT: Self = Self(5);
    const TEXT_DOT_CR: Self = Self(6);
}

/// What is to be remembered, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Flags(u32);

impl Flags {
    // Of the stream.

    /// This is the server's side.
    const SERVER: Self = Self(1 << 0);
    /// Joined in the middle, and it was not proven yet that what is read is what it seems.
    const JOINING: Self = Self(1 << 1);
    /// There was a line, or the beginning was not seen.
    const SPOKEN: Self = Self(1 << 2);
    /// Which reply answers which command is not known by their numbers.
    const UNCOUNTED: Self = Self(1 << 3);
    /// There may be several replies to a message (RFC 2033 §4.2).
    const LMTP: Self = Self(1 << 4);
    /// There was a whole line of a reply since the server's side joined.
    const HEARD: Self = Self(1 << 5);
    /// The client sent a chunk before the server said whether it knows chunks.
    const EARLY_CHUNK: Self = Self(1 << 6);
    /// The client went on before the reply to its last command.
    const OUT_OF_TURN: Self = Self(1 << 7);
    /// And that was AUTH.
    const EARLY_CREDENTIALS: Self = Self(1 << 8);
    /// The server knows chunks.
    const CHUNKING: Self = Self(1 << 9);
    /// The server has said that it closes.
    const CLOSING: Self = Self(1 << 10);
    /// The transaction is one of SMTPUTF8.
    const UTF8: Self = Self(1 << 11);
    /// The line continues a reply.
    const CONTINUED: Self = Self(1 << 12);
    /// The line of the message began behind something else than CRLF.
    const ODD_START: Self = Self(1 << 13);

    const OF_STREAM: Self = Self((1 << 14) - 1);

    // Of the line.

    /// The last byte was a CR.
    const AFTER_CR: Self = Self(1 << 15);
    const IN_WORD: Self = Self(1 << 16);
    /// The last byte was a blank.
    const AFTER_BLANK: Self = Self(1 << 17);
    const NON_ASCII: Self = Self(1 << 18);
    /// The line may hold credentials although it reads like a command.
    const CREDENTIALS: Self = Self(1 << 19);
    /// Something of the line is not shown.
    const HIDDEN: Self = Self(1 << 20);
    /// The command's name begins with `X`.
    const PRIVATE: Self = Self(1 << 21);
    /// The command's name begins with `AUTH`.
    const LIKE_AUTH: Self = Self(1 << 22);
    /// The size is none.
    const BAD_NUMBER: Self = Self(1 << 23);
    /// More lines of this reply follow.
    const MORE: Self = Self(1 << 24);
}

impl FilterParser for Parser {
    const FILTER: FilterId = FilterId::Smtp;
    const SEGMENTS_DISAGREE: u16 = Finding::SegmentsDisagree as u16;
    const URGENT_DATA: u16 = Finding::UrgentData as u16;

    #[inline(always)]
    fn begin(&mut self, direction: Direction) {
        match direction {
            Direction::Original => self.turn.asked = 1,
            Direction::Reply => {
                self.set(Flags::SERVER);
                self.state = State::REPLY;
            }
        }
    }

    #[inline(always)]
    fn resync(&mut self) {
        if self.state != State::OPAQUE {
            self.lose_track();
        }
    }

    /// While joining, the server's side begins at a segment that begins as a reply does, and the client's side at
    /// one that begins with a known command, once the server was heard to have answered.
    ///
    /// A message may hold lines that look like commands. But a server is silent while it is sent: one that was
    /// heard since the join has answered it, or what was before it; unless it asked for the message itself, and
    /// nothing is read until its next reply. Chunks are different, for they may be sent while replies to others
    /// come. So what the client seems to say is not believed, and nothing reported, until the server answers 354,
    /// 334 or to STARTTLS: it does that to commands only, and no client sends both chunks and DATA at once. And a
    /// chunk is not skipped before.
    #[inline(always)]
    fn segment_start(&mut self, _scene: &Scene, peer: &Self) {
        if self.has(Flags::SERVER) {
            if self.state == State::REST_OF_SEGMENT {
                self.place = Place::START;
                self.state = State::REPLY;
            }
            return;
        }
        if peer.state == State::OPAQUE {
            self.state = State::OPAQUE;
        }
        let heard = peer.has(Flags::HEARD) && peer.turn.replies != 0 && !peer.turn.is_more_wanted();
        if self.state == State::REST_OF_SEGMENT && heard {
            self.place = Place::START;
            self.state = State::COMMAND;
        }
    }

    #[inline(always)]
    fn skippable(&self) -> u32 {
        match self.state {
            State::CHUNK => self.remaining,
            State::REST_OF_SEGMENT | State::OPAQUE => u32::MAX,
            _ => 0,
        }
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.offset = self.offset.wrapping_add(u64::from(count));
        if self.state == State::CHUNK {
            self.skip_chunk(count);
        }
    }

    /// Each finding comes once for each line of a command or reply, and once for each message.
    #[inline(always)]
    fn step(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        let mut findings = Findings::EMPTY;
        if self.state == State::WAITING {
            findings = self.go_on(peer);
        }
        findings |= match self.state {
            State::TEXT => self.text(byte),
            State::COMMAND | State::CREDENTIALS => self.command(scene, peer, byte),
            State::REPLY => self.reply(peer, byte),
            State::CHUNK => {
                self.skip_chunk(1);
                Findings::EMPTY
            }
            _ => Findings::EMPTY,
        };
        self.offset = self.offset.wrapping_add(1);
        findings.into()
    }

    #[inline(always)]
    fn offset(&self) -> u64 {
        self.offset
    }

    /// Of the line in question; for what comes before the reply to a command, of its first byte.
    #[inline(always)]
    fn finding_offset(&self, _code: u16) -> u64 {
        self.found_offset
    }

    /// Of that line, without line end, up to the byte that led to the finding, and with `*` for credentials. Of a
    /// message nothing is shown but the command that began it: what stands in it is private.
    #[inline(always)]
    fn excerpt(&self, _code: u16) -> &Excerpt {
        &self.line
    }

    #[inline(always)]
    fn wish(&self) -> &Wish {
        &self.wish
    }
}

impl Parser {
    /// Something of its own begins with this byte: a line, or a message.
    #[inline(always)]
    fn begin_unit(&mut self) {
        self.start_offset = self.offset;
        self.pending = Findings::EMPTY;
        self.reported = Findings::EMPTY;
    }

    /// A command or the line of a reply begins with this byte.
    #[inline(always)]
    fn begin_line(&mut self) {
        self.begin_unit();
        self.line.clear();
        self.flags.0 &= Flags::OF_STREAM.0;
        self.place = Place::LINE;
        self.length = 0;
        self.words = 0;
        self.hides_from = u8::MAX;
    }

    /// Bytes were lost: see [`segment_start`](FilterParser::segment_start).
    #[inline(always)]
    fn lose_track(&mut self) {
        self.state = State::REST_OF_SEGMENT;
        self.flags.0 &= Flags::OF_STREAM.0;
        self.clear(Flags::HEARD);
        self.clear(Flags::CONTINUED);
        self.clear(Flags::OUT_OF_TURN);
        self.clear(Flags::EARLY_CREDENTIALS);
        self.set(Flags::JOINING);
        self.set(Flags::SPOKEN);
        self.set(Flags::UNCOUNTED);
        if self.has(Flags::SERVER) {
            self.turn.losses = self.turn.losses.wrapping_add(1);
        }
    }

    /// Reports those of `findings` that were not reported about this line or message before; none while joining.
    #[inline(always)]
    fn report(&mut self, findings: Findings) -> Findings {
        if self.has(Flags::JOINING) {
            return Findings::EMPTY;
        }
        let new = findings.without(self.reported);
        if !new.is_empty() {
            self.reported |= new;
            self.found_offset = self.start_offset;
        }
        new
    }

    /// This is no SMTP: the rest of the stream is not read. While joining, this was only no place to begin.
    #[inline(always)]
    fn not_smtp(&mut self) -> Findings {
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
            return Findings::EMPTY;
        }
        self.state = State::OPAQUE;
        let pending = self.pending;
        self.report(pending.with(Finding::NotSmtp.bit()))
    }

    /// Shows the byte, unless it may be part of credentials.
    #[inline(always)]
    fn keep(&mut self, byte: u8) {
        let hidden = self.words >= self.hides_from || self.has(Flags::CREDENTIALS);
        if !hidden {
            self.line.push(byte);
        } else if !self.has(Flags::HIDDEN) {
            self.set(Flags::HIDDEN);
            self.line.push(b'*');
        }
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
