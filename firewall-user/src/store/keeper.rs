//! The task that writes events to disk, and how it is doing.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Segments,
    writer::{Lines, Writer},
};
use crate::{
    events::{EventSettings, Selection},
    export::Health,
    hub::{Feed, Hub, STORE, Told},
    instance::Instance,
};

/// Most bytes that are written at a time; a single longer line is too.
const BATCH_MAX: usize = 256 << 10;
/// How long an event waits for others to be written with it. A controller that is killed takes no more with it.
const GATHERING: Duration = Duration::from_millis(100);
/// How long it is until something is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the end of the controller waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps events on disk, or does not, as the settings say.
#[derive(Debug, Default)]
pub struct Keeper {
    task: Option<Task>,
    /// The failure that was told.
    told: bool,
}

#[derive(Debug)]
struct Task {
    segments: Segments,
    /// Bytes that events may take; 0: the task ends.
    limit: Arc<AtomicU64>,
    health: Arc<Health>,
    handle: JoinHandle<()>,
}

impl Keeper {
    /// Does as the settings say from here on. Needs a tokio runtime. What is on disk stays there when no more is kept.
    pub fn follow(&mut self, instance: &Instance, settings: &EventSettings, hub: &Mutex<Hub>) {
        let Ok(mut hub) = hub.lock() else { return };
        if let Some(task) = &self.task {
            task.limit.store(settings.keep_bytes, Relaxed);
        }
        if settings.keep_bytes == 0 {
            self.task = None;
            hub.set_store(None);
        } else if self.task.is_none() {
            let feed = hub.named_feed(STORE, Selection::default());
            let task = Task::begin(Segments::of(instance), settings.keep_bytes, feed);
            hub.set_store(Some(task.segments.clone()));
            self.task = Some(task);
        }
    }

    /// What there is to tell since the last time: that events cannot be kept, or can again.
    pub fn notice(&mut self) -> Option<String> {
        let task = self.task.as_ref()?;
        let failure = task.health.condition().failure;
        if failure.is_some() == std::mem::replace(&mut self.told, failure.is_some()) {
            return None;
        }
        let directory = task.segments.directory().display();
        Some(match failure {
            Some(failure) => format!(
                "events cannot be kept in {directory}: {failure}; it is tried again, and those that find no room meanwhile \
                 are counted"
            ),
            None => format!("events are kept in {directory} again"),
        })
    }

    /// Waits until what was published is on disk, if the disk lets it. The hub has to be closed.
    pub async fn finish(&mut self) {
        let Some(task) = self.task.take() else { return };
        if timeout(PATIENCE, task.handle).await.is_err() {
            tracing::warn!("the last events are not on disk: it takes too long");
        }
    }
}

impl Task {
    fn begin(segments: Segments, limit: u64, feed: Feed) -> Self {
        let (limit, health) = (Arc::new(AtomicU64::new(limit)), Arc::<Health>::default());
        let writer = Writer::new(segments.clone());
        let handle = tokio::spawn(keep(feed, writer, Arc::clone(&limit), Arc::clone(&health)));
        Self { segments, limit, health, handle }
    }
}

async fn keep(mut feed: Feed, mut writer: Writer, limit: Arc<AtomicU64>, health: Arc<Health>) {
    while let Some(first) = feed.next().await {
        let mut lines = Lines::default();
        add(&mut lines, &first);
        let mut count = 1 + gather(&mut feed, &mut lines);
        if lines.len() < BATCH_MAX {
            sleep(GATHERING).await;
            count += gather(&mut feed, &mut lines);
        }
        let lines = Arc::new(lines);
        loop {
            let limit = limit.load(Relaxed);
            if limit == 0 {
                return;
            }
            let these = Arc::clone(&lines);
            let work = tokio::task::spawn_blocking(move || {
                let result = writer.append(&these, limit);
                (writer, result)
            });
            let result;
            (writer, result) = match work.await {
                Ok(done) => done,
                // The runtime ends.
                Err(_) => return,
            };
            match result {
                Ok(()) => break health.sent(count),
                Err(error) => health.failed(0, error.to_string()),
            }
            sleep(RETRY).await;
        }
    }
}

/// Adds what is there up to a batch. Returns how many these are.
fn gather(feed: &mut Feed, lines: &mut Lines) -> u64 {
    let mut count = 0;
    while lines.len() < BATCH_MAX
        && let Some(told) = feed.next_there()
    {
        add(lines, &told);
        count += 1;
    }
    count
}

fn add(lines: &mut Lines, told: &Told) {
    lines.push(&told.line_for(true), told.is_routine());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use firewall_common::reason::Reason;
    use std::{fs, path::Path};

    fn keeper(hub: &Hub, directory: &Path) -> Keeper {
        let feed = hub.named_feed(STORE, Selection::default());
        let task = Task::begin(Segments::at(directory.to_owned()), 1 << 20, feed);
        Keeper { task: Some(task), told: false }
    }

    fn publish(hub: &mut Hub, number: u64) {
        let event = Event::control(number, None, i128::from(number), Reason::None, String::new());
        hub.publish(event).unwrap();
    }

    fn lines(directory: &Path) -> usize {
        Segments::at(directory.to_owned()).text().lines().count()
    }

    async fn notice(keeper: &mut Keeper) -> String {
        loop {
            if let Some(notice) = keeper.notice() {
                return notice;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_told_once_and_nothing_is_lost_that_has_room() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("events");
        fs::write(&directory, "in the way").unwrap();
        let mut hub = Hub::default();
        let mut keeper = keeper(&hub, &directory);
        (0..10).for_each(|number| publish(&mut hub, number));
        let said = notice(&mut keeper).await;
        assert!(said.starts_with("events cannot be kept in /"), "{said}");
        sleep(10 * RETRY).await;
        (10..20).for_each(|number| publish(&mut hub, number));
        assert_eq!(keeper.notice(), None);
        fs::remove_file(&directory).unwrap();
        assert!(notice(&mut keeper).await.starts_with("events are kept in /"));
        hub.close();
        keeper.finish().await;
        assert_eq!(lines(&directory), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_ends_leaves_all_of_it_on_disk() {
        let place = tempfile::tempdir().unwrap();
        let mut hub = Hub::default();
        let mut keeper = keeper(&hub, place.path());
        (0..5_000).for_each(|number| publish(&mut hub, number));
        hub.close();
        keeper.finish().await;
        assert_eq!(lines(place.path()), 5_000);
    }
}
