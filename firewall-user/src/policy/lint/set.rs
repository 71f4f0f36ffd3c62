//! Sets of points of one dimension: addresses, services, or interfaces. Two sets are equal if the same points are in them,
//! however a policy writes them.

use std::cmp::{max, min};

/// A point: its address family, 4 or 6, and the address; or 0 and what else is numbered.
pub(super) type Point = (u8, u128);
/// From the first point to the last, both of one family.
pub(super) type Range = (Point, Point);

/// Ranges in order, between any two of which there is a point that is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(Vec<Range>);

impl Set {
    /// What is in any of these ranges.
    pub(super) fn of(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut joined: Vec<Range> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= *end || Some(first) == next(*end) => {
                    *end = max(*end, last);
                }
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    pub(super) fn ranges(&self) -> &[Range] {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of it is of one family.
    pub(super) fn of_family(&self, family: u8) -> Self {
        Self(self.0.iter().filter(|((of, _), _)| *of == family).copied().collect())
    }

    pub(super) fn first(&self) -> Option<Point> {
        self.0.first().map(|(first, _)| *first)
    }

    /// How many points there are, up to the highest number.
    pub(super) fn count(&self) -> u128 {
        let counts = self.0.iter().map(|((_, first), (_, last))| (last - first).saturating_add(1));
        counts.fold(0, u128::saturating_add)
    }

    pub(super) fn contains(&self, point: Point) -> bool {
        let before = self.0.partition_point(|(start, _)| *start <= point);
        before.checked_sub(1).is_some_and(|index| point <= self.0[index].1)
    }

    /// Whether all of `other` is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(first, last)| {
            let before = self.0.partition_point(|(start, _)| start <= first);
            before.checked_sub(1).is_some_and(|index| *last <= self.0[index].1)
        })
    }

    /// What is in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = Vec::new();
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let (first, last) = (max(a.0, b.0), min(a.1, b.1));
            if first <= last {
                common.push((first, last));
            }
            if a.1 <= b.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        Self(common)
    }

    /// What is in it and not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.iter().peekable();
        for &(first, last) in &self.0 {
            while others.next_if(|(_, end)| *end < first).is_some() {}
            let mut from = Some(first);
            while let (Some(begin), Some((start, end))) = (from, others.peek()) {
                if *start > last {
                    break;
                }
                if begin < *start {
                    left.push((begin, (start.0, start.1 - 1)));
                }
                from = next(*end).filter(|begin| *begin <= last);
                if *end > last {
                    break;
                }
                others.next();
            }
            if let Some(begin) = from {
                left.push((begin, last));
            }
        }
        Self(left)
    }
}

/// The point behind one, in its family.
pub(super) fn next((family, number): Point) -> Option<Point> {
    number.checked_add(1).map(|number| (family, number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Few points, some at the ends of their families.
    fn set() -> impl Strategy<Value = (Set, BTreeSet<Point>)> {
        let family = prop::sample::select(vec![(4, 0), (6, 0), (6, u128::MAX - 9)]);
        let range = (family, 0..10u128, 0..4u128).prop_map(|((family, base), first, len)| {
            ((family, base + first), (family, base + min(first + len, 9)))
        });
        prop::collection::vec(range, 0..6).prop_map(|ranges| {
            let points = ranges.iter().flat_map(|(first, last)| points(*first, *last));
            (Set::of(ranges.clone()), points.collect())
        })
    }

    fn points((family, first): Point, (_, last): Point) -> impl Iterator<Item = Point> {
        (first..=last).map(move |number| (family, number))
    }

    fn all(set: &Set) -> BTreeSet<Point> {
        for pair in set.0.windows(2) {
            assert!(pair[0].1 < pair[1].0 && next(pair[0].1) != Some(pair[1].0), "{set:?}");
        }
        set.0.iter().flat_map(|(first, last)| points(*first, *last)).collect()
    }

    proptest! {
        #[test]
        fn sets_are_sets((a, a_points) in set(), (b, b_points) in set()) {
            prop_assert_eq!(all(&a), a_points.clone());
            prop_assert_eq!(all(&a.common(&b)), &a_points & &b_points);
            prop_assert_eq!(all(&a.without(&b)), &a_points - &b_points);
            prop_assert_eq!(a.covers(&b), a_points.is_superset(&b_points));
            prop_assert!(b_points.iter().all(|it| a.contains(*it) == a_points.contains(it)));
            prop_assert_eq!(a.first(), a_points.first().copied());
            prop_assert_eq!(a.count(), a_points.len() as u128);
        }
    }
}
