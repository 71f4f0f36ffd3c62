//! Reading events back from disk, some at a time, so that no store fills memory and no reader keeps the disk busy.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    io::{self, BufReader},
};

use anyhow::{Context as _, Result};
use firewall_common::{event::EventKind, reason::Reason};
use tokio::sync::Semaphore;

use super::{
    Segments,
    segments::{Listing, Segment, Sort, next_line, timestamp},
};
use crate::{
    event::Event,
    events::{Moment, Selection},
    hub,
};

/// What is read at a time ends with so many bytes, or so many events that are meant.
const READ_MAX: usize = 4 << 20;
const FOUND_MAX: usize = 256;
/// Who reads at this moment; others wait for their turn.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What is on disk at one moment, and nothing that is written later.
#[derive(Debug)]
pub(crate) struct Kept {
    segments: Segments,
    listing: Listing,
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
}

#[derive(Debug, Default)]
struct Reading {
    meant: Meant,
    ahead: VecDeque<Segment>,
    open: Option<io::Take<BufReader<File>>>,
    /// Whether what was read last is of a time of which only the weighty events are left.
    is_thin: bool,
}

impl Kept {
    /// What is on disk now.
    pub(crate) async fn now(segments: Segments) -> Result<Self> {
        let at = segments.clone();
        let listing = on_a_thread(move || at.list()).await?;
        Ok(Self { listing: listing.with_context(|| cannot_read(&segments))?, segments })
    }

    /// Whether there are no files.
    pub(super) fn is_empty(&self) -> bool {
        self.listing.is_empty()
    }

    /// The events that are meant. Files that were written last before their time are not opened, nor those with all
    /// events for the weighty ones, where these have their own.
    pub(crate) fn lookback(self, meant: Meant) -> Lookback {
        let Self { segments, listing } = self;
        let mut ahead = if meant.means_routine() { listing.of_all() } else { listing.of_weighty() };
        if let Some(since) = &meant.since {
            ahead.retain(|file| file.may_reach(since));
        }
        let reading = Reading { meant, ahead: ahead.into(), ..Reading::default() };
        Lookback { segments, reading: Some(reading) }
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
                if let Some((sort, file)) = segment.open()? {
                    let was_thin = std::mem::replace(&mut self.is_thin, sort == Sort::Weighty);
                    if was_thin && !self.is_thin {
                        found.extend(self.gap_before(&segment)?);
                    }
                    self.open = Some(file);
                }
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

    /// Tells that only the weighty events are left of what came before `segment`, to those who want the others.
    fn gap_before(&self, segment: &Segment) -> io::Result<Option<Stored>> {
        if !self.meant.means_routine() {
            return Ok(None);
        }
        let Some(timestamp) = segment.begin()? else { return Ok(None) };
        let message = format!(
            "drops, findings, and connections opened and closed before {timestamp} are missing here, but for those that \
             the controller remembers: they made room on disk for later ones"
        );
        let event = Event { timestamp, ..Event::control(0, None, 0, Reason::None, message) };
        Ok(Some(Stored { line: serde_json::to_string(&event)?, event, is_gap: true }))
    }

    /// How many events of a file are meant.
    fn count(&mut self, segment: &Segment) -> io::Result<usize> {
        let Some((_, mut file)) = segment.open()? else { return Ok(0) };
        let mut line = Vec::new();
        let mut count = 0;
        while next_line(&mut file, &mut line)? > 0 {
            count += usize::from(self.meant.take(&line).is_some());
        }
        Ok(count)
    }
}

impl Meant {
    /// Whether events that come in masses may be meant.
    fn means_routine(&self) -> bool {
        let mut routine = EventKind::ALL.iter().filter(|kind| hub::is_routine_kind(**kind));
        routine.any(|kind| self.selection.means(*kind))
    }

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
        (is_new && self.selection.has(&event)).then(|| Stored {
            event,
            line: line.to_owned(),
            is_gap: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::writer::{Lines, Writer};

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
        assert!(gaps.len() == 100 || segments.list().unwrap().of_all().len() > 2);
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
        let meant = Meant { since: moment(10), until: moment(98), selection, known };
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
        for segment in segments.list().unwrap().of_all() {
            let whole = fs::read(&segment.path).unwrap();
            fs::write(&segment.path, [&[0; 40][..], b"\n{\"timest\n", &whole].concat()).unwrap();
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
        fs::remove_file(&segments.list().unwrap().of_all()[0].path).unwrap();
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
