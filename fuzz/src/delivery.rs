//! A conversation, delivered in more than one way.

use firewall_common::{
    filter::{
        drive::{Drive, Passage},
        finding::{Effect, Findings},
        parser::{Outcome, Parser},
        pinhole::Wish,
    },
    flow::Direction,
    policy::Mode,
};

use crate::{
    conversation::{Conversation, Step},
    watched::Watched,
};

/// Sequence numbers of the first bytes: they wrap soon after.
const FIRST: [u32; 2] = [u32::MAX - 20, u32::MAX - 3];

/// Checks what must hold of every filter.
///
/// - Nothing makes it panic, and it keeps the promises of [`Parser`], see [`Watched`].
/// - What it finds, wants opened and kills does not depend on the cut of the stream into segments, as long as it knows
///   its way: up to the first finding that kills in every profile, or to where it gives up a part of the stream.
/// - A connection that was killed stays so; where the filter only watches, nothing is killed or held back.
///
/// # Panics
///
/// Where any of it does not hold.
pub fn filter<P: Parser>(input: &[u8]) {
    let conversation = Conversation::new(input);
    deliver::<P>(&conversation, conversation.network.iter().copied());
    // Where a filter may begin in the midst of a connection is a matter of its segments.
    if conversation.settings.joining {
        return;
    }
    let whole = deliver::<P>(&conversation, []);
    let bytewise = deliver::<P>(&conversation, std::iter::repeat(Step::Segment { len: 1 }));
    assert_eq!(bytewise, whole, "left: a byte a segment; right: in whole");
    let honest = deliver::<P>(&conversation, conversation.network.iter().map(|s| s.honest()));
    assert_eq!(honest, whole, "left: with repetitions; right: in whole");
}

/// What a filter said about a conversation.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    findings: Vec<Finding>,
    acts: Vec<(Direction, Outcome, Wish)>,
    killed_by: Option<&'static str>,
    /// Something was found that kills in every profile, or a parser reads no more, at least of this segment: where
    /// it goes on, if it does, is a matter of segments.
    lost: bool,
}

#[derive(Debug, PartialEq)]
struct Finding {
    direction: Direction,
    name: &'static str,
    offset: u64,
    excerpt: String,
}

/// Delivers each turn by the steps of `network`; when there are none left, in one segment.
fn deliver<P: Parser>(
    conversation: &Conversation,
    network: impl IntoIterator<Item = Step>,
) -> Heard {
    let mut network = network.into_iter();
    let mut wire = Wire::<P>::new(conversation);
    for (direction, said) in &conversation.turns {
        let mut said = said.as_slice();
        let mut late = None;
        while !said.is_empty() {
            let step = network.next().unwrap_or(Step::Segment { len: said.len() });
            let (Step::Segment { len }
            | Step::Overlap { len, .. }
            | Step::Contradiction { len, .. }
            | Step::Loss { len }
            | Step::Late { len }) = step;
            let (now, rest) = said.split_at(len.min(said.len()));
            said = rest;
            let at = wire.say(*direction, now);
            match step {
                Step::Segment { .. } => wire.send(*direction, at, now),
                Step::Overlap { back, .. } => {
                    let (at, bytes) = wire.with_repetition(*direction, at, back);
                    wire.send(*direction, at, &bytes);
                }
                Step::Contradiction { back, .. } => {
                    let (at, mut bytes) = wire.with_repetition(*direction, at, back);
                    let old = bytes.len() - now.len();
                    bytes[..old].iter_mut().for_each(|byte| *byte ^= 1);
                    wire.send(*direction, at, &bytes);
                }
                Step::Loss { .. } => {}
                Step::Late { .. } => {
                    if let Some((at, bytes)) = late.replace((at, now)) {
                        wire.send(*direction, at, bytes);
                    }
                    continue;
                }
            }
            if let Some((at, bytes)) = late.take() {
                wire.send(*direction, at, bytes);
            }
        }
        if let Some((at, bytes)) = late {
            wire.send(*direction, at, bytes);
        }
    }
    wire.heard
}

