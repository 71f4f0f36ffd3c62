//! Kernels that kill and drop on several CPUs, and a reader that comes at any time.

use std::{cell::Cell, rc::Rc};

use bytemuck::Zeroable as _;
use firewall_common::event::{EventKind, Record};
use proptest::prelude::*;

use super::{Merge, SETTLING};
use crate::event::Caught;

const CPUS: usize = 3;
const FLOWS: usize = 2;
/// The clocks of two CPUs differ by less than this, in nanoseconds.
const SKEW: u64 = 1_000;

/// What a CPU does next. Each is over before the next one begins, as on real CPUs.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Takes the stamp of a kill of this flow.
    BeginKill(usize),
    /// Puts the kill that was begun into its ring.
    TellKill,
    /// Marks the flow as killed by it.
    Mark,
    /// Looks whether a packet's flow is killed.
    Look(usize),
    /// Takes the stamp of the drop, and puts it into its ring.
    TellDrop,
}

/// What one CPU has in its hands.
#[derive(Clone, Copy, Default)]
struct Hands {
    kill: Option<(usize, Record)>,
    is_told: bool,
    /// The kill that a packet's drop will name.
    cause: Option<u64>,
}

#[derive(Default)]
struct Kernel {
    /// The reader's clock too.
    time: Rc<Cell<u64>>,
    skews: [u64; CPUS],
    hands: [Hands; CPUS],
    killed_by: [Option<u64>; FLOWS],
    kills: [Vec<Caught>; CPUS],
    drops: [Vec<Caught>; CPUS],
    numbers: u64,
    told: usize,
}

impl Kernel {
    fn stamped(&mut self, cpu: usize, kind: EventKind) -> Record {
        self.numbers += 1;
        let timestamp = self.time.get() + self.skews[cpu];
        Record { timestamp, id: self.numbers, kind: kind as u8, ..Record::zeroed() }
    }

    fn run(&mut self, cpu: usize, step: Step, takes: u64) {
        self.time.set(self.time.get() + takes);
        let hands = self.hands[cpu];
        match (step, hands.kill) {
            (Step::BeginKill(flow), None) if hands.cause.is_none() => {
                let record = self.stamped(cpu, EventKind::ConnectionKilled);
                self.hands[cpu].kill = Some((flow, record));
            }
            (Step::TellKill, Some((_, record))) if !hands.is_told => {
                self.kills[cpu].push(caught(record));
                self.hands[cpu].is_told = true;
                self.told += 1;
            }
            (Step::Mark, Some((flow, record))) if hands.is_told => {
                self.killed_by[flow] = Some(record.id);
                self.hands[cpu] = Hands::default();
            }
            (Step::Look(flow), None) if hands.cause.is_none() => {
                self.hands[cpu].cause = self.killed_by[flow];
            }
            (Step::TellDrop, _) => {
                if let Some(cause) = self.hands[cpu].cause.take() {
                    let record = self.stamped(cpu, EventKind::PacketDropped);
                    self.drops[cpu].push(caught(Record { caused_by: cause, ..record }));
                    self.told += 1;
                }
            }
            _ => {}
        }
    }
}

fn caught(record: Record) -> Caught {
    Caught { record, bytes: Box::default() }
}

fn a_step() -> impl Strategy<Value = (usize, Step, u64)> {
    let step = prop_oneof![
        (0..FLOWS).prop_map(Step::BeginKill),
        Just(Step::TellKill),
        Just(Step::Mark),
        (0..FLOWS).prop_map(Step::Look),
        Just(Step::TellDrop),
    ];
    // Some take as long as records take to settle.
    let takes = prop_oneof![4 => 0..500_u64, 1 => 0..2 * SETTLING];
    (0..CPUS, step, takes)
}

/// Some steps between the reading of one ring and of the next.
fn steps() -> impl Strategy<Value = Vec<(usize, Step, u64)>> {
    prop::collection::vec(a_step(), 0..12)
}

/// A reader's look, with what goes on before it reads each ring: those of kills, then those of drops.
type Look = Vec<Vec<(usize, Step, u64)>>;

fn looks() -> impl Strategy<Value = Vec<Look>> {
    prop::collection::vec(prop::collection::vec(steps(), 2 * CPUS + 1), 1..12)
}

fn position(told: &[Record], id: u64) -> Option<usize> {
    told.iter().position(|record| record.id == id)
}

