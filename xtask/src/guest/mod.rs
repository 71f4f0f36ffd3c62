//! Tests in another kernel than this machine's: Debian's, in an emulated machine.
//!
//! Replay tests need a kernel and nothing else, so the guest is that kernel, the test programs, and a shell to start
//! them. The processor is emulated in software: it is the same everywhere, also where this machine is a guest itself
//! and its /dev/kvm opens and then fails at some instruction. A verifier is slow there, so tests load programs once.

mod image;
mod kernel;
mod tools;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use self::{image::Content, kernel::Kernel, tools::Tools};
use crate::{debian::OsRelease, process, progress, workspace::Workspace};

/// The kernel of Debian 12, as the beginning of its version.
pub(crate) const DEBIAN_12: &str = "6.1";

/// The tests of firewall-tests that run there: those of the kernel programs that need no programs of others but a few
/// tools. Replay by `fwx replay`, which loads programs for each capture, would take the verifier as long as all others.
const TESTS: [&str; 4] = ["lab_attachment", "lab_tunnels", "replay", "table_batches"];
/// What those call.
const CALLED: [&str; 4] = ["ip", "tc", "ethtool", "timeout"];

/// The guest's processors: test programs run as many tests at a time.
const PROCESSORS: u32 = 2;
/// The guest's memory, MiB. A kernel that runs out of it panics.
const MEMORY_MIB: u64 = 2048;
/// What the emulator takes besides, MiB.
const OVERHEAD_MIB: u64 = 512;
/// How long the guest may run.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);
/// What coreutils' `timeout` exits with when the limit is reached.
const TIMED_OUT: i32 = 124;

/// A kernel and what it takes to run tests in it.
pub(crate) struct Guest {
    kernel: Kernel,
    tools: Tools,
    directory: PathBuf,
}

/// Why no guest can be had on this machine, if so.
pub(crate) fn is_out_of_reach() -> Option<&'static str> {
    if env::consts::ARCH != "x86_64" {
        Some("this machine is no x86-64")
    } else if !OsRelease::read().is_debian_12() {
        Some("this system is not Debian 12")
    } else {
        None
    }
}

impl Guest {
    /// Fetches what is not there yet. `version` is the beginning of the version of one of Debian's kernels.
    pub(crate) fn ensure(workspace: &Workspace, version: &str) -> Result<Self> {
        if let Some(why) = is_out_of_reach() {
            bail!("tests in kernel {version} run on Debian 12 on x86-64, and {why}");
        }
        let directory = workspace.target_dir.join("guest");
        let kernel = kernel::ensure(workspace, version)?;
        Ok(Self { kernel, tools: Tools::ensure(workspace)?, directory })
    }

    /// Runs the tests with `args` and gives each line that is printed to `look`.
    pub(crate) fn test(
        &self,
        workspace: &Workspace,
        fwx: &Path,
        args: &[String],
        look: impl FnMut(&str),
    ) -> Result<()> {
        check_memory()?;
        let tests = workspace.build_tests("firewall-tests", &TESTS)?;
        let mut programs: Vec<(&str, PathBuf)> = TESTS.into_iter().zip(tests).collect();
        programs.push(("fwx", fwx.to_owned()));
        let mut tools = CALLED.map(tool).into_iter().collect::<Result<Vec<_>>>()?;
        tools.push(self.tools.wg());
        let content = Content { programs: &programs, tools: &tools, script: &script(args) };
        let initramfs = image::build(&self.directory, &self.kernel, &self.tools, &content)?;
        self.run(&initramfs, look)
    }

    /// Boots the kernel, whose first program runs the tests.
    fn run(&self, initramfs: &Path, look: impl FnMut(&str)) -> Result<()> {
        let verdict = self.directory.join("verdict");
        fs::write(&verdict, "").with_context(|| format!("cannot write {}", verdict.display()))?;
        eprintln!(
            "Linux {} in {MEMORY_MIB} MiB, for {} at most",
            self.kernel.version,
            progress::human(TIME_LIMIT)
        );
        let mut command = self.command(initramfs, &verdict)?;
        let status = process::watch(&mut command, look)?;
        if status.code() == Some(TIMED_OUT) {
            bail!("the guest was not done within {}", progress::human(TIME_LIMIT));
        }
        ensure!(status.success(), "the emulator failed ({status})");
        let said = fs::read_to_string(&verdict)
            .with_context(|| format!("cannot read {}", verdict.display()))?;
        match said.trim() {
            "exit 0" => Ok(()),
            "" => bail!(
                "the guest ended without a word: its kernel panicked (out of {MEMORY_MIB} MiB of memory, maybe), \
                 and says why above"
            ),
            other => bail!("tests failed in the guest ({other})"),
        }
    }

    fn command(&self, initramfs: &Path, verdict: &Path) -> Result<Command> {
        let qemu = self.tools.qemu()?;
        // In the foreground, so that Ctrl-C reaches the emulator too.
        let mut command = process::isolated("timeout");
        command.args(["--foreground", "--kill-after=10"]).arg(TIME_LIMIT.as_secs().to_string());
        command.arg(qemu.get_program());
        command.envs(qemu.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
        command.args(["-smp", &PROCESSORS.to_string(), "-m", &MEMORY_MIB.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(initramfs);
        // A panic ends the guest at once, and so does a lack of memory.
        command.args(["-append", "console=ttyS0 quiet panic=-1 sysctl.vm.panic_on_oom=1"]);
        command.args(["-serial", "stdio", "-serial"]);
        let mut file = std::ffi::OsString::from("file:");
        file.push(verdict);
        command.arg(file);
        Ok(command)
    }
}

/// The script that runs all tests, also those behind one that failed.
fn script(args: &[String]) -> String {
    let args: String = args.iter().map(|arg| format!(" {}", quoted(arg))).collect();
    // Debian's kernel has all tunnels that fwx is for.
    let mut script = String::from("export FWX=/guest/fwx FWX_TUNNELS_ALL=1\nfailed=0\n");
    for test in TESTS {
        script += &format!("echo 'Running {test}'\n");
        script += &format!("/guest/{test} --test-threads={PROCESSORS}{args} || failed=1\n");
    }
    script + "exit $failed\n"
}

/// A word as the shell takes it for what it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Where this machine has a tool of the lab's.
fn tool(name: &str) -> Result<PathBuf> {
    process::find_on_path(name).with_context(|| format!("there is no {name} on PATH"))
}

/// Fails before the guest does.
fn check_memory() -> Result<()> {
    const WANTED_MIB: u64 = MEMORY_MIB + OVERHEAD_MIB;
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available = available_mib(&meminfo).context("/proc/meminfo does not say what is free")?;
    ensure!(
        available >= WANTED_MIB,
        "the guest takes {WANTED_MIB} MiB of memory, and {available} MiB are free"
    );
    Ok(())
}

/// `MemAvailable` of `/proc/meminfo`, MiB.
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_tests_as_they_were_given() {
        let script = script(&["it's".to_owned(), "--nocapture".to_owned()]);
        let wanted = r"/guest/replay --test-threads=2 'it'\''s' '--nocapture' || failed=1";
        assert!(script.contains(wanted), "{script}");
    }

    #[test]
    fn free_memory_is_what_the_kernel_says() {
        let meminfo = "MemTotal:       24684032 kB\nMemAvailable:   23838720 kB\n";
        assert_eq!(available_mib(meminfo), Some(23_280));
        assert_eq!(available_mib("MemTotal: 1 kB\n"), None);
    }
}
