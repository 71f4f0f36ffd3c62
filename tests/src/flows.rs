//! What lies in a firewall's flow tables, read past its commands.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use firewall_common::flow::{Alias, Flow, KeyV4, KeyV6, State};
pub use firewall_user::tables::Tables;
use firewall_user::{instance::Instance, ring::monotonic_ns};

use crate::{fwx::Fwx, wait};

/// The tables of an instance that is up.
pub fn tables(fwx: &Fwx<'_>) -> Result<Tables> {
    Ok(Tables::pinned(&Instance::new(fwx.instance())?.maps()))
}

/// Puts a flow of IPv4 into the table for each number in `flows`, as if a packet had come just now: what `flow` makes of
/// the number, of its protocol. Its source is so far behind 100.64.0.0, port 40,000.
pub fn fill(tables: &Tables, flows: Range<u32>, flow: impl Fn(u32) -> Flow) -> Result<()> {
    const BPF_ANY: u64 = 0;
    let now = monotonic_ns();
    let mut table = tables.flows_v4()?;
    for number in flows {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 0).to_bits() + number);
        let addresses = [source, Ipv4Addr::new(198, 51, 100, 1)];
        let flow = Flow { last_seen: now, created: now, id: made_up_id(number), ..flow(number) };
        let key = KeyV4 {
            addresses: addresses.map(|address| u32::from_ne_bytes(address.octets())),
            ports: [40_000, 443],
            protocol: flow.ip_protocol.into(),
        };
        table.insert(key, flow, BPF_ANY)?;
    }
    Ok(())
}

/// A flow's number that the programs give to none: the low 10 bits are the CPU's, and this is the last of those.
fn made_up_id(number: u32) -> u64 {
    u64::from(number) << 10 | 0x3ff
}

/// A flow.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    /// The end that began it. For an ICMP echo the port is the identifier.
    pub source: SocketAddr,
    /// The other end.
    pub destination: SocketAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Whether it lies among those with an answer.
    pub completed: bool,
    /// All that the table holds of it.
    pub flow: Flow,
}

impl Tracked {
    /// Packets that passed: from the end that began it, and towards it.
    pub fn packets(&self) -> [u64; 2] {
        self.flow.tallies.map(|tally| tally.packets)
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.flow.state()
    }
}

/// Another name of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The flow's number.
    pub id: u64,
    /// What the end that began the flow is called by this name.
    pub source: SocketAddr,
    /// What the other end is called.
    pub destination: SocketAddr,
    /// Whether it lies among the flows with an answer.
    pub completed: bool,
}

/// Both tables of both address families.
#[derive(Clone, Debug, Default)]
pub struct Flows {
    /// The flows.
    pub flows: Vec<Tracked>,
    /// Their other names.
    pub names: Vec<Name>,
}

impl Flows {
    /// What `fwx` tracks at this moment.
    pub fn of(fwx: &Fwx<'_>) -> Result<Self> {
        let tables = tables(fwx)?;
        let mut flows = Self::default();
        flows.read(&tables.flows_v4()?, true, ends_v4)?;
        flows.read(&tables.half_open_v4()?, false, ends_v4)?;
        flows.read(&tables.flows_v6()?, true, ends_v6)?;
        flows.read(&tables.half_open_v6()?, false, ends_v6)?;
        Ok(flows)
    }

    /// The flow that `source` began with `destination`.
    pub fn find(&self, source: SocketAddr, destination: SocketAddr) -> Option<&Tracked> {
        self.flows.iter().find(|flow| (flow.source, flow.destination) == (source, destination))
    }

    /// The other names of a flow.
    pub fn names_of(&self, flow: &Tracked) -> Vec<Name> {
        self.names.iter().filter(|name| name.id == flow.flow.id).copied().collect()
    }

    fn read<K: Pod>(
        &mut self,
        table: &HashMap<MapData, K, Flow>,
        completed: bool,
        ends: impl Fn(&K) -> ([SocketAddr; 2], u8),
    ) -> Result<()> {
        for entry in table.iter() {
            let (key, flow) = entry?;
            let (mut ends, protocol) = ends(&key);
            let alias = Alias::of(&flow);
            if alias.map_or(flow.originator_is_second, |alias| alias.originator_is_second) != 0 {
                ends.reverse();
            }
            let [source, destination] = ends;
            match alias {
                Some(alias) => {
                    self.names.push(Name { id: alias.id, source, destination, completed });
                }
                None => {
                    self.flows.push(Tracked { source, destination, protocol, completed, flow });
                }
            }
        }
        Ok(())
    }
}

/// Waits until `fwx` tracks a flow from `source` to `destination` that `wanted` accepts; `what` says which.
pub fn wait_for(
    fwx: &Fwx<'_>,
    source: SocketAddr,
    destination: SocketAddr,
    what: &str,
    wanted: impl Fn(&Tracked) -> bool,
) -> Result<Tracked> {
    wait::until(&format!("the flow {source} to {destination} is {what}"), || {
        let flows = Flows::of(fwx)?;
        let found = flows.find(source, destination).filter(|flow| wanted(flow)).copied();
        found.with_context(|| format!("it is not in {flows:#?}"))
    })
}

/// Makes the flow from `source` to `destination` one that has been silent for longer than any timeout. Its packets
/// must rest meanwhile.
pub fn age(fwx: &Fwx<'_>, source: SocketAddr, destination: SocketAddr) -> Result<()> {
    let tables = tables(fwx)?;
    let id = Flows::of(fwx)?.find(source, destination).context("no such flow")?.flow.id;
    age_in(tables.flows_v4()?, id)?;
    age_in(tables.half_open_v4()?, id)?;
    age_in(tables.flows_v6()?, id)?;
    age_in(tables.half_open_v6()?, id)
}

fn age_in<K: Pod>(mut table: HashMap<MapData, K, Flow>, id: u64) -> Result<()> {
    let entries: Vec<_> = table.iter().collect::<Result<_, _>>()?;
    let flow = entries.into_iter().find(|(_, flow)| flow.id == id && Alias::of(flow).is_none());
    match flow {
        Some((key, flow)) => Ok(table.insert(key, Flow { last_seen: 0, ..flow }, 0)?),
        None => Ok(()),
    }
}

fn ends_v4(key: &KeyV4) -> ([SocketAddr; 2], u8) {
    let [first, second] = key.addresses.map(|address| Ipv4Addr::from(address.to_ne_bytes()));
    let [first_port, second_port] = key.ports;
    ([(first, first_port).into(), (second, second_port).into()], key.protocol as u8)
}

fn ends_v6(key: &KeyV6) -> ([SocketAddr; 2], u8) {
    let address = |words: [u32; 4]| {
        let mut bytes = [0; 16];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(bytes)
    };
    let [first, second] = key.addresses.map(address);
    let [first_port, second_port] = key.ports;
    ([(first, first_port).into(), (second, second_port).into()], key.protocol as u8)
}
