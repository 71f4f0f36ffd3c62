//! The loaded programs, a clock, and what must hold for every packet.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray};
use firewall_common::{
    filter::FilterId,
    layout::Verdict,
    policy::{Binding, Mode, Profile},
    reason::Reason,
};
use firewall_user::{
    command::Commander,
    event::Event,
    policy::{Policy, TableSizes},
    replay::{Hook, Outcome},
    shadow::Comparison,
};

use super::{Expected, RTSP_PROTOCOL, pool::Pooled};
use crate::packet::Packet;

/// Time between two packets, unless a test says otherwise: nanoseconds.
pub const STEP_NS: u64 = 1_000_000;
/// When the first packet comes: 2024-05-06, nanoseconds since 1970.
const START_NS: u64 = 1_715_000_000_000_000_000;

/// Programs that take packets one after the other.
pub struct Rig {
    replay: Pooled,
    hook: Hook,
    now: u64,
    reasons: PerCpuArray<MapData, u64>,
    /// How often each reason was counted up to now.
    counted: BTreeMap<Reason, u64>,
}

impl Rig {
    /// The programs with the text of a policy. They take packets in at the policy's first interface.
    pub fn new(policy: &str, hook: Hook) -> Self {
        let policy = Policy::parse("test.toml", policy)
            .unwrap_or_else(|error| panic!("the test's own policy: {error}\n{policy}"));
        Self::of(Pooled::take(Some(&policy), hook), hook)
    }

    /// The programs without a policy: every new flow is allowed, no filter is bound.
    pub fn open(hook: Hook) -> Self {
        Self::of(Pooled::take(None, hook), hook)
    }

    /// As [`Rig::open`], with flow tables of these sizes.
    pub fn with_sizes(sizes: TableSizes, hook: Hook) -> Self {
        Self::of(Pooled::alone(sizes, hook), hook)
    }

    fn of(replay: anyhow::Result<Pooled>, hook: Hook) -> Self {
        let replay =
            replay.unwrap_or_else(|error| panic!("replay for {hook:?} cannot start: {error:#}"));
        let reasons = replay.tables().open("REASONS").expect("the counters of reasons");
        let mut rig = Self { replay, hook, now: START_NS, reasons, counted: BTreeMap::new() };
        rig.counted = rig.reason_counts();
        rig
    }

    /// The hook that the packets go through.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// When the last packet came, nanoseconds since 1970.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass until the next packet: nanoseconds after the one before, instead of [`STEP_NS`].
    pub fn wait(&mut self, nanoseconds: u64) {
        self.now = self.now + nanoseconds - STEP_NS;
    }

    /// Turns the clock back, as captures of several clocks have it.
    pub fn rewind(&mut self, nanoseconds: u64) {
        self.now -= nanoseconds;
    }

    /// Sends `packet` and checks what becomes of it; `shows` is for the message.
    pub fn expect(&mut self, shows: &str, packet: &Packet, expected: Expected) -> Outcome {
        self.expect_frame(shows, &packet.build(), expected)
    }

    /// Sends a frame and checks what becomes of it; `shows` is for the message.
    pub fn expect_frame(&mut self, shows: &str, frame: &[u8], expected: Expected) -> Outcome {
        let outcome = self.frame(frame);
        assert_eq!(
            Expected::from(&outcome),
            expected,
            "{shows}: {:?}, frame {}",
            self.hook,
            hex(frame)
        );
        outcome
    }

    /// Sends a frame and checks only what must hold for every one.
    pub fn frame(&mut self, frame: &[u8]) -> Outcome {
        self.now += STEP_NS;
        let outcome = self.replay.packet(self.now, frame).unwrap_or_else(|error| {
            panic!("{:?} cannot take the frame {}: {error:#}", self.hook, hex(frame))
        });
        let counted = self.reason_counts();
        let rose = self.rises(&counted);
        self.counted = counted;
        let context = || {
            let outcome = Expected::from(&outcome);
            format!("{:?}: {outcome:?}, counters {rose:?}, frame {}", self.hook, hex(frame))
        };

        let drops: BTreeMap<_, _> =
            rose.iter().filter(|(reason, _)| reason.is_drop()).map(|(r, n)| (*r, *n)).collect();
        match outcome.verdict {
            Verdict::Pass => {
                assert_eq!(outcome.reason, Reason::None, "{}", context());
                assert_eq!(outcome.frame, frame, "what passes is not changed: {}", context());
                // A filter in monitor mode that cannot read says so, and the segment passes.
                let unread =
                    [Reason::FilterUnavailable, Reason::OutOfResources, Reason::FragmentDropped];
                assert!(
                    drops.keys().all(|reason| unread.contains(reason)),
                    "what passes is counted as no drop: {}",
                    context()
                );
            }
            Verdict::Drop if !self.replay.takes(frame) => {
                assert_eq!(outcome.reason, Reason::BadLength, "{}", context());
                assert!(rose.is_empty(), "the kernel did not see it: {}", context());
            }
            Verdict::Drop => {
                assert!(outcome.reason.is_drop(), "a drop has a reason: {}", context());
                assert_eq!(drops, BTreeMap::from([(outcome.reason, 1)]), "{}", context());
            }
            Verdict::Reset if outcome.reason == Reason::ConnectionKilled => {
                assert_eq!(rose.get(&Reason::ConnectionKilled), Some(&1), "{}", context());
                assert!(drops.is_empty(), "a kill is no drop: {}", context());
            }
            Verdict::Reset | Verdict::Reject => {
                assert_eq!(drops, BTreeMap::from([(outcome.reason, 1)]), "{}", context());
            }
        }
        outcome
    }

