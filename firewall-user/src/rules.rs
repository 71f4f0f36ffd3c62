//! What each rule of the policy in force did: `fwx rules`.
//!
//! A rule's packets stand partly in the kernel's counters and partly in its flows, see [`firewall_common::tally`]. Both
//! are read while packets come. What a flow has counted may move from the one to the other meanwhile; a rule of which
//! that happened is read again.

use std::collections::HashMap;

use anyhow::Result;
use firewall_common::tally::RuleCounters;
use serde::Serialize;

use crate::{
    event::rfc3339,
    flows::FlowTable,
    instance::State,
    ring::{monotonic_epoch_ns, monotonic_ns},
    rule_counters::{AllCounters, Sum, Sums},
    tables::Tables,
};

/// How often the flows are read for rules of which some began or ended meanwhile.
const READINGS: usize = 4;
/// The default's number.
const DEFAULT: u16 = 0;

/// A rule and what it did. Counters begin when the firewall is brought up, or with the policy that brought the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name; none: what becomes of flows that no rule speaks about, and connections that were there before the
    /// firewall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `allow`, `deny` or `reject`. None: it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether the policy in force has it no more. Its flows go on.
    pub gone: bool,
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
    /// When it last let a flow in, when a packet of one of its flows last passed, or when it last refused one; RFC
    /// 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_hit: Option<String>,
    /// The same, nanoseconds of the monotonic clock; 0: never.
    #[serde(skip)]
    pub last_hit_ns: u64,
    /// Flows that it let in and that have not ended.
    pub live_flows: u64,
}

/// In which order rules come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// That of the policy
    #[default]
    Policy,
    /// Most flows first
    Flows,
    /// Most packets first
    Packets,
    /// Most bytes first
    Bytes,
    /// Most packets refused first
    Refused,
    /// The latest hit first
    LastHit,
}

/// The rules of the policy in force, in its order, then the default, then rules that are gone and have live flows.
pub fn rules(state: &State, tables: &Tables) -> Result<Vec<Rule>> {
    let known = u16::try_from(state.rules.len())?;
    let mut read = read(tables, known)?;
    let in_force = &state.rules_in_force;
    let mut rules = Vec::new();
    for (index, number) in in_force.iter().enumerate() {
        rules.push(Rule {
            name: name(state, *number),
            action: state.rule_actions.get(index).cloned(),
            ..read.remove(number).unwrap_or_default()
        });
    }
    let action = (!state.default_action.is_empty()).then(|| state.default_action.clone());
    rules.push(Rule { action, ..read.remove(&DEFAULT).unwrap_or_default() });
    let mut gone: Vec<_> = read.into_iter().filter(|(_, rule)| rule.live_flows > 0).collect();
    gone.sort_unstable_by_key(|(number, _)| *number);
    rules.extend(gone.into_iter().map(|(number, rule)| Rule {
        name: name(state, number),
        gone: true,
        ..rule
    }));
    Ok(rules)
}

fn name(state: &State, number: u16) -> Option<String> {
    state.rules.get(usize::from(number).checked_sub(1)?).cloned()
}

impl Rule {
    /// Whether it is a rule of the policy in force and no packet ever met it.
    pub const fn is_unused(&self) -> bool {
        self.name.is_some() && !self.gone && self.last_hit_ns == 0
    }
}

impl Sort {
    /// Puts rules into this order. Those that are alike stay in that of the policy.
    pub fn apply(self, rules: &mut [Rule]) {
        let key = |rule: &Rule| match self {
            Self::Policy => 0,
            Self::Flows => rule.flows,
            Self::Packets => rule.packets,
            Self::Bytes => rule.bytes,
            Self::Refused => rule.refused_packets,
            Self::LastHit => rule.last_hit_ns,
        };
        rules.sort_by_key(|rule| std::cmp::Reverse(key(rule)));
    }
}

