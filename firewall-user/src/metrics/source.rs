//! Where metrics are read: one for all who ask.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{Metric, census, controller, events, kernel, process};
use crate::{
    apply::History,
    census::Census,
    export::{Condition, Health},
    hub::Hub,
    instance::Instance,
    status,
};

/// Reads the metrics of an instance that is up. Copies are the same source.
#[derive(Clone, Debug)]
pub struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: Parts,
    /// When the policy came in force, seconds since 1970.
    policy_since: AtomicI64,
}

/// What a source reads from.
#[derive(Debug)]
pub struct Parts {
    /// The instance.
    pub instance: Instance,
    /// What the last sweep found.
    pub census: watch::Receiver<Option<Arc<Census>>>,
    /// Where events are told.
    pub hub: Arc<Mutex<Hub>>,
    /// The exports that run.
    pub exports: Exports,
}

impl Source {
    /// A source that reads from these.
    pub fn new(parts: Parts) -> Self {
        let policy_since = AtomicI64::new(newest_entry(&parts.instance).unwrap_or_else(now));
        Self(Arc::new(Inner { parts, policy_since }))
    }

    /// Notes that another policy came in force just now.
    pub fn policy_changed(&self) {
        self.0.policy_since.store(now(), Relaxed);
    }

    /// The list of exports that it reads, for who runs them.
    pub fn exports(&self) -> &Exports {
        &self.0.parts.exports
    }

    /// Every metric as it is now; what would take a walk over the flow tables is that of the last sweep.
    ///
    /// # Errors
    ///
    /// The instance is not up, or a table of the kernel's cannot be read.
    pub async fn read(&self) -> Result<Vec<Metric>> {
        let source = self.clone();
        let read = tokio::task::spawn_blocking(move || source.0.read());
        read.await.context("cannot read the metrics")?
    }
}

impl Inner {
    fn read(&self) -> Result<Vec<Metric>> {
        let Parts { instance, census, hub, exports } = &self.parts;
        let (state, tables) = status::open(instance)?;
        let mut metrics = kernel::metrics(&state, &tables)?;
        metrics.extend(events::metrics(&tables, hub)?);
        let taken = census.borrow().clone();
        metrics.extend(taken.iter().flat_map(|census| census::metrics(&state, census)));
        metrics.extend(controller::exports(&exports.conditions()));
        metrics.extend(controller::metrics(instance, &state, self.policy_since.load(Relaxed))?);
        metrics.extend(process::metrics()?);
        Ok(metrics)
    }
}

/// The exports that run, told by who runs them and read by who asks. Copies are the same list.
#[derive(Clone, Debug, Default)]
pub struct Exports(Arc<Mutex<Vec<Running>>>);

#[derive(Debug)]
struct Running {
    name: String,
    kind: &'static str,
    health: Arc<Health>,
}

impl Exports {
    /// From now on these run: name, kind and health of each.
    pub fn set(&self, exports: impl IntoIterator<Item = (String, &'static str, Arc<Health>)>) {
        let running = |(name, kind, health)| Running { name, kind, health };
        // Only this file locks it, and nothing here panics meanwhile.
        if let Ok(mut list) = self.0.lock() {
            *list = exports.into_iter().map(running).collect();
        }
    }

    /// Name and kind of each, and how it is doing.
    pub fn conditions(&self) -> Vec<(String, &'static str, Condition)> {
        let Ok(list) = self.0.lock() else { return Vec::new() };
        list.iter()
            .map(|Running { name, kind, health }| (name.clone(), *kind, health.condition()))
            .collect()
    }
}

/// When the policy came in force that was noted last, if one was.
fn newest_entry(instance: &Instance) -> Option<i64> {
    let entries = History::of(instance).entries().ok()?;
    let time = OffsetDateTime::parse(&entries.first()?.time, &Rfc3339).ok()?;
    Some(time.unix_timestamp())
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
