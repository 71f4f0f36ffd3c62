//! The commands there are, and finding one by its name.

use bytemuck::{Pod, Zeroable};

/// The commands of the standards, in the order of their bits: append only, at most 63. RFC 959 §4.1, RFC 775,
/// RFC 1639, RFC 2228 §3, RFC 2389, RFC 2428, RFC 2640 §4, RFC 3659, RFC 7151, and two that every client sends.
pub const COMMANDS: [&str; 60] = [
    "USER", "PASS", "ACCT", "CWD", "CDUP", "SMNT", "QUIT", "REIN", "PORT", "PASV", "TYPE", "STRU",
    "MODE", "RETR", "STOR", "STOU", "APPE", "ALLO", "REST", "RNFR", "RNTO", "ABOR", "DELE", "RMD",
    "MKD", "PWD", "LIST", "NLST", "SITE", "SYST", "STAT", "HELP", "NOOP", "XCWD", "XCUP", "XMKD",
    "XRMD", "XPWD", "LPRT", "LPSV", "AUTH", "ADAT", "PBSZ", "PROT", "CCC", "MIC", "CONF", "ENC",
    "FEAT", "OPTS", "EPRT", "EPSV", "LANG", "MDTM", "SIZE", "MLST", "MLSD", "HOST", "CLNT", "MFMT",
];

/// Commands of other protocols that are no longer than those of FTP: HTTP, mail.
const FOREIGN: [&str; 8] = ["GET", "PUT", "HEAD", "POST", "PRI", "HELO", "EHLO", "LHLO"];

/// Longest name.
pub(super) const NAME_MAX: u8 = 4;

/// A command: its bit, or what it is instead.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Command(u8);

impl Command {
    pub(super) const PASS: Self = Self::of("PASS");
    pub(super) const ACCT: Self = Self::of("ACCT");
    pub(super) const PORT: Self = Self::of("PORT");
    pub(super) const PASV: Self = Self::of("PASV");
    pub(super) const AUTH: Self = Self::of("AUTH");
    pub(super) const ADAT: Self = Self::of("ADAT");
    pub(super) const EPRT: Self = Self::of("EPRT");
    pub(super) const EPSV: Self = Self::of("EPSV");
    /// One of another protocol.
    pub(super) const FOREIGN: Self = Self(u8::MAX - 1);
    pub(super) const UNKNOWN: Self = Self(u8::MAX);

    /// The command with this name: at most four letters, upper case, the last one lowest. Looked up, because
    /// of a chain of comparisons the verifier would follow every one.
    #[inline(always)]
    pub(super) fn named(name: u32) -> Self {
        let slot = slot(name);
        if TABLE.names[slot] == name { Self(TABLE.commands[slot]) } else { Self::UNKNOWN }
    }

    const fn of(name: &str) -> Self {
        let name = word(name);
        Self(TABLE_VALUE.commands[slot(name)])
    }

    #[inline(always)]
    pub(super) const fn is_known(self) -> bool {
        self.0 < 64
    }

    #[inline(always)]
    pub(super) const fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// Whether its argument is a secret.
    #[inline(always)]
    pub(super) const fn has_secret(self) -> bool {
        self.is(Self::PASS) || self.is(Self::ACCT) || self.is(Self::ADAT)
    }

    /// Whether a policy allows it that allows the commands of this set. Where not everything is allowed,
    /// what is unknown is not either.
    #[inline(always)]
    pub(super) const fn is_allowed(self, commands: u64) -> bool {
        if self.is_known() { commands >> (self.0 & 63) & 1 == 1 } else { commands == u64::MAX }
    }
}

/// Slots of the table. A power of two.
const SLOTS: usize = 256;
/// With this no two names share a slot; found by trying.
const MULTIPLIER: u32 = 0x95ee_2873;

struct Table {
    names: [u32; SLOTS],
    commands: [u8; SLOTS],
}

static TABLE: Table = TABLE_VALUE;

const TABLE_VALUE: Table = {
    let mut table = Table { names: [0; SLOTS], commands: [Command::UNKNOWN.0; SLOTS] };
    let mut i = 0;
    while i < COMMANDS.len() {
        enter(&mut table, COMMANDS[i], i as u8);
        i += 1;
    }
    let mut i = 0;
    while i < FOREIGN.len() {
        enter(&mut table, FOREIGN[i], Command::FOREIGN.0);
        i += 1;
    }
    table
};

const fn enter(table: &mut Table, name: &str, command: u8) {
    let name = word(name);
    let slot = slot(name);
    assert!(table.names[slot] == 0, "another multiplier is needed");
    table.names[slot] = name;
    table.commands[slot] = command;
}

#[inline(always)]
const fn slot(name: u32) -> usize {
    (name.wrapping_mul(MULTIPLIER) >> 24) as usize
}

const fn word(name: &str) -> u32 {
    let name = name.as_bytes();
    assert!(name.len() <= NAME_MAX as usize);
    let mut word = 0;
    let mut i = 0;
    while i < name.len() {
        word = word << 8 | name[i] as u32;
        i += 1;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name() {
        for (bit, name) in COMMANDS.iter().enumerate() {
            assert_eq!(Command::named(word(name)), Command(bit as u8), "{name}");
        }
        for name in FOREIGN {
            assert_eq!(Command::named(word(name)), Command::FOREIGN, "{name}");
        }
        for name in ["", "A", "XXXX", "USE", "SER", "PASW"] {
            assert_eq!(Command::named(word(name)), Command::UNKNOWN, "{name}");
        }
    }

    #[test]
    fn a_set_allows_what_is_in_it() {
        let retr = 1 << COMMANDS.iter().position(|name| *name == "RETR").expect("it is one");
        assert!(Command::of("RETR").is_allowed(retr) && !Command::of("STOR").is_allowed(retr));
        assert!(!Command::UNKNOWN.is_allowed(retr) && Command::UNKNOWN.is_allowed(u64::MAX));
    }
}
