//! The first packet of a flow, as somebody writes it who asks about it: `tcp 10.1.0.2:4000 -> 10.2.0.2:554 on lan0`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use firewall_common::wire::{ECHO_PORT, Packet, ip_protocol};
use thiserror::Error;

use crate::policy::{ITSELF, IcmpType, Transport, error::quote, icmp, transport};

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
    /// Likewise.
    pub icmp_code: u8,
    /// The interface that it comes in by, or [`ITSELF`], if it was given.
    pub interface: Option<String>,
}

/// Where a flow comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// It comes in by the interface of this name.
    Interface(&'a str),
    /// The gateway itself sends it.
    Itself,
    /// Nobody said.
    Unsaid,
}

impl<'a> Origin<'a> {
    /// The interface that it is known to come in by.
    pub(super) fn interface(&self) -> Option<&'a str> {
        match self {
            Self::Interface(name) => Some(name),
            Self::Itself | Self::Unsaid => None,
        }
    }
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
    /// What carries it.
    pub fn transport(&self) -> Transport {
        Transport::from_number(self.protocol)
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> Origin<'_> {
        match self.interface.as_deref() {
            None => Origin::Unsaid,
            Some(ITSELF) => Origin::Itself,
            Some(name) => Origin::Interface(name),
        }
    }

    /// The packet as the kernel programs see it, of what the policy asks for. What neighbours say to each other has not
    /// been forwarded.
    pub fn packet(&self) -> Packet {
        let words = |address| match address {
            IpAddr::V4(address) => [u32::from_ne_bytes(Ipv4Addr::octets(&address)), 0, 0, 0],
            IpAddr::V6(address) => bytemuck::cast(Ipv6Addr::octets(&address)),
        };
        let is_icmp = self.transport().is_icmp();
        let is_echo = is_icmp && self.icmp_type == echo_request(self.protocol);
        let destination_port = if is_echo { ECHO_PORT } else { self.destination_port };
        Packet {
            version: if self.source.is_ipv4() { 4 } else { 6 },
            source: words(self.source),
            destination: words(self.destination),
            protocol: self.protocol,
            source_port: self.source_port.unwrap_or_default(),
            destination_port,
            icmp_type: self.icmp_type,
            icmp_code: self.icmp_code,
            hop_limit: match self.icmp_type {
                // RFC 2710 §3, RFC 3810 §5.
                130..=132 | 143 if is_icmp => 1,
                // RFC 4861 §6.1, §7.1, §8.1.
                133..=137 if is_icmp => 255,
                _ => 64,
            },
            ..Packet::default()
        }
    }

    /// Its ICMP type by its name or number, and its code unless that is 0.
    pub(super) fn type_shown(&self) -> String {
        let code = (self.icmp_code != 0).then_some(self.icmp_code);
        IcmpType { kind: self.icmp_type, code }.shown(self.transport()).to_string()
    }
}

fn echo_request(protocol: u8) -> u8 {
    if protocol == ip_protocol::ICMP { 8 } else { 128 }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = self.transport();
        write!(f, "{transport} ")?;
        if transport.is_icmp() {
            write!(f, "{} ", self.type_shown())?;
        }
        let end = |address: IpAddr, port: Option<u16>| match (address, port) {
            (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
            (IpAddr::V4(address), Some(port)) => format!("{address}:{port}"),
            (address, None) => address.to_string(),
        };
        let port = transport.has_ports().then_some(self.destination_port);
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
        let transport = read_transport(protocol)
            .ok_or_else(|| bad(&format!("{} is no IP protocol", quote(protocol))))?;
        let IcmpType { kind: icmp_type, code } = read_type(transport, icmp_type)?;
        let (source, source_port) = read_end(source)?;
        let (destination, destination_port) = read_end(destination)?;
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(bad("one end is IPv4 and the other IPv6"));
        }
        check_family(transport, source)?;
        if transport.has_ports() && destination_port.is_none() {
            return Err(bad("the destination lacks its port"));
        }
        if !transport.has_ports() && source_port.or(destination_port).is_some() {
            return Err(bad("only TCP and UDP have ports"));
        }
        let destination_port = destination_port.unwrap_or_default();
        Ok(Self {
            source,
            destination,
            protocol: transport.number(),
            source_port,
            destination_port,
            icmp_type,
            icmp_code: code.unwrap_or(0),
            interface,
        })
    }
}

/// The IP protocol that a word stands for: by its name, or in digits.
fn read_transport(word: &str) -> Option<Transport> {
    let name = word.to_ascii_lowercase();
    let known = transport::NAMES.iter().find(|(known, _)| *known == name);
    let number = known.map(|(_, number)| *number).or_else(|| word.parse().ok());
    number.map(Transport::from_number)
}

/// The ICMP type that a word stands for, as in policies; without a word an echo request.
fn read_type(transport: Transport, word: Option<&str>) -> Result<IcmpType, BadProbe> {
    match word {
        None if transport.is_icmp() => {
            Ok(IcmpType { kind: echo_request(transport.number()), code: None })
        }
        None => Ok(IcmpType { kind: 0, code: None }),
        Some(_) if !transport.is_icmp() => Err(bad("only ICMP has types")),
        Some(word) => icmp::written(&word.to_ascii_lowercase(), transport)
            .map_err(|_| bad(&format!("{} is no type of ICMP", quote(word)))),
    }
}

fn check_family(transport: Transport, source: IpAddr) -> Result<(), BadProbe> {
    match transport {
        Transport::Icmp if source.is_ipv6() => Err(bad("ICMP of IPv6 is `icmpv6`")),
        Transport::Icmpv6 if source.is_ipv4() => Err(bad("ICMP of IPv4 is `icmp`")),
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
            "icmp 41 10.1.0.2 -> 10.2.0.2",
            "icmp redirect/1 10.1.0.2 -> 10.2.0.2 on lan0",
            "icmpv6 neighbor-solicitation fe80::1 -> ff02::1 on self",
            "icmpv6 packet-too-big fd00:1::2 -> fd00:2::2",
            "gre 10.1.0.2 -> 10.2.0.2",
            "253 10.1.0.2 -> 10.2.0.2",
        ] {
            assert_eq!(text.parse::<Probe>().expect(text).to_string(), text);
        }
        for (text, understood) in [
            ("TCP  10.1.0.2->10.2.0.2:554", "tcp 10.1.0.2 -> 10.2.0.2:554"),
            ("6 10.1.0.2 -> 10.2.0.2:554", "tcp 10.1.0.2 -> 10.2.0.2:554"),
            ("ICMP 8/0 10.1.0.2 -> 10.2.0.2", "icmp echo-request 10.1.0.2 -> 10.2.0.2"),
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
            ("icmp redirect/256 10.1.0.2 -> 10.2.0.2", "`redirect/256` is no type"),
            ("icmp fd00::1 -> fd00::2", "`icmpv6`"),
            ("icmpv6 10.1.0.2 -> 10.2.0.2", "`icmp`"),
            ("gre 10.1.0.2 -> 10.2.0.2:1", "only TCP and UDP have ports"),
        ] {
            let error = text.parse::<Probe>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
