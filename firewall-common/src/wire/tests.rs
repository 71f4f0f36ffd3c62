//! The parser against packets that another library built.

use etherparse::{PacketBuilder, ip_number};
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What to build.
#[derive(Clone, Debug)]
struct Recipe {
    vlan_tags: usize,
    v6: bool,
    tcp: bool,
    ports: (u16, u16),
    seq: u32,
    payload: Vec<u8>,
}

impl Recipe {
    fn build(&self) -> Vec<u8> {
        let (source, destination) = self.ports;
        let ethernet = PacketBuilder::ethernet2(MAC, MAC);
        let id = |n| etherparse::VlanId::try_new(n).unwrap();
        let mut frame = Vec::new();
        macro_rules! finish {
            ($link:expr) => {{
                let ip = if self.v6 {
                    $link.ipv6([1; 16], [2; 16], 64)
                } else {
                    $link.ipv4([10, 1, 0, 2], [10, 2, 0, 2], 64)
                };
                if self.tcp {
                    ip.tcp(source, destination, self.seq, 1000)
                        .ack(77)
                        .psh()
                        .write(&mut frame, &self.payload)
                } else {
                    ip.udp(source, destination).write(&mut frame, &self.payload)
                }
                .unwrap()
            }};
        }
        match self.vlan_tags {
            0 => finish!(ethernet),
            1 => finish!(ethernet.single_vlan(id(5))),
            _ => finish!(ethernet.double_vlan(id(5), id(6))),
        }
        frame
    }
}

fn recipes() -> impl Strategy<Value = Recipe> {
    (
        0..=MAX_VLAN_TAGS,
        any::<bool>(),
        any::<bool>(),
        (1u16.., 1u16..),
        any::<u32>(),
        any::<[u8; 9]>(),
    )
        .prop_map(|(vlan_tags, v6, tcp, ports, seq, payload)| Recipe {
            vlan_tags,
            v6,
            tcp,
            ports,
            seq,
            payload: payload.to_vec(),
        })
}

fn parsed(frame: &[u8]) -> (Parsed, Packet) {
    // Whatever stood there before must not shine through.
    let mut packet = Packet { seq: 0xdead_beef, fragment: Fragment::Later, ..Packet::default() };
    let parsed = parse(frame, &mut packet);
    (parsed, packet)
}

proptest! {
    #[test]
    fn a_good_packet_is_described(recipe in recipes(), padding in 0usize..8) {
        let mut frame = recipe.build();
        let ip_end = frame.len();
        frame.resize(ip_end + padding, 0xaa);
        let (result, packet) = parsed(&frame);
        prop_assert_eq!(result, Parsed::Ip);
        prop_assert_eq!(packet.version, if recipe.v6 { 6 } else { 4 });
        prop_assert_eq!((packet.source_port, packet.destination_port), recipe.ports);
        prop_assert_eq!(packet.payload_len as usize, recipe.payload.len());
        prop_assert_eq!(usize::from(packet.payload_offset) + recipe.payload.len(), ip_end);
        prop_assert_eq!(usize::from(packet.ip_offset), 14 + 4 * recipe.vlan_tags);
        prop_assert_eq!(packet.ip_len as usize, ip_end - usize::from(packet.ip_offset));
        prop_assert_eq!(packet.fragment, Fragment::Whole);
        if recipe.tcp {
            prop_assert_eq!((packet.seq, packet.ack, packet.window), (recipe.seq, 77, 1000));
            prop_assert_eq!(packet.flags, tcp_flags::ACK | tcp_flags::PSH);
        }
        if !recipe.v6 {
            prop_assert_eq!(packet.source, [u32::from_ne_bytes([10, 1, 0, 2]), 0, 0, 0]);
        }
    }

    #[test]
    fn a_cut_packet_is_refused_for_its_length(recipe in recipes()) {
        let frame = recipe.build();
        for len in 0..frame.len() {
            let (result, _) = parsed(&frame[..len]);
            prop_assert_eq!(result, Parsed::Refused(Reason::BadLength), "cut to {}", len);
        }
    }

    #[test]
    fn any_bytes_are_survived(recipe in recipes(), changes: Vec<(prop::sample::Index, u8)>) {
        let mut frame = recipe.build();
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        let (result, packet) = parsed(&frame);
        if result == Parsed::Ip {
            let end = packet.payload_offset as usize + packet.payload_len as usize;
            prop_assert!(end <= frame.len(), "the payload lies within the frame");
        }
    }
}

