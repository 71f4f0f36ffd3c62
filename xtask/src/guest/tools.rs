//! The emulator, and the programs of the guest's own: unpacked below the target directory.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{debian, process, workspace::Workspace};

/// The packages that are wanted, and those whose files the emulator looks for beside itself.
const PACKAGES: [&str; 7] = [
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
    "ipxe-qemu",
    "busybox-static",
    "wireguard-tools",
];

/// What was unpacked.
pub(super) struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Fetches what is not there yet. Debian's emulator is not installed, for it would take the place of other
    /// versions of its parts that a machine may have.
    pub(super) fn ensure(workspace: &Workspace) -> Result<Self> {
        let root = workspace.target_dir.join("guest/tools");
        let tools = Self { root };
        // It came last to the list: without it they are those of an older one.
        if !tools.wg().is_file() {
            if tools.root.is_dir() {
                fs::remove_dir_all(&tools.root)
                    .with_context(|| format!("cannot remove {}", tools.root.display()))?;
            }
            let mut wanted: BTreeSet<String> = PACKAGES.map(str::to_owned).into();
            wanted.extend(debian::lacking_for(&PACKAGES)?);
            let wanted: Vec<_> = wanted.into_iter().collect();
            debian::unpack("the emulator and the guest's tools", &wanted, &tools.root)?;
        }
        Ok(tools)
    }

    /// A command of the emulator.
    pub(super) fn qemu(&self) -> Result<Command> {
        let mut qemu = process::isolated(self.root.join("usr/bin/qemu-system-x86_64"));
        let libraries =
            ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| self.root.join(path));
        let search: OsString =
            env::join_paths(&libraries).context("a path of the target directory has a colon")?;
        qemu.env("LD_LIBRARY_PATH", search);
        Ok(qemu)
    }

    /// What sets WireGuard up.
    pub(super) fn wg(&self) -> PathBuf {
        self.root.join("usr/bin/wg")
    }

    /// The program that is a whole userland.
    pub(super) fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }
}

/// The shared libraries that programs of this machine need, and their loader, as absolute paths.
pub(super) fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let listed = process::output(Command::new("ldd").args(programs))?;
    Ok(library_paths(&listed).map(Path::to_owned).collect())
}

/// The paths in what `ldd` printed: `libc.so.6 => /lib/libc.so.6 (0x…)` or `/lib64/ld-linux.so.2 (0x…)`; the line
/// of a program itself ends in a colon.
fn library_paths(listed: &str) -> impl Iterator<Item = &Path> {
    listed
        .lines()
        .filter_map(|line| line.split_once(" (0x"))
        .filter_map(|(line, _)| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let listed = "/t/replay:\n\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f31)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f31)\n";
        let found: Vec<_> = library_paths(listed).collect();
        assert_eq!(
            found,
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
