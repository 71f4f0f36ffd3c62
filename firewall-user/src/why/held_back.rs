//! Packets that no event tells of. Beyond a rate the kernel holds events back, and the next one that it tells under the
//! same rate limit says how many were held back before it.

use std::collections::HashMap;

use firewall_common::{
    event::{Bucket, EventKind},
    number::giver_of,
};
use serde::Serialize;

use super::tell::count;
use crate::event::{Event, epoch_ns};

/// How many packets met the same in a span of time, of whomever, that no event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBack {
    /// So many for certain.
    pub at_least: u64,
    /// No more than so many; left out: the event that has to say how many more has not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

impl HeldBack {
    /// None was held back.
    pub(super) const NONE: Self = Self { at_least: 0, at_most: Some(0) };

    /// How many, in words. `None`: none was held back.
    pub(super) fn text(self) -> Option<String> {
        let packets = |number| count(number, "packet", "packets");
        Some(match (self.at_least, self.at_most) {
            (0, Some(0)) => return None,
            (0, Some(most)) => format!("at most {}", packets(most)),
            (least, Some(most)) if least == most => packets(most),
            (least, Some(most)) => format!("{least} to {}", packets(most)),
            (0, None) => "maybe packets".to_owned(),
            (least, None) => format!("at least {}", packets(least)),
        })
    }
}

/// What a token came to: after so many nanoseconds an empty [`Bucket`] lets the next event pass. So all that was held
/// back after an event came within that time of it.
const INTERVAL_NS: u64 = 1_000_000_000 / Bucket::RATE;

/// Which rate limit an event has: that of its reason or, where it tells of a filter's finding, of that.
type Limit<'a> = (Option<&'a str>, Option<(&'a str, &'a str)>);

/// All events that a rate limit let pass.
#[derive(Debug, Default)]
pub(super) struct Limits<'a> {
    by_cpu: HashMap<Limit<'a>, HashMap<u64, Course>>,
}

/// What one rate limit let pass on one CPU.
#[derive(Debug, Default)]
struct Course {
    /// When, in nanoseconds since 1970, and how many were held back before it.
    passed: Vec<(u64, u64)>,
    /// As the kernel's stood behind the last of these, by those that are known.
    bucket: Bucket,
}

impl<'a> Limits<'a> {
    /// Adds an event; they come in the order of time.
    pub(super) fn add(&mut self, event: &'a Event) {
        let time = epoch_ns(&event.timestamp).and_then(|time| u64::try_from(time).ok());
        let (Some(suppressed), Some(time)) = (event.suppressed, time) else { return };
        // Kills have no rate limit.
        if event.kind() == Some(EventKind::ConnectionKilled) {
            return;
        }
        let of_cpu = self.by_cpu.entry(limit(event)).or_default();
        of_cpu.entry(giver_of(event.event_id)).or_default().add(time, suppressed);
    }

    /// What was held back while `events`, which have one rate limit and are in the order of time, came.
    pub(super) fn held_back(&self, events: &[&Event]) -> HeldBack {
        let time =
            |event: &&Event| epoch_ns(&event.timestamp).and_then(|it| u64::try_from(it).ok());
        let span = events.first().and_then(time).zip(events.last().and_then(time));
        let (Some(span), Some(first)) = (span, events.first()) else { return HeldBack::NONE };
        let courses = self.by_cpu.get(&limit(first)).into_iter().flat_map(HashMap::values);
        courses.fold(HeldBack::NONE, |sum, course| {
            let more = course.held_back(span);
            HeldBack {
                at_least: sum.at_least.saturating_add(more.at_least),
                at_most: sum.at_most.zip(more.at_most).map(|(a, b)| a.saturating_add(b)),
            }
        })
    }
}

fn limit(event: &Event) -> Limit<'_> {
    let filter = event.filter.as_ref();
    (event.reason.as_deref(), filter.map(|filter| (filter.name.as_str(), filter.finding.as_str())))
}

impl Course {
    fn add(&mut self, time: u64, suppressed: u64) {
        if suppressed > 0 {
            self.bucket.used = Bucket::BURST;
            self.bucket.refilled =
                self.passed.last().map_or(time.saturating_sub(INTERVAL_NS), |last| last.0);
        }
        // It passed, whatever those say that are known.
        let _ = self.bucket.admit(time);
        self.passed.push((time, suppressed));
    }

