//! Entries of the kernel's table, as it writes them and as nobody should.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const UDP: u8 = 17;
const ANSWERED: u32 = status::SEEN_REPLY | 1 << 3;

/// An attribute with a value of bytes, padded.
fn leaf(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// An attribute that holds others, with the flag that says so.
fn nest(kind: u16, inner: &[Vec<u8>]) -> Vec<u8> {
    leaf(kind | netlink_packet_core::NLA_F_NESTED, &inner.concat())
}

fn entry(attributes: &[Vec<u8>]) -> Vec<u8> {
    [vec![2, 0, 0, 0], attributes.concat()].concat()
}

fn addresses(source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let address = |v4, v6, address| match address {
        IpAddr::V4(address) => leaf(v4, &address.octets()),
        IpAddr::V6(address) => leaf(v6, &address.octets()),
    };
    let source = address(tuple::V4_SRC, tuple::V6_SRC, source);
    nest(tuple::IP, &[source, address(tuple::V4_DST, tuple::V6_DST, destination)])
}

fn ported(kind: u16, protocol: u8, from: Tuple) -> Vec<u8> {
    let transport = [
        leaf(tuple::NUM, &[protocol]),
        leaf(tuple::SRC_PORT, &from.source_port.to_be_bytes()),
        leaf(tuple::DST_PORT, &from.destination_port.to_be_bytes()),
    ];
    nest(kind, &[addresses(from.source, from.destination), nest(tuple::PROTO, &transport)])
}

fn status(bits: u32) -> Vec<u8> {
    leaf(entry::STATUS, &bits.to_be_bytes())
}

fn tcp_info(state: u8, scales: [u8; 2], flags: [u8; 2]) -> Vec<u8> {
    let info = [
        leaf(protoinfo::STATE, &[state]),
        leaf(protoinfo::WSCALE_ORIGINAL, &[scales[0]]),
        leaf(protoinfo::WSCALE_REPLY, &[scales[1]]),
        leaf(protoinfo::FLAGS_ORIGINAL, &[flags[0], 0]),
        leaf(protoinfo::FLAGS_REPLY, &[flags[1], 0]),
    ];
    nest(entry::PROTOINFO, &[nest(protoinfo::TCP, &info)])
}

fn between(source: [u8; 4], source_port: u16, to: [u8; 4], destination_port: u16) -> Tuple {
    Tuple {
        source: IpAddr::V4(Ipv4Addr::from(source)),
        destination: IpAddr::V4(Ipv4Addr::from(to)),
        source_port,
        destination_port,
    }
}

fn original() -> Tuple {
    between([10, 1, 0, 2], 40_000, [10, 2, 0, 2], 554)
}

/// The answer to an address that the gateway put in the client's place.
fn reply() -> Tuple {
    between([10, 2, 0, 2], 554, [10, 2, 0, 1], 61_000)
}

fn tcp_entry(state: u8, scales: [u8; 2], flags: [u8; 2]) -> Vec<u8> {
    entry(&[
        ported(entry::TUPLE_ORIG, TCP, original()),
        ported(entry::TUPLE_REPLY, TCP, reply()),
        status(ANSWERED),
        leaf(entry::TIMEOUT, &431_999_u32.to_be_bytes()),
        tcp_info(state, scales, flags),
        leaf(8, &[0; 4]),
    ])
}

fn connection(message: &[u8]) -> Existing {
    match parse(message) {
        Ok(Entry::Connection(connection)) => connection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_translated_tcp_connection_keeps_both_tuples() {
    assert_eq!(
        connection(&tcp_entry(3, [7, 9], [0x21, 0x23])),
        Existing {
            version: 4,
            protocol: TCP,
            original: original(),
            reply: reply(),
            state: Progress::Established,
            scales: [Some(7), Some(9)],
            answered: true,
            expires_in_s: Some(431_999),
            from: Origin::Conntrack,
        }
    );
}

#[test]
fn scales_are_known_only_if_the_handshake_was_seen() {
    let scales = |state, scales, flags| connection(&tcp_entry(state, scales, flags)).scales;
    // The ends agreed on none.
    assert_eq!(scales(3, [0, 0], [0, 0]), [Some(0), Some(0)]);
    // Taken up in the middle: liberal, and scales of 0 that mean nothing.
    assert_eq!(scales(3, [0, 0], [0x0a, 0x0a]), [None, None]);
    // Only the SYN was seen.
    assert_eq!(scales(1, [7, 0], [0x01, 0]), [None, None]);
    // Not a scale (RFC 7323).
    assert_eq!(scales(3, [14, 15], [1, 1]), [Some(14), None]);
}

#[test]
fn every_tcp_state_of_the_kernel_has_its_progress() {
    use Progress::{Closing, Established, HalfClosed, HalfOpen};
    let expected = [
        HalfOpen,
        HalfOpen,
        HalfOpen,
        Established,
        HalfClosed,
        HalfClosed,
        Closing,
        Closing,
        Closing,
        HalfOpen,
    ];
    for (state, progress) in (0..).zip(expected) {
        assert_eq!(connection(&tcp_entry(state, [0; 2], [0; 2])).state, progress, "{state}");
    }
    assert!(parse(&tcp_entry(10, [0; 2], [0; 2])).is_err());
}

#[test]
fn what_a_flowtable_forwards_is_established_without_details() {
    let tuples =
        [ported(entry::TUPLE_ORIG, TCP, original()), ported(entry::TUPLE_REPLY, TCP, reply())];
    let with = |bits| entry(&[tuples[0].clone(), tuples[1].clone(), status(bits)]);
    let found = connection(&with(ANSWERED | status::OFFLOAD));
    assert_eq!((found.state, found.scales), (Progress::Established, [None, None]));
    assert_eq!(found.expires_in_s, None);
    assert!(parse(&with(ANSWERED)).is_err(), "TCP without a state is not understood");
    assert_eq!(
        parse(&with(ANSWERED | status::OFFLOAD | status::DYING)).unwrap(),
        Entry::Irrelevant
    );
}

#[test]
fn udp_over_ipv6_without_an_answer() {
    let there = Tuple {
        source: IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2)),
        destination: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2)),
        source_port: 40_000,
        destination_port: 53,
    };
    let found = connection(&entry(&[
        ported(entry::TUPLE_ORIG, UDP, there),
        ported(entry::TUPLE_REPLY, UDP, there.reversed()),
        status(1 << 3),
        leaf(entry::TIMEOUT, &29_u32.to_be_bytes()),
    ]));
    assert_eq!((found.version, found.protocol), (6, UDP));
    assert_eq!((found.original, found.reply), (there, there.reversed()));
    assert_eq!((found.state, found.answered), (Progress::Datagrams, false));
}