/// An IPv4 header with these options in front of a UDP datagram.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut header =
        etherparse::Ipv4Header::new(8, 64, ip_number::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
    header.options = options.try_into().unwrap();
    header.set_payload_len(8).unwrap();
    header.header_checksum = header.calc_header_checksum();
    frame.extend_from_slice(&[0; 12]);
    frame.extend_from_slice(&[0x08, 0x00]);
    header.write(&mut frame).unwrap();
    frame.extend_from_slice(&[0, 5, 0, 6, 0, 8, 0, 0]);
    frame
}

#[test]
fn ipv4_options_pass_except_source_routes() {
    for (shows, options, expected) in [
        ("padding", &[1, 1, 1, 0][..], Parsed::Ip),
        ("router alert", &[148, 4, 0, 0], Parsed::Ip),
        ("source route behind the end of options", &[0, 131, 3, 4], Parsed::Ip),
        ("loose source route", &[131, 3, 4, 0], Parsed::Refused(Reason::IpOptions)),
        ("strict source route behind padding", &[1, 137, 3, 4], Parsed::Refused(Reason::IpOptions)),
        ("length 0", &[7, 0, 0, 0], Parsed::Refused(Reason::BadLength)),
        ("length 1", &[7, 1, 0, 0], Parsed::Refused(Reason::BadLength)),
        ("length beyond the header", &[7, 5, 0, 0], Parsed::Refused(Reason::BadLength)),
    ] {
        assert_eq!(parsed(&with_options(options)).0, expected, "{shows}");
    }
    let all_padding = [1; 40];
    assert_eq!(parsed(&with_options(&all_padding)).0, Parsed::Ip);
}

/// An IPv6 packet with these bytes behind its fixed header.
fn ipv6(next_header: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[next_header, 64]);
    frame.extend_from_slice(&[1; 16]);
    frame.extend_from_slice(&[2; 16]);
    frame.extend_from_slice(rest);
    frame
}

/// A chain of `count` destination options headers before a UDP datagram.
fn chain(count: usize) -> Vec<u8> {
    let mut rest = Vec::new();
    for n in 1..=count {
        rest.extend_from_slice(&[if n == count { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    rest.extend_from_slice(&[0, 5, 0, 6, 0, 8, 0, 0]);
    ipv6(60, &rest)
}

#[test]
fn ipv6_extension_headers_are_walked_to_the_limit() {
    for count in 1..=MAX_EXTENSION_HEADERS {
        let (result, packet) = parsed(&chain(count));
        assert_eq!(result, Parsed::Ip, "{count}");
        assert_eq!((packet.source_port, packet.destination_port), (5, 6), "{count}");
    }
    assert_eq!(
        parsed(&chain(MAX_EXTENSION_HEADERS + 1)).0,
        Parsed::Refused(Reason::ExtensionHeaders)
    );
    assert_eq!(parsed(&chain(64)).0, Parsed::Refused(Reason::ExtensionHeaders));
}

#[test]
fn ipv6_fragments_are_told_apart() {
    let fragment = |offset_and_more: u16| {
        let [high, low] = offset_and_more.to_be_bytes();
        let mut rest = vec![17, 0, high, low, 0, 0, 0, 9];
        rest.extend_from_slice(&[0, 5, 0, 6, 0, 8, 0, 0]);
        let (result, packet) = parsed(&ipv6(44, &rest));
        assert_eq!(result, Parsed::Ip);
        assert_eq!(packet.fragment_id, 9);
        (packet.fragment, packet.source_port)
    };
    assert_eq!(fragment(0), (Fragment::Whole, 5), "an atomic fragment, RFC 6946");
    assert_eq!(fragment(1), (Fragment::First, 5));
    assert_eq!(fragment(8 | 1), (Fragment::Later, 0));
    assert_eq!(fragment(8), (Fragment::Later, 0));
}

#[test]
fn a_routing_header_of_type_0_is_refused() {
    let routing = |kind| {
        let mut rest = vec![17, 0, kind, 0, 0, 0, 0, 0];
        rest.extend_from_slice(&[0, 5, 0, 6, 0, 8, 0, 0]);
        parsed(&ipv6(43, &rest)).0
    };
    assert_eq!(routing(0), Parsed::Refused(Reason::IpOptions));
    assert_eq!(routing(4), Parsed::Ip, "segment routing, RFC 8754");
}

#[test]
fn what_is_not_ip_is_left_alone() {
    for (ether_type, expected) in
        [(0x0806u16, Parsed::Arp), (0x8035, Parsed::NotIp), (0x88cc, Parsed::NotIp)]
    {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&ether_type.to_be_bytes());
        assert_eq!(parsed(&frame).0, expected);
    }
}

#[test]
fn a_third_vlan_tag_is_refused() {
    let mut frame = vec![0; 12];
    for _ in 0..3 {
        frame.extend_from_slice(&[0x81, 0x00, 0, 5]);
    }
    frame.extend_from_slice(&[0x08, 0x00]);
    assert_eq!(parsed(&frame).0, Parsed::Refused(Reason::VlanDepth));
}

/// A packet from a link without Ethernet headers.
struct Bare<'a> {
    ether_type: u16,
    bytes: &'a [u8],
    tags: usize,
}

impl Bytes for Bare<'_> {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn tags_kept_aside(&self) -> usize {
        self.tags
    }

    fn ether_type_aside(&self) -> Option<u16> {
        Some(self.ether_type)
    }

    fn read<H: Header>(&self, offset: usize) -> Option<H> {
        self.bytes.read(offset)
    }
}

