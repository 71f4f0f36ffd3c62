//! Changing the size of the flow tables while traffic flows, without losing a flow.
//!
//! The kernel cannot resize a table. So the old one is set aside, the new programs get a new one with what the
//! old one holds, take the place of the old programs on one interface after the other, and what began or ended
//! in the old table meanwhile is taken over at the end. For that moment each program sees a part of the packets:
//! the flows' windows are learnt anew.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{HashMap, MapData, MapError};
use firewall_common::{
    flow::{Alias, Flow, KeyV4, KeyV6},
    wire::ip_protocol,
};

use crate::{
    batch,
    flows::FlowTable,
    object::os_error,
    policy::TableSizes,
    rule_counters::{AllCounters, Sums},
    tables::Tables,
};

/// A change of size that is under way.
#[derive(Debug)]
pub struct Resize {
    maps: PathBuf,
    tables: Vec<FlowTable>,
    /// A program may use the new tables.
    in_use: bool,
}

impl Resize {
    /// Sets those tables aside whose size is not the one that is wanted. `None`: all have it.
    ///
    /// A change that was cut off is taken up where it was.
    ///
    /// # Errors
    ///
    /// When a table holds more than it could after the change.
    pub fn begin(maps: &Path, wanted: TableSizes) -> Result<Option<Self>> {
        let pinned = Tables::pinned(maps);
        let mut resize = Self { maps: maps.to_owned(), tables: Vec::new(), in_use: false };
        let mut to_set_aside = Vec::new();
        for table in FlowTable::ALL {
            let wanted = if table.is_completed() { wanted.completed } else { wanted.half_open };
            let (there, aside) = (resize.pin(table).exists(), resize.aside(table).exists());
            let fits = !there || pinned.size(table)? == wanted;
            match (aside, fits) {
                (true, false) => bail!(
                    "a change of the flow tables' size was cut off before its end, and now another size is \
                     wanted: bring the firewall up with the size of then first"
                ),
                (true, true) => resize.tables.push(table),
                (false, true) => {}
                (false, false) => {
                    let mut held = 0;
                    pinned.each_entry(table, |_| held += 1)?;
                    if table.is_completed() && held > wanted {
                        bail!(
                            "the table of {} holds {held}: it cannot be made as small as {wanted}",
                            table.name()
                        );
                    }
                    to_set_aside.push(table);
                }
            }
        }
        for table in to_set_aside {
            fs::rename(resize.pin(table), resize.aside(table))
                .with_context(|| format!("cannot set the table {} aside", table.map()))?;
            resize.tables.push(table);
        }
        Ok(if resize.tables.is_empty() { None } else { Some(resize) })
    }

    /// Fills the new tables from the old ones, before a program uses them.
    pub fn fill(&self) -> Result<()> {
        self.copy().map(drop)
    }

    /// From here on programs use the new tables: there is no way back.
    pub const fn programs_change(&mut self) {
        self.in_use = true;
    }

    /// Takes over what came about in the old tables since they were copied, and gives them up. Returns how many
    /// entries the new ones had no room for.
    pub fn finish(self) -> Result<u64> {
        let left_out = self.copy()?;
        for table in &self.tables {
            let aside = self.aside(*table);
            let old = open_old(&aside, *table)?;
            fs::remove_file(&aside)
                .with_context(|| format!("cannot remove the old table {}", table.map()))?;
            self.give_up(*table, &old)?;
        }
        Ok(left_out)
    }

    fn copy(&self) -> Result<u64> {
        let new = Tables::pinned(&self.maps);
        let mut left_out = 0;
        for table in &self.tables {
            let old = open_old(&self.aside(*table), *table)?;
            let mut sums = Sums::default();
            left_out += match table {
                FlowTable::CompletedV4 => copy::<KeyV4>(&old, new.flows_v4()?, &mut sums)?,
                FlowTable::CompletedV6 => copy::<KeyV6>(&old, new.flows_v6()?, &mut sums)?,
                FlowTable::HalfOpenV4 => copy::<KeyV4>(&old, new.half_open_v4()?, &mut sums)?,
                FlowTable::HalfOpenV6 => copy::<KeyV6>(&old, new.half_open_v6()?, &mut sums)?,
            };
            if table.is_completed() {
                AllCounters::open(&new)?.add(&sums);
            }
        }
        Ok(left_out)
    }

