//! fwx's TCP tracker and the kernel's, about the same random conversations, packet by packet.
//!
//! `FWX_DIFFERENTIAL` is how many conversations there are for each family, `FWX_DIFFERENTIAL_SEED` the
//! seed of the first: with 1 and the seed of a message, that conversation alone.

use std::{collections::BTreeMap, env, fmt::Write as _, io::Write as _};

use firewall_common::{
    flow::State,
    layout::Verdict,
    wire::tcp_flags::{ACK, FIN, RST, SYN},
};
use firewall_user::replay::{Hook, Outcome};
use lab::{
    differential::{Conversation, Observer, Oracle, Place, Segment, Side, converse, mutate},
    replaying::{FAMILIES, Family, Rig},
};

/// Conversations for each family and test. They take some 7 s, in a debug build too.
const CONVERSATIONS: u64 = 1_500;
/// Between two conversations; no timeout is as long.
const PAUSE_NS: u64 = 1_000_000;
const SERVER_PORT: u16 = 80;
const FIRST_CLIENT_PORT: usize = 1_024;

/// Older acknowledgements than this the kernel ignores, or than its largest window if that is larger
/// (`MAXACKWINCONST`).
const OLD_ACKNOWLEDGEMENT: u32 = 66_000;

/// A difference that has a reason.
struct Known {
    name: &'static str,
    /// Why fwx is right, or differs on purpose.
    why: &'static str,
    matches: fn(&Difference) -> bool,
    then: Then,
}

/// What becomes of the rest of the conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The trackers have different ideas of it now: it is not compared.
    Stop,
    /// Both are in the state that they were in before the segment.
    GoOn,
}

