//! The commands: which there are, what each is given, and which must be waited for.

use bytemuck::{Pod, Zeroable};

/// The names of the commands, in the order of their bits in a policy.
pub(super) const COMMANDS: [&str; 24] = [
    "HELO",
    "EHLO",
    "LHLO",
    "MAIL",
    "RCPT",
    "DATA",
    "BDAT",
    "RSET",
    "VRFY",
    "EXPN",
    "HELP",
    "NOOP",
    "QUIT",
    "AUTH",
    "STARTTLS",
    "ETRN",
    "TURN",
    "ATRN",
    "BURL",
    "XCLIENT",
    "XFORWARD",
    "XEXCH50",
    "X-EXPS",
    "X-ANONYMOUSTLS",
];

/// A command: its bit in a policy.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Verb(u8);

impl Verb {
    pub(super) const HELO: Self = Self(0);
    pub(super) const EHLO: Self = Self(1);
    pub(super) const LHLO: Self = Self(2);
    pub(super) const MAIL: Self = Self(3);
    pub(super) const RCPT: Self = Self(4);
    pub(super) const DATA: Self = Self(5);
    pub(super) const BDAT: Self = Self(6);
    pub(super) const RSET: Self = Self(7);
    pub(super) const VRFY: Self = Self(8);
    pub(super) const EXPN: Self = Self(9);
    pub(super) const HELP: Self = Self(10);
    pub(super) const NOOP: Self = Self(11);
    pub(super) const QUIT: Self = Self(12);
    pub(super) const AUTH: Self = Self(13);
    pub(super) const STARTTLS: Self = Self(14);
    pub(super) const ETRN: Self = Self(15);
    pub(super) const TURN: Self = Self(16);
    pub(super) const ATRN: Self = Self(17);
    pub(super) const BURL: Self = Self(18);
    pub(super) const XCLIENT: Self = Self(19);
    pub(super) const XFORWARD: Self = Self(20);
    pub(super) const XEXCH50: Self = Self(21);
    pub(super) const X_EXPS: Self = Self(22);
    /// STARTTLS between Exchange servers.
    pub(super) const X_ANONYMOUSTLS: Self = Self(23);
    /// None of the above.
    pub(super) const UNKNOWN: Self = Self(63);

    /// The command whose name in capitals is in the register `word`, `length` bytes long.
    #[inline(always)]
    pub(super) const fn named(word: u64, length: u8) -> Self {
        const LONG: &str = "X-ANONYMOUSTLS";
        if length > 8 {
            let known = length as usize == LONG.len() && word == const { register(LONG) };
            return if known { Self::X_ANONYMOUSTLS } else { Self::UNKNOWN };
        }
        const HELO: u64 = register("HELO");
        const EHLO: u64 = register("EHLO");
        const LHLO: u64 = register("LHLO");
        const MAIL: u64 = register("MAIL");
        const RCPT: u64 = register("RCPT");
        const DATA: u64 = register("DATA");
        const BDAT: u64 = register("BDAT");
        const RSET: u64 = register("RSET");
        const VRFY: u64 = register("VRFY");
        const EXPN: u64 = register("EXPN");
        const HELP: u64 = register("HELP");
        const NOOP: u64 = register("NOOP");
        const QUIT: u64 = register("QUIT");
        const AUTH: u64 = register("AUTH");
        const STARTTLS: u64 = register("STARTTLS");
        const ETRN: u64 = register("ETRN");
        const TURN: u64 = register("TURN");
        const ATRN: u64 = register("ATRN");
        const BURL: u64 = register("BURL");
        const XCLIENT: u64 = register("XCLIENT");
        const XFORWARD: u64 = register("XFORWARD");
        const XEXCH50: u64 = register("XEXCH50");
        const X_EXPS: u64 = register("X-EXPS");
        match word {
            HELO => Self::HELO,
            EHLO => Self::EHLO,
            LHLO => Self::LHLO,
            MAIL => Self::MAIL,
            RCPT => Self::RCPT,
            DATA => Self::DATA,
            BDAT => Self::BDAT,
            RSET => Self::RSET,
            VRFY => Self::VRFY,
            EXPN => Self::EXPN,
            HELP => Self::HELP,
            NOOP => Self::NOOP,
            QUIT => Self::QUIT,
            AUTH => Self::AUTH,
            STARTTLS => Self::STARTTLS,
            ETRN => Self::ETRN,
            TURN => Self::TURN,
            ATRN => Self::ATRN,
            BURL => Self::BURL,
            XCLIENT => Self::XCLIENT,
            XFORWARD => Self::XFORWARD,
            XEXCH50 => Self::XEXCH50,
            X_EXPS => Self::X_EXPS,
            _ => Self::UNKNOWN,
        }
    }

    /// Whether a policy with these bits allows it. What is unknown is allowed where everything is.
    #[inline(always)]
    pub(super) const fn is_allowed(self, commands: u64) -> bool {
        commands == u64::MAX || self.0 != Self::UNKNOWN.0 && commands >> (self.0 & 63) & 1 == 1
    }

