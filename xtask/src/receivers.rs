//! Prometheus and rsyslog, which receive from fwx in the lab: unpacked below the target directory.
//!
//! Their packages are not installed, for these would start services on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{debian, process, workspace::Workspace};

/// The packages whose programs are wanted. Prometheus brings all it needs; what else its package depends on is for the
/// consoles in its web pages.
const PACKAGES: [&str; 2] = ["prometheus", "rsyslog"];
/// The one that needs libraries of other packages.
const WITH_LIBRARIES: &str = "rsyslog";
/// Their programs, as firewall-tests looks for them (`tests/src/receivers.rs`).
const PROGRAMS: [&str; 3] = ["usr/bin/prometheus", "usr/bin/promtool", "usr/sbin/rsyslogd"];

/// Fetches what is not there yet, or finds out that it is on PATH where there is no apt-get.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let root = workspace.target_dir.join("receivers");
    if PROGRAMS.iter().all(|program| root.join(program).is_file()) {
        return Ok(());
    }
    if !debian::has_apt() {
        return check_path();
    }
    remove(&root)?;
    let mut wanted = debian::lacking_for(&[WITH_LIBRARIES])?;
    wanted.retain(|package| !PACKAGES.contains(&package.as_str()));
    wanted.extend(PACKAGES.map(str::to_owned));
    debian::unpack("Prometheus and rsyslog", &wanted, &root)
}

/// What an older list of packages has left would be taken for all of them.
fn remove(root: &Path) -> Result<()> {
    if root.is_dir() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    Ok(())
}

fn check_path() -> Result<()> {
    let names = PROGRAMS.iter().filter_map(|program| Path::new(program).file_name()?.to_str());
    let missing: Vec<&str> = names.filter(|name| !is_installed(name)).collect();
    if !missing.is_empty() {
        bail!(
            "tests have these receive metrics and events, they are not on this machine, and without apt-get they \
             cannot be fetched from here: {}",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Daemons are often where only root's PATH leads.
fn is_installed(name: &str) -> bool {
    let beside = ["/usr/sbin", "/sbin"].map(|directory| PathBuf::from(directory).join(name));
    process::find_on_path(name).is_some() || beside.iter().any(|path| path.is_file())
}
