//! Programs of others that receive events and metrics: where set-up unpacked them (`xtask/src/receivers.rs`), or else
//! those that are installed.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::Host;

/// `promtool`, which needs no network.
pub fn promtool() -> Result<Command> {
    Ok(Command::new(program("usr/bin/promtool")?))
}

/// `prometheus` on `host`.
pub fn prometheus(host: &Host) -> Result<Command> {
    Ok(host.command(program("usr/bin/prometheus")?))
}

/// `rsyslogd` on `host`, which finds its modules and the libraries that it needs.
pub fn rsyslogd(host: &Host) -> Result<Command> {
    let program = program("usr/sbin/rsyslogd")?;
    let mut command = host.command(&program);
    if let Some(libraries) = libraries_beside(&program)? {
        command.arg(joined("-M", libraries.join("rsyslog").as_os_str()));
        command.env("LD_LIBRARY_PATH", libraries);
    }
    Ok(command)
}

/// The program that is unpacked as `path`, or an installed one of that name.
fn program(path: &str) -> Result<PathBuf> {
    let here = env::current_exe().context("cannot find out where this program is")?;
    // target/debug/deps/lab_prometheus-0123456789abcdef.
    let unpacked = here.ancestors().skip(1).take(4).map(|above| above.join("receivers").join(path));
    let name = Path::new(path).file_name().context("a program has a name")?;
    let search = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&search).chain(["/usr/sbin".into(), "/sbin".into()]);
    unpacked
        .chain(directories.map(|directory| directory.join(name)))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!("{} is neither unpacked nor installed: `cargo xtask setup`", name.display())
        })
}

/// The directory of libraries that was unpacked with `program` (`usr/lib/x86_64-linux-gnu`, say). An installed program
/// needs none: the loader knows its libraries.
fn libraries_beside(program: &Path) -> Result<Option<PathBuf>> {
    let root = program.ancestors().nth(3).context("a program lies three levels deep")?;
    if !root.ends_with("receivers") {
        return Ok(None);
    }
    let lib = root.join("usr/lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    for entry in entries {
        let directory = entry?.path();
        if directory.join("rsyslog").is_dir() {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(value);
    joined
}
