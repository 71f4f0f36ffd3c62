//! The Session header: `id;timeout=60` (RFC 2326 §12.37, RFC 7826 §18.49).

use bytemuck::{Pod, Zeroable};

use super::super::token::{HT, SP, Token};
use super::Parser;
use super::state::Due;
use crate::words::clear;

/// Longest time that a session may ask for, seconds.
const TIMEOUT_MAX: u32 = 24 * 60 * 60;

/// The session that a message belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Session {
    /// A hash of its name; 0: none is named. FNV-1a (Fowler, Noll and Vo): who wants two names with the same
    /// hash finds them, but only for sessions of his own connection.
    pub(super) hash: u64,
    /// For how long it may be silent, seconds; 0: that is not said.
    pub(super) timeout: u32,
    part: Part,
    reserved: [u8; 3],
}

/// What the next byte belongs to.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Part(u8);

impl Part {
    /// Blanks before the id.
    const BEFORE: Self = Self(0);
    const ID: Self = Self(1);
    /// Something of no interest, up to the next semicolon.
    const OTHER: Self = Self(2);
    /// The name of a parameter.
    const NAME: Self = Self(3);
    /// The number of seconds.
    const TIMEOUT: Self = Self(4);
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

impl Parser {
    /// The colon of a Session header was read.
    #[inline(always)]
    pub(super) fn begin_session(&mut self) {
        clear(&mut self.session);
    }

    /// A byte of the value, or the end of the header.
    #[inline(never)]
    pub(super) fn session_byte(&mut self, byte: u8) {
        let blank = matches!(byte, SP | HT);
        match self.session.part {
            _ if byte == b';' || self.due.has(Due::HEADER_END) => {
                self.end_timeout();
                clear(&mut self.token);
                self.session.part = Part::NAME;
            }
            Part::BEFORE if !blank => {
                self.session.hash = FNV_BASIS;
                self.session.part = Part::ID;
                self.hash(byte);
            }
            Part::ID if blank => self.session.part = Part::OTHER,
            Part::ID => self.hash(byte),
            Part::NAME if byte == b'=' => {
                let timeout = self.token.is(const { Token::of("timeout") });
                self.session.part = if timeout { Part::TIMEOUT } else { Part::OTHER };
                self.begin_number();
            }
            Part::NAME if !blank => self.token.push(byte.to_ascii_lowercase()),
            Part::TIMEOUT => self.number_byte(byte),
            _ => {}
        }
    }

    #[inline(always)]
    fn hash(&mut self, byte: u8) {
        self.session.hash = (self.session.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }

    #[inline(always)]
    fn end_timeout(&mut self) {
        if self.session.part == Part::TIMEOUT && self.number_state.is_good() {
            self.session.timeout = self.number.min(TIMEOUT_MAX);
        }
    }
}
