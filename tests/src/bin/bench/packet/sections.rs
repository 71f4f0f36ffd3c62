//! What the figures say.

use firewall_user::object::{BENCH_PREFIX, COMMAND};

use super::{
    conversation::{self, Family},
    measure::{Cost, Plan, median},
    programs::Loaded,
    subject::{CONTROL_MAX, DATAGRAMS_MAX, FLOWS_MAX, Hook, Subject},
};
use crate::{
    number::figure,
    section::{Bound, Chart, ChartKind, Goal, Section, Table},
};

/// What an established segment may add, as a multiple of the floor.
const ESTABLISHED_GOAL: f64 = 2.0;
/// What a packet may cost with a million flows, as a multiple of what it does with a thousand.
const GROWTH_GOAL: f64 = 3.0;
const GROWTH_BETWEEN: [u32; 2] = [1_000, 1_000_000];
/// What the verifier may process of one program.
const INSTRUCTIONS_GOAL: f64 = 200_000.0;
/// How long all programs together may take to load.
const LOAD_GOAL_S: f64 = 1.0;
/// Programs that the remark about that names.
const SLOWEST: usize = 3;

/// What a packet costs. `counts` says why instructions and cycles could not be counted, if they could not.
pub(super) fn packets(plan: &Plan, costs: &[Cost], counts: Result<(), String>) -> Section {
    let groups: Vec<_> = Hook::ALL
        .iter()
        .flat_map(|&hook| Family::ALL.map(|family| (hook, family)))
        .map(|(hook, family)| {
            let of = |cost: &&Cost| cost.hook == hook && cost.family == family;
            (hook, family, costs.iter().filter(of).collect::<Vec<_>>())
        })
        .collect();
    let mut tables: Vec<_> =
        groups.iter().map(|(hook, family, costs)| table(plan, *hook, *family, costs)).collect();
    if counts.is_ok() {
        tables.push(counted_table(plan, costs));
    }
    let bars = groups.iter().filter(|(_, family, _)| *family == Family::V4);
    Section {
        title: "Per packet",
        method: method(plan, counts.err()),
        tables,
        charts: bars.map(|(hook, _, costs)| chart(plan, *hook, costs)).collect(),
        goals: vec![established_goal(plan, costs), growth_goal(costs)],
    }
}

/// How it was measured. `uncounted` says why instructions and cycles were not.
fn method(plan: &Plan, uncounted: Option<String>) -> String {
    let uncounted = uncounted.map_or(String::new(), |why| {
        format!(" Instructions and cycles are not counted on this machine: {why}.")
    });
    let number = |count: u32| figure(f64::from(count));
    format!(
        "The kernel's test-run gives a program the same frame over and over, on one CPU with nothing else to do: medians \
         over {plan}, the programs in turn. \"Added\" is over a program that does nothing with the same frames; \
         \"x floor\" is the added cost as a multiple of that of parsing and one look into the same table, with the \
         least and the most of any round. Differences and ratios are taken within a round.\n\n\
         \"Any flow\": each run's packet is of another flow, and comes to all flows of the table before it comes to one \
         again, in an order that no cache foresees; the other figures are those of a flow that is in the caches. The \
         flows came about by handshakes that the programs saw. Frames that differ from run to run are changed by the \
         program itself, which its counterpart that does nothing does too. New flows: each run's packet is of another \
         client, {} at most, and they are removed after each round. The ACK that completes: each is of a connection \
         whose SYN and SYN/ACK passed before. Fragments: each of another datagram of {} bytes cut in two, {} at most, \
         the later ones of such whose first has passed. RTSP requests of {} bytes follow each other in one stream, {} \
         at most, and were answered in advance; replies of {} bytes likewise. Media: segments of {} bytes, one \
         interleaved frame each. The policy has one rule and no limits.\n\n\
         After each turn the firewall's own counters have to show that every run did what its line says: dropped for \
         that reason, a flow begun or completed, read by the filter without a finding, or nothing of that. No \
         controller listens. A drop, or a connection that opens, makes an event for the first 200 of a second and adds \
         to a counter for the others, and both are in the figures.{uncounted}",
        number(FLOWS_MAX),
        conversation::DATAGRAM_LEN,
        number(DATAGRAMS_MAX),
        conversation::REQUEST.len(),
        number(CONTROL_MAX),
        conversation::REPLY.len(),
        number(conversation::MEDIA_LEN as u32),
    )
}

fn table(plan: &Plan, hook: Hook, family: Family, costs: &[&Cost]) -> Table {
    let mut columns = vec!["packet".to_owned()];
    for flows in &plan.table_sizes {
        let flows = figure(f64::from(*flows));
        columns.extend([format!("ns, {flows} flows"), "added".to_owned(), "x floor".to_owned()]);
    }
    let rows = Subject::ALL.iter().map(|&subject| {
        let mut row = vec![subject.name().to_owned()];
        for cost in costs.iter().filter(|cost| cost.subject == subject) {
            let [low, high] = cost.ratio_range;
            row.push(format!("{:.1}", cost.ns));
            if subject == Subject::Empty {
                row.extend([String::new(), String::new()]);
            } else {
                row.push(format!("{:.1}", cost.added_ns));
                row.push(format!("{:.2} ({low:.2} to {high:.2})", cost.ratio));
            }
        }
        row
    });
    Table { title: format!("{}, {}", hook.name(), family.name()), columns, rows: rows.collect() }
}

