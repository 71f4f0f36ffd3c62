//! The first packet of a flow, as somebody writes it who asks about it: `tcp 10.1.0.2:4000 -> 10.2.0.2:554 on lan0`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use firewall_common::wire::{ECHO_PORT, Packet, ip_protocol};
use thiserror::Error;

use crate::policy::error::quote;

/// IP protocols that have a name here (IANA, Assigned Internet Protocol Numbers).
const PROTOCOLS: [(&str, u8); 10] = [
    ("icmp", ip_protocol::ICMP),
    ("igmp", 2),
    ("tcp", ip_protocol::TCP),
    ("udp", ip_protocol::UDP),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ip_protocol::ICMPV6),
    ("ospf", 89),
    ("sctp", 132),
];
/// ICMP types that have a name here (IANA, ICMP Parameters).
const ICMP_TYPES: [(&str, u8); 8] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
];
/// ICMPv6 types that have a name here (IANA, ICMPv6 Parameters).
const ICMPV6_TYPES: [(&str, u8); 11] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];

/// The first packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes; of the same family.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Of TCP and UDP, if it was given: no rule asks for it.
    pub source_port: Option<u16>,
    /// Of TCP and UDP.
    pub destination_port: u16,
    /// Of ICMP and ICMPv6.
    pub icmp_type: u8,
    /// The interface that it comes in by, if it was given.
    pub interface: Option<String>,
}

/// Why a text describes no packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{reason}; a flow is written like 'tcp 10.1.0.2:4000 -> 10.2.0.2:554' or 'icmp echo-request 10.1.0.2 -> 10.2.0.2'"
)]
pub struct BadProbe {
    reason: String,
}

impl Probe {
    /// Whether its protocol has ports.
    pub fn has_ports(&self) -> bool {
        has_ports(self.protocol)
    }

    /// Whether its protocol has types.
    pub fn has_types(&self) -> bool {
        has_types(self.protocol)
    }

    /// The packet as the kernel programs see it, of what the policy asks for.
    pub fn packet(&self) -> Packet {
        let words = |address| match address {
            IpAddr::V4(address) => [u32::from_ne_bytes(Ipv4Addr::octets(&address)), 0, 0, 0],
            IpAddr::V6(address) => bytemuck::cast(Ipv6Addr::octets(&address)),
        };
        let is_echo = self.icmp_type == echo_request(self.protocol);
        let destination_port =
            if self.has_types() && is_echo { ECHO_PORT } else { self.destination_port };
        Packet {
            version: if self.source.is_ipv4() { 4 } else { 6 },
            source: words(self.source),
            destination: words(self.destination),
            protocol: self.protocol,
            source_port: self.source_port.unwrap_or_default(),
            destination_port,
            icmp_type: self.icmp_type,
            ..Packet::default()
        }
    }

    /// The name of its protocol, or its number.
    pub(super) fn protocol_name(&self) -> String {
        named(&PROTOCOLS, self.protocol)
    }

    /// The name of its ICMP type, or its number.
    pub(super) fn type_name(&self) -> String {
        named(types(self.protocol), self.icmp_type)
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, ip_protocol::TCP | ip_protocol::UDP)
}

fn has_types(protocol: u8) -> bool {
    matches!(protocol, ip_protocol::ICMP | ip_protocol::ICMPV6)
}

fn types(protocol: u8) -> &'static [(&'static str, u8)] {
    if protocol == ip_protocol::ICMP { &ICMP_TYPES } else { &ICMPV6_TYPES }
}

fn echo_request(protocol: u8) -> u8 {
    if protocol == ip_protocol::ICMP { 8 } else { 128 }
}

