//! What a filter's parser is: a state machine over the bytes of one direction of a connection.
//!
//! It sees each byte once and in order, may be stopped after any of them, and answers with an [`Outcome`]. It
//! knows what the other direction has come to by that direction's parser, which it may read and not change:
//! the two may run on two CPUs at once, so each field has one writer.

use bytemuck::{Pod, Zeroable};

use super::{FilterId, excerpt::Excerpt, finding::Findings, pinhole::Wish};
use crate::flow::Direction;

/// One direction of a connection, as a filter reads it. All-zero must be a valid value.
pub trait Parser: Pod {
    /// The filter that it belongs to.
    const FILTER: FilterId;
    /// Code of the finding that a segment repeats bytes and they are not the same.
    const SEGMENTS_DISAGREE: u16;
    /// Code of the finding that a segment has urgent data, where the protocol knows none: receivers take its last
    /// byte out of the stream (RFC 6093 §2), and would read something else than the filter. `u16::MAX`: it knows some.
    const URGENT_DATA: u16 = u16::MAX;

    /// Code of the finding that a message asks for a pinhole on behalf of another host; `u16::MAX`: there is none.
    const FOREIGN_ADDRESS: u16 = u16::MAX;

    /// Makes the all-zero value a parser of `direction`, whose first byte is still to come.
    fn begin(&mut self, direction: Direction);

    /// Gives up what was being read: bytes were lost for good, or the start was not seen. What comes is not
    /// looked at before a segment proves that a message begins in it.
    fn resync(&mut self);

    /// To be called before the first new byte of each segment.
    fn segment_start(&mut self, scene: &Scene, peer: &Self);

    /// How many of the next bytes may be skipped unseen: [`u32::MAX`] if none will be looked at before the
    /// next [`segment_start`](Self::segment_start), or none at all any more.
    fn skippable(&self) -> u32;

    /// Whether bytes that were lost here may stay lost: this is the middle or the edge of a stretch that is
    /// not read, not of a message.
    fn in_media(&self) -> bool {
        false
    }

    /// Whether a gap that begins in a stretch that is not read may end beyond it without being waited for, in the
    /// standard profile. What stands between is read by nobody then, and may be anything.
    fn may_rejoin(&self) -> bool {
        false
    }

    /// Reads the next four bytes at once, if they are the head of a stretch that can be skipped and lead to nothing
    /// else. `false`: they have to be read one by one. Only asked where [`in_media`](Self::in_media) holds: most
    /// segments there have one such head, and nothing else that is read.
    fn take_head(&mut self, _next: [u8; 4]) -> bool {
        false
    }

    /// Skips `count` bytes unseen, at most [`skippable`](Self::skippable).
    fn skip(&mut self, count: u32);

    /// Reads one byte.
    fn step(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome;

    /// Bytes of the stream so far, read or skipped.
    fn offset(&self) -> u64;

    /// Stream offset of what the finding `code` is about. Valid after the step that returned the finding,
    /// before the next one, as are [`excerpt`](Self::excerpt) and [`wish`](Self::wish).
    fn finding_offset(&self, code: u16) -> u64;

    /// The first bytes of that, with secrets masked.
    fn excerpt(&self, code: u16) -> &Excerpt;

    /// What an outcome with [`Outcome::OPEN`], [`Outcome::CLOSE`] or [`Outcome::ALIVE`] is about.
    fn wish(&self) -> &Wish;
}

/// What a parser may know besides its bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Scene {
    /// When the segment was caught, nanoseconds of a clock that never goes back by much.
    pub now: u64,
    /// Commands that the policy allows, a bit for each of [`super::FilterInfo::commands`].
    pub commands: u64,
    /// The speaker's address: as it stands in the packet, and as it is on the side of the machine where the
    /// flow began, if the kernel translates it. In network byte order; IPv4 takes the first word.
    pub speaker: [[u32; 4]; 2],
    /// The listener's address, likewise.
    pub listener: [[u32; 4]; 2],
    /// 4 or 6.
    pub version: u32,
    /// 1: the kernel translates the flow's addresses. What its responder begins cannot be let in then, for
    /// nobody can tell what it will be called.
    pub translated: u32,
}

/// What one byte led to: findings, and what is to be done about pinholes.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Outcome(u64);

impl Outcome {
    /// Nothing: nearly every byte.
    pub const NONE: Self = Self(0);
    /// The pinholes of the wish are to be opened.
    pub const OPEN: Self = Self(1 << 32);
    /// The session of the wish has ended: what was opened for it is closed.
    pub const CLOSE: Self = Self(1 << 33);
    /// The session of the wish is alive; all sessions of the connection, if it names none.
    pub const ALIVE: Self = Self(1 << 34);

    /// The session of the wish is this connection's from here on, if it was another's: its server agreed.
    pub const TAKE: Self = Self(1 << 35);

    /// The outcome that is `findings` alone.
    #[inline(always)]
    pub const fn findings(findings: Findings) -> Self {
        Self(findings.bits() as u64)
    }

    /// Its findings.
    #[inline(always)]
    pub const fn found(self) -> Findings {
        Findings::from_bits(self.0 as u32)
    }

    /// Whether it is [`Self::NONE`].
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` is in it.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether something is to be done about pinholes.
    #[inline(always)]
    pub const fn acts(self) -> bool {
        self.0 >> 32 != 0
    }

    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// As a number, for functions that return one.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The outcome that is `bits`.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl From<Findings> for Outcome {
    #[inline(always)]
    fn from(findings: Findings) -> Self {
        Self::findings(findings)
    }
}