/// Instructions and cycles, IPv4 alone and with the smallest table.
fn counted_table(plan: &Plan, costs: &[Cost]) -> Table {
    let mut columns = vec!["packet".to_owned()];
    for hook in Hook::ALL {
        columns.extend(["instructions", "cycles"].map(|what| format!("{}, {what}", hook.name())));
    }
    let rows = Subject::ALL.iter().map(|&subject| {
        let mut row = vec![subject.name().to_owned()];
        let of = |cost: &&Cost| {
            cost.subject == subject
                && cost.family == Family::V4
                && Some(&cost.flows) == plan.table_sizes.first()
        };
        for counted in costs.iter().filter(of).filter_map(|cost| cost.counted) {
            row.push(format!("{:.0}", counted.instructions));
            row.push(format!("{:.0}", counted.cycles));
        }
        row
    });
    Table { title: "Instructions and cycles, IPv4".to_owned(), columns, rows: rows.collect() }
}

fn chart(plan: &Plan, hook: Hook, costs: &[&Cost]) -> Chart {
    let flows = plan.table_sizes.first().copied().unwrap_or_default();
    let bars = costs.iter().filter(|cost| cost.flows == flows);
    Chart {
        name: format!("packet-{}", hook.name().to_lowercase()),
        title: format!(
            "A packet at {}, IPv4, {} flows in the table",
            hook.name(),
            figure(f64::from(flows))
        ),
        value: "ns a packet, median".to_owned(),
        kind: ChartKind::Bars(bars.map(|cost| (cost.subject.name().to_owned(), cost.ns)).collect()),
    }
}

/// The worst of all hooks and families counts, with and without payload.
fn established_goal(plan: &Plan, costs: &[Cost]) -> Goal {
    let is_meant = |cost: &&Cost| {
        matches!(cost.subject, Subject::Ack | Subject::Data | Subject::DataUnbound)
            && Some(&cost.flows) == plan.table_sizes.first()
    };
    let worst = costs.iter().filter(is_meant).max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    Goal {
        what: "What an established TCP segment adds with all of its tracking, against parsing and one lookup"
            .to_owned(),
        wanted: Bound::AtMost(ESTABLISHED_GOAL),
        figure: worst.map(|cost| cost.ratio),
        unit: "times",
        remark: worst.map_or(String::new(), |worst| established_remark(worst, costs)),
    }
}

/// Which one it is, what it adds and what it might.
fn established_remark(worst: &Cost, costs: &[Cost]) -> String {
    let Cost { flows, hook, family, subject, added_ns, ratio_range: [low, high], .. } = worst;
    let is_floor = |cost: &&Cost| {
        (cost.flows, cost.hook, cost.family, cost.subject)
            == (*flows, *hook, *family, subject.floor())
    };
    let floor = costs.iter().find(is_floor).map_or(String::new(), |floor| {
        format!(
            "; it adds {added_ns:.1} ns, parsing and one lookup {:.1} ns, and {:.1} ns would meet the goal",
            floor.added_ns,
            floor.added_ns * ESTABLISHED_GOAL
        )
    });
    format!(
        "the worst: {}, {}, {}; {low:.2} to {high:.2} in all rounds{floor}",
        subject.name(),
        hook.name(),
        family.name()
    )
}

/// The worst of all hooks and families counts.
fn growth_goal(costs: &[Cost]) -> Goal {
    let all = Hook::ALL.iter().flat_map(|&hook| Family::ALL.map(|family| (hook, family)));
    let all = all.filter_map(|at| Some((at, growth(costs, at, Subject::AckScattered)?)));
    let worst = all.max_by(|(_, a), (_, b)| times(*a).total_cmp(&times(*b)));
    let remark = match worst {
        Some((at, own)) => growth_remark(at, own, growth(costs, at, Subject::FloorScattered)),
        None => "only a full run fills the tables so far".to_owned(),
    };
    Goal {
        what: "What a packet costs with 1,000,000 flows, against 1,000".to_owned(),
        wanted: Bound::AtMost(GROWTH_GOAL),
        figure: worst.map(|(_, growth)| times(growth)),
        unit: "times",
        remark,
    }
}

/// What a subject adds with the fewest and the most flows of [`GROWTH_BETWEEN`].
fn growth(costs: &[Cost], (hook, family): (Hook, Family), of: Subject) -> Option<[f64; 2]> {
    let added = |flows: u32| {
        let is = |cost: &&Cost| {
            (cost.hook, cost.family, cost.subject, cost.flows) == (hook, family, of, flows)
        };
        costs.iter().find(is).map(|cost| cost.added_ns)
    };
    let [few, many] = GROWTH_BETWEEN.map(added);
    Some([few?, many?])
}

