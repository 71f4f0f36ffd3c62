//! A policy that is in force until a deadline, and then only if somebody said that it is good.
//!
//! Whoever changes a gateway far away may cut himself off. So what was in force before is written down before the new
//! policy is, with a deadline, and two look after it: a process of its own, which no terminal and no session takes
//! along, and any controller that runs or is started. The first to come after the deadline goes back, under the
//! instance's change lock; the other finds nothing left to do.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use firewall_common::{policy::Binding, reason::Reason};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{Change, in_force, watcher};
use crate::{
    conn::{Numbers, Teller},
    event::Event,
    instance::{ControllerLock, Instance, State},
    policy::PolicyText,
    shortcut::Shortcut,
    status,
    tables::Tables,
};

/// How long a controller waits after a failure before it tries again to go back.
const RETRY: Duration = Duration::from_secs(5);
const SECOND: u64 = 1_000_000_000;
/// Holds the [`Pending`], in the run directory.
const PENDING: &str = "pending.json";
/// Holds the [`Before`].
const BEFORE: &str = "before.json";
/// Holds what a controller has yet to tell.
const UNHEARD: &str = "unheard.json";

/// A policy that waits for a word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Until when it comes, nanoseconds of the clock that also counts while the machine sleeps.
    pub deadline_ns: u64,
    /// How many seconds that was from the start.
    pub seconds: u64,
    /// What is in force until then, as messages call it.
    pub policy: String,
    /// What comes in force then, as messages call it.
    pub before: String,
}

/// What there is to go back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Before {
    /// The policy.
    text: PolicyText,
    /// The file that it came from.
    file: Option<PathBuf>,
    /// What was bound to each protocol, possibly by hand: name, and filter, mode and profile by their numbers.
    bindings: Vec<(String, [u8; 3])>,
}

/// How `fwx status` shows a [`Pending`].
#[derive(Clone, Debug, Serialize)]
pub struct PendingStatus {
    /// What is in force until then.
    pub policy: String,
    /// What comes in force then.
    pub before: String,
    /// Seconds left.
    pub seconds_left: u64,
    /// Whether its own process looks after it.
    pub watched: bool,
}

impl Pending {
    /// What waits for a word, if something does.
    pub fn of(instance: &Instance) -> Result<Option<Self>> {
        instance.read_json(PENDING)
    }

    /// One whose time begins now.
    pub fn beginning(seconds: u64, policy: String, before: String) -> Self {
        let deadline_ns = boottime_ns().saturating_add(seconds.saturating_mul(SECOND));
        Self { deadline_ns, seconds, policy, before }
    }

    /// Nanoseconds until its deadline; 0: it has passed.
    pub fn left_ns(&self) -> u64 {
        self.deadline_ns.saturating_sub(boottime_ns())
    }

    /// Whether its deadline has passed.
    pub fn is_due(&self) -> bool {
        self.left_ns() == 0
    }

    /// Seconds until its deadline, rounded up.
    pub fn seconds_left(&self) -> u64 {
        self.left_ns().div_ceil(SECOND)
    }

    /// How it is shown.
    pub fn status(instance: &Instance) -> Result<Option<PendingStatus>> {
        Ok(Self::of(instance)?.map(|pending| PendingStatus {
            seconds_left: pending.seconds_left(),
            watched: watcher::process(instance).is_some(),
            policy: pending.policy,
            before: pending.before,
        }))
    }
}

impl PendingStatus {
    /// For people.
    pub fn text(&self) -> String {
        let Self { policy, before, seconds_left, watched } = self;
        let unwatched =
            if *watched { "" } else { " (its own process is gone; a controller does it)" };
        format!(
            "waits for `fwx confirm`: {seconds_left} s left for {policy}, then back to {before}{unwatched}\n"
        )
    }
}

/// What is in force, to go back to.
pub(super) fn before(instance: &Instance, state: &State, tables: &Tables) -> Result<Before> {
    let Some(text) = in_force(instance)? else {
        bail!(
            "what is in force was not written down, and without that there is no way back: apply it without \
             --confirm first"
        );
    };
    let mut bindings = Vec::new();
    for (number, protocol) in (1..).zip(&state.protocols).filter(|(_, it)| !it.gone) {
        let Binding { filter, mode, profile, .. } = tables.binding(number)?;
        bindings.push((protocol.name.clone(), [filter, mode, profile]));
    }
    Ok(Before { text, file: state.policy_file.clone(), bindings })
}

/// Writes down what waits, and if `before` is given what there is to go back to, and starts the process that looks
/// after it. The caller has the change lock.
pub(super) fn begin(instance: &Instance, pending: &Pending, before: Option<&Before>) -> Result<()> {
    if let Some(before) = before {
        instance.write_json(BEFORE, before)?;
    }
    instance.write_json(PENDING, pending)?;
    watcher::end(instance)?;
    watcher::start(instance).inspect_err(|_| {
        if before.is_some() {
            forget(instance);
        }
    })
}

/// Nothing waits any more. The caller has the change lock.
pub(super) fn forget(instance: &Instance) {
    for file in [PENDING, BEFORE] {
        // Nothing to remove is fine.
        let _ = fs::remove_file(instance.run_directory().join(file));
    }
}

