//! Taking expired flows out of the tables, with what filters know of them.
//!
//! The kernel never uses an expired flow: a packet that comes too late finds it, removes it and is judged as
//! the first of a new flow. So the sweep only gives room back. It leaves every flow a grace period beyond
//! its timeout, and looks at each again right before it is removed.

use std::{collections::HashSet, time::Duration};

use anyhow::Result;
use aya::{
    Pod,
    maps::{HashMap, MapData, MapError},
};
use firewall_common::flow::{Alias, Flow, Timeouts};

use crate::{
    ring::monotonic_ns,
    tables::{Tables, ignore_missing},
};

/// How much longer than its timeout a flow stays.
const GRACE: Duration = Duration::from_secs(5);

/// Sweeps the tables once. Returns how many flows were removed.
pub fn sweep(tables: &Tables) -> Result<usize> {
    let now = monotonic_ns().saturating_sub(GRACE.as_nanos() as u64);
    // The connections that filters know first: one that begins while the flows are read has a flow that may
    // not be among them.
    let mut connections: HashMap<MapData, u64, [u8; 480]> = tables.open("RTSP_CONNECTIONS")?;
    let known = keys(&connections)?;
    let mut living = HashSet::new();
    let timeouts = tables.timeouts()?;
    let (half_open_v4, half_open_v6) = (tables.half_open_v4()?, tables.half_open_v6()?);
    let removed = Sweep { now, timeouts, target: |alias: &Alias| alias.target_v4 }.table(
        &mut tables.flows_v4()?,
        &half_open_v4,
        &mut living,
    )? + Sweep { now, timeouts, target: |alias: &Alias| alias.target_v6 }.table(
        &mut tables.flows_v6()?,
        &half_open_v6,
        &mut living,
    )?;
    note_living(&half_open_v4, &mut living)?;
    note_living(&half_open_v6, &mut living)?;
    for id in known.into_iter().filter(|id| !living.contains(id)) {
        ignore_missing(connections.remove(&id))?;
    }
    Ok(removed)
}

/// Notes the flows of a table that makes room by itself.
fn note_living<K: Pod>(table: &HashMap<MapData, K, Flow>, living: &mut HashSet<u64>) -> Result<()> {
    for key in keys(table)? {
        living.extend(get(table, &key)?.map(|flow| flow.id));
    }
    Ok(())
}

/// One run over the tables of one address family.
struct Sweep<T> {
    now: u64,
    timeouts: Timeouts,
    /// The key that an alias leads to.
    target: T,
}

impl<T> Sweep<T> {
    fn table<K: Pod>(
        &self,
        table: &mut HashMap<MapData, K, Flow>,
        half_open: &HashMap<MapData, K, Flow>,
        living: &mut HashSet<u64>,
    ) -> Result<usize>
    where
        T: Fn(&Alias) -> K,
    {
        let mut removed = 0;
        for key in keys(table)? {
            let Some(flow) = get(table, &key)? else { continue };
            let gone = match Alias::of(&flow) {
                // It has no age of its own.
                Some(alias) => {
                    let target = (self.target)(alias);
                    let flow = match get(table, &target)? {
                        Some(flow) => Some(flow),
                        None => get(half_open, &target)?,
                    };
                    flow.is_none_or(|flow| flow.id != alias.id)
                }
                None => flow.expired(self.now, &self.timeouts),
            };
            if gone {
                ignore_missing(table.remove(&key))?;
                removed += 1;
            } else {
                living.insert(flow.id);
            }
        }
        Ok(removed)
    }
}

/// What lies under a key at this moment.
fn get<K: Pod>(table: &HashMap<MapData, K, Flow>, key: &K) -> Result<Option<Flow>> {
    match table.get(key, 0) {
        Ok(flow) => Ok(Some(flow)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The table's keys. What is removed while they are read may make the kernel begin again; each key counts
/// once or more, none twice for good.
fn keys<K: Pod, V: Pod>(table: &HashMap<MapData, K, V>) -> Result<Vec<K>> {
    Ok(table.keys().collect::<Result<_, _>>()?)
}
