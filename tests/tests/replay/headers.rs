//! Headers below the transport: tags, IPv4 options, IPv6 extension headers, lengths and addresses. What is
//! sound passes however odd it is, what lies is refused with the reason.

use std::sync::{LazyLock, Mutex, PoisonError};

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const OPENS: fn() -> Expected = || passes(State::SynSent);

const ETHERNET: usize = 14;
/// Offsets within an untagged frame without options or extension headers.
const IPV4_TOTAL_LEN: usize = ETHERNET + 2;
const IPV6_PAYLOAD_LEN: usize = ETHERNET + 4;

const NO_OPERATION: u8 = 1;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// A frame, what it shows, and what must become of it.
type Row = (&'static str, Vec<u8>, Expected);

/// The programs for each hook, loaded once for all tables.
static RIGS: LazyLock<[Mutex<Rig>; 3]> =
    LazyLock::new(|| HOOKS.map(|hook| Mutex::new(Rig::open(hook))));

/// Runs `table` through every hook. No flow of the table before is left.
fn check(table: impl Fn() -> Vec<Row>) {
    const HOUR_NS: u64 = 3600 * 1_000_000_000;
    for rig in &*RIGS {
        // What another test found wrong is its own business.
        let mut rig = rig.lock().unwrap_or_else(PoisonError::into_inner);
        rig.wait(HOUR_NS);
        for (shows, frame, expected) in table() {
            rig.expect_frame(shows, &frame, expected);
        }
    }
}

/// Number and body of an IPv6 extension header.
type Extension<'a> = (u8, &'a [u8]);

/// `frame` with `bytes` at `at`.
fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn one_tag_and_two_are_looked_through_and_a_third_is_refused() {
    check(|| {
        let mut rows = Vec::new();
        for family in FAMILIES {
            let syn = |port| family.tcp(port, 80).payload([0; 30]);
            let ack = |port| family.tcp(port, 80).flags("A");
            rows.extend([
                ("a VLAN tag", syn(1).vlan(5).build(), OPENS()),
                ("a service tag alone", syn(2).qinq(5, 6).build(), OPENS()),
                ("two customer tags", syn(3).vlan(5).vlan(6).build(), OPENS()),
                ("a priority tag", syn(4).vlan(0xe000).build(), OPENS()),
                ("a lone ACK in a VLAN", ack(5).vlan(5).build(), drops(Reason::TcpNotSyn)),
                ("a lone ACK in QinQ", ack(6).qinq(5, 6).build(), drops(Reason::TcpNotSyn)),
                ("three tags", syn(7).qinq(5, 6).vlan(7).build(), drops(Reason::VlanDepth)),
                ("four", syn(8).qinq(5, 6).qinq(7, 8).build(), drops(Reason::VlanDepth)),
            ]);
        }
        let arp = Packet::arp_request([10, 1, 0, 2].into(), [10, 1, 0, 1].into());
        rows.push(("ARP in QinQ", arp.clone().qinq(5, 6).build(), passes(State::None)));
        rows.push(("ARP behind a third", arp.qinq(5, 6).vlan(7).build(), drops(Reason::VlanDepth)));
        rows
    });
}

#[test]
fn a_tag_does_not_change_which_flow_it_is() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, 80);
        let syn = rig.expect("a SYN in a VLAN", &talk.syn().vlan(5), OPENS());
        let answer = talk.syn_ack().qinq(7, 8);
        let answer = rig.expect("its answer in QinQ", &answer, passes(State::SynReceived));
        assert_eq!(answer.flow_id, syn.flow_id, "{family:?}");
    }
}

