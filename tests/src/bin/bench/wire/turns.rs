//! Who has a turn when, and what follows from the figures.

use anyhow::Result;

use crate::spread::Spread;

/// What one subject's turns came to.
pub(super) struct Series<T> {
    taken: Vec<T>,
    /// Why there is nothing: the first error, after which it had no more turns.
    pub(super) trouble: Option<String>,
}

/// Gives each of `subjects` as many `turns`, in turn. The order is reversed each time, so that what a turn leaves
/// behind falls out.
pub(super) fn in_turn<S, T>(
    subjects: &[S],
    turns: u32,
    mut take: impl FnMut(&S) -> Result<T>,
) -> Vec<Series<T>> {
    let mut all: Vec<_> =
        subjects.iter().map(|_| Series { taken: Vec::new(), trouble: None }).collect();
    for turn in 0..turns {
        let mut order: Vec<_> = all.iter_mut().zip(subjects).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for (series, subject) in order.into_iter().filter(|(series, _)| series.trouble.is_none()) {
            match take(subject) {
                Ok(figure) => series.taken.push(figure),
                Err(error) => series.give_up(&error),
            }
        }
    }
    all
}

impl<T> Series<T> {
    /// The median of a figure.
    pub(super) fn median(&self, of: impl Fn(&T) -> f64) -> Option<f64> {
        Spread::of(self.taken.iter().map(of).collect()).map(|spread| spread.median)
    }

    /// The median of what a figure of each turn and the one of `other` in the same turn come to.
    pub(super) fn against<U>(&self, other: &Series<U>, of: impl Fn(&T, &U) -> f64) -> Option<f64> {
        Spread::of(self.pairs(other, of)).map(|spread| spread.median)
    }

    /// What a figure of each turn and the one of `other` in the same turn come to.
    pub(super) fn pairs<U>(&self, other: &Series<U>, of: impl Fn(&T, &U) -> f64) -> Vec<f64> {
        self.taken.iter().zip(&other.taken).map(|(own, other)| of(own, other)).collect()
    }

    /// Figures of some turns are none: their fellows of the same turn are missing.
    fn give_up(&mut self, error: &anyhow::Error) {
        self.taken.clear();
        self.trouble = Some(format!("{error:#}"));
    }
}

impl Series<f64> {
    /// By how much the figures exceed those of `floor` in the same turn.
    pub(super) fn over(&self, floor: &Self) -> Self {
        let taken = self.taken.iter().zip(&floor.taken).map(|(own, floor)| own - floor).collect();
        let trouble = self.trouble.clone().or_else(|| floor.trouble.clone());
        Self { taken, trouble }
    }
}

/// The figure that `share` of the sorted `figures` do not exceed (nearest rank); `None` when there are none.
pub(super) fn percentile(figures: &[f64], share: f64) -> Option<f64> {
    let rank = (figures.len() as f64 * share).ceil() as usize;
    figures.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::bail;

    use super::*;

    #[test]
    fn who_is_first_changes_from_turn_to_turn() {
        let seen = RefCell::new(String::new());
        let all = in_turn(&['a', 'b', 'c'], 3, |&subject| {
            seen.borrow_mut().push(subject);
            Ok(())
        });
        assert_eq!(seen.into_inner(), "abccbaabc");
        assert!(all.iter().all(|series| series.taken.len() == 3));
    }

    #[test]
    fn who_fails_has_no_figures_and_no_more_turns() {
        let mut turns_of_b = 0;
        let all = in_turn(&['a', 'b'], 5, |&subject| {
            turns_of_b += u32::from(subject == 'b');
            if subject == 'b' && turns_of_b == 2 { bail!("no luck") } else { Ok(1.0) }
        });
        assert_eq!(turns_of_b, 2);
        assert_eq!(all[1].median(|&figure| figure), None);
        assert_eq!(all[1].trouble.as_deref(), Some("no luck"));
        assert_eq!(all[0].median(|&figure| figure), Some(1.0));
        assert_eq!(all[0].against(&all[1], |a, b| a / b), None);
    }

    #[test]
    fn drift_falls_out_of_what_is_compared_within_a_turn() {
        let series = |taken: [f64; 3]| Series { taken: taken.to_vec(), trouble: None };
        let (slow, fast) = (series([20.0, 200.0, 2.0]), series([10.0, 100.0, 1.0]));
        assert_eq!(slow.against(&fast, |a, b| a / b), Some(2.0));
        assert_eq!(slow.over(&fast).taken, [10.0, 100.0, 1.0]);
    }

    #[test]
    fn percentiles_are_figures_that_were_taken() {
        let figures: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.5), Some(500.0));
        assert_eq!(percentile(&figures, 0.999), Some(999.0));
        assert_eq!(percentile(&figures, 1.0), Some(1000.0));
        assert_eq!(percentile(&[7.0], 0.5), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