/// The first that matches counts. The kernel's side of each is in `nf_conntrack_tcp_packet` and
/// `tcp_in_window`.
const KNOWN: &[Known] = &[
    // The kernel lets pass, fwx refuses.
    Known {
        name: "a SYN-ACK after the end",
        why: "the kernel lets every SYN-ACK of the answering end pass, for it may answer a SYN that the \
              kernel ignored; fwx takes up every SYN after the end, so this one answers nothing",
        matches: |d| d.kernel_passes && d.before.is_over() && d.segment.has(SYN | ACK),
        then: Then::GoOn,
    },
    Known {
        name: "what is left of a connection after a SYN of the next",
        why: "the kernel waits for the answer to the SYN while it misses the last ACK of the old \
              connection; fwx has forgotten that one, and its segments prove nothing of the new one",
        matches: |d| {
            d.kernel_passes && d.before == State::SynSent && !d.segment.has(SYN) && d.is_reopened()
        },
        then: Then::Stop,
    },
    Known {
        name: "a SYN-ACK that answers no SYN",
        why: "the kernel passes and ignores it in a connection that stands; fwx passes the one that was, \
              should it come again, and the one that answers a SYN which passed meanwhile",
        matches: |d| d.kernel_passes && d.segment.has(SYN | ACK) && d.before != State::SynSent,
        then: Then::GoOn,
    },
    Known {
        name: "a wrong answer to a SYN, and what follows it",
        why: "the kernel passes a SYN-ACK that acknowledges another number, and waits for the RST; fwx \
              refuses it and what builds on it, and waits for the right one",
        matches: |d| {
            let waits = matches!(d.before, State::SynSent | State::SynReceived);
            d.kernel_passes && waits && d.segment.flags & (SYN | ACK) != SYN
        },
        then: Then::Stop,
    },
    Known {
        name: "more after a FIN",
        why: "the kernel does not mind; a sender that said it has no more has no more (RFC 9293 §3.6), \
              and its FIN's place in the stream is the last",
        matches: |d| d.kernel_passes && d.has_closed() && d.place.end_beyond_sent > Some(0),
        then: Then::Stop,
    },
    Known {
        name: "a RST of another number",
        why: "the kernel passes a RST within the window and keeps the connection, so that the receiver \
              can challenge it (RFC 5961 §3); fwx refuses what it cannot tell from a forged one, and the \
              true sender's next RST answers the challenge",
        matches: |d| d.kernel_passes && d.segment.has(RST) && d.place.start_beyond_acked != Some(0),
        then: Then::Stop,
    },
    Known {
        name: "a RST that acknowledges what was not sent",
        why: "the kernel looks at its sequence number only if that is the exact one; nobody who took part in \
              the connection acknowledges what was not sent",
        matches: |d| {
            d.kernel_passes && d.segment.has(RST | ACK) && d.place.ack_beyond_sent > Some(0)
        },
        then: Then::Stop,
    },
    Known {
        name: "a segment that ends beyond the window",
        why: "the kernel asks only whether it begins within; the receiver discards what is beyond, so \
              letting it pass shows a filter bytes that the receiver has not",
        matches: |d| d.kernel_passes && d.place.end_beyond_window > Some(0),
        then: Then::Stop,
    },
    Known {
        name: "a segment from long before the window",
        why: "since Linux 6.3 the kernel passes and ignores it, for a challenge may answer it; fwx passes \
              only what a sender may repeat",
        matches: |d| d.kernel_passes && is_old(&d.place),
        then: Then::Stop,
    },
    Known {
        name: "an acknowledgement from long before",
        why: "the kernel passes it and takes no note of it; fwx refuses it, as van Rooij has it",
        matches: |d| d.kernel_passes && is_old_acknowledgement(&d.place),
        then: Then::Stop,
    },
    Known {
        name: "what comes after a SYN or a RST that passed and was none of this connection's",
        why: "each tracker has its own idea of where the ends are now; fwx's is the stricter, for it learns \
              from neither",
        matches: |d| d.kernel_passes && d.passed.iter().any(Passed::is_strange),
        then: Then::Stop,
    },
    // The kernel refuses, fwx lets pass.
    Known {
        name: "a SYN of the end that answered",
        why: "the kernel takes it for invalid; fwx passes it as it passes the originator's: the other end \
              challenges it, and so finds out that its peer began anew (RFC 5961 §4)",
        matches: |d| !d.kernel_passes && d.segment.has(SYN) && d.fwx.state == d.before,
        then: Then::Stop,
    },
    Known {
        name: "an ACK while SYNs cross, or the SYN came with two numbers",
        why: "the kernel wants a SYN-ACK of each end; RFC 9293 §3.10.7.4 has the ACK of a SYN establish the \
              connection, with or without a SYN",
        matches: |d| {
            !d.kernel_passes
                && d.before == State::SynReceived
                && (d.syns_crossed() || d.syns_differ())
        },
        then: Then::Stop,
    },
    Known {
        name: "SACK blocks of what was not sent",
        why: "the kernel takes a block's edge for the acknowledgement; fwx leaves SACK to the ends, for it \
              opens no window (RFC 2018 §8)",
        matches: |d| !d.kernel_passes && d.segment.options.contains(&5),
        then: Then::Stop,
    },
    Known {
        name: "a RST once more",
        why: "the kernel has no place for the second RST of a handshake that was given up; it ends nothing \
              that is not ended, and a sender may repeat it",
        matches: |d| !d.kernel_passes && d.before == State::Closed && d.segment.has(RST),
        then: Then::GoOn,
    },
    Known {
        name: "a segment after one that the kernel passed and ignored",
        why: "the kernel let a segment pass and took no note of it, so it refuses what builds on it",
        matches: |d| !d.kernel_passes && d.passed.iter().any(Passed::is_ignored),
        then: Then::Stop,
    },
    Known {
        name: "a SYN after the end",
        why: "the kernel takes it from the end that answered before in TIME_WAIT only; for fwx either \
              end may begin anew after the end, and the policy judges it as any first packet",
        matches: |d| {
            !d.kernel_passes
                && d.before.is_over()
                && d.segment.has(SYN)
                && d.fwx.state == State::SynSent
        },
        then: Then::Stop,
    },
];

/// Further back than a sender repeats, by the kernel's measure.
fn is_old(place: &Place) -> bool {
    place
        .end_beyond_sent
        .is_some_and(|end| i64::from(end) < -i64::from(place.receiver_window.max(1)))
}

/// Further back than the kernel takes note of.
fn is_old_acknowledgement(place: &Place) -> bool {
    let oldest = -i64::from(place.sender_window.max(OLD_ACKNOWLEDGEMENT));
    place.ack_beyond_sent.is_some_and(|ack| i64::from(ack) < oldest)
}

/// A segment that one of the trackers lets pass and the other does not.
struct Difference<'a> {
    segment: &'a Segment,
    /// Where it lies by what both let pass before.
    place: Place,
    /// What both let pass before.
    passed: &'a [Passed<'a>],
    /// fwx's state of the flow before it.
    before: State,
    kernel_passes: bool,
    fwx: &'a Outcome,
}

