//! Reading events back from disk, some at a time, so that no store fills memory and no reader keeps the disk busy.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{self, BufReader},
};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;

use super::{
    Segments,
    segments::{Segment, next_line, timestamp},
};
use crate::{
    event::Event,
    events::{Moment, Selection},
};

/// What is read at a time ends with so many bytes, or so many events that are meant.
const READ_MAX: usize = 4 << 20;
const FOUND_MAX: usize = 256;
/// Who reads at this moment; others wait for their turn.
static TURNS: Semaphore = Semaphore::const_new(2);

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
}

#[derive(Debug)]
struct Reading {
    meant: Meant,
    ahead: VecDeque<Segment>,
    open: Option<io::Take<BufReader<File>>>,
}

impl Lookback {
    /// What is on disk at this moment, and nothing that is written later.
    pub(crate) async fn new(segments: Segments) -> Result<Self> {
        let reading = Reading { meant: Meant::default(), ahead: VecDeque::new(), open: None };
        let mut lookback = Self { segments: segments.clone(), reading: Some(reading) };
        lookback
            .on_a_thread(move |reading| {
                reading.ahead = segments.list()?.into();
                Ok(())
            })
            .await?;
        Ok(lookback)
    }

    /// Whether there are no files.
    pub(super) fn is_empty(&self) -> bool {
        self.reading.as_ref().is_none_or(|reading| reading.ahead.is_empty())
    }

    /// Says which events are meant, before any is read. Files that were written last before their time are not opened.
    pub(crate) fn set(&mut self, meant: Meant) {
        if let Some(reading) = &mut self.reading {
            if let Some(since) = &meant.since {
                reading.ahead.retain(|file| file.may_reach(since));
            }
            reading.meant = meant;
        }
    }

    /// The next events, or for now none of what was read. `None`: that was all.
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
        let mut files =
            self.reading.as_mut().map(|it| std::mem::take(&mut it.ahead)).unwrap_or_default();
        let mut wanted = VecDeque::new();
        let (mut found, mut before) = (0, others.len());
        while found + others.len() - before < count
            && !is_gone()
            && let Some(file) = files.pop_back()
        {
            let it = file.clone();
            let look = move |reading: &mut Reading| Ok((reading.count(&it)?, it.begin()?));
            let (meant, begin) = self.on_a_thread(look).await?;
            found += meant;
            if let Some(begin) = begin {
                before = others.partition_point(|other| *other < begin).min(before);
            }
            wanted.push_front(file);
        }
        if found + others.len() - before < count {
            before = 0;
        }
        if let Some(reading) = &mut self.reading {
            reading.ahead = wanted;
        }
        Ok((found + others.len() - before, before))
    }

    /// Does `work` where it may wait for the disk.
    async fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reading) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let _turn = TURNS.acquire().await?;
        let mut reading = self.reading.take().context("reading was given up")?;
        let (reading, done) = tokio::task::spawn_blocking(move || {
            let done = work(&mut reading);
            (reading, done)
        })
        .await?;
        self.reading = Some(reading);
        done.with_context(|| format!("cannot read {}", self.segments.directory().display()))
    }
}

impl Reading {
    fn next_some(&mut self) -> io::Result<Option<Vec<Stored>>> {
        let mut found = Vec::new();
        let mut line = Vec::new();
        let mut read = 0;
        while found.len() < FOUND_MAX && read < READ_MAX {
            let Some(file) = &mut self.open else {
                let Some(segment) = self.ahead.pop_front() else {
                    return Ok((!found.is_empty()).then_some(found));
                };
                self.open = segment.open()?;
                continue;
            };
            match next_line(file, &mut line)? {
                0 => self.open = None,
                len => read += len,
            }
            found.extend(self.meant.take(&line));
        }
        Ok(Some(found))
    }

    /// How many events of a file are meant.
    fn count(&mut self, segment: &Segment) -> io::Result<usize> {
        let Some(mut file) = segment.open()? else { return Ok(0) };
        let mut line = Vec::new();
        let mut count = 0;
        while next_line(&mut file, &mut line)? > 0 {
            count += usize::from(self.meant.take(&line).is_some());
        }
        Ok(count)
    }
}

