//! The kernel programs, loaded one by one, and runs of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{Program as Loadable, TestRun as _, TestRunOptions},
};
use firewall_user::{
    generation::Over,
    object::{self, Purpose},
    policy::{Policy, TableSizes},
    tables::Tables,
};
use nix::time::{ClockId, clock_gettime};

use super::{
    counts::{Counted, Counters},
    subject::{Hook, Program},
};

/// Ports 554 and 555 belong to a protocol that no filter reads, port 556 to one that the RTSP filter does.
const POLICY: &str = r#"
[gateway]
interfaces = ["none"]
default = "allow"
[protocol.unbound]
transport = "tcp"
ports = [554, 555]
[protocol.rtsp]
transport = "tcp"
ports = [556]
filter = "rtsp"
[filter.rtsp]
mode = "enforce"
[protocol.denied]
transport = "tcp"
ports = [9003]
[[rule]]
name = "denied"
action = "deny"
protocols = ["denied"]
"#;

/// What the kernel says about a program that it accepted.
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Instructions that the verifier went through on all ways; kernels before 5.16 do not say.
    pub(crate) verified_instructions: Option<u32>,
    /// Size of the program in BPF instructions, as the kernel rewrote it.
    pub(crate) translated_bytes: Option<u32>,
    /// Size of its machine code; 0: it is interpreted.
    pub(crate) jited_bytes: u32,
    /// Verifier and compiler together, on the CPU: others may want it too.
    pub(crate) load_ms: f64,
}

/// The programs in the kernel, with a policy of their own.
pub(crate) struct Programs {
    ebpf: Ebpf,
    tables: Tables,
    loaded: Vec<Loaded>,
    /// Or why there are none.
    counters: Result<Counters, String>,
}

/// What came of a frame.
pub(crate) struct Ran {
    pub(crate) ns: f64,
    /// `None`: the machine does not tell.
    pub(crate) counted: Option<Counted>,
    /// What the program returned in its last run.
    pub(crate) verdict: u32,
}

impl Programs {
    /// Loads all of them, with room for so many flows.
    pub(crate) fn load(sizes: TableSizes) -> Result<Self> {
        let mut programs = Self::load_some(sizes, |_| true)?;
        object::register_filters(&mut programs.ebpf)?;
        Ok(programs)
    }

    /// Loads those alone that work on frames which differ from run to run. No filter reads anything then.
    pub(crate) fn load_steps(sizes: TableSizes) -> Result<Self> {
        let steps = [Program::StepEmpty, Program::StepLookup, Program::StepIngress];
        let names = Hook::ALL.map(|hook| steps.map(|program| program.name(hook)));
        Self::load_some(sizes, |name| names.as_flattened().contains(&name))
    }

    fn load_some(sizes: TableSizes, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut ebpf = object::create(Purpose::Bench, sizes)?;
        let mut loaded = Vec::new();
        for (name, program) in ebpf.programs_mut().filter(|(name, _)| wanted(name)) {
            let start = time_on_cpu()?;
            object::load_program(name, program)?;
            loaded.push(describe(name, program, time_on_cpu()?.saturating_sub(start))?);
        }
        loaded.sort_by(|a, b| a.name.cmp(&b.name));
        let tables = Tables::of_loaded(&ebpf)?;
        let counters = Counters::open().map_err(|error| error.to_string());
        let programs = Self { ebpf, tables, loaded, counters };
        programs.tables.write_policy(&Policy::parse("bench", POLICY)?.compile(), Over::Nothing)?;
        Ok(programs)
    }

    /// The kernel's tables.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Whether the machine counts instructions and cycles, or why not.
    pub(crate) fn counts(&self) -> Result<(), String> {
        self.counters.as_ref().map(drop).map_err(Clone::clone)
    }

    /// What was loaded, by name; the programs go.
    pub(crate) fn into_loaded(self) -> Vec<Loaded> {
        self.loaded
    }

    /// Runs `program` on `frame` `repeat` times; the frame must pass.
    ///
    /// # Errors
    ///
    /// When it did not, the last time: it went another way than was meant.
    pub(crate) fn pass(
        &mut self,
        hook: Hook,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Ran> {
        let ran = self.run(hook, program, frame, repeat)?;
        ensure!(
            ran.verdict == hook.pass(),
            "{} returned {} where a frame of {} bytes had to pass",
            program.name(hook),
            ran.verdict as i32,
            frame.len()
        );
        Ok(ran)
    }

    /// Runs `program` on `frame` `repeat` times, and returns nanoseconds a run.
    ///
    /// Time is this thread's on its CPU: the kernel's own figure comes in whole nanoseconds, which is
    /// coarse for programs that take twenty. What the call itself takes is spread over all runs.
    pub(crate) fn run(
        &mut self,
        hook: Hook,
        program: Program,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Ran> {
        let name = program.name(hook);
        let loaded = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        if let Ok(counters) = &mut self.counters {
            counters.begin()?;
        }
        let start = time_on_cpu()?;
        let result = match loaded {
            Loadable::Xdp(program) => program.test_run(options),
            Loadable::SchedClassifier(program) => program.test_run(options),
            other => anyhow::bail!("{name} is of an unexpected type: {other:?}"),
        };
        let took = time_on_cpu()?.saturating_sub(start);
        let counted = match &mut self.counters {
            Ok(counters) => Some(counters.end(repeat)?),
            Err(_) => None,
        };
        let verdict = result.with_context(|| format!("cannot run {name}"))?.return_value;
        Ok(Ran { ns: took.as_nanos() as f64 / f64::from(repeat), counted, verdict })
    }
}

fn describe(name: &str, program: &Loadable, took: Duration) -> Result<Loaded> {
    let info = program.info().with_context(|| format!("the kernel says nothing of {name}"))?;
    Ok(Loaded {
        name: name.to_owned(),
        verified_instructions: info.verified_instruction_count(),
        translated_bytes: info.size_translated(),
        jited_bytes: info.size_jitted(),
        load_ms: took.as_secs_f64() * 1e3,
    })
}

fn time_on_cpu() -> Result<Duration> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("cannot read the clock")?;
    Ok(now.into())
}
