//! The kernel's tables, reached through their pins: no controller is needed to read or change them.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use firewall_common::{
    cookie::Secret,
    flow::{Flow, KeyV4, KeyV6, Timeouts},
    layout::{Counter, FilterCounters, OwnAddresses, Port},
    policy::{Binding, InForce, PROTOCOLS_MAX},
    reason::Reason,
    shortcut::LongWay,
};

use crate::{devices::Address, object::os_error};

/// The tables of one instance.
#[derive(Debug)]
pub struct Tables {
    source: Source,
}

/// Where the maps come from.
#[derive(Debug)]
enum Source {
    Pins(std::path::PathBuf),
    Loaded(std::collections::HashMap<String, MapData>),
}

impl Tables {
    /// The tables pinned in `directory`.
    pub fn pinned(directory: &Path) -> Self {
        Self { source: Source::Pins(directory.to_owned()) }
    }

    /// The tables of programs that were loaded and not pinned.
    pub fn of_loaded(ebpf: &aya::Ebpf) -> Result<Self> {
        let mut maps = std::collections::HashMap::new();
        for name in crate::object::PINNED_MAPS.iter().chain(&["REPLAY_INPUT", "REPLAY_OUTPUT"]) {
            let map = ebpf.map(name).with_context(|| format!("no map {name}"))?;
            maps.insert((*name).to_owned(), duplicate(map)?);
        }
        Ok(Self { source: Source::Loaded(maps) })
    }

    /// How long flows may be silent.
    pub fn timeouts(&self) -> Result<Timeouts> {
        let table: Array<_, Timeouts> = self.open("TIMEOUTS")?;
        Ok(table.get(&0, 0)?)
    }

    /// Sets how long flows may be silent, from their next packet on.
    pub fn set_timeouts(&self, timeouts: Timeouts) -> Result<()> {
        let mut table: Array<_, Timeouts> = self.open("TIMEOUTS")?;
        Ok(table.set(0, timeouts, 0)?)
    }

    /// Lets TCP segments that belong to no flow begin one, until `until`: nanoseconds of the monotonic clock.
    pub fn adopt_until(&self, until: u64) -> Result<()> {
        let mut in_force: Array<_, InForce> = self.open("POLICY")?;
        let now = in_force.get(&0, 0)?;
        Ok(in_force.set(0, InForce { adopt_until: until, ..now }, 0)?)
    }

    /// Lets windows be learnt anew, until `until`: nanoseconds of the monotonic clock.
    pub fn relax_until(&self, until: u64) -> Result<()> {
        let mut in_force: Array<_, InForce> = self.open("POLICY")?;
        let now = in_force.get(&0, 0)?;
        Ok(in_force.set(0, InForce { relaxed_until: until, ..now }, 0)?)
    }

    /// Sets what SYN challenges are made with. One that is there stays, and with it the challenges that are on
    /// their way.
    pub fn set_secret(&self, secret: Secret) -> Result<()> {
        let mut table: Array<_, Secret> = self.open("SECRET")?;
        if table.get(&0, 0)? == Secret::default() {
            table.set(0, secret, 0)?;
        }
        Ok(())
    }

    /// How filters are bound, by protocol number.
    pub fn binding(&self, protocol: u16) -> Result<Binding> {
        let table: Array<_, Binding> = self.open("BINDINGS")?;
        Ok(table.get(&self.binding_of(protocol)?, 0)?)
    }

    /// Changes how a filter is bound: one write, which the next packet of live flows obeys. Who calls it keeps
    /// others from putting another policy in force meanwhile.
    pub fn bind(&self, protocol: u16, change: impl FnOnce(Binding) -> Binding) -> Result<Binding> {
        let mut table: Array<_, Binding> = self.open("BINDINGS")?;
        let index = self.binding_of(protocol)?;
        let old = table.get(&index, 0)?;
        let mut new = change(old);
        new.generation = old.generation.wrapping_add(1);
        table.set(index, new, 0)?;
        Ok(new)
    }

    /// Where the policy in force has a protocol's binding.
    fn binding_of(&self, protocol: u16) -> Result<u32> {
        let in_force: Array<_, InForce> = self.open("POLICY")?;
        Ok(in_force.get(&0, 0)?.slot * PROTOCOLS_MAX as u32 + u32::from(protocol))
    }

    /// What filters did on a protocol, all CPUs together.
    pub fn filter_counters(&self, protocol: u16) -> Result<FilterCounters> {
        let table: PerCpuArray<_, FilterCounters> = self.open("FILTER_COUNTERS")?;
        let mut sum = FilterCounters::default();
        for cpu in table.get(&u32::from(protocol), 0)?.iter() {
            sum.segments += cpu.segments;
            sum.findings += cpu.findings;
            sum.kills += cpu.kills;
            sum.held += cpu.held;
        }
        Ok(sum)
    }

