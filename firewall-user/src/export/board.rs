//! How all exports are doing, for whoever asks.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Export, Health};

/// The exports that run, written by the supervisor.
#[derive(Debug, Default)]
pub struct Board {
    entries: Mutex<Vec<Entry>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) export: Export,
    pub(super) health: Arc<Health>,
    /// Events that it was too slow for.
    pub(super) lost: Arc<AtomicU64>,
}

/// An export and how it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportStatus {
    /// Its name.
    pub name: String,
    /// What the policy calls its kind.
    pub kind: String,
    /// Where it goes.
    pub to: String,
    /// Events that came faster than they went out, and were left out.
    pub lost: u64,
    /// What went out and what did not.
    #[serde(flatten)]
    pub condition: Condition,
}

impl Board {
    /// How each export is doing now, in the order of the policy.
    pub fn read(&self) -> Vec<ExportStatus> {
        // Nothing panics while it is locked.
        let Ok(entries) = self.entries.lock() else { return Vec::new() };
        let status = |entry: &Entry| ExportStatus {
            name: entry.export.name.clone(),
            kind: entry.export.target.kind().to_owned(),
            to: entry.export.target.place(),
            lost: entry.lost.load(Relaxed),
            condition: entry.health.condition(),
        };
        entries.iter().map(status).collect()
    }

    pub(super) fn set(&self, entries: Vec<Entry>) {
        if let Ok(mut known) = self.entries.lock() {
            *known = entries;
        }
    }
}
