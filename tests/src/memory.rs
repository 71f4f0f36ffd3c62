//! How much memory a process takes.

use std::fs;

use anyhow::{Context as _, Result};

/// The most that `process` had resident so far, in KiB (`VmHWM`, proc_pid_status(5)).
pub fn peak_kib(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    peak(&status).with_context(|| format!("{path} says no VmHWM"))
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_its_peak_in_kib() {
        assert_eq!(peak("Name:\tfwx\nVmHWM:\t   20480 kB\nVmRSS:\t 1 kB\n"), Some(20_480));
        assert_eq!(peak("Name:\tfwx\n"), None);
    }
}
