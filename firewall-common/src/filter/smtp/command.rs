//! Command lines (RFC 5321 §4.1.1), and the lines of an AUTH exchange (RFC 4954 §4).
//!
//! Only the line's end shows what it was, so most objections wait in `pending` until then.

use super::super::finding::Findings;
use super::super::parser::Scene;
use super::super::token::{CR, HT, LF, SP};
use super::verb::{Form, Verb, is_http_method, register};
use super::{Finding, Flags, Parser, Place, State};

/// Longest command, in bytes with its CRLF, that servers are seen to accept; of a line in an AUTH exchange see
/// [`AUTH_LINE_MAX`].
pub const LINE_MAX: u32 = 12_288;
/// Longest line of an AUTH exchange: a Kerberos ticket of Windows has up to 48,000 bytes before it is encoded.
pub const AUTH_LINE_MAX: u32 = 65_536;
/// Longest command by RFC 5321 §4.5.3.1.4.
const STANDARD_MAX: u32 = 512;
/// What extensions add for MAIL and RCPT together: SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), DSN 500 (RFC 3461
/// §5), AUTH 500 (RFC 4954 §3), SMTPUTF8 10 (RFC 6531 §3.1), and about as much again for what else there is.
const EXTENDED_MAX: u32 = 2048;
/// Longest line of an AUTH exchange that everyone must take (RFC 4954 §4).
const AUTH_STANDARD_MAX: u32 = 12_288;
/// First byte of a TLS handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Longest name of a SASL mechanism (RFC 4422 §3.1).
const MECHANISM_MAX: u8 = 20;

/// Findings in lines that servers read differently: as one command, as several, or as none.
const AMBIGUOUS: Findings =
    Finding::BareLineEnd.bit().with(Finding::ControlCharacter.bit()).with(Finding::LongLine.bit());

impl Parser {
    #[inline(never)]
    pub(super) fn command(&mut self, scene: &Scene, server: &Self, byte: u8) -> Findings {
        if self.place == Place::START {
            self.begin_command(server);
            if byte == TLS_HANDSHAKE {
                return self.not_smtp();
            }
        }
        self.length = self.length.saturating_add(1);
        if byte == LF {
            return self.end_command(scene, server);
        }
        if self.has(Flags::AFTER_CR) {
            self.clear(Flags::AFTER_CR);
            self.pending |= Finding::BareLineEnd.bit();
        }
        if byte == CR {
            self.set(Flags::AFTER_CR);
            return self.end_name(scene);
        }
        let findings = if self.state == State::CREDENTIALS {
            Findings::EMPTY
        } else {
            self.judge(byte) | self.command_byte(scene, byte)
        };
        self.keep(byte);
        findings | self.limit_length()
    }

    #[inline(never)]
    fn begin_command(&mut self, server: &Self) {
        self.begin_line();
        if self.state == State::CREDENTIALS || self.has(Flags::EARLY_CREDENTIALS) {
            self.set(Flags::CREDENTIALS);
            self.clear(Flags::EARLY_CREDENTIALS);
        }
        if self.has(Flags::OUT_OF_TURN) {
            self.clear(Flags::OUT_OF_TURN);
            self.pending |= Finding::OutOfTurn.bit();
        }
        if !self.has(Flags::SPOKEN) && server.turn.replies == 0 && server.turn.losses == 0 {
            self.pending |= Finding::EarlyTalker.bit();
        }
    }

    #[inline(always)]
    fn limit_length(&mut self) -> Findings {
        let in_auth = self.verb.is_auth() && self.words > 1 || self.has(Flags::CREDENTIALS);
        let limit = if in_auth { AUTH_LINE_MAX } else { LINE_MAX };
        if self.length <= limit {
            return Findings::EMPTY;
        }
        if self.has(Flags::JOINING) {
            self.state = State::REST_OF_SEGMENT;
        }
        self.report(Finding::LineTooLong.bit())
    }

    /// Judges a byte by its value. What the first line of a stream cannot begin with is no SMTP.
    #[inline(always)]
    fn judge(&mut self, byte: u8) -> Findings {
        let control = byte < SP && byte != HT || byte == 0x7f;
        if control {
            self.pending |= Finding::ControlCharacter.bit();
        }
        if byte >= 0x80 {
            self.set(Flags::NON_ASCII);
        }
        let in_name = self.words == 0 || self.words == 1 && self.has(Flags::IN_WORD);
        if (control || byte >= 0x80) && in_name && !self.has(Flags::SPOKEN) {
            return self.not_smtp();
        }
        Findings::EMPTY
    }

