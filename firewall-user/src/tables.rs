//! The kernel's tables, reached through their pins: no controller is needed to read or change them.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use aya::maps::{
    Array, HashMap, Map, MapData, MapError, PerCpuArray,
    lpm_trie::{Key, LpmTrie},
};
use firewall_common::{
    cookie::Secret,
    flow::{Flow, KeyV4, KeyV6, Timeouts},
    layout::{Counter, FilterCounters, Port},
    policy::{Binding, NetworkWords, PROTOCOLS_MAX, PolicyHead, RULES_MAX, Rule, to_words},
    reason::Reason,
    shortcut::LongWay,
};

use crate::{devices::Address, object::os_error, policy::Compiled};

/// UDP's ports stand behind TCP's in the table of ports.
const UDP_PORTS: u32 = 1 << 16;

/// What a policy is written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Empty tables.
    Nothing,
    /// Another policy.
    Policy,
    /// The same policy, whose bindings may have been changed by hand and stay as they are.
    PolicyKeepingBindings,
}

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

    /// Writes a compiled policy. New flows that begin meanwhile may be judged by parts of both.
    pub fn write_policy(&self, policy: &Compiled, over: Over) -> Result<()> {
        let mut rules: Array<_, Rule> = self.open("RULES")?;
        for index in 0..RULES_MAX {
            let rule = policy.rules.get(index).copied().unwrap_or_default();
            rules.set(index as u32, rule, 0)?;
        }
        write_trie(
            self.open("NETWORKS_V4")?,
            policy.prefixes_v4.iter().map(|p| (p.prefix_len, p.address, to_words(p.networks))),
        )?;
        write_trie(
            self.open("NETWORKS_V6")?,
            policy.prefixes_v6.iter().map(|p| (p.prefix_len, p.address, to_words(p.networks))),
        )?;
        self.write_ports(policy, over)?;
        if over != Over::PolicyKeepingBindings {
            let mut table: Array<_, Binding> = self.open("BINDINGS")?;
            for number in 0..PROTOCOLS_MAX {
                let bound =
                    policy.bindings.iter().find(|(protocol, _)| usize::from(*protocol) == number);
                let old = table.get(&(number as u32), 0)?;
                let mut new = bound.map_or_else(Binding::default, |(_, binding)| *binding);
                new.generation = old.generation.wrapping_add(1);
                table.set(number as u32, new, 0)?;
            }
        }
        let mut commands: Array<_, u64> = self.open("FILTER_COMMANDS")?;
        for (filter, allowed) in &policy.commands {
            commands.set(u32::from(*filter), *allowed, 0)?;
        }
        self.set_timeouts(policy.timeouts)?;
        let mut head: Array<_, PolicyHead> = self.open("POLICY")?;
        let PolicyHead { adopt_until, relaxed_until, .. } = head.get(&0, 0)?;
        head.set(0, PolicyHead { adopt_until, relaxed_until, ..policy.head }, 0)?;
        Ok(())
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
        let mut head: Array<_, PolicyHead> = self.open("POLICY")?;
        let now = head.get(&0, 0)?;
        Ok(head.set(0, PolicyHead { adopt_until: until, ..now }, 0)?)
    }

    /// Lets windows be learnt anew, until `until`: nanoseconds of the monotonic clock.
    pub fn relax_until(&self, until: u64) -> Result<()> {
        let mut head: Array<_, PolicyHead> = self.open("POLICY")?;
        let now = head.get(&0, 0)?;
        Ok(head.set(0, PolicyHead { relaxed_until: until, ..now }, 0)?)
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

    fn write_ports(&self, policy: &Compiled, over: Over) -> Result<()> {
        const TCP: u8 = 6;
        let mut wanted = BTreeMap::new();
        for entry in &policy.protocol_by_port {
            let base = if entry.transport == TCP { 0 } else { UDP_PORTS };
            wanted.insert(base + u32::from(entry.port), entry.protocol);
        }
        let mut table: Array<_, u8> = self.open("PROTOCOL_BY_PORT")?;
        if over == Over::Nothing {
            for (index, protocol) in wanted {
                table.set(index, protocol, 0)?;
            }
            return Ok(());
        }
        for index in 0..2 * UDP_PORTS {
            let new = wanted.get(&index).copied().unwrap_or(0);
            if table.get(&index, 0)? != new {
                table.set(index, new, 0)?;
            }
        }
        Ok(())
    }

    /// How filters are bound, by protocol number.
    pub fn binding(&self, protocol: u8) -> Result<Binding> {
        let table: Array<_, Binding> = self.open("BINDINGS")?;
        Ok(table.get(&u32::from(protocol), 0)?)
    }

    /// Changes how a filter is bound: one write, which the next packet of live flows obeys.
    pub fn bind(&self, protocol: u8, change: impl FnOnce(Binding) -> Binding) -> Result<Binding> {
        let mut table: Array<_, Binding> = self.open("BINDINGS")?;
        let old = table.get(&u32::from(protocol), 0)?;
        let mut new = change(old);
        new.generation = old.generation.wrapping_add(1);
        table.set(u32::from(protocol), new, 0)?;
        Ok(new)
    }

    /// What filters did on a protocol, all CPUs together.
    pub fn filter_counters(&self, protocol: u8) -> Result<FilterCounters> {
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

    /// Lets packets take the shortcut past the kernel's stack: bits of [`PolicyHead::shortcut`].
    pub fn set_shortcut(&self, shortcut: u8) -> Result<()> {
        let mut head: Array<_, PolicyHead> = self.open("POLICY")?;
        let now = head.get(&0, 0)?;
        if now.shortcut != shortcut {
            head.set(0, PolicyHead { shortcut, ..now }, 0)?;
        }
        Ok(())
    }

    /// How many packets of proven flows went the long way for `why`, all CPUs together.
    pub fn long_ways(&self, why: LongWay) -> Result<u64> {
        let table: PerCpuArray<_, u64> = self.open("LONG_WAYS")?;
        Ok(table.get(&(why as u32), 0)?.iter().sum())
    }

    /// Notes an interface as one whose incoming packets are judged, and its hardware address.
    pub fn note_interface(&self, index: u32, address: Option<Address>) -> Result<()> {
        let mut table: HashMap<_, u32, Port> = self.open("INTERFACES")?;
        let address = bytemuck::cast(address.unwrap_or_default());
        Ok(table.insert(index, Port { address, reserved: 0 }, 0)?)
    }

    /// Takes that note back.
    pub fn forget_interface(&self, index: u32) -> Result<()> {
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
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::PerCpuArray(data)
        | Map::PerfEventArray(data)
        | Map::DevMapHash(data)
        | Map::ProgramArray(data) => data,
        other => anyhow::bail!("a map of an unexpected type: {other:?}"),
    };
    let fd = std::os::fd::AsFd::as_fd(&data.fd()).try_clone_to_owned()?;
    Ok(MapData::from_fd(fd)?)
}

/// Makes the trie hold `entries` and nothing else.
fn write_trie<const N: usize>(
    mut trie: LpmTrie<MapData, [u8; N], NetworkWords>,
    entries: impl Iterator<Item = (u32, [u8; N], NetworkWords)>,
) -> Result<()>
where
    [u8; N]: aya::Pod,
{
    let mut stale: Vec<Key<[u8; N]>> = trie.keys().collect::<Result<_, _>>()?;
    for (prefix_len, address, networks) in entries {
        stale.retain(|key| (key.prefix_len(), key.data()) != (prefix_len, address));
        trie.insert(&Key::new(prefix_len, address), networks, 0)?;
    }
    for key in stale {
        trie.remove(&key)?;
    }
    Ok(())
}
