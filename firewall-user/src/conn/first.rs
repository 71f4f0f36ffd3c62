//! The first so many of a sequence that need not fit into memory, in the order of a rank.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

/// The first so many. What has the larger rank comes first; among equals the one with the larger number.
pub(crate) struct First<T> {
    limit: usize,
    /// The last of them on top.
    heap: BinaryHeap<Reverse<Ranked<T>>>,
}

struct Ranked<T> {
    /// Rank and number.
    rank: (u64, u64),
    what: T,
}

impl<T> First<T> {
    /// No more than `limit`; 0: all.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Self { limit, heap: BinaryHeap::new() }
    }

    /// Takes what `make` makes, if it is among the first as yet.
    pub(crate) fn offer(&mut self, rank: u64, number: u64, make: impl FnOnce() -> T) {
        let rank = (rank, number);
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(Ranked { rank, what: make() }));
        } else if let Some(mut last) = self.heap.peek_mut()
            && last.0.rank < rank
        {
            *last = Reverse(Ranked { rank, what: make() });
        }
    }

    /// In their order. What was met twice, a flow that got its answer while the tables were read, is there once.
    pub(crate) fn sorted(self) -> Vec<T> {
        let ranked = self.heap.into_sorted_vec();
        let mut seen = HashSet::with_capacity(ranked.len());
        ranked
            .into_iter()
            .filter(|Reverse(ranked)| seen.insert(ranked.rank.1))
            .map(|Reverse(ranked)| ranked.what)
            .collect()
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}
impl<T> Eq for Ranked<T> {}
impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}
