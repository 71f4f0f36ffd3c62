//! Reading events back from disk, some at a time, so that no store fills memory and no reader keeps the disk busy.

use std::{collections::HashSet, io};

use anyhow::{Context as _, Result};
use firewall_common::event::EventKind;
use tokio::sync::Semaphore;

use super::{
    Segments,
    reading::Reading,
    segments::{Segment, timestamp},
};
use crate::{
    event::Event,
    events::{Moment, Selection},
    hub,
};

/// Who reads at this moment; others wait for their turn.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What is on disk at one moment, and nothing that is written later.
#[derive(Debug)]
pub(crate) struct Kept {
    segments: Segments,
    there: Vec<Segment>,
}

/// The events that are meant of those on disk, the oldest first.
#[derive(Debug)]
pub(crate) struct Lookback {
    segments: Segments,
    /// `None`: a thread has it that nobody waits for any more.
    reading: Option<Reading>,
}

/// An event that was on disk.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) event: Event,
    /// As it was written, with its packet.
    pub(crate) line: String,
    /// It never was: it tells what is missing before it, to those who are told something of before it. It is not among
    /// those that are counted.
    pub(crate) is_gap: bool,
}

/// Which events are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meant {
    /// The bounds of time that the selection has, which are seen without reading all of a line.
    pub(crate) since: Option<Moment>,
    pub(crate) until: Option<Moment>,
    pub(crate) selection: Selection,
    /// Numbers and times of those that are told by others.
    pub(crate) known: HashSet<(u64, String)>,
    /// Of the time after that all are.
    pub(crate) known_from: Option<String>,
}

impl Kept {
    /// What is on disk now.
    pub(crate) async fn now(segments: Segments) -> Result<Self> {
        let at = segments.clone();
        let there = on_a_thread(move || at.list()).await?;
        Ok(Self { there: there.with_context(|| cannot_read(&segments))?, segments })
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.there.is_empty()
    }

    /// The events that are meant.
    pub(crate) fn lookback(self, meant: Meant) -> Lookback {
        let reading = Reading::new(self.segments.clone(), self.there, meant);
        Lookback { segments: self.segments, reading: Some(reading) }
    }
}

impl Lookback {
    /// The next events, or for now none of what was read. `None`: that was all. Where events that come in masses made
    /// room, a `control` event of number 0 says so.
    pub(crate) async fn next_some(&mut self) -> Result<Option<Vec<Stored>>> {
        self.on_a_thread(Reading::next_some).await
    }

    /// Goes to a file's beginning from which on there are at least `count` events that are meant, together with those
    /// of `others`, the times of events that are told besides, in their order. If all files have fewer, to the first.
    /// Returns how many of both there are from there on, and of `others` how many come before it. Looks no further when
    /// nobody waits for it any more, as `is_gone` says.
    pub(crate) async fn go_to_last(
        &mut self,
        count: usize,
        others: &[String],
        is_gone: impl Fn() -> bool,
    ) -> Result<(usize, usize)> {
        let (mut found, mut before) = (0, others.len());
        while found + others.len() - before < count
            && !is_gone()
            && let Some(counted) = self.on_a_thread(Reading::count_back).await?
        {
            found += counted.events;
            if let Some(begin) = counted.begin {
                before = others.partition_point(|other| *other < begin).min(before);
            }
        }
        let are_enough = found + others.len() - before >= count;
        if !are_enough {
            before = 0;
        }
        if let Some(reading) = &mut self.reading {
            reading.go_to_counted(are_enough);
        }
        Ok((found + others.len() - before, before))
    }

    /// Does `work` on a thread for it.
    async fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reading) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut reading = self.reading.take().context("reading was given up")?;
        let (reading, done) = on_a_thread(move || {
            let done = work(&mut reading);
            (reading, done)
        })
        .await?;
        self.reading = Some(reading);
        done.with_context(|| cannot_read(&self.segments))
    }
}

/// Does `work` when its turn has come, where it may wait for the disk.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let _turn = TURNS.acquire().await?;
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn cannot_read(segments: &Segments) -> String {
    format!("cannot read {}", segments.directory().display())
}

impl Meant {
    /// Whether events that come in masses may be meant.
    pub(super) fn means_routine(&self) -> bool {
        let mut routine = EventKind::ALL.iter().filter(|kind| hub::is_routine_kind(**kind));
        routine.any(|kind| self.selection.means(*kind))
    }

