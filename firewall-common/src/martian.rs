//! Addresses that tell by themselves that they are no one host's: RFC 1812 §5.3.7 calls them martian.
//!
//! Nothing that comes from one can be answered (RFC 1122 §3.2.2, RFC 4443 §2.4), and nothing that is sent to a group
//! must be answered by an error.

use crate::wire::{Packet, ip_protocol};

/// Ports of DHCP's client and server (RFC 2131 §4.1).
const DHCP_CLIENT: u16 = 68;
const DHCP_SERVER: u16 = 67;

/// Whether the packet's source is no address of one host: unspecified, loopback, of a group, or reserved.
#[inline(always)]
pub const fn is_from_nobody(packet: &Packet) -> bool {
    let [a, b, c, d] = packet.source;
    let high = u32::from_be(a) >> 24;
    if packet.version == 4 {
        // 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on groups, reserved addresses and the broadcast address.
        return high == 0 || high == 127 || high >= 224;
    }
    const MAPPED: u32 = 0xffff;
    let (c, d) = (u32::from_be(c), u32::from_be(d));
    // ff00::/8; :: and ::1; ::ffff:0.0.0.0/96, which stands for IPv4 (RFC 4291 §2.5.5.2).
    high == 0xff || a == 0 && b == 0 && (c == 0 && d <= 1 || c == MAPPED)
}

/// Whether the packet is for more than one host, as far as its address tells: the broadcast address of a network is
/// known to who knows the network.
#[inline(always)]
pub const fn is_to_group(packet: &Packet) -> bool {
    let [a, ..] = packet.destination;
    let high = u32::from_be(a) >> 24;
    if packet.version == 4 { high >= 224 || a == 0 } else { high == 0xff }
}

/// Whether the packet is of a host that has yet to get its address, or that speaks to its own link: the sender of DHCP
/// that has no address (RFC 2131 §4.1), and of IPv6 a link-local address, which no router sends on (RFC 4291 §2.5.6).
/// Neighbour discovery, which has no source while an address is tested (RFC 4862 §5.4), is not asked about.
#[inline(always)]
pub const fn is_of_the_link(packet: &Packet) -> bool {
    let [a, ..] = packet.source;
    if packet.version == 4 {
        return a == 0
            && packet.protocol == ip_protocol::UDP
            && packet.source_port == DHCP_CLIENT
            && packet.destination_port == DHCP_SERVER;
    }
    // fe80::/10
    u32::from_be(a) >> 22 == 0xfe80 >> 6
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn packet(source: &str, destination: &str) -> Packet {
        let words = |address: &str| match address.parse().unwrap() {
            IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
            IpAddr::V6(address) => bytemuck::cast(address.octets()),
        };
        Packet {
            version: if source.contains(':') { 6 } else { 4 },
            source: words(source),
            destination: words(destination),
            ..Packet::default()
        }
    }

    #[test]
    fn sources_that_no_host_has() {
        for source in [
            "0.0.0.0",
            "0.255.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_from_nobody(&packet(source, "10.0.0.1")), "{source}");
        }
        for source in ["1.0.0.0", "10.1.0.2", "126.255.255.255", "128.0.0.0", "223.255.255.255"] {
            assert!(!is_from_nobody(&packet(source, "10.0.0.1")), "{source}");
        }
        for source in ["::", "::1", "ff00::", "ff02::1", "::ffff:10.1.0.2"] {
            assert!(is_from_nobody(&packet(source, "fd00::1")), "{source}");
        }
        for source in ["::2", "0:0:1::", "fe80::1", "fd00:1::2", "2001:db8::", "64:ff9b::10.1.0.2"]
        {
            assert!(!is_from_nobody(&packet(source, "fd00::1")), "{source}");
        }
    }

    #[test]
    fn destinations_of_more_than_one() {
        for to in ["224.0.0.1", "239.255.255.250", "255.255.255.255", "0.0.0.0"] {
            assert!(is_to_group(&packet("10.1.0.2", to)), "{to}");
        }
        assert!(is_to_group(&packet("fd00::1", "ff02::fb")));
        for (from, to) in [("10.1.0.2", "223.255.255.255"), ("fd00::1", "fe80::1")] {
            assert!(!is_to_group(&packet(from, to)), "{to}");
        }
    }

    #[test]
    fn who_has_no_address_yet_asks_for_one() {
        let asks = Packet {
            protocol: ip_protocol::UDP,
            source_port: 68,
            destination_port: 67,
            ..packet("0.0.0.0", "255.255.255.255")
        };
        assert!(is_of_the_link(&asks));
        assert!(!is_of_the_link(&Packet { destination_port: 53, ..asks }));
        assert!(!is_of_the_link(&Packet { source_port: 53, ..asks }));
        assert!(!is_of_the_link(&Packet { protocol: ip_protocol::TCP, ..asks }));
        let renews = Packet { source: packet("10.1.0.2", "0.0.0.0").source, ..asks };
        assert!(!is_of_the_link(&renews));
        for (source, is) in
            [("fe80::1", true), ("febf::1", true), ("fec0::1", false), ("::", false)]
        {
            assert_eq!(is_of_the_link(&packet(source, "ff02::1")), is, "{source}");
        }
    }
}
