//! The process that goes back to the policy before when nobody says that the new one is good. It belongs to no
//! session and has no terminal, so it outlives the connection by which it was started.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    time::{ClockId, ClockNanosleepFlags, clock_nanosleep},
    unistd::{Pid, dup2_stdout, setsid},
};

use super::confirm::{self, Pending};
use crate::instance::Instance;

/// The hidden command that it runs.
pub const COMMAND: &str = "watch-for-confirm";
/// What it says once nothing that happens to who started it stops it any more.
const READY: &str = "ready";
/// How long it waits after a failure, and how often it tries again.
const PAUSE: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 600;
const SECOND: u64 = 1_000_000_000;

/// Starts it, and waits until it is ready. It finds written down what it is to look after.
pub(super) fn start(instance: &Instance) -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(["--instance", instance.name(), COMMAND])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start the process that goes back if no confirmation comes")?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.trim() != READY {
        let ended = child.wait()?;
        bail!("the process that goes back if no confirmation comes did not start ({ended})");
    }
    Ok(())
}

/// What that process does: waits for the deadline, whichever it is by then, and goes back.
pub fn watch(instance: &Instance) -> Result<()> {
    // A session of its own. Whoever runs this by hand may lead one already.
    let _ = setsid();
    let Some(_lock) = take_place(instance)? else {
        bail!("another process looks after it");
    };
    println!("{READY}");
    // Who started this goes its way.
    dup2_stdout(File::options().write(true).open("/dev/null")?.as_fd())?;
    let mut failures = 0;
    while let Some(pending) = Pending::of(instance)? {
        if !pending.is_due() {
            sleep_until(pending.deadline_ns);
        } else if let Err(error) = confirm::look_at_deadline(instance) {
            failures += 1;
            if failures == ATTEMPTS || !instance.is_up() {
                return Err(error);
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Ends it, if it runs, and waits until it is gone.
pub fn end(instance: &Instance) -> Result<()> {
    const LOOKS: u32 = 250;
    const BETWEEN: Duration = Duration::from_millis(20);
    let Some(pid) = process(instance) else { return Ok(()) };
    // It may end by itself in this moment.
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    for _ in 0..LOOKS {
        if process(instance) != Some(pid) {
            return Ok(());
        }
        thread::sleep(BETWEEN);
    }
    bail!("process {pid}, which waits for `fwx confirm`, does not end; end it and try again")
}

/// Its process id, if it runs.
pub fn process(instance: &Instance) -> Option<i32> {
    let file = File::open(path(instance)).ok()?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err((mut file, _)) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        }
    }
}

/// `None`: another process has it.
fn take_place(instance: &Instance) -> Result<Option<Flock<File>>> {
    const ATTEMPTS: u32 = 20;
    const BETWEEN: Duration = Duration::from_millis(25);
    let path = path(instance);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    // Somebody may be looking whether it is taken.
    for _ in 0..ATTEMPTS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                write!(lock, "{}", std::process::id())?;
                return Ok(Some(lock));
            }
            Err((back, _)) => file = back,
        }
        thread::sleep(BETWEEN);
    }
    Ok(None)
}

/// Sleeps until a time of the clock that also counts while the machine sleeps.
fn sleep_until(deadline_ns: u64) {
    let clock = ClockId::CLOCK_BOOTTIME;
    let at = Duration::new(deadline_ns / SECOND, (deadline_ns % SECOND) as u32);
    // A signal ends it early: then the caller looks again.
    let _ = clock_nanosleep(clock, ClockNanosleepFlags::TIMER_ABSTIME, &at.into());
}

fn path(instance: &Instance) -> PathBuf {
    instance.run_directory().join("watcher")
}
