//! Where metrics are read: one for all who ask.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{Metric, census, controller, events, kernel, process};
use crate::{apply::History, census::Census, export::Board, hub::Hub, instance::Instance, status};

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
    pub exports: Arc<Board>,
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
        metrics.extend(controller::exports(&exports.read()));
        metrics.extend(controller::metrics(instance, &state, self.policy_since.load(Relaxed))?);
        metrics.extend(process::metrics()?);
        Ok(metrics)
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
