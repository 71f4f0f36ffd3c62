//! Numbers of rules and protocols, which outlive policies.
//!
//! Flows, pinholes and events know the rule that let them in, and the protocol that they are of, by numbers. So a
//! name keeps its number for as long as the firewall is up, and one that is gone keeps it too: what it let in is
//! shown under its name. When no number is left that was never used, those of names that are gone are given to
//! others, but only if nothing in the kernel's tables has them.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};
use aya::maps::{HashMap as KernelHashMap, MapData};
use firewall_common::{
    filter::pinhole::{Pinhole, PinholeKey},
    layout::INTERFACES_MAX,
    policy::RULE_NUMBERS,
};

use crate::{flows::FlowTable, instance::State, pinholes, policy::Policy, tables::Tables};

/// The numbers of a policy's rules, or of its protocols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// In the order of the policy.
    pub numbers: Vec<u16>,
    /// What all numbers are called, those included that are in use no more; number n stands at n - 1.
    pub names: Vec<String>,
    /// Numbers that meant something else before.
    pub reused: Vec<u16>,
}

/// Gives each of `names` the number that it has in `known`, or one that nothing else has, below `limit`.
///
/// `in_force` are the numbers of the policy that is in force; flows that have them may begin at any time.
/// `in_use` finds those that are in use otherwise, and is only asked if numbers are scarce.
///
/// # Errors
///
/// None is left, or `in_use` fails.
pub fn keep_numbers<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    known: &[String],
    in_force: &[u16],
    limit: usize,
    in_use: impl FnOnce() -> Result<HashSet<u16>>,
) -> Result<Numbering> {
    let by_name: HashMap<&str, u16> = known.iter().map(String::as_str).zip(1..=u16::MAX).collect();
    let kept: HashSet<u16> = names.clone().filter_map(|name| by_name.get(name).copied()).collect();
    let mut numbering = Numbering { names: known.to_vec(), ..Numbering::default() };
    let mut in_use = Some(in_use);
    let mut free = Vec::new();
    for name in names {
        if let Some(number) = by_name.get(name) {
            numbering.numbers.push(*number);
            continue;
        }
        if numbering.names.len() + 1 < limit {
            numbering.names.push(name.to_owned());
            numbering.numbers.push(u16::try_from(numbering.names.len())?);
            continue;
        }
        if let Some(in_use) = in_use.take() {
            let used = in_use()?;
            let is_free = |number: &u16| ![&used, &kept].iter().any(|set| set.contains(number));
            let in_force: HashSet<_> = in_force.iter().copied().collect();
            let all = (1..=u16::MAX).take(known.len());
            free = all.filter(|it| is_free(it) && !in_force.contains(it)).collect();
        }
        let Some(number) = free.pop() else {
            bail!(
                "no number is left for {name:?}: names that are gone keep theirs while flows have them; take the \
                 firewall down and bring it up again"
            );
        };
        name.clone_into(&mut numbering.names[usize::from(number) - 1]);
        numbering.numbers.push(number);
        numbering.reused.push(number);
    }
    Ok(numbering)
}

/// Numbers for the rules of `policy`, beside those of the policies that `known` tells of: of the one in force and of the
/// one on trial, each of which may let a flow in at any time.
///
/// # Errors
///
/// As [`keep_numbers`].
pub fn of_rules(policy: &Policy, known: &State, tables: &Tables) -> Result<Numbering> {
    keep_numbers(
        policy.rules().iter().map(|rule| rule.name.as_str()),
        &known.rules,
        &known.rules_asked(),
        RULE_NUMBERS,
        || Ok(InUse::of(tables)?.rules),
    )
}

/// Numbers for the interfaces of `policy`, likewise. Those with programs on them keep theirs.
///
/// # Errors
///
/// As [`keep_numbers`].
pub fn of_interfaces(policy: &Policy, known: &State) -> Result<Numbering> {
    keep_numbers(
        policy.interfaces().iter().map(String::as_str),
        &known.interface_names,
        &known.interfaces_on_trial(),
        INTERFACES_MAX + 1,
        || Ok(known.interfaces.iter().map(|attached| attached.number).collect()),
    )
}

/// The numbers that flows, pinholes and sessions have.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Of rules.
    pub rules: HashSet<u16>,
    /// Of protocols.
    pub protocols: HashSet<u16>,
}

impl InUse {
    /// Looks through the tables. What begins meanwhile has numbers of the policy in force.
    pub fn of(tables: &Tables) -> Result<Self> {
        let mut found = Self::default();
        // First what flows come from, then the flows, in the order in which they move.
        let announced: KernelHashMap<MapData, PinholeKey, Pinhole> = tables.open("PINHOLES")?;
        for entry in announced.iter() {
            let (_, pinhole) = entry?;
            found.rules.insert(pinhole.rule as u16);
        }
        for entry in pinholes::sessions(tables)?.iter() {
            let (_, session) = entry?;
            found.protocols.insert(session.protocol as u16);
        }
        for table in FlowTable::ALL {
            tables.each_entry(table, |entry| {
                if entry.alias().is_none() {
                    found.rules.insert(entry.flow.rule);
                    found.protocols.insert(entry.flow.protocol);
                }
            })?;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn known(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn nobody_asks() -> Result<HashSet<u16>> {
        panic!("there are numbers that were never used")
    }

    #[test]
    fn without_a_policy_before_numbers_are_those_of_the_order() {
        let names = ["web", "rtsp"];
        let numbering = keep_numbers(names.into_iter(), &[], &[], 10, nobody_asks).unwrap();
        assert_eq!((&numbering.numbers[..], &numbering.reused[..]), (&[1, 2][..], &[][..]));
        assert_eq!(numbering.names, names);
    }

    #[test]
    fn a_name_keeps_its_number_and_one_that_is_gone_too() {
        let known = known(&["rtsp", "gone", "back"]);
        let names = ["web", "back", "rtsp"];
        let numbering = keep_numbers(names.into_iter(), &known, &[1, 2], 10, nobody_asks).unwrap();
        assert_eq!(numbering.numbers, [4, 3, 1]);
        assert_eq!(numbering.names, ["rtsp", "gone", "back", "web"]);
        assert!(numbering.reused.is_empty());
    }

    #[test]
    fn a_number_is_given_to_another_only_when_nothing_has_it() {
        let known = known(&["in force", "gone", "in use", "kept"]);
        let in_use = || Ok(HashSet::from([0, 3]));
        let names = ["kept", "new"];
        let numbering = keep_numbers(names.into_iter(), &known, &[1, 4], 5, in_use).unwrap();
        assert_eq!(numbering.numbers, [4, 2]);
        assert_eq!(numbering.names, ["in force", "new", "in use", "kept"]);
        assert_eq!(numbering.reused, [2]);
        let names = ["kept", "new", "another"];
        let error = keep_numbers(names.into_iter(), &known, &[1, 4], 5, in_use).unwrap_err();
        assert!(error.to_string().contains("no number is left for \"another\""), "{error}");
    }

    #[test]
    fn every_number_of_16_bits_can_be_given() {
        let names: Vec<_> = (1..=RULE_NUMBERS).map(|rule| rule.to_string()).collect();
        let (last, known) = names.split_last().unwrap();
        let in_use = || Ok((2..=u16::MAX).collect());
        let names = [last.as_str(), "65535"];
        let numbering = keep_numbers(names.into_iter(), known, &[7], RULE_NUMBERS, in_use).unwrap();
        assert_eq!(numbering.numbers, [1, 65_535]);
    }
}
