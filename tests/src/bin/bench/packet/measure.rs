//! Runs in turn, and what follows from them.

use std::fmt;

use anyhow::{Result, ensure};

use super::{
    conversation::Family,
    counts::Counted,
    proof::Proof,
    stage::Stage,
    subject::{Hook, Subject},
};
use crate::number::figure;

/// How much is measured.
pub(crate) struct Plan {
    /// Runs of a program at a time.
    pub(super) repeat: u32,
    /// How often each program has its turn after each load.
    pub(super) rounds: u32,
    /// How often everything is loaded anew: a program's speed hangs on where its code and its tables come
    /// to lie, by a tenth and more.
    pub(super) loads: u32,
    /// Flows of each family in the tables, ascending.
    pub(super) table_sizes: Vec<u32>,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            Self { repeat: 100_000, rounds: 3, loads: 2, table_sizes: vec![1_000] }
        } else {
            let table_sizes = vec![1_000, 100_000, 1_000_000];
            Self { repeat: 400_000, rounds: 3, loads: 5, table_sizes }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repeat, rounds, loads, .. } = self;
        let repeat = figure(f64::from(*repeat));
        write!(f, "{loads} loads with {rounds} rounds each, {repeat} runs a round at most")
    }
}

/// What a packet costs: medians over all rounds. Differences and ratios are taken within a round, before
/// the median, so that slow drift falls out of them.
pub(super) struct Cost {
    /// Flows of each family in the tables.
    pub(super) flows: u32,
    pub(super) hook: Hook,
    pub(super) family: Family,
    pub(super) subject: Subject,
    pub(super) ns: f64,
    /// Over a program that does nothing with the same frames.
    pub(super) added_ns: f64,
    /// Added cost as a multiple of the floor's.
    pub(super) ratio: f64,
    /// The least and the most that `ratio` was in any round.
    pub(super) ratio_range: [f64; 2],
    /// The median of each, the program that does nothing included.
    pub(super) counted: Option<Counted>,
}

/// What runs of a subject took, and those of a program that does nothing with the same frames.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) ns: f64,
    pub(crate) idle_ns: f64,
    counted: Option<Counted>,
}

impl Taken {
    /// What is the subject's.
    pub(crate) fn added(&self) -> f64 {
        self.ns - self.idle_ns
    }
}

/// Runs a subject, `repeat` times if it can so often, and checks that it did what it had to.
pub(crate) fn take(
    stage: &mut Stage,
    hook: Hook,
    family: Family,
    subject: Subject,
    repeat: u32,
) -> Result<Taken> {
    let batches = subject.batches();
    let taken: Vec<_> = (0..batches)
        .map(|_| take_batch(stage, hook, family, subject, subject.runs(repeat)))
        .collect::<Result<_>>()?;
    let mean =
        |figure: fn(&Taken) -> f64| taken.iter().map(figure).sum::<f64>() / f64::from(batches);
    Ok(Taken {
        ns: mean(|taken| taken.ns),
        idle_ns: mean(|taken| taken.idle_ns),
        counted: taken.first().and_then(|taken| taken.counted),
    })
}

fn take_batch(
    stage: &mut Stage,
    hook: Hook,
    family: Family,
    subject: Subject,
    runs: u32,
) -> Result<Taken> {
    let frame = stage.set(subject, family, runs)?;
    let programs = &mut stage.programs;
    let idle = programs.pass(hook, subject.program().idle(), &frame, runs)?;
    let before = Proof::take(programs.tables())?;
    let ran = programs.run(hook, subject.program(), &frame, runs)?;
    Proof::take(programs.tables())?.check(&before, subject, runs)?;
    let verdict = if subject.outcome().refused.is_some() { hook.drop() } else { hook.pass() };
    ensure!(
        ran.verdict == verdict,
        "\"{}\" ended with verdict {} instead of {verdict}",
        subject.name(),
        ran.verdict
    );
    stage.clear(subject, family, runs)?;
    Ok(Taken { ns: ran.ns, idle_ns: idle.ns, counted: ran.counted })
}

/// All subjects in one round, in their order.
type Round = Vec<Taken>;

/// The rounds so far.
pub(super) struct Figures {
    repeat: u32,
    groups: Vec<Group>,
}

