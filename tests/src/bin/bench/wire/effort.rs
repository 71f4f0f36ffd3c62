//! What of the time is fwx's own: its programs', by the kernel's own statistics (`BPF_ENABLE_STATS`), and its
//! controller's, by the clock of its process. The statistics read a clock twice for each run of any program, so they
//! are on in turns that nothing is compared with.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{ProgramInfo, SchedClassifier, TestRun as _, TestRunOptions},
    sys::{Stats, enable_stats},
};
use firewall_user::{
    instance::Instance,
    object::{self, Purpose, TC_EGRESS, TC_INGRESS, XDP_INGRESS},
    policy::TableSizes,
};
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::site::Site;

/// What the kernel runs itself; what these hand a packet on to is in their time.
const PROGRAMS: [&str; 3] = [XDP_INGRESS, TC_INGRESS, TC_EGRESS];
const EMPTY: &str = "bench_empty_tc";
/// Runs of the program that does nothing.
const EMPTY_RUNS: u32 = 1_000_000;
/// A program that ran so many times less often than another has no part in it: packets of somebody else.
const SELDOM: u64 = 100;
/// Any Ethernet frame.
const FRAME: [u8; 60] = [0; 60];
/// Tables that nothing is looked up in.
const SMALL: TableSizes = TableSizes { completed: 1_024, half_open: 1_024 };

/// What fwx did meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Effort {
    pub(super) programs: Vec<Ran>,
    /// The controller's time on any CPU.
    pub(super) controller: Duration,
    /// How long it was watched.
    pub(super) watched_for: Duration,
}

/// What runs of a program took, over as many of one that does nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) name: &'static str,
    pub(super) runs: u64,
    /// Of all runs, in nanoseconds.
    pub(super) ns: f64,
}

/// Watches the fwx of a site.
pub(super) struct Watch {
    programs: Vec<(&'static str, PathBuf)>,
    controller: ClockId,
    /// What the kernel says of a run of a program that does nothing, in nanoseconds: most of it is its clock's.
    empty_ns: f64,
}

impl Watch {
    pub(super) fn of(site: &Site<'_>) -> Result<Self> {
        let fwx = site.fwx()?;
        let pins = Instance::new(fwx.instance())?.programs();
        let pid = fwx.status()?.controller.pid.context("fwx has no controller")?;
        Ok(Self {
            programs: PROGRAMS.map(|name| (name, pins.join(name))).to_vec(),
            controller: clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?,
            empty_ns: empty_ns()?,
        })
    }

    /// What fwx does while `work` is done. The kernel's statistics are on only then, unless others have them on.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Effort)> {
        let before = self.look()?;
        let statistics = enable_stats(Stats::RunTime)?;
        let begin = Instant::now();
        let done = work()?;
        let watched_for = begin.elapsed();
        drop(statistics);
        let effort = self.look()?.since(&before, self.empty_ns);
        Ok((done, Effort { watched_for, ..effort }))
    }

    /// All so far; nanoseconds with those of the clock.
    fn look(&self) -> Result<Effort> {
        let ran = |(name, path): &(&'static str, PathBuf)| {
            let info = ProgramInfo::from_pin(path)
                .with_context(|| format!("the kernel says nothing of {}", path.display()))?;
            Ok(Ran { name, runs: info.run_count(), ns: info.run_time().as_nanos() as f64 })
        };
        Ok(Effort {
            programs: self.programs.iter().map(ran).collect::<Result<_>>()?,
            controller: clock_gettime(self.controller).context("no controller's clock")?.into(),
            watched_for: Duration::ZERO,
        })
    }
}

impl Effort {
    /// What came after `before`, where a run of an empty program takes `empty_ns`. Programs that did not run are left
    /// out.
    fn since(&self, before: &Self, empty_ns: f64) -> Self {
        let ran = |(now, before): (&Ran, &Ran)| {
            let runs = now.runs - before.runs;
            let ns = now.ns - before.ns - empty_ns * runs as f64;
            Ran { name: now.name, runs, ns: ns.max(0.0) }
        };
        let programs = self.programs.iter().zip(&before.programs).map(ran);
        Self {
            programs: programs.filter(|ran| ran.runs > 0).collect(),
            controller: self.controller.saturating_sub(before.controller),
            watched_for: Duration::ZERO,
        }
    }

