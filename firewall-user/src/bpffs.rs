//! The file system that keeps programs, maps and links alive without a process.

use std::{fs, path::Path};

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
    let own = fs::read_link("/proc/self/ns/mnt");
    let first = fs::read_link("/proc/1/ns/mnt");
    if let (Ok(own), Ok(first)) = (own, first)
        && own != first
    {
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
