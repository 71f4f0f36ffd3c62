//! Community ID, version 1: one text for the two ends and the protocol of a flow, the same in both directions, that
//! Zeek, Suricata, Wireshark and others make too (<https://github.com/corelight/community-id-spec>).

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use firewall_common::{
    event::Record,
    wire::{ECHO_PORT, ip_protocol},
};
use sha1::{Digest as _, Sha1};

use super::address;

/// What all who compare have to agree on; 0 is what they do by default.
const SEED: u16 = 0;
const SCTP: u8 = 132;
const ECHO_REQUEST_V6: u16 = 128;

/// That of the packet behind a record. `None` also: it could not be parsed.
pub(super) fn of_record(record: &Record) -> Option<String> {
    if record.version == 0 {
        return None;
    }
    let end = |words, port| SocketAddr::new(address(record.version, words), port);
    let source = end(record.source, record.source_port);
    let destination = end(record.destination, record.destination_port);
    community_id(record.ip_protocol, [source, destination], u16::from(record.icmp_type))
}

/// That of a flow, whose ends are those of its first packet.
pub(super) fn of_flow(ip_protocol: u8, ends: [SocketAddr; 2]) -> Option<String> {
    let [_, destination] = ends;
    let icmp_type = match (ip_protocol, destination.port()) {
        (ip_protocol::ICMPV6, ECHO_PORT) => ECHO_REQUEST_V6,
        // ICMP's echo request has the number that stands for echo; what else there is has its type in both ports.
        (_, port) => port,
    };
    community_id(ip_protocol, ends, icmp_type)
}

/// Of the ports only those of TCP and UDP count, `icmp_type` for ICMP only. `None`: it takes what is not known: the
/// ports of SCTP or of a fragment behind the first, the code of an ICMP message that has no counterpart.
fn community_id(
    ip_protocol: u8,
    [source, destination]: [SocketAddr; 2],
    icmp_type: u16,
) -> Option<String> {
    let id = |ports: Option<[u16; 2]>| {
        let [from, to] = ports.unwrap_or_default();
        let mut ends = [(source.ip(), from), (destination.ip(), to)];
        ends.sort_unstable();
        hash(ip_protocol, ends, ports.is_some())
    };
    let ports = match ip_protocol {
        ip_protocol::TCP | ip_protocol::UDP => [source.port(), destination.port()],
        ip_protocol::ICMP => [icmp_type, counterpart(icmp_type)?],
        ip_protocol::ICMPV6 => [icmp_type, counterpart_v6(icmp_type)?],
        SCTP => return None,
        _ => return Some(id(None)),
    };
    (ports != [0, 0]).then(|| id(Some(ports)))
}

/// The message that answers one of ICMP, or that it answers.
fn counterpart(icmp_type: u16) -> Option<u16> {
    Some(match icmp_type {
        0 => 8,
        8 => 0,
        // Routers: advertisement and solicitation.
        9 => 10,
        10 => 9,
        // Timestamp, information, address mask.
        13 | 15 | 17 => icmp_type + 1,
        14 | 16 | 18 => icmp_type - 1,
        _ => return None,
    })
}

/// The same of ICMPv6.
fn counterpart_v6(icmp_type: u16) -> Option<u16> {
    Some(match icmp_type {
        // Echo, listeners, node information, home agents.
        128 | 130 | 139 | 144 => icmp_type + 1,
        129 | 131 | 140 | 145 => icmp_type - 1,
        // Routers and neighbours: solicitation and advertisement.
        133 | 135 => icmp_type + 1,
        134 | 136 => icmp_type - 1,
        _ => return None,
    })
}

