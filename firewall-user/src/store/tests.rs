//! What is left where a flood of drops had to make room.

use std::{
    fs::{self, File},
    ops::RangeInclusive,
    time::{Duration, UNIX_EPOCH},
};

use firewall_common::reason::Reason;

use super::{
    Kept, Lookback, Meant, OnDisk, Segments,
    segments::Sort,
    writer::{Lines, Writer},
};
use crate::{
    event::{Event, rfc3339},
    events::{Criteria, Moment},
    hub,
};

const KILLED: &str = "connection_killed";
const DROPPED: &str = "packet_dropped";
/// Events that were written. The numbers begin with 1; who reads finds 0 where a gap is told.
const WRITTEN: u64 = 1_000;

/// When the events were written, seconds since 1970, and a nanosecond for each.
const BEGIN: i128 = 100;

fn at(number: u64) -> i128 {
    BEGIN * 1_000_000_000 + i128::from(number)
}

fn time(number: u64) -> String {
    rfc3339(at(number))
}

/// Room for some 600 events.
const ROOM: u64 = 1 << 20;

fn line(number: u64, kind: &str) -> Lines {
    let said = "a thousand bytes ".repeat(60);
    let event = Event::control(number, None, at(number), Reason::None, said);
    let event = Event { event: kind.to_owned(), ..event };
    let mut lines = Lines::default();
    lines.push(&serde_json::to_string(&event).unwrap(), hub::is_routine(&event));
    lines
}

fn empty() -> (tempfile::TempDir, Segments) {
    let directory = tempfile::tempdir().unwrap();
    let segments = Segments::at(directory.path().to_owned());
    (directory, segments)
}

/// Writes events, of which each `every`th is a kill.
fn write(segments: &Segments, numbers: RangeInclusive<u64>, every: u64) {
    let mut writer = Writer::new(segments.clone());
    for number in numbers {
        let kind = if number.is_multiple_of(every) { KILLED } else { DROPPED };
        writer.append(&line(number, kind), ROOM).unwrap();
    }
}

/// A disk with room for some of the events that were written.
fn flooded(every: u64) -> (tempfile::TempDir, Segments) {
    let (directory, segments) = empty();
    write(&segments, 1..=WRITTEN, every);
    (directory, segments)
}

/// The first event that is there with all its like.
fn first(segments: &Segments) -> u64 {
    let first = fs::read_to_string(&segments.files(Sort::All)[0]).unwrap();
    let first: Event = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert!((100..800).contains(&first.event_id), "{}", first.event_id);
    first.event_id
}

async fn lookback(segments: &Segments, meant: Meant) -> Lookback {
    Kept::now(segments.clone()).await.unwrap().lookback(meant)
}

fn only(kind: &str) -> Meant {
    let criteria = Criteria { event: vec![kind.to_owned()], ..Criteria::default() };
    Meant { selection: criteria.selection(0).unwrap(), ..Meant::default() }
}

async fn read(mut lookback: Lookback) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(some) = lookback.next_some().await.unwrap() {
        all.extend(some.into_iter().map(|stored| {
            assert_eq!(serde_json::from_str::<Event>(&stored.line).unwrap(), stored.event);
            stored.event
        }));
    }
    all
}

async fn numbers(lookback: Lookback) -> Vec<u64> {
    read(lookback).await.iter().map(|event| event.event_id).collect()
}

/// What is read of a disk on which `first` is the first event with all its like: the kills before it, that there is a
/// gap, and the rest.
fn expected(first: u64, every: u64) -> Vec<u64> {
    let kills = (1..first).filter(|number| number.is_multiple_of(every));
    kills.chain([0]).chain(first..=WRITTEN).collect()
}

#[tokio::test]
async fn where_drops_made_room_the_kills_are_left_and_it_is_told() {
    let (_directory, segments) = flooded(10);
    let first = first(&segments);
    let told = read(lookback(&segments, Meant::default()).await).await;
    assert!(told.iter().map(|event| event.event_id).eq(expected(first, 10)));
    let gap = told.iter().find(|event| event.event_id == 0).unwrap();
    assert_eq!((&*gap.event, gap.timestamp.clone()), ("control", time(first)));
    assert_eq!(
        gap.message.as_deref().unwrap(),
        format!(
            "drops, findings, and connections opened and closed before {} are missing here, but for those that the \
             controller remembers: they made room on disk for later ones",
            time(first)
        )
    );
    // Who wants only kills misses none, and others may miss some.
    let kills: Vec<_> = (10..=WRITTEN).step_by(10).collect();
    assert_eq!(numbers(lookback(&segments, only(KILLED)).await).await, kills);
    assert_eq!(numbers(lookback(&segments, only("connection_opened")).await).await, [0]);
}

