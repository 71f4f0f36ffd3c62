//! What a host needs to stay on its network, and what a policy lets through whatever its rules say.

use crate::{
    layout::Hook,
    wire::{Fragment, Packet, ip_protocol},
};

/// One thing that a host needs. As a number it is a bit.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Essential {
    /// The address resolution protocol (RFC 826), which IPv4 finds its neighbours by.
    Arp = 1,
    /// Neighbour discovery (RFC 4861) and multicast listener discovery (RFC 2710, RFC 3810) of IPv6.
    NeighbourDiscovery = 2,
    /// What this machine asks for its own addresses, and the answers (RFC 2131, RFC 8415).
    DhcpClient = 4,
    /// What others ask this machine for theirs, and its answers.
    DhcpServer = 8,
}

impl Essential {
    /// All of them, by their names in policies.
    pub const ALL: [(&'static str, Self); 4] = [
        ("arp", Self::Arp),
        ("neighbour-discovery", Self::NeighbourDiscovery),
        ("dhcp-client", Self::DhcpClient),
        ("dhcp-server", Self::DhcpServer),
    ];
    /// Bit set of those that a policy lets through which says nothing about them.
    pub const DEFAULT: u32 =
        Self::Arp as u32 | Self::NeighbourDiscovery as u32 | Self::DhcpClient as u32;

    /// Whether the bit set has this one.
    #[inline(always)]
    pub const fn is_in(self, set: u32) -> bool {
        set & self as u32 != 0
    }
}

/// What is to be done with a packet of no known flow.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is not essential: the rules are asked.
    None = 0,
    /// It passes, and begins no flow.
    Passes = 1,
    /// It begins a flow, whatever the rules say.
    Begins = 2,
    /// It passes if this machine asked for it lately, see [`dhcp_question`]; or else the rules are asked.
    IfAsked = 3,
}

const SERVER_V4: u16 = 67;
const CLIENT_V4: u16 = 68;
const CLIENT_V6: u16 = 546;
const SERVER_V6: u16 = 547;
/// The limited broadcast, which no router forwards (RFC 1812 §5.3.5.1).
const BROADCAST: u32 = u32::MAX;

/// What is to be done with a packet of no known flow, if the bit set of [`Essential`] is `wanted`. What goes out is
/// taken to be this machine's own.
#[inline(always)]
pub fn need(packet: &Packet, hook: Hook, wanted: u32) -> Need {
    if packet.fragment != Fragment::Whole {
        return Need::None;
    }
    match packet.protocol {
        ip_protocol::ICMPV6
            if Essential::NeighbourDiscovery.is_in(wanted) && is_link_signalling(packet) =>
        {
            Need::Passes
        }
        ip_protocol::UDP if packet.version == 4 => dhcp_v4(packet, hook, wanted),
        ip_protocol::UDP => dhcp_v6(packet, hook, wanted),
        _ => Need::None,
    }
}

/// Neighbour discovery and multicast listener discovery never leave their link, which the hop limit proves.
#[inline(always)]
fn is_link_signalling(packet: &Packet) -> bool {
    match packet.icmp_type {
        130..=132 | 143 => packet.hop_limit == 1,
        133..=137 => packet.hop_limit == 255,
        _ => false,
    }
}

#[inline(always)]
fn dhcp_v4(packet: &Packet, hook: Hook, wanted: u32) -> Need {
    let [to, ..] = packet.destination;
    let is_client = Essential::DhcpClient.is_in(wanted);
    let is_server = Essential::DhcpServer.is_in(wanted);
    match (hook, packet.source_port, packet.destination_port) {
        (Hook::Egress, CLIENT_V4, SERVER_V4) if is_client => Need::Begins,
        (Hook::Ingress, SERVER_V4, CLIENT_V4) if is_client && to == BROADCAST => Need::Passes,
        (Hook::Ingress, SERVER_V4, CLIENT_V4) if is_client => Need::IfAsked,
        (Hook::Ingress, CLIENT_V4, SERVER_V4) if is_server && to == BROADCAST => Need::Passes,
        (Hook::Egress, SERVER_V4, CLIENT_V4) if is_server => Need::Passes,
        _ => Need::None,
    }
}

