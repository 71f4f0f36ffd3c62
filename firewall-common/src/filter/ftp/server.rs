//! What the server says: replies of one line or several (RFC 959 §4.2), and which command each of them answers.

use bytemuck::{Pod, Zeroable};

use super::{
    CR, Finding, Flags, LF, Outcome, Parser, Protection, SP, Scene, State, begins_tls, is_control,
};
use crate::words::clear;

/// Digits of a reply code.
const CODE_DIGITS: u8 = 3;
/// The codes of final replies that are looked at (RFC 959 §4.2.2, RFC 2428 §3, RFC 2228 §5.2).
const CLOSING_DOWN: u16 = 421;
const PASSIVE: u16 = 227;
const EXTENDED_PASSIVE: u16 = 229;
const AUTH_DONE: u16 = 234;
const AUTH_GOES_ON: u16 = 334;

/// What a line of the server is.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Line(u8);

impl Line {
    /// That is not known yet: the code is being read.
    const CODE: Self = Self(0);
    /// The first one of several.
    const FIRST: Self = Self(1);
    /// The last or only one of a reply.
    const LAST: Self = Self(2);
    /// Text within a reply, or no reply at all.
    const TEXT: Self = Self(3);
}

impl Parser {
    #[inline(never)]
    pub(super) fn server_byte(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        match self.state {
            State::BETWEEN if matches!(byte, CR | LF) => Outcome::NONE,
            State::BETWEEN => {
                self.begin_line();
                self.code = 0;
                self.letters = 0;
                self.line_kind = Line::CODE;
                self.reply_byte(byte)
            }
            State::LINE if byte == LF => self.end_reply_line(scene, peer),
            State::LINE => self.reply_byte(byte),
            State::TLS => self.first_of_tls(byte),
            _ => Outcome::NONE,
        }
    }

    #[inline(never)]
    fn first_of_tls(&mut self, byte: u8) -> Outcome {
        self.state = State::OPAQUE;
        if begins_tls(byte) {
            return Outcome::NONE;
        }
        self.begin_line();
        self.line.push(byte);
        self.give_up(Finding::NotTls)
    }

    #[inline(never)]
    fn reply_byte(&mut self, byte: u8) -> Outcome {
        if !self.count() {
            return self.give_up(Finding::LineTooLong);
        }
        if byte == CR {
            self.set(Flags::AFTER_CR);
            return Outcome::NONE;
        }
        if self.has(Flags::AFTER_CR) {
            self.clear(Flags::AFTER_CR);
            self.pending |= Finding::BareLineEnd.bit();
        }
        self.line.push(byte);
        if is_control(byte) {
            self.pending |= Finding::ControlByte.bit();
        }
        match self.line_kind {
            Line::CODE => return self.code_byte(byte),
            Line::LAST => self.text_byte(byte),
            _ => {}
        }
        Outcome::NONE
    }

    #[inline(always)]
    fn code_byte(&mut self, byte: u8) -> Outcome {
        if self.letters < CODE_DIGITS && byte.is_ascii_digit() {
            let digit = u16::from(byte.wrapping_sub(b'0'));
            self.code = self.code.wrapping_mul(10).wrapping_add(digit);
            self.letters = self.letters.wrapping_add(1);
            return Outcome::NONE;
        }
        self.end_code(byte)
    }

    /// The text of the last line of a reply.
    #[inline(always)]
    fn text_byte(&mut self, byte: u8) {
        if self.code == PASSIVE {
            self.endpoint.scan_six(byte);
        } else if self.code == EXTENDED_PASSIVE {
            if self.has(Flags::PARENTHESIS) {
                self.endpoint.scan_extended(byte);
            } else if byte == b'(' {
                self.set(Flags::PARENTHESIS);
            }
        }
    }

    /// Tells what the line is by what follows its code: a blank, a hyphen, LF or what follows none.
    #[inline(never)]
    fn end_code(&mut self, byte: u8) -> Outcome {
        let is_code = self.letters == CODE_DIGITS
            && matches!(self.code, 100..700)
            && matches!(byte, SP | b'-' | LF);
        if self.open_code != 0 {
            self.line_kind =
                if is_code && byte != b'-' { self.end_within(byte) } else { Line::TEXT };
        } else if is_code {
            self.clear(Flags::JOINING);
            self.set(Flags::SPOKEN);
            self.line_kind = if byte == b'-' { Line::FIRST } else { Line::LAST };
        } else if self.has(Flags::SPOKEN) && !self.has(Flags::JOINING) {
            self.pending |= Finding::MalformedReply.bit();
            self.line_kind = Line::TEXT;
        } else {
            return self.give_up(Finding::NotFtp);
        }
        if self.line_kind == Line::LAST {
            if byte == LF {
                self.pending |= Finding::MalformedReply.bit();
            }
            clear(&mut self.endpoint);
        }
        Outcome::NONE
    }