    #[inline(always)]
    fn command_byte(&mut self, scene: &Scene, byte: u8) -> Findings {
        if self.is_in_path() {
            self.path_byte(byte);
            return Findings::EMPTY;
        }
        if matches!(byte, SP | HT) {
            return self.blank(scene, byte);
        }
        if !self.has(Flags::IN_WORD) {
            self.set(Flags::IN_WORD);
            self.words = self.words.saturating_add(1);
            self.word = 0;
            self.word_length = 0;
        }
        self.clear(Flags::AFTER_BLANK);
        self.push(byte);
        match self.words {
            1 => self.name_byte(byte),
            2 => {
                self.argument_byte(byte);
                Findings::EMPTY
            }
            _ => Findings::EMPTY,
        }
    }

    /// Puts a byte into the register, letters as capitals.
    #[inline(always)]
    pub(super) fn push(&mut self, byte: u8) {
        let capital = if byte.is_ascii_lowercase() { byte & 0xdf } else { byte };
        self.word = self.word << 8 | u64::from(capital);
        self.word_length = self.word_length.saturating_add(1);
    }

    #[inline(always)]
    fn name_byte(&mut self, byte: u8) -> Findings {
        match self.word_length {
            1 if byte | 0x20 == b'x' => self.set(Flags::PRIVATE),
            4 if self.word == const { register("AUTH") } => self.set(Flags::LIKE_AUTH),
            4 if self.word == const { register("SSH-") } && !self.has(Flags::SPOKEN) => {
                return self.not_smtp();
            }
            _ => {}
        }
        Findings::EMPTY
    }

    /// A byte of a command's first argument.
    #[inline(always)]
    fn argument_byte(&mut self, byte: u8) {
        if matches!(self.form, Form::CHUNK | Form::SIZE) {
            self.size_byte(byte);
        }
        let in_name = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if self.verb.is_auth() && (!in_name || self.word_length > MECHANISM_MAX) {
            self.set(Flags::CREDENTIALS);
        }
    }

    #[inline(always)]
    fn size_byte(&mut self, byte: u8) {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        // Ten times this and 9 fits.
        const MOST: u32 = (u32::MAX - 9) / 10;
        if digit > 9 || self.number > MOST {
            self.set(Flags::BAD_NUMBER);
            return;
        }
        self.number = self.number.wrapping_mul(10).wrapping_add(digit);
    }

    #[inline(always)]
    fn blank(&mut self, scene: &Scene, byte: u8) -> Findings {
        if byte == HT || !self.has(Flags::IN_WORD) {
            self.pending |= Finding::OddSpacing.bit();
        }
        self.set(Flags::AFTER_BLANK);
        self.end_word(scene)
    }

    #[inline(always)]
    fn end_name(&mut self, scene: &Scene) -> Findings {
        if self.words == 1 && self.state == State::COMMAND {
            return self.end_word(scene);
        }
        Findings::EMPTY
    }

    #[inline(never)]
    fn end_word(&mut self, scene: &Scene) -> Findings {
        if !self.has(Flags::IN_WORD) {
            return Findings::EMPTY;
        }
        self.clear(Flags::IN_WORD);
        if self.words == 1 {
            return self.name_command(scene);
        }
        let utf8 = self.word_length == 8 && self.word == const { register("SMTPUTF8") };
        if utf8 && self.words > 2 {
            self.set(Flags::UTF8);
        }
        let last = self.word_length == 4 && self.word == const { register("LAST") };
        if self.form == Form::CHUNK && self.words > 2 && !(self.words == 3 && last) {
            self.set(Flags::BAD_NUMBER);
        }
        Findings::EMPTY
    }

    /// The command's name has ended.
    #[inline(always)]
    fn name_command(&mut self, scene: &Scene) -> Findings {
        self.verb = Verb::named(self.word, self.word_length);
        self.form = self.verb.form();
        self.hides_from = self.verb.hides_from();
        self.number = 0;
        if self.verb == Verb::UNKNOWN {
            return self.unknown_name();
        }
        if self.form == Form::PATH {
            self.begin_path();
        }
        if self.verb == Verb::MAIL {
            self.clear(Flags::UTF8);
        }
        if self.verb.is_private() {
            self.pending |= Finding::PrivateCommand.bit();
        }
        if self.verb.is_allowed(scene.commands) {
            return Findings::EMPTY;
        }
        self.report(Finding::CommandNotAllowed.bit())
    }

    #[inline(always)]
    fn unknown_name(&mut self) -> Findings {
        let http = self.word_length <= 7 && is_http_method(self.word);
        if self.has(Flags::JOINING) || http && !self.has(Flags::SPOKEN) {
            return self.not_smtp();
        }
        if self.has(Flags::CREDENTIALS) {
            return Findings::EMPTY;
        }
        let (private, like_auth) = (self.has(Flags::PRIVATE), self.has(Flags::LIKE_AUTH));
        if private || like_auth {
            self.hides_from = 2;
        }
        self.pending |=
            if private { Finding::PrivateCommand } else { Finding::UnknownCommand }.bit();
        Findings::EMPTY
    }

