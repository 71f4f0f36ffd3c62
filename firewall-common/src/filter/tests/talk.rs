//! Conversations, delivered to a filter in every way that a network may.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{
    filter::{
        drive::{Drive, Passage},
        finding::Findings,
        parser::{Outcome, Parser, Scene},
        pinhole::Wish,
    },
    flow::Direction,
    policy::{Mode, Profile},
};

/// Sequence numbers of the first bytes: they wrap soon after.
pub(crate) const FIRST: [u32; 2] = [u32::MAX - 20, u32::MAX - 3];

/// What one of the ends says before the other one speaks.
pub(crate) type Turn = (Direction, Vec<u8>);

/// The client says it.
pub(crate) fn client(text: impl AsRef<[u8]>) -> Turn {
    (Direction::Original, text.as_ref().to_vec())
}

/// The server says it.
pub(crate) fn server(text: impl AsRef<[u8]>) -> Turn {
    (Direction::Reply, text.as_ref().to_vec())
}

/// What a filter said about a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// What it objected to, in order.
    pub(crate) reports: Vec<Report>,
    /// What it wanted opened and closed, in order.
    pub(crate) acts: Vec<(Act, Wish)>,
    /// Name of the finding that killed it.
    pub(crate) killed_by: Option<&'static str>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) direction: Direction,
    pub(crate) name: &'static str,
    pub(crate) offset: u64,
    pub(crate) excerpt: String,
}

/// What is to be done about pinholes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Open,
    Close,
    Alive,
}

impl Heard {
    /// The names of the findings.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.reports.iter().map(|report| report.name).collect()
    }

    /// What was opened.
    pub(crate) fn opened(&self) -> Vec<Wish> {
        self.acts.iter().filter(|(act, _)| *act == Act::Open).map(|(_, wish)| *wish).collect()
    }
}

/// A conversation and what it is read with.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) turns: Vec<Turn>,
    pub(crate) mode: Mode,
    pub(crate) profile: Profile,
    pub(crate) scenes: [Scene; 2],
    /// How long it takes until the next turn, nanoseconds.
    pub(crate) pause: u64,
}

/// Client 10.1.0.2 and server 10.2.0.2, as the parsers of each direction see it.
pub(crate) fn scenes() -> [Scene; 2] {
    let [client, server] = [[10, 1, 0, 2], [10, 2, 0, 2]].map(|a| [u32::from_ne_bytes(a), 0, 0, 0]);
    let scene = Scene { version: 4, commands: u64::MAX, now: 1_000_000_000, ..Scene::default() };
    [
        Scene { speaker: [client; 2], listener: [server; 2], ..scene },
        Scene { speaker: [server; 2], listener: [client; 2], ..scene },
    ]
}

impl Talk {
    /// A conversation that the filter enforces, in the standard profile.
    pub(crate) fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns = turns.into_iter().collect();
        let (mode, profile) = (Mode::Enforce, Profile::Standard);
        Self { turns, mode, profile, scenes: scenes(), pause: 0 }
    }

    /// The same in another profile.
    pub(crate) fn in_profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// The same in another mode.
    pub(crate) fn in_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// The same with a pause before each turn.
    pub(crate) fn pausing(self, seconds: u64) -> Self {
        Self { pause: seconds * 1_000_000_000, ..self }
    }

    /// Each turn in one segment.
    pub(crate) fn whole<P: Parser>(&self) -> Heard {
        self.deliver::<P>(|len| vec![(0, len)])
    }

    /// What the filter says, however the conversation is delivered: in whole turns, a byte a segment, in random
    /// cuts, with repetitions, out of order.
    ///
    /// # Panics
    ///
    /// If it says anything else in one of these ways.
    pub(crate) fn every_way<P: Parser>(&self) -> Heard {
        let heard = self.whole::<P>();
        let bytewise = self.deliver::<P>(|len| (0..len).map(|at| (at, at + 1)).collect());
        assert_eq!(bytewise, heard, "a byte a segment");
        let cuts = prop::collection::vec(1..60_usize, 1..40);
        let ways = (cuts, prop::collection::vec(0..40_usize, 1..40), any::<bool>());
        let mut runner =
            TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
        runner
            .run(&ways, |(cuts, repeats, swapped)| {
                let segments = |len| segments(len, &cuts, &repeats, swapped);
                prop_assert_eq!(self.deliver::<P>(segments), heard.clone());
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
        heard
    }

    /// Delivers each turn in the segments that `cut` makes of its length: pairs of begin and end. What is held
    /// back comes again, after what was missing.
    pub(crate) fn deliver<P: Parser>(&self, cut: impl Fn(usize) -> Vec<(usize, usize)>) -> Heard {
        let mut drive = Drive::<P>::new(self.mode, self.profile, FIRST);
        drive.scenes = self.scenes;
        self.deliver_to(&mut drive, cut)
    }

    /// The same to a filter that has come to know the connection in its own way.
    pub(crate) fn deliver_to<P: Parser>(
        &self,
        drive: &mut Drive<P>,
        cut: impl Fn(usize) -> Vec<(usize, usize)>,
    ) -> Heard {
        let mut heard = Heard::default();
        let mut said = [0_usize; 2];
        for (direction, bytes) in &self.turns {
            let begin = FIRST[*direction as usize].wrapping_add(said[*direction as usize] as u32);
            said[*direction as usize] += bytes.len();
            drive.scenes.iter_mut().for_each(|scene| scene.now += self.pause);
            let mut waiting = cut(bytes.len());
            while !waiting.is_empty() {
                let before = waiting.len();
                waiting.retain(|(from, to)| {
                    let seq = begin.wrapping_add(*from as u32);
                    let passage =
                        drive.segment(*direction, seq, &bytes[*from..*to], |parser, outcome| {
                            note(&mut heard, *direction, parser, outcome);
                        });
                    if let Passage::Killed(code) = passage {
                        heard.killed_by = Some(P::FILTER.findings()[usize::from(code)].name);
                    }
                    passage == Passage::Held
                });
                assert!(waiting.len() < before, "everything is held back");
            }
        }
        heard
    }
}

/// Cuts `len` bytes into segments, of which some begin before what was said last, and some come before the one
/// in front of them.
fn segments(len: usize, cuts: &[usize], repeats: &[usize], swapped: bool) -> Vec<(usize, usize)> {
    let (mut at, mut list) = (0, Vec::new());
    for (cut, repeat) in cuts.iter().cycle().zip(repeats.iter().cycle()) {
        if at == len {
            break;
        }
        let end = len.min(at + cut);
        // Most begin where the last one ended.
        list.push((at.saturating_sub(repeat.saturating_sub(20)), end));
        at = end;
    }
    if swapped {
        list.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }
    list
}

fn note<P: Parser>(heard: &mut Heard, direction: Direction, parser: &P, outcome: Outcome) {
    let mut findings = outcome.found();
    while let Some(code) = findings.first() {
        let (bytes, len) = parser.excerpt(code).view();
        heard.reports.push(Report {
            direction,
            name: P::FILTER.findings()[usize::from(code)].name,
            offset: parser.finding_offset(code),
            excerpt: String::from_utf8_lossy(&bytes[..usize::from(len)]).into_owned(),
        });
        findings = findings.without(Findings::of(code));
    }
    for (act, bit) in
        [(Act::Open, Outcome::OPEN), (Act::Close, Outcome::CLOSE), (Act::Alive, Outcome::ALIVE)]
    {
        if outcome.has(bit) {
            heard.acts.push((act, *parser.wish()));
        }
    }
}
