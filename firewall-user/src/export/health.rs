//! How an export is doing.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an export is doing, written by its task and read by whoever asks.
#[derive(Debug, Default)]
pub struct Health {
    sent: AtomicU64,
    failed: AtomicU64,
    /// Why nothing can be sent at this moment, for each [`Content`].
    failures: Mutex<[Option<String>; 2]>,
}

/// What is sent. Each has a failure of its own, for a receiver may take one and refuse the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Events,
    Metrics,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// Events, or answers to a request, that went out.
    pub sent: u64,
    /// Those that did not, because the receiver could not be reached or refused them.
    pub failed: u64,
    /// Why nothing can be sent at this moment, or only one of events and metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Health {
    /// `count` went out: whatever was wrong before is over.
    pub fn sent(&self, count: u64) {
        self.sent_of(Content::Events, count);
    }

    /// `count` did not go out, for this reason. 0: what waits will be tried again.
    pub fn failed(&self, count: u64, failure: String) {
        self.failed_of(Content::Events, count, failure);
    }

    /// [`Health::sent`] for one that sends both: what was wrong with the other stands.
    pub(super) fn sent_of(&self, content: Content, count: u64) {
        self.sent.fetch_add(count, Relaxed);
        self.set(content, None);
    }

    /// [`Health::failed`] for one that sends both.
    pub(super) fn failed_of(&self, content: Content, count: u64, failure: String) {
        self.failed.fetch_add(count, Relaxed);
        self.set(content, Some(failure));
    }

    /// How it is doing now.
    pub fn condition(&self) -> Condition {
        let first = |failures: &[Option<String>; 2]| failures.iter().flatten().next().cloned();
        Condition {
            sent: self.sent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            failure: self.failures.lock().map_or_else(|_| None, |failures| first(&failures)),
        }
    }

    fn set(&self, content: Content, now: Option<String>) {
        // Only this file locks it, and nothing here panics meanwhile.
        if let Ok(mut failures) = self.failures.lock() {
            failures[content as usize] = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stands_until_something_goes_out() {
        let health = Health::default();
        health.failed(2, "connection refused".to_owned());
        assert_eq!(health.condition().failure.as_deref(), Some("connection refused"));
        health.sent(1);
        assert_eq!(health.condition(), Condition { sent: 1, failed: 2, failure: None });
    }

    #[test]
    fn events_and_metrics_fail_apart() {
        let health = Health::default();
        health.failed_of(Content::Metrics, 1, "no metrics".to_owned());
        health.failed_of(Content::Events, 5, "no events".to_owned());
        assert_eq!(health.condition().failure.as_deref(), Some("no events"), "they come first");
        health.sent_of(Content::Events, 1);
        assert_eq!(health.condition().failure.as_deref(), Some("no metrics"));
        health.sent_of(Content::Metrics, 1);
        assert_eq!(health.condition(), Condition { sent: 2, failed: 6, failure: None });
    }
}