    #[inline(never)]
    fn end_command(&mut self, scene: &Scene, server: &Self) -> Findings {
        self.place = Place::START;
        if !self.has(Flags::AFTER_CR) {
            self.pending |= Finding::BareLineEnd.bit();
        }
        let mut findings = if self.state == State::CREDENTIALS {
            Findings::EMPTY
        } else {
            self.end_name(scene) | self.end_arguments(scene)
        };
        if matches!(self.state, State::REST_OF_SEGMENT | State::OPAQUE) {
            return findings;
        }
        self.set(Flags::SPOKEN);
        if self.length > self.standard_length() {
            self.pending |= Finding::LongLine.bit();
        }
        if self.words == 0 && self.state == State::COMMAND || !(self.pending & AMBIGUOUS).is_empty()
        {
            findings |= self.lose_count(server);
        }
        let pending = self.pending;
        findings |= self.report(pending);
        findings | self.obey(server)
    }

    /// Longest line by the standards.
    #[inline(always)]
    const fn standard_length(&self) -> u32 {
        if self.verb.is_auth() || self.has(Flags::CREDENTIALS) {
            return AUTH_STANDARD_MAX;
        }
        match self.form {
            Form::PATH => EXTENDED_MAX,
            _ => STANDARD_MAX,
        }
    }

    /// Judges what stands behind the command's name.
    #[inline(never)]
    fn end_arguments(&mut self, scene: &Scene) -> Findings {
        if self.has(Flags::AFTER_BLANK) {
            self.pending |= Finding::OddSpacing.bit();
        }
        let findings = self.end_word(scene);
        let arguments = self.words > 1;
        match self.form {
            _ if self.words == 0 => self.pending |= Finding::MalformedCommand.bit(),
            Form::PATH => self.end_path(),
            Form::NOTHING if arguments => self.pending |= Finding::MalformedCommand.bit(),
            Form::SOMETHING | Form::SIZE if !arguments => {
                self.pending |= Finding::MalformedCommand.bit();
            }
            _ => {}
        }
        self.judge_encoding();
        let http = self.word_length == 8 && self.word >> 24 == const { register("HTTP/") };
        if self.verb == Verb::UNKNOWN && http && arguments {
            return self.not_smtp();
        }
        findings
    }

    /// MAIL says for the whole transaction whether it uses SMTPUTF8; VRFY and EXPN say it for themselves (RFC 6531
    /// §3.4, §3.7.4).
    #[inline(always)]
    fn judge_encoding(&mut self) {
        let may = matches!(self.verb, Verb::MAIL | Verb::RCPT | Verb::VRFY | Verb::EXPN);
        if self.has(Flags::NON_ASCII) && !(may && self.has(Flags::UTF8)) {
            self.pending |= Finding::NonAsciiCommand.bit();
        }
    }

    /// Goes on to what follows the line.
    #[inline(always)]
    fn obey(&mut self, server: &Self) -> Findings {
        if self.state == State::CREDENTIALS {
            return self.ask_and_wait(server);
        }
        if self.words == 0 {
            // Servers differ in whether they answer that. While joining, it proves nothing.
            if self.has(Flags::JOINING) {
                self.state = State::REST_OF_SEGMENT;
            }
            return Findings::EMPTY;
        }
        if self.verb == Verb::UNKNOWN && self.has(Flags::CREDENTIALS) {
            // The client did not wait for the challenge, and this may be its answer.
            self.verb = Verb::AUTH;
            return self.ask_and_wait(server);
        }
        if self.verb == Verb::BDAT {
            return self.begin_bdat(server);
        }
        if matches!(self.verb, Verb::HELO | Verb::EHLO | Verb::LHLO) {
            self.turn.hello = self.turn.asked.wrapping_add(1);
        }
        if self.verb.is_waited_for() {
            return self.ask_and_wait(server);
        }
        self.ask();
        Findings::EMPTY
    }

    /// Servers go on reading behind a BDAT that they do not understand, each in its own way. So what they might not
    /// understand is not let through either.
    #[inline(always)]
    fn begin_bdat(&mut self, server: &Self) -> Findings {
        self.ask();
        // It may not be one to the server where lines before it may have been read differently, or a reply decides
        // what comes behind it.
        let doubtful =
            self.has(Flags::BAD_NUMBER) || self.has(Flags::UNCOUNTED) || self.waits_for(server);
        if self.words < 2 || doubtful {
            let findings = self.report(Finding::MalformedBdat.bit());
            self.lose_track();
            return findings;
        }
        let unannounced = self.chunk_is_unannounced(server);
        self.begin_chunk();
        if unannounced { self.report(Finding::BdatUnannounced.bit()) } else { Findings::EMPTY }
    }
}
