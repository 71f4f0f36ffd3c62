//! Replies (RFC 5321 §4.2): `code [ SP text ] CRLF`, or several lines of which all but the last have `-` behind
//! the code.

use super::super::finding::Findings;
use super::super::token::{CR, HT, LF, SP};
use super::verb::register;
use super::{Finding, Flags, Parser, Place, State};

/// Longest line of a reply, in bytes with its CRLF, that clients are seen to accept.
pub const REPLY_MAX: u32 = 4096;
/// Longest by RFC 5321 §4.5.3.1.5.
const STANDARD_MAX: u32 = 512;
/// A challenge of an AUTH exchange (RFC 4954 §4).
const CHALLENGE: u16 = 334;

impl Parser {
    #[inline(never)]
    pub(super) fn reply(&mut self, client: &Self, byte: u8) -> Findings {
        if self.place == Place::START {
            self.begin_reply_line(client);
        }
        self.length = self.length.saturating_add(1);
        if byte == LF {
            return self.end_reply_line(client);
        }
        if self.has(Flags::AFTER_CR) {
            self.clear(Flags::AFTER_CR);
            self.pending |= Finding::BareLineEnd.bit();
        }
        if byte == CR {
            self.set(Flags::AFTER_CR);
            return self.end_code();
        }
        let findings = match self.length {
            1..4 => self.code_byte(byte),
            4 => self.separator(byte),
            _ => {
                self.reply_text(byte);
                Findings::EMPTY
            }
        };
        if byte < SP && byte != HT || byte == 0x7f {
            self.pending |= Finding::ControlCharacter.bit();
            if self.has(Flags::JOINING) {
                self.state = State::REST_OF_SEGMENT;
            }
        }
        self.keep(byte);
        findings | self.limit_reply()
    }

    #[inline(always)]
    fn begin_reply_line(&mut self, client: &Self) {
        // What the client said is not known, and so it is not known whether this is a reply.
        if client.has(Flags::JOINING) && !self.has(Flags::JOINING) {
            self.set(Flags::JOINING);
            self.set(Flags::HEARD);
        }
        let before = self.code;
        self.begin_line();
        self.code = 0;
        self.word = 0;
        self.word_length = 0;
        self.number = u32::from(before);
    }

    #[inline(always)]
    fn limit_reply(&mut self) -> Findings {
        if self.length <= REPLY_MAX {
            return Findings::EMPTY;
        }
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
        }
        self.report(Finding::LineTooLong.bit())
    }

    #[inline(always)]
    fn code_byte(&mut self, byte: u8) -> Findings {
        if !byte.is_ascii_digit() {
            return self.no_code();
        }
        self.code = self.code.wrapping_mul(10).wrapping_add(u16::from(byte & 0xf));
        Findings::EMPTY
    }

    /// A line without code. A stream that begins with one is of something else.
    #[inline(always)]
    fn no_code(&mut self) -> Findings {
        self.set(Flags::BAD_NUMBER);
        self.pending |= Finding::MalformedReply.bit();
        if self.has(Flags::JOINING) || !self.has(Flags::SPOKEN) {
            return self.not_smtp();
        }
        Findings::EMPTY
    }

    #[inline(always)]
    fn separator(&mut self, byte: u8) -> Findings {
        if self.code == CHALLENGE {
            self.set(Flags::CREDENTIALS);
        }
        match byte {
            _ if self.has(Flags::BAD_NUMBER) => Findings::EMPTY,
            SP => Findings::EMPTY,
            b'-' => {
                self.set(Flags::MORE);
                Findings::EMPTY
            }
            _ => self.no_code(),
        }
    }

    /// The code has ended at the latest with the line.
    #[inline(always)]
    fn end_code(&mut self) -> Findings {
        if self.length < 4 { self.no_code() } else { Findings::EMPTY }
    }

    /// Keeps the text's only word, if it has only one.
    #[inline(always)]
    fn reply_text(&mut self, byte: u8) {
        if matches!(byte, SP | HT) {
            self.set(Flags::AFTER_BLANK);
            return;
        }
        if self.has(Flags::AFTER_BLANK) {
            self.word = 0;
        }
        self.push(byte);
    }

    /// Looks for the announcement of CHUNKING (RFC 3030 §2), a line of the reply to EHLO.
    #[inline(always)]
    fn look_for_chunking(&mut self) {
        let chunking = self.word_length == 8 && self.word == const { register("CHUNKING") };
        if chunking && self.code == 250 {
            self.set(Flags::CHUNKING);
        }
    }

    #[inline(never)]
    fn end_reply_line(&mut self, client: &Self) -> Findings {
        self.place = Place::START;
        let mut findings = Findings::EMPTY;
        if !self.has(Flags::AFTER_CR) {
            self.pending |= Finding::BareLineEnd.bit();
            findings = self.end_code();
        }
        if matches!(self.state, State::REST_OF_SEGMENT | State::OPAQUE) {
            return findings;
        }
        self.set(Flags::HEARD);
        if !client.has(Flags::JOINING) {
            self.clear(Flags::JOINING);
        }
        self.set(Flags::SPOKEN);
        self.look_for_chunking();
        if self.length > STANDARD_MAX {
            self.pending |= Finding::LongLine.bit();
        }
        findings |= self.end_reply(client);
        let pending = self.pending;
        findings | self.report(pending)
    }

    /// Judges the line by its code. One without code is part of the reply that is being given, if any.
    #[inline(always)]
    fn end_reply(&mut self, client: &Self) -> Findings {
        if self.has(Flags::BAD_NUMBER) {
            self.code = self.number as u16;
            return Findings::EMPTY;
        }
        if self.has(Flags::CONTINUED) && u32::from(self.code) != self.number {
            self.pending |= Finding::MalformedReply.bit();
        }
        let tens = self.code / 10 % 10;
        if !(200..600).contains(&self.code) || tens > 5 {
            self.pending |= Finding::OddReplyCode.bit();
        }
        if self.has(Flags::MORE) {
            self.set(Flags::CONTINUED);
            return Findings::EMPTY;
        }
        self.clear(Flags::CONTINUED);
        // A preliminary reply (RFC 959 §4.2), which sendmail gives to VERB, is not the answer.
        if self.code < 200 { Findings::EMPTY } else { self.count_reply(client) }
    }
}
