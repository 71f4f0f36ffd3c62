//! Reading the connections that are meant, in an order, and no more of them than wanted.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use firewall_common::flow::Flow;

use super::{First, Selection};
use crate::{
    flows::{Entry, FlowTable},
    pinholes,
    sweep::most,
    tables::Tables,
};

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The newest activity
    #[default]
    Activity,
    /// The longest silence
    Idle,
    /// Most bytes, both directions together
    Bytes,
    /// Most packets, both directions together
    Packets,
    /// The oldest connection
    Age,
}

/// Connections in the order that was asked for.
#[derive(Debug)]
pub struct Listing {
    /// Those that are shown.
    pub entries: Vec<Entry>,
    /// How many there are in all; of one that gets its answer meanwhile possibly two.
    pub matched: u64,
    /// What they are beside themselves.
    pub relations: Relations,
}

/// What connections are beside themselves, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct Relations {
    /// The endpoints on the responder's side, the originator first, of those whose addresses are translated.
    pub aliases: HashMap<u64, [SocketAddr; 2]>,
    /// The connections that announced them to a filter.
    pub parents: HashMap<u64, u64>,
}

impl Relations {
    /// Those of `entries`.
    pub fn of(tables: &Tables, entries: &[Entry]) -> Result<Self> {
        let aliases = aliases(tables, entries)?;
        Ok(Self { aliases, parents: pinholes::parents(tables, entries)? })
    }
}

/// Reads the connections that `selection` means. `limit`: no more than so many; 0: all. Memory is that of what
/// is shown.
pub fn list(
    tables: &Tables,
    selection: &Selection,
    sort: Sort,
    limit: usize,
    now: u64,
) -> Result<Listing> {
    let mut first = First::new(limit);
    let mut matched = 0;
    for table in tables_of(selection) {
        tables.each_entry(table, |entry| {
            if selection.has(entry, now) {
                matched += 1;
                first.offer(rank(sort, &entry.flow), entry.flow.id, || *entry);
            }
        })?;
    }
    let entries = first.sorted();
    let relations = Relations::of(tables, &entries)?;
    Ok(Listing { entries, matched, relations })
}

/// The `wanted` source addresses that hold most of the connections that `selection` means, with their numbers.
pub fn top(
    tables: &Tables,
    selection: &Selection,
    wanted: usize,
    now: u64,
) -> Result<Vec<(IpAddr, u64)>> {
    let mut counts = HashMap::new();
    for table in tables_of(selection) {
        tables.each_entry(table, |entry| {
            if selection.has(entry, now) {
                *counts.entry(entry.source()).or_insert(0) += 1;
            }
        })?;
    }
    Ok(most(counts, wanted))
}

/// The endpoints on the responder's side of those of `entries` whose addresses are translated.
pub(super) fn aliases(tables: &Tables, entries: &[Entry]) -> Result<HashMap<u64, [SocketAddr; 2]>> {
    let translated = |entry: &&Entry| entry.flow.flags & Flow::TRANSLATED != 0;
    let wanted: HashSet<u64> =
        entries.iter().filter(translated).map(|entry| entry.flow.id).collect();
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    for table in FlowTable::ALL {
        tables.each_entry(table, |entry| {
            if let Some(alias) = entry.alias()
                && wanted.contains(&alias.id)
            {
                found.insert(alias.id, entry.endpoints());
            }
        })?;
    }
    Ok(found)
}

/// The connections that the one with the number `parent` announced to a filter.
pub fn children(tables: &Tables, parent: u64) -> Result<Vec<u64>> {
    let mut announced = Vec::new();
    for table in FlowTable::ALL {
        tables.each_entry(table, |entry| {
            if entry.is_announced() {
                announced.push(*entry);
            }
        })?;
    }
    let parents = pinholes::parents(tables, &announced)?;
    let mut children: Vec<_> =
        parents.into_iter().filter(|(_, of)| *of == parent).map(|(id, _)| id).collect();
    children.sort_unstable();
    Ok(children)
}

/// The tables to read, in the order that misses no flow.
pub(super) fn tables_of(selection: &Selection) -> impl Iterator<Item = FlowTable> {
    let half_open = selection.wants_half_open();
    FlowTable::ALL.into_iter().filter(move |table| half_open || table.is_completed())
}

fn rank(sort: Sort, flow: &Flow) -> u64 {
    let [original, reply] = &flow.tallies;
    match sort {
        Sort::Activity => flow.last_seen,
        Sort::Idle => u64::MAX - flow.last_seen,
        Sort::Bytes => original.bytes.saturating_add(reply.bytes),
        Sort::Packets => original.packets.saturating_add(reply.packets),
        Sort::Age => u64::MAX - flow.created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Key;
    use firewall_common::flow::{KeyV4, Tally};

    fn entry(id: u64, last_seen: u64, bytes: u64) -> Entry {
        let tallies = [Tally { packets: id, bytes }, Tally { packets: 0, bytes: 1 }];
        let flow = Flow { id, last_seen, created: id, tallies, ..Flow::default() };
        Entry { key: Key::V4(KeyV4::default()), flow }
    }

    fn ids(sort: Sort, limit: usize) -> Vec<u64> {
        let mut first = First::new(limit);
        for entry in [entry(1, 50, 9), entry(2, 70, 5), entry(3, 60, 7), entry(2, 70, 5)] {
            first.offer(rank(sort, &entry.flow), entry.flow.id, || entry);
        }
        first.sorted().iter().map(|entry| entry.flow.id).collect()
    }

    #[test]
    fn the_first_come_first_and_none_comes_twice() {
        assert_eq!(ids(Sort::Activity, 0), [2, 3, 1]);
        assert_eq!(ids(Sort::Idle, 0), [1, 3, 2]);
        assert_eq!(ids(Sort::Bytes, 2), [1, 3]);
        assert_eq!(ids(Sort::Packets, 1), [3]);
        assert_eq!(ids(Sort::Age, 0), [1, 2, 3]);
    }
}