/// Figures that can be compared with each other.
struct Group {
    flows: u32,
    hook: Hook,
    family: Family,
    rounds: Vec<Round>,
}

impl Figures {
    pub(super) fn new(plan: &Plan) -> Self {
        let group = |flows, hook, family| Group { flows, hook, family, rounds: Vec::new() };
        let mut groups = Vec::new();
        for &flows in &plan.table_sizes {
            for hook in Hook::ALL {
                groups.extend(Family::ALL.map(|family| group(flows, hook, family)));
            }
        }
        Self { repeat: plan.repeat, groups }
    }

    /// Gives each subject its turn, with `flows` flows in the tables.
    pub(super) fn take_round(&mut self, stage: &mut Stage, flows: u32) -> Result<()> {
        for group in self.groups.iter_mut().filter(|group| group.flows == flows) {
            let round = Subject::ALL
                .iter()
                .map(|&subject| take(stage, group.hook, group.family, subject, self.repeat))
                .collect::<Result<_>>()?;
            group.rounds.push(round);
        }
        Ok(())
    }

    /// What all rounds come to.
    pub(super) fn costs(&self) -> Vec<Cost> {
        self.groups.iter().flat_map(Group::costs).collect()
    }
}

impl Group {
    fn costs(&self) -> impl Iterator<Item = Cost> {
        Subject::ALL.iter().map(|&subject| self.cost(subject))
    }

    fn cost(&self, subject: Subject) -> Cost {
        let all = |figure: &dyn Fn(&Round) -> f64| self.rounds.iter().map(figure).collect();
        let of = |round: &Round| round[subject as usize];
        let ratio = |round: &Round| of(round).added() / round[subject.floor() as usize].added();
        let ratios: Vec<f64> = all(&ratio);
        let counted = |figure: fn(Counted) -> f64| {
            let figures: Option<Vec<_>> =
                self.rounds.iter().map(|round| of(round).counted.map(figure)).collect();
            figures.map(median)
        };
        let instructions = counted(|counted| counted.instructions);
        let cycles = counted(|counted| counted.cycles);
        Cost {
            flows: self.flows,
            hook: self.hook,
            family: self.family,
            subject,
            ns: median(all(&|round| of(round).ns)),
            added_ns: median(all(&|round| of(round).added())),
            ratio: median(ratios.clone()),
            ratio_range: [
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ],
            counted: instructions
                .zip(cycles)
                .map(|(instructions, cycles)| Counted { instructions, cycles }),
        }
    }
}

/// The middle of `figures`, of an even number of them the mean of the middle two; of none, not a number.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[middle],
        all => f64::midpoint(all[middle - 1], all[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_mind_an_outlier() {
        assert_eq!(median(vec![1_000.0, 2.0, 3.0]), 3.0);
        assert_eq!(median(vec![1.0, 2.0, 1_000.0, 4.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn drift_from_round_to_round_falls_out_of_differences_and_ratios() {
        // The n-th subject takes 10 n ns over one that does nothing, all of them more the later it is.
        let round = |drift: f64| -> Round {
            (0..Subject::ALL.len())
                .map(|n| Taken {
                    ns: 6.0 + drift + 10.0 * n as f64,
                    idle_ns: 6.0 + drift,
                    counted: None,
                })
                .collect()
        };
        let rounds = vec![round(0.0), round(50.0), round(100.0)];
        let group = Group { flows: 1, hook: Hook::Xdp, family: Family::V4, rounds };
        let costs: Vec<_> = group.costs().collect();
        let of = |subject: Subject| &costs[subject as usize];
        let (empty, floor, data) = (of(Subject::Empty), of(Subject::Floor), of(Subject::Data));
        assert_eq!((empty.ns, empty.added_ns, empty.ratio), (56.0, 0.0, 0.0));
        assert_eq!((floor.added_ns, floor.ratio), (20.0, 1.0));
        assert_eq!((data.added_ns, data.ratio_range), (60.0, [3.0, 3.0]));
        let scattered = of(Subject::AckScattered);
        assert_eq!(scattered.ratio, 5.0 / 3.0, "of the floor on the same packets");
        assert!(scattered.counted.is_none());
    }
}
