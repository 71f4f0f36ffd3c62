//! The kernel's counters of rules, in this process's memory: what is added here is added as the kernel programs do.
//!
//! [`firewall_common::tally`] says what stands in them, and that it is not the whole.

use std::{
    collections::HashMap,
    ffi::c_void,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, ensure};
use firewall_common::{
    flow::{Alias, Flow},
    policy::RULE_NUMBERS,
    tally::{Counted, RuleCounters},
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::tables::Tables;

const BYTES: NonZeroUsize = NonZeroUsize::new(RULE_NUMBERS * size_of::<RuleCounters>()).unwrap();

/// The counters of all rules.
#[derive(Debug)]
pub struct AllCounters {
    memory: NonNull<c_void>,
}

impl AllCounters {
    /// Those of `tables`.
    ///
    /// # Errors
    ///
    /// The kernel's table is not what fwx made, or cannot be had in this process's memory.
    pub fn open(tables: &Tables) -> Result<Self> {
        let data = tables.data("RULE_COUNTERS")?;
        let info = data.info()?;
        ensure!(
            info.value_size() as usize == size_of::<RuleCounters>()
                && info.max_entries() as usize == RULE_NUMBERS,
            "the kernel's table RULE_COUNTERS is not what fwx made"
        );
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: it is new memory, wherever the kernel likes to have it.
        let memory =
            unsafe { mmap(None, BYTES, access, MapFlags::MAP_SHARED, data.fd().as_fd(), 0) }
                .context("cannot have the rules' counters in memory")?;
        Ok(Self { memory })
    }

    /// The counters of the rule with this number; 0: the default's.
    pub fn of(&self, rule: u16) -> RuleCounters {
        bytemuck::cast(self.words(rule).each_ref().map(|word| word.load(Relaxed)))
    }

    /// Adds what flows have counted that left the tables of those with an answer.
    pub fn add(&self, sums: &Sums) {
        for (rule, Sum { packets, bytes, last_seen }) in &sums.0 {
            let [_, all_packets, all_bytes, _, _, last_hit, moves, _] = self.words(*rule);
            all_packets.fetch_add(*packets, Relaxed);
            all_bytes.fetch_add(*bytes, Relaxed);
            last_hit.fetch_max(*last_seen, Relaxed);
            moves.fetch_add(1, Relaxed);
        }
    }

    /// Sets a rule's counters to zero: its number means another one from now on, and no flow has it.
    pub fn forget(&self, rule: u16) {
        self.words(rule).iter().for_each(|word| word.store(0, Relaxed));
    }

    fn words(&self, rule: u16) -> &[AtomicU64; RuleCounters::WORDS] {
        let entries = self.memory.cast::<[AtomicU64; RuleCounters::WORDS]>();
        // SAFETY: every number of 16 bits has its entry, the memory lives as long as this does, and whoever changes it
        // does so by whole words.
        unsafe { entries.add(usize::from(rule)).as_ref() }
    }
}

impl Drop for AllCounters {
    fn drop(&mut self) {
        // SAFETY: it is what `open` got, and nothing refers to it any more.
        if let Err(error) = unsafe { munmap(self.memory, BYTES.get()) } {
            tracing::warn!("cannot give the rules' counters back: {error}");
        }
    }
}

/// What flows have counted, by rule.
#[derive(Clone, Debug, Default)]
pub struct Sums(HashMap<u16, Sum>);

/// What flows of one rule have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets. It wraps, as the kernel's counters do.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// When the last of them came.
    pub last_seen: u64,
}

impl Sums {
    /// A flow leaves a table of those with an answer. An alias counts nothing.
    pub fn leaves(&mut self, entry: &Flow) {
        self.take(entry, |counted| counted);
    }

    /// A flow enters such a table.
    pub fn enters(&mut self, entry: &Flow) {
        self.take(entry, u64::wrapping_neg);
    }

    /// What flows of `rule` have counted.
    pub fn of(&self, rule: u16) -> Sum {
        self.0.get(&rule).copied().unwrap_or_default()
    }

    fn take(&mut self, entry: &Flow, sign: impl Fn(u64) -> u64) {
        if Alias::of(entry).is_some() {
            return;
        }
        let Counted { rule, packets, bytes, last_seen } = Counted::by(entry);
        let sum = self.0.entry(rule).or_default();
        sum.packets = sum.packets.wrapping_add(sign(packets));
        sum.bytes = sum.bytes.wrapping_add(sign(bytes));
        sum.last_seen = sum.last_seen.max(last_seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::flow::{State, Tally};

    #[test]
    fn what_enters_and_leaves_comes_to_nothing() {
        let tallies = [Tally { packets: 3, bytes: 300 }, Tally { packets: 2, bytes: 3000 }];
        let flow = Flow { rule: 7, last_seen: 5, tallies, ..Flow::default() };
        let mut sums = Sums::default();
        sums.leaves(&flow);
        assert_eq!(sums.of(7), Sum { packets: 5, bytes: 3300, last_seen: 5 });
        sums.leaves(&Flow { state: State::Alias as u8, ..flow });
        sums.enters(&flow);
        assert_eq!(sums.of(7), Sum { last_seen: 5, ..Sum::default() });
        assert_eq!(sums.of(8), Sum::default());
    }
}
