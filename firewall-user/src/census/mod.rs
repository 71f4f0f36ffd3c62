//! What lies in the flow tables, as the sweep counts it on its one walk: for all who would otherwise have to walk a
//! million flows themselves.
//!
//! # Rules
//!
//! A rule's packets stand partly in the kernel's counters and partly in its flows, see [`firewall_common::tally`], and
//! while the flows are read some begin and end. Whoever asks once reads again until nothing moved (see
//! [`crate::rules`]); a walk every few seconds, on a machine where something always moves, cannot. So the census says no
//! more than what surely passed:
//!
//! - The counters are read between the tables of flows without an answer and those with one. What a flow has counted
//!   that ends later is not in them, so a flow that is met counts once, whether it ends meanwhile or not.
//! - A flow that enters the second tables after the counters were read has its first packets in them, and again in
//!   itself. It was met without an answer before, or it began after the walk; either way what it says is left out.
//!
//! What is missing then is what flows had counted that ended after the walk began and before they were met. Where none
//! did, the figure is exact; else the next census has it.
//!
//! Of what it said so far and what it says now, a [`Ledger`] keeps the greater, also from one controller to the next. So
//! a counter never goes back, and never says more than what passed.

mod ledger;

pub use ledger::Ledger;

use std::collections::{HashMap, HashSet};

use firewall_common::{
    flow::{Flow, State},
    tally::RuleCounters,
};
use serde::{Deserialize, Serialize};

use crate::{
    flows::{Entry, FlowTable, Key},
    rule_counters::{AllCounters, Sums},
    sweep::Fill,
};

/// What a walk over the flow tables found.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// When it ended, nanoseconds since 1970.
    pub taken: i128,
    /// How full each table is, in the order of [`FlowTable::ALL`].
    pub fills: Vec<Fill>,
    /// Connections that filters read.
    pub filtered: u64,
    /// How many flows there are of each class.
    pub flows: HashMap<Class, u64>,
    /// What each rule did, by number; 0: the default. Rules that did nothing are not there.
    pub rules: HashMap<u16, RuleTotals>,
}

/// What flows are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Of IPv6, not of IPv4.
    pub is_v6: bool,
    /// IP protocol.
    pub ip_protocol: u8,
    /// State.
    pub state: State,
}

/// What a rule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTotals {
    /// Flows that it let in.
    pub flows: u64,
    /// Packets of these.
    pub packets: u64,
    /// Bytes of these packets, with their IP headers.
    pub bytes: u64,
    /// Packets that it refused.
    pub refused_packets: u64,
    /// Bytes of these, with their IP headers.
    pub refused_bytes: u64,
    /// Flows that it let in and that have not ended.
    pub live_flows: u64,
}

/// A census that is being taken.
#[derive(Debug)]
pub struct Taking {
    /// When the walk began, nanoseconds of the clock that flows are stamped by.
    begun: u64,
    /// Numbers of the flows that had no answer when they were met.
    half_open: HashSet<u64>,
    counters: HashMap<u16, RuleCounters>,
    sums: Sums,
    live: HashMap<u16, u64>,
    classes: HashMap<Class, u64>,
}

impl Taking {
    /// Begins. `begun`: the present, nanoseconds of the kernel's coarse monotonic clock.
    pub fn begin(begun: u64) -> Self {
        Self {
            begun,
            half_open: HashSet::new(),
            counters: HashMap::new(),
            sums: Sums::default(),
            live: HashMap::new(),
            classes: HashMap::new(),
        }
    }

    /// Takes the rules' counters down, before the first flow with an answer is met.
    pub fn read_counters(&mut self, counters: &AllCounters) {
        let all = (0..=u16::MAX).map(|rule| (rule, counters.of(rule)));
        self.counters = all.filter(|(_, it)| it.last_hit != 0).collect();
    }

    /// An entry of `table` is met.
    pub fn meet(&mut self, table: FlowTable, entry: &Entry) {
        let Flow { id, created, .. } = entry.flow;
        if entry.alias().is_some() {
        } else if !table.is_completed() {
            self.half_open.insert(id);
        } else if created < self.begun && !self.half_open.contains(&id) {
            self.sums.leaves(&entry.flow);
        }
    }

    /// A flow that was met stays in its table. `is_live`: it has not ended.
    pub fn stays(&mut self, entry: &Entry, is_live: bool) {
        let Flow { rule, ip_protocol, .. } = entry.flow;
        let is_v6 = matches!(entry.key, Key::V6(_));
        let class = Class { is_v6, ip_protocol, state: entry.flow.state() };
        *self.classes.entry(class).or_default() += 1;
        if is_live {
            *self.live.entry(rule).or_default() += 1;
        }
    }

