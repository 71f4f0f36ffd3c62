//! The kernel programs: embedded in this binary, loaded from here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{Program, ProgramError, SchedClassifier, Xdp},
};
use firewall_common::filter::FilterId;

use crate::{policy::TableSizes, replay::Hook};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/fwx.bpf.o"));

/// The ingress program for XDP.
pub const XDP_INGRESS: &str = "fwx_xdp";
/// The ingress program for traffic control.
pub const TC_INGRESS: &str = "fwx_ingress";
/// The program that does what user space wants done to a flow.
pub const COMMAND: &str = "fwx_command";
/// The egress program.
pub const TC_EGRESS: &str = "fwx_egress";
/// As [`TC_INGRESS`] and [`TC_EGRESS`], for interfaces whose packets begin with their IP header. Loaded by who needs
/// them, with [`load_program`]: the verifier takes its time for each.
pub const WITHOUT_ETHERNET: [&str; 2] = ["fwx_ingress_ip", "fwx_egress_ip"];
/// Names of programs begin so that are for measurements only.
pub const BENCH_PREFIX: &str = "bench_";

/// Maps that user space reads or writes, or that outlive the programs.
pub const PINNED_MAPS: [&str; 44] = [
    "FLOWS_V4",
    "FLOWS_V6",
    "HALF_OPEN_V4",
    "HALF_OPEN_V6",
    "TIMEOUTS",
    "FRAGMENTS",
    "FRAGMENTING_PAIRS",
    "SOURCES",
    "RULE_LIMITS",
    "RULE_COUNTERS",
    "ATTACK",
    "REJECTS",
    "AUTHENTICATED",
    "SECRET",
    "CROSSINGS",
    "CROSSING_TAGS",
    "CONNECTIONS",
    "PINHOLES",
    "SESSIONS",
    "FAMILIES",
    "PINHOLES_USED",
    "FILTER_COMMANDS",
    "POLICY",
    "IMAGES",
    "SHADOW_PAIRS",
    "SHADOW_FLOWS",
    "SHADOW_TOTALS",
    "BINDINGS",
    "FILTERS_XDP",
    "FILTERS_TC",
    "INTERFACES",
    "OWN_ADDRESSES",
    "DEVICES",
    "SHORTCUT",
    "LONG_WAYS",
    "REASONS",
    "COUNTERS",
    "FILTER_COUNTERS",
    "BUCKETS",
    "FINDING_BUCKETS",
    "UNTOLD",
    "NUMBERS",
    "KILLS",
    "EVENTS",
];

/// For what the programs are loaded.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// For interfaces.
    Live {
        /// Maps that are pinned in this directory are taken over, others are pinned there.
        maps: &'a Path,
        /// Whether the programs log each decision, for those who work on them.
        log: bool,
    },
    /// For packets of a capture, in the capture's time, through this hook.
    Replay(Hook),
    /// For measurements with the kernel's test-run, in the kernel's time.
    Bench,
}

/// Loads the firewall's programs, through the verifier, and registers the filters. For replay these are the
/// programs of its hook alone: the verifier takes its time for each.
///
/// # Errors
///
/// What the kernel says, with the end of the verifier's log, and what to do where that is known.
pub fn load(purpose: Purpose<'_>, sizes: TableSizes) -> Result<Ebpf> {
    let mut ebpf = create(purpose, sizes)?;
    for (name, program) in ebpf.programs_mut().filter(|(name, _)| is_needed(name, purpose)) {
        load_program(name, program)?;
    }
    match purpose {
        Purpose::Replay(hook) => register_filters_of(&mut ebpf, hook)?,
        Purpose::Live { .. } | Purpose::Bench => register_filters(&mut ebpf)?,
    }
    Ok(ebpf)
}

/// Whether the program called `name` takes part in what the programs are loaded for.
fn is_needed(name: &str, purpose: Purpose<'_>) -> bool {
    let entry_points = [XDP_INGRESS, TC_INGRESS, TC_EGRESS];
    match purpose {
        _ if name.starts_with(BENCH_PREFIX) || WITHOUT_ETHERNET.contains(&name) => false,
        Purpose::Replay(hook) if entry_points.contains(&name) => name == hook.program(),
        Purpose::Replay(hook) => {
            name == COMMAND || name.ends_with(FilterArray::of(hook).program_suffix)
        }
        Purpose::Live { .. } | Purpose::Bench => true,
    }
}

/// An array by which segments are handed over to filters.
#[derive(Clone, Copy)]
struct FilterArray {
    name: &'static str,
    /// A filter's program for it is called by the filter's name and this.
    program_suffix: &'static str,
}

