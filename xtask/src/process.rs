//! Running other programs: with which environment, and what is said when one fails.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail};

/// A command that knows nothing of the cargo and rustup that run this program: they tell their
/// children which compiler, flags and target directory to use, and another tool chain would obey.
pub(crate) fn isolated(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| steers_a_build(name)) {
        command.env_remove(name);
    }
    command
}

fn steers_a_build(name: &OsStr) -> bool {
    // Where things are fetched from and kept, and how output looks, stays as the user has it.
    const KEPT: [&str; 9] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_BUILD_JOBS",
        "RUST_BACKTRACE",
        "RUSTUP_HOME",
    ];
    // LD_LIBRARY_PATH: cargo puts its own compiler's libraries there, ahead of the other one's.
    const STEERING: [&str; 3] = ["CARGO", "RUST", "LD_LIBRARY_PATH"];
    let starts_with = |prefix: &&str| name.as_bytes().starts_with(prefix.as_bytes());
    STEERING.iter().any(starts_with) && !KEPT.iter().any(starts_with)
}

/// Runs a command that is quick and silent, and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    if !output.status.success() {
        return Err(failure(&shown, output.status, &String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// Runs a command that shows its own progress on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        // Its output stands right above, no need to repeat any of it.
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command as [`run`] does, and gives each line that it prints on standard output to `look` besides.
pub(crate) fn run_watched(command: &mut Command, look: impl FnMut(&str)) -> Result<()> {
    let status = watch(command, look)?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// As [`run_watched`], and says how the command ended. What is not UTF-8 is shown as well as can be.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    let shown = shown(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let printed = child.stdout.take().context("its standard output was asked for")?;
    for line in BufReader::new(printed).split(b'\n') {
        let line = line.with_context(|| format!("could not read what `{shown}` prints"))?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        look(line);
        println!("{line}");
    }
    child.wait().with_context(|| format!("could not wait for `{shown}`"))
}

/// Whether the command can be run and is content; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The error for a command whose output nobody has seen: its last lines say why.
pub(crate) fn failure(shown: &str, status: ExitStatus, output: &str) -> anyhow::Error {
    const TAIL_LINES: usize = 25;
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut message = format!("`{shown}` failed ({status})");
    if !lines.is_empty() {
        message.push_str("; it said last:");
    }
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        // Writing to a String does not fail.
        let _ = write!(message, "\n    {line}");
    }
    anyhow!(message)
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where the shell would find `program`.
pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    find_in(program, &env::var_os("PATH")?)
}

fn find_in(program: &str, path: &OsString) -> Option<PathBuf> {
    env::split_paths(path).map(|directory| directory.join(program)).find(|candidate| {
        candidate
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_build_is_dropped_and_the_rest_kept() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_MANIFEST_DIR",
            "LD_LIBRARY_PATH",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(steers_a_build(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX"]
        {
            assert!(!steers_a_build(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_failure_names_the_command_and_its_last_lines() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100 >&2; exit 3"]);
        let message = output(&mut command).unwrap_err().to_string();
        assert!(message.starts_with("`sh -c seq 100 >&2; exit 3` failed (exit status: 3)"));
        assert!(message.ends_with("\n    99\n    100"));
        assert!(!message.contains("\n    75\n"));
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let message = format!("{:#}", run(&mut Command::new("/nonexistent/tool")).unwrap_err());
        assert!(message.starts_with("could not start `/nonexistent/tool`"), "{message}");
    }

    #[test]
    fn only_executable_files_are_found() {
        assert!(find_in("sh", &OsString::from("/nonexistent:/bin")).is_some());
        assert!(find_in("passwd", &OsString::from("/etc")).is_none());
    }
}