    /// What the flows of a table have counted, which nobody uses any more, is their rules' now.
    fn give_up(&self, table: FlowTable, data: &MapData) -> Result<()> {
        let mut sums = Sums::default();
        match table {
            FlowTable::CompletedV4 => {
                batch::for_each(data, |_: &KeyV4, flow: &Flow| sums.leaves(flow))?;
            }
            FlowTable::CompletedV6 => {
                batch::for_each(data, |_: &KeyV6, flow: &Flow| sums.leaves(flow))?;
            }
            FlowTable::HalfOpenV4 | FlowTable::HalfOpenV6 => return Ok(()),
        }
        AllCounters::open(&Tables::pinned(&self.maps))?.add(&sums);
        Ok(())
    }

    /// Puts an old table back in the place of the new one.
    fn put_back(&self, table: FlowTable) -> Result<()> {
        // There may be none yet.
        let new = MapData::from_pin(self.pin(table)).ok();
        fs::rename(self.aside(table), self.pin(table))?;
        new.map_or(Ok(()), |new| self.give_up(table, &new))
    }

    fn pin(&self, table: FlowTable) -> PathBuf {
        self.maps.join(table.map())
    }

    fn aside(&self, table: FlowTable) -> PathBuf {
        self.maps.join(format!("{}_old", table.map()))
    }
}

/// A change that ends before programs use the new tables puts the old ones back in their place.
impl Drop for Resize {
    fn drop(&mut self) {
        if self.in_use {
            return;
        }
        for table in &self.tables {
            if let Err(error) = self.put_back(*table) {
                tracing::error!("cannot put the table {} back: {error:#}", table.map());
            }
        }
    }
}

fn open_old(pin: &Path, table: FlowTable) -> Result<MapData> {
    MapData::from_pin(pin).with_context(|| format!("cannot open the old table {}", table.map()))
}

/// Copies what is not in the new table, or is there and older. Returns for how much there was no room. `sums` is told
/// what enters the new table and what leaves it.
fn copy<K: aya::Pod + bytemuck::Pod>(
    old: &MapData,
    mut new: HashMap<MapData, K, Flow>,
    sums: &mut Sums,
) -> Result<u64> {
    const BPF_ANY: u64 = 0;
    let (mut left_out, mut failure) = (0, None);
    batch::for_each(old, |key: &K, flow: &Flow| {
        if failure.is_some() || !is_newer(&new, key, flow) {
            return;
        }
        let before = new.get(key, 0);
        match new.insert(key, learning(*flow), BPF_ANY) {
            Ok(()) => {
                if let Ok(before) = before {
                    sums.leaves(&before);
                }
                sums.enters(flow);
            }
            Err(error) if os_error(&error) == Some(libc::E2BIG) => left_out += 1,
            Err(error) => failure = Some(error),
        }
    })?;
    match failure {
        None => Ok(left_out),
        Some(error) => Err(error).context("cannot fill the new flow table"),
    }
}

/// Whether the new table does not know a flow, or not as it was last.
fn is_newer<K: aya::Pod>(new: &HashMap<MapData, K, Flow>, key: &K, flow: &Flow) -> bool {
    match new.get(key, 0) {
        Ok(known) => {
            let changed = (known.id, known.state) != (flow.id, flow.state);
            changed && flow.last_seen >= known.last_seen
        }
        Err(MapError::KeyNotFound) => true,
        // Whatever it is, the insertion will meet it too and tell.
        Err(_) => true,
    }
}

/// The flow as it enters the new table.
fn learning(mut flow: Flow) -> Flow {
    if Alias::of(&flow).is_none() && flow.ip_protocol == ip_protocol::TCP {
        for half in &mut flow.halves {
            half.learn_again();
        }
    }
    flow
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::flow::{Half, State};

    #[test]
    fn windows_are_learnt_anew_and_names_stay_what_they_are() {
        let tcp = Flow { ip_protocol: ip_protocol::TCP, ..Flow::default() };
        assert!(learning(tcp).halves.iter().all(|half| half.flags & Half::LEARNING != 0));
        let udp = Flow { ip_protocol: 17, ..Flow::default() };
        assert_eq!(learning(udp), udp);
        let alias = Flow { state: State::Alias as u8, ..tcp };
        assert_eq!(learning(alias), alias);
    }
}