impl FilterArray {
    const XDP: Self = Self { name: "FILTERS_XDP", program_suffix: "_xdp" };
    const TC: Self = Self { name: "FILTERS_TC", program_suffix: "_tc" };

    const fn of(hook: Hook) -> Self {
        match hook {
            Hook::Xdp => Self::XDP,
            Hook::Tc | Hook::Egress => Self::TC,
        }
    }
}

/// Creates the tables, and loads no program yet.
///
/// # Errors
///
/// As [`load`].
pub fn create(purpose: Purpose<'_>, sizes: TableSizes) -> Result<Ebpf> {
    let replay = u8::from(matches!(purpose, Purpose::Replay(_)));
    let log_level: u8 = match purpose {
        Purpose::Live { log: true, .. } => u8::MAX,
        _ => 0,
    };
    let paths: Vec<(&str, PathBuf)> = match purpose {
        Purpose::Live { maps: directory, .. } => {
            PINNED_MAPS.iter().map(|name| (*name, directory.join(name))).collect()
        }
        Purpose::Replay(_) | Purpose::Bench => Vec::new(),
    };
    let mut loader = EbpfLoader::new();
    loader
        .override_global("REPLAY", &replay, true)
        .override_global("AYA_LOG_LEVEL", &log_level, true)
        .map_max_entries("FLOWS_V4", sizes.completed)
        .map_max_entries("FLOWS_V6", sizes.completed)
        .map_max_entries("HALF_OPEN_V4", sizes.half_open)
        .map_max_entries("HALF_OPEN_V6", sizes.half_open);
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(OBJECT).map_err(explain_load)
}

/// Loads one program, called `name`, through the verifier.
///
/// # Errors
///
/// As [`load`].
pub fn load_program(name: &str, program: &mut Program) -> Result<()> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        // The object has no others.
        _ => return Ok(()),
    }
    .map_err(|error| explain_program(name, error))
}

/// Loads the programs [`WITHOUT_ETHERNET`], unless they are loaded.
///
/// # Errors
///
/// As [`load`].
pub fn load_without_ethernet(ebpf: &mut Ebpf) -> Result<()> {
    for name in WITHOUT_ETHERNET {
        let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        if program.fd().is_err() {
            load_program(name, program)?;
        }
    }
    Ok(())
}

/// The XDP program called `name`.
pub fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// The traffic control program called `name`.
pub fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// Puts each filter's programs into the arrays that segments are handed over by. A filter's programs are
/// called by its name, for XDP and for traffic control.
///
/// # Errors
///
/// When a filter's program is missing or was not loaded.
pub fn register_filters(ebpf: &mut Ebpf) -> Result<()> {
    [FilterArray::XDP, FilterArray::TC].into_iter().try_for_each(|array| register(ebpf, array))
}

/// As [`register_filters`], for the array of one hook.
///
/// # Errors
///
/// As [`register_filters`].
pub fn register_filters_of(ebpf: &mut Ebpf, hook: Hook) -> Result<()> {
    register(ebpf, FilterArray::of(hook))
}

fn register(
    ebpf: &mut Ebpf,
    FilterArray { name: array, program_suffix }: FilterArray,
) -> Result<()> {
    for filter in FilterId::ALL {
        let name = format!("{}{program_suffix}", filter.name());
        let program = ebpf.program(&name).with_context(|| format!("no program {name}"))?;
        let program = program.fd()?.try_clone()?;
        let map = ebpf.map_mut(array).with_context(|| format!("no map {array}"))?;
        let mut filters: ProgramArray<&mut MapData> = map.try_into()?;
        filters
            .set(filter as u32, &program, 0)
            .with_context(|| format!("cannot register the filter {}", filter.name()))?;
    }
    Ok(())
}

fn explain_load(error: EbpfError) -> anyhow::Error {
    let hint = match os_error(&error) {
        Some(libc::EPERM) => {
            "\nfwx needs root (CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON), and a kernel that is not locked \
             down against BPF"
        }
        Some(libc::ENOSYS) => {
            "\nthis kernel was built without the bpf system call (CONFIG_BPF_SYSCALL)"
        }
        Some(libc::ENOMEM) => "\nthere is not enough memory for the flow tables",
        _ => "",
    };
    anyhow!(error).context(format!("cannot create the kernel's tables{hint}"))
}

fn explain_program(name: &str, error: ProgramError) -> anyhow::Error {
    const LOG_LINES: usize = 12;
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        let log = verifier_log.to_string();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
        return anyhow!(
            "the kernel refused the program {name}: {io_error}; its verifier says\n  {tail}"
        );
    }
    anyhow!(error).context(format!("cannot load the program {name}"))
}

/// The number of the operating system's error at the bottom of `error`.
pub fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        cause = current.source();
    }
    None
}