proptest! {
    #[test]
    fn without_an_ethernet_header_a_packet_is_the_same_but_for_its_offsets(recipe in recipes()) {
        let recipe = Recipe { vlan_tags: 0, ..recipe };
        let frame = recipe.build();
        let link = usize::from(parsed(&frame).1.ip_offset);
        let ether_type = if recipe.v6 { 0x86dd } else { 0x0800 };
        let bare = Bare { ether_type, bytes: &frame[link..], tags: 0 };
        let mut packet = Packet { seq: 0xdead_beef, ..Packet::default() };
        prop_assert_eq!(parse(&bare, &mut packet), Parsed::Ip);
        prop_assert_eq!(packet.ip_offset, 0);
        let shifted = Packet {
            ip_offset: packet.ip_offset + link as u16,
            transport_offset: packet.transport_offset + link as u16,
            payload_offset: packet.payload_offset + link as u16,
            ..packet
        };
        prop_assert_eq!(shifted, parsed(&frame).1);
    }
}

#[test]
fn without_an_ethernet_header_the_type_beside_the_packet_has_to_be_right() {
    let v4 = with_options(&[]);
    let (v4, v6) = (&v4[14..], &ipv6(17, &[0, 5, 0, 6, 0, 8, 0, 0])[14..]);
    for (shows, ether_type, bytes, tags, expected) in [
        ("IPv4", 0x0800, v4, 0, Parsed::Ip),
        ("IPv6", 0x86dd, v6, 0, Parsed::Ip),
        ("IPv6 called IPv4", 0x0800, v6, 0, Parsed::Refused(Reason::IpVersion)),
        ("IPv4 called IPv6", 0x86dd, &[v4, v4].concat(), 0, Parsed::Refused(Reason::IpVersion)),
        ("neither", 0x0800, &[0x15; 40], 0, Parsed::Refused(Reason::IpVersion)),
        ("nothing", 0x0800, &[], 0, Parsed::Refused(Reason::BadLength)),
        ("MPLS", 0x8847, v4, 0, Parsed::NotIp),
        ("a tag", 0x8100, v4, 0, Parsed::Refused(Reason::VlanDepth)),
        ("a tag kept aside", 0x0800, v4, 1, Parsed::Refused(Reason::VlanDepth)),
    ] {
        let mut packet = Packet::default();
        let parsed = parse(&Bare { ether_type, bytes, tags }, &mut packet);
        assert_eq!(parsed, expected, "{shows}");
    }
}

#[test]
fn a_first_fragment_brings_payload_whatever_it_carries_itself() {
    let tcp = Packet { protocol: ip_protocol::TCP, ..Packet::default() };
    assert!(!tcp.brings_payload());
    assert!(Packet { payload_len: 1, ..tcp }.brings_payload());
    assert!(Packet { fragment: Fragment::First, ..tcp }.brings_payload());
    let udp = Packet { protocol: ip_protocol::UDP, payload_len: 1, ..tcp };
    assert!(!udp.brings_payload(), "filters read streams");
}