/// What the default and the rules up to number `known` did, those that did anything.
fn read(tables: &Tables, known: u16) -> Result<HashMap<u16, Rule>> {
    let counters = AllCounters::open(tables)?;
    let mut done: HashMap<u16, Rule> = HashMap::new();
    let mut wanted: Vec<u16> = (DEFAULT..=known).collect();
    for reading in 1..=READINGS {
        let before: Vec<_> = wanted.iter().map(|number| counters.of(*number)).collect();
        let live = Live::read(tables)?;
        let mut moved = Vec::new();
        for (number, before) in wanted.iter().zip(before) {
            let after = counters.of(*number);
            if before.moves != after.moves && reading < READINGS {
                moved.push(*number);
            } else if let Some(rule) = rule(after, live.sums.of(*number), live.count(*number)) {
                done.insert(*number, rule);
            }
        }
        if moved.is_empty() {
            break;
        }
        wanted = moved;
    }
    Ok(done)
}

/// `None`: it did nothing.
fn rule(counters: RuleCounters, counted: Sum, live_flows: u64) -> Option<Rule> {
    let last_hit_ns = counters.last_hit.max(counted.last_seen);
    (last_hit_ns != 0).then(|| Rule {
        flows: counters.flows,
        packets: counters.packets.wrapping_add(counted.packets),
        bytes: counters.bytes.wrapping_add(counted.bytes),
        refused_packets: counters.refused_packets,
        refused_bytes: counters.refused_bytes,
        last_hit: Some(rfc3339(monotonic_epoch_ns() + i128::from(last_hit_ns))),
        last_hit_ns,
        live_flows,
        ..Rule::default()
    })
}

/// What lies in the flow tables, by rule.
#[derive(Default)]
struct Live {
    /// What flows with an answer have counted.
    sums: Sums,
    /// How many have not ended, those without an answer included.
    flows: HashMap<u16, u64>,
}

impl Live {
    fn read(tables: &Tables) -> Result<Self> {
        let mut live = Self::default();
        let (now, timeouts) = (monotonic_ns(), tables.timeouts()?);
        for table in FlowTable::ALL {
            tables.each_entry(table, |entry| {
                let flow = &entry.flow;
                if table.is_completed() {
                    live.sums.leaves(flow);
                }
                let ended = flow.state().is_over() || flow.expired(now, &timeouts);
                if entry.alias().is_none() && !ended {
                    *live.flows.entry(flow.rule).or_default() += 1;
                }
            })?;
        }
        Ok(live)
    }

    fn count(&self, rule: u16) -> u64 {
        self.flows.get(&rule).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_what_stands_in_both_places() {
        let counters = RuleCounters {
            flows: 2,
            packets: 1_u64.wrapping_neg(),
            bytes: 40,
            last_hit: 7,
            ..RuleCounters::default()
        };
        let rule = rule(counters, Sum { packets: 9, bytes: 900, last_seen: 5 }, 1).unwrap();
        assert_eq!((rule.flows, rule.packets, rule.bytes), (2, 8, 940));
        assert_eq!((rule.last_hit_ns, rule.live_flows), (7, 1));
    }

    #[test]
    fn what_nothing_met_is_unused_and_the_default_is_no_rule() {
        assert_eq!(super::rule(RuleCounters::default(), Sum::default(), 0), None);
        let unused = Rule { name: Some("spare".to_owned()), ..Rule::default() };
        assert!(unused.is_unused());
        assert!(!Rule { last_hit_ns: 1, ..unused.clone() }.is_unused());
        assert!(!Rule { gone: true, ..unused }.is_unused());
        assert!(!Rule::default().is_unused());
    }

    #[test]
    fn rules_that_are_alike_stay_in_the_order_of_the_policy() {
        let named =
            |name: &str, bytes| Rule { name: Some(name.to_owned()), bytes, ..Rule::default() };
        let mut rules = [named("a", 1), named("b", 5), named("c", 1)];
        Sort::Bytes.apply(&mut rules);
        let names = rules.map(|rule| rule.name.unwrap());
        assert_eq!(names, ["b", "a", "c"]);
    }
}
