//! One firewall of possibly several on a machine: its name, its pins, its socket, its lock.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use firewall_common::{
    flow::{Timeout, Timeouts},
    layout,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{bad_input, bpffs, events::EventSettings, export::Export, shadow::ShadowState};

/// Longest name of an instance, in bytes.
const NAME_MAX: usize = 48;

/// An instance, which need not be up.
#[derive(Clone, Debug)]
pub struct Instance {
    name: String,
}

impl Instance {
    /// The name of the one that commands mean which name none.
    pub const DEFAULT: &str = "default";

    /// The instance called `name`.
    ///
    /// # Errors
    ///
    /// A name that is not 1 to 48 letters, digits, `-` and `_`: it becomes part of paths on a file system
    /// that has no dots in its names.
    pub fn new(name: &str) -> Result<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(good) {
            bad_input!(
                "--instance {name:?}: a name has 1 to {NAME_MAX} letters, digits, '-' and '_'"
            );
        }
        Ok(Self { name: name.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Directory of its pins. The layout's version is part of it, so that no version misreads another's
    /// tables.
    pub fn pins(&self) -> PathBuf {
        Path::new(bpffs::ROOT).join("fwx").join(format!("v{}", layout::VERSION)).join(&self.name)
    }

    /// Directories of its pins that were made by a version of fwx with another layout of its tables.
    pub fn pins_of_other_layouts(&self) -> Result<Vec<PathBuf>> {
        let ours = self.pins();
        let versions = match fs::read_dir(Path::new(bpffs::ROOT).join("fwx")) {
            Ok(versions) => versions,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context("cannot look for pins of other versions"),
        };
        let mut others = Vec::new();
        for version in versions {
            let pins = version?.path().join(&self.name);
            if pins != ours && pins.is_dir() {
                others.push(pins);
            }
        }
        Ok(others)
    }

    /// Directory of its pinned maps.
    pub fn maps(&self) -> PathBuf {
        self.pins().join("maps")
    }

    /// Directory of its pinned programs.
    pub fn programs(&self) -> PathBuf {
        self.pins().join("programs")
    }

    /// Directory of its pinned links.
    pub fn links(&self) -> PathBuf {
        self.pins().join("links")
    }

    /// Directory of what lives as long as the machine runs.
    pub fn run_directory(&self) -> PathBuf {
        Path::new("/run/fwx").join(&self.name)
    }

    /// The controller's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_directory().join("socket")
    }

    /// Whether its programs are loaded and pinned.
    pub fn is_up(&self) -> bool {
        self.links().is_dir()
    }

    /// What was written down when it was last brought up.
    pub fn state(&self) -> Result<Option<State>> {
        let path = self.run_directory().join("state.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| {
                    format!(
                        "{} is not what fwx wrote: `fwx --instance {} down`, then bring it up again",
                        path.display(),
                        self.name
                    )
                })
                .map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Which writing of the state lies there. `None`: none does.
    pub fn written(&self) -> Option<Written> {
        let there = fs::metadata(self.run_directory().join("state.json")).ok()?;
        Some(Written { file: there.ino(), at: (there.mtime(), there.mtime_nsec()) })
    }

    /// Writes the state down, all of it or none.
    pub fn write_state(&self, state: &State) -> Result<()> {
        let path = self.run_directory().join("state.json");
        let new = path.with_extension("new");
        // A file that was left half written may be anybody's to read.
        let _ = fs::remove_file(&new);
        fs::create_dir_all(self.run_directory())
            .and_then(|()| root_alone().write(true).open(&new))
            .and_then(|mut file| file.write_all(&serde_json::to_vec_pretty(state)?))
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads `file` of the run directory; `None`: there is none.
    pub(crate) fn read_json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        let path = self.run_directory().join(file);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is not what fwx wrote", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Writes `file` of the run directory, for root alone, all of it or nothing.
    pub(crate) fn write_json(&self, file: &str, value: &impl Serialize) -> Result<()> {
        let directory = self.run_directory();
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        replace_json(&directory.join(file), value)
    }

    /// Takes the controller's place. `Err` holds the process id of the controller that has it.
    pub fn lock(&self) -> Result<Result<ControllerLock, Option<i32>>> {
        let directory = self.run_directory();
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join("lock");
        let file = root_alone()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock_patiently(file) {
            Ok(mut lock) => {
                lock.set_len(0)
                    .and_then(|()| write!(lock, "{}", std::process::id()))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(Ok(ControllerLock { _file: lock }))
            }
            Err(mut file) => Ok(Err(read_pid(&mut file))),
        }
    }

    /// Waits until nobody else brings this instance up or takes it down, and keeps others from it until this
    /// is dropped. The file lies outside the directory that goes with the instance.
    pub fn lock_for_change(&self) -> Result<ControllerLock> {
        let lock = self.take_change_lock(FlockArg::LockExclusive)?;
        lock.context("the lock of changes was neither waited for nor taken")
    }

    /// The same, of who may not wait. `None`: another has it.
    pub fn try_lock_for_change(&self) -> Result<Option<ControllerLock>> {
        self.take_change_lock(FlockArg::LockExclusiveNonblock)
    }

    fn take_change_lock(&self, how: FlockArg) -> Result<Option<ControllerLock>> {
        let directory = Path::new("/run/fwx");
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let path = directory.join(format!("{}.change", self.name));
        loop {
            let file = root_alone()
                .write(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            let lock = match Flock::lock(file, how) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            };
            // Whoever had it may have removed the file, see `forget_change_lock`; then it keeps out nobody.
            let same = fs::metadata(&path)
                .is_ok_and(|there| lock.metadata().is_ok_and(|held| there.ino() == held.ino()));
            if same {
                return Ok(Some(ControllerLock { _file: lock }));
            }
        }
    }

    /// Removes the file of [`Instance::lock_for_change`], which the caller has to hold.
    pub fn forget_change_lock(&self) {
        // If it stays, the next one uses it.
        let _ = fs::remove_file(Path::new("/run/fwx").join(format!("{}.change", self.name)));
    }

    /// Process id of the controller that runs, if one does. `Some(None)`: one runs but has not said which.
    pub fn controller(&self) -> Option<Option<i32>> {
        let file = File::open(self.run_directory().join("lock")).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => None,
            Err((mut file, _)) => Some(read_pid(&mut file)),
        }
    }
}

/// Writes the file at `path`, for root alone, all of it or nothing. Its directory has to be there.
pub(crate) fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        Ok(fs::rename(&new, path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes files that nobody but root can open: who opens one could lock it too. The directory of an instance lets
/// others in, to its socket.
fn root_alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).mode(0o600);
    options
}

/// Takes the lock, or gives the file back when another holds it for longer than a look at it takes.
fn lock_patiently(mut file: File) -> std::result::Result<Flock<File>, File> {
    const ATTEMPTS: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(25);
    for _ in 0..ATTEMPTS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, _)) => file = back,
        }
        thread::sleep(PAUSE);
    }
    Err(file)
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The controller's place, held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct ControllerLock {
    _file: Flock<File>,
}

