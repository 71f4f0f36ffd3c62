//! Requests that are tried again, and how long to wait between.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use tokio::time::{Instant, sleep_until};

use super::collector::{Collector, Connection, Retry, Signal};
use crate::export::Health;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long a batch waits for more events.
    pub(super) linger: Duration,
    /// How long a request may take; the SDKs' default.
    pub(super) limit: Duration,
    /// The first wait before a request is tried again. Each further one is twice as long.
    pub(super) first_wait: Duration,
    /// The longest of them.
    pub(super) longest_wait: Duration,
    /// For how long a batch of events is tried; the feed holds what comes meanwhile, as much as it can.
    pub(super) patience: Duration,
}

impl Pace {
    pub(super) const USUAL: Self = Self {
        linger: Duration::from_secs(1),
        limit: Duration::from_secs(10),
        first_wait: Duration::from_secs(1),
        longest_wait: Duration::from_secs(30),
        patience: Duration::from_secs(300),
    };
}

/// The longest that a collector may ask to be left alone.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// What carries the requests of one kind. What it learned about the collector holds for the next request too, so that
/// one that is down is not asked more often the more there is to tell.
pub(super) struct Courier {
    collector: Collector,
    signal: Signal,
    pace: Pace,
    health: Arc<Health>,
    connection: Option<Connection>,
    not_before: Instant,
    next_wait: Duration,
}

impl Courier {
    pub(super) fn new(
        collector: Collector,
        signal: Signal,
        pace: Pace,
        health: Arc<Health>,
    ) -> Self {
        let next_wait = pace.first_wait;
        let not_before = Instant::now();
        Self { collector, signal, pace, health, connection: None, not_before, next_wait }
    }

    /// Hands over a request, for as long as `patience` lasts, at least once.
    ///
    /// # Errors
    ///
    /// Why it was given up.
    pub(super) async fn deliver<A: Message + Default>(
        &mut self,
        body: Bytes,
        patience: Duration,
    ) -> Result<A, String> {
        let until = Instant::now() + patience;
        loop {
            sleep_until(self.not_before).await;
            let (kept, limit) = (&mut self.connection, self.pace.limit);
            let answer = self.collector.post(kept, self.signal, body.clone(), limit).await;
            let refusal = match answer {
                Ok(answer) => {
                    self.next_wait = self.pace.first_wait;
                    return Ok(answer);
                }
                Err(refusal) => refusal,
            };
            self.not_before = Instant::now() + self.wait_after(refusal.retry);
            if refusal.retry == Retry::Never || self.not_before > until {
                return Err(refusal.why);
            }
            self.health.failed_of(self.signal.content(), 0, refusal.why);
        }
    }

    /// How long to leave the collector alone.
    fn wait_after(&mut self, retry: Retry) -> Duration {
        match retry {
            // It is there, and refuses this one request.
            Retry::Never => Duration::ZERO,
            Retry::After(wait) => wait.min(LONGEST_SILENCE),
            Retry::Later => {
                let wait = self.next_wait;
                self.next_wait = (wait * 2).min(self.pace.longest_wait);
                jittered(wait)
            }
        }
    }
}

/// Half of `wait` to all of it, so that many senders do not come at once.
fn jittered(wait: Duration) -> Duration {
    // Without chance the waits are whole ones, which is no harm.
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
}
