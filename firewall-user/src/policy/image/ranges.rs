//! From prefixes that may overlap to ranges that do not.

use std::collections::BTreeMap;

/// What an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Membership {
    /// Networks by index, ascending.
    pub(super) networks: Vec<usize>,
    /// One of the prefixes around the address is declared asymmetric.
    pub(super) asymmetric: bool,
}

impl Membership {
    fn with(&self, other: &Self) -> Self {
        let mut networks = [&self.networks[..], &other.networks].concat();
        networks.sort_unstable();
        networks.dedup();
        Self { networks, asymmetric: self.asymmetric || other.asymmetric }
    }
}

/// What lists a prefix, by its address (aligned to the left of the 128 bits) and length. In the order of this
/// key a prefix comes after every prefix that covers it.
#[derive(Default)]
pub(super) struct Listed(BTreeMap<(u128, u8), Membership>);

impl Listed {
    /// A network lists a prefix. `None`: it is declared asymmetric.
    pub(super) fn add(&mut self, address: u128, prefix_len: u8, network: Option<usize>) {
        let membership = self.0.entry((address, prefix_len)).or_default();
        match network {
            Some(network) => membership.networks.push(network),
            None => membership.asymmetric = true,
        }
    }

    /// The ranges of equal class, by the addresses that they begin with.
    pub(super) fn ranges(self, mut class: impl FnMut(&Membership) -> u32) -> Vec<(u128, u32)> {
        let nothing = Membership::default();
        let mut ranges = Ranges::new(0, class(&nothing));
        // The prefixes around the present address, the longest last: their last addresses, and what an address
        // belongs to that lies in no longer one.
        let mut around: Vec<(u128, Membership)> = Vec::new();
        for ((first, prefix_len), listed) in self.0 {
            while let Some((last, _)) = around.pop_if(|(last, _)| *last < first) {
                // An address follows: `first`, at the latest.
                let outer = around.last().map_or(&nothing, |(_, membership)| membership);
                ranges.begin(last + 1, class(outer));
            }
            let outer = around.last().map_or(&nothing, |(_, membership)| membership);
            let membership = outer.with(&listed);
            ranges.begin(first, class(&membership));
            // A shift by all 128 bits is what a prefix of length 0 would need: it covers everything.
            let hosts = u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
            around.push((first | hosts, membership));
        }
        while let Some((last, _)) = around.pop() {
            let outer = around.last().map_or(&nothing, |(_, membership)| membership);
            if let Some(next) = last.checked_add(1) {
                ranges.begin(next, class(outer));
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
