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
    failure: Mutex<Option<String>>,
}

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// Events, or answers to a request, that went out.
    pub sent: u64,
    /// Those that did not, because the receiver could not be reached or refused them.
    pub failed: u64,
    /// Why nothing can be sent at this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Health {
    /// `count` went out: whatever was wrong before is over.
    pub fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
        self.set(None);
    }

    /// `count` did not go out, for this reason. 0: what waits will be tried again.
    pub fn failed(&self, count: u64, failure: String) {
        self.failed.fetch_add(count, Relaxed);
        self.set(Some(failure));
    }

    /// How it is doing now.
    pub fn condition(&self) -> Condition {
        Condition {
            sent: self.sent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            failure: self.failure.lock().map_or_else(|_| None, |failure| failure.clone()),
        }
    }

    fn set(&self, now: Option<String>) {
        // Only this file locks it, and nothing here panics meanwhile.
        if let Ok(mut failure) = self.failure.lock() {
            *failure = now;
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
}
