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
use firewall_common::flow::{Flow, Timeouts};

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
    let removed = sweep_table(&mut tables.flows_v4()?, now, &mut living)?
        + sweep_table(&mut tables.flows_v6()?, now, &mut living)?;
    note_living(&tables.half_open_v4()?, &mut living)?;
    note_living(&tables.half_open_v6()?, &mut living)?;
    for id in known.into_iter().filter(|id| !living.contains(id)) {
        ignore_missing(connections.remove(&id))?;
    }
    Ok(removed)
}

/// Notes the flows of a table that makes room by itself.
fn note_living<K: Pod>(table: &HashMap<MapData, K, Flow>, living: &mut HashSet<u64>) -> Result<()> {
    for key in keys(table)? {
        match table.get(&key, 0) {
            Ok(flow) => living.insert(flow.id),
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

fn sweep_table<K: Pod>(
    table: &mut HashMap<MapData, K, Flow>,
    now: u64,
    living: &mut HashSet<u64>,
) -> Result<usize> {
    let mut removed = 0;
    for key in keys(table)? {
        let flow = match table.get(&key, 0) {
            Ok(flow) => flow,
            Err(MapError::KeyNotFound) => continue,
            Err(error) => return Err(error.into()),
        };
        if flow.expired(now, &Timeouts::default()) {
            ignore_missing(table.remove(&key))?;
            removed += 1;
        } else {
            living.insert(flow.id);
        }
    }
    Ok(removed)
}

/// The table's keys. What is removed while they are read may make the kernel begin again; each key counts
/// once or more, none twice for good.
fn keys<K: Pod, V: Pod>(table: &HashMap<MapData, K, V>) -> Result<Vec<K>> {
    Ok(table.keys().collect::<Result<_, _>>()?)
}
