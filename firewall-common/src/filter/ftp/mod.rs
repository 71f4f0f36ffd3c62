//! The FTP filter: a resumable parser of one direction of a control connection.
//!
//! It follows RFC 959 with what was added to it since: EPRT and EPSV (RFC 2428), AUTH TLS (RFC 4217), FEAT
//! (RFC 2389) and the commands of RFC 3659. The client's lines are read in `client`, the server's replies in
//! `server`, the addresses of data connections in `endpoint`; for these it wishes for pinholes. Once the server
//! agrees to TLS nothing is read any more.
//!
//! A line is judged when it has ended, so findings show all of it; only what cannot be a line at all is
//! objected to at once. A line ends with LF, before which a CR is dropped.

mod client;
mod command;
mod endpoint;
mod finding;
mod server;
#[cfg(test)]
mod tests;

use bytemuck::{Pod, Zeroable};

pub use command::COMMANDS;
pub use finding::{FINDINGS, Finding};

use super::excerpt::Excerpt;
use super::finding::Findings;
use super::parser::{Outcome, Parser as FilterParser, Scene};
use super::token::{CR, HT, LF, SP};
use super::{FilterId, FilterInfo};
use super::{
    named::Named,
    pinhole::{PORT_MIN, Wish},
};
use crate::flow::Direction;
use client::Sent;
use command::Command;
use endpoint::Endpoint;
use server::Line;

/// The filter's entry in the registry.
pub const INFO: FilterInfo =
    FilterInfo { name: "ftp", usual_ports: &[21], commands: &COMMANDS, findings: &FINDINGS };

/// Longest line, in bytes without its LF: a command with the longest path of common systems.
pub const LINE_MAX: u16 = 4096 + 64;

/// How long a data connection may be silent, or be awaited, seconds: a server may take its time to make a list.
/// What common servers allow.
const SILENCE_MAX: u32 = 300;

/// IP protocol of data connections.
const TCP: u8 = 6;
/// First byte of a TLS record that may come first: an alert or a handshake (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;

/// The state of one direction. All-zero is the start of a client's stream that was seen from its SYN.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Parser {
    /// Bytes of the stream so far.
    offset: u64,
    /// Where the line began that [`Parser::line`] shows.
    line_offset: u64,
    /// The client's commands; the server's parser matches its replies to them.
    sent: Sent,
    /// Where a data connection is to lead, in the line that is being read.
    endpoint: Endpoint,
    /// Findings about the line, reported when it has ended.
    pending: Findings,
    flags: Flags,
    /// The client's: the command's name.
    name: u32,
    /// The client's: the first letters of the argument.
    word: u32,
    /// The server's: how many commands have their last reply.
    answered: u32,
    /// Bytes of the line.
    length: u16,
    /// The server's: code of the reply that the line begins with.
    code: u16,
    /// The server's: code of the reply of several lines that has not ended; 0: none.
    open_code: u16,
    state: State,
    /// The client's: the command of this line.
    command: Command,
    /// The client's: letters of its name. The server's: digits of the code.
    letters: u8,
    /// The server's: what the line is.
    line_kind: Line,
    /// The server's: what comes after this reply, which both directions go by.
    protection: Protection,
    reserved: u8,
    line: Excerpt,
    /// Where the last line wants a data connection to.
    wish: Wish,
}

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct State(u8);

impl State {
    /// Nothing yet: a line begins here.
    const BETWEEN: Self = Self(0);
    /// The client's: the name of a command. The server's: a line.
    const LINE: Self = Self(1);
    const ARGUMENT: Self = Self(2);
    /// The second byte of a Telnet command, in front of a line.
    const TELNET: Self = Self(3);
    /// The third one.
    const TELNET_OPTION: Self = Self(4);
    /// The server's: the first byte after its agreement to TLS.
    const TLS: Self = Self(5);
    /// The rest of a segment in which no line began that proves itself, while joining.
    const REST_OF_SEGMENT: Self = Self(6);
    /// The rest of the stream, which is not FTP that can be read.
    const OPAQUE: Self = Self(7);
}

/// What the server agreed to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Protection(u8);

impl Protection {
    const NONE: Self = Self(0);
    const TLS: Self = Self(1);
    /// Another mechanism of RFC 2228, or it is not known which.
    const OTHER: Self = Self(2);
}

/// What is to be remembered, a bit each.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Flags(u32);

impl Flags {
    // Of the stream.

    /// This is what the server says.
    const SERVER: Self = Self(1 << 0);
    /// Joined in the middle, and nothing that proves itself was read since.
    const JOINING: Self = Self(1 << 1);
    /// Not every byte since the start was seen: nobody can count commands and replies.
    const JOINED: Self = Self(1 << 2);
    /// There was a command or reply.
    const SPOKEN: Self = Self(1 << 3);
    /// There was the server's greeting, which answers no command.
    const GREETED: Self = Self(1 << 4);

    const OF_STREAM: Self = Self((1 << 5) - 1);

    // Of the line.

    /// The last byte was a CR.
    const AFTER_CR: Self = Self(1 << 5);
    /// The name of the command has other bytes than letters.
    const ODD_NAME: Self = Self(1 << 6);
    /// The rest is not kept.
    const SECRET: Self = Self(1 << 7);
    /// What stands for it is.
    const HIDDEN: Self = Self(1 << 8);
    /// There was a parenthesis in the reply.
    const PARENTHESIS: Self = Self(1 << 9);
}

