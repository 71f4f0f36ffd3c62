//! `cargo xtask test`: everything that must hold, in an order that finds cheap faults first, with
//! a summary of what ran and how long it took. `lint` and `fmt` are parts of it.

use std::{
    ffi::OsString,
    fmt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bpf, fuzz,
    fuzz::Effort,
    guest::{self, Guest},
    process, progress,
    setup::{self, Needs},
    workspace::{Profile, Workspace},
};

/// The crates whose tests run anywhere: no root, no lab.
const HOST_PACKAGES: [&str; 3] = ["firewall-common", "firewall-user", "xtask"];

/// Runs everything; `args` go to the test programs.
pub(crate) fn test(args: &[OsString]) -> Result<()> {
    Steps::summarised(|steps| {
        let workspace = Workspace::locate()?;
        lint_steps(steps, &workspace, Needs::Everything)?;
        let fwx = steps
            .run("fwx", || workspace.build_executable("firewall-user", "fwx", Profile::Dev))?;
        steps.run("tests on the host", || {
            let mut cargo = workspace.cargo();
            cargo.arg("test");
            for package in HOST_PACKAGES {
                cargo.args(["--package", package]);
            }
            count_tests(cargo.arg("--").args(args))
        })?;
        steps.run("fuzzing", || fuzz::run(&workspace, Effort::Quick))?;
        steps.run("tests in the kernel", || {
            let mut cargo = workspace.cargo();
            cargo.args(["test", "--package", "firewall-tests", "--"]).args(args).env("FWX", &fwx);
            count_tests(&mut cargo)
        })?;
        match guest::is_out_of_reach() {
            Some(why) => steps.skip(GUEST_STEP, why),
            None => {
                let guest = Guest::ensure(&workspace, guest::DEBIAN_12)?;
                steps.run(GUEST_STEP, || count_guest_tests(&guest, &workspace, &fwx, args))?;
            }
        }
        Ok(())
    })
}

const GUEST_STEP: &str = "tests in Debian 12's kernel 6.1";

/// Runs those tests alone that run in another kernel, in the newest of Debian's whose version begins with `version`.
pub(crate) fn test_in_kernel(version: &str, args: &[OsString]) -> Result<()> {
    Steps::summarised(|steps| {
        let workspace = Workspace::locate()?;
        // First, for it is soon done and may fail for what was typed.
        let guest = steps.run("kernel and emulator", || Guest::ensure(&workspace, version))?;
        let ready = steps.run("set-up", || setup::ensure(Needs::Build))?;
        steps.run("kernel programs", || bpf::build(&workspace, &ready))?;
        let fwx = steps
            .run("fwx", || workspace.build_executable("firewall-user", "fwx", Profile::Dev))?;
        steps.run("tests in the kernel", || count_guest_tests(&guest, &workspace, &fwx, args))
    })
}

/// Runs the guest's tests and tells how many there were.
fn count_guest_tests(
    guest: &Guest,
    workspace: &Workspace,
    fwx: &Path,
    args: &[OsString],
) -> Result<()> {
    let mut counts = Counts::default();
    let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    guest.test(workspace, fwx, &args, |line| counts.add(line))?;
    println!("{counts}");
    ensure!(counts.passed > 0 || !args.is_empty(), "no test ran in the guest");
    Ok(())
}

/// Runs `cargo test` and tells how many tests there were in all.
fn count_tests(cargo: &mut Command) -> Result<()> {
    let mut counts = Counts::default();
    process::run_watched(cargo, |line| counts.add(line))?;
    println!("{counts}");
    Ok(())
}

/// What the summaries of test programs add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds a line, if it is the summary of a test program: `test result: ok. 6 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |what: &str| {
            let before = summary.split(what).next()?;
            before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
        };
        self.passed += count(" passed;").unwrap_or(0);
        self.ignored += count(" ignored;").unwrap_or(0);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests passed, {} were left out", self.passed, self.ignored)
    }
}

/// What can be said without running fwx.
pub(crate) fn lint() -> Result<()> {
    Steps::summarised(|steps| lint_steps(steps, &Workspace::locate()?, Needs::Build))
}

/// Formats what [`lint`] checks.
pub(crate) fn format() -> Result<()> {
    let workspace = Workspace::locate()?;
    for mut command in rustfmt(&workspace) {
        process::run(&mut command)?;
    }
    match taplo(&workspace) {
        Some(mut taplo) => process::run(&mut taplo),
        None => Ok(()),
    }
}