    /// Adds what was seen in another turn.
    pub(super) fn add(&mut self, other: Self) {
        self.controller += other.controller;
        self.watched_for += other.watched_for;
        for ran in other.programs {
            match self.programs.iter_mut().find(|known| known.name == ran.name) {
                Some(known) => {
                    known.runs += ran.runs;
                    known.ns += ran.ns;
                }
                None => self.programs.push(ran),
            }
        }
    }

    /// Time of all programs, in nanoseconds.
    pub(super) fn programs_ns(&self) -> f64 {
        self.programs.iter().map(|ran| ran.ns).sum()
    }

    /// Nanoseconds of a run, for each program but those that hardly ran.
    pub(super) fn each(&self) -> String {
        let most = self.programs.iter().map(|ran| ran.runs).max().unwrap_or_default();
        let ran = self.programs.iter().filter(|ran| ran.runs >= most / SELDOM);
        let each = |ran: &Ran| format!("{} {:.0} ns", ran.name, ran.ns / ran.runs as f64);
        ran.map(each).collect::<Vec<_>>().join(", ")
    }

    /// The controller's share of one CPU.
    pub(super) fn controller_share(&self) -> f64 {
        self.controller.as_secs_f64() / self.watched_for.as_secs_f64()
    }
}

/// What the kernel's statistics say of a run of a program that does nothing.
fn empty_ns() -> Result<f64> {
    let mut ebpf = object::create(Purpose::Bench, SMALL)?;
    let program = ebpf.program_mut(EMPTY).with_context(|| format!("no program {EMPTY}"))?;
    object::load_program(EMPTY, program)?;
    let statistics = enable_stats(Stats::RunTime)?;
    run(&ebpf)?;
    drop(statistics);
    let program = ebpf.program(EMPTY).with_context(|| format!("no program {EMPTY}"))?;
    let info = program.info()?;
    Ok(info.run_time().as_nanos() as f64 / info.run_count().max(1) as f64)
}

fn run(ebpf: &Ebpf) -> Result<()> {
    let program: &SchedClassifier =
        ebpf.program(EMPTY).with_context(|| format!("no program {EMPTY}"))?.try_into()?;
    let options =
        TestRunOptions { data_in: Some(&FRAME), repeat: EMPTY_RUNS, ..TestRunOptions::new() };
    program.test_run(options).with_context(|| format!("cannot run {EMPTY}")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(programs: &[(&'static str, u64, f64)], controller: u64) -> Effort {
        let ran = |&(name, runs, ns): &(&'static str, u64, f64)| Ran { name, runs, ns };
        Effort {
            programs: programs.iter().map(ran).collect(),
            controller: Duration::from_micros(controller),
            watched_for: Duration::ZERO,
        }
    }

    #[test]
    fn only_what_came_meanwhile_counts_and_the_clock_does_not() {
        let before = effort(&[("a", 10, 1_000.0), ("b", 7, 70.0)], 5);
        let after = effort(&[("a", 30, 4_000.0), ("b", 7, 70.0)], 9);
        let since = after.since(&before, 50.0);
        assert_eq!(since, effort(&[("a", 20, 2_000.0)], 4));
        assert_eq!(since.each(), "a 100 ns");
    }

    #[test]
    fn turns_add_up() {
        let mut sum = effort(&[("a", 1, 10.0)], 1);
        sum.add(effort(&[("a", 2, 30.0), ("b", 4, 8.0)], 2));
        assert_eq!(sum, effort(&[("a", 3, 40.0), ("b", 4, 8.0)], 3));
        assert_eq!(sum.programs_ns(), 48.0);
        assert_eq!(sum.each(), "a 13 ns, b 2 ns");
    }

    #[test]
    fn a_program_that_hardly_ran_is_not_named() {
        let effort = effort(&[("a", 10_000, 50_000.0), ("b", 9, 9_000.0)], 0);
        assert_eq!(effort.each(), "a 5 ns");
    }
}