#[tokio::test]
async fn a_gap_is_not_counted_among_the_last() {
    let (_directory, segments) = flooded(10);
    let all = expected(first(&segments), 10);
    let gap = all.iter().position(|number| *number == 0).unwrap();
    let events: Vec<_> = all.iter().filter(|number| **number != 0).collect();
    for last in
        [1, all.len() - gap - 2, all.len() - gap - 1, all.len() - gap, all.len() - 2, all.len()]
    {
        let mut disk =
            OnDisk::new(segments.clone(), &Criteria::default(), Some(last)).await.unwrap().unwrap();
        let mut told = Vec::new();
        while let Some(event) = disk.next().await.unwrap() {
            told.push(event.event_id);
        }
        // It is told to those who are told of something before it.
        assert_eq!(told.contains(&0), last > all.len() - gap - 1, "{last}");
        told.retain(|number| *number != 0);
        let wanted = &events[events.len().saturating_sub(last)..];
        assert!(told.iter().eq(wanted.iter().copied()), "{last}: {told:?}");
    }
}

/// Also where they were so many that they made room for each other, or a version wrote them that knew no such files.
#[tokio::test]
async fn kills_are_the_same_whether_they_are_read_alone_or_not() {
    for every in [1, 2, 3, 10, 200] {
        for without in [0, 2, usize::MAX] {
            let (_directory, segments) = flooded(every);
            for weighty in segments.files(Sort::Weighty).iter().take(without) {
                fs::remove_file(weighty).unwrap();
            }
            let kills = numbers(lookback(&segments, only(KILLED)).await).await;
            let mut all = numbers(lookback(&segments, Meant::default()).await).await;
            all.retain(|number| *number != 0 && number.is_multiple_of(every));
            assert_eq!(kills, all, "{every}, {without}");
            assert_eq!(kills.last(), Some(&(WRITTEN / every * every)));
        }
    }
}

#[tokio::test]
async fn what_a_version_wrote_that_knew_no_such_files_is_read() {
    let (_directory, segments) = empty();
    let old: String = (1..=5)
        .map(|number| {
            write(&segments, number..=number, 1);
            let text = segments.text();
            fs::remove_file(&segments.files(Sort::All)[0]).unwrap();
            fs::remove_file(&segments.files(Sort::Weighty)[0]).unwrap();
            text
        })
        .collect();
    fs::write(segments.path(Sort::All, 1), old).unwrap();
    write(&segments, 6..=8, 2);
    assert_eq!(numbers(lookback(&segments, only(KILLED)).await).await, [1, 2, 3, 4, 5, 6, 8]);
    assert!(numbers(lookback(&segments, Meant::default()).await).await.into_iter().eq(1..=8));
}