/// A writing of an instance's state: each makes a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    file: u64,
    at: (i64, i64),
}

/// What commands need to know about an instance besides what lies in the kernel's tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The policy file, if there was one.
    pub policy_file: Option<PathBuf>,
    /// The policy as it was compiled, to tell whether the next one differs.
    pub policy_digest: u64,
    /// Protocols; number n stands at n - 1. Those that are gone are there too: flows may still have them.
    pub protocols: Vec<ProtocolState>,
    /// Names of the rules; rule n of an event stands at n - 1. Those that are gone are there too.
    pub rules: Vec<String>,
    /// Numbers of the rules in force, in their order.
    pub rules_in_force: Vec<u16>,
    /// What each of them does: `allow`, `deny` or `reject`.
    #[serde(default)]
    pub rule_actions: Vec<String>,
    /// What becomes of a flow that no rule speaks about.
    #[serde(default)]
    pub default_action: String,
    /// Interfaces.
    pub interfaces: Vec<InterfaceState>,
    /// Names of the interfaces that are to have programs on them, whether they are there or not.
    #[serde(default)]
    pub interfaces_wanted: Vec<String>,
    /// Whether these were named on the command line, whatever policies say.
    #[serde(default)]
    pub interfaces_given: bool,
    /// Names of the interfaces that policies spoke of; number n stands at n - 1.
    pub interface_names: Vec<String>,
    /// The policy's timeouts by name, nanoseconds; what lies in the kernel's table may be shorter.
    #[serde(default)]
    pub timeouts_ns: BTreeMap<String, u64>,
    /// Whether the policy wants the shortcut past the kernel's stack.
    #[serde(default)]
    pub shortcut: bool,
    /// Who may read events, and which are kept.
    #[serde(default)]
    pub events: EventSettings,
    /// Who is sent events and metrics.
    #[serde(default)]
    pub exports: Vec<Export>,
    /// The policy on trial, if there is one.
    #[serde(default)]
    pub shadow: Option<ShadowState>,
}

impl State {
    /// Numbers of the rules that are asked about new flows: those in force and those on trial.
    pub fn rules_asked(&self) -> Vec<u16> {
        let on_trial = self.shadow.iter().flat_map(|shadow| &shadow.rules);
        self.rules_in_force.iter().chain(on_trial).copied().collect()
    }

    /// Numbers of the interfaces that the policy on trial speaks of.
    pub fn interfaces_on_trial(&self) -> Vec<u16> {
        self.shadow.iter().flat_map(|shadow| shadow.interfaces.iter().copied()).collect()
    }

    /// Names of the interfaces that are to have programs on them and have none.
    pub fn awaited(&self) -> impl Iterator<Item = &String> {
        let is_attached = |name: &&String| self.interfaces.iter().any(|it| it.name == **name);
        self.interfaces_wanted.iter().filter(move |name| !is_attached(name))
    }

    /// The number by which policies know the interface `name`; 0: none does.
    pub fn interface_number(&self, name: &str) -> u16 {
        let named = self.interface_names.iter().position(|known| known == name);
        named.and_then(|index| u16::try_from(index + 1).ok()).unwrap_or(0)
    }

    /// The policy's timeouts.
    pub fn timeouts(&self) -> Timeouts {
        let mut timeouts = Timeouts::default();
        for (timeout, name) in Timeout::ALL {
            if let Some(nanoseconds) = self.timeouts_ns.get(name) {
                timeouts.set(timeout, *nanoseconds);
            }
        }
        timeouts
    }
}

/// A protocol of the policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProtocolState {
    /// Its name.
    pub name: String,
    /// Its IP protocol: `tcp`, `icmp`, `47`.
    pub transport: String,
    /// Its ports, `554` or `8000-8010`, or its ICMP types, `echo-request` or `13`.
    pub ports: Vec<String>,
    /// The policy in force has no such protocol any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// An interface with programs on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceState {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// The number by which policies know it.
    pub number: u16,
    /// How packets that come in are caught: `native`, `generic` or `tc`.
    pub ingress: String,
    /// How packets that go out are caught: `tcx`, or `clsact` where the kernel has no TCX.
    pub egress: String,
    /// Why so.
    pub why: String,
}
