//! Switching the firewall on without cutting what is there: connections that the kernel knows enter the flow
//! tables, in their midst.

use std::net::IpAddr;

use anyhow::Result;
use aya::maps::{HashMap, MapData, MapError};
use firewall_common::{
    classifier,
    flow::{Alias, Flow, Half, KeyV4, KeyV6, Oriented, State},
    number::{CONTROLLER_CPU, numbered},
    wire::{ECHO_PORT, Packet, ip_protocol},
};

use crate::{
    existing::{Existing, Progress, Tuple, existing},
    policy::Compiled,
    ring::monotonic_ns,
    tables::Tables,
};

/// What was taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Flows that are in the tables now and were not before.
    pub flows: usize,
    /// Those of them whose addresses the kernel translates.
    pub translated: usize,
    /// Connections that found no room.
    pub left_out: usize,
    /// What could not be read, and what follows from it.
    pub notes: Vec<String>,
}

/// Enters what the kernel knows of the connections in this network namespace. What is in the tables already
/// stays as it is there, so that this can be done again for what began meanwhile.
///
/// Such a flow is marked [`Flow::ADOPTED`]; its windows are learnt from its next packets. No rule is asked:
/// what is there goes on. Filters join it at the next place where they can.
///
/// # Errors
///
/// When the kernel does not hand out what it has, or its tables cannot be written.
pub fn take_over(tables: &Tables, policy: &Compiled) -> Result<TakenOver> {
    let found = existing()?;
    let mut maps = Maps {
        completed_v4: tables.flows_v4()?,
        completed_v6: tables.flows_v6()?,
        half_open_v4: tables.half_open_v4()?,
        half_open_v6: tables.half_open_v6()?,
    };
    let mut taken = TakenOver { notes: found.notes, ..TakenOver::default() };
    let mut numbers = Numbers::new();
    for connection in &found.connections {
        let Some(state) = state(connection) else {
            continue;
        };
        match enter(&mut maps, policy, connection, state, numbers.next())? {
            Entered::Now { translated } => {
                taken.flows += 1;
                taken.translated += usize::from(translated);
            }
            Entered::Before => {}
            Entered::NoRoom => taken.left_out += 1,
        }
    }
    Ok(taken)
}

/// The flow tables.
struct Maps {
    completed_v4: HashMap<MapData, KeyV4, Flow>,
    completed_v6: HashMap<MapData, KeyV6, Flow>,
    half_open_v4: HashMap<MapData, KeyV4, Flow>,
    half_open_v6: HashMap<MapData, KeyV6, Flow>,
}

enum Entered {
    Now { translated: bool },
    Before,
    NoRoom,
}

/// Numbers for flows that no kernel program gives: those have the number of their CPU in the lowest bits.
struct Numbers(u64);

impl Numbers {
    fn new() -> Self {
        // Nanoseconds since the machine started: none is given twice.
        Self(monotonic_ns() >> 10)
    }

    fn next(&mut self) -> u64 {
        const BITS: u32 = 43;
        self.0 += 1;
        numbered(self.0 & ((1 << BITS) - 1), CONTROLLER_CPU)
    }
}

/// The state that a connection enters in; `None`: it is over.
fn state(connection: &Existing) -> Option<State> {
    Some(match (connection.state, connection.answered) {
        (Progress::Datagrams, true) => State::Assured,
        (Progress::Datagrams, false) => State::Unreplied,
        // The next packets of a handshake are those of a connection whose first one nobody saw.
        (Progress::HalfOpen, false) => State::Midstream,
        (Progress::HalfOpen | Progress::Established, _) => State::Established,
        (Progress::HalfClosed, _) => State::CloseWait,
        (Progress::Closing, _) => return None,
    })
}

fn enter(
    maps: &mut Maps,
    policy: &Compiled,
    connection: &Existing,
    state: State,
    id: u64,
) -> Result<Entered> {
    let original = packet(connection, &connection.original, false);
    // On the other side of the machine, packets of the same direction: those whose answers arrive as they do.
    let reply = &connection.reply;
    let beyond = Tuple {
        source: reply.destination,
        destination: reply.source,
        source_port: reply.destination_port,
        destination_port: reply.source_port,
    };
    let translated = packet(connection, &beyond, true);
    let now = monotonic_ns();
    let mut flow = Flow {
        last_seen: now,
        id,
        state: state as u8,
        protocol: classifier::protocol(&policy.image[..], &original),
        ip_protocol: connection.protocol,
        created: now,
        flags: Flow::ADOPTED,
        ..Flow::default()
    };
    if connection.protocol == ip_protocol::TCP {
        flow.halves = connection.scales.map(|scale| {
            let mut half = Half::in_midstream(scale);
            half.flags |= Half::UNREAD;
            half
        });
    }
    if connection.version == 4 {
        let (key, name) = (KeyV4::of(&original), KeyV4::of(&translated));
        let alias = |flow: &Flow| alias(flow, name.source_is_second, key.key, KeyV6::default());
        let (completed, half_open) = (&mut maps.completed_v4, &mut maps.half_open_v4);
        insert(completed, half_open, flow, key, name, alias)
    } else {
        let (key, name) = (KeyV6::of(&original), KeyV6::of(&translated));
        let alias = |flow: &Flow| alias(flow, name.source_is_second, KeyV4::default(), key.key);
        let (completed, half_open) = (&mut maps.completed_v6, &mut maps.half_open_v6);
        insert(completed, half_open, flow, key, name, alias)
    }
}