/// The policy that waits is good: it stays. Returns what it is called.
///
/// # Errors
///
/// Nothing waits, or the deadline has passed.
pub fn confirm(instance: &Instance) -> Result<Pending> {
    status::open(instance)?;
    let change = instance.lock_for_change()?;
    let Some(pending) = Pending::of(instance)? else {
        bail!("nothing waits for `fwx confirm`: `fwx apply FILE --confirm SECONDS` begins that");
    };
    if go_back_if_due(instance, &change)? {
        bail!(
            "too late: its {} s are over, and {} is in force again",
            pending.seconds,
            pending.before
        );
    }
    forget(instance);
    watcher::end(instance)?;
    if let Some(text) = in_force(instance)? {
        super::remember(instance, &text);
    }
    tell(instance, format!("`fwx confirm`: {} stays in force", pending.policy))?;
    Ok(pending)
}

/// Goes back at once to what was in force before the policy that waits. Returns what that is called; `None`: none
/// waits.
pub fn give_up(instance: &Instance) -> Result<Option<String>> {
    status::open(instance)?;
    let change = instance.lock_for_change()?;
    let Some(pending) = Pending::of(instance)? else { return Ok(None) };
    go_back(instance, &change, "`fwx rollback`")?;
    watcher::end(instance)?;
    Ok(Some(pending.before))
}

/// Goes back if a policy waits whose deadline has passed. Returns whether this did.
pub fn look_at_deadline(instance: &Instance) -> Result<bool> {
    let is_due = |instance| anyhow::Ok(Pending::of(instance)?.is_some_and(|it| it.is_due()));
    if !is_due(instance)? {
        return Ok(false);
    }
    let change = instance.lock_for_change()?;
    go_back_if_due(instance, &change)
}

/// [`look_at_deadline`] for who has the change lock.
pub(crate) fn go_back_if_due(instance: &Instance, change: &ControllerLock) -> Result<bool> {
    match Pending::of(instance)? {
        Some(pending) if pending.is_due() => {
            let why = format!("no `fwx confirm` came within {} s", pending.seconds);
            go_back(instance, change, &why).map(|()| true)
        }
        _ => Ok(false),
    }
}

fn go_back(instance: &Instance, _change: &ControllerLock, why: &str) -> Result<()> {
    let before: Before =
        instance.read_json(BEFORE)?.context("what to go back to is not written down any more")?;
    let (state, tables) = status::open(instance)?;
    let policy = before.text.policy().context("cannot go back to the policy before")?;
    let mut change =
        Change::new(&policy, before.file.clone(), Some(&state), &tables, true)?.text(&before.text);
    change.bind(&before.bindings);
    change.put_in_force(instance, Some(&state), &tables)?;
    Shortcut::look(policy.shortcut())?.put_into_force(&tables, &state.interfaces)?;
    forget(instance);
    tell(instance, format!("{why}: back to {}", before.called()))
}

impl Before {
    /// What it is called in messages.
    pub(super) fn called(&self) -> String {
        called(self.file.as_ref(), &self.text)
    }
}

/// What a policy is called in messages.
pub(super) fn called(file: Option<&PathBuf>, text: &PolicyText) -> String {
    let sum: String = text.sha256().chars().take(12).collect();
    match file {
        Some(file) => format!("{} (SHA-256 {sum}…)", file.display()),
        None => "the built-in policy".to_owned(),
    }
}

/// Tells it as an event. Where no controller runs the next one does, when it starts.
fn tell(instance: &Instance, message: String) -> Result<()> {
    let mut numbers = Numbers::of(instance)?;
    let mut teller = Teller::of(instance);
    let name = Some(instance.name().to_owned());
    teller.tell(Event::control(0, name, 0, Reason::None, message.clone()), numbers.next());
    numbers.keep()?;
    if teller.finish().is_some() {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let unheard =
            format!("{message} (at {}, when no controller ran)", crate::event::rfc3339(now));
        instance.write_json(UNHEARD, &unheard)?;
    }
    Ok(())
}

/// What happened when no controller ran to tell it. It is told once.
pub fn take_unheard(instance: &Instance) -> Result<Option<String>> {
    let unheard = instance.read_json(UNHEARD)?;
    if unheard.is_some() {
        fs::remove_file(instance.run_directory().join(UNHEARD))?;
    }
    Ok(unheard)
}

/// What a controller does about it: in its loop, but beside it, for it may have to wait.
#[derive(Debug, Default)]
pub struct Guard {
    going_back: Option<JoinHandle<Result<bool>>>,
    failed: Option<Instant>,
}

impl Guard {
    /// Goes back if it is time. Never waits.
    ///
    /// # Errors
    ///
    /// It was not possible; it is tried again in some seconds.
    pub async fn look(&mut self, instance: &Instance) -> Result<()> {
        if let Some(going_back) = self.going_back.take_if(|it| it.is_finished()) {
            let result = going_back.await.map_err(anyhow::Error::from).and_then(|done| done);
            self.failed = result.is_err().then(Instant::now);
            return result.map(drop);
        }
        let paused = self.failed.is_some_and(|failed| failed.elapsed() < RETRY);
        if self.going_back.is_none()
            && !paused
            && Pending::of(instance)?.is_some_and(|pending| pending.is_due())
        {
            let instance = instance.clone();
            let go_back = move || look_at_deadline(&instance);
            self.going_back = Some(tokio::task::spawn_blocking(go_back));
        }
        Ok(())
    }
}

/// Nanoseconds of the clock that also counts while the machine sleeps.
fn boottime_ns() -> u64 {
    // It is there since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| time.tv_sec() as u64 * SECOND + time.tv_nsec() as u64)
}
