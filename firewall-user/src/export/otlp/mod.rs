//! Events and metrics to a collector of OpenTelemetry, by OTLP over HTTP.
//!
//! One batch of events is on its way at a time; what comes meanwhile waits in the feed, which has its own bound. Metrics go
//! beside them, so that a collector which has trouble with one of both gets the other.

mod collector;
mod courier;
mod logs;
mod metrics;
#[cfg(test)]
mod tests;
mod value;

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse},
    resource::v1::Resource,
};
use prost::Message as _;
use tokio::time::{MissedTickBehavior, interval};

pub use self::collector::Collector;
use self::{
    collector::{Signal, shown},
    courier::{Courier, Pace},
};
use super::{Health, batch, clock, health::Content};
use crate::{hub::Feed, metrics::Metric};

/// Metrics are sent no more often.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

/// Sends the events of `feed` and, every `period`, what `read` yields, to the collector at `to`, until the feed ends. A
/// reading counts as one in `health`, as an event does.
///
/// # Errors
///
/// `to` is no address.
pub(super) async fn run<R, F>(
    instance: String,
    to: String,
    period: Duration,
    feed: &mut Feed,
    read: R,
    health: Arc<Health>,
) -> Result<()>
where
    R: Fn() -> F + Sync,
    F: Future<Output = Result<Vec<Metric>>> + Send,
{
    let collector = to.parse().with_context(|| format!("cannot send to {to}"))?;
    let sender =
        Sender { resource: value::resource(&instance), collector, pace: Pace::USUAL, health };
    sender.run(feed, period.max(SHORTEST_PERIOD), read).await;
    Ok(())
}

struct Sender {
    resource: Resource,
    collector: Collector,
    pace: Pace,
    health: Arc<Health>,
}

impl Sender {
    async fn run<R, F>(&self, feed: &mut Feed, period: Duration, read: R)
    where
        R: Fn() -> F + Sync,
        F: Future<Output = Result<Vec<Metric>>> + Send,
    {
        tokio::select! {
            () = self.send_events(feed) => {}
            () = self.send_metrics(period, read) => {}
        }
    }

    async fn send_events(&self, feed: &mut Feed) {
        let mut courier = self.courier(Signal::Logs);
        while let Some(batch) = batch::gather(feed, self.pace.linger).await {
            let now = clock::now_ns();
            let records: Vec<_> = batch.iter().map(|told| logs::record(&told.event, now)).collect();
            let count = records.len() as u64;
            let body = Bytes::from(logs::request(&self.resource, records).encode_to_vec());
            // The events are in the body now, which is all that has to be kept.
            drop(batch);
            match courier.deliver::<ExportLogsServiceResponse>(body, self.pace.patience).await {
                Ok(answer) => {
                    let part = answer.partial_success.unwrap_or_default();
                    self.count(
                        Content::Events,
                        count,
                        part.rejected_log_records,
                        &part.error_message,
                    );
                }
                Err(why) => self.health.failed_of(Content::Events, count, why),
            }
        }
    }

    async fn send_metrics<R, F>(&self, period: Duration, read: R)
    where
        R: Fn() -> F + Sync,
        F: Future<Output = Result<Vec<Metric>>> + Send,
    {
        let mut courier = self.courier(Signal::Metrics);
        let mut readings = metrics::Readings::default();
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let metrics = match read().await {
                Ok(metrics) => metrics,
                Err(error) => {
                    let why = format!("cannot read the metrics: {error:#}");
                    self.health.failed_of(Content::Metrics, 1, why);
                    continue;
                }
            };
            let request = readings.request(&self.resource, metrics, clock::now_ns());
            let body = Bytes::from(request.encode_to_vec());
            // The next reading says all that this one does.
            let patience = period.min(self.pace.patience);
            match courier.deliver::<ExportMetricsServiceResponse>(body, patience).await {
                Ok(answer) => {
                    let part = answer.partial_success.unwrap_or_default();
                    self.count(
                        Content::Metrics,
                        1,
                        part.rejected_data_points.min(1),
                        &part.error_message,
                    );
                }
                Err(why) => self.health.failed_of(Content::Metrics, 1, why),
            }
        }
    }

    fn courier(&self, signal: Signal) -> Courier {
        Courier::new(self.collector.clone(), signal, self.pace, Arc::clone(&self.health))
    }

    /// Counts what a collector took: all but those that it says it rejected.
    fn count(&self, content: Content, sent: u64, rejected: i64, why: &str) {
        let rejected = u64::try_from(rejected).unwrap_or(0).min(sent);
        self.health.sent_of(content, sent - rejected);
        if rejected > 0 {
            let why = format!("{}: rejected {rejected}: {}", self.collector, shown(why));
            self.health.failed_of(content, rejected, why);
        } else if !why.is_empty() {
            tracing::warn!("{}: {}", self.collector, shown(why));
        }
    }
}
