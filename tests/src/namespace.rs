//! A network namespace: made, entered, removed.
//!
//! Namespaces are made by `ip netns add`, so that one can look at them with the usual tools. They are
//! entered by setns(2) with CLONE_NEWNET alone: `ip netns exec` would mount another /sys, and hide
//! the bpffs below it where fwx keeps its pins.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::MetadataExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    cleanup::{self, Leftover},
    tool, wait,
};

/// Where `ip netns` keeps its namespaces.
pub(crate) const DIRECTORY: &str = "/run/netns";

/// A network namespace, removed when dropped, together with every process in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn create(name: String) -> Result<Self> {
        cleanup::remember(&Leftover::Namespace(name.clone()), || {
            tool::run(Command::new("ip").args(["netns", "add", &name]))
                .context("cannot make a network namespace: this needs root")
        })?;
        Ok(Self { name })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` commands in the namespace, in one go.
    pub(crate) fn ip(&self, script: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]);
        tool::run_with_input(&mut ip, script).map(drop)
    }

    /// Writes a setting below /proc/sys/net of the namespace, e.g. `ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, setting: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys/net").join(setting);
        self.run(|| fs::write(&path, value))?
            .with_context(|| format!("cannot write {value} to {} in {}", path.display(), self.name))
    }

    /// Runs `work` on a thread inside the namespace. What it opens (sockets above all) belongs to the
    /// namespace for good and can be used from anywhere.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(path(&self.name))
            .with_context(|| format!("there is no namespace {}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("cannot enter namespace {}", self.name))?;
                Ok(work())
            });
            // A panic in there is a panic out here, with its own message.
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = cleanup::remove(&Leftover::Namespace(self.name.clone())) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Makes `command` start in the namespace `name`. The mounts stay those of this process.
pub(crate) fn enter_on_exec(command: &mut Command, name: &str) {
    // Opened by the child: a handle kept in `command` would keep the namespace alive.
    let path = CString::new(path(name).into_os_string().into_encoded_bytes())
        .expect("names of namespaces hold no NUL");
    // SAFETY: open, setns and close are async-signal-safe and the closure allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let namespace = OwnedFd::from_raw_fd(fd);
            if libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Ends every process in the namespace `name`, then removes its devices and its name. That it is
/// gone already, or that another process removes it meanwhile, is no error.
pub(crate) fn remove(name: &str) -> Result<()> {
    let path = path(name);
    match remove_existing(name, &path) {
        Err(error) if path.exists() => Err(error),
        _ => Ok(()),
    }
}

fn remove_existing(name: &str, path: &Path) -> Result<()> {
    kill_processes(path)?;

    // The kernel frees a namespace when the last socket in it is closed, which may be later than
    // now. Its links to other namespaces, and what is attached to them, go at once.
    let links = tool::run(Command::new("ip").args(["-n", name, "-brief", "link"]))?;
    for link in links.lines().filter_map(|line| line.split([' ', '@']).next()) {
        // Removing one end of a pair removes the other, and lo cannot be removed at all.
        let _ = tool::run(Command::new("ip").args(["-n", name, "link", "del", link]));
    }
    tool::run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Kills every process in the namespace at `path`, by its id, until there is none. Never this
/// process, whose threads may be in there.
fn kill_processes(path: &Path) -> Result<()> {
    let namespace =
        fs::metadata(path).with_context(|| format!("there is no namespace {}", path.display()))?;
    wait::until(&format!("the processes in {} ended", path.display()), || {
        let pids = processes_in(&namespace);
        for &pid in &pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if !pids.is_empty() {
            bail!("{pids:?} live");
        }
        Ok(())
    })
}

fn processes_in(namespace: &fs::Metadata) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid: &i32| pid.cast_unsigned() != process::id())
        .filter(|pid| {
            // Unreadable for a process that has ended meanwhile, and for a zombie.
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|of| of.ino() == namespace.ino() && of.dev() == namespace.dev())
        })
        .collect()
}
