//! Events that wait for an export, and what becomes of them when it goes.

use std::sync::atomic::Ordering::Relaxed;

use crate::hub::Feed;

/// The feed of an export. When this is dropped, because other settings took the export's place or the controller ends,
/// what still waits in it counts as lost and is told.
pub(super) struct Waiting {
    export: String,
    feed: Feed,
}

impl Waiting {
    /// What waits in `feed` for the export of that name.
    pub(super) fn new(export: String, feed: Feed) -> Self {
        Self { export, feed }
    }

    pub(super) fn feed(&mut self) -> &mut Feed {
        &mut self.feed
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let left = self.feed.there().len();
        if left > 0 {
            self.feed.lost().fetch_add(left as u64, Relaxed);
            tracing::warn!("export {} ends: {left} events that waited are not sent", self.export);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::{event::Event, events::Selection, export::fields::tests::full, hub::Hub};

    #[tokio::test]
    async fn what_waits_for_an_export_that_is_ended_counts_as_lost() {
        let mut hub = Hub::default();
        let feed = hub.named_feed("siem", Selection::default());
        let lost = feed.lost();
        for event_id in 1..=5 {
            hub.publish(Event { event_id, ..full() }).unwrap();
        }
        let mut waiting = Waiting::new("siem".to_owned(), feed);
        let first = waiting.feed().next().await.unwrap();
        assert_eq!(first.event.event_id, 1);
        // A receiver that never answers.
        let task = tokio::spawn(async move {
            let _ = (waiting.feed(), pending::<()>().await);
        });
        tokio::task::yield_now().await;
        assert_eq!(lost.load(Relaxed), 0);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(lost.load(Relaxed), 4);
    }

    #[test]
    fn an_export_that_read_all_lost_nothing() {
        let mut hub = Hub::default();
        let mut waiting = Waiting::new("siem".to_owned(), hub.feed(Selection::default()));
        hub.publish(full()).unwrap();
        assert!(waiting.feed().next_there().is_some());
        let lost = waiting.feed().lost();
        drop(waiting);
        assert_eq!(lost.load(Relaxed), 0);
    }
}
