//! What stands behind MAIL and RCPT: `FROM:` or `TO:`, and a path between angle brackets (RFC 5321 §4.1.1.2,
//! §4.1.1.3, §4.1.2). What is behind that are parameters, words like those of other commands.

use bytemuck::{Pod, Zeroable};

use super::super::token::{HT, SP};
use super::verb::{Form, Verb, register};
use super::{Finding, Flags, Parser, State};

/// Longest path, in bytes with its brackets (RFC 5321 §4.5.3.1.3).
const PATH_MAX: u16 = 256;

/// How far the path was read.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Path(u8);

impl Path {
    /// It has ended, or is not looked at.
    const DONE: Self = Self(0);
    /// `FROM` or `TO`.
    const KEYWORD: Self = Self(1);
    /// Behind the colon.
    const COLON: Self = Self(2);
    const INSIDE: Self = Self(3);
    /// In a quoted string.
    const QUOTED: Self = Self(4);
    /// Behind a backslash in a quoted string.
    const ESCAPED: Self = Self(5);
    /// Behind the bracket that ends it.
    const END: Self = Self(6);
}

impl Parser {
    #[inline(always)]
    pub(super) fn begin_path(&mut self) {
        self.path = Path::KEYWORD;
        self.path_length = 0;
        self.word = 0;
        self.word_length = 0;
    }

    #[inline(always)]
    pub(super) fn is_in_path(&self) -> bool {
        self.form == Form::PATH && self.words == 1 && !self.has(Flags::IN_WORD)
    }

    #[inline(never)]
    pub(super) fn path_byte(&mut self, byte: u8) {
        self.clear(Flags::AFTER_BLANK);
        if matches!(self.path, Path::INSIDE | Path::QUOTED | Path::ESCAPED) {
            self.path_length = self.path_length.saturating_add(1);
            if self.path_length > PATH_MAX {
                self.pending |= Finding::LongPath.bit();
            }
        }
        let blank = matches!(byte, SP | HT);
        self.path = match (self.path, byte) {
            (Path::KEYWORD, b':') => {
                self.end_keyword();
                Path::COLON
            }
            (Path::KEYWORD, _) if blank && self.word_length == 0 => self.odd_blank(Path::KEYWORD),
            (Path::KEYWORD, _) if !blank => {
                self.push(byte);
                Path::KEYWORD
            }
            (Path::COLON, b'<') => {
                self.path_length = 1;
                Path::INSIDE
            }
            (Path::COLON, _) if blank => self.odd_blank(Path::COLON),
            (Path::INSIDE, b'>') => Path::END,
            (Path::INSIDE, b'"') => Path::QUOTED,
            (Path::INSIDE, b'<' | b'\\' | SP | HT) => {
                self.pending |= Finding::MalformedPath.bit();
                Path::INSIDE
            }
            (Path::QUOTED, b'"') => Path::INSIDE,
            (Path::QUOTED, b'\\') => Path::ESCAPED,
            (Path::ESCAPED, _) => Path::QUOTED,
            (Path::INSIDE | Path::QUOTED, _) => self.path,
            (Path::END, _) if blank => {
                if byte == HT {
                    self.pending |= Finding::OddSpacing.bit();
                }
                self.set(Flags::AFTER_BLANK);
                self.leave_path()
            }
            _ => {
                self.pending |= Finding::MalformedPath.bit();
                self.leave_path()
            }
        };
    }

    #[inline(always)]
    fn odd_blank(&mut self, path: Path) -> Path {
        self.pending |= Finding::OddSpacing.bit();
        path
    }

    #[inline(always)]
    fn end_keyword(&mut self) {
        let from = self.word_length == 4 && self.word == const { register("FROM") };
        let to = self.word_length == 2 && self.word == const { register("TO") };
        if !(self.verb == Verb::MAIL && from || self.verb == Verb::RCPT && to) {
            self.pending |= Finding::MalformedPath.bit();
        }
    }

    /// What follows are words.
    #[inline(always)]
    fn leave_path(&mut self) -> Path {
        self.words = 2;
        self.word = 0;
        self.word_length = 0;
        Path::DONE
    }

    /// The line has ended. A reverse path may be empty, a forward path not.
    #[inline(always)]
    pub(super) fn end_path(&mut self) {
        let whole = matches!(self.path, Path::DONE | Path::END);
        if !whole || self.verb == Verb::RCPT && self.path_length <= 2 {
            self.pending |= Finding::MalformedPath.bit();
        }
        if self.has(Flags::JOINING) && self.pending.contains(Finding::MalformedPath as u16) {
            self.state = State::REST_OF_SEGMENT;
        }
    }
}
