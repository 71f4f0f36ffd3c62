//! Coverage-guided fuzzing, see `fuzz/`: cargo-fuzz, and a short run of every target.

use std::{
    fmt::Write as _,
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress, workspace, workspace::Workspace};

/// The version that is installed where there is none.
const VERSION: &str = "0.13.2";
/// How long each target is fuzzed.
#[derive(Clone, Copy)]
pub(crate) enum Effort {
    /// A part of every test run: enough inputs to notice what a change breaks at once, and a bound for slow machines.
    Quick,
    /// So many seconds.
    Seconds(u32),
}

impl Effort {
    fn options(self) -> Vec<String> {
        match self {
            Self::Quick => vec!["-runs=50000".to_owned(), "-max_total_time=15".to_owned()],
            Self::Seconds(seconds) => vec![format!("-max_total_time={seconds}")],
        }
    }
}

/// What is fuzzed has no unsafe code worth the name, and AddressSanitizer is for nightly compilers only and makes
/// builds and runs several times slower. Overflows, bounds and assertions are checked without it.
const NO_SANITIZER: [&str; 2] = ["--sanitizer", "none"];

/// Installs cargo-fuzz if cargo does not know it.
pub(crate) fn ensure_tool() -> Result<()> {
    let mut version = Command::new(workspace::host_cargo());
    if process::succeeds(version.args(["fuzz", "--version"])) {
        return Ok(());
    }
    let mut install = Command::new(workspace::host_cargo());
    install.args(["install", "cargo-fuzz", "--version", VERSION, "--locked"]);
    progress::run(&format!("building cargo-fuzz {VERSION}"), &mut install)
        .context("cargo-fuzz could not be installed")
}

/// Builds and runs every target.
pub(crate) fn run(workspace: &Workspace, effort: Effort) -> Result<()> {
    process::run(cargo_fuzz(workspace, "build").args(NO_SANITIZER))?;
    let targets = process::output(&mut cargo_fuzz(workspace, "list"))?;
    targets.split_whitespace().try_for_each(|target| run_target(workspace, target, effort))
}

fn run_target(workspace: &Workspace, target: &str, effort: Effort) -> Result<()> {
    let fuzz = workspace.root.join("fuzz");
    // What is found on the way stays out of the seeds, and is there for the next run.
    let found = workspace.target_dir.join("fuzz-corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("could not create {}", found.display()))?;
    let mut command = cargo_fuzz(workspace, "run");
    command.args(NO_SANITIZER).arg(target).arg(&found).arg(fuzz.join("corpus").join(target));
    command.args(["--", "-verbosity=0", "-print_final_stats=1"]).args(effort.options());
    let dictionary = fuzz.join("dictionaries").join(target).with_extension("dict");
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }

    let started = Instant::now();
    let shown = process::shown(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{shown}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        let inputs = executed(&said).context("libFuzzer did not say how many inputs it tried")?;
        println!("{target}: {inputs} inputs, {}", progress::human(started.elapsed()));
        return Ok(());
    }
    eprint!("{}{said}", String::from_utf8_lossy(&output.stdout));
    let mut message = format!("`{shown}` failed ({})", output.status);
    if let Some(file) = artifact(&said) {
        let input = fs::read(file).with_context(|| format!("could not read {file}"))?;
        let _ = write!(
            message,
            "; once more with this input:\n    printf '{}' > /tmp/input\n    \
             cargo fuzz run {} {target} /tmp/input",
            for_printf(&input),
            NO_SANITIZER.join(" "),
        );
    }
    bail!(message)
}

/// `cargo fuzz COMMAND`, by the compiler that builds everything else for the host.
fn cargo_fuzz(workspace: &Workspace, command: &str) -> Command {
    let mut cargo = workspace.cargo();
    cargo.args(["fuzz", command]);
    cargo
}

/// What libFuzzer's statistics say of the number of inputs.
fn executed(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line?.trim().parse().ok()
}

/// Where libFuzzer left the input that it stopped at.
fn artifact(said: &str) -> Option<&str> {
    said.lines().find_map(|line| Some(line.split_once("Test unit written to ")?.1.trim()))
}

/// The input as the format of a shell's printf: a clone in a CI runner is gone when its log is read.
fn for_printf(input: &[u8]) -> String {
    input.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = match byte {
            b'\r' => write!(text, "\\r"),
            b'\n' => write!(text, "\\n"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => write!(text, "{}", char::from(*byte)),
            byte if b" :/.,;=*<>@$".contains(byte) => write!(text, "{}", char::from(*byte)),
            byte => write!(text, "\\{byte:03o}"),
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read() {
        let said = "Dictionary: 2 entries\nstat::number_of_executed_units: 50000\nstat::x: 7\n";
        assert_eq!(executed(said), Some(50_000));
        assert_eq!(executed("Dictionary: 2 entries\n"), None);
    }

    #[test]
    fn the_input_that_was_stopped_at_is_found() {
        let said = "artifact_prefix='/a/'; Test unit written to /a/crash-1f\nBase64: QA==\n";
        assert_eq!(artifact(said), Some("/a/crash-1f"));
        assert_eq!(artifact("Dictionary: 2 entries\n"), None);
    }

    #[test]
    fn an_input_that_is_printed_comes_back_from_the_shell() {
        let input: Vec<u8> = (0..=255).chain(*b"-%s\\n'$PATH' $(ls) \"7").collect();
        let script = format!("printf '{}'", for_printf(&input));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.stdout, input);
    }
}
