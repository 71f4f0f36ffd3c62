//! This process, as the kernel tells of it: proc(5), `/proc/self`.

use std::fs;

use anyhow::{Context as _, Result};
use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::{SysconfVar, sysconf},
};

use super::{
    Metric,
    definitions::{
        PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT, PROCESS_START, PROCESS_VIRTUAL,
    },
};

pub(super) fn metrics() -> Result<Vec<Metric>> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let machine = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let stat = Stat::parse(&stat).context("/proc/self/stat is not what proc(5) says")?;
    let booted = booted(&machine).context("/proc/stat does not say when the machine was booted")?;
    let (ticks, page) = (system(SysconfVar::CLK_TCK)?, system(SysconfVar::PAGE_SIZE)?);
    let open = fs::read_dir("/proc/self/fd").context("cannot read /proc/self/fd")?.count();
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot ask for the file limit")?;
    Ok(vec![
        PROCESS_START.is(booted + stat.started as f64 / ticks),
        PROCESS_CPU.is(stat.cpu as f64 / ticks),
        PROCESS_RESIDENT.is(stat.resident as f64 * page),
        PROCESS_VIRTUAL.is(stat.mapped as f64),
        PROCESS_FDS.is(open as f64),
        PROCESS_FDS_MAX.is(most as f64),
    ])
}

fn system(variable: SysconfVar) -> Result<f64> {
    let value = sysconf(variable).ok().flatten();
    Ok(value.with_context(|| format!("the system does not know {variable:?}"))? as f64)
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Ticks on a processor, in user space and in the kernel.
    cpu: u64,
    /// Ticks from the machine's start to the process's.
    started: u64,
    /// Bytes.
    mapped: u64,
    /// Pages.
    resident: u64,
}

impl Stat {
    /// The name, in brackets, may hold spaces and brackets: fields are counted behind it, from the third on.
    fn parse(text: &str) -> Option<Self> {
        let (_, behind) = text.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(14)? + field(15)?,
            started: field(22)?,
            mapped: field(23)?,
            resident: field(24)?,
        })
    }
}

/// Seconds since 1970.
fn booted(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_brackets() {
        let text = "7 (a) (b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 9000 4096000 321 18";
        let expected = Stat { cpu: 300, started: 9000, mapped: 4_096_000, resident: 321 };
        assert_eq!(Stat::parse(text), Some(expected));
        for short in ["", "7 (a)", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 x 50"] {
            assert_eq!(Stat::parse(short), None, "{short}");
        }
    }

    #[test]
    fn this_process_runs_since_a_moment_ago() {
        let metrics = metrics().unwrap();
        let value = |name| metrics.iter().find(|it| it.name == name).unwrap().samples[0].value;
        let now = time::OffsetDateTime::now_utc().unix_timestamp() as f64;
        let started = value("process_start_time_seconds");
        assert!(started <= now + 1.0 && started > now - 86_400.0, "{started}, now {now}");
        assert!(value("process_resident_memory_bytes") > 1e5);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
    }
}
