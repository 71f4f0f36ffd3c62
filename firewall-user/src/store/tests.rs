//! What is left where a flood of drops had to make room.

use std::fs;

use firewall_common::reason::Reason;

use super::{
    Kept, Lookback, Meant, OnDisk, Segments,
    segments::Sort,
    writer::{Lines, Writer},
};
use crate::{
    event::{Event, rfc3339},
    events::Criteria,
    hub,
};

const KILLED: &str = "connection_killed";
const DROPPED: &str = "packet_dropped";
/// Events that were written. The numbers begin with 1; who reads finds 0 where a gap is told.
const WRITTEN: u64 = 1_000;

fn time(number: u64) -> String {
    rfc3339(i128::from(number))
}

/// A disk with room for some 600 events, of which each `every`th is a kill.
fn flooded(every: u64) -> (tempfile::TempDir, Segments) {
    let directory = tempfile::tempdir().unwrap();
    let segments = Segments::at(directory.path().to_owned());
    let mut writer = Writer::new(segments.clone());
    for number in 1..=WRITTEN {
        let said = "a thousand bytes ".repeat(60);
        let event = Event::control(number, None, i128::from(number), Reason::None, said);
        let kind = if number.is_multiple_of(every) { KILLED } else { DROPPED };
        let event = Event { event: kind.to_owned(), ..event };
        let mut lines = Lines::default();
        lines.push(&serde_json::to_string(&event).unwrap(), hub::is_routine(&event));
        writer.append(&lines, 1 << 20).unwrap();
    }
    (directory, segments)
}

/// The first event that is there with all its like.
fn first(segments: &Segments) -> u64 {
    let all = segments.list_of(Sort::All).unwrap();
    let first = fs::read_to_string(&all[0].path).unwrap();
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
            for weighty in segments.list_of(Sort::Weighty).unwrap().iter().take(without) {
                fs::remove_file(&weighty.path).unwrap();
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
async fn of_a_file_that_made_room_meanwhile_the_kills_are_left() {
    let (_directory, segments) = flooded(10);
    let lookback = lookback(&segments, Meant::default()).await;
    for all in &segments.list_of(Sort::All).unwrap()[..2] {
        fs::remove_file(&all.path).unwrap();
    }
    assert_eq!(numbers(lookback).await, expected(first(&segments), 10));
}