impl FilterParser for Parser {
    const FILTER: FilterId = FilterId::Ftp;
    const SEGMENTS_DISAGREE: u16 = Finding::SegmentsDisagree as u16;
    const FOREIGN_ADDRESS: u16 = Finding::ForeignAddress as u16;

    #[inline(always)]
    fn begin(&mut self, direction: Direction) {
        if direction == Direction::Reply {
            self.set(Flags::SERVER);
        }
    }

    #[inline(always)]
    fn resync(&mut self) {
        match self.state {
            State::OPAQUE => {}
            State::TLS => self.state = State::OPAQUE,
            _ => {
                self.state = State::REST_OF_SEGMENT;
                self.open_code = 0;
                self.set(Flags::JOINING);
                self.set(Flags::JOINED);
            }
        }
    }

    /// While joining, only a segment that begins with a command or with a reply code is read, and nothing is
    /// reported before that is seen.
    #[inline(always)]
    fn segment_start(&mut self, _scene: &Scene, _peer: &Self) {
        if self.state == State::REST_OF_SEGMENT {
            self.state = State::BETWEEN;
            self.clear(Flags::AFTER_CR);
        }
    }

    #[inline(always)]
    fn skippable(&self) -> u32 {
        match self.state {
            State::REST_OF_SEGMENT | State::OPAQUE => u32::MAX,
            _ => 0,
        }
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.offset = self.offset.wrapping_add(u64::from(count));
    }

    #[inline(always)]
    fn step(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        let outcome = if self.has(Flags::SERVER) {
            self.server_byte(scene, peer, byte)
        } else {
            self.client_byte(scene, peer, byte)
        };
        self.offset = self.offset.wrapping_add(1);
        outcome
    }

    #[inline(always)]
    fn offset(&self) -> u64 {
        self.offset
    }

    /// Of the line.
    #[inline(always)]
    fn finding_offset(&self, _code: u16) -> u64 {
        self.line_offset
    }

    /// Of the line, without its end. What PASS, ACCT and ADAT say is replaced by `*`.
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
    #[inline(always)]
    fn begin_line(&mut self) {
        self.flags.0 &= Flags::OF_STREAM.0;
        self.line_offset = self.offset;
        self.line.clear();
        self.pending = Findings::EMPTY;
        self.length = 0;
        self.state = State::LINE;
    }

    /// Takes the LF of a line.
    #[inline(always)]
    fn end_line(&mut self) {
        if !self.has(Flags::AFTER_CR) {
            self.pending |= Finding::BareLineEnd.bit();
        }
        self.clear(Flags::AFTER_CR);
        self.state = State::BETWEEN;
    }

    /// Counts a byte of the line. Returns whether it is still within the limit.
    #[inline(always)]
    fn count(&mut self) -> bool {
        self.length = self.length.saturating_add(1);
        self.length <= LINE_MAX
    }

    /// Reports `finding` and reads no more of the stream: whether a line begins later cannot be told. While
    /// joining, this was only no place to begin.
    #[inline(always)]
    fn give_up(&mut self, finding: Finding) -> Outcome {
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
            return Outcome::NONE;
        }
        self.state = State::OPAQUE;
        self.line.hide_unfinished();
        finding.bit().into()
    }

    /// What was found in the line that has ended.
    #[inline(always)]
    fn take_pending(&mut self) -> Outcome {
        let pending = self.pending;
        self.pending = Findings::EMPTY;
        pending.into()
    }

    /// Whether commands and replies cannot be counted.
    #[inline(always)]
    const fn joined(&self, peer: &Self) -> bool {
        (self.flags.0 | peer.flags.0) & Flags::JOINED.0 != 0
    }

    /// Wishes for a data connection to where the speaker said, or objects to that.
    #[inline(always)]
    fn wish_for(&mut self, scene: &Scene, named: &Named, port: u32) -> Outcome {
        let objection = if port > 0xffff {
            Finding::MalformedPort.bit()
        } else if !named.may_be_speaker(scene) {
            Finding::ForeignAddress.bit()
        } else if port < u32::from(PORT_MIN) {
            Finding::LowPort.bit()
        } else if !self.has(Flags::SERVER) && scene.translated != 0 {
            Finding::BehindNat.bit()
        } else {
            Findings::EMPTY
        };
        self.pending |= objection;
        if !objection.is_empty() {
            return Outcome::NONE;
        }
        let port = port as u16;
        let (original_port, reply_port, begins) = if self.has(Flags::SERVER) {
            (0, port, Wish::BY_ORIGINATOR)
        } else {
            (port, 0, Wish::BY_RESPONDER)
        };
        self.wish.session = 0;
        self.wish.timeout = SILENCE_MAX;
        self.wish.original_port = original_port;
        self.wish.reply_port = reply_port;
        self.wish.ports = 1;
        self.wish.transport = TCP;
        self.wish.begins = begins;
        self.wish.once = 1;
        Outcome::OPEN
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

/// Whether a TLS stream may begin with `byte`.
#[inline(always)]
const fn begins_tls(byte: u8) -> bool {
    matches!(byte, TLS_ALERT | TLS_HANDSHAKE)
}

/// Whether it is a control character, other than the tabulator.
#[inline(always)]
const fn is_control(byte: u8) -> bool {
    byte < SP && byte != HT || byte == 0x7f
}