    /// Lets packets come in by the interface of the policy with this name; `None`: by one that it does not name.
    pub fn come_in_by(&mut self, interface: Option<&str>) {
        self.replay.come_in_by(interface).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The events since last asked.
    pub fn events(&mut self) -> Vec<Event> {
        self.replay.events().unwrap_or_else(|error| panic!("no events: {error:#}"))
    }

    /// Those of the events since last asked that are of `kind`.
    pub fn events_of(&mut self, kind: &str) -> Vec<Event> {
        let mut events = self.events();
        events.retain(|event| event.event == kind);
        events
    }

    /// How often `reason` was counted.
    pub fn count(&self, reason: Reason) -> u64 {
        self.counted.get(&reason).copied().unwrap_or(0)
    }

    /// Whether the kernel's programs get to see `frame`: see [`Replay::takes`](firewall_user::replay::Replay::takes).
    pub fn takes(&self, frame: &[u8]) -> bool {
        self.replay.takes(frame)
    }

    /// Binds the RTSP filter to the first protocol of the policy from the next packet on, as `fwx filter`
    /// does.
    pub fn bind(&self, mode: Mode, profile: Profile) {
        self.set_binding(Binding {
            filter: FilterId::Rtsp as u8,
            mode: mode as u8,
            profile: profile as u8,
            ..Binding::default()
        });
    }

    /// Unbinds it.
    pub fn unbind(&self) {
        self.set_binding(Binding::default());
    }

    /// Has the packets from here on judged by the policy of this text too, which does nothing about them.
    pub fn compare_with(&mut self, policy: &str) {
        let policy = Policy::parse("shadow.toml", policy)
            .unwrap_or_else(|error| panic!("the test's own policy: {error}\n{policy}"));
        let begun = self.replay.compare_with(&policy);
        begun.unwrap_or_else(|error| panic!("there is no shadow: {error:#}"));
    }

    /// How the policies compare, with the newest `flows` of each pair of rules that differ.
    pub fn comparison(&self, flows: usize) -> Comparison {
        let comparison = self.replay.comparison(flows);
        comparison.unwrap_or_else(|error| panic!("no comparison: {error:#}"))
    }

    fn set_binding(&self, binding: Binding) {
        let bound = self.tables().bind(RTSP_PROTOCOL, |_| binding);
        bound.unwrap_or_else(|error| panic!("the binding cannot be changed: {error:#}"));
    }

    /// What changes single flows, as user space does.
    pub fn commander(&self) -> Commander {
        self.replay.commander().unwrap_or_else(|error| panic!("no commands: {error:#}"))
    }

    /// The programs' own tables.
    pub fn tables(&self) -> &firewall_user::tables::Tables {
        self.replay.tables()
    }

    fn reason_counts(&self) -> BTreeMap<Reason, u64> {
        let count = |reason: Reason| {
            let values = self.reasons.get(&(reason as u32), 0);
            values.unwrap_or_else(|error| panic!("no counter of {reason:?}: {error}")).iter().sum()
        };
        Reason::ALL.iter().map(|&reason| (reason, count(reason))).collect()
    }

    /// Which counters rose, and by how much. Reason "none" counts flows that begin.
    fn rises(&self, now: &BTreeMap<Reason, u64>) -> BTreeMap<Reason, u64> {
        now.iter()
            .filter(|(reason, _)| **reason != Reason::None)
            .map(|(&reason, &count)| (reason, count - self.count(reason)))
            .filter(|(_, rise)| *rise > 0)
            .collect()
    }
}

fn hex(frame: &[u8]) -> String {
    const SHOWN: usize = 160;
    let shown = &frame[..frame.len().min(SHOWN)];
    let text: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    if frame.len() > SHOWN { format!("{text}… ({} bytes)", frame.len()) } else { text }
}
