//! Where events meet those who want them: what is remembered, and what comes, for each at its own pace.
//!
//! The one who publishes waits for nobody: it puts an event into the queue of each reader that wants it. A queue that
//! is full loses its oldest events of the same sort, and no queue holds what is not remembered any more; so memory
//! does not grow with the number of readers that are behind.

mod backlog;
mod feed;
mod seats;
mod told;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;

pub use backlog::ROOM;
pub use feed::{Feed, Missing};
pub use seats::{SEATS, Seat, Seats};
pub use told::{Told, is_routine, is_routine_kind};

use self::{backlog::Backlog, feed::Reader};
use crate::{event::Event, events::Selection, store::Segments};

/// Readers are asked to give up what is not remembered any more each time so many events were published.
const TRIMMED_EACH: u64 = 1_024;
/// What losses of readers at the socket are counted under.
pub const SOCKET: &str = "socket";
/// What those of the store are.
pub const STORE: &str = "store";
/// What those of readers without a name are.
const OTHER: &str = "other";
/// The names that no export can have.
pub const NAMES: [&str; 3] = [SOCKET, STORE, OTHER];

/// The events that are remembered, and those who want more.
#[derive(Debug, Default)]
pub struct Hub {
    remembered: Backlog,
    /// How many events were published; the number of the next one.
    published: u64,
    readers: Mutex<Readers>,
    seats: Seats,
    store: Option<Segments>,
}

/// A subscription whose past is not selected yet. That takes as long as there are events and criteria, and needs the hub
/// no more.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    feed: Feed,
    /// All that is remembered, each with its number.
    remembered: Vec<(u64, Arc<Told>)>,
    /// From this number on none was forgotten.
    whole_from: u64,
}

impl Begun {
    /// Puts those events of the past that are meant before what has come since.
    pub fn select(self) -> Subscription {
        let Self { feed, remembered, whole_from } = self;
        let first = remembered.iter().find(|(number, _)| *number >= whole_from);
        let time = first.map(|(_, told)| told.event.timestamp.clone());
        let numbers = feed.put_before(remembered);
        let whole = numbers.iter().filter(|number| **number >= whole_from).count();
        Subscription { feed, remembered: numbers.len(), whole, whole_from: time }
    }
}

/// What a subscriber gets.
#[derive(Debug)]
pub struct Subscription {
    /// What is remembered, and what comes.
    pub feed: Feed,
    /// How many are remembered.
    pub remembered: usize,
    /// How many of these are the last ones for certain: none that came between them is forgotten.
    pub whole: usize,
    /// The time from which on none is forgotten, whether it is meant or not.
    pub whole_from: Option<String>,
}

impl Subscription {
    /// Leaves out what is remembered but the last so many events; nothing, if it is not said how many.
    pub fn keep_last(&mut self, last: Option<usize>) {
        let too_many = self.remembered.saturating_sub(last.unwrap_or(usize::MAX));
        self.feed.skip(too_many);
    }
}

#[derive(Debug, Default)]
struct Readers {
    all: Vec<Weak<Reader>>,
    /// What was lost by the readers of each name.
    lost: BTreeMap<String, Arc<AtomicU64>>,
}

/// How the hub is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Programs that have the socket open now.
    pub subscribers: usize,
    /// Events that were published since the controller started.
    pub published: u64,
    /// Events that readers were too slow for, since then: the readers' name, [`SOCKET`] or that of an export, and how
    /// many. Several readers at the socket may have lost the same event.
    pub lost: Vec<(String, u64)>,
}

impl Hub {
    /// Remembers an event and passes it on.
    pub fn publish(&mut self, event: Event) -> Result<()> {
        let told = Arc::new(Told::new(event)?);
        let number = self.published;
        self.published += 1;
        self.remembered.push(number, Arc::clone(&told), |_| {});
        let is_time = self.published.is_multiple_of(TRIMMED_EACH);
        let oldest = self.remembered.oldest(self.published);
        self.readers().all.retain(|reader| {
            let Some(reader) = reader.upgrade() else { return false };
            reader.push(number, &told);
            if is_time {
                reader.forget_before(oldest);
            }
            true
        });
        Ok(())
    }

    /// The events that are remembered and that `selection` has, and if it `follows`, those to come from here on.
    pub fn subscribe(&self, follows: bool, selection: Selection) -> Begun {
        let feed = self.add(SOCKET, follows, selection);
        let whole_from = self.remembered.whole_from();
        Begun { feed, remembered: self.remembered.all(), whole_from }
    }

    /// Those of the events to come from here on that `selection` has.
    pub fn feed(&self, selection: Selection) -> Feed {
        self.named_feed(OTHER, selection)
    }

    /// The same, whose losses are counted under `name` together with those of others that have or had it.
    pub fn named_feed(&self, name: &str, selection: Selection) -> Feed {
        self.add(name, true, selection)
    }

    fn add(&self, name: &str, follows: bool, selection: Selection) -> Feed {
        let mut readers = self.readers();
        let lost = Arc::clone(readers.lost.entry(name.to_owned()).or_default());
        let (feed, reader) = Feed::new(selection, follows, lost);
        readers.all.push(Arc::downgrade(&reader));
        feed
    }

    /// Where events lie on disk; `None`: nowhere.
    pub fn store(&self) -> Option<Segments> {
        self.store.clone()
    }

    /// Says where.
    pub fn set_store(&mut self, store: Option<Segments>) {
        self.store = store;
    }

    /// Nothing more will be published: feeds end behind what they have.
    pub fn close(&self) {
        self.readers().all.iter().filter_map(Weak::upgrade).for_each(|reader| reader.end());
    }