#[test]
fn an_echo_has_its_identifier_as_both_ports_and_other_icmp_has_none() {
    let there = original();
    let icmp = |kind, at: Tuple, id: u16, icmp_type| {
        let transport = [
            leaf(tuple::NUM, &[ICMP]),
            leaf(tuple::ICMP_ID, &id.to_be_bytes()),
            leaf(tuple::ICMP_TYPE, &[icmp_type]),
            leaf(6, &[0]),
        ];
        nest(kind, &[addresses(at.source, at.destination), nest(tuple::PROTO, &transport)])
    };
    let message = |types: [u8; 2]| {
        entry(&[
            icmp(entry::TUPLE_ORIG, there, 4711, types[0]),
            icmp(entry::TUPLE_REPLY, there.reversed(), 815, types[1]),
            status(ANSWERED),
        ])
    };
    let echo = connection(&message([8, 0]));
    assert_eq!((echo.original.source_port, echo.original.destination_port), (4711, 4711));
    assert_eq!((echo.reply.source_port, echo.reply.destination_port), (815, 815));
    let timestamp = connection(&message([13, 14]));
    assert_eq!((timestamp.original.source_port, timestamp.reply.destination_port), (0, 0));
}

#[test]
fn a_tunnel_s_keys_are_no_ports() {
    let found = connection(&entry(&[
        ported(entry::TUPLE_ORIG, 47, original()),
        ported(entry::TUPLE_REPLY, 47, reply()),
        status(ANSWERED),
    ]));
    assert_eq!((found.original.source_port, found.reply.destination_port), (0, 0));
}

#[test]
fn other_zones_and_loopback_are_left_out() {
    let zone = leaf(entry::ZONE, &7_u16.to_be_bytes());
    let with = |more: &[Vec<u8>]| [tcp_entry(3, [7; 2], [1; 2]), more.concat()].concat();
    assert_eq!(parse(&with(&[zone])).unwrap(), Entry::OtherZone);
    assert!(matches!(parse(&with(&[leaf(entry::ZONE, &[0; 2])])), Ok(Entry::Connection(_))));
    // A zone of one direction only stands in its tuple.
    let mut zoned = entry(&[ported(entry::TUPLE_ORIG, UDP, original()), status(ANSWERED)]);
    let inner = ported(entry::TUPLE_REPLY, UDP, reply())[4..].to_vec();
    zoned.extend(nest(entry::TUPLE_REPLY, &[inner, leaf(tuple::ZONE, &[0, 7])]));
    assert_eq!(parse(&zoned).unwrap(), Entry::OtherZone);

    let local = between([127, 0, 0, 1], 40_000, [127, 0, 0, 53], 53);
    let loopback = entry(&[
        ported(entry::TUPLE_ORIG, UDP, local),
        ported(entry::TUPLE_REPLY, UDP, local.reversed()),
        status(ANSWERED),
    ]);
    assert_eq!(parse(&loopback).unwrap(), Entry::Irrelevant);
}

#[test]
fn an_entry_cut_anywhere_is_refused_or_right_as_far_as_it_goes() {
    let whole = tcp_entry(3, [7, 9], [1, 1]);
    let expected = connection(&whole);
    for length in 0..whole.len() {
        if let Ok(entry) = parse(&whole[..length]) {
            assert_eq!(entry, Entry::Connection(expected.clone()), "{length} bytes");
        }
    }
    // With every length in it wrong in turn.
    for at in 0..whole.len() {
        for value in [0, 1, 3, 4, 5, 8, 0x7f, 0xff] {
            let mut wrong = whole.clone();
            wrong[at] = value;
            let _ = parse(&wrong);
        }
    }
}

proptest! {
    #[test]
    fn no_entry_makes_it_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        let _ = parse(&entry(&[leaf(entry::TUPLE_ORIG, &bytes)]));
        let _ = parse(&entry(&[nest(entry::PROTOINFO, &[leaf(protoinfo::TCP, &bytes)])]));
    }
}
