//! Nothing of a lab outlives the process that made it.
//!
//! There are three ways for a lab to end, and each is covered:
//! - its values are dropped, at the end of a test or while it panics: each removes what it made;
//! - a signal ends the process (Ctrl-C, SIGTERM, SIGHUP): a thread removes everything on the list
//!   kept here, then lets the signal do what it would have done;
//! - SIGKILL: children end with their parent (PR_SET_PDEATHSIG, see `process.rs`), and the next
//!   process that makes a lab sweeps away what is left of labs whose process is gone.
//!
//! The signal handler writes to a pipe and a thread reads it. Blocking the signals and waiting in
//! `sigwait` would be shorter, but threads that exist already (the test harness has several) would
//! not inherit the mask, while every child would.

use std::{
    fs::{self, File},
    io::Read as _,
    os::fd::{IntoRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};
use firewall_user::{apply::watcher, instance::Instance};
use nix::{
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction},
    unistd::Pid,
};

use crate::{namespace, tool, traces};

/// What every name of a lab begins with: namespaces, instances of fwx, directories.
const PREFIX: &str = "fwx";

/// Where fwx keeps its pins, one directory for each layout version below it.
pub(crate) const PINS: &str = "/sys/fs/bpf/fwx";

/// Where fwx keeps what lives as long as the machine runs, one directory for each instance.
const RUN: &str = "/run/fwx";

/// Signals that end a lab in good order.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Something that exists outside this process and must not outlive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// A network namespace, by name.
    Namespace(String),
    /// A directory with logs and policies.
    Directory(PathBuf),
    /// An instance of fwx: its pins outlive its controller. `binary` takes it down.
    Instance { binary: PathBuf, namespace: String, instance: String },
}