    /// The places at the socket.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// How it is doing.
    pub fn figures(&self) -> Figures {
        let readers = self.readers();
        let lost = readers.lost.iter().map(|(name, lost)| (name.clone(), lost.load(Relaxed)));
        Figures { subscribers: self.seats.taken(), published: self.published, lost: lost.collect() }
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        // Nothing in this file leaves them half changed.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::{backlog::tests::event, *};
    use crate::events::Criteria;

    fn selection(kind: &str) -> Selection {
        let event = if kind.is_empty() { Vec::new() } else { vec![kind.to_owned()] };
        Criteria { event, ..Criteria::default() }.selection(0).unwrap()
    }

    fn drain(feed: &mut Feed) -> Vec<u64> {
        std::iter::from_fn(|| feed.next_there()).map(|told| told.event.event_id).collect()
    }

    #[test]
    fn a_slow_reader_loses_its_own_and_nobody_elses() {
        let mut hub = Hub::default();
        let [mut slow, mut fast, mut kills] =
            [("slow", ""), ("fast", ""), ("kills", "connection_killed")]
                .map(|(name, kind)| hub.named_feed(name, selection(kind)));
        let all = 3 * ROOM as u64;
        let mut read = Vec::new();
        for number in 0..all {
            let kind = if number % 100 == 0 { "connection_killed" } else { "packet_dropped" };
            hub.publish(event(kind, number)).unwrap();
            read.extend(drain(&mut fast));
        }
        assert_eq!(read, (0..all).collect::<Vec<_>>());
        assert_eq!(fast.take_missing(), None);
        let every_kill: Vec<_> = (0..all).step_by(100).collect();
        assert_eq!(drain(&mut kills), every_kill);

        let late = drain(&mut slow);
        let missing = slow.take_missing().unwrap();
        assert_eq!(late.len() as u64 + missing.count(), all);
        assert!(late.is_sorted() && every_kill.iter().all(|kill| late.contains(kill)));
        let lost = missing.count();
        assert_eq!(
            missing.to_string(),
            format!("{lost} events are missing here: {lost} packet_dropped")
        );
        assert_eq!(slow.take_missing(), None, "it is told once");
        let lost =
            [("fast", 0), ("kills", 0), ("slow", lost)].map(|(name, lost)| (name.to_owned(), lost));
        assert_eq!(hub.figures(), Figures { subscribers: 0, published: all, lost: lost.to_vec() });
    }

    #[test]
    fn no_queue_holds_what_is_not_remembered() {
        let mut hub = Hub::default();
        let mut controls = hub.feed(selection("control"));
        hub.publish(event("control", 0)).unwrap();
        for number in 1..=(ROOM as u64 + TRIMMED_EACH) {
            hub.publish(event("connection_killed", number)).unwrap();
        }
        assert!(drain(&mut controls).is_empty());
        assert_eq!(controls.take_missing().unwrap().count(), 1);
    }

    #[test]
    fn the_past_comes_before_what_comes() {
        let mut hub = Hub::default();
        for number in 0..10 {
            hub.publish(event("packet_dropped", number)).unwrap();
        }
        let mut all = hub.subscribe(true, selection("")).select();
        let mut past = hub.subscribe(false, selection("packet_dropped")).select();
        past.feed.skip(7);
        hub.publish(event("control", 10)).unwrap();
        assert_eq!((all.remembered, all.whole), (10, 10));
        assert_eq!(drain(&mut all.feed), (0..=10).collect::<Vec<_>>());
        assert_eq!(drain(&mut past.feed), [7, 8, 9]);
    }

    #[test]
    fn what_comes_while_the_past_is_selected_comes_behind_it() {
        let mut hub = Hub::default();
        hub.publish(event("packet_dropped", 0)).unwrap();
        hub.publish(event("control", 1)).unwrap();
        let begun = hub.subscribe(true, selection("packet_dropped"));
        for number in 2..ROOM as u64 {
            hub.publish(event("packet_dropped", number)).unwrap();
        }
        let mut subscription = begun.select();
        assert_eq!((subscription.remembered, subscription.whole), (1, 1));
        let wanted: Vec<_> = (0..ROOM as u64).filter(|number| *number != 1).collect();
        assert_eq!(drain(&mut subscription.feed), wanted);
        assert_eq!(subscription.feed.take_missing(), None);
    }

    #[test]
    fn what_was_forgotten_between_is_known() {
        let mut hub = Hub::default();
        hub.publish(event("control", 0)).unwrap();
        for number in 1..=ROOM as u64 + 5 {
            hub.publish(event("packet_dropped", number)).unwrap();
        }
        let subscription = hub.subscribe(false, selection("")).select();
        assert_eq!((subscription.remembered, subscription.whole), (ROOM + 1, ROOM));
    }

    #[tokio::test]
    async fn a_feed_ends_with_the_hub_and_not_before_it_is_read() {
        let mut hub = Hub::default();
        let mut feed = hub.feed(Selection::default());
        let waiting = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(told) = feed.next().await {
                read.push(told.event.event_id);
            }
            read
        });
        tokio::task::yield_now().await;
        hub.publish(event("control", 1)).unwrap();
        tokio::task::yield_now().await;
        hub.publish(event("control", 2)).unwrap();
        drop(hub);
        assert_eq!(waiting.await.unwrap(), [1, 2]);
    }

    #[test]
    fn a_reader_that_is_gone_is_forgotten_and_its_losses_are_not() {
        let mut hub = Hub::default();
        let feed = hub.named_feed("x", Selection::default());
        feed.lost().fetch_add(5, Relaxed);
        drop(feed);
        hub.publish(event("control", 1)).unwrap();
        assert!(hub.readers().all.is_empty());
        assert_eq!(hub.named_feed("x", Selection::default()).lost().load(Relaxed), 5);
    }
}