proptest! {
    #[test]
    fn a_kill_comes_before_what_it_caused(skews in prop::array::uniform3(0..SKEW), looks in looks()) {
        let mut kernel = Kernel { skews, ..Kernel::default() };
        let time = Rc::clone(&kernel.time);
        time.set(10 * SETTLING);
        let mut merge = Merge::default();
        let mut told = Vec::new();
        for look in &looks {
            let mut meanwhile = look.iter();
            let mut go_on = |kernel: &mut Kernel| {
                for &(cpu, step, takes) in meanwhile.next().into_iter().flatten() {
                    kernel.run(cpu, step, takes);
                }
            };
            told.extend(merge.look(|| time.get(), |found| {
                for ring in 0..2 * CPUS {
                    go_on(&mut kernel);
                    let (kind, cpu) = (ring / CPUS, ring % CPUS);
                    let ring = if kind == 0 { &mut kernel.kills } else { &mut kernel.drops };
                    ring[cpu].drain(..).for_each(&mut *found);
                }
            }));
            go_on(&mut kernel);
        }
        told.extend(merge.look(|| u64::MAX, |found| {
            kernel.kills.iter_mut().chain(&mut kernel.drops).flat_map(|ring| ring.drain(..)).for_each(found);
        }));
        prop_assert!(merge.is_empty());
        prop_assert_eq!(told.len(), kernel.told, "each once");
        let told: Vec<_> = told.iter().map(|caught| caught.record).collect();
        for (at, record) in told.iter().enumerate().filter(|(_, record)| record.caused_by != 0) {
            let kill = position(&told, record.caused_by);
            prop_assert!(kill.is_some_and(|kill| kill < at), "{record:?} before its kill");
        }
    }

    #[test]
    fn what_has_settled_is_told_in_the_order_of_time(
        mut records in prop::collection::vec((0..10 * SETTLING, 0..SETTLING), 0..60),
    ) {
        // Each gets into its ring within the time that is allowed.
        records.sort_by_key(|(stamp, delay)| stamp + delay);
        let mut merge = Merge::default();
        let mut told = Vec::new();
        for (stamp, delay) in &records {
            let record = Record { timestamp: *stamp, ..Record::zeroed() };
            told.extend(merge.look(|| stamp + delay, |found| found(caught(record))));
        }
        told.extend(merge.all());
        let told: Vec<_> = told.iter().map(|caught| caught.record.timestamp).collect();
        let mut stamps: Vec<_> = records.iter().map(|(stamp, _)| *stamp).collect();
        stamps.sort_unstable();
        prop_assert_eq!(told, stamps);
    }
}

/// A kill on CPU 0 and the drop that it causes on CPU 1, both between the reading of the one ring and of the other: the
/// drop is read and its kill is not.
#[test]
fn a_drop_waits_until_its_kill_was_read() {
    let mut kernel = Kernel::default();
    let time = Rc::clone(&kernel.time);
    time.set(10 * SETTLING);
    let mut merge = Merge::default();
    let first = merge.look(
        || time.get(),
        |found| {
            kernel.kills[0].drain(..).for_each(&mut *found);
            let steps = [
                (0, Step::BeginKill(0)),
                (0, Step::TellKill),
                (0, Step::Mark),
                (1, Step::Look(0)),
                (1, Step::TellDrop),
            ];
            steps.into_iter().for_each(|(cpu, step)| kernel.run(cpu, step, 10));
            time.set(time.get() + 5 * SETTLING);
            kernel.drops[1].drain(..).for_each(found);
        },
    );
    assert_eq!(first, [], "a horizon taken after the reading would let it through");
    let second = merge.look(|| time.get(), |found| kernel.kills[0].drain(..).for_each(found));
    let kinds: Vec<_> = second.iter().map(|caught| caught.record.kind).collect();
    assert_eq!(kinds, [EventKind::ConnectionKilled as u8, EventKind::PacketDropped as u8]);
}

/// The clock of the CPU that kills may be a little ahead.
#[test]
fn a_kill_goes_first_whatever_the_stamps_say() {
    let kill = Record {
        timestamp: 110,
        id: 7,
        kind: EventKind::ConnectionKilled as u8,
        ..Record::zeroed()
    };
    let drop = Record { timestamp: 100, id: 9, caused_by: 7, ..Record::zeroed() };
    let later = Record { timestamp: 120, id: 10, caused_by: 7, ..Record::zeroed() };
    let mut merge = Merge::default();
    let told = merge.look(
        || 100 + SETTLING,
        |found| [drop, later, kill].map(caught).into_iter().for_each(found),
    );
    let numbers: Vec<_> = told.iter().map(|caught| caught.record.id).collect();
    assert_eq!(numbers, [7, 9]);
    assert_eq!(merge.all().iter().map(|caught| caught.record.id).collect::<Vec<_>>(), [10]);
    assert!(merge.is_empty() && merge.kills.is_empty());
}
