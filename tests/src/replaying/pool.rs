//! Programs that were loaded for a test before: the verifier takes far longer for them than a test for its packets.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, Once, PoisonError},
    thread,
};

use anyhow::Result;
use firewall_user::{
    policy::{Policy, TableSizes},
    replay::{Hook, Replay},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process open as many files as it may: each set of programs keeps all of its tables open, more in all than
/// a process commonly has.
fn allow_descriptors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let raised = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
        if let Err(error) = raised {
            eprintln!("lab: no more files can be open than usual: {error}");
        }
    });
}

/// Those that no test uses now.
static IDLE: Mutex<Vec<(Hook, Replay)>> = Mutex::new(Vec::new());

/// Programs with empty tables and a policy. Those of the pool go back to it when this is dropped, unless a test
/// failed with them.
pub(super) struct Pooled {
    /// The hook of those that go back.
    returns_to: Option<Hook>,
    /// `None` once dropped.
    replay: Option<Replay>,
}

impl Pooled {
    /// Programs for `hook`.
    pub(super) fn take(policy: Option<&Policy>, hook: Hook) -> Result<Self> {
        allow_descriptors();
        let replay = match take_idle(hook) {
            Some(mut replay) => {
                replay.begin_anew(policy, None)?;
                replay
            }
            None => Replay::new(policy, None, hook)?,
        };
        Ok(Self { returns_to: Some(hook), replay: Some(replay) })
    }

    /// Programs that are of use to one test alone, for the size of their flow tables.
    pub(super) fn alone(sizes: TableSizes, hook: Hook) -> Result<Self> {
        allow_descriptors();
        let replay = Replay::with_sizes(None, None, hook, sizes)?;
        Ok(Self { returns_to: None, replay: Some(replay) })
    }
}

fn take_idle(hook: Hook) -> Option<Replay> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let position = idle.iter().position(|(of, _)| *of == hook)?;
    Some(idle.swap_remove(position).1)
}

impl Deref for Pooled {
    type Target = Replay;

    fn deref(&self) -> &Replay {
        self.replay.as_ref().expect("it is there until this is dropped")
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Replay {
        self.replay.as_mut().expect("it is there until this is dropped")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        if let (Some(hook), Some(replay)) = (self.returns_to, self.replay.take()) {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push((hook, replay));
        }
    }
}