    /// A code and a blank within a reply of several lines: its end, if the code is the same.
    #[inline(always)]
    fn end_within(&mut self, byte: u8) -> Line {
        if self.code == self.open_code {
            return Line::LAST;
        }
        if byte == SP {
            self.pending |= Finding::AmbiguousReply.bit();
        }
        Line::TEXT
    }

    #[inline(never)]
    fn end_reply_line(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        if self.line_kind == Line::CODE {
            let outcome = self.end_code(LF);
            if self.state != State::LINE {
                return outcome;
            }
        }
        self.end_line();
        let mut opening = Outcome::NONE;
        match self.line_kind {
            Line::FIRST => self.open_code = self.code,
            Line::LAST => {
                self.open_code = 0;
                opening = self.end_reply(scene, peer);
            }
            _ => {}
        }
        opening.with(self.take_pending())
    }

    /// Finds the command that the reply answers. Preliminary replies (RFC 959 §4.2.1) answer none, another one
    /// follows; nor does the greeting (§5.4).
    #[inline(always)]
    fn end_reply(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        if self.code < 200 {
            return Outcome::NONE;
        }
        let joined = self.joined(peer);
        if !self.has(Flags::GREETED) {
            self.set(Flags::GREETED);
            if !joined {
                return Outcome::NONE;
            }
        }
        let unanswered = peer.sent.count.wrapping_sub(self.answered);
        let unasked = unanswered == 0;
        if joined {
            // Nearly every client waits for one reply before it sends the next command.
            self.answered = peer.sent.count;
        } else if !unasked {
            self.answered = self.answered.wrapping_add(1);
        }
        let commands = match self.code {
            PASSIVE => peer.sent.pasv,
            EXTENDED_PASSIVE => peer.sent.epsv,
            AUTH_DONE | AUTH_GOES_ON => peer.sent.auth,
            _ => 0,
        };
        let nth = if joined { 0 } else { unanswered.wrapping_sub(1) };
        let matches = !unasked && nth < u64::BITS && commands >> (nth & 63) & 1 != 0;
        let asked = matches || !unasked && commands & 1 != 0;
        if asked && !matches {
            // A reply is missing, as of servers that answer ABOR and what it ended with one. The client, whose
            // last command this answers, waits for nothing else.
            self.answered = peer.sent.count;
        }
        match self.code {
            PASSIVE | EXTENDED_PASSIVE if asked => self.announce_passive(scene),
            PASSIVE | EXTENDED_PASSIVE if !joined => {
                self.pending |= Finding::UnaskedPassive.bit();
                Outcome::NONE
            }
            AUTH_DONE | AUTH_GOES_ON if asked || joined && unasked => {
                self.begin_protection_of(peer, asked);
                Outcome::NONE
            }
            _ => {
                if unasked && !joined && self.code != CLOSING_DOWN {
                    self.pending |= Finding::UnaskedReply.bit();
                }
                Outcome::NONE
            }
        }
    }

    /// The server tells where it waits for a data connection: at itself, and nowhere else (RFC 2577 §3).
    #[inline(never)]
    fn announce_passive(&mut self, scene: &Scene) -> Outcome {
        if self.code == PASSIVE {
            if self.endpoint.end_six() {
                let named = self.endpoint.six_address();
                return self.wish_for(scene, &named, self.endpoint.six_port());
            }
        } else if self.endpoint.is_extended() {
            let named = self.endpoint.extended_address();
            return self.wish_for(scene, &named, self.endpoint.extended_port());
        }
        self.pending |= Finding::MalformedPort.bit();
        Outcome::NONE
    }

    /// From here on the stream is not for others to read.
    #[inline(always)]
    fn begin_protection_of(&mut self, peer: &Self, asked: bool) {
        let tls = asked && self.code == AUTH_DONE && peer.sent.asks_for_tls != 0;
        (self.protection, self.state) =
            if tls { (Protection::TLS, State::TLS) } else { (Protection::OTHER, State::OPAQUE) };
    }
}
