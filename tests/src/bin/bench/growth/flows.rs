//! What a packet costs, and what the kernel keeps, by the number of flows; and how many can begin in a second.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result};
use firewall_user::{object::os_error, policy::TableSizes, tables::Tables};

use crate::{
    number::figure,
    packet::{Family, Hook, Programs, Stage, Subject, median, take},
    section::{Chart, ChartKind, Line, Section, Table},
};

pub(super) struct Plan {
    /// Runs at a time.
    repeat: u32,
    rounds: u32,
    /// Flows of each family.
    counts: Vec<u32>,
    /// Flows of each family in the tables while others begin.
    rate_with: Vec<u32>,
}

impl Plan {
    pub(super) fn new(is_quick: bool) -> Self {
        if is_quick {
            let counts = vec![1_000, 10_000, 100_000];
            return Self { repeat: 100_000, rounds: 2, counts, rate_with: vec![1_000] };
        }
        let counts = vec![1_000, 10_000, 100_000, 1_000_000, 4_000_000];
        Self { repeat: 500_000, rounds: 5, counts, rate_with: vec![1_000, 1_000_000] }
    }
}

/// What flows of one number cost.
struct Cost {
    flows: u32,
    /// Added nanoseconds of a lookup alone and of the firewall, by hook and family.
    packets: Vec<[f64; 2]>,
    /// What both tables take, in bytes.
    memory: Vec<u64>,
}

pub(super) fn measure(plan: &Plan, progress: &impl Fn(&str)) -> Result<Section> {
    let mut costs = Vec::new();
    let mut without = Vec::new();
    for &flows in &plan.counts {
        match cost(plan, flows) {
            Ok(cost) => costs.push(cost),
            Err(error) if is_for_want_of_memory(&error) => without.push((flows, error)),
            Err(error) => return Err(error),
        }
        progress(&format!("{flows} flows of each family done"));
    }
    let rates = rates(plan)?;
    progress("new flows done");
    Ok(Section {
        title: "Flows",
        method: format!(
            "Tables that are full: the programs are loaded with room for exactly so many flows of each family, and all \
             of them were established by handshakes. Each packet is an ACK of another flow, in an order that no cache \
             foresees; in ns over a program that does nothing with the same frames, medians over {} rounds of {} \
             packets, each beside one look into the same table. Memory is the kernel's own figure for the table of \
             flows with an answer, its overhead included. New flows: SYN, SYN/ACK and ACK of 20,000 clients after each \
             other, the time of all three together on one CPU; with no rule that speaks about them.",
            plan.rounds,
            figure(f64::from(plan.repeat))
        ),
        tables: vec![packets_table(&costs), memory_table(&costs, &without), rates],
        charts: vec![chart(&costs)],
        goals: Vec::new(),
    })
}

fn cost(plan: &Plan, flows: u32) -> Result<Cost> {
    let sizes = TableSizes { completed: flows, ..TableSizes::default() };
    let mut stage = Stage::new(Programs::load_steps(sizes)?);
    stage.grow_to(flows)?;
    let mut packets = Vec::new();
    for (hook, family) in columns() {
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..plan.rounds {
            for (figures, subject) in
                figures.iter_mut().zip([Subject::FloorScattered, Subject::AckScattered])
            {
                figures.push(take(&mut stage, hook, family, subject, plan.repeat)?.added());
            }
        }
        packets.push(figures.map(median));
    }
    let memory = ["FLOWS_V4", "FLOWS_V6"].map(|name| memory_of(stage.programs.tables(), name));
    Ok(Cost { flows, packets, memory: memory.into_iter().collect::<Result<_>>()? })
}

fn is_for_want_of_memory(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| os_error(cause) == Some(libc::ENOMEM))
}

