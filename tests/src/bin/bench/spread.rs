//! Figures that scatter: their median, and how far chance may have moved it.

use std::{f64::consts::LN_2, fmt};

use crate::section::Bound;

/// How often chance may put the true median outside of the interval.
const RISK: f64 = 0.05;

/// What figures that scatter come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The middle half of the figures: a quarter of them lies below, another above.
    pub(crate) half: [f64; 2],
    /// The 95 % interval of the median by the sign test, which assumes nothing about how the figures scatter. `None`:
    /// they are too few for one.
    pub(crate) interval: Option<[f64; 2]>,
}

/// Where the interval of a figure lies, seen from what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All of it is as wanted.
    Met,
    /// None of it is.
    Missed,
    /// Chance may have decided it, or there is no interval.
    Open,
}

impl Spread {
    /// Of all `figures`; `None` when there are none.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let last = figures.len().checked_sub(1)?;
        let nearest = |share: f64| figures[(last as f64 * share).round() as usize];
        let middle = figures.len() / 2;
        let median = if last.is_multiple_of(2) {
            figures[middle]
        } else {
            f64::midpoint(figures[middle - 1], figures[middle])
        };
        Some(Self {
            median,
            half: [nearest(0.25), nearest(0.75)],
            interval: outside(figures.len()).map(|rank| [figures[rank], figures[last - rank]]),
        })
    }

    /// Where the interval lies, seen from `wanted`.
    pub(crate) fn against(&self, wanted: Bound) -> Standing {
        let Some([low, high]) = self.interval else { return Standing::Open };
        match [low, high].map(|end| wanted.holds(end)) {
            [true, true] => Standing::Met,
            [false, false] => Standing::Missed,
            _ => Standing::Open,
        }
    }

    /// The interval and what it says about `wanted`, for a remark.
    pub(crate) fn judged(&self, wanted: Bound) -> String {
        let says = match self.against(wanted) {
            _ if self.interval.is_none() => return "too few turns for a 95 % interval".to_owned(),
            Standing::Met => "all of it meets the goal",
            Standing::Missed => "all of it misses the goal",
            Standing::Open => "the goal lies within",
        };
        format!("95 % interval {}: {says}", self.interval_text())
    }

    /// The interval, for a table.
    pub(crate) fn interval_text(&self) -> String {
        self.interval.map_or("–".to_owned(), between)
    }

    /// The middle half, for a table.
    pub(crate) fn half_text(&self) -> String {
        between(self.half)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.median)?;
        if self.interval.is_some() {
            write!(f, " (95 %: {})", self.interval_text())?;
        }
        Ok(())
    }
}

fn between([low, high]: [f64; 2]) -> String {
    format!("{low:.2} to {high:.2}")
}

/// How many of `count` sorted figures lie below the interval, and as many above: the most of which chance puts so many
/// or fewer on one side of the median with half of [`RISK`] at most (a coin is tossed for each). `None`: not even none.
fn outside(count: usize) -> Option<usize> {
    let count_f = count as f64;
    // The logarithm of the chance that exactly `below` lie there: the chance itself may be too small for a number.
    let mut chance = -count_f * LN_2;
    let mut so_far = 0.0;
    for below in 0..count {
        so_far += chance.exp();
        if so_far > RISK / 2.0 {
            return below.checked_sub(1);
        }
        let below = below as f64;
        chance += ((count_f - below) / (below + 1.0)).ln();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: std::ops::RangeInclusive<u32>) -> Spread {
        Spread::of(range.rev().map(f64::from).collect()).unwrap()
    }

    /// Those of tables of the sign test, two-sided at 0.05: what is not more than that is outside.
    #[test]
    fn as_many_lie_outside_as_the_tables_of_the_sign_test_say() {
        for (count, rank) in [
            (0, None),
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (12, Some(2)),
            (15, Some(3)),
            (20, Some(5)),
            (25, Some(7)),
            (50, Some(17)),
            (100, Some(39)),
        ] {
            assert_eq!(outside(count), rank, "of {count}");
        }
    }

    #[test]
    fn of_many_figures_the_interval_is_that_of_the_normal_distribution() {
        let count: usize = 10_000;
        let expected = count as f64 / 2.0 - 1.96 * (count as f64).sqrt() / 2.0;
        let rank = outside(count).unwrap() as f64;
        assert!((rank - expected).abs() < 2.0, "{rank} instead of {expected}");
    }

    #[test]
    fn median_half_and_interval_stand_at_their_ranks() {
        let spread = of(1..=21);
        assert_eq!(spread.median, 11.0);
        assert_eq!(spread.half, [6.0, 16.0]);
        assert_eq!(spread.interval, Some([6.0, 16.0]));
        assert_eq!(of(1..=4).median, 2.5);
        assert_eq!(of(7..=7), Spread { median: 7.0, half: [7.0; 2], interval: None });
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn an_outlier_moves_nothing() {
        let mut figures: Vec<_> = (1..=20).map(f64::from).collect();
        let before = Spread::of(figures.clone());
        figures[19] = 1e9;
        assert_eq!(Spread::of(figures), before);
    }

    /// The interval is what it says: of many samples of a distribution with a known median, 95 % of them or more have
    /// it within.
    #[test]
    fn the_interval_holds_the_true_median_as_often_as_it_says() {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let holds = (0..2_000).filter(|_| {
            // Skewed: the median of the squares is a quarter.
            let spread = Spread::of((0..24).map(|_| uniform().powi(2)).collect()).unwrap();
            let [low, high] = spread.interval.unwrap();
            low <= 0.25 && 0.25 <= high
        });
        let share = holds.count() as f64 / 2_000.0;
        assert!((0.95..1.0).contains(&share), "{share}");
    }

    #[test]
    fn an_interval_is_held_against_a_goal() {
        let spread = of(1..=21);
        let says = |wanted| (spread.against(wanted), spread.judged(wanted));
        let (standing, text) = says(Bound::AtLeast(10.0));
        assert_eq!(standing, Standing::Open);
        assert_eq!(text, "95 % interval 6.00 to 16.00: the goal lies within");
        assert_eq!(says(Bound::AtLeast(6.0)).0, Standing::Met);
        assert_eq!(says(Bound::AtLeast(17.0)).0, Standing::Missed);
        assert_eq!(says(Bound::AtMost(16.0)).0, Standing::Met);
        assert_eq!(says(Bound::AtMost(5.0)).0, Standing::Missed);
        let few = of(1..=3);
        assert_eq!(few.against(Bound::AtLeast(1.0)), Standing::Open);
        assert_eq!(few.judged(Bound::AtLeast(1.0)), "too few turns for a 95 % interval");
        assert_eq!([few.to_string(), few.interval_text()], ["2.00", "–"]);
        assert_eq!(spread.to_string(), "11.00 (95 %: 6.00 to 16.00)");
        assert_eq!(spread.half_text(), "6.00 to 16.00");
    }
}