/// Between the two ends, with a filter in it.
struct Wire<P> {
    drive: Drive<Watched<P>>,
    /// What each end said so far.
    said: [Vec<u8>; 2],
    /// From where to where in it the filter has read.
    read: [Option<(usize, usize)>; 2],
    heard: Heard,
    dead: bool,
}

impl<P: Parser> Wire<P> {
    fn new(conversation: &Conversation) -> Self {
        let settings = &conversation.settings;
        let (mode, profile) = (settings.mode, settings.profile);
        let (mut drive, read) = if settings.joining {
            (Drive::joining(mode, profile), [None; 2])
        } else {
            (Drive::new(mode, profile, FIRST), [Some((0, 0)); 2])
        };
        drive.scenes = settings.scenes;
        Self { drive, said: [const { Vec::new() }; 2], read, heard: Heard::default(), dead: false }
    }

    /// Notes what an end says, and where in its stream.
    fn say(&mut self, direction: Direction, bytes: &[u8]) -> usize {
        let said = &mut self.said[direction as usize];
        said.extend(bytes);
        said.len() - bytes.len()
    }

    /// The bytes from `back` before `at` on.
    fn with_repetition(&self, direction: Direction, at: usize, back: usize) -> (usize, Vec<u8>) {
        let from = at.saturating_sub(back);
        (from, self.said[direction as usize][from..].to_vec())
    }

    fn send(&mut self, direction: Direction, at: usize, bytes: &[u8]) {
        let seq = FIRST[direction as usize].wrapping_add(at as u32);
        let was_lost = self.heard.lost;
        let heard = &mut self.heard;
        let passage = self.drive.segment(direction, seq, bytes, |parser, outcome| {
            heard.note(direction, parser, outcome);
        });
        let parser = self.drive.parser(direction);
        let offset = parser.offset();
        self.heard.lost |= parser.skippable() == u32::MAX;
        let read = &mut self.read[direction as usize];
        match passage {
            Passage::Passed => {
                let end = at + bytes.len();
                let (begin, end) = match *read {
                    Some((begin, known)) => (begin, known.max(end)),
                    None => (at, end),
                };
                *read = Some((begin, end));
                assert_eq!(offset, (end - begin) as u64, "what passed was read or skipped");
                assert!(!self.dead, "a segment of the dead passed");
            }
            Passage::Held => {
                assert_eq!(self.drive.mode, Mode::Enforce, "held back where it only watches");
                let end = read.map_or(0, |(begin, end)| end - begin);
                assert_eq!(offset, end as u64, "what is held back is not read");
            }
            Passage::Killed(code) => {
                assert_eq!(self.drive.mode, Mode::Enforce, "killed where it only watches");
                let finding = &P::FILTER.findings()[usize::from(code)];
                assert_eq!(finding.effect(self.drive.profile), Effect::Kill, "{}", finding.name);
                self.dead = true;
                if !was_lost {
                    self.heard.killed_by = Some(finding.name);
                }
            }
            Passage::Dead => assert!(self.dead, "nothing killed it"),
        }
    }
}

impl Heard {
    fn note<P: Parser>(&mut self, direction: Direction, parser: &P, outcome: Outcome) {
        let mut findings = outcome.found();
        while let Some(code) = findings.first() {
            findings = findings.without(Findings::of(code));
            let info = &P::FILTER.findings()[usize::from(code)];
            let name = info.name;
            let offset = parser.finding_offset(code);
            assert!(offset <= parser.offset(), "{name} is about byte {offset}");
            let (bytes, len) = parser.excerpt(code).view();
            let excerpt = bytes[..usize::from(len)].escape_ascii().to_string();
            if !self.lost {
                self.findings.push(Finding { direction, name, offset, excerpt });
            }
            self.lost |= info.standard == Effect::Kill;
        }
        if outcome.acts() && !self.lost {
            let acts = Outcome::from_bits(outcome.bits() >> 32 << 32);
            self.acts.push((direction, acts, *parser.wish()));
        }
    }
}
