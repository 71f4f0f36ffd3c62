//! A program that runs in the lab for a while: its output goes to files, and it ends with the lab.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getppid},
};

use crate::{tool, wait};

/// Lines of output that [`Process::tail`] shows.
const TAIL_LINES: usize = 30;

/// A running program of the lab, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`, with its output in files named after `name` in `directory`.
    ///
    /// `input` is what the program finds on its stdin.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        input: Option<&Path>,
        directory: &Path,
    ) -> Result<Self> {
        let stdin = match input {
            Some(path) => Stdio::from(
                File::open(path).with_context(|| format!("cannot open {}", path.display()))?,
            ),
            None => Stdio::null(),
        };
        let (stdout, to_stdout) = create_fresh(directory, name, "out")?;
        let (stderr, to_stderr) = create_fresh(directory, name, "err")?;
        command.stdin(stdin).stdout(to_stdout).stderr(to_stderr);

        let line = tool::command_line(&command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`: is the program installed?"))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program wrote to stdout so far.
    pub fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// What the program wrote to stderr so far.
    pub fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// The last lines of stderr, for error messages.
    pub fn tail(&self) -> String {
        let text = self.stderr().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// How the program ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits for the program's end, about ten seconds.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait::until(&what, || self.exit_status()?.context("it runs")).with_context(|| self.tail())
    }

    /// An error when the program has ended, with its last words.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.exit_status()? {
            bail!("{} has ended ({status}):\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Sends `signal` to the program itself.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.group(), signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Ends the program by SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait().map(drop)
    }

    /// The program leads a process group of its own: see [`end_with_parent`].
    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not waited for yet, so the number cannot belong to another process meanwhile.
        if let Ok(None) = self.child.try_wait() {
            let _ = killpg(self.group(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Makes `command` a process group of its own, out of reach of a Ctrl-C that is meant for us, and
/// lets the kernel kill it when the thread that starts it ends.
///
/// The thread, not the process: that is how PR_SET_PDEATHSIG works. A test's thread outlives its lab,
/// so this is safe there; a thread that only starts a program for others must not be used.
pub(crate) fn end_with_parent(command: &mut Command) {
    let parent = Pid::this();
    command.process_group(0);
    // SAFETY: prctl and getppid are async-signal-safe and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the call.
            if getppid() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Creates `NAME.EXTENSION` in `directory`, or with a number behind the name when that exists: threads may start
/// programs of one name at the same time.
pub(crate) fn create_fresh(
    directory: &Path,
    name: &str,
    extension: &str,
) -> Result<(PathBuf, File)> {
    for number in 1_u32.. {
        let path = directory.join(match number {
            1 => format!("{name}.{extension}"),
            _ => format!("{name}-{number}.{extension}"),
        });
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot create {}", path.display()));
            }
        }
    }
    bail!("{} has too many files of {name}", directory.display())
}