fn named(names: &[(&str, u8)], number: u8) -> String {
    let name = names.iter().find(|(_, known)| *known == number);
    name.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// The number that a word stands for: by its name, or in digits.
fn numbered(names: &[(&str, u8)], word: &str) -> Option<u8> {
    let known = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    known.map(|(_, number)| *number).or_else(|| word.parse().ok())
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.protocol_name())?;
        if self.has_types() {
            write!(f, "{} ", self.type_name())?;
        }
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        let port = self.has_ports().then_some(self.destination_port);
        write!(f, "{} -> {}", end(self.source, self.source_port), end(self.destination, port))?;
        match &self.interface {
            Some(interface) => write!(f, " on {interface}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Probe {
    type Err = BadProbe;

    fn from_str(text: &str) -> Result<Self, BadProbe> {
        let (left, right) = text.split_once("->").ok_or_else(|| bad("it has no `->`"))?;
        let (protocol, icmp_type, source) = match *left.split_whitespace().collect::<Vec<_>>() {
            [protocol, source] => (protocol, None, source),
            [protocol, kind, source] => (protocol, Some(kind), source),
            _ => return Err(bad("before `->` stand a protocol and a source")),
        };
        let (destination, interface) = match *right.split_whitespace().collect::<Vec<_>>() {
            [destination] => (destination, None),
            [destination, "on", interface] => (destination, Some(interface.to_owned())),
            _ => return Err(bad("after `->` stands a destination, and then maybe `on INTERFACE`")),
        };
        let protocol = numbered(&PROTOCOLS, protocol)
            .ok_or_else(|| bad(&format!("{} is no IP protocol", quote(protocol))))?;
        let icmp_type = read_type(protocol, icmp_type)?;
        let (source, source_port) = read_end(source)?;
        let (destination, destination_port) = read_end(destination)?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(bad("one end is IPv4 and the other IPv6"));
        }
        check_family(protocol, source)?;
        if has_ports(protocol) && destination_port.is_none() {
            return Err(bad("the destination lacks its port"));
        }
        if !has_ports(protocol) && source_port.or(destination_port).is_some() {
            return Err(bad("only TCP and UDP have ports"));
        }
        let destination_port = destination_port.unwrap_or_default();
        Ok(Self {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            icmp_type,
            interface,
        })
    }
}

fn read_type(protocol: u8, word: Option<&str>) -> Result<u8, BadProbe> {
    match word {
        None if has_types(protocol) => Ok(echo_request(protocol)),
        None => Ok(0),
        Some(_) if !has_types(protocol) => Err(bad("only ICMP has types")),
        Some(word) => numbered(types(protocol), word)
            .ok_or_else(|| bad(&format!("{} is no type of ICMP", quote(word)))),
    }
}

fn check_family(protocol: u8, source: IpAddr) -> Result<(), BadProbe> {
    match protocol {
        ip_protocol::ICMP if source.is_ipv6() => Err(bad("ICMP of IPv6 is `icmpv6`")),
        ip_protocol::ICMPV6 if source.is_ipv4() => Err(bad("ICMP of IPv4 is `icmp`")),
        _ => Ok(()),
    }
}

/// An address, in brackets if it is IPv6 with a port, and its port.
fn read_end(text: &str) -> Result<(IpAddr, Option<u16>), BadProbe> {
    let (address, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or(""))),
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => match text.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (text, None),
        },
    };
    let is_bracketed = text.starts_with('[');
    let parsed = address.parse::<IpAddr>().ok().filter(|it| it.is_ipv6() || !is_bracketed);
    let Some(parsed) = parsed else {
        return Err(bad(&format!(
            "{} is no address, nor one with a port; IPv6 with a port is like [fd00:1::2]:554",
            quote(text)
        )));
    };
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port @ 1..)) => Some(port),
        Some(_) => return Err(bad(&format!("the port of {} is none", quote(text)))),
    };
    Ok((parsed, port))
}

fn bad(reason: &str) -> BadProbe {
    BadProbe { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "tcp 10.1.0.2:4000 -> 10.2.0.2:554",
            "udp 10.1.0.2 -> 10.2.0.2:53 on lan0",
            "tcp [fd00:1::2]:4000 -> [fd00:2::2]:554 on br-lan",
            "tcp fd00:1::2 -> [fd00:2::2]:554",
            "icmp echo-request 10.1.0.2 -> 10.2.0.2",
            "icmp 42 10.1.0.2 -> 10.2.0.2",
            "icmpv6 packet-too-big fd00:1::2 -> fd00:2::2",
            "gre 10.1.0.2 -> 10.2.0.2",
            "253 10.1.0.2 -> 10.2.0.2",
        ] {
            assert_eq!(text.parse::<Probe>().expect(text).to_string(), text);
        }
        for (text, understood) in [
            ("TCP  10.1.0.2->10.2.0.2:554", "tcp 10.1.0.2 -> 10.2.0.2:554"),
            ("6 10.1.0.2 -> 10.2.0.2:554", "tcp 10.1.0.2 -> 10.2.0.2:554"),
            ("icmp 10.1.0.2 -> 10.2.0.2", "icmp echo-request 10.1.0.2 -> 10.2.0.2"),
            ("icmpv6 [fd00::1] -> [fd00::2]", "icmpv6 echo-request fd00::1 -> fd00::2"),
        ] {
            assert_eq!(text.parse::<Probe>().expect(text).to_string(), understood);
        }
    }

    #[test]
    fn what_is_no_flow_is_refused() {
        for (text, reason) in [
            ("", "it has no `->`"),
            ("10.1.0.2 -> 10.2.0.2", "before `->`"),
            ("tcp 10.1.0.2 ->", "after `->`"),
            ("tcp 10.1.0.2 -> 10.2.0.2:1 lan0", "after `->`"),
            ("tpc 10.1.0.2 -> 10.2.0.2:1", "`tpc` is no IP protocol"),
            ("256 10.1.0.2 -> 10.2.0.2", "`256` is no IP protocol"),
            ("tcp 10.1.0.2 -> 10.2.0.2", "lacks its port"),
            ("tcp 10.1.0.2:0 -> 10.2.0.2:1", "the port of `10.1.0.2:0`"),
            ("tcp 10.1.0.2 -> 10.2.0.2:65536", "the port of `10.2.0.2:65536`"),
            ("tcp 10.1.0.256 -> 10.2.0.2:1", "`10.1.0.256` is no address"),
            ("tcp [10.1.0.2]:1 -> 10.2.0.2:1", "`[10.1.0.2]:1` is no address"),
            ("tcp [fd00::1]1 -> [fd00::2]:1", "the port of `[fd00::1]1`"),
            ("tcp 10.1.0.2 -> [fd00::2]:1", "one end is IPv4"),
            ("tcp ping 10.1.0.2 -> 10.2.0.2:1", "only ICMP has types"),
            ("icmp ping 10.1.0.2 -> 10.2.0.2", "`ping` is no type"),
            ("icmp fd00::1 -> fd00::2", "`icmpv6`"),
            ("icmpv6 10.1.0.2 -> 10.2.0.2", "`icmp`"),
            ("gre 10.1.0.2 -> 10.2.0.2:1", "only TCP and UDP have ports"),
        ] {
            let error = text.parse::<Probe>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
