//! From prefixes that may overlap to ranges that do not.

use std::collections::BTreeMap;

/// What lists a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Networks by index.
    pub(super) networks: Vec<usize>,
    /// It is declared asymmetric.
    pub(super) asymmetric: bool,
}

/// What lists each prefix, by its address (aligned to the left of the 128 bits) and length. In the order of this
/// key a prefix comes after every prefix that covers it.
#[derive(Default)]
pub(super) struct Listed(BTreeMap<(u128, u8), Lists>);

impl Listed {
    /// A network lists a prefix. `None`: it is declared asymmetric.
    pub(super) fn add(&mut self, address: u128, prefix_len: u8, network: Option<usize>) {
        let lists = self.0.entry((address, prefix_len)).or_default();
        match network {
            Some(network) => lists.networks.push(network),
            None => lists.asymmetric = true,
        }
    }

    /// The ranges of equal class, by the addresses that they begin with. `outside` is the class of addresses that
    /// lie in no prefix; `within` makes that of a prefix out of the class of what is around it.
    pub(super) fn ranges(
        self,
        outside: u32,
        mut within: impl FnMut(u32, &Lists) -> u32,
    ) -> Vec<(u128, u32)> {
        let mut ranges = Ranges::new(0, outside);
        // The prefixes around the present address, the longest last: their last addresses and their classes.
        let mut around: Vec<(u128, u32)> = Vec::new();
        let class = |around: &[(u128, u32)]| around.last().map_or(outside, |(_, class)| *class);
        for ((first, prefix_len), lists) in self.0 {
            while let Some((last, _)) = around.pop_if(|(last, _)| *last < first) {
                // An address follows: `first`, at the latest.
                ranges.begin(last + 1, class(&around));
            }
            let class = within(class(&around), &lists);
            ranges.begin(first, class);
            // A shift by all 128 bits is what a prefix of length 128 would need: it has one address.
            let hosts = u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            around.push((first | hosts, class));
        }
        while let Some((last, _)) = around.pop() {
            if let Some(next) = last.checked_add(1) {
                ranges.begin(next, class(&around));
            }
        }
        ranges.finish()
    }
}

/// Ranges in the making.
pub(super) struct Ranges<K>(Vec<(K, u32)>);

impl<K: Copy + Ord> Ranges<K> {
    /// All numbers from `first` on have this class.
    pub(super) fn new(first: K, class: u32) -> Self {
        Self(vec![(first, class)])
    }

    /// From `first` on, which is not before the start of any range so far, numbers have this class.
    pub(super) fn begin(&mut self, first: K, class: u32) {
        while self.0.pop_if(|(start, _)| *start == first).is_some() {}
        if self.0.last().is_none_or(|(_, before)| *before != class) {
            self.0.push((first, class));
        }
    }

    /// Each range's first number and its class. No two neighbours are of one class.
    pub(super) fn finish(self) -> Vec<(K, u32)> {
        self.0
    }
}
