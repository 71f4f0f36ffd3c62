//! What the client says: command lines (RFC 959 §5.3), and Telnet commands in front of them.

use bytemuck::{Pod, Zeroable};

use super::command::NAME_MAX;
use super::{
    CR, Command, Finding, Flags, HT, LF, Outcome, Parser, Protection, SP, Scene, State, begins_tls,
    is_control,
};
use crate::words::clear;

/// Interpret as command, and those commands that an option follows: WILL, WON'T, DO, DON'T (RFC 854).
const IAC: u8 = 255;
const WILL: u8 = 251;
const DONT: u8 = 254;

/// The mechanisms that are TLS; `TLS-C` and `TLS-P` begin with the first (RFC 4217 §4, §16).
const TLS: u32 = u32::from_be_bytes(*b"\0TLS");
const SSL: u32 = u32::from_be_bytes(*b"\0SSL");
/// In the first letters of an argument, once there are as many as name a mechanism.
const WORD_FULL: u32 = 0xff_0000;

/// The client's last commands, the newest in the lowest bit.
///
/// A server answers one after the other, so the count of its replies says which command a reply answers
/// (RFC 959 §5.4). The client's parser writes this, the server's reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Sent {
    /// Which of them were PASV.
    pub(super) pasv: u64,
    /// Which were EPSV.
    pub(super) epsv: u64,
    /// Which were AUTH.
    pub(super) auth: u64,
    /// How many commands there were.
    pub(super) count: u32,
    /// 1: the last AUTH asked for TLS.
    pub(super) asks_for_tls: u32,
}

impl Parser {
    #[inline(never)]
    pub(super) fn client_byte(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        if peer.protection != Protection::NONE {
            return self.begin_protection(peer, byte);
        }
        match self.state {
            State::BETWEEN => self.client_between(peer, byte),
            State::LINE | State::ARGUMENT => self.command_byte(scene, peer, byte),
            State::TELNET => {
                self.state = match byte {
                    WILL..=DONT => State::TELNET_OPTION,
                    _ => State::BETWEEN,
                };
                Outcome::NONE
            }
            State::TELNET_OPTION => {
                self.state = State::BETWEEN;
                Outcome::NONE
            }
            _ => Outcome::NONE,
        }
    }

    /// The first byte after the server agreed to TLS. What came before it without being a whole line would lie
    /// in the server's buffer, in front of the first line that TLS protects.
    #[inline(never)]
    fn begin_protection(&mut self, peer: &Self, byte: u8) -> Outcome {
        let in_line = matches!(self.state, State::LINE | State::ARGUMENT);
        if in_line {
            return self.give_up(Finding::PipelinedAfterAuth);
        }
        if begins_tls(byte) || peer.protection != Protection::TLS || self.has(Flags::JOINING) {
            self.state = State::OPAQUE;
            return Outcome::NONE;
        }
        self.begin_line();
        self.line.push(byte);
        self.give_up(Finding::NotTls)
    }

    #[inline(always)]
    fn client_between(&mut self, peer: &Self, byte: u8) -> Outcome {
        match byte {
            // Some clients keep a connection alive with blank lines.
            CR | LF => Outcome::NONE,
            IAC if !self.has(Flags::JOINING) => {
                self.state = State::TELNET;
                Outcome::NONE
            }
            _ => self.begin_command(peer, byte),
        }
    }

    #[inline(never)]
    fn begin_command(&mut self, peer: &Self, byte: u8) -> Outcome {
        self.begin_line();
        self.name = 0;
        self.word = 0;
        self.letters = 0;
        self.command = Command::UNKNOWN;
        self.line.push(byte);
        self.count();
        if is_control(byte) || byte >= 0x80 {
            // TLS before the server agreed to it is a case of the first.
            return if self.auth_is_unanswered(peer) {
                self.give_up(Finding::PipelinedAfterAuth)
            } else {
                self.give_up(Finding::NotFtp)
            };
        }
        self.name_byte(byte)
    }

    #[inline(always)]
    fn command_byte(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        if byte == LF {
            return self.end_command(scene, peer);
        }
        if !self.count() {
            return self.give_up(Finding::LineTooLong);
        }
        if byte == CR {
            self.set(Flags::AFTER_CR);
            return Outcome::NONE;
        }
        if self.has(Flags::AFTER_CR) && self.end_cr(byte) {
            return Outcome::NONE;
        }
        self.keep(byte);
        if is_control(byte) {
            self.pending |= Finding::ControlByte.bit();
        }
        if self.state == State::LINE {
            return self.name_byte(byte);
        }
        self.argument_byte(byte);
        Outcome::NONE
    }

    /// A CR ends nothing, unless LF follows; followed by NUL it stands for itself (RFC 854, RFC 2640 §3.1).
    /// Returns whether this was the NUL.
    #[inline(always)]
    fn end_cr(&mut self, byte: u8) -> bool {
        self.clear(Flags::AFTER_CR);
        if self.state == State::LINE {
            self.set(Flags::ODD_NAME);
        }
        if byte != 0 {
            self.pending |= Finding::BareCr.bit();
        }
        byte == 0
    }

    /// Puts a byte into the excerpt, or one `*` for the whole of a secret.
    #[inline(always)]
    fn keep(&mut self, byte: u8) {
        if self.has(Flags::HIDDEN) {
            return;
        }
        let secret = self.has(Flags::SECRET) && !matches!(byte, SP | HT);
        if secret {
            self.set(Flags::HIDDEN);
        }
        self.line.push(if secret { b'*' } else { byte });
    }

