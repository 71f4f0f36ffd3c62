//! Several events at once, for receivers that get them by requests or messages.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::hub::{Feed, Told};

/// Most events of a batch.
pub(super) const MOST_EVENTS: usize = 512;
/// Bytes that the events of a batch take as JSON, about: what would be more waits for the next one.
const MOST_BYTES: usize = 1 << 20;

/// The next events of `feed`, at least one: those that come within `linger` of the first, until the batch is full.
/// `None`: there will be none any more.
///
/// What is read of a feed and waits here is lost if this is cancelled.
pub(super) async fn gather(feed: &mut Feed, linger: Duration) -> Option<Vec<Arc<Told>>> {
    let first = feed.next().await?;
    let end = Instant::now() + linger;
    let mut bytes = first.line.len();
    let mut batch = vec![first];
    while batch.len() < MOST_EVENTS && bytes < MOST_BYTES {
        // A feed that ended says so again when it is asked for the next batch.
        let Ok(Some(told)) = timeout_at(end, feed.next()).await else { break };
        bytes += told.line.len();
        batch.push(told);
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use firewall_common::reason::Reason;

    use super::*;
    use crate::{event::Event, events::Criteria, hub::Hub};

    /// A hub and a feed of all its events.
    fn hub() -> (Hub, Feed) {
        let hub = Hub::default();
        let feed = hub.feed(Criteria::default().selection(0).unwrap());
        (hub, feed)
    }

    fn event(number: u64, message: &str) -> Event {
        Event::control(number, None, 0, Reason::None, message.to_owned())
    }

    #[tokio::test]
    async fn a_batch_is_full_by_events_and_the_rest_waits() {
        let (mut hub, mut feed) = hub();
        for number in 0..MOST_EVENTS as u64 + 3 {
            hub.publish(event(number, "")).unwrap();
        }
        drop(hub);
        let linger = Duration::from_secs(3600);
        assert_eq!(gather(&mut feed, linger).await.unwrap().len(), MOST_EVENTS);
        let rest = gather(&mut feed, linger).await.unwrap();
        assert_eq!(rest.len(), 3, "the feed's end does not wait for more");
        assert_eq!(rest[0].event.event_id, MOST_EVENTS as u64);
        assert!(gather(&mut feed, linger).await.is_none());
    }

    #[tokio::test]
    async fn a_batch_is_full_by_bytes_too() {
        let (mut hub, mut feed) = hub();
        for number in 0..3 {
            hub.publish(event(number, &"x".repeat(MOST_BYTES / 2))).unwrap();
        }
        assert_eq!(gather(&mut feed, Duration::from_secs(3600)).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_lone_event_does_not_wait_for_another() {
        let (mut hub, mut feed) = hub();
        hub.publish(event(7, "")).unwrap();
        assert_eq!(gather(&mut feed, Duration::from_millis(1)).await.unwrap().len(), 1);
    }
}
