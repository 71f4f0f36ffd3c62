//! Which range a number lies in: a B-tree whose nodes are lines (Bayer and McCreight, "Organization and
//! Maintenance of Large Ordered Indices", 1972).
//!
//! A node has the numbers at which its ranges begin, all but the first one's, and the line of its first child;
//! the others follow it. What a leaf refers to are not lines but values, words of the image. Keys that a node
//! does not need are the highest number there is, and their range is a copy of the last.

use super::line::{Line, Lines, Tree, WORDS};

/// Children of a node with keys of 32 bits: a word for the first of them, the others for keys.
pub const FANOUT: usize = WORDS;
/// Children of a node with keys of 128 bits.
pub const FANOUT_WIDE: usize = WORDS / 4;
/// Most levels: 8 to the power of 6 is more than twice the most prefixes.
pub const LEVELS_MAX: u32 = 6;

/// The value of the range that `key` lies in.
#[inline(always)]
pub fn find<L: Lines + ?Sized>(lines: &L, tree: Tree, key: u32) -> Option<u32> {
    descend(lines, tree, |node| {
        let keys = node.words();
        let mut rank = 0;
        // In place of key 0 stands the first child. The ranks that are left halve with each step.
        for step in [16, 8, 4, 2, 1] {
            rank += if keys[(rank + step) % FANOUT] <= key { step } else { 0 };
        }
        rank
    })
}

/// As [`find`], in a tree whose keys are IPv6 addresses, here in halves.
#[inline(always)]
pub fn find_wide<L: Lines + ?Sized>(lines: &L, tree: Tree, high: u64, low: u64) -> Option<u32> {
    descend(lines, tree, |Line(keys)| {
        let mut rank = 0;
        for step in [4, 2, 1] {
            let at = 2 * (rank + step) % (2 * FANOUT_WIDE);
            let begins = keys[at] < high || keys[at] == high && keys[at + 1] <= low;
            rank += if begins { step } else { 0 };
        }
        rank
    })
}

/// Goes from the root to a value; `rank` tells which child of a node is the way.
#[inline(always)]
fn descend<L: Lines + ?Sized>(lines: &L, tree: Tree, rank: impl Fn(&Line) -> usize) -> Option<u32> {
    let mut at = tree.root;
    for level in 0..LEVELS_MAX {
        if level == tree.levels {
            break;
        }
        let node = lines.line(at)?;
        at = node.words()[0] + rank(node) as u32;
    }
    lines.word(at)
}