    #[inline(never)]
    fn name_byte(&mut self, byte: u8) -> Outcome {
        if matches!(byte, SP | HT) {
            if self.letters == 0 && !self.has(Flags::ODD_NAME) && !self.has(Flags::JOINING) {
                self.pending |= Finding::MalformedCommand.bit();
                return Outcome::NONE;
            }
            return self.end_name();
        }
        // Extensions such as XMD5 have digits.
        if !(byte.is_ascii_alphabetic() || self.letters > 0 && byte.is_ascii_digit()) {
            self.set(Flags::ODD_NAME);
            return Outcome::NONE;
        }
        let long = self.letters >= NAME_MAX;
        self.name = self.name << 8 | u32::from(byte.to_ascii_uppercase());
        self.letters = self.letters.saturating_add(1);
        // What follows the name of a secret is one, whatever stands between them.
        if self.letters == NAME_MAX && Command::named(self.name).has_secret() {
            self.set(Flags::SECRET);
        }
        if long && self.has(Flags::JOINING) {
            return self.give_up(Finding::NotFtp);
        }
        Outcome::NONE
    }

    /// The name of the command has ended. While joining, a known one proves that this is a command.
    #[inline(never)]
    fn end_name(&mut self) -> Outcome {
        if self.letters <= NAME_MAX && !self.has(Flags::ODD_NAME) {
            self.command = Command::named(self.name);
        }
        self.state = State::ARGUMENT;
        if self.command.is_known() {
            self.clear(Flags::JOINING);
            self.set(Flags::SPOKEN);
        } else if self.has(Flags::JOINING) {
            return self.give_up(Finding::NotFtp);
        }
        // Under a name that is garbled a server may still find one whose argument is a secret.
        if self.has(Flags::ODD_NAME) {
            self.set(Flags::SECRET);
        }
        if self.announces() {
            clear(&mut self.endpoint);
        }
        Outcome::NONE
    }

    /// Whether the command says where a data connection is to lead.
    #[inline(always)]
    const fn announces(&self) -> bool {
        self.command.is(Command::PORT) || self.command.is(Command::EPRT)
    }

    #[inline(always)]
    fn argument_byte(&mut self, byte: u8) {
        if self.command.is(Command::PORT) {
            self.endpoint.port(byte);
        } else if self.command.is(Command::EPRT) {
            self.endpoint.extended(byte);
        } else if self.word & WORD_FULL == 0 && !matches!(byte, SP | HT) {
            self.word = self.word << 8 | u32::from(byte.to_ascii_uppercase());
        }
    }

    #[inline(never)]
    fn end_command(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        if self.state == State::LINE {
            self.end_name();
            if self.state != State::ARGUMENT {
                return Outcome::NONE;
            }
        }
        self.end_line();
        if !self.has(Flags::SPOKEN) && self.is_foreign() {
            return self.give_up(Finding::NotFtp);
        }
        if self.has(Flags::ODD_NAME) {
            self.pending |= Finding::MalformedCommand.bit();
        } else if !self.command.is_known() {
            self.pending |= Finding::UnknownCommand.bit();
        }
        if self.auth_is_unanswered(peer) {
            self.pending |= Finding::PipelinedAfterAuth.bit();
        }
        self.note_sent();
        let allowed = self.command.is_allowed(scene.commands);
        if !allowed {
            self.pending |= Finding::CommandNotAllowed.bit();
        }
        let opening =
            if allowed && self.announces() { self.announce(scene) } else { Outcome::NONE };
        opening.with(self.take_pending())
    }

    /// Whether what was read is a command of another protocol. Commands of FTP have three or four letters
    /// (RFC 959 §5.3); one that nobody knows may be an extension.
    #[inline(always)]
    const fn is_foreign(&self) -> bool {
        self.command.is(Command::FOREIGN) || self.has(Flags::ODD_NAME) || self.letters > NAME_MAX
    }

    #[inline(always)]
    fn note_sent(&mut self) {
        let bit = |command| u64::from(self.command.is(command));
        self.sent.pasv = self.sent.pasv << 1 | bit(Command::PASV);
        self.sent.epsv = self.sent.epsv << 1 | bit(Command::EPSV);
        self.sent.auth = self.sent.auth << 1 | bit(Command::AUTH);
        if self.command.is(Command::AUTH) {
            let tls = self.word == TLS || self.word == SSL;
            self.sent.asks_for_tls = u32::from(tls);
        }
        self.sent.count = self.sent.count.wrapping_add(1);
    }

    /// Whether the client asked for protection and has no answer yet.
    #[inline(always)]
    fn auth_is_unanswered(&self, peer: &Self) -> bool {
        let unanswered = self.sent.count.wrapping_sub(peer.answered);
        let commands = match unanswered {
            0 => 0,
            _ if self.joined(peer) => 1,
            1..64 => u64::MAX >> (64u32.wrapping_sub(unanswered) & 63),
            _ => u64::MAX,
        };
        self.sent.auth & commands != 0
    }

    /// The server is told to begin a data connection: to the client that says so, and to nobody else
    /// (RFC 2577 §3).
    #[inline(never)]
    fn announce(&mut self, scene: &Scene) -> Outcome {
        if self.command.is(Command::PORT) {
            if self.endpoint.end_six() {
                let named = self.endpoint.six_address();
                return self.wish_for(scene, &named, self.endpoint.six_port());
            }
        } else if self.endpoint.is_extended() {
            let named = self.endpoint.extended_address();
            if self.endpoint.has_family(&named) {
                return self.wish_for(scene, &named, self.endpoint.extended_port());
            }
        }
        self.pending |= Finding::MalformedPort.bit();
        Outcome::NONE
    }
}
