//! Which rules a point of a dimension may match: bit vectors, one for each class of points that no rule tells apart,
//! as the kernel's classifier has them.

use std::{collections::HashMap, rc::Rc};

use super::set::{Point, Set, next};

/// A bit for each rule.
pub(super) type Rules = Box<[u64]>;

/// The classes of one dimension.
pub(super) struct Index {
    /// The points at which classes begin, in order, each with the number of its vector. Points before the first match
    /// nothing.
    starts: Vec<(Point, usize)>,
    vectors: Vec<Rules>,
}

impl Index {
    /// Of `count` rules, each of which matches the sets that its number stands beside. No two of these overlap.
    pub(super) fn new(count: usize, sets: &[(usize, Rc<Set>)]) -> Self {
        let mut active: Rules = vec![0; count.div_ceil(64)].into();
        let mut known: HashMap<Rules, usize> = HashMap::new();
        let (mut starts, mut vectors) = (Vec::new(), Vec::new());
        let distinct = distinct(sets);
        let mut changes = changes(&distinct).into_iter().peekable();
        while let Some((point, set)) = changes.next() {
            for rule in &distinct[set].1 {
                active[rule / 64] ^= 1 << (rule % 64);
            }
            if changes.peek().is_some_and(|(next, _)| *next == point) {
                continue;
            }
            let number = *known.entry(active.clone()).or_insert_with(|| {
                vectors.push(active.clone());
                vectors.len() - 1
            });
            starts.push((point, number));
        }
        Self { starts, vectors }
    }

    /// The rules that match `point`.
    pub(super) fn rules(&self, point: Point) -> Option<&Rules> {
        let before = self.starts.partition_point(|(start, _)| *start <= point);
        let (_, number) = self.starts.get(before.checked_sub(1)?)?;
        self.vectors.get(*number)
    }
}

/// The points at which sets begin and end, in order, each with the set's place.
fn changes(sets: &[(&Set, Vec<usize>)]) -> Vec<(Point, usize)> {
    let mut changes = Vec::new();
    for (place, (set, _)) in sets.iter().enumerate() {
        for (first, last) in set.ranges() {
            // Behind the last point of a family begins the next.
            let behind = next(*last).unwrap_or((last.0 + 1, 0));
            changes.extend([(*first, place), (behind, place)]);
        }
    }
    changes.sort_unstable();
    changes
}

/// Each set once, with the rules that have it.
fn distinct(sets: &[(usize, Rc<Set>)]) -> Vec<(&Set, Vec<usize>)> {
    let mut known: HashMap<*const Set, usize> = HashMap::new();
    let mut distinct: Vec<(&Set, Vec<usize>)> = Vec::new();
    for (rule, set) in sets {
        let index = *known.entry(Rc::as_ptr(set)).or_insert_with(|| {
            distinct.push((set, Vec::new()));
            distinct.len() - 1
        });
        distinct[index].1.push(*rule);
    }
    distinct
}

/// How many bits [`Index::new`] changes, and words it copies.
pub(super) fn effort(count: usize, sets: &[(usize, Rc<Set>)]) -> usize {
    let words = count.div_ceil(64);
    let effort = |(set, rules): (&Set, Vec<usize>)| 2 * set.ranges().len() * (rules.len() + words);
    distinct(sets).into_iter().map(effort).sum()
}
