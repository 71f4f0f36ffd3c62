//! What the first packet of a flow costs, by the number of rules.

use std::fmt::Write as _;

use anyhow::Result;
use firewall_common::policy::RULES_MAX;
use firewall_user::{
    generation::Over,
    policy::{Policy, TableSizes},
};

use crate::{
    number::figure,
    packet::{Family, Hook, Programs, Service, Stage, Subject, median, take},
    section::{Bound, Chart, ChartKind, Goal, Line, Section, Table},
};

/// How many rules there are, one policy after the other.
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
const _: () = assert!(COUNTS[COUNTS.len() - 1] <= RULES_MAX);
/// What the first packet of a flow may cost with the most rules, as a multiple of what it does with the fewest.
const GROWTH_GOAL: f64 = 1.5;
/// Networks that rules name, each with every protocol.
const NETWORKS: usize = 50;
const FIRST_PORT: usize = 20_000;
/// Most flows that begin in a turn.
const RUNS: u32 = 20_000;

pub(super) struct Plan {
    rounds: u32,
}

impl Plan {
    pub(super) fn new(is_quick: bool) -> Self {
        Self { rounds: if is_quick { 2 } else { 9 } }
    }
}

/// Which rule speaks about the flow that begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decides {
    First,
    Last,
}

pub(super) fn measure(plan: &Plan, progress: &impl Fn(&str)) -> Result<Section> {
    let mut stage = Stage::new(Programs::load_steps(TableSizes::default())?);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for count in COUNTS {
        for (decides, lines) in [(Decides::First, &mut first), (Decides::Last, &mut last)] {
            let policy = Policy::parse("rules", &policy(count, decides))?.compile();
            stage.programs.tables().write_policy(&policy, Over::Policy)?;
            let figures = columns()
                .map(|(hook, family)| first_packet(&mut stage, hook, family, plan.rounds))
                .collect::<Result<Vec<_>>>()?;
            lines.push((count, figures));
        }
        progress(&format!("{count} rules done"));
    }
    let line = |(index, (hook, family)): (usize, (Hook, Family))| Line {
        name: format!("{}, {}", hook.name(), family.name()),
        points: last.iter().map(|(count, figures)| (*count as f64, figures[index])).collect(),
    };
    Ok(Section {
        title: "Rules",
        method: format!(
            "What a SYN costs that begins a flow, in ns over a program that does nothing with the same frames, with \
             new flows as above: medians over {} rounds of {} clients each. Each rule names one of {NETWORKS} networks \
             and one of up to {} protocols, and no two the same pair; one of them speaks about these flows, the first \
             or the last. A packet of a flow that is known asks no rule.",
            plan.rounds,
            figure(f64::from(RUNS)),
            COUNTS[COUNTS.len() - 1].div_ceil(NETWORKS),
        ),
        charts: vec![Chart {
            name: "rules".to_owned(),
            title: "The first packet of a flow, decided by the last rule".to_owned(),
            value: "ns a packet over an empty program".to_owned(),
            kind: ChartKind::Lines {
                over: "rules".to_owned(),
                lines: columns().enumerate().map(line).collect(),
            },
        }],
        tables: vec![
            table("The first packet of a flow, decided by the first rule, ns", &first),
            table("The first packet of a flow, decided by the last rule, ns", &last),
        ],
        goals: vec![goal(&last)],
    })
}

/// The worst of all hooks and families counts.
fn goal(last: &[(usize, Vec<f64>)]) -> Goal {
    let worst = last.first().zip(last.last()).and_then(|((_, few), (_, many))| {
        let pairs = few.iter().zip(many).zip(columns());
        pairs.max_by(|((a_few, a_many), _), ((b_few, b_many), _)| {
            (*a_many / *a_few).total_cmp(&(*b_many / *b_few))
        })
    });
    Goal {
        what: format!(
            "What the first packet of a flow costs with {} rules, against {}",
            figure(COUNTS[COUNTS.len() - 1] as f64),
            figure(COUNTS[0] as f64)
        ),
        wanted: Bound::AtMost(GROWTH_GOAL),
        figure: worst.map(|((few, many), _)| many / few),
        unit: "times",
        remark: worst.map_or(String::new(), |((few, many), (hook, family))| {
            format!(
                "decided by the last rule; the worst: {}, {}, from {few:.0} to {many:.0} ns, where {:.0} ns would meet the \
                 goal",
                hook.name(),
                family.name(),
                few * GROWTH_GOAL
            )
        }),
    }
}

fn table(title: &str, lines: &[(usize, Vec<f64>)]) -> Table {
    let names = columns().map(|(hook, family)| format!("{}, {}", hook.name(), family.name()));
    let row = |(count, figures): &(usize, Vec<f64>)| {
        let figures = figures.iter().map(|ns| format!("{ns:.0}"));
        std::iter::once(figure(*count as f64)).chain(figures).collect()
    };
    Table {
        title: title.to_owned(),
        columns: std::iter::once("rules".to_owned()).chain(names).collect(),
        rows: lines.iter().map(row).collect(),
    }
}

fn columns() -> impl Iterator<Item = (Hook, Family)> {
    Hook::ALL.into_iter().flat_map(|hook| Family::ALL.map(|family| (hook, family)))
}

fn first_packet(stage: &mut Stage, hook: Hook, family: Family, rounds: u32) -> Result<f64> {
    let mut figures = Vec::new();
    for _ in 0..rounds {
        figures.push(take(stage, hook, family, Subject::Syn, RUNS)?.added());
    }
    Ok(median(figures))
}

/// A policy of `count` rules that denies what they do not speak about.
fn policy(count: usize, decides: Decides) -> String {
    let mut text = String::from("[gateway]\ninterfaces = [\"none\"]\ndefault = \"deny\"\n");
    let protocols = count.div_ceil(NETWORKS);
    for network in 0..NETWORKS.min(count) {
        let _ = writeln!(
            text,
            "[network.n{network}]\nprefixes = [\"172.16.{network}.0/24\", \"fd01:{network:x}::/32\"]"
        );
    }
    for protocol in 0..protocols {
        let port = FIRST_PORT + protocol;
        let _ = writeln!(text, "[protocol.p{protocol}]\ntransport = \"tcp\"\nports = [{port}]");
    }
    let _ = writeln!(
        text,
        "[network.clients]\nprefixes = [\"10.0.0.0/8\", \"fd00:1::/32\"]\n\
         [protocol.wanted]\ntransport = \"tcp\"\nports = [{}]",
        Service::Fresh.port()
    );
    let speaks = match decides {
        Decides::First => 0,
        Decides::Last => count - 1,
    };
    for rule in 0..count {
        let (action, network, protocol) = if rule == speaks {
            ("allow", "clients".to_owned(), "wanted".to_owned())
        } else {
            ("deny", format!("n{}", rule % NETWORKS), format!("p{}", rule / NETWORKS))
        };
        let _ = writeln!(
            text,
            "[[rule]]\nname = \"r{rule}\"\naction = \"{action}\"\nfrom = [\"{network}\"]\n\
             protocols = [\"{protocol}\"]"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_a_good_one() {
        for count in COUNTS {
            for decides in [Decides::First, Decides::Last] {
                let policy = Policy::parse("rules", &policy(count, decides)).unwrap();
                assert_eq!(policy.rules().len(), count);
            }
        }
    }
}
