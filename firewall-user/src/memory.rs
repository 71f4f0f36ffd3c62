//! How much memory the flow tables take. The kernel takes all of it when it creates them.

use firewall_common::flow::{Flow, KeyV4, KeyV6};

use crate::policy::TableSizes;

/// The kernel's own part of an entry (`struct htab_elem` in `kernel/bpf/hashtab.c`).
const ELEMENT: u64 = 48;
/// A bucket (`struct bucket` there).
const BUCKET: u64 = 16;

/// What the flow tables of both address families take, in bytes.
pub fn flow_tables(sizes: TableSizes) -> u64 {
    [sizes.completed, sizes.half_open]
        .into_iter()
        .map(|entries| {
            hash_table(size_of::<KeyV4>(), size_of::<Flow>(), entries)
                + hash_table(size_of::<KeyV6>(), size_of::<Flow>(), entries)
        })
        .sum()
}

/// What a hash table takes, LRU or not, in bytes. There is little more: some entries and pointers for each CPU.
pub fn hash_table(key: usize, value: usize, entries: u32) -> u64 {
    let rounded = |size: usize| size.next_multiple_of(8) as u64;
    let entries = u64::from(entries);
    let buckets = entries.next_power_of_two();
    (ELEMENT + rounded(key) + rounded(value)) * entries + BUCKET * buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_head_and_a_bucket() {
        assert_eq!(hash_table(16, 128, 1024), 1024 * (48 + 16 + 128 + 16));
        assert_eq!(hash_table(4, 1, 1000), 1000 * (48 + 8 + 8) + 1024 * 16);
        assert_eq!(flow_tables(TableSizes::default()) >> 20, 550);
    }
}