impl Difference<'_> {
    /// Differences that look alike have the same text.
    fn class(&self) -> String {
        let verdict = match self.kernel_passes {
            true => format!("fwx drops ({}), the kernel does not", self.fwx.reason.name()),
            false => "the kernel drops, fwx does not".to_owned(),
        };
        let (kind, words) = (self.segment.kind(), self.place.words());
        format!("{verdict}: {kind} in {} that {words}", self.before.name())
    }

    /// Whether both ends sent a SYN without ACK.
    fn syns_crossed(&self) -> bool {
        let syn = |passed: &&Passed| passed.segment.flags & (SYN | ACK) == SYN;
        let mut ends = self.passed.iter().filter(syn).map(|passed| passed.segment.from);
        let first = ends.next();
        ends.any(|end| Some(end) != first)
    }

    /// Whether one end sent SYNs of different numbers.
    fn syns_differ(&self) -> bool {
        let syns = || self.passed.iter().filter(|p| p.segment.flags & (SYN | ACK) == SYN);
        syns().any(|a| {
            syns().any(|b| a.segment.from == b.segment.from && a.segment.seq != b.segment.seq)
        })
    }

    /// Whether the segment's sender said before that it has no more to send.
    fn has_closed(&self) -> bool {
        let same_end = |passed: &&Passed| passed.segment.from == self.segment.from;
        self.passed.iter().filter(same_end).any(|passed| passed.segment.has(FIN))
    }

    /// Whether a SYN came when fwx held the connection before it to be over.
    fn is_reopened(&self) -> bool {
        self.passed.iter().any(|passed| passed.segment.has(SYN) && passed.before.is_over())
    }
}

/// A segment that both let pass.
struct Passed<'a> {
    segment: &'a Segment,
    place: Place,
    /// fwx's state of the flow before it.
    before: State,
}

impl Passed<'_> {
    /// Whether it is a SYN of a connection that stands, or a RST.
    fn is_strange(&self) -> bool {
        let stands = !matches!(self.before, State::None | State::SynSent);
        self.segment.has(RST) || self.segment.has(SYN) && stands
    }

    /// Whether the kernel let it pass and may have taken no note of it (`NFCT_TCP_IGNORE`,
    /// `TCP_CONNTRACK_IGNORE`).
    fn is_ignored(&self) -> bool {
        let is_handshake = matches!(self.before, State::None | State::SynSent);
        self.segment.has(SYN) && !is_handshake
            || self.place.start_beyond_window > Some(0)
            || is_old(&self.place)
            || is_old_acknowledgement(&self.place)
    }
}

#[test]
fn both_let_pass_what_follows_tcp() {
    let mut comparison = Comparison::new();
    comparison.run(converse);
    assert_eq!(comparison.refused, 0, "{}", comparison.report());
    assert!(comparison.known.is_empty(), "{}", comparison.report());
    comparison.finish();
}

#[test]
fn what_does_not_follow_tcp_is_judged_alike() {
    let mut comparison = Comparison::new();
    comparison.run(|seed, family| mutate(&converse(seed, family)));
    // One alone may have nothing to refuse.
    if comparison.conversations > 100 {
        assert!(comparison.refused > 0, "some are refused by both: {}", comparison.report());
    }
    comparison.finish();
}

/// What was seen in all conversations.
struct Comparison {
    oracle: Oracle,
    conversations: usize,
    packets: usize,
    /// Of these the two were asked in the same state.
    compared: usize,
    /// The two refused them.
    refused: usize,
    /// How often, by the index of what is known and by class.
    known: BTreeMap<usize, BTreeMap<String, usize>>,
    unknown: BTreeMap<String, Unknown>,
}

/// A class of differences that nothing explains.
struct Unknown {
    count: usize,
    /// The first conversation with one.
    example: String,
}

impl Comparison {
    fn new() -> Self {
        Self {
            oracle: Oracle::new().unwrap(),
            conversations: 0,
            packets: 0,
            compared: 0,
            refused: 0,
            known: BTreeMap::new(),
            unknown: BTreeMap::new(),
        }
    }

    fn run(&mut self, make: impl Fn(u64, Family) -> Conversation) {
        let first = number_from("FWX_DIFFERENTIAL_SEED").unwrap_or(0);
        let count = number_from("FWX_DIFFERENTIAL").unwrap_or(CONVERSATIONS);
        for family in FAMILIES {
            let conversations: Vec<_> =
                (first..first + count).map(|seed| make(seed, family)).collect();
            let frames: Vec<Vec<_>> = conversations.iter().enumerate().map(frames_of).collect();
            let kernel = self.oracle.verdicts(&frames).unwrap();
            let mut rig = Rig::open(Hook::Xdp);
            for ((conversation, frames), kernel) in conversations.iter().zip(&frames).zip(&kernel) {
                let mut before = 0;
                let fwx: Vec<_> = conversation
                    .segments
                    .iter()
                    .zip(frames)
                    .map(|(segment, (_, frame))| {
                        rig.wait(PAUSE_NS.max(segment.at - before));
                        before = segment.at;
                        rig.frame(frame)
                    })
                    .collect();
                self.compare(conversation, kernel, &fwx);
            }
        }
    }

