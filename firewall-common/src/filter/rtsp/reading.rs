//! What is done about a byte, stage by stage.

use super::super::finding::Findings;
use super::super::parser::{Outcome, Scene};
use super::super::token::{CR, LF, is_token};
use super::state::Due;
use super::{Flags, Parser, State};

impl Parser {
    #[inline(always)]
    pub(super) fn read(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        self.keep_held_byte();
        let late = self.check_time(scene);
        let mut findings = late;
        if self.has(Flags::AFTER_CR) {
            self.clear(Flags::AFTER_CR);
            if byte == LF {
                return findings.into();
            }
            // With no header to show, the start line would give way to what begins now; such a
            // message lacks its CSeq and has been objected to.
            if self.headers > 0 || self.state == State::HEADER_START {
                findings |= self.bare_line_end();
            }
        }
        self.due = Due::NOTHING;
        if self.state == State::BETWEEN {
            findings |= self.between(scene, byte);
        }
        if self.state == State::HEADER_START {
            self.header_start(byte);
        }
        findings |= match self.state {
            State::START_LINE => self.start_line(byte),
            State::HEADER_NAME => self.header_name(byte),
            State::HEADER_VALUE => self.header_value(byte),
            State::FRAME => self.frame(peer, byte),
            State::PAYLOAD => self.payload(),
            _ => Findings::EMPTY,
        };
        let acts = self.finish(scene, peer, byte);
        if !late.is_empty() {
            self.start.hide_unfinished();
        }
        acts.with(findings.into())
    }

    /// Does what the byte made due.
    #[inline(always)]
    fn finish(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        let mut outcome = Outcome::NONE;
        if self.due.has(Due::SESSION) {
            self.session_byte(byte);
        }
        if self.due.has(Due::TRANSPORT) {
            self.transport_byte(scene, byte);
        }
        if self.due.has(Due::HEADER_END) {
            outcome = outcome.with(self.end_header().into());
        }
        if self.due.has(Due::HEAD_END) {
            outcome = outcome.with(self.end_head(scene, peer, byte));
        }
        if self.due.has(Due::HEADER_BEGIN) {
            self.begin_header(byte);
        }
        if self.due.has(Due::NAME_BYTE) {
            outcome = outcome.with(self.name_byte(byte).into());
        }
        outcome
    }

    /// A message or a frame may begin with this byte.
    #[inline(never)]
    fn between(&mut self, scene: &Scene, byte: u8) -> Findings {
        match byte {
            // Blank lines before a message are to be ignored, however they end (RFC 2326 §4, which
            // takes it from RFC 2068 §4.1).
            CR | LF => {}
            _ if self.has(Flags::JOINING) && (byte == b'$' || !is_token(byte)) => {
                return self.not_rtsp();
            }
            b'$' => self.begin_frame(),
            _ => self.begin_message(scene),
        }
        Findings::EMPTY
    }

    #[inline(always)]
    pub(super) fn make_due(&mut self, stage: Due) {
        self.due = self.due.with(stage);
    }
}
