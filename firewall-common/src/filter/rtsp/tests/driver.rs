//! Delivers segments to a parser exactly as the kernel does.

use bytemuck::Zeroable;

use crate::filter::finding::Findings;
use crate::filter::parser::{Parser as _, Scene};
use crate::filter::rtsp::{FINDINGS, KILL_STANDARD, KILL_STRICT, Parser};
use crate::filter::stream::{Cursor, Deliver, Situation, deliver};
use crate::policy::{Mode, Profile};

/// Sequence number of the first payload byte: the numbers wrap soon after.
pub(super) const FIRST: u32 = u32::MAX - 20;

/// One reported finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) name: &'static str,
    pub(super) offset: u64,
    pub(super) excerpt: String,
}

pub(super) struct Driver {
    pub(super) cursor: Cursor,
    pub(super) parser: Parser,
    pub(super) mode: Mode,
    pub(super) profile: Profile,
    pub(super) reports: Vec<Report>,
    found: Findings,
}

impl Driver {
    /// A stream that is seen from its SYN.
    pub(super) fn new(mode: Mode, profile: Profile) -> Self {
        let (cursor, parser) = (Cursor::starting_at(FIRST), Parser::zeroed());
        Self { cursor, parser, mode, profile, reports: Vec::new(), found: Findings::EMPTY }
    }

    /// A stream that already runs.
    pub(super) fn joining(mode: Mode, profile: Profile) -> Self {
        let (cursor, parser) = (Cursor::default(), joining());
        Self { cursor, parser, ..Self::new(mode, profile) }
    }

    /// Delivers `bytes`, which begin `at` bytes into the stream; returns whether the segment passes.
    pub(super) fn segment(&mut self, at: usize, bytes: &[u8]) -> bool {
        let seq = FIRST.wrapping_add(at as u32);
        let now = Situation {
            mode: self.mode,
            profile: self.profile,
            skippable: self.parser.skippable(),
            in_media: self.parser.in_media(),
            acknowledged: false,
        };
        let len = bytes.len() as u32;
        let skip_front = match deliver(self.cursor.place(seq, len), &now) {
            Deliver::Hold => return false,
            Deliver::Skip => return true,
            Deliver::Feed { skip_front } => skip_front,
            Deliver::FeedAfterLoss { missing } => {
                self.parser.skip(missing);
                0
            }
            Deliver::Resync { missing } => {
                self.parser.resync();
                self.parser.skip(missing);
                0
            }
        };
        self.cursor.advance(seq, len);
        self.read(&bytes[skip_front as usize..]);
        true
    }

    /// Delivers consecutive segments.
    pub(super) fn segments<'a>(&mut self, segments: impl IntoIterator<Item = &'a [u8]>) {
        let mut at = 0;
        for bytes in segments {
            assert!(self.segment(at, bytes), "nothing is missing before {at}");
            at += bytes.len();
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        self.parser.segment_start(&Scene::default(), &Parser::zeroed());
        while let Some((&byte, rest)) = bytes.split_first() {
            let skippable = self.parser.skippable().min(bytes.len() as u32);
            if skippable > 0 {
                self.parser.skip(skippable);
                bytes = &bytes[skippable as usize..];
                continue;
            }
            let findings = self.parser.step(&Scene::default(), &Parser::zeroed(), byte).found();
            self.report(findings);
            bytes = rest;
        }
    }

    fn report(&mut self, mut findings: Findings) {
        self.found |= findings;
        while let Some(code) = findings.first() {
            let (bytes, len) = self.parser.excerpt(code).view();
            self.reports.push(Report {
                name: FINDINGS[usize::from(code)].name,
                offset: self.parser.finding_offset(code),
                excerpt: String::from_utf8_lossy(&bytes[..usize::from(len)]).into_owned(),
            });
            findings = findings.without(Findings::of(code));
        }
    }

    /// The names of the findings so far.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.reports.iter().map(|report| report.name).collect()
    }

    /// Whether a finding so far kills in `profile`.
    pub(super) fn kills(&self, profile: Profile) -> bool {
        let mask = match profile {
            Profile::Standard => KILL_STANDARD,
            Profile::Strict => KILL_STRICT,
        };
        !(self.found & mask).is_empty()
    }
}

/// The driver after `stream`, delivered in one segment.
pub(super) fn whole(stream: &[u8]) -> Driver {
    let mut driver = Driver::new(Mode::Enforce, Profile::Standard);
    driver.segments([stream]);
    driver
}

fn joining() -> Parser {
    let mut parser = Parser::zeroed();
    parser.resync();
    parser
}
