//! Drops by reason over time, from the kernel's counters, which are exact whatever events are held back.

use std::collections::{BTreeMap, VecDeque};

/// Looks that are remembered: five minutes, where there is one a second.
pub const HISTORY: usize = 300;
const SECOND: u64 = 1_000_000_000;

/// What was dropped, by reason, at each look.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    reasons: BTreeMap<&'static str, Dropped>,
    /// When the last look was, nanoseconds of the monotonic clock, and how long after the one before each was, the
    /// newest first.
    at: Option<u64>,
    periods: VecDeque<u64>,
}

/// What was dropped for one reason.
#[derive(Clone, Debug, Default)]
struct Dropped {
    total: u64,
    /// Packets between two looks, the newest first. Shorter than the periods where the reason is younger.
    counts: VecDeque<u64>,
}

/// A reason as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropRow {
    /// Its name.
    pub reason: &'static str,
    /// Packets in a second, between the last two looks.
    pub per_s: u64,
    /// Packets since the firewall was brought up.
    pub total: u64,
    /// Packets since the oldest look that is remembered.
    pub lately: u64,
    /// Packets in a second between each two looks, the newest first; where none is remembered there is none.
    pub history: Vec<u64>,
}

impl Drops {
    /// Takes in what the counters say at `at`, nanoseconds of the monotonic clock.
    pub fn take(&mut self, at: u64, counters: &BTreeMap<&'static str, u64>) {
        // A counter that falls: the firewall was brought up anew. Nothing from before can be compared.
        let fell = |(reason, dropped): (&&str, &Dropped)| {
            counters.get(reason).copied().unwrap_or(0) < dropped.total
        };
        if self.at.is_some_and(|before| before >= at) || self.reasons.iter().any(fell) {
            *self = Self::default();
        }
        let first = self.at.is_none();
        if let Some(before) = self.at.replace(at) {
            self.periods.push_front(at - before);
            self.periods.truncate(HISTORY);
        }
        for (reason, total) in counters {
            let dropped = self.reasons.entry(reason).or_default();
            let before = std::mem::replace(&mut dropped.total, *total);
            if !first {
                dropped.counts.push_front(total - before);
                dropped.counts.truncate(HISTORY);
            }
        }
    }

    /// The reasons: those that came up most lately first, then by their totals.
    pub fn rows(&self) -> Vec<DropRow> {
        let mut rows: Vec<_> =
            self.reasons.iter().map(|(reason, dropped)| self.row(reason, dropped)).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.lately, row.total)));
        rows
    }

    /// How many reasons came up.
    pub fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Whether none did.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Seconds since the oldest look that is remembered.
    pub fn seconds(&self) -> u64 {
        self.periods.iter().sum::<u64>() / SECOND
    }

    fn row(&self, reason: &'static str, dropped: &Dropped) -> DropRow {
        let per_s = |(count, period): (&u64, &u64)| per_second(*count, *period);
        let history: Vec<_> = dropped.counts.iter().zip(&self.periods).map(per_s).collect();
        DropRow {
            reason,
            per_s: history.first().copied().unwrap_or(0),
            total: dropped.total,
            lately: dropped.counts.iter().sum(),
            history,
        }
    }
}

/// `count` in `period`, nanoseconds, as so many in a second, rounded up: what is not nothing is not shown as nothing.
pub fn per_second(count: u64, period: u64) -> u64 {
    if period == 0 {
        return 0;
    }
    let rate = (u128::from(count) * u128::from(SECOND)).div_ceil(u128::from(period));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(drops: &mut Drops, second: u64, counters: &[(&'static str, u64)]) {
        drops.take(second * SECOND, &counters.iter().copied().collect());
    }

    #[test]
    fn the_first_look_tells_totals_and_the_next_ones_rates() {
        let mut drops = Drops::default();
        take(&mut drops, 100, &[("A", 50)]);
        let row = &drops.rows()[0];
        assert_eq!((row.per_s, row.total, row.lately), (0, 50, 0), "when they came nobody knows");
        take(&mut drops, 102, &[("A", 60), ("B", 8)]);
        take(&mut drops, 103, &[("A", 61), ("B", 8)]);
        let rows = drops.rows();
        assert_eq!(rows.iter().map(|row| row.reason).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!((rows[0].per_s, rows[0].total, rows[0].lately), (1, 61, 11));
        assert_eq!(rows[0].history, [1, 5]);
        assert_eq!(rows[1].history, [0, 4], "it came up first in the second look");
        assert_eq!(drops.seconds(), 3);
    }

    #[test]
    fn what_came_most_lately_stands_first() {
        let mut drops = Drops::default();
        take(&mut drops, 1, &[("A", 1_000_000), ("B", 1), ("C", 2)]);
        take(&mut drops, 2, &[("A", 1_000_000), ("B", 2), ("C", 2)]);
        let order: Vec<_> = drops.rows().into_iter().map(|row| row.reason).collect();
        assert_eq!(order, ["B", "A", "C"]);
    }

    #[test]
    fn a_firewall_that_was_brought_up_anew_begins_anew() {
        let mut drops = Drops::default();
        take(&mut drops, 1, &[("A", 10), ("B", 3)]);
        take(&mut drops, 2, &[("A", 20), ("B", 3)]);
        take(&mut drops, 3, &[("A", 2)]);
        let rows = drops.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].total, rows[0].lately), (2, 0));
    }

    #[test]
    fn a_rate_that_is_not_nothing_is_not_shown_as_nothing() {
        assert_eq!(per_second(1, 2 * SECOND), 1);
        assert_eq!(per_second(0, SECOND), 0);
        assert_eq!(per_second(u64::MAX, 1), u64::MAX);
        assert_eq!(per_second(1, 0), 0);
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_no_counter_is_too_odd(
            looks in prop::collection::vec((any::<u64>(), any::<[Option<u64>; 3]>()), 0..400)
        ) {
            let mut drops = Drops::default();
            for (at, counts) in looks {
                let names = ["A", "B", "C"].into_iter().zip(counts);
                drops.take(at, &names.filter_map(|(name, count)| Some((name, count?))).collect());
                prop_assert!(drops.rows().iter().all(|row| row.history.len() <= HISTORY));
            }
        }

        #[test]
        fn what_came_lately_is_the_difference_of_totals(
            steps in prop::collection::vec(0_u64..1_000, 1..HISTORY)
        ) {
            let mut drops = Drops::default();
            let mut total = 7;
            take(&mut drops, 1, &[("A", total)]);
            for (second, step) in (2..).zip(&steps) {
                total += step;
                take(&mut drops, second, &[("A", total)]);
            }
            prop_assert_eq!(drops.rows()[0].lately, steps.iter().sum::<u64>());
        }
    }
}
