//! Which bit of the blocks each rule is, and the sets of rules that classes have.

use firewall_common::classifier::{BLOCK_RULES, BLOCKS_MAX, Line};

use super::{Builder, rows::Row};

/// The rows of the rules in blocks. Rows that ask for the same networks and protocols share a block as far as it goes,
/// so that a packet has few blocks to look at; within a block they stand in the order of the file, and the blocks in
/// that of their first rows.
pub(super) struct Arrangement {
    /// The rows of each block, by their places among all.
    pub(super) blocks: Vec<Vec<usize>>,
}

impl Arrangement {
    pub(super) fn of(rows: &[Row<'_>]) -> Self {
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        let alike = |row: &usize| {
            let Row { from, to, protocols, interfaces, .. } = &rows[*row];
            (from, to, protocols, interfaces)
        };
        sorted.sort_by(|a, b| alike(a).cmp(&alike(b)));
        let mut blocks: Vec<Vec<usize>> =
            sorted.chunks(BLOCK_RULES).map(<[usize]>::to_vec).collect();
        for block in &mut blocks {
            block.sort_unstable();
        }
        blocks.sort_unstable();
        Self { blocks }
    }

    /// The row of each bit; a block that is not full has bits without one.
    pub(super) fn bits(&self) -> impl Iterator<Item = Option<usize>> {
        let padded = |block: &Vec<usize>| {
            let mut bits: Vec<_> = block.iter().copied().map(Some).collect();
            bits.resize(BLOCK_RULES, None);
            bits
        };
        self.blocks.iter().flat_map(padded)
    }

    /// For each of `count` values of a dimension the rows that ask for it. `wanted` lists those that a row
    /// asks for; none: any.
    pub(super) fn sets<'a>(
        &self,
        count: usize,
        wanted: impl Fn(usize) -> &'a [usize],
        builder: &mut Builder,
    ) -> RuleSets {
        let mut any = [Line::default(); BLOCKS_MAX];
        let mut asking: Vec<Vec<(usize, Line)>> = vec![Vec::new(); count];
        for (block, rows) in self.blocks.iter().enumerate() {
            for (bit, row) in rows.iter().enumerate() {
                let values = wanted(*row);
                if values.is_empty() {
                    set(&mut any[block], bit);
                }
                for value in values {
                    let blocks = &mut asking[*value];
                    if blocks.last().is_none_or(|(last, _)| *last != block) {
                        blocks.push((block, Line::default()));
                    }
                    if let Some((_, line)) = blocks.last_mut() {
                        set(line, bit);
                    }
                }
            }
        }
        RuleSets { any: any.map(|block| builder.block(block)), asking }
    }
}

/// The rows that ask for each value of a dimension.
pub(super) struct RuleSets {
    /// Where the blocks lie of those that ask for none, so that any will do.
    pub(super) any: [u32; BLOCKS_MAX],
    /// For each value the blocks that have rules which ask for it.
    asking: Vec<Vec<(usize, Line)>>,
}

impl RuleSets {
    /// Who asks for value `whole` asks for `part` too.
    pub(super) fn include(&mut self, whole: usize, part: usize) {
        for (block, Line(more)) in self.asking[whole].clone() {
            let asking = &mut self.asking[part];
            let at = asking.partition_point(|(before, _)| *before < block);
            if asking.get(at).is_none_or(|(there, _)| *there != block) {
                asking.insert(at, (block, Line::default()));
            }
            let (_, Line(words)) = &mut asking[at];
            for (word, more) in words.iter_mut().zip(more) {
                *word |= more;
            }
        }
    }

    /// The rules of a class and those that ask for these values: where each block of them lies.
    pub(super) fn with(
        &self,
        mut class: [u32; BLOCKS_MAX],
        values: &[usize],
        builder: &mut Builder,
    ) -> [u32; BLOCKS_MAX] {
        let mut wider: [Option<Line>; BLOCKS_MAX] = [None; BLOCKS_MAX];
        for (block, asking) in values.iter().flat_map(|value| &self.asking[*value]) {
            let Line(words) = wider[*block].get_or_insert_with(|| builder.block_at(class[*block]));
            for (word, more) in words.iter_mut().zip(asking.0) {
                *word |= more;
            }
        }
        for (place, block) in class.iter_mut().zip(wider) {
            if let Some(block) = block {
                *place = builder.block(block);
            }
        }
        class
    }
}

fn set(Line(words): &mut Line, bit: usize) {
    words[bit / 64] |= 1 << (bit % 64);
}
