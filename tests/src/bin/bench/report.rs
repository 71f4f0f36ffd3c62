//! What is printed at the end.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use crate::{
    Output,
    lossy::Path,
    machine::Machine,
    measure::{Cost, Plan},
    programs::{Loaded, Memory},
};

const NOTE: &str =
    "Absolute times drift on shared machines; compare ratios, and only within a run.";

/// All figures of a run.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    machine: Machine,
    plan: &'a Plan,
    note: &'static str,
    costs: Vec<Cost>,
    programs: Vec<Loaded>,
    memory: Vec<Memory>,
    load_ms: f64,
    paths: Vec<Path>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        machine: Machine,
        plan: &'a Plan,
        programs: Vec<Loaded>,
        memory: Vec<Memory>,
        costs: Vec<Cost>,
        paths: Vec<Path>,
    ) -> Self {
        let load_ms = programs.iter().map(|program| program.load_ms).sum();
        Self { machine, plan, note: NOTE, costs, programs, memory, load_ms, paths }
    }

    pub(crate) fn print(&self, output: Output) -> Result<()> {
        let mut to = io::stdout().lock();
        match output {
            Output::Text => self.text(&mut to)?,
            Output::Json => {
                serde_json::to_writer_pretty(&mut to, self)?;
                writeln!(to)?;
            }
        }
        Ok(())
    }

    fn text(&self, to: &mut impl Write) -> io::Result<()> {
        let Self { machine, plan, note, .. } = self;
        writeln!(to, "{machine}\nMedians over {plan}; programs in turn.\n{note}")?;
        let group = |cost: &Cost| (cost.flows, cost.hook, cost.family);
        for costs in self.costs.chunk_by(|a, b| group(a) == group(b)) {
            let [first, ..] = costs else { continue };
            let title = format!(
                "{}, {}, {} flows in the table",
                first.hook.name(),
                first.family.name(),
                first.flows
            );
            writeln!(to, "\n{title:<40} {:>9} {:>7} {:>8}", "ns/packet", "added", "x floor")?;
            for Cost { subject, ns, added_ns, ratio, ratio_range: [low, high], .. } in costs {
                let name = subject.name();
                write!(to, "  {name:<38} {ns:>9.1} {added_ns:>7.1} {ratio:>8.2}")?;
                writeln!(to, "  ({low:.2} to {high:.2})")?;
            }
        }
        self.programs_text(to)?;
        self.memory_text(to)?;
        self.paths_text(to)
    }

    fn paths_text(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(
            to,
            "\nInterleaved media on a path that loses packets, medians over {}, on all CPUs;\n\
             figures with the filter / without\n\
             {:<10} {:>17} {:>20} {:>22} {:>17} {:>10}",
            self.plan.lossy,
            "  lost",
            "Mbit/s",
            "ratio",
            "longest stall, ms",
            "repeated, 1/1000",
            "held back",
        )?;
        for Path { percent, with, without, ratio, ratio_quartiles: [low, high], held, .. } in
            &self.paths
        {
            let pair = |with: f64, without: f64| format!("{with:.1} / {without:.1}");
            writeln!(
                to,
                "  {percent:>2} %     {:>17} {:>20} {:>22} {:>17} {held:>10}",
                pair(with.mbit_per_s, without.mbit_per_s),
                format!("{ratio:.2} ({low:.2} to {high:.2})"),
                pair(with.longest_stall_ms, without.longest_stall_ms),
                pair(with.repeated_per_thousand, without.repeated_per_thousand),
            )?;
        }
        Ok(())
    }

    fn memory_text(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "\nKernel memory of the tables of flows with an answer")?;
        for Memory { family, flows, bytes, bytes_per_flow } in &self.memory {
            let mib = bytes >> 20;
            writeln!(to, "  {family}: {bytes_per_flow:.1} B a flow ({mib} MiB for {flows} flows)")?;
        }
        Ok(())
    }

    fn programs_text(&self, to: &mut impl Write) -> io::Result<()> {
        let title = "Programs in the kernel";
        writeln!(
            to,
            "\n{title:<24} {:>12} {:>12} {:>9} {:>9}",
            "verifier's", "translated", "jited", "load"
        )?;
        let or_unknown = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
        for program in &self.programs {
            let Loaded { name, verified_instructions, translated_bytes, jited_bytes, load_ms } =
                program;
            writeln!(
                to,
                "  {name:<22} {:>7} insn {:>10} B {jited_bytes:>7} B {load_ms:>6.1} ms",
                or_unknown(*verified_instructions),
                or_unknown(*translated_bytes),
            )?;
        }
        writeln!(to, "  {:<56} {:>9.1} ms", "all of them", self.load_ms)
    }
}
