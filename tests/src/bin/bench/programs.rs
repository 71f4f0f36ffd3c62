//! The kernel programs, loaded one by one, and runs of them.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    maps::{Map, MapData},
    programs::{Program, TestRun as _, TestRunOptions},
};
use firewall_user::{
    object::{self, Purpose},
    policy::{Policy, TableSizes},
    tables::{Over, Tables},
};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::subject::Hook;

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
"#;

/// What the kernel says about a program that it accepted.
#[derive(Serialize)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Instructions that the verifier went through on all ways; kernels before 5.16 do not say.
    pub(crate) verified_instructions: Option<u32>,
    /// Size of the program in BPF instructions, as the kernel rewrote it.
    pub(crate) translated_bytes: Option<u32>,
    /// Size of its machine code; 0: it is interpreted.
    pub(crate) jited_bytes: u32,
    /// Verifier and compiler together.
    pub(crate) load_ms: f64,
}

/// What the table of flows with an answer takes.
#[derive(Serialize)]
pub(crate) struct Memory {
    pub(crate) family: &'static str,
    pub(crate) flows: u32,
    pub(crate) bytes: u64,
    pub(crate) bytes_per_flow: f64,
}

/// The programs in the kernel, with a policy of their own.
pub(crate) struct Programs {
    ebpf: Ebpf,
    loaded: Vec<Loaded>,
}

impl Programs {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = object::create(Purpose::Bench, TableSizes::default())?;
        let mut loaded = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let start = Instant::now();
            object::load_program(name, program)?;
            loaded.push(describe(name, program, start.elapsed())?);
        }
        // The floor first: its names begin with a b.
        loaded.sort_by(|a, b| a.name.cmp(&b.name));
        object::register_filters(&mut ebpf)?;

        let policy = Policy::parse("bench", POLICY)?.compile();
        Tables::of_loaded(&ebpf)?.write_policy(&policy, Over::Nothing)?;
        Ok(Self { ebpf, loaded })
    }

    /// What was loaded, by name; the programs go.
    pub(crate) fn into_loaded(self) -> Vec<Loaded> {
        self.loaded
    }

    /// What a flow with an answer takes of the kernel's memory, of either family.
    pub(crate) fn memory(&self) -> Result<Vec<Memory>> {
        [("IPv4", "FLOWS_V4"), ("IPv6", "FLOWS_V6")]
            .into_iter()
            .map(|(family, name)| {
                let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
                let Map::HashMap(data) = map else { anyhow::bail!("{name} is no hash table") };
                let flows = data.info()?.max_entries();
                let bytes = memory_of(data)?;
                let bytes_per_flow = bytes as f64 / f64::from(flows);
                Ok(Memory { family, flows, bytes, bytes_per_flow })
            })
            .collect()
    }

    /// Runs the program called `name` on `frame` `repeat` times, and returns nanoseconds a run.
    ///
    /// Time is this thread's on its CPU: the kernel's own figure comes in whole nanoseconds, which is
    /// coarse for programs that take twenty. What the call itself takes is spread over all runs.
    ///
    /// # Errors
    ///
    /// When the frame did not pass: it went another way than was to be measured.
    pub(crate) fn run(&self, hook: Hook, name: &str, frame: &[u8], repeat: u32) -> Result<f64> {
        let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let start = time_on_cpu()?;
        let result = match program {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => anyhow::bail!("{name} is of an unexpected type: {other:?}"),
        };
        let took = time_on_cpu()?.saturating_sub(start);
        let verdict = result.with_context(|| format!("cannot run {name}"))?.return_value;
        ensure!(
            verdict == hook.pass(),
            "{name} returned {} where a frame of {} bytes had to pass",
            verdict as i32,
            frame.len()
        );
        Ok(took.as_nanos() as f64 / f64::from(repeat))
    }
}

/// What a table takes of the kernel's memory, all overhead included: the kernel's own figure (`bpf_map_memory_usage`
/// in `kernel/bpf/syscall.c`).
fn memory_of(map: &MapData) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let info = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    let figure = line.context("the kernel does not tell what a table takes: Linux 6.4 does")?;
    Ok(figure.trim().parse()?)
}

fn describe(name: &str, program: &Program, took: Duration) -> Result<Loaded> {
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