#[test]
fn ipv4_options_pass_but_for_source_routes_and_lies() {
    const TIMESTAMP: [u8; 12] = [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const RECORD_ROUTE: [u8; 7] = [7, 7, 4, 0, 0, 0, 0];
    const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
    const LOOSE: [u8; 7] = [131, 7, 4, 192, 0, 2, 1];
    const STRICT: [u8; 7] = [137, 7, 4, 192, 0, 2, 1];
    const MOST: usize = 40;
    let behind_padding = |options: &[u8]| [&[NO_OPERATION][..], options].concat();
    let at_the_end = |options: &[u8]| {
        let mut all = vec![NO_OPERATION; MOST - options.len()];
        all.extend(options);
        all
    };
    let table: Vec<(&str, Vec<u8>, Option<Reason>)> = vec![
        ("nothing but padding", vec![NO_OPERATION; MOST], None),
        ("an end of options", vec![0; 4], None),
        ("a timestamp", TIMESTAMP.to_vec(), None),
        ("a record of the route", RECORD_ROUTE.to_vec(), None),
        ("a router alert", ROUTER_ALERT.to_vec(), None),
        ("several", [&TIMESTAMP[..], &RECORD_ROUTE, &ROUTER_ALERT].concat(), None),
        ("an option nobody knows", vec![222, 4, 0, 0], None),
        ("a router alert at the very end", at_the_end(&ROUTER_ALERT), None),
        ("a source route behind the end of options", [&[0][..], &LOOSE].concat(), None),
        ("one byte at the end that has no length", vec![NO_OPERATION, NO_OPERATION, 1, 68], None),
        ("a loose source route", LOOSE.to_vec(), Some(Reason::IpOptions)),
        ("a strict source route", STRICT.to_vec(), Some(Reason::IpOptions)),
        ("a loose one behind padding", behind_padding(&LOOSE), Some(Reason::IpOptions)),
        ("a strict one at the very end", at_the_end(&STRICT), Some(Reason::IpOptions)),
        (
            "a strict one behind others",
            [&TIMESTAMP[..], &ROUTER_ALERT, &STRICT].concat(),
            Some(Reason::IpOptions),
        ),
        ("a source route that lies about its length", vec![131, 0, 4, 0], Some(Reason::IpOptions)),
        ("an option of length 0", vec![68, 0, 0, 0], Some(Reason::BadLength)),
        ("an option of length 1", vec![68, 1, 0, 0], Some(Reason::BadLength)),
        ("an option beyond the header", vec![68, 5, 0, 0], Some(Reason::BadLength)),
        ("an option far beyond it", vec![68, 255, 0, 0], Some(Reason::BadLength)),
        ("the last one beyond it", at_the_end(&[68, 3]), Some(Reason::BadLength)),
    ];
    check(|| {
        let rows = (1..).zip(&table).map(|(port, (shows, options, reason))| {
            let frame = Family::V4.tcp(port, 80).ip_options(options).payload([7; 20]).build();
            (*shows, frame, reason.map_or_else(OPENS, drops))
        });
        rows.collect()
    });
}

#[test]
fn each_ipv6_extension_header_is_walked() {
    check(|| {
        let table: Vec<(&str, &[Extension], Expected)> = vec![
            ("hop-by-hop options", &[(HOP_BY_HOP, &[5, 2, 0, 0])], OPENS()),
            ("destination options", &[(DESTINATION_OPTIONS, &[])], OPENS()),
            ("long destination options", &[(DESTINATION_OPTIONS, &[1; 254])], OPENS()),
            ("a routing header of type 2", &[(ROUTING, &[2, 1, 0, 0, 0, 0])], OPENS()),
            ("a segment routing header", &[(ROUTING, &[4, 0, 0, 0, 0, 0])], OPENS()),
            ("mobility", &[(MOBILITY, &[0; 6])], OPENS()),
            ("host identity", &[(HOST_IDENTITY, &[0; 14])], OPENS()),
            ("shim6", &[(SHIM6, &[0; 6])], OPENS()),
            (
                "all that RFC 8200 names, in its order",
                &[
                    (HOP_BY_HOP, &[]),
                    (DESTINATION_OPTIONS, &[]),
                    (ROUTING, &[4, 0]),
                    (DESTINATION_OPTIONS, &[]),
                ],
                OPENS(),
            ),
            ("source routing", &[(ROUTING, &[0, 1, 0, 0, 0, 0])], drops(Reason::IpOptions)),
            ("source routing to nowhere", &[(ROUTING, &[0, 0])], drops(Reason::IpOptions)),
            (
                "source routing behind others",
                &[(HOP_BY_HOP, &[]), (DESTINATION_OPTIONS, &[]), (ROUTING, &[0, 1])],
                drops(Reason::IpOptions),
            ),
        ];
        let rows = (1..).zip(table).map(|(port, (shows, headers, expected))| {
            (shows, with_extensions(port, headers).build(), expected)
        });
        rows.collect()
    });
}

/// RFC 4302: the length of this one counts in units of 4 bytes, less 2.
#[test]
fn the_authentication_header_has_a_length_of_its_own() {
    check(|| {
        let mut rows = Vec::new();
        // The builder writes units of 8 bytes, less 1: 24 bytes are 2 there and 4 here.
        for (port, shows, len, expected) in [
            (1, "an authentication header", 4, OPENS()),
            (2, "one that claims to be longer than the packet", 100, drops(Reason::BadLength)),
        ] {
            let packet = with_extensions(port, &[(AUTHENTICATION, &[0; 22])]);
            rows.push((shows, patched(packet.build(), ETHERNET + 40 + 1, &[len]), expected));
        }
        rows
    });
}

#[test]
fn as_many_extension_headers_as_are_documented_pass() {
    use firewall_common::wire::MAX_EXTENSION_HEADERS;
    const OPTIONS: Extension = (DESTINATION_OPTIONS, &[]);
    check(|| {
        vec![
            (
                "as many as are walked",
                with_extensions(1, &[OPTIONS; MAX_EXTENSION_HEADERS]).build(),
                OPENS(),
            ),
            (
                "one more",
                with_extensions(2, &[OPTIONS; MAX_EXTENSION_HEADERS + 1]).build(),
                drops(Reason::ExtensionHeaders),
            ),
        ]
    });
}

#[test]
fn extension_headers_that_lie_about_their_length_are_refused() {
    check(|| {
        let bad = || drops(Reason::BadLength);
        let one = || with_extensions(1, &[(DESTINATION_OPTIONS, &[])]);
        let len_at = ETHERNET + 40 + 1;
        let exact = one().build();
        let mut no_transport = exact[..ETHERNET + 48].to_vec();
        no_transport[IPV6_PAYLOAD_LEN..IPV6_PAYLOAD_LEN + 2].copy_from_slice(&[0, 8]);
        let mut half_a_header = exact[..ETHERNET + 44].to_vec();
        half_a_header[IPV6_PAYLOAD_LEN..IPV6_PAYLOAD_LEN + 2].copy_from_slice(&[0, 4]);
        // The packet ends within the header, and padding of the frame holds the rest of it.
        let half_and_padding = [&half_a_header[..], &[0; 40]].concat();
        vec![
            ("it ends beyond the packet", patched(one().build(), len_at, &[255]), bad()),
            ("it takes the transport header's place", patched(one().build(), len_at, &[3]), bad()),
            ("nothing comes behind it", no_transport, bad()),
            ("the packet ends within it", half_a_header, bad()),
            ("the rest of it is padding", half_and_padding, bad()),
        ]
    });
}

/// In the kernel a packet's headers are looked for in its first 2 KiB.
#[test]
fn headers_that_go_on_for_kilobytes_are_refused() {
    check(|| {
        let long: [u8; 1022] = [0; 1022];
        vec![(
            "two options headers of 1 KiB each",
            with_extensions(1, &[(DESTINATION_OPTIONS, &long), (DESTINATION_OPTIONS, &long)])
                .build(),
            drops(Reason::BadLength),
        )]
    });
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    const DATA_OFFSET: usize = 12;
    const UDP_LEN: usize = 4;
    const V4_TRANSPORT: usize = ETHERNET + 20;
    check(|| {
        let bad = || drops(Reason::BadLength);
        let v4 = |port| Family::V4.tcp(port, 80).payload([0; 10]).build();
        let v6 = |port| Family::V6.tcp(port, 80).payload([0; 10]).build();
        let total = |frame, len: u16| patched(frame, IPV4_TOTAL_LEN, &len.to_be_bytes());
        let payload = |frame, len: u16| patched(frame, IPV6_PAYLOAD_LEN, &len.to_be_bytes());
        let mut rows = vec![
            ("an IPv4 header of 0 bytes", patched(v4(1), ETHERNET, &[0x40]), bad()),
            ("an IPv4 header of 16 bytes", patched(v4(1), ETHERNET, &[0x44]), bad()),
            ("a total length of 0", total(v4(1), 0), bad()),
            ("a total length below the header's", total(v4(1), 19), bad()),
            ("a total length of the header alone", total(v4(1), 20), bad()),
            ("a total length within the TCP header", total(v4(1), 39), bad()),
            ("a total length beyond the frame", total(v4(1), 51), bad()),
            ("the greatest total length", total(v4(1), u16::MAX), bad()),
            ("a total length without the payload", total(v4(2), 40), OPENS()),
            ("version 6 in IPv4", patched(v4(1), ETHERNET, &[0x65]), drops(Reason::IpVersion)),
            ("version 0 in IPv4", patched(v4(1), ETHERNET, &[0x05]), drops(Reason::IpVersion)),
            ("a payload length of 0", payload(v6(1), 0), bad()),
            ("a payload length within the TCP header", payload(v6(1), 19), bad()),
            ("a payload length beyond the frame", payload(v6(1), 31), bad()),
            ("the greatest payload length", payload(v6(1), u16::MAX), bad()),
            ("a payload length without the payload", payload(v6(2), 20), OPENS()),
            ("version 4 in IPv6", patched(v6(1), ETHERNET, &[0x45]), drops(Reason::IpVersion)),
        ];
        for family in FAMILIES {
            let tcp_at = ETHERNET + if family == Family::V4 { 20 } else { 40 };
            let offset = |value: u8| {
                patched(family.tcp(3, 80).payload([0; 10]).build(), tcp_at + DATA_OFFSET, &[value])
            };
            let length = |value: u16| {
                let frame = family.udp(3, 80).payload([0; 10]).build();
                patched(frame, tcp_at + UDP_LEN, &value.to_be_bytes())
            };
            rows.extend([
                ("a TCP header of 0 bytes", offset(0x00), bad()),
                ("a TCP header of 16 bytes", offset(0x40), bad()),
                ("a TCP header beyond the packet", offset(0x80), bad()),
                ("the greatest TCP header", offset(0xf0), bad()),
                ("a UDP length of 0", length(0), bad()),
                ("a UDP length below the header's", length(7), bad()),
                ("a UDP length beyond the packet", length(19), bad()),
                ("a UDP length below the packet's", length(17), passes(State::Unreplied)),
            ]);
        }
        let echo = Packet::echo_request(Family::V4.client(), Family::V4.camera(), 1, 1).build();
        rows.push(("half an ICMP header", total(echo, 24), bad()));
        let no_room = Packet::other(Family::V4.client(), Family::V4.camera(), 6).payload([0; 19]);
        rows.push(("half a TCP header", no_room.build(), bad()));
        assert_eq!(v4(1).len(), V4_TRANSPORT + 30, "the lengths above fit the frame");
        rows
    });
}

#[test]
fn what_pads_a_frame_is_not_part_of_the_packet() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        // Zeros up to Ethernet's 60 bytes, and what would be payload.
        for (port, padding) in [(40_000, &[0; 18][..]), (40_001, b"$not read, not counted")] {
            let talk = Conversation::established(&mut rig, family, port, 80);
            let packet = Packet::tcp(talk.client(), talk.server())
                .flags("A")
                .seq(talk.client_next())
                .ack(talk.server_next());
            let frame = [&packet.build()[..], padding].concat();
            let established = passes(State::Established);
            let flow = rig.expect_frame("an ACK with padding", &frame, established).flow_id;
            assert_eq!(bytes_of_flow(&rig, family, flow), expected_bytes(family, &packet));
        }
    }
}