    fn compare(&mut self, conversation: &Conversation, kernel: &[bool], fwx: &[Outcome]) {
        self.conversations += 1;
        self.packets += fwx.len();
        let mut observer = Observer::default();
        let mut before = State::None;
        let mut passed = Vec::new();
        for (index, segment) in conversation.segments.iter().enumerate() {
            self.compared += 1;
            let (kernel_passes, fwx_outcome) = (kernel[index], &fwx[index]);
            let fwx_passes = fwx_outcome.verdict == Verdict::Pass;
            if kernel_passes == fwx_passes {
                self.refused += usize::from(!fwx_passes);
                if fwx_passes {
                    passed.push(Passed { segment, place: observer.place(segment), before });
                    observer.note(segment);
                    before = fwx_outcome.state;
                }
                continue;
            }
            let place = observer.place(segment);
            let passed = &passed[..];
            let difference =
                Difference { segment, place, passed, before, kernel_passes, fwx: fwx_outcome };
            match KNOWN.iter().position(|known| (known.matches)(&difference)) {
                Some(known) => {
                    let classes = self.known.entry(known).or_default();
                    *classes.entry(difference.class()).or_insert(0) += 1;
                    if KNOWN[known].then == Then::Stop {
                        return;
                    }
                }
                None => {
                    let example = || shown(conversation, kernel, fwx, index, &difference);
                    self.unknown
                        .entry(difference.class())
                        .or_insert_with(|| Unknown { count: 0, example: example() })
                        .count += 1;
                    return;
                }
            }
        }
    }

    fn summary(&self) -> String {
        let Self { conversations, packets, compared, refused, .. } = self;
        let known: usize = self.known.values().flat_map(BTreeMap::values).sum();
        format!(
            "{conversations} random conversations, {packets} packets, {compared} compared: both refused \
             {refused}, {known} differences for a reason that is known"
        )
    }

    fn report(&self) -> String {
        let mut text = self.summary() + "\n";
        for (known, classes) in &self.known {
            let (Known { name, why, .. }, count) =
                (&KNOWN[*known], classes.values().sum::<usize>());
            writeln!(text, "{count:>6} known: {name}: {why}").expect("a string takes all");
            for (class, count) in classes {
                writeln!(text, "    {count:>6} {class}").expect("a string takes all");
            }
        }
        for (class, Unknown { count, .. }) in &self.unknown {
            writeln!(text, "{count:>6} UNKNOWN: {class}").expect("a string takes all");
        }
        text
    }

    /// Prints what was seen.
    ///
    /// # Panics
    ///
    /// When there are differences that nothing explains.
    fn finish(self) {
        println!("{}", self.report());
        // Past the test program's capture: how much was compared is to be seen in each run.
        let summary = format!("conntrack and fwx: {}\n", self.summary());
        std::io::stderr().write_all(summary.as_bytes()).expect("standard error is there");
        let examples: Vec<_> = self
            .unknown
            .iter()
            .map(|(class, unknown)| format!("{class}\n{}", unknown.example))
            .collect();
        assert!(
            examples.is_empty(),
            "differences that nothing explains, one of each class:\n\n{}\n{}",
            examples.join("\n"),
            self.report()
        );
    }
}

/// The frames of a conversation, which has a client's port of its own.
fn frames_of((number, conversation): (usize, &Conversation)) -> Vec<(Side, Vec<u8>)> {
    let port = u16::try_from(FIRST_CLIENT_PORT + number).expect("there are not so many ports");
    let ports = (port, SERVER_PORT);
    let segments = conversation.segments.iter().enumerate();
    segments.map(|(index, segment)| (segment.from, conversation.frame(index, ports))).collect()
}

/// The conversation up to where the two differ.
fn shown(
    conversation: &Conversation,
    kernel: &[bool],
    fwx: &[Outcome],
    index: usize,
    difference: &Difference,
) -> String {
    let Conversation { seed, family, .. } = conversation;
    let mut text = format!("FWX_DIFFERENTIAL=1 FWX_DIFFERENTIAL_SEED={seed}, {family:?}:\n");
    for (at, segment) in conversation.segments[..=index].iter().enumerate() {
        let kernel = if kernel[at] { "pass" } else { "drop" };
        let (verdict, state, reason) =
            (fwx[at].verdict.name(), fwx[at].state.name(), fwx[at].reason.name());
        writeln!(text, "{segment}\n        kernel {kernel}, fwx {verdict} {state} {reason}")
            .expect("a string takes all");
    }
    writeln!(text, "        {:?}", difference.place).expect("a string takes all");
    text
}

fn number_from(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}