/// All of it is between link-local addresses, which no router forwards (RFC 4291 §2.5.6), or to the servers and relays
/// of the link.
#[inline(always)]
fn dhcp_v6(packet: &Packet, hook: Hook, wanted: u32) -> Need {
    let (by_client, own_role) = match (packet.source_port, packet.destination_port) {
        (CLIENT_V6, SERVER_V6) => (true, matches!(hook, Hook::Egress)),
        (SERVER_V6, CLIENT_V6) => (false, matches!(hook, Hook::Ingress)),
        _ => return Need::None,
    };
    let role = if own_role { Essential::DhcpClient } else { Essential::DhcpServer };
    let to = is_link_local(&packet.destination) || by_client && is_all_servers(&packet.destination);
    if role.is_in(wanted) && to && is_link_local(&packet.source) {
        Need::Passes
    } else {
        Need::None
    }
}

#[inline(always)]
const fn is_link_local([first, ..]: &[u32; 4]) -> bool {
    u32::from_be(*first) >> 22 == 0xfe80 >> 6
}

/// ff02::1:2 (RFC 8415 §7.1).
#[inline(always)]
const fn is_all_servers([a, b, c, d]: &[u32; 4]) -> bool {
    u32::from_be(*a) == 0xff02_0000 && *b | *c == 0 && u32::from_be(*d) == 0x0001_0002
}