    /// Ends the census.
    pub fn end(self, taken: i128, ledger: &mut Ledger) -> Census {
        let rules = self.counters.iter().map(|(rule, counters)| {
            let live_flows = self.live.get(rule).copied().unwrap_or(0);
            (*rule, ledger.enter(*rule, *counters, &self.sums, live_flows))
        });
        let rules = rules.collect();
        Census { taken, flows: self.classes, rules, ..Census::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::flow::{KeyV4, Tally};

    const BEGUN: u64 = 1_000;

    fn entry(id: u64, created: u64, packets: u64) -> Entry {
        let tallies = [Tally { packets, bytes: packets * 100 }, Tally::default()];
        let state = State::Established as u8;
        let flow = Flow { id, created, rule: 7, state, tallies, ..Flow::default() };
        Entry { key: Key::V4(KeyV4::default()), flow }
    }

    fn counters(flows: u64, packets: i64) -> RuleCounters {
        let bytes = (packets * 100).cast_unsigned();
        let packets = packets.cast_unsigned();
        RuleCounters { flows, packets, bytes, last_hit: 1, ..RuleCounters::default() }
    }

    /// Takes a census of flows with an answer, where the rule's counters hold these when they are read.
    fn census(
        ledger: &mut Ledger,
        half_open: &[Entry],
        counters: RuleCounters,
        completed: &[Entry],
    ) -> RuleTotals {
        let mut taking = Taking::begin(BEGUN);
        half_open.iter().for_each(|entry| taking.meet(FlowTable::HalfOpenV4, entry));
        taking.counters.insert(7, counters);
        for entry in completed {
            taking.meet(FlowTable::CompletedV4, entry);
            taking.stays(entry, true);
        }
        taking.end(0, ledger).rules[&7]
    }

    #[test]
    fn a_rule_is_what_stands_in_both_places() {
        let totals = census(
            &mut Ledger::default(),
            &[],
            counters(3, -2),
            &[entry(1, 10, 5), entry(2, 20, 6)],
        );
        let expected =
            RuleTotals { flows: 3, packets: 9, bytes: 900, live_flows: 2, ..RuleTotals::default() };
        assert_eq!(totals, expected);
    }

    #[test]
    fn a_flow_that_gets_its_answer_meanwhile_counts_once() {
        let ledger = &mut Ledger::default();
        let waiting = entry(1, 10, 1);
        // Its first two packets are in the counters, which were read before it moved.
        let totals = census(ledger, &[waiting], counters(1, 2), &[entry(1, 10, 3)]);
        assert_eq!(totals.packets, 2);
        // One that began after the walk did.
        let totals = census(ledger, &[], counters(1, 2), &[entry(1, BEGUN, 3)]);
        assert_eq!(totals.packets, 2);
        // The next time it is met as what it is.
        let totals = census(ledger, &[], counters(1, 0), &[entry(1, 10, 4)]);
        assert_eq!(totals.packets, 4);
    }

    #[test]
    fn what_was_said_stays_when_a_flow_ends_unmet() {
        let ledger = &mut Ledger::default();
        assert_eq!(census(ledger, &[], counters(1, 0), &[entry(1, 10, 50)]).packets, 50);
        // It ended after the counters were read, and before it was met.
        let totals = census(ledger, &[], counters(1, 0), &[]);
        assert_eq!((totals.packets, totals.bytes, totals.live_flows), (50, 5_000, 0));
        assert_eq!(census(ledger, &[], counters(1, 60), &[]).packets, 60);
    }

    #[test]
    fn a_number_that_is_given_to_another_rule_begins_anew() {
        let ledger = &mut Ledger::default();
        census(ledger, &[], counters(9, 900), &[]);
        assert_eq!(census(ledger, &[], counters(1, 3), &[]).packets, 3);
    }

    #[test]
    fn more_was_taken_off_than_is_known() {
        assert_eq!(census(&mut Ledger::default(), &[], counters(1, -4), &[]).packets, 0);
    }

    #[test]
    fn flows_are_told_apart() {
        let mut taking = Taking::begin(BEGUN);
        taking.stays(&entry(1, 10, 1), true);
        taking.stays(&entry(2, 10, 1), false);
        let class = Class { is_v6: false, ip_protocol: 0, state: State::Established };
        assert_eq!(taking.classes, HashMap::from([(class, 2)]));
        assert_eq!(taking.live, HashMap::from([(7, 1)]));
    }
}
