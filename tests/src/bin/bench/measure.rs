//! Runs in turn, and what follows from them.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::{
    conversation::{Conversation, Family},
    lossy,
    programs::Programs,
    subject::{Hook, Subject},
    table::MEASURED,
};

/// How much is measured.
#[derive(Serialize)]
pub(crate) struct Plan {
    /// Runs of a program at a time.
    repeat: u32,
    /// How often each program has its turn after each load.
    pub(crate) rounds: u32,
    /// How often everything is loaded anew: a program's speed hangs on where its code and its tables come
    /// to lie, by a tenth and more.
    pub(crate) loads: u32,
    /// Flows of each family in the tables, ascending.
    pub(crate) table_sizes: Vec<u32>,
    /// On paths that lose packets.
    pub(crate) lossy: lossy::Plan,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        let lossy = lossy::Plan::new(quick);
        if quick {
            Self { repeat: 200_000, rounds: 3, loads: 3, table_sizes: vec![1_000], lossy }
        } else {
            let table_sizes = vec![1_000, 100_000];
            Self { repeat: 1_000_000, rounds: 3, loads: 5, table_sizes, lossy }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repeat, rounds, loads, .. } = self;
        write!(f, "{loads} loads with {rounds} rounds each, {repeat} runs a round")
    }
}

/// What a packet costs: medians over all rounds. Differences and ratios are taken within a round, before
/// the median, so that slow drift falls out of them.
#[derive(Serialize)]
pub(crate) struct Cost {
    /// Flows of each family in the tables.
    pub(crate) flows: u32,
    pub(crate) hook: Hook,
    pub(crate) family: Family,
    pub(crate) subject: Subject,
    pub(crate) ns: f64,
    /// Over the empty program.
    pub(crate) added_ns: f64,
    /// Added cost as a multiple of the floor's.
    pub(crate) ratio: f64,
    /// The least and the most that `ratio` was in any round.
    pub(crate) ratio_range: [f64; 2],
}

/// Nanoseconds of each subject in one round.
type Round = [f64; Subject::ALL.len()];

/// The rounds so far.
pub(crate) struct Figures {
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
    pub(crate) fn new(plan: &Plan) -> Self {
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
    pub(crate) fn take_round(&mut self, programs: &Programs, flows: u32) -> Result<()> {
        for group in self.groups.iter_mut().filter(|group| group.flows == flows) {
            // A stream that went on in one hook does not begin again in the other.
            let turn = group.rounds.len() as u32 * Hook::ALL.len() as u32 + group.hook as u32;
            let number = turn % MEASURED;
            let mut round = Round::default();
            for (ns, subject) in round.iter_mut().zip(Subject::ALL) {
                let conversation = Conversation::new(group.family, subject.service(), number);
                let (program, frame) = (subject.program(group.hook), subject.frame(conversation));
                let runs = subject.runs(self.repeat);
                *ns = programs.run(group.hook, program, &frame, runs)?;
            }
            group.rounds.push(round);
        }
        Ok(())
    }

    /// What all rounds come to.
    pub(crate) fn costs(&self) -> Vec<Cost> {
        self.groups.iter().flat_map(Group::costs).collect()
    }
}

impl Group {
    fn costs(&self) -> [Cost; Subject::ALL.len()] {
        let mut index = 0;
        Subject::ALL.map(|subject| {
            let cost = self.cost(subject, index);
            index += 1;
            cost
        })
    }

    fn cost(&self, subject: Subject, index: usize) -> Cost {
        let sorted = |figure: &dyn Fn(&Round) -> f64| {
            let mut figures: Vec<f64> = self.rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures
        };
        let added = |round: &Round, index: usize| round[index] - round[EMPTY];
        let ratios = sorted(&|round| added(round, index) / added(round, FLOOR));
        Cost {
            flows: self.flows,
            hook: self.hook,
            family: self.family,
            subject,
            ns: median(&sorted(&|round| round[index])),
            added_ns: median(&sorted(&|round| added(round, index))),
            ratio: median(&ratios),
            ratio_range: [ratios[0], ratios[ratios.len() - 1]],
        }
    }
}

/// Places in [`Subject::ALL`].
const EMPTY: usize = 0;
const FLOOR: usize = 2;

/// The middle of `sorted`, of an even number of figures the mean of the middle two.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_mind_an_outlier() {
        assert_eq!(median(&[2.0, 3.0, 1_000.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 1_000.0]), 3.0);
    }

    #[test]
    fn the_floor_and_the_empty_program_stand_where_costs_look_for_them() {
        assert!(Subject::ALL[EMPTY] == Subject::Empty);
        assert!(Subject::ALL[FLOOR] == Subject::ParseAndLookup);
    }

    #[test]
    fn drift_from_round_to_round_falls_out_of_differences_and_ratios() {
        let round =
            |drift: f64| [6.0, 7.0, 26.0, 36.0, 46.0, 46.0, 50.0, 90.0].map(|ns| ns + drift);
        let rounds = vec![round(0.0), round(50.0), round(100.0)];
        let group = Group { flows: 1, hook: Hook::Xdp, family: Family::V4, rounds };
        let [empty, _, floor, ack, data, ..] = group.costs();
        assert_eq!((empty.ns, empty.added_ns, empty.ratio), (56.0, 0.0, 0.0));
        assert_eq!((floor.added_ns, floor.ratio), (20.0, 1.0));
        assert_eq!((ack.added_ns, ack.ratio), (30.0, 1.5));
        assert_eq!((data.added_ns, data.ratio_range), (40.0, [2.0, 2.0]));
    }
}
