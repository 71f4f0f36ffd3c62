//! The message: text up to the line with the dot (RFC 5321 §4.1.1.4), and chunks (RFC 3030 §2).
//!
//! The end of the text is CRLF `.` CRLF and nothing else. Servers that also take other line ends there read
//! commands where others read text, so what one of them may take for the end is an attack (CVE-2023-51764).

use super::super::finding::Findings;
use super::super::token::{CR, LF};
use super::{Finding, Flags, Parser, Place, State};

/// Longest line, in bytes, without CRLF and without the dot that is put before a line with a dot.
pub const TEXT_LINE_MAX: u32 = 998;

impl Parser {
    /// The text begins with the next byte, as if a CRLF were in front of it: that of DATA.
    #[inline(always)]
    pub(super) fn begin_text(&mut self) {
        self.begin_unit();
        self.state = State::TEXT;
        self.place = Place::TEXT_START;
        self.length = 0;
        self.clear(Flags::ODD_START);
    }

    #[inline(never)]
    pub(super) fn text(&mut self, byte: u8) -> Findings {
        match self.place {
            Place::TEXT_START => self.text_start(byte),
            Place::TEXT_CR => self.text_cr(byte),
            Place::TEXT_DOT => self.text_dot(byte),
            Place::TEXT_DOT_CR => self.text_dot_cr(byte),
            _ => self.text_line(byte),
        }
    }

    #[inline(always)]
    fn text_line(&mut self, byte: u8) -> Findings {
        match byte {
            CR => {
                self.place = Place::TEXT_CR;
                Findings::EMPTY
            }
            LF => self.odd_line_end(),
            0 => self.count_text() | self.report(Finding::NulInText.bit()),
            _ => self.count_text(),
        }
    }

    #[inline(always)]
    fn count_text(&mut self) -> Findings {
        self.length = self.length.saturating_add(1);
        if self.length <= TEXT_LINE_MAX {
            return Findings::EMPTY;
        }
        self.report(Finding::LongTextLine.bit())
    }

    #[inline(always)]
    fn text_start(&mut self, byte: u8) -> Findings {
        match byte {
            b'.' => {
                self.place = Place::TEXT_DOT;
                Findings::EMPTY
            }
            // Some servers drop it, and stand at the start of the line as before.
            0 => {
                self.set(Flags::ODD_START);
                self.report(Finding::NulInText.bit())
            }
            _ => {
                self.place = Place::TEXT_LINE;
                self.text_line(byte)
            }
        }
    }

    /// Behind a CR, which stands alone unless a LF follows.
    #[inline(always)]
    fn text_cr(&mut self, byte: u8) -> Findings {
        if byte == LF {
            self.next_line();
            self.clear(Flags::ODD_START);
            return Findings::EMPTY;
        }
        self.place = Place::TEXT_START;
        self.set(Flags::ODD_START);
        self.report(Finding::BareLineEnd.bit()) | self.text_start(byte)
    }

    /// Behind the dot that begins a line.
    #[inline(always)]
    fn text_dot(&mut self, byte: u8) -> Findings {
        match byte {
            CR if !self.has(Flags::ODD_START) => {
                self.place = Place::TEXT_DOT_CR;
                Findings::EMPTY
            }
            CR => {
                self.place = Place::TEXT_CR;
                self.report(Finding::SmuggledEndOfData.bit())
            }
            LF => self.report(Finding::SmuggledEndOfData.bit()) | self.odd_line_end(),
            0 => {
                self.set(Flags::ODD_START);
                self.report(Finding::NulInText.bit())
            }
            _ => {
                self.place = Place::TEXT_LINE;
                self.text_line(byte)
            }
        }
    }

    #[inline(always)]
    fn text_dot_cr(&mut self, byte: u8) -> Findings {
        if byte == LF {
            self.ask();
            self.place = Place::START;
            self.state = State::COMMAND;
            return Findings::EMPTY;
        }
        self.report(Finding::SmuggledEndOfData.bit()) | self.text_cr(byte)
    }

    #[inline(always)]
    fn odd_line_end(&mut self) -> Findings {
        let findings = self.report(Finding::BareLineEnd.bit());
        self.next_line();
        self.set(Flags::ODD_START);
        findings
    }

    #[inline(always)]
    fn next_line(&mut self) {
        self.place = Place::TEXT_START;
        self.length = 0;
        self.start_offset = self.offset.wrapping_add(1);
    }

    /// As many bytes follow as `number` says.
    #[inline(always)]
    pub(super) fn begin_chunk(&mut self) {
        self.remaining = self.number;
        self.state = State::CHUNK;
        self.skip_chunk(0);
    }

    #[inline(always)]
    pub(super) fn skip_chunk(&mut self, count: u32) {
        self.remaining = self.remaining.saturating_sub(count);
        if self.remaining == 0 {
            self.place = Place::START;
            self.state = State::COMMAND;
            // The reply to BDAT is the one to its chunk; XEXCH50 has got one before.
            if self.verb == super::verb::Verb::XEXCH50 {
                self.ask();
            }
        }
    }
}