#[test]
fn addresses_and_ports_that_nobody_can_have_are_refused() {
    check(|| {
        let mut rows = Vec::new();
        for family in FAMILIES {
            let same = family.client_at(80);
            let zero = || drops(Reason::PortZero);
            let land = || drops(Reason::LandAttack);
            rows.extend([
                ("TCP from port 0", family.tcp(0, 80).build(), zero()),
                ("TCP to port 0", family.tcp(80, 0).build(), zero()),
                ("UDP from port 0", family.udp(0, 80).build(), zero()),
                ("UDP to port 0", family.udp(80, 0).build(), zero()),
                ("a lone ACK to port 0", family.tcp(80, 0).flags("A").build(), zero()),
                ("a land attack", Packet::tcp(same, same).build(), land()),
                (
                    "from one port to another of the same host",
                    Packet::tcp(same, family.client_at(81)).build(),
                    land(),
                ),
                ("a UDP packet to its sender", Packet::udp(same, same).build(), land()),
                (
                    "an echo to its sender",
                    Packet::echo_request(same.ip(), same.ip(), 1, 1).build(),
                    land(),
                ),
            ]);
        }
        rows
    });
}

/// An IPv6 SYN with extension headers.
fn with_extensions(port: u16, headers: &[Extension]) -> Packet {
    let syn = Family::V6.tcp(port, 80).payload([7; 20]);
    headers.iter().fold(syn, |packet, (number, body)| packet.extension(*number, body))
}

/// Bytes that the flow counts in its original direction.
fn bytes_of_flow(rig: &Rig, family: Family, flow_id: u64) -> u64 {
    let tables = rig.tables();
    let tallies = match family {
        Family::V4 => {
            let flows = tables.flows_v4().expect("the table");
            flows
                .iter()
                .flatten()
                .find(|(_, flow)| flow.id == flow_id)
                .map(|(_, flow)| flow.tallies)
        }
        Family::V6 => {
            let flows = tables.flows_v6().expect("the table");
            flows
                .iter()
                .flatten()
                .find(|(_, flow)| flow.id == flow_id)
                .map(|(_, flow)| flow.tallies)
        }
    };
    tallies.unwrap_or_else(|| panic!("flow {flow_id} is in the table"))[0].bytes
}

/// SYN, ACK and `packet`: three IP packets, all of one length.
fn expected_bytes(family: Family, packet: &Packet) -> u64 {
    let ip_len = packet.build().len() - ETHERNET;
    assert_eq!(ip_len, if family == Family::V4 { 40 } else { 60 });
    3 * ip_len as u64
}
