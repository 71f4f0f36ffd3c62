//! The file system that keeps programs, maps and links alive without a process.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Where the BPF file system is by custom.
pub const ROOT: &str = "/sys/fs/bpf";

/// Whether [`ROOT`] is a BPF file system.
pub fn is_mounted() -> bool {
    statfs(ROOT).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Makes sure that [`ROOT`] is a BPF file system, and says so if it had to be mounted.
///
/// # Errors
///
/// In a mount namespace of its own, such as `ip netns exec` makes, nothing that is mounted would outlive
/// the command; then the message says how to enter the network namespace only.
pub fn ensure_mounted() -> Result<()> {
    if is_mounted() {
        return Ok(());
    }
    if in_private_mounts() {
        bail!(
            "{ROOT} is not a BPF file system here, in a mount namespace of its own (as `ip netns exec` \
             makes one): what is pinned would be gone with this command. Enter the network namespace \
             alone instead: nsenter --net=/run/netns/NAME fwx …"
        );
    }
    if !Path::new(ROOT).is_dir() {
        bail!("{ROOT} is not there: this kernel has no BPF file system (CONFIG_BPF_SYSCALL)");
    }
    mount(Some("bpf"), ROOT, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("cannot mount the BPF file system on {ROOT}"))?;
    eprintln!("fwx: mounted the BPF file system on {ROOT}, which it was not");
    Ok(())
}

/// Whether a process above this one lives in another mount namespace: then ours goes when we go.
pub fn in_private_mounts() -> bool {
    /// More processes above one another than this are not looked at.
    const GENERATIONS: usize = 64;
    let Ok(own) = fs::read_link("/proc/self/ns/mnt") else {
        return false;
    };
    let mut pid = nix::unistd::getppid().as_raw();
    for _ in 0..GENERATIONS {
        // Some may not be looked at, such as the first in a container.
        if fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|other| other != own) {
            return true;
        }
        match parent(pid) {
            Some(above) if above > 0 => pid = above,
            _ => break,
        }
    }
    false
}

/// The parent of a process, by `/proc/PID/stat` (proc_pid_stat(5)): the second field behind the name, which
/// stands in parentheses and may hold anything.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The names of what is in `directory`, in no order; none if there is no such directory. Names of pins are ASCII: others
/// are not ours.
///
/// # Errors
///
/// The directory cannot be read.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries,
    }
    .with_context(|| format!("cannot read {}", directory.display()))?;
    entries
        .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
        .collect::<io::Result<_>>()
        .with_context(|| format!("cannot read {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_and_lives_with_us() {
        let own = std::process::id() as i32;
        assert_eq!(parent(own), Some(nix::unistd::getppid().as_raw()));
        assert!(!in_private_mounts());
    }
}
