//! What fwx costs a packet, in the kernel's own test-run: each program of the firewall beside one that
//! does nothing and beside the floor, the least that a firewall with flows can do. And what the RTSP filter
//! costs a stream of media, in the lab, on a path that loses packets.
//!
//! Absolute times drift on shared machines; ratios within a run count. No figure fails a run.

mod conversation;
mod lossy;
mod machine;
mod measure;
mod programs;
mod report;
mod section;
mod subject;
mod table;
mod wire;

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};

use machine::Machine;
use measure::{Figures, Plan};
use programs::Programs;
use report::Report;
use section::Section;
use table::FlowTable;

#[derive(Parser)]
#[command(
    name = "bench",
    about = "What fwx costs a packet (root)",
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench -- -o json > bench.json"
)]
struct Cli {
    /// A rough answer, soon: fewer repetitions, and the small flow table only
    #[arg(long)]
    quick: bool,
    /// The form of the report; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Output {
    /// Tables for people
    #[default]
    Text,
    /// One JSON object
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let start = Instant::now();
    let wire = wire::measure(&wire::Plan::new(cli.quick), |what| progress(start, what));
    let plan = Plan::new(cli.quick);
    let all = wire.and_then(|sections| {
        sections.iter().for_each(show);
        bench(&plan)?.print(cli.output)
    });
    match all {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(plan: &Plan) -> Result<Report<'_>> {
    let start = Instant::now();
    // Sender, gateway and receiver share this machine: here, and only here, more than one CPU has its use.
    let paths = lossy::measure(&plan.lossy, |what| progress(start, what))?;
    let machine = Machine::pin_to_one_cpu()?;
    progress(start, &format!("on {machine}"));

    let mut figures = Figures::new(plan);
    let mut loaded = Vec::new();
    let mut memory = Vec::new();
    for load in 1..=plan.loads {
        let programs = Programs::load()?;
        let mut table = FlowTable::new();
        for &flows in &plan.table_sizes {
            table.grow_to(flows, &programs)?;
            progress(
                start,
                &format!(
                    "load {load} of {}: {flows} flows of each family in the tables",
                    plan.loads
                ),
            );
            for _ in 0..plan.rounds {
                figures.take_round(&programs, flows)?;
            }
            progress(start, &format!("load {load} of {}: {} rounds done", plan.loads, plan.rounds));
        }
        memory = programs.memory()?;
        loaded = programs.into_loaded();
    }
    Ok(Report::new(machine, plan, loaded, memory, figures.costs(), paths))
}

/// A section as text, past the report.
fn show(Section { title, method, tables, goals, .. }: &Section) {
    eprintln!("\n{title}\n{method}");
    for table in tables {
        eprintln!("\n{}\n{}", table.title, table.columns.join(" | "));
        table.rows.iter().for_each(|row| eprintln!("{}", row.join(" | ")));
    }
    for goal in goals {
        let figure = goal.figure.map_or("?".to_owned(), |figure| format!("{figure:.3}"));
        let met = if goal.is_met() { "met" } else { "missed" };
        eprintln!("{met}: {}: {figure} {}; {}", goal.what, goal.unit, goal.remark);
    }
}

fn progress(start: Instant, what: &str) {
    eprintln!("bench {:>6.1} s  {what}", start.elapsed().as_secs_f64());
}