impl Meant {
    /// The event of a line, if it is meant. A line that is none, such as one that a crash cut off, is passed over.
    fn take(&self, line: &[u8]) -> Option<Stored> {
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
        (is_new && self.selection.has(&event)).then(|| Stored { event, line: line.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::writer::Writer;
    use firewall_common::reason::Reason;

    fn line(number: u64) -> String {
        let event = Event::control(number, None, i128::from(number), Reason::None, String::new());
        serde_json::to_string(&event).unwrap() + "\n"
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
            writer.append(line(number).as_bytes(), 12_000).unwrap();
        }
        assert!(gaps.len() == 100 || segments.list().unwrap().len() > 2);
        (directory, segments)
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
        let mut lookback = Lookback::new(segments.clone()).await.unwrap();
        Writer::new(segments).append(line(100).as_bytes(), 12_000).unwrap();
        let moment = |number| Moment::parse(&time(number), 0);
        let known = [(50, time(50)), (51, time(7))].into();
        let selection = Selection::default();
        lookback.set(Meant { since: moment(10), until: moment(98), selection, known });
        let wanted: Vec<_> = (10..=98).filter(|number| *number != 50).collect();
        assert_eq!(numbers(&mut lookback).await, wanted);
    }

    #[tokio::test]
    async fn what_was_written_before_the_time_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().to_owned());
        const SECOND: u64 = 1_000_000_000;
        for number in [5, 8, 20] {
            let path = segments.path(number);
            // What no fwx writes, an event of later: so it is seen that the file is not read.
            std::fs::write(&path, line(100 * SECOND + number)).unwrap();
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(number);
            File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        let mut lookback = Lookback::new(segments).await.unwrap();
        lookback.set(Meant { since: Moment::parse(&time(9 * SECOND), 0), ..Meant::default() });
        assert_eq!(numbers(&mut lookback).await, [100 * SECOND + 8, 100 * SECOND + 20]);
    }

    #[tokio::test]
    async fn what_is_no_event_is_passed_over() {
        let (_directory, segments) = store(&[]);
        let garbage =
            [&b"{\"timestamp\":\"2"[..], b"\n\xff\n{}\n\n", line(100).as_bytes(), b"{\"t"].concat();
        Writer::new(segments.clone()).append(&garbage, 12_000).unwrap();
        let all = numbers(&mut Lookback::new(segments).await.unwrap()).await;
        assert_eq!(all, (0..=100).collect::<Vec<_>>());
    }

    /// As a power cut leaves it: a block that never reached the disk, and the rest of a line.
    #[tokio::test]
    async fn what_stands_before_a_files_first_event_hides_none_of_the_newest() {
        let (_directory, segments) = store(&[]);
        for segment in segments.list().unwrap() {
            let whole = std::fs::read(&segment.path).unwrap();
            std::fs::write(&segment.path, [&[0; 40][..], b"\n{\"timest\n", &whole].concat())
                .unwrap();
        }
        // Memory has the last three; the disk has these too.
        let others: Vec<_> = (97..100).collect();
        let times: Vec<_> = others.iter().map(|number| time(*number)).collect();
        let mut lookback = Lookback::new(segments).await.unwrap();
        let known = others.iter().map(|number| (*number, time(*number))).collect();
        lookback.set(Meant { known, ..Meant::default() });
        let (there, before) = lookback.go_to_last(5, &times, || false).await.unwrap();
        let mut all = numbers(&mut lookback).await;
        all.extend(&others[before..]);
        assert_eq!(all.len(), there);
        assert_eq!(&all[there - 5..], [95, 96, 97, 98, 99]);
    }

    #[tokio::test]
    async fn a_file_that_made_room_meanwhile_is_gone() {
        let (_directory, segments) = store(&[]);
        let mut lookback = Lookback::new(segments.clone()).await.unwrap();
        std::fs::remove_file(&segments.list().unwrap()[0].path).unwrap();
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
                let mut lookback = Lookback::new(segments).await.unwrap();
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
        let mut lookback = Lookback::new(segments).await.unwrap();
        let looks = std::cell::Cell::new(0);
        let leaves = || looks.replace(looks.get() + 1) == 1;
        let (found, before) = lookback.go_to_last(100, &[], leaves).await.unwrap();
        assert!((1..100).contains(&found), "{found}: of one file");
        assert_eq!(before, 0);
    }
}