/// What a table takes of the kernel's memory, all overhead included: the kernel's own figure (`bpf_map_memory_usage`
/// in `kernel/bpf/syscall.c`). In bytes.
fn memory_of(tables: &Tables, name: &str) -> Result<u64> {
    let map = tables.data(name)?;
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    let figure = line.context("the kernel does not tell what a table takes: Linux 6.4 does")?;
    Ok(figure.trim().parse()?)
}

fn columns() -> impl Iterator<Item = (Hook, Family)> {
    Hook::ALL.into_iter().flat_map(|hook| Family::ALL.map(|family| (hook, family)))
}

fn column_names() -> impl Iterator<Item = String> {
    columns().map(|(hook, family)| format!("{}, {}", hook.name(), family.name()))
}

fn packets_table(costs: &[Cost]) -> Table {
    let mut columns = vec!["flows".to_owned()];
    columns.extend(column_names().flat_map(|name| [name, "lookup alone".to_owned()]));
    let row = |cost: &Cost| {
        let mut row = vec![figure(f64::from(cost.flows))];
        for [floor, fwx] in &cost.packets {
            row.extend([format!("{fwx:.1}"), format!("{floor:.1}")]);
        }
        row
    };
    Table {
        title: "An ACK of any flow, ns".to_owned(),
        columns,
        rows: costs.iter().map(row).collect(),
    }
}

fn memory_table(costs: &[Cost], without: &[(u32, anyhow::Error)]) -> Table {
    let mut columns = vec!["flows of each family".to_owned()];
    for family in Family::ALL {
        columns.extend(["MiB", "B a flow"].map(|unit| format!("{}, {unit}", family.name())));
    }
    let row = |cost: &Cost| {
        let mut row = vec![figure(f64::from(cost.flows))];
        for &bytes in &cost.memory {
            let bytes = bytes as f64;
            row.push(format!("{:.1}", bytes / f64::from(1 << 20)));
            row.push(format!("{:.1}", bytes / f64::from(cost.flows)));
        }
        row
    };
    let mut rows: Vec<_> = costs.iter().map(row).collect();
    rows.extend(without.iter().map(|(flows, error)| {
        vec![figure(f64::from(*flows)), format!("not enough memory: {error:#}")]
    }));
    Table { title: "Kernel memory for them".to_owned(), columns, rows }
}

fn chart(costs: &[Cost]) -> Chart {
    let line = |index: usize, what: usize, name: String| Line {
        name,
        points: costs
            .iter()
            .map(|cost| (f64::from(cost.flows), cost.packets[index][what]))
            .collect(),
    };
    let mut lines: Vec<_> =
        column_names().enumerate().map(|(index, name)| line(index, 1, name)).collect();
    lines.push(line(0, 0, "one lookup alone, XDP, IPv4".to_owned()));
    Chart {
        name: "flows".to_owned(),
        title: "An ACK of any flow in a full table".to_owned(),
        value: "ns a packet over an empty program".to_owned(),
        kind: ChartKind::Lines { over: "flows of each family".to_owned(), lines },
    }
}

/// New TCP flows a second that one CPU can take.
fn rates(plan: &Plan) -> Result<Table> {
    let mut columns_named = vec!["flows in the tables".to_owned()];
    columns_named.extend(column_names());
    let mut stage = Stage::new(Programs::load_steps(TableSizes::default())?);
    let mut rows = Vec::new();
    for &flows in &plan.rate_with {
        stage.grow_to(flows)?;
        let mut row = vec![figure(f64::from(flows))];
        for (hook, family) in columns() {
            let mut figures = Vec::new();
            for _ in 0..plan.rounds {
                let mut ns = 0.0;
                for subject in [Subject::Syn, Subject::SynAck, Subject::Completion] {
                    ns += take(&mut stage, hook, family, subject, plan.repeat)?.added();
                }
                figures.push(1e9 / ns);
            }
            row.push(figure(median(figures).round()));
        }
        rows.push(row);
    }
    Ok(Table { title: "New TCP flows a second, one CPU".to_owned(), columns: columns_named, rows })
}