    /// What was held back from the first moment of a span to the last.
    fn held_back(&self, (first, last): (u64, u64)) -> HeldBack {
        let mut held_back = HeldBack::NONE;
        let begin = self.passed.partition_point(|(time, _)| *time < first);
        for index in begin..self.passed.len() {
            let (time, suppressed) = self.passed[index];
            let before = index.checked_sub(1).map(|before| self.passed[before].0);
            let earliest = before.unwrap_or(0);
            let latest = before.map_or(time, |before| time.min(before + INTERVAL_NS));
            if earliest > last {
                return held_back;
            }
            if latest < first {
                continue;
            }
            held_back.at_most = held_back.at_most.map(|most| most.saturating_add(suppressed));
            if first <= earliest && latest <= last {
                held_back.at_least = held_back.at_least.saturating_add(suppressed);
            }
        }
        let newest = self.passed.last().map_or(0, |newest| newest.0);
        let is_empty = self.bucket.used >= Bucket::BURST;
        if is_empty && (first..=last.saturating_add(INTERVAL_NS)).contains(&(newest + INTERVAL_NS))
        {
            held_back.at_most = None;
        }
        held_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    /// 2026-11-23.
    const NOON: u64 = 1_795_392_000_000_000_000;

    /// `passed`: milliseconds, and how many were held back before.
    fn course(passed: &[(u64, u64)]) -> Course {
        let mut course = Course::default();
        passed.iter().for_each(|(at, suppressed)| course.add(NOON + at * MS, *suppressed));
        course
    }

    fn held_back(course: &Course, first: u64, last: u64) -> (u64, Option<u64>) {
        let HeldBack { at_least, at_most } =
            course.held_back((NOON + first * MS, NOON + last * MS));
        (at_least, at_most)
    }

    #[test]
    fn what_an_event_counts_came_right_behind_the_one_before_it() {
        let course = course(&[(0, 3), (1_000, 0), (1_100, 40), (2_000, 0), (9_000, 7)]);
        // (first, last): behind 1,000 came 40, within 5 ms, and so behind 2,000 came 7.
        for (first, last, least, most) in [
            (1_000, 1_100, 40, 40),
            (1_000, 1_005, 40, 40),
            (1_000, 1_004, 0, 40),
            (1_000, 1_000, 0, 40),
            (1_100, 2_000, 0, 7),
            (1_100, 2_005, 7, 7),
            (1_100, 9_000, 7, 7),
            (5_000, 9_000, 0, 0),
            (0, 1_000, 0, 43),
            (0, 9_000, 47, 50),
        ] {
            assert_eq!(held_back(&course, first, last), (least, Some(most)), "{first} to {last}");
        }
    }

    #[test]
    fn what_no_event_counts_yet_has_no_bound() {
        // A burst uses up what the rate limit has: what came right behind it, nobody knows.
        let mut passed: Vec<_> = (0..Bucket::BURST - 1).map(|_| (0, 0)).collect();
        assert_eq!(held_back(&course(&passed), 0, 0), (0, Some(0)));
        passed.push((0, 0));
        assert_eq!(held_back(&course(&passed), 0, 0), (0, None));
        assert_eq!(held_back(&course(&passed), 6, 9), (0, Some(0)), "a token came by then");
        // The next one tells it.
        passed.push((8, 12));
        assert_eq!(held_back(&course(&passed), 0, 5), (12, Some(12)));
        assert_eq!(held_back(&course(&passed), 0, 8), (12, None), "and is one of the flood itself");
        passed.push((2_000, 9));
        assert_eq!(held_back(&course(&passed), 0, 2_000), (21, Some(21)));
    }

    #[test]
    fn how_many_in_words() {
        for (at_least, at_most, words) in [
            (0, Some(0), None),
            (0, Some(1), Some("at most 1 packet")),
            (2, Some(2), Some("2 packets")),
            (2, Some(3), Some("2 to 3 packets")),
            (2, None, Some("at least 2 packets")),
            (0, None, Some("maybe packets")),
        ] {
            assert_eq!(HeldBack { at_least, at_most }.text().as_deref(), words);
        }
    }
}
