//! The network namespace that this process is in.
//!
//! Links find their interfaces wherever they are. Filters of traffic control are found by netlink, which shows the
//! interfaces of the caller's namespace alone: so what was attached by such filters is taken down where it was brought
//! up.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::bpffs;

/// How the directory is called that says which namespace it was, behind its number.
const MARK: &str = "netns_";

/// Notes in `directory`, of the BPF file system, that its instance has filters in this namespace.
///
/// # Errors
///
/// As [`check`].
pub(crate) fn note(directory: &Path) -> Result<()> {
    check(directory)?;
    let mark = |number: u64| directory.join(format!("{MARK}{number}"));
    let current = current()?;
    match noted(directory)? {
        Some(noted) if noted == current => return Ok(()),
        Some(gone) => fs::remove_dir(mark(gone)),
        None => Ok(()),
    }
    .and_then(|()| fs::create_dir(mark(current)))
    .with_context(|| format!("cannot note the network namespace in {}", directory.display()))
}

/// Whether this is the namespace that `directory` notes, if it notes one.
///
/// # Errors
///
/// It is another one, which is still there. One that is gone took its interfaces and their filters along.
pub(crate) fn check(directory: &Path) -> Result<()> {
    let Some(noted) = noted(directory)? else {
        return Ok(());
    };
    if noted == current()? {
        return Ok(());
    }
    match find(noted) {
        Some(path) => bail!(
            "this instance is attached in another network namespace, by filters that are reached from there \
             alone: nsenter --net={} fwx …",
            path.display()
        ),
        None => Ok(()),
    }
}

fn noted(directory: &Path) -> Result<Option<u64>> {
    let names = bpffs::names_in(directory)?;
    Ok(names.iter().find_map(|name| name.strip_prefix(MARK)?.parse().ok()))
}

/// The number of this process's namespace.
fn current() -> Result<u64> {
    number(Path::new("/proc/self/ns/net")).context("cannot tell the network namespace")
}

fn number(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|namespace| namespace.ino())
}

/// A file that is the namespace with this number: one that `ip netns` keeps, or one that a process is in.
fn find(wanted: u64) -> Option<PathBuf> {
    let named =
        fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    named
        .chain(processes.map(|entry| entry.path().join("ns/net")))
        .find(|path| number(path) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_namespace_is_refused_only_while_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(noted(directory.path()).unwrap(), None);
        note(directory.path()).unwrap();
        note(directory.path()).unwrap();
        check(directory.path()).unwrap();

        let gone = tempfile::tempdir().unwrap();
        fs::create_dir(gone.path().join(format!("{MARK}1"))).unwrap();
        assert_eq!(find(1), None);
        check(gone.path()).unwrap();
        note(gone.path()).unwrap();
        assert_eq!(noted(gone.path()).unwrap(), Some(current().unwrap()));
        assert!(find(current().unwrap()).is_some());
    }
}