#[tokio::test]
async fn of_a_file_that_made_room_meanwhile_the_kills_are_left_and_no_later_ones() {
    let (_directory, segments) = empty();
    write(&segments, 1..=50, 10);
    let all = lookback(&segments, Meant::default()).await;
    write(&segments, 51..=WRITTEN, 10);
    let mut told = read(all).await;
    // That the rest is missing is told, of whatever time it is.
    assert_eq!(told.pop().unwrap().event_id, 0);
    assert!(told.iter().map(|event| event.event_id).eq((10..=50).step_by(10)));

    let (_directory, segments) = flooded(10);
    let all = lookback(&segments, Meant::default()).await;
    for file in &segments.files(Sort::All)[..2] {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(numbers(all).await, expected(first(&segments), 10));
}

#[tokio::test]
async fn kills_that_made_room_meanwhile_are_read_where_all_are() {
    let (_directory, segments) = flooded(2);
    let wanted = numbers(lookback(&segments, only(KILLED)).await).await;
    let kills = lookback(&segments, only(KILLED)).await;
    for file in segments.files(Sort::Weighty).iter().rev().take(segments.files(Sort::All).len()) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(numbers(kills).await, wanted);
}

#[tokio::test]
async fn a_gap_is_told_wherever_it_is() {
    // In the middle, where a file made room that had no kills.
    let (_directory, segments) = empty();
    write(&segments, 1..=400, 1_000);
    let all = lookback(&segments, Meant::default()).await;
    let files = segments.files(Sort::All);
    fs::remove_file(&files[1]).unwrap();
    fs::remove_file(segments.path(Sort::Weighty, 2)).unwrap();
    let told = numbers(all).await;
    let gap = told.iter().position(|number| *number == 0).unwrap();
    assert!(gap > 0 && told[gap + 1] > told[gap - 1] + 1, "{told:?}");

    // At the beginning, where there was no kill either, or only one before the time that is asked for.
    for every in [2_000, 500] {
        let (_directory, segments) = flooded(every);
        let first = first(&segments);
        for file in segments.files(Sort::Weighty) {
            let at = UNIX_EPOCH + Duration::from_secs(10);
            File::options().write(true).open(&file).unwrap().set_modified(at).unwrap();
        }
        let since = |at| Meant { since: Moment::parse(&rfc3339(at), 0), ..Meant::default() };
        let told = numbers(lookback(&segments, since(50_000_000_000)).await).await;
        assert!(told.into_iter().eq([0].into_iter().chain(first..=WRITTEN)), "{every}");
        let told = numbers(lookback(&segments, since(at(first + 1))).await).await;
        assert!(told.into_iter().eq(first + 1..=WRITTEN), "nothing is missing of this");
    }
}

#[tokio::test]
async fn no_gap_is_told_where_nothing_that_is_wanted_is_missing() {
    // Every kill made room, too, but the newest: the disk has all from `first` on.
    let (_directory, segments) = flooded(2_000);
    let first = first(&segments);
    let there = (first..=WRITTEN).count();
    for (last, is_told) in [(there, false), (there + 1, true)] {
        let mut lookback = lookback(&segments, Meant::default()).await;
        lookback.go_to_last(last, &[], || false).await.unwrap();
        assert_eq!(numbers(lookback).await.contains(&0), is_told, "{last}");
    }
    // Memory has all from there on.
    for (known_from, is_told) in [(first - 10, false), (first - 5, true), (first - 3, true)] {
        let since = Moment::parse(&time(first - 5), 0);
        let known_from = Some(time(known_from));
        let lookback = lookback(&segments, Meant { since, known_from, ..Meant::default() }).await;
        assert_eq!(numbers(lookback).await.contains(&0), is_told);
    }
}

/// As it is when a reader comes just as a file begins, and the one before it makes room.
#[tokio::test]
async fn a_gap_before_a_file_in_which_nothing_is_yet_is_told_behind_it() {
    let (_directory, segments) = flooded(10);
    let [.., newest] = &segments.files(Sort::All)[..] else { panic!() };
    File::create(newest).unwrap();
    let all = lookback(&segments, Meant::default()).await;
    for file in segments.files(Sort::All).iter().rev().skip(1) {
        fs::remove_file(file).unwrap();
    }
    let told = numbers(all).await;
    assert!(told.len() > 50 && told.ends_with(&[0]), "{told:?}");
}

#[tokio::test]
async fn what_else_lies_there_is_left_alone() {
    let (_directory, segments) = empty();
    write(&segments, 1..=3, 2);
    let others = ["99.jsonl", "0000000099.json", "+000000099.jsonl", "0000000001.other.jsonl"];
    for name in others {
        fs::write(segments.directory().join(name), "").unwrap();
    }
    write(&segments, 4..=5, 2);
    assert_eq!(numbers(lookback(&segments, Meant::default()).await).await, [1, 2, 3, 4, 5]);
    assert!(others.iter().all(|name| segments.directory().join(name).exists()));
}

#[tokio::test]
async fn the_last_are_those_that_were_counted() {
    let (_directory, segments) = flooded(10);
    for last in [5, 100, 300] {
        let mut lookback = lookback(&segments, Meant::default()).await;
        let (there, _) = lookback.go_to_last(last, &[], || false).await.unwrap();
        let oldest = &segments.files(Sort::All)[0];
        fs::remove_file(oldest).unwrap();
        let told = numbers(lookback).await;
        assert_eq!(told.len(), there, "{last}");
        assert!(told[there - last..].iter().copied().eq(WRITTEN + 1 - last as u64..=WRITTEN));
    }
}
