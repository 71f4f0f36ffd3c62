//! The flow tables' entries, of both address families alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use firewall_common::{
    flow::{Alias, Flow, KeyV4, KeyV6},
    wire::ip_protocol,
};

use crate::{batch, tables::Tables};

/// One of the tables that hold flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowTable {
    /// IPv4, with an answer.
    CompletedV4,
    /// IPv6, with an answer.
    CompletedV6,
    /// IPv4, without an answer.
    HalfOpenV4,
    /// IPv6, without an answer.
    HalfOpenV6,
}

impl FlowTable {
    /// All of them, in the order in which they have to be read: a flow that gets its answer meanwhile moves
    /// from the first two to the last two. So it may be met twice and is never missed.
    pub const ALL: [Self; 4] =
        [Self::HalfOpenV4, Self::HalfOpenV6, Self::CompletedV4, Self::CompletedV6];
    /// Those of flows with an answer.
    pub const COMPLETED: [Self; 2] = [Self::CompletedV4, Self::CompletedV6];

    /// The map's name.
    pub const fn map(self) -> &'static str {
        match self {
            Self::CompletedV4 => "FLOWS_V4",
            Self::CompletedV6 => "FLOWS_V6",
            Self::HalfOpenV4 => "HALF_OPEN_V4",
            Self::HalfOpenV6 => "HALF_OPEN_V6",
        }
    }

    /// What it holds, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompletedV4 => "IPv4 flows",
            Self::CompletedV6 => "IPv6 flows",
            Self::HalfOpenV4 => "half-open IPv4 flows",
            Self::HalfOpenV6 => "half-open IPv6 flows",
        }
    }

    /// Whether it holds flows with an answer.
    pub const fn is_completed(self) -> bool {
        matches!(self, Self::CompletedV4 | Self::CompletedV6)
    }

    const fn is_v4(self) -> bool {
        matches!(self, Self::CompletedV4 | Self::HalfOpenV4)
    }
}

/// A flow's key, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// IPv4.
    V4(KeyV4),
    /// IPv6.
    V6(KeyV6),
}

impl Key {
    /// The endpoints, the originator first. Port 0 where the protocol has none; of ICMP echo the originator has
    /// the identifier.
    pub fn endpoints(&self, originator_is_second: bool) -> [SocketAddr; 2] {
        let [first, second] = match self {
            Self::V4(KeyV4 { addresses, ports, .. }) => [0, 1].map(|end| {
                SocketAddr::new(Ipv4Addr::from(addresses[end].to_ne_bytes()).into(), ports[end])
            }),
            Self::V6(KeyV6 { addresses, ports, .. }) => [0, 1].map(|end| {
                let bytes: [u8; 16] = bytemuck::cast(addresses[end]);
                SocketAddr::new(Ipv6Addr::from(bytes).into(), ports[end])
            }),
        };
        if originator_is_second { [second, first] } else { [first, second] }
    }

    /// The IP protocol.
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::V4(key) => key.protocol as u8,
            Self::V6(key) => key.protocol as u8,
        }
    }

    /// The key of the flow that an alias with a key of this family leads to.
    pub const fn target(&self, alias: &Alias) -> Self {
        match self {
            Self::V4(_) => Self::V4(alias.target_v4),
            Self::V6(_) => Self::V6(alias.target_v6),
        }
    }
}

/// An entry of a flow table as it was when it was read: a flow, or another name of one.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Under which it lies.
    pub key: Key,
    /// What lies there.
    pub flow: Flow,
}

impl Entry {
    /// Whether it is an alias and no flow.
    pub fn alias(&self) -> Option<&Alias> {
        Alias::of(&self.flow)
    }

    /// Whether another connection announced it, and it goes on as long as that lets it.
    pub const fn is_announced(&self) -> bool {
        self.flow.is_child() && !self.flow.state().is_over()
    }

    /// The endpoints, the originator first, also of an alias.
    pub fn endpoints(&self) -> [SocketAddr; 2] {
        // An alias has this field in the same place.
        self.key.endpoints(self.flow.originator_is_second != 0)
    }

    /// The originator's address.
    pub fn source(&self) -> IpAddr {
        let [source, _] = self.endpoints();
        source.ip()
    }

    /// Whether its endpoints have ports.
    pub const fn has_ports(&self) -> bool {
        matches!(self.key.protocol(), ip_protocol::TCP | ip_protocol::UDP)
    }
}

impl Tables {
    /// Shows `visit` every entry of a flow table, aliases included.
    pub fn each_entry(&self, table: FlowTable, mut visit: impl FnMut(&Entry)) -> Result<()> {
        let data = self.data(table.map())?;
        if table.is_v4() {
            batch::for_each(&data, |key: &KeyV4, flow: &Flow| {
                visit(&Entry { key: Key::V4(*key), flow: *flow });
            })
        } else {
            batch::for_each(&data, |key: &KeyV6, flow: &Flow| {
                visit(&Entry { key: Key::V6(*key), flow: *flow });
            })
        }
    }

    /// For how many entries a table has room.
    pub fn size(&self, table: FlowTable) -> Result<u32> {
        Ok(self.data(table.map())?.info()?.max_entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::wire::Packet;

    #[test]
    fn endpoints_are_those_of_the_first_packet() {
        for (source, destination) in
            [("10.9.0.1:7", "10.1.0.2:9"), ("[fd00:2::1]:7", "[fd00:1::1]:9")]
        {
            let [source, destination]: [SocketAddr; 2] =
                [source, destination].map(|text| text.parse().unwrap());
            let words = |address: IpAddr| match address {
                IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
                IpAddr::V6(address) => bytemuck::cast(address.octets()),
            };
            let packet = Packet {
                source: words(source.ip()),
                destination: words(destination.ip()),
                source_port: source.port(),
                destination_port: destination.port(),
                protocol: ip_protocol::UDP,
                ..Packet::default()
            };
            let (key, second) = if source.is_ipv4() {
                let oriented = KeyV4::of(&packet);
                (Key::V4(oriented.key), oriented.source_is_second)
            } else {
                let oriented = KeyV6::of(&packet);
                (Key::V6(oriented.key), oriented.source_is_second)
            };
            assert_eq!(key.endpoints(second), [source, destination]);
            assert_eq!(key.endpoints(!second), [destination, source]);
            assert_eq!(key.protocol(), ip_protocol::UDP);
        }
    }
}
