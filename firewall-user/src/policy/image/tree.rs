//! The trees of an image: [`firewall_common::classifier::tree`] says what they are.

use firewall_common::classifier::{
    Line, Tree, WORDS,
    tree::{FANOUT, FANOUT_WIDE},
};

use super::Builder;

/// What ranges begin with.
pub(super) trait Key: Copy {
    /// How many children a node has.
    const FANOUT: usize;
    /// The highest there is.
    const MAX: Self;
    /// Writes the key of child `child`, which is not the first.
    fn put(self, node: &mut [u32; WORDS], child: usize);
}

impl Key for u32 {
    const FANOUT: usize = FANOUT;
    const MAX: Self = Self::MAX;

    fn put(self, node: &mut [u32; WORDS], child: usize) {
        node[child] = self;
    }
}

impl Key for u128 {
    const FANOUT: usize = FANOUT_WIDE;
    const MAX: Self = Self::MAX;

    fn put(self, node: &mut [u32; WORDS], child: usize) {
        let halves = [(self >> 64) as u64, self as u64];
        let words: [u32; 4] = bytemuck::cast(halves);
        node[4 * child..4 * (child + 1)].copy_from_slice(&words);
    }
}

/// Builds the tree of `ranges`, of which there is one at least: first numbers, ascending, and values.
pub(super) fn build<K: Key>(builder: &mut Builder, ranges: &[(K, u32)]) -> Tree {
    let mut values: Vec<u32> = ranges.iter().map(|(_, value)| *value).collect();
    let mut starts: Vec<K> = ranges.iter().map(|(start, _)| *start).collect();
    if starts.len() > 1 {
        pad(&mut values, K::FANOUT);
    }
    let mut root = builder.append_words(&values);
    let mut levels = 0;
    while starts.len() > 1 {
        let children = starts.chunks(K::FANOUT).enumerate();
        let mut nodes: Vec<Line> = children
            .map(|(index, starts)| node(root + (index * K::FANOUT) as u32, starts))
            .collect();
        starts = starts.iter().copied().step_by(K::FANOUT).collect();
        if nodes.len() > 1 {
            pad(&mut nodes, K::FANOUT);
        }
        root = builder.append(nodes);
        levels += 1;
    }
    Tree { root, levels }
}

/// A node whose first child is `first` and whose children begin with these.
fn node<K: Key>(first: u32, starts: &[K]) -> Line {
    let mut node = [0; WORDS];
    node[0] = first;
    for child in 1..K::FANOUT {
        starts.get(child).copied().unwrap_or(K::MAX).put(&mut node, child);
    }
    Line::of(node)
}

/// Fills the last group up with copies of the last: only the highest number there is leads to them.
fn pad<T: Copy>(items: &mut Vec<T>, group: usize) {
    if let Some(last) = items.last().copied() {
        items.resize(items.len().next_multiple_of(group), last);
    }
}
