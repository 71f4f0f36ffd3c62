//! On what the figures were taken.

use std::{fmt, fs};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::utsname::uname,
    unistd::Pid,
};
use serde::Serialize;

/// Hardware and kernel, as far as they name themselves.
#[derive(Serialize)]
pub(crate) struct Machine {
    kernel: String,
    architecture: String,
    cpu: String,
    /// How many CPUs this process may use.
    cpus: usize,
    /// The one that everything ran on.
    pinned_to: usize,
}

impl Machine {
    /// Keeps this thread on one CPU from now on, and says on what it is.
    pub(crate) fn pin_to_one_cpu() -> Result<Self> {
        let this_thread = Pid::from_raw(0);
        let allowed = sched_getaffinity(this_thread).context("cannot ask for the CPUs")?;
        let cpus = std::thread::available_parallelism()?.get();
        // The last one: device interrupts go to the first by default.
        let pinned_to = (0..CpuSet::count())
            .rev()
            .find(|&cpu| allowed.is_set(cpu).unwrap_or(false))
            .context("there is no CPU to run on")?;
        let mut only = CpuSet::new();
        only.set(pinned_to)?;
        sched_setaffinity(this_thread, &only)
            .with_context(|| format!("cannot stay on CPU {pinned_to}"))?;

        let system = uname().context("cannot ask for the kernel's version")?;
        Ok(Self {
            kernel: format!(
                "{} {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy()
            ),
            architecture: system.machine().to_string_lossy().into_owned(),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| cpu_name(&text))
                .unwrap_or_else(|| "a CPU without a name".to_owned()),
            cpus,
            pinned_to,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, architecture, cpu, cpus, pinned_to } = self;
        write!(f, "{kernel} {architecture}, {cpu}, CPU {pinned_to} of {cpus}")
    }
}

/// What `/proc/cpuinfo` calls the CPU; its key depends on the architecture.
fn cpu_name(cpuinfo: &str) -> Option<String> {
    ["model name", "cpu model", "uarch", "Processor"].iter().find_map(|key| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == *key)
            .map(|(_, value)| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_name_is_found_under_the_key_of_its_architecture() {
        let intel = "processor\t: 0\nmodel\t\t: 167\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(cpu_name(intel).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu_name("hart : 0\nuarch\t: thead,c906\n").as_deref(), Some("thead,c906"));
        assert_eq!(cpu_name("BogoMIPS : 48.00\n"), None);
    }
}