fn insert<K: aya::Pod + PartialEq>(
    completed: &mut HashMap<MapData, K, Flow>,
    half_open: &mut HashMap<MapData, K, Flow>,
    mut flow: Flow,
    key: Oriented<K>,
    name: Oriented<K>,
    alias: impl Fn(&Flow) -> Flow,
) -> Result<Entered> {
    const BPF_NOEXIST: u64 = 1;
    let translated = key.key != name.key;
    flow.originator_is_second = u8::from(key.source_is_second);
    if translated {
        flow.flags |= Flow::TRANSLATED;
    }
    if flow.state().is_half_open() {
        flow.flags |= Flow::COUNTED_APART;
    }
    let (table, other) =
        if flow.state().is_half_open() { (half_open, completed) } else { (completed, half_open) };
    if is_known(table, &key.key)? || is_known(other, &key.key)? {
        return Ok(Entered::Before);
    }
    // The name first: a flow that is found is found under both.
    if translated && !put(table, &name.key, &alias(&flow), 0)? {
        return Ok(Entered::NoRoom);
    }
    Ok(match put(table, &key.key, &flow, BPF_NOEXIST)? {
        true => Entered::Now { translated },
        false => Entered::NoRoom,
    })
}

/// Whether there is an entry under `key`.
fn is_known<K: aya::Pod>(table: &HashMap<MapData, K, Flow>, key: &K) -> Result<bool> {
    match table.get(key, 0) {
        Ok(_) => Ok(true),
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Enters a value. `false`: the table is full, or a packet was faster.
fn put<K: aya::Pod>(
    table: &mut HashMap<MapData, K, Flow>,
    key: &K,
    flow: &Flow,
    flags: u64,
) -> Result<bool> {
    match table.insert(key, flow, flags) {
        Ok(()) => Ok(true),
        Err(error) => match crate::object::os_error(&error) {
            Some(libc::E2BIG | libc::EEXIST) => Ok(false),
            _ => Err(error.into()),
        },
    }
}

fn alias(flow: &Flow, source_is_second: bool, v4: KeyV4, v6: KeyV6) -> Flow {
    bytemuck::cast(Alias {
        last_seen: flow.last_seen,
        id: flow.id,
        state: State::Alias as u8,
        originator_is_second: u8::from(source_is_second),
        reserved: [0; 2],
        unsettled: u32::from(flow.state().is_half_open()),
        target_v4: v4,
        target_v6: v6,
        reserved2: [0; 6],
    })
}

/// A packet of the original direction, as far as a key needs it.
fn packet(connection: &Existing, tuple: &Tuple, is_translated: bool) -> Packet {
    let ports = match connection.protocol {
        ip_protocol::TCP | ip_protocol::UDP => (tuple.source_port, tuple.destination_port),
        // A request has its identifier for a source port; beyond a translation it stands where the answer goes.
        ip_protocol::ICMP | ip_protocol::ICMPV6 if is_translated || tuple.source_port != 0 => {
            (tuple.source_port, ECHO_PORT)
        }
        _ => (0, 0),
    };
    let icmp_type = match connection.protocol {
        ip_protocol::ICMP => 8,
        ip_protocol::ICMPV6 => 128,
        _ => 0,
    };
    Packet {
        source: words(tuple.source),
        destination: words(tuple.destination),
        source_port: ports.0,
        destination_port: ports.1,
        // An echo request: of other ICMP conntrack's tables hold nothing that lasts.
        icmp_type: if ports == (0, 0) { 0 } else { icmp_type },
        version: connection.version,
        protocol: connection.protocol,
        ..Packet::default()
    }
}

/// An address as packets have it.
pub(crate) fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
        IpAddr::V6(address) => bytemuck::cast(address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::existing::Origin;

    fn tuple(source: &str, source_port: u16, destination: &str, destination_port: u16) -> Tuple {
        let address = |text: &str| text.parse().expect("an address");
        Tuple {
            source: address(source),
            destination: address(destination),
            source_port,
            destination_port,
        }
    }

    #[test]
    fn a_masqueraded_echo_has_two_keys() {
        let echo = Existing {
            version: 4,
            protocol: ip_protocol::ICMP,
            original: tuple("10.1.0.2", 7, "10.9.0.2", 7),
            reply: tuple("10.9.0.2", 8000, "10.9.0.1", 8000),
            state: Progress::Datagrams,
            scales: [None; 2],
            answered: true,
            expires_in_s: None,
            from: Origin::Conntrack,
        };
        let inside = packet(&echo, &echo.original, false);
        assert_eq!((inside.source_port, inside.destination_port), (7, ECHO_PORT));
        assert_eq!(state(&echo), Some(State::Assured));
    }

    #[test]
    fn numbers_are_those_of_no_cpu_and_exact_in_json() {
        let mut numbers = Numbers::new();
        let (first, second) = (numbers.next(), numbers.next());
        assert!(first < second && second < 1 << 53);
        assert_eq!(firewall_common::number::giver_of(first), CONTROLLER_CPU);
    }
}
