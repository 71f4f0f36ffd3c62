//! What fwx costs: a packet, in the kernel's own test-run, beside a program that does nothing and beside the floor, the
//! least that a firewall with flows can do; on the wire, beside other firewalls; how it grows with rules, flows and
//! listeners; and what the RTSP filter costs a stream of media, in the lab, on a path that loses packets. Held against
//! the goals, and written as a report.
//!
//! Absolute times drift on shared machines; ratios within a run count. No figure fails a run.

mod growth;
mod lossy;
mod machine;
mod number;
mod packet;
mod report;
mod section;
mod spread;
mod wire;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use time::{OffsetDateTime, macros::format_description};

use machine::Machine;
use report::{Output, Report};

#[derive(Parser)]
#[command(
    name = "bench",
    about = "What fwx costs (root)",
    after_help = "Examples:\n  \
        cargo xtask bench --quick\n  \
        cargo xtask bench -- -o json > bench.json\n  \
        cargo xtask bench -- --part packet\n\n\
        The report, a page with plots, goes to target/bench."
)]
struct Cli {
    /// A rough answer, soon: fewer repetitions, and small tables only
    #[arg(long)]
    quick: bool,
    /// Only this part; may be given several times
    #[arg(long, value_enum)]
    part: Vec<Part>,
    /// What is printed at the end; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Write the report into docs as well: docs/performance.md
    #[arg(long, conflicts_with = "part")]
    docs: bool,
}

/// What is measured, in the order of the report.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What a packet costs
    Packet,
    /// Packets, transfers and connections through a gateway, beside other firewalls
    Wire,
    /// How that grows with rules, flows and listeners
    Growth,
    /// Media on paths that lose packets
    Lossy,
}

fn main() -> ExitCode {
    match bench(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(cli: &Cli) -> Result<()> {
    let date = OffsetDateTime::now_utc()
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))?;
    let start = Instant::now();
    let tell = |what: &str| eprintln!("bench {:>6.1} s  {what}", start.elapsed().as_secs_f64());
    let wanted = |part| cli.part.is_empty() || cli.part.contains(&part);
    let if_wanted = |part, measure: &mut dyn FnMut() -> Result<_>| {
        if wanted(part) { measure() } else { Ok(Vec::new()) }
    };

    // Sender, gateway and receiver share this machine: in these, and only in these, more than one CPU has its use.
    let wire = if_wanted(Part::Wire, &mut || wire::measure(&wire::Plan::new(cli.quick), tell))?;
    let lossy = if_wanted(Part::Lossy, &mut || lossy::measure(&lossy::Plan::new(cli.quick), tell))?;
    let growth_plan = growth::Plan::new(cli.quick);
    let listeners = if_wanted(Part::Growth, &mut || growth::measure_in_lab(&growth_plan, tell))?;
    let machine = Machine::pin_to_one_cpu()?;
    tell(&format!("on {machine}"));
    let packet =
        if_wanted(Part::Packet, &mut || packet::measure(&packet::Plan::new(cli.quick), tell))?;
    let growth = if_wanted(Part::Growth, &mut || growth::measure(&growth_plan, tell))?;

    let mode = if cli.quick { "a quick run" } else { "a full run" };
    let sections = [packet, wire, growth, listeners, lossy].into_iter().flatten().collect();
    let report = Report::new(date, mode, machine, sections);
    let page = report.write_to(&beside_the_build()?)?;
    report.print(cli.output)?;
    tell(&format!("the report is {}", page.display()));
    if cli.docs {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        tell(&format!("and {}", report.write_to(&docs)?.display()));
    }
    Ok(())
}

/// The directory `bench` beside the one that this program was built into.
fn beside_the_build() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let target = program.ancestors().nth(2).context("this program lies in no build's directory")?;
    Ok(target.join("bench"))
}