    /// The event of a line, if it is meant. A line that is none, such as one that a crash cut off, is passed over.
    pub(super) fn take(&self, line: &[u8]) -> Option<Stored> {
        let time = timestamp(line)?;
        if self.since.as_ref().is_some_and(|since| !since.is_reached_by(time))
            || self.until.as_ref().is_some_and(|until| until.is_passed_by(time))
        {
            return None;
        }
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let event: Event = serde_json::from_str(line).ok()?;
        let key = (event.event_id, event.timestamp);
        let is_new = !self.known.contains(&key);
        let event = Event { timestamp: key.1, ..event };
        (is_new && self.selection.has(&event)).then(|| Stored {
            event,
            line: line.to_owned(),
            is_gap: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use firewall_common::reason::Reason;

    use super::*;
    use crate::store::{
        segments::Sort,
        writer::{Lines, Writer},
    };

    fn line(number: u64) -> String {
        serde_json::to_string(&event(number)).unwrap() + "\n"
    }

    fn event(number: u64) -> Event {
        let said = "a thousand bytes ".repeat(60);
        Event::control(number, None, i128::from(number), Reason::None, said)
    }

    fn time(number: u64) -> String {
        crate::event::rfc3339(i128::from(number))
    }

    /// Numbers 0 to 99 but those of `gaps`, in several files.
    fn store(gaps: &[u64]) -> (tempfile::TempDir, Segments) {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().to_owned());
        let mut writer = Writer::new(segments.clone());
        for number in (0..100).filter(|number| !gaps.contains(number)) {
            writer.append(&Lines::routine(line(number)), 250_000).unwrap();
        }
        assert!(gaps.len() == 100 || segments.list().unwrap().len() > 2);
        (directory, segments)
    }

    async fn look_back(segments: Segments, meant: Meant) -> Lookback {
        Kept::now(segments).await.unwrap().lookback(meant)
    }

    async fn numbers(lookback: &mut Lookback) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(some) = lookback.next_some().await.unwrap() {
            numbers.extend(some.iter().map(|stored| stored.event.event_id));
        }
        numbers
    }

    #[tokio::test]
    async fn what_is_meant_is_read_in_order_and_nothing_twice() {
        let (_directory, segments) = store(&[]);
        let kept = Kept::now(segments.clone()).await.unwrap();
        Writer::new(segments).append(&Lines::routine(line(100)), 250_000).unwrap();
        let moment = |number| Moment::parse(&time(number), 0);
        let known = [(50, time(50)), (51, time(7))].into();
        let selection = Selection::default();
        let meant =
            Meant { since: moment(10), until: moment(98), selection, known, ..Meant::default() };
        let mut lookback = kept.lookback(meant);
        let wanted: Vec<_> = (10..=98).filter(|number| *number != 50).collect();
        assert_eq!(numbers(&mut lookback).await, wanted);
    }

    #[tokio::test]
    async fn what_was_written_before_the_time_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().to_owned());
        const SECOND: u64 = 1_000_000_000;
        for number in [5, 8, 20] {
            let path = segments.path(Sort::All, number);
            // What no fwx writes, an event of later: so it is seen that the file is not read.
            fs::write(&path, line(100 * SECOND + number)).unwrap();
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number);
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        let since = Moment::parse(&time(9 * SECOND), 0);
        let mut lookback = look_back(segments, Meant { since, ..Meant::default() }).await;
        assert_eq!(numbers(&mut lookback).await, [100 * SECOND + 8, 100 * SECOND + 20]);
    }

    #[tokio::test]
    async fn what_is_no_event_is_passed_over() {
        let (_directory, segments) = store(&[]);
        let garbage =
            [&b"{\"timestamp\":\"2"[..], b"\n\xff\n{}\n\n", line(100).as_bytes(), b"{\"t"].concat();
        Writer::new(segments.clone()).append(&Lines::routine(garbage), 250_000).unwrap();
        let all = numbers(&mut look_back(segments, Meant::default()).await).await;
        assert_eq!(all, (0..=100).collect::<Vec<_>>());
    }

    /// As a power cut leaves it: a block that never reached the disk, and the rest of a line.
    #[tokio::test]
    async fn what_stands_before_a_files_first_event_hides_none_of_the_newest() {
        let (_directory, segments) = store(&[]);
        for path in segments.files(Sort::All) {
            let whole = fs::read(&path).unwrap();
            fs::write(&path, [&[0; 40][..], b"\n{\"timest\n", &whole].concat()).unwrap();
        }
        // Memory has the last three; the disk has these too.
        let others: Vec<_> = (97..100).collect();
        let times: Vec<_> = others.iter().map(|number| time(*number)).collect();
        let known = others.iter().map(|number| (*number, time(*number))).collect();
        let mut lookback = look_back(segments, Meant { known, ..Meant::default() }).await;
        let (there, before) = lookback.go_to_last(5, &times, || false).await.unwrap();
        let mut all = numbers(&mut lookback).await;
        all.extend(&others[before..]);
        assert_eq!(all.len(), there);
        assert_eq!(&all[there - 5..], [95, 96, 97, 98, 99]);
    }

    #[tokio::test]
    async fn a_file_that_made_room_meanwhile_is_gone() {
        let (_directory, segments) = store(&[]);
        let mut lookback = look_back(segments.clone(), Meant::default()).await;
        fs::remove_file(&segments.files(Sort::All)[0]).unwrap();
        let left = numbers(&mut lookback).await;
        assert!(left.len() < 100 && left.ends_with(&[98, 99]) && left.is_sorted());
    }

    /// The last of all are found, whether the others, those that memory has, are many, few, old or new.
    #[tokio::test]
    async fn the_last_are_found_among_what_is_on_disk_and_what_is_not() {
        for others in
            [vec![], vec![1], vec![99], vec![1, 50, 97], (60..100).collect(), (0..100).collect()]
        {
            for count in [1, 2, 3, 10, 50, 99, 100, 101] {
                let (_directory, segments) = store(&others);
                let mut lookback = look_back(segments, Meant::default()).await;
                let times: Vec<_> = others.iter().map(|number| time(*number)).collect();
                let (there, before) = lookback.go_to_last(count, &times, || false).await.unwrap();
                let mut all = numbers(&mut lookback).await;
                all.extend(&others[before..]);
                all.sort_unstable();
                assert_eq!(all.len(), there, "{others:?} {count}");
                let last = &all[there.saturating_sub(count)..];
                let wanted: Vec<_> = (100_u64.saturating_sub(count as u64)..100).collect();
                assert_eq!(last, wanted, "{others:?} {count}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_more_is_read_for_who_is_gone() {
        let (_directory, segments) = store(&[]);
        let mut lookback = look_back(segments, Meant::default()).await;
        let looks = std::cell::Cell::new(0);
        let leaves = || looks.replace(looks.get() + 1) == 1;
        let (found, before) = lookback.go_to_last(100, &[], leaves).await.unwrap();
        assert!((1..100).contains(&found), "{found}: of one file");
        assert_eq!(before, 0);
    }
}