fn lint_steps(steps: &mut Steps, workspace: &Workspace, needs: Needs) -> Result<()> {
    let ready = steps.run("set-up", || setup::ensure(needs))?;

    if has_subcommand(workspace, "fmt") {
        steps.run("formatting of Rust", || {
            rustfmt(workspace)
                .iter_mut()
                .try_for_each(|command| process::run(command.arg("--check")))
        })?;
    } else {
        steps.skip("formatting of Rust", "rustfmt is not installed");
    }
    match taplo(workspace) {
        Some(mut taplo) => {
            steps.run("formatting of TOML", || process::run(taplo.arg("--check")))?;
        }
        None => steps.skip("formatting of TOML", "taplo is not installed"),
    }

    // Before clippy: firewall-user embeds the object and cannot be looked at without it.
    steps.run("kernel programs", || bpf::build(workspace, &ready))?;

    if has_subcommand(workspace, "clippy") {
        steps.run("clippy", || {
            let mut cargo = workspace.cargo();
            cargo.args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]);
            process::run(&mut cargo)?;
            let mut fuzz = workspace.cargo();
            fuzz.args(["clippy", "--no-default-features", "--manifest-path"]);
            process::run(fuzz.arg(workspace.fuzz_manifest()).args(["--", "-Dwarnings"]))
        })
    } else {
        steps.skip("clippy", "clippy is not installed");
        Ok(())
    }
}

/// What is no member of the workspace takes a command of its own.
fn rustfmt(workspace: &Workspace) -> [Command; 3] {
    let mut members = workspace.cargo();
    members.args(["fmt", "--all"]);
    let mut ebpf = workspace.cargo();
    ebpf.arg("fmt").arg("--manifest-path").arg(workspace.ebpf_crate().join("Cargo.toml"));
    // What follows goes to cargo-fmt itself, which also knows `--check`.
    let mut fuzz = workspace.cargo();
    fuzz.arg("fmt").arg("--manifest-path").arg(workspace.fuzz_manifest());
    [members, ebpf, fuzz]
}

fn taplo(workspace: &Workspace) -> Option<Command> {
    let mut taplo = Command::new(process::find_on_path("taplo")?);
    taplo.current_dir(&workspace.root).arg("fmt");
    Some(taplo)
}

/// A rustup proxy exists for components that do not: only running it tells.
fn has_subcommand(workspace: &Workspace, name: &str) -> bool {
    process::succeeds(workspace.cargo().args([name, "--version"]))
}

/// The steps so far.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Outcome)>,
}

enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
}

impl Steps {
    /// Runs steps until one fails, then prints the summary in either case.
    fn summarised(run: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut steps = Self::default();
        let result = run(&mut steps);
        eprint!("{}", steps.summary());
        result
    }

    fn run<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        // To standard error, as cargo does: the two stay in order when output is redirected.
        eprintln!("\n==> {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        let outcome = if result.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.done.push((name, outcome(took)));
        result.with_context(|| format!("step failed: {name}"))
    }

    fn skip(&mut self, name: &'static str, why: &'static str) {
        eprintln!("\n==> {name}: skipped, {why}");
        self.done.push((name, Outcome::Skipped(why)));
    }

    fn summary(&self) -> String {
        let mut text = String::from("\n==> summary\n");
        for (name, outcome) in &self.done {
            text += &match outcome {
                Outcome::Passed(took) => format!("  passed   {name}  {}\n", progress::human(*took)),
                Outcome::Failed(took) => format!("  FAILED   {name}  {}\n", progress::human(*took)),
                Outcome::Skipped(why) => format!("  skipped  {name}  ({why})\n"),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn summaries_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 6 tests",
            "test result: ok. 6 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 30 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 36, ignored: 1 });
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let mut steps = Steps::default();
        steps.run("first", || Ok(())).unwrap();
        steps.skip("second", "no tool");
        let error = steps.run("third", || -> Result<()> { bail!("it broke") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "step failed: third: it broke");
        assert_eq!(
            steps.summary(),
            "\n==> summary\n  passed   first  0.0 s\n  skipped  second  (no tool)\n  \
             FAILED   third  0.0 s\n"
        );
    }
}