fn hash(ip_protocol: u8, ends: [(IpAddr, u16); 2], has_ports: bool) -> String {
    let mut hash = Sha1::new();
    hash.update(SEED.to_be_bytes());
    for (address, _) in ends {
        match address {
            IpAddr::V4(address) => hash.update(address.octets()),
            IpAddr::V6(address) => hash.update(address.octets()),
        }
    }
    hash.update([ip_protocol, 0]);
    if has_ports {
        ends.iter().for_each(|(_, port)| hash.update(port.to_be_bytes()));
    }
    format!("1:{}", BASE64_STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    fn id(ip_protocol: u8, ends: [(&str, u16); 2], icmp_type: u16) -> Option<String> {
        let ends = ends.map(|(address, port)| SocketAddr::new(address.parse().unwrap(), port));
        community_id(ip_protocol, ends, icmp_type)
    }

    /// `baseline/baseline_deflt.json` of the specification: protocol, addresses, ports, and what comes of it. Of ICMP
    /// the ports are the types of a message and of its counterpart.
    const BASELINE: [(u8, &str, &str, u16, u16, &str); 14] = [
        (
            58,
            "fe80::200:86ff:fe05:80da",
            "fe80::260:97ff:fe07:69ea",
            135,
            136,
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
        ),
        (
            58,
            "fe80::260:97ff:fe07:69ea",
            "fe80::200:86ff:fe05:80da",
            135,
            136,
            "1:zavyT/cezQr1fmImYCwYnMXbgck=",
        ),
        (
            58,
            "3ffe:507:0:1:200:86ff:fe05:80da",
            "3ffe:501:0:1001::2",
            128,
            129,
            "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=",
        ),
        (58, "fe80::200:86ff:fe05:80da", "ff02::2", 133, 134, "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="),
        (58, "fe80::260:97ff:fe07:69ea", "ff02::1", 134, 133, "1:pkvHqCL88/tg1k4cPigmZXUtL00="),
        (1, "192.168.0.89", "192.168.0.1", 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (1, "192.168.0.1", "192.168.0.89", 0, 8, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (
            6,
            "2001:470:e5bf:dead:4957:2174:e82c:4887",
            "2607:f8b0:400c:c03::1a",
            63943,
            25,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
        ),
        (
            6,
            "2607:f8b0:400c:c03::1a",
            "2001:470:e5bf:dead:4957:2174:e82c:4887",
            25,
            63943,
            "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4=",
        ),
        (6, "128.232.110.120", "66.35.250.204", 34855, 80, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (6, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (17, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (46, "10.1.12.1", "10.1.12.2", 0, 0, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
        (46, "10.1.12.2", "10.1.12.1", 0, 0, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="),
    ];

    #[test]
    fn it_is_what_the_specification_says() {
        for (protocol, source, destination, from, to, wanted) in BASELINE {
            for [one, other] in
                [[(source, from), (destination, to)], [(destination, to), (source, from)]]
            {
                let made = id(protocol, [one, other], one.1);
                assert_eq!(made.as_deref(), Some(wanted), "{protocol} {source} {destination}");
            }
        }
    }

    #[test]
    fn what_is_not_known_makes_none() {
        let at = |port| [("192.0.2.1", port), ("192.0.2.2", port)];
        assert_eq!(id(ip_protocol::TCP, at(0), 0), None, "a fragment");
        assert_eq!(id(ip_protocol::ICMP, at(0), 3), None, "unreachable, which has a code");
        assert_eq!(id(ip_protocol::ICMPV6, at(0), 1), None);
        assert_eq!(id(SCTP, at(0), 0), None);
    }

    #[test]
    fn a_flow_has_that_of_its_first_packet() {
        let ends = |source: &str, from, destination: &str, to| {
            [(source, from), (destination, to)]
                .map(|(address, port)| SocketAddr::new(address.parse().unwrap(), port))
        };
        let echo = ends("192.168.0.89", 4711, "192.168.0.1", ECHO_PORT);
        let made = of_flow(ip_protocol::ICMP, echo);
        assert_eq!(made.as_deref(), Some("1:X0snYXpgwiv9TZtqg64sgzUn6Dk="));
        let echo = ends("3ffe:507:0:1:200:86ff:fe05:80da", 4711, "3ffe:501:0:1001::2", ECHO_PORT);
        let made = of_flow(ip_protocol::ICMPV6, echo);
        assert_eq!(made.as_deref(), Some("1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="));
        let web = ends("128.232.110.120", 34855, "66.35.250.204", 80);
        let made = of_flow(ip_protocol::TCP, web);
        assert_eq!(made.as_deref(), Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg="));
    }

    #[test]
    fn a_record_has_that_of_its_packet() {
        let mut record = Record::zeroed();
        assert_eq!(of_record(&record), None);
        record.version = 4;
        record.ip_protocol = ip_protocol::UDP;
        record.source[0] = u32::from_ne_bytes([8, 8, 8, 8]);
        record.destination[0] = u32::from_ne_bytes([192, 168, 1, 52]);
        (record.source_port, record.destination_port) = (53, 54585);
        assert_eq!(of_record(&record).as_deref(), Some("1:d/FP5EW3wiY1vCndhwleRRKHowQ="));
    }
}
