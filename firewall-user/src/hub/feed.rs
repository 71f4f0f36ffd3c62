//! Events on their way to one reader, which loses its own when it falls behind and nobody else's.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use tokio::sync::Notify;

use super::{
    Told,
    backlog::{Backlog, Oldest},
};
use crate::events::Selection;

/// Events as they come, for one reader, which loses its own when it falls behind and nobody else's.
#[derive(Debug)]
pub struct Feed {
    reader: Arc<Reader>,
}

/// What the hub and a feed share.
#[derive(Debug)]
pub(super) struct Reader {
    selection: Selection,
    /// Whether events to come are for it too.
    follows: bool,
    queue: Mutex<Queue>,
    more: Notify,
    is_over: AtomicBool,
    /// Counts for all readers of the same name, those too that are gone.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Queue {
    backlog: Backlog,
    missing: Missing,
}

/// Events that a reader was too slow for: of which reason, or without one, of which kind, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing(BTreeMap<String, u64>);

impl Feed {
    /// A feed whose losses are counted in `lost`, and the hub's end of it.
    pub(super) fn new(
        selection: Selection,
        follows: bool,
        lost: Arc<AtomicU64>,
    ) -> (Self, Arc<Reader>) {
        let reader = Arc::new(Reader {
            selection,
            follows,
            queue: Mutex::default(),
            more: Notify::new(),
            is_over: AtomicBool::new(!follows),
            lost,
        });
        (Self { reader: Arc::clone(&reader) }, reader)
    }

    /// The next event. `None`: there will be none any more.
    ///
    /// May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        loop {
            // Asked before the queue is: what was published before the end is still told.
            let is_over = self.reader.is_over.load(Acquire);
            if let Some(told) = self.next_there() {
                return Some(told);
            }
            if is_over {
                return None;
            }
            // Whatever comes after the look above has left its mark there.
            self.reader.more.notified().await;
        }
    }

    /// The next event, if it is there already.
    pub fn next_there(&mut self) -> Option<Arc<Told>> {
        self.reader.queue().backlog.pop()
    }

    /// What is missing before the event that was read last, since this was last asked.
    pub fn take_missing(&mut self) -> Option<Missing> {
        let missing = std::mem::take(&mut self.reader.queue().missing);
        (!missing.0.is_empty()).then_some(missing)
    }

    /// Counts the events that were meant for the reader and that it was too slow for.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reader.lost)
    }

    /// The same, if it is of an earlier time than `timestamp`, which is written as those of events are.
    pub(crate) fn next_before(&mut self, timestamp: &str) -> Option<Arc<Told>> {
        let backlog = &mut self.reader.queue().backlog;
        backlog.first().filter(|first| first.event.timestamp.as_str() < timestamp)?;
        backlog.pop()
    }

    /// What is there at this moment, the oldest first.
    pub(crate) fn there(&self) -> Vec<Arc<Told>> {
        self.reader.queue().backlog.all().into_iter().map(|(_, told)| told).collect()
    }

    /// Puts those of `past` that are meant for it before what came since. Returns the number of each of them.
    pub(super) fn put_before(&self, mut past: Vec<(u64, Arc<Told>)>) -> Vec<u64> {
        past.retain(|(_, told)| self.reader.selection.has(&told.event));
        let numbers = past.iter().map(|(number, _)| *number).collect();
        self.reader.queue().backlog.put_before(past);
        numbers
    }

    /// Leaves out the first `count` of what is there.
    pub(crate) fn skip(&mut self, count: usize) {
        let backlog = &mut self.reader.queue().backlog;
        (0..count).for_each(|_| drop(backlog.pop()));
    }
}

impl Reader {
    pub(super) fn push(&self, number: u64, told: &Arc<Told>) {
        if !self.follows || !self.selection.has(&told.event) {
            return;
        }
        let Queue { backlog, missing } = &mut *self.queue();
        backlog.push(number, Arc::clone(told), |gone| self.lose(missing, gone));
        self.more.notify_one();
    }

    pub(super) fn forget_before(&self, oldest: Oldest) {
        let Queue { backlog, missing } = &mut *self.queue();
        backlog.forget_before(oldest, |gone| self.lose(missing, gone));
    }

    /// There will be no more events.
    pub(super) fn end(&self) {
        self.is_over.store(true, Release);
        self.more.notify_one();
    }

    fn lose(&self, missing: &mut Missing, gone: &Told) {
        self.lost.fetch_add(1, Relaxed);
        missing.add(gone);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in this file leaves a queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Missing {
    fn add(&mut self, told: &Told) {
        let what = told.event.reason.as_ref().unwrap_or(&told.event.event);
        match self.0.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(what.clone(), 1);
            }
        }
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} events are missing here: ", self.count())?;
        for (at, (what, count)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(to, "{comma}{count} {what}")?;
        }
        Ok(())
    }
}