fn times([few, many]: [f64; 2]) -> f64 {
    many / few
}

/// Where it is, and how much of it the look into the table alone accounts for.
fn growth_remark((hook, family): (Hook, Family), own: [f64; 2], look: Option<[f64; 2]>) -> String {
    let [few, many] = own;
    let look = look.map_or(String::new(), |look| {
        let [look_few, look_many] = look;
        format!(
            "; parsing and a lone look into the table go from {look_few:.1} to {look_many:.1} ns, {:.1} times, which is \
             {:.0} % of what is more: the rest of fwx goes from {:.1} to {:.1} ns",
            times(look),
            (look_many - look_few) / (many - few) * 100.0,
            few - look_few,
            many - look_many,
        )
    });
    format!(
        "the worst, {}, {}; packets of all flows in turn, over a program that does nothing, go from {few:.1} to {many:.1} \
         ns{look}",
        hook.name(),
        family.name()
    )
}

/// What the verifier says of the programs, in each of `loads`.
pub(super) fn programs(loads: &[Vec<Loaded>]) -> Section {
    let [first, ..] = loads else { return Section::default() };
    let is_fwx = |program: &&Loaded| !program.name.starts_with(BENCH_PREFIX);
    let load_ms = |name: &str| {
        let of = |load: &Vec<Loaded>| {
            load.iter().find(|program| program.name == name).map(|program| program.load_ms)
        };
        median(loads.iter().filter_map(of).collect())
    };
    let all_ms = median(
        loads
            .iter()
            .map(|load| load.iter().filter(is_fwx).map(|program| program.load_ms).sum())
            .collect(),
    );
    let rows = first.iter().filter(is_fwx).map(|program| program.row(load_ms(&program.name)));
    let mut rows: Vec<_> = rows.collect();
    let mut all = vec!["all of them".to_owned()];
    all.resize(4, String::new());
    all.push(format!("{all_ms:.0}"));
    rows.push(all);
    let columns =
        ["program", "verified, instructions", "translated, B", "machine code, B", "load, ms"];
    Section {
        title: "Programs",
        method: format!(
            "What the kernel says of each program that it accepted: the instructions that its verifier went through on \
             all ways, and the sizes. Time to load is that of verifier and compiler together on their CPU, the median of {} loads. \
             {COMMAND} is run by user space alone. Programs for measurements, which are not loaded otherwise, are left \
             out.",
            loads.len()
        ),
        tables: vec![Table {
            title: "Programs in the kernel".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows,
        }],
        charts: Vec::new(),
        goals: program_goals(first.iter().filter(is_fwx), all_ms, load_ms),
    }
}

impl Loaded {
    fn row(&self, load_ms: f64) -> Vec<String> {
        let or_unknown = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
        vec![
            self.name.clone(),
            or_unknown(self.verified_instructions),
            or_unknown(self.translated_bytes),
            self.jited_bytes.to_string(),
            format!("{load_ms:.1}"),
        ]
    }
}

fn program_goals<'a>(
    fwx: impl Iterator<Item = &'a Loaded> + Clone,
    all_ms: f64,
    load_ms: impl Fn(&str) -> f64,
) -> Vec<Goal> {
    let mut slowest: Vec<_> =
        fwx.clone().map(|program| (program.name.as_str(), load_ms(&program.name))).collect();
    slowest.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let slowest = slowest.iter().take(SLOWEST).map(|(name, ms)| format!("{name} {ms:.0} ms"));
    let slowest = slowest.collect::<Vec<_>>().join(", ");
    let instructions = |program: &Loaded| program.verified_instructions;
    let largest = fwx.clone().max_by_key(|program| instructions(program));
    let over = fwx.filter(|program| {
        instructions(program).is_some_and(|count| f64::from(count) >= INSTRUCTIONS_GOAL)
    });
    let over: Vec<_> = over.map(|program| program.name.as_str()).collect();
    let remark = match (largest.and_then(instructions), over.as_slice()) {
        (None, _) => "the kernel does not tell: Linux 5.16 does".to_owned(),
        (_, []) => largest.map_or(String::new(), |program| program.name.clone()),
        (_, over) => format!("over it: {}", over.join(", ")),
    };
    vec![
        Goal {
            what: "Instructions that the verifier processes of the largest program".to_owned(),
            wanted: Bound::AtMost(INSTRUCTIONS_GOAL),
            figure: largest.and_then(instructions).map(f64::from),
            unit: "instructions",
            remark,
        },
        Goal {
            what: "All programs together are loaded within".to_owned(),
            wanted: Bound::AtMost(LOAD_GOAL_S),
            figure: Some(all_ms / 1e3),
            unit: "s",
            remark: format!("the slowest: {slowest}"),
        },
    ]
}