/// The flow by which a host without an address asks for one. Its answer may go to the address that it is about to get,
/// and so belong to another flow.
#[inline(always)]
pub const fn dhcp_question() -> crate::flow::KeyV4 {
    crate::flow::KeyV4 {
        addresses: [0, BROADCAST],
        ports: [CLIENT_V4, SERVER_V4],
        protocol: ip_protocol::UDP as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::KeyV4;
    use core::net::{Ipv4Addr, Ipv6Addr};

    const ALL: u32 = 15;

    fn v4(from: &str, source_port: u16, to: &str, destination_port: u16) -> Packet {
        let word = |text: &str| {
            let address: Ipv4Addr = text.parse().expect("an address");
            [u32::from_ne_bytes(address.octets()), 0, 0, 0]
        };
        let (source, destination) = (word(from), word(to));
        let protocol = ip_protocol::UDP;
        Packet {
            version: 4,
            source,
            destination,
            source_port,
            destination_port,
            protocol,
            ..Packet::default()
        }
    }

    fn v6(from: &str, source_port: u16, to: &str, destination_port: u16) -> Packet {
        let words = |text: &str| {
            let address: Ipv6Addr = text.parse().expect("an address");
            bytemuck::cast(address.octets())
        };
        Packet {
            version: 6,
            source: words(from),
            destination: words(to),
            ..v4("0.0.0.0", source_port, "0.0.0.0", destination_port)
        }
    }

    /// Asserts what a packet needs, and that it needs it for `of` alone.
    #[track_caller]
    fn assert_need(packet: Packet, hook: Hook, of: Essential, expected: Need) {
        assert_eq!(need(&packet, hook, ALL), expected);
        assert_eq!(need(&packet, hook, of as u32), expected);
        assert_eq!(need(&packet, hook, ALL & !(of as u32)), Need::None);
        let fragment = Packet { fragment: Fragment::First, ..packet };
        assert_eq!(need(&fragment, hook, ALL), Need::None);
    }

    #[test]
    fn a_client_asks_and_is_answered() {
        let client = Essential::DhcpClient;
        for (from, to) in [("0.0.0.0", "255.255.255.255"), ("10.1.0.2", "10.1.0.1")] {
            assert_need(v4(from, 68, to, 67), Hook::Egress, client, Need::Begins);
        }
        let (server, all, offered) = ("10.1.0.1", "255.255.255.255", "10.1.0.2");
        assert_need(v4(server, 67, all, 68), Hook::Ingress, client, Need::Passes);
        assert_need(v4(server, 67, offered, 68), Hook::Ingress, client, Need::IfAsked);
        let (here, there, servers) = ("fe80::1", "febf::2", "ff02::1:2");
        assert_need(v6(here, 546, servers, 547), Hook::Egress, client, Need::Passes);
        assert_need(v6(there, 547, here, 546), Hook::Ingress, client, Need::Passes);
        let question = KeyV4::of(&v4("0.0.0.0", 68, "255.255.255.255", 67));
        assert_eq!(dhcp_question(), question.key);
    }

    #[test]
    fn a_server_is_asked_and_answers() {
        let server = Essential::DhcpServer;
        let asked = v4("0.0.0.0", 68, "255.255.255.255", 67);
        assert_need(asked, Hook::Ingress, server, Need::Passes);
        for to in ["255.255.255.255", "10.1.0.2"] {
            assert_need(v4("10.1.0.1", 67, to, 68), Hook::Egress, server, Need::Passes);
        }
        let (here, there, servers) = ("fe80::1", "fe80::2", "ff02::1:2");
        assert_need(v6(there, 546, servers, 547), Hook::Ingress, server, Need::Passes);
        assert_need(v6(there, 546, here, 547), Hook::Ingress, server, Need::Passes);
        assert_need(v6(here, 547, there, 546), Hook::Egress, server, Need::Passes);
    }

    #[test]
    fn what_may_be_forwarded_is_up_to_the_rules() {
        for (packet, hook) in [
            (v4("10.1.0.2", 68, "10.2.0.2", 67), Hook::Ingress),
            (v4("10.1.0.2", 68, "255.255.255.255", 69), Hook::Egress),
            (v4("10.1.0.2", 67, "255.255.255.255", 67), Hook::Ingress),
            (v6("fe80::1", 546, "fd00::1", 547), Hook::Egress),
            (v6("fd00::1", 546, "ff02::1:2", 547), Hook::Egress),
            (v6("fd00::1", 547, "fe80::1", 546), Hook::Ingress),
            (v6("fe80::1", 547, "fd00::1", 546), Hook::Egress),
            (v6("fe80::1", 547, "ff02::1:2", 546), Hook::Ingress),
            (v6("fec0::1", 547, "fe80::1", 546), Hook::Ingress),
            (v6("fe80::1", 68, "ff02::1:2", 67), Hook::Egress),
        ] {
            assert_eq!(need(&packet, hook, ALL), Need::None, "{packet:?}");
        }
        let tcp = Packet { protocol: ip_protocol::TCP, ..v4("0.0.0.0", 68, "10.0.0.1", 67) };
        assert_eq!(need(&tcp, Hook::Egress, ALL), Need::None);
    }

    #[test]
    fn neighbours_are_those_of_the_link() {
        let signal = |icmp_type, hop_limit| Packet {
            version: 6,
            protocol: ip_protocol::ICMPV6,
            icmp_type,
            hop_limit,
            ..Packet::default()
        };
        for kind in 0..=u8::MAX {
            let proof = match kind {
                130..=132 | 143 => 1,
                133..=137 => 255,
                _ => 0,
            };
            for hops in [1, 2, 64, 254, 255] {
                for hook in [Hook::Ingress, Hook::Egress] {
                    let expected = if hops == proof { Need::Passes } else { Need::None };
                    let signal = signal(kind, hops);
                    if expected == Need::Passes {
                        assert_need(signal, hook, Essential::NeighbourDiscovery, expected);
                    }
                    assert_eq!(need(&signal, hook, ALL), expected, "{kind} {hops}");
                }
            }
        }
    }
}
