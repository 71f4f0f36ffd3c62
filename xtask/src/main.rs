//! `cargo xtask`: everything one does with this repository, from installing the tools to the demo.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

use setup::Needs;
use workspace::{Profile, Workspace};

mod bpf;
mod checks;
mod debian;
mod fuzz;
mod guest;
mod linker;
mod process;
mod progress;
mod receivers;
mod setup;
mod toolchain;
mod version;
mod workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up, build, demo, tests and benchmarks of fwx",
    after_help = "Examples:\n  \
        cargo xtask demo                 install, build and watch fwx at work (root)\n  \
        cargo xtask test                 everything that must hold, step by step (root)\n  \
        cargo xtask test -- rtsp         only the tests with `rtsp` in their name\n  \
        cargo xtask build --release      the fwx binary with its kernel programs inside\n\n\
        Every command installs what it needs first and says so; `cargo xtask setup` does only that."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing: compiler and linker for the kernel programs, tools of the lab
    #[command(after_help = "Examples:\n  \
        cargo xtask setup                everything\n  \
        cargo xtask setup --build-only   no GStreamer, ffmpeg and so on: enough for `build`")]
    Setup {
        /// Leave out what only the lab and fuzzing need (demo, test, bench)
        #[arg(long)]
        build_only: bool,
    },
    /// Build the kernel programs, then fwx
    #[command(after_help = "Examples:\n  \
        cargo xtask build\n  \
        cargo xtask build --release")]
    Build {
        /// Optimised, as it is shipped
        #[arg(long)]
        release: bool,
    },
    /// A camera plays through the gateway: each step is checked and printed (root)
    #[command(after_help = "Examples:\n  \
        cargo xtask demo\n  \
        cargo xtask demo -- --help       options of the demo itself")]
    Demo(Passed),
    /// Formatting, lints, build, fuzzing, tests on the host, in the kernel and in Debian 12's kernel (root)
    #[command(after_help = "Examples:\n  \
        cargo xtask test\n  \
        cargo xtask test -- rtsp         only the tests with `rtsp` in their name\n  \
        cargo xtask test -- --nocapture  show what the tests print\n  \
        cargo xtask test --kernel 6.1    only the tests that run in Debian 12's kernel, in it")]
    Test {
        /// Run only what runs in another kernel: the newest of Debian's whose version begins so, emulated
        #[arg(long, value_name = "VERSION")]
        kernel: Option<String>,
        #[command(flatten)]
        passed: Passed,
    },
    /// What fwx costs, held against its goals; the report goes to target/bench (root)
    #[command(after_help = "Examples:\n  \
        cargo xtask bench --quick        a rough answer, in three minutes\n  \
        cargo xtask bench                in twenty\n  \
        cargo xtask bench -- --docs      and write docs/performance.md\n  \
        cargo xtask bench -- --help      options of the benchmark itself")]
    Bench {
        /// Fewer repetitions
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        passed: Passed,
    },
    /// Fuzz what reads bytes from outside: longer than `test` does (no root)
    #[command(after_help = "Examples:\n  \
        cargo xtask fuzz                 a minute for each target\n  \
        cargo xtask fuzz --seconds 3600\n  \
        cargo fuzz run -s none rtsp      one target, until it finds something")]
    Fuzz {
        /// For how long to run each target
        #[arg(long, value_name = "N", default_value_t = 60)]
        seconds: u32,
    },
    /// Formatting and lints alone: the quick part of `test` (no root)
    Lint,
    /// Format Rust and, where taplo is installed, TOML files
    Fmt,
}

#[derive(Args)]
struct Passed {
    /// Handed on to the program as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not anyhow's own form: that one adds a backtrace whenever RUST_BACKTRACE is set.
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Setup { build_only } => setup::report(&setup::ensure(if build_only {
            Needs::Build
        } else {
            Needs::Everything
        })?),
        Command::Build { release } => {
            let profile = if release { Profile::Release } else { Profile::Dev };
            let fwx = build_fwx(&Workspace::locate()?, Needs::Build, profile)?;
            println!("{}", fwx.display());
            Ok(())
        }
        Command::Demo(passed) => run_in_lab("demo", passed.args),
        Command::Bench { quick, passed } => {
            let quick = quick.then(|| OsString::from("--quick"));
            run_in_lab("bench", quick.into_iter().chain(passed.args).collect())
        }
        Command::Test { kernel: Some(version), passed } => {
            checks::test_in_kernel(&version, &passed.args)
        }
        Command::Test { kernel: None, passed } => {
            require_root("test")?;
            checks::test(&passed.args)
        }
        Command::Fuzz { seconds } => {
            setup::ensure_fuzzing()?;
            fuzz::run(&Workspace::locate()?, fuzz::Effort::Seconds(seconds))
        }
        Command::Lint => checks::lint(),
        Command::Fmt => checks::format(),
    }
}

/// Builds all in release mode and becomes the binary `name` of firewall-tests, so that signals and
/// the exit code are that program's own.
fn run_in_lab(name: &str, args: Vec<OsString>) -> Result<()> {
    require_root(name)?;
    let workspace = Workspace::locate()?;
    let fwx = build_fwx(&workspace, Needs::BuildAndLab, Profile::Release)?;
    let program = workspace.build_executable("firewall-tests", name, Profile::Release)?;
    let error = std::process::Command::new(&program).args(args).env("FWX", fwx).exec();
    Err(error).with_context(|| format!("could not start {}", program.display()))
}

/// Kernel programs first: the build script of firewall-user embeds them.
fn build_fwx(workspace: &Workspace, needs: Needs, profile: Profile) -> Result<std::path::PathBuf> {
    let ready = setup::ensure(needs)?;
    bpf::build(workspace, &ready)?;
    workspace.build_executable("firewall-user", "fwx", profile)
}

/// Fails before anything is installed or built: nobody should wait for minutes to read this.
fn require_root(command: &str) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "`cargo xtask {command}` needs root: it makes network namespaces and loads programs into \
         the kernel. As root, or: sudo env \"PATH=$PATH\" cargo xtask {command}"
    );
    Ok(())
}