impl Leftover {
    /// Removes it. That it is gone already is no error.
    pub(crate) fn remove(&self) -> Result<()> {
        match self {
            Leftover::Namespace(name) => namespace::remove(name),
            Leftover::Directory(path) => match fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {}", path.display()))
                }
                _ => Ok(()),
            },
            Leftover::Instance { binary, namespace, instance } => {
                let mut command = Command::new(binary);
                command.args(["--instance", instance, "down"]);
                namespace::enter_on_exec(&mut command, namespace);
                match tool::run(&mut command) {
                    Err(error) if !traces::pins(instance).is_empty() => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The name of a new lab, unique on this machine: `fwx-PID-NUMBER`.
///
/// The first call also sweeps away what dead labs left, and from then on signals clean up.
pub(crate) fn new_lab_name() -> Result<String> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    static NUMBER: AtomicI32 = AtomicI32::new(0);

    PREPARED
        .get_or_init(|| {
            sweep();
            clean_up_on_signals().map_err(|error| format!("{error:#}"))
        })
        .clone()
        .map_err(anyhow::Error::msg)?;
    Ok(format!("{PREFIX}-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
}

/// Writes `leftover` on the list of what a signal must remove, then makes it by calling `create`.
///
/// Both under the list's lock: a signal finds it listed and made, or not at all.
pub(crate) fn remember<T>(leftover: &Leftover, create: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut list = list();
    if list.closed {
        bail!("a signal ends this process: nothing new is made");
    }
    let made = create()?;
    list.leftovers.push(leftover.clone());
    Ok(made)
}

/// Removes `leftover` and takes it off the list. When it is not listed, a signal's clean-up got
/// there first, or this is the second call: then nothing is done.
pub(crate) fn remove(leftover: &Leftover) -> Result<()> {
    let mut list = list();
    let Some(index) = list.leftovers.iter().position(|listed| listed == leftover) else {
        return Ok(());
    };
    list.leftovers.swap_remove(index);
    drop(list);
    leftover.remove()
}

struct List {
    leftovers: Vec<Leftover>,
    /// Set once a signal has come: nothing may be added any more.
    closed: bool,
}

fn list() -> MutexGuard<'static, List> {
    static LIST: Mutex<List> = Mutex::new(List { leftovers: Vec::new(), closed: false });
    // A panic inside `create` leaves the list as it was.
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes everything on the list, the newest first: an instance of fwx before its namespace.
fn remove_everything() {
    let mut list = list();
    list.closed = true;
    while let Some(leftover) = list.leftovers.pop() {
        if let Err(error) = leftover.remove() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// The writing end of the pipe from the signal handler to the thread that cleans up.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

fn clean_up_on_signals() -> Result<()> {
    let (reader, writer) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    // Never closed: the handler may run until the very end of the process.
    SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);

    thread::Builder::new()
        .name("lab-signals".into())
        .spawn(move || wait_for_signal(reader))
        .context("cannot start the thread that cleans up after a signal")?;

    for signal in SIGNALS {
        let action =
            SigAction::new(SigHandler::Handler(on_signal), SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: the handler only loads an atomic and calls write(2), both async-signal-safe.
        unsafe { sigaction(signal, &action) }
            .with_context(|| format!("cannot install a handler for {signal}"))?;
    }
    Ok(())
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: the pointer is to one byte that lives across the call; write(2) is async-signal-safe.
    // There is nothing to do about a failure in here.
    unsafe { libc::write(SIGNAL_PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}

fn wait_for_signal(reader: OwnedFd) {
    let mut byte = [0];
    if File::from(reader).read_exact(&mut byte).is_err() {
        return;
    }
    eprintln!("lab: interrupted, removing namespaces, processes and pins …");
    remove_everything();

    // Now the signal does what it would have done without us, so that the parent sees the cause.
    let signal = Signal::try_from(i32::from(byte[0])).unwrap_or(Signal::SIGTERM);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    let _ = unsafe { sigaction(signal, &default) };
    let _ = raise(signal);
}

/// Removes what labs of dead processes left. Only names that a lab gives are touched; what cannot be
/// removed is said and left alone, it must not keep a new lab from working.
fn sweep() {
    let mut leftovers = Vec::new();
    for name in names_in(Path::new(namespace::DIRECTORY)).filter(|name| is_orphan(name)) {
        leftovers.push(Leftover::Namespace(name));
    }
    // Pins are only directories and files: a namespace that is gone has taken its devices, and with
    // them every attachment, along.
    for layout in names_in(Path::new(PINS)) {
        let layout = Path::new(PINS).join(layout);
        for name in names_in(&layout).filter(|name| is_orphan(name)) {
            leftovers.push(Leftover::Directory(layout.join(name)));
        }
    }
    for name in names_in(&std::env::temp_dir()).filter(|name| is_orphan(name)) {
        leftovers.push(Leftover::Directory(std::env::temp_dir().join(name)));
    }

    for name in names_in(Path::new(RUN)).filter(|name| is_orphan(name)) {
        if let Err(error) = Instance::new(&name).and_then(|instance| watcher::end(&instance)) {
            eprintln!("lab: cannot end what a dead lab's `fwx apply --confirm` started: {error:#}");
        }
        leftovers.push(Leftover::Directory(Path::new(RUN).join(name)));
    }

    for leftover in leftovers {
        // Two processes may sweep at once: what the other has removed meanwhile is no error.
        if let Err(error) = leftover.remove() {
            eprintln!("lab: cannot remove what a dead lab left: {error:#}");
        }
    }
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether `name` is one that a lab gives, of a process that is no more. This process counts as
/// one: it sweeps before its first lab, so a name with its number is from an earlier process.
fn is_orphan(name: &str) -> bool {
    match owner(name) {
        Some(pid) if pid == Pid::this() => true,
        Some(pid) => nix::sys::signal::kill(pid, None) == Err(nix::errno::Errno::ESRCH),
        None => false,
    }
}

/// The process that gave `name`, when it has the form `fwx-PID-NUMBER` or `fwx-PID-NUMBER-ROLE`.
fn owner(name: &str) -> Option<Pid> {
    let mut parts = name.splitn(4, '-');
    let (prefix, pid, number, role) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_role =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());

    let ours = prefix == PREFIX && is_number(pid) && is_number(number) && role.is_none_or(is_role);
    if !ours { None } else { pid.parse().ok().filter(|&pid| pid > 0).map(Pid::from_raw) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_lab_gives_have_an_owner() {
        for ours in ["fwx-12-0", "fwx-12-3-client", "fwx-4194304-17-gateway"] {
            assert!(owner(ours).is_some(), "{ours}");
        }
        for other in [
            "fwx",
            "fwx-12",
            "fwx-12-",
            "fwx--1",
            "fwx-0-0",
            "fwx-x-1",
            "fwx-12-x",
            "fwx-12-0-",
            "fwx-12-0-Client",
            "fwx-12-0-a/b",
            "fwxx-12-0",
            "fwx-99999999999-0",
            "my-fwx-12-0",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn labs_of_living_processes_are_no_orphans() {
        let parent = Pid::parent();
        assert!(!is_orphan(&format!("fwx-{parent}-0-client")));
        // Above the highest number that Linux gives a process.
        assert!(is_orphan("fwx-4194305-0-client"));
    }
}