    /// What stands behind it in a line.
    #[inline(always)]
    pub(super) const fn form(self) -> Form {
        match self {
            Self::DATA | Self::RSET | Self::QUIT | Self::TURN => Form::NOTHING,
            Self::STARTTLS | Self::X_ANONYMOUSTLS => Form::NOTHING,
            Self::MAIL | Self::RCPT => Form::PATH,
            Self::BDAT => Form::CHUNK,
            Self::XEXCH50 => Form::SIZE,
            Self::HELP | Self::NOOP | Self::ATRN | Self::UNKNOWN => Form::ANYTHING,
            _ => Form::SOMETHING,
        }
    }

    /// Whether what follows depends on the reply (RFC 2920 §3.1), in a way that matters to a reader.
    #[inline(always)]
    pub(super) const fn is_waited_for(self) -> bool {
        matches!(
            self,
            Self::DATA
                | Self::STARTTLS
                | Self::X_ANONYMOUSTLS
                | Self::AUTH
                | Self::X_EXPS
                | Self::TURN
                | Self::ATRN
                | Self::LHLO
                | Self::XEXCH50
        )
    }

    /// Whether it is for implementations that know each other (RFC 5321 §4.1.5).
    #[inline(always)]
    pub(super) const fn is_private(self) -> bool {
        self.0 >= Self::XCLIENT.0 && self.0 <= Self::X_ANONYMOUSTLS.0
    }

    /// Whether TLS begins once it is granted.
    #[inline(always)]
    pub(super) const fn is_tls(self) -> bool {
        matches!(self, Self::STARTTLS | Self::X_ANONYMOUSTLS)
    }

    /// Whether `code` asks for what the command announces: a message, or credentials.
    #[inline(always)]
    pub(super) const fn is_asked_more_by(self, code: u32) -> bool {
        const MESSAGE: u32 = 354;
        const CREDENTIALS: u32 = 334;
        match self {
            Self::DATA | Self::XEXCH50 => code / 100 == 3 && code != CREDENTIALS,
            Self::AUTH | Self::X_EXPS => code / 100 == 3 && code != MESSAGE,
            _ => false,
        }
    }

    /// Whether it takes credentials.
    #[inline(always)]
    pub(super) const fn is_auth(self) -> bool {
        matches!(self, Self::AUTH | Self::X_EXPS)
    }

    /// The word of the line, counted from 1, from which on nothing is shown. An URL of BURL has a token in it
    /// that lets its holder read the message (RFC 4467 §2).
    #[inline(always)]
    pub(super) const fn hides_from(self) -> u8 {
        match self {
            Self::AUTH | Self::X_EXPS => 3,
            Self::BURL => 2,
            _ => u8::MAX,
        }
    }
}

/// What stands behind a command's name.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Form(u8);

impl Form {
    pub(super) const NOTHING: Self = Self(0);
    /// At least one word.
    pub(super) const SOMETHING: Self = Self(1);
    pub(super) const ANYTHING: Self = Self(2);
    /// `FROM:` or `TO:`, a path and parameters.
    pub(super) const PATH: Self = Self(3);
    /// A number of bytes that follow the line, and `LAST` if they are the last (RFC 3030 §2).
    pub(super) const CHUNK: Self = Self(4);
    /// A number of bytes that follow the reply (Exchange's XEXCH50).
    pub(super) const SIZE: Self = Self(5);
}

/// A word's bytes in a register: the newest byte is the lowest. A longer word leaves its last 8.
pub(super) const fn register(word: &str) -> u64 {
    let word = word.as_bytes();
    let (mut register, mut i) = (0, 0);
    while i < word.len() {
        register = register << 8 | word[i] as u64;
        i += 1;
    }
    register
}

/// Whether `word` is what an HTTP client begins with (RFC 9110 §9.3; RFC 5789; RFC 9113 §3.4).
#[inline(always)]
pub(super) const fn is_http_method(word: u64) -> bool {
    const GET: u64 = register("GET");
    const HEAD: u64 = register("HEAD");
    const POST: u64 = register("POST");
    const PUT: u64 = register("PUT");
    const DELETE: u64 = register("DELETE");
    const CONNECT: u64 = register("CONNECT");
    const OPTIONS: u64 = register("OPTIONS");
    const TRACE: u64 = register("TRACE");
    const PATCH: u64 = register("PATCH");
    const PRI: u64 = register("PRI");
    matches!(word, GET | HEAD | POST | PUT | DELETE | CONNECT | OPTIONS | TRACE | PATCH | PRI)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_known_by_its_name_and_has_its_own_bit() {
        for (bit, name) in COMMANDS.into_iter().enumerate() {
            let verb = Verb::named(register(name), name.len() as u8);
            assert_eq!(usize::from(verb.0), bit, "{name}");
            assert!(verb.is_allowed(1 << bit) && !verb.is_allowed(!(1 << bit)), "{name}");
        }
        assert_eq!(Verb::named(register("WIZ"), 3), Verb::UNKNOWN);
        assert_eq!(Verb::named(register("XSTARTTLS"), 9), Verb::UNKNOWN);
        assert!(Verb::UNKNOWN.is_allowed(u64::MAX) && !Verb::UNKNOWN.is_allowed(!1));
    }
}