    /// A counter, all CPUs together.
    pub fn counter(&self, counter: Counter) -> Result<u64> {
        let table: PerCpuArray<_, [u64; Counter::COUNT]> = self.open("COUNTERS")?;
        Ok(table.get(&0, 0)?.iter().map(|cpu| cpu[counter as usize]).sum())
    }

    /// How often a reason came up, all CPUs together.
    pub fn reason_count(&self, reason: Reason) -> Result<u64> {
        let table: PerCpuArray<_, u64> = self.open("REASONS")?;
        Ok(table.get(&(reason as u32), 0)?.iter().sum())
    }

    /// Lets packets take the shortcut past the kernel's stack: bit set of [`firewall_common::shortcut::FOR_UDP`] and
    /// [`firewall_common::shortcut::FOR_TCP`].
    pub fn set_shortcut(&self, shortcut: u32) -> Result<()> {
        let mut table: Array<_, u32> = self.open("SHORTCUT")?;
        Ok(table.set(0, shortcut, 0)?)
    }

    /// How many packets of proven flows went the long way for `why`, all CPUs together.
    pub fn long_ways(&self, why: LongWay) -> Result<u64> {
        let table: PerCpuArray<_, u64> = self.open("LONG_WAYS")?;
        Ok(table.get(&(why as u32), 0)?.iter().sum())
    }

    /// Notes an interface as one whose incoming packets are judged, its hardware address, and the number by which
    /// policies know it.
    pub fn note_interface(&self, index: u32, address: Option<Address>, number: u16) -> Result<()> {
        let mut table: HashMap<_, u32, Port> = self.open("INTERFACES")?;
        let address = bytemuck::cast(address.unwrap_or_default());
        Ok(table.insert(index, Port { address, number }, 0)?)
    }

    /// Sets by which addresses this machine answers at an interface.
    pub fn set_own_addresses(&self, index: u32, addresses: OwnAddresses) -> Result<()> {
        let mut table: HashMap<_, u32, OwnAddresses> = self.open("OWN_ADDRESSES")?;
        Ok(table.insert(index, addresses, 0)?)
    }

    /// Takes both notes back.
    pub fn forget_interface(&self, index: u32) -> Result<()> {
        let mut addresses: HashMap<_, u32, OwnAddresses> = self.open("OWN_ADDRESSES")?;
        ignore_missing(addresses.remove(&index))?;
        let mut table: HashMap<_, u32, Port> = self.open("INTERFACES")?;
        ignore_missing(table.remove(&index))
    }

    /// The IPv4 flows with an answer.
    pub fn flows_v4(&self) -> Result<HashMap<MapData, KeyV4, Flow>> {
        self.open("FLOWS_V4")
    }

    /// The IPv6 flows with an answer.
    pub fn flows_v6(&self) -> Result<HashMap<MapData, KeyV6, Flow>> {
        self.open("FLOWS_V6")
    }

    /// The IPv4 flows without an answer.
    pub fn half_open_v4(&self) -> Result<HashMap<MapData, KeyV4, Flow>> {
        self.open("HALF_OPEN_V4")
    }

    /// The IPv6 flows without an answer.
    pub fn half_open_v6(&self) -> Result<HashMap<MapData, KeyV6, Flow>> {
        self.open("HALF_OPEN_V6")
    }

    /// Opens one of the maps as what it is.
    pub fn open<T>(&self, name: &str) -> Result<T>
    where
        T: TryFrom<Map>,
        T::Error: std::error::Error + Send + Sync + 'static,
    {
        let map = Map::from_map_data(self.data(name)?)?;
        T::try_from(map).with_context(|| format!("the kernel's table {name} is not what fwx made"))
    }

    /// Opens one of the maps, whatever it is.
    pub fn data(&self, name: &str) -> Result<MapData> {
        match &self.source {
            Source::Pins(directory) => MapData::from_pin(directory.join(name)),
            Source::Loaded(maps) => {
                let map = maps.get(name).with_context(|| format!("no map {name}"))?;
                let fd = std::os::fd::AsFd::as_fd(&map.fd()).try_clone_to_owned()?;
                MapData::from_fd(fd)
            }
        }
        .with_context(|| format!("cannot open the kernel's table {name}"))
    }
}

/// An entry that is to be removed and is not there is as good as removed.
pub fn ignore_missing(removed: Result<(), MapError>) -> Result<()> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn duplicate(map: &Map) -> Result<MapData> {
    let data = match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerfEventArray(data)
        | Map::DevMapHash(data)
        | Map::ProgramArray(data) => data,
        other => anyhow::bail!("a map of an unexpected type: {other:?}"),
    };
    let fd = std::os::fd::AsFd::as_fd(&data.fd()).try_clone_to_owned()?;
    Ok(MapData::from_fd(fd)?)
}
