//! What paired ratios say about a goal: their median over all comparisons, how far chance may have moved it, and what
//! the same comes to where both sides are the same.
//!
//! The least of several medians would not do as a figure: of six comparisons of equals it is below 1 in 63 of 64 runs.

use crate::{
    section::{Bound, Goal},
    spread::{Spread, Standing},
};

/// Ratios of one comparison, one of each turn.
pub(super) struct Comparison {
    /// Which one it is, where there are several.
    pub(super) name: String,
    /// fwx against another firewall.
    pub(super) ratios: Vec<f64>,
    /// No firewall against itself, in the same turns.
    pub(super) control: Vec<f64>,
}

/// The goal that fwx comes to `wanted` over all `comparisons`. `cause` says what of it fwx accounts for; `trouble`, why
/// there are no figures where there are none.
pub(super) fn goal(
    what: String,
    wanted: Bound,
    comparisons: &[Comparison],
    cause: &str,
    trouble: String,
) -> Goal {
    // One that could not be measured leaves the goal without a figure.
    let is_whole = comparisons.iter().all(|comparison| !comparison.ratios.is_empty());
    let all = if is_whole { pooled(comparisons, |comparison| &comparison.ratios) } else { None };
    let remark = match all {
        Some(all) => remark(&all, wanted, comparisons, cause),
        None => trouble,
    };
    Goal { what, wanted, figure: all.map(|all| all.median), unit: "times", remark }
}

fn remark(all: &Spread, wanted: Bound, comparisons: &[Comparison], cause: &str) -> String {
    let mut parts = vec![all.judged(wanted), format!("half of all turns {}", all.half_text())];
    if let Some(control) = pooled(comparisons, |comparison| &comparison.control) {
        parts.push(format!(
            "no firewall against itself comes to {control} in the same turns, half of them {}",
            control.half_text()
        ));
    }
    if comparisons.len() > 1 {
        parts.extend(least(comparisons, |comparison| &comparison.ratios).map(|(name, least)| {
            let control = least_of_control(comparisons);
            format!("the least of {}: {name}, {least}{control}", comparisons.len())
        }));
        parts.push(apart(wanted, comparisons));
    }
    if !cause.is_empty() {
        parts.push(cause.to_owned());
    }
    parts.join("; ")
}

fn least_of_control(comparisons: &[Comparison]) -> String {
    least(comparisons, |comparison| &comparison.control).map_or(String::new(), |(_, least)| {
        format!(", where that of no firewall against itself is {:.2}", least.median)
    })
}

/// Which comparisons miss the goal by more than chance.
fn apart(wanted: Bound, comparisons: &[Comparison]) -> String {
    let missed = comparisons.iter().filter(|comparison| {
        Spread::of(comparison.ratios.clone())
            .is_some_and(|spread| spread.against(wanted) == Standing::Missed)
    });
    let missed: Vec<_> = missed.map(|comparison| comparison.name.as_str()).collect();
    match missed.as_slice() {
        [] => "the 95 % interval of none alone misses the goal".to_owned(),
        missed => format!("the 95 % interval misses the goal of: {}", missed.join(" | ")),
    }
}

/// All of them together.
fn pooled(comparisons: &[Comparison], of: impl Fn(&Comparison) -> &Vec<f64>) -> Option<Spread> {
    Spread::of(comparisons.iter().flat_map(|comparison| of(comparison).iter().copied()).collect())
}

/// The one with the least median.
fn least(
    comparisons: &[Comparison],
    of: impl Fn(&Comparison) -> &Vec<f64>,
) -> Option<(&str, Spread)> {
    let all = comparisons.iter().filter_map(|comparison| {
        Some((comparison.name.as_str(), Spread::of(of(comparison).clone())?))
    });
    all.min_by(|(_, a), (_, b)| a.median.total_cmp(&b.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(name: &str, ratios: &[f64]) -> Comparison {
        let control = vec![1.0; ratios.len()];
        Comparison { name: name.to_owned(), ratios: ratios.to_vec(), control }
    }

    fn goal_of(comparisons: &[Comparison]) -> Goal {
        goal("it".to_owned(), Bound::AtLeast(1.0), comparisons, "so", "no luck".to_owned())
    }

    #[test]
    fn equals_meet_the_goal_whatever_the_least_of_them_comes_to() {
        let goal = goal_of(&[
            comparison("few", &[0.8, 0.9, 1.0, 1.1, 1.2, 0.9, 0.9]),
            comparison("many", &[0.9, 1.0, 1.1, 1.0, 1.2, 1.1, 1.3]),
        ]);
        assert_eq!(goal.figure, Some(1.0));
        assert!(goal.is_met());
        assert!(goal.remark.contains("the least of 2: few, 0.90"), "{}", goal.remark);
        assert!(goal.remark.contains("against itself is 1.00"), "{}", goal.remark);
        assert!(goal.remark.contains("of none alone misses"), "{}", goal.remark);
        assert!(goal.remark.ends_with("; so"), "{}", goal.remark);
    }

    #[test]
    fn one_that_is_behind_by_more_than_chance_is_named() {
        let goal = goal_of(&[comparison("slow", &[0.8; 8]), comparison("fast", &[1.2; 9])]);
        assert!(goal.is_met());
        assert!(goal.remark.contains("misses the goal of: slow"), "{}", goal.remark);
    }

    #[test]
    fn what_could_not_be_measured_is_no_figure() {
        let goal = goal_of(&[comparison("none", &[]), comparison("fast", &[1.2; 9])]);
        assert_eq!((goal.figure, goal.remark.as_str()), (None, "no luck"));
    }
}
