//! Records byte by byte, and as a collector reads them.

mod decoder;
mod sending;

use firewall_common::reason::Reason;
use proptest::prelude::*;

use self::decoder::{Decoded, Decoder, Record};
use super::{end::EndReason, flow::Addresses, message::MESSAGE_MAX, *};
use crate::event::{Event, Totals};

/// The end of a flow from 10.1.0.2, seen by a packet that came back.
fn ended(flow_id: u64) -> Event {
    let reason = Reason::GracefulShutdown;
    Event {
        event: "connection_closed".to_owned(),
        timestamp: "2026-11-23T12:00:01.250999999Z".to_owned(),
        flow_id: Some(flow_id),
        interface: Some("wan0".to_owned()),
        direction: Some("reply".to_owned()),
        protocol: Some("rtsp".to_owned()),
        transport: Some("tcp".to_owned()),
        src_ip: Some([10, 2, 0, 2].into()),
        src_port: Some(554),
        dst_ip: Some([10, 1, 0, 2].into()),
        dst_port: Some(52_274),
        totals: Some(Totals {
            started: "2026-11-23T12:00:00.000000000Z".to_owned(),
            packets: [5, 4],
            bytes: [500, 40_000],
        }),
        message: None,
        ..Event::control(flow_id + 1, None, 0, reason, String::new())
    }
}

fn ended_v6(flow_id: u64) -> Event {
    Event {
        src_ip: Some("fd00:2::2".parse().unwrap()),
        dst_ip: Some("fd00:1::2".parse().unwrap()),
        ..ended(flow_id)
    }
}

fn flow(event: &Event) -> Flow {
    Flow::of(event).unwrap().unwrap()
}

fn number(record: &Record, element: u16, enterprise: u32) -> u64 {
    record[&(element, enterprise)].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// The first message of a session.
fn first_message(events: &[Event]) -> Decoded {
    let flows: Vec<_> = events.iter().map(flow).collect();
    let message = Session::new(Transport::Udp, 7).message(&flows, 1_795_435_202);
    assert_eq!(message.records, events.len());
    Decoder::default().decode(&message.bytes)
}

#[test]
fn a_record_tells_both_directions_from_the_end_that_began_it() {
    let decoded = first_message(&[ended(2049)]);
    assert_eq!((decoded.seconds, decoded.domain), (1_795_435_202, 7));
    let (template, record) = &decoded.records[0];
    assert_eq!(*template, 256);
    assert_eq!(record[&(8, 0)], [10, 1, 0, 2], "sourceIPv4Address");
    assert_eq!(record[&(12, 0)], [10, 2, 0, 2], "destinationIPv4Address");
    for (element, enterprise, expected) in [
        (7, 0, 52_274),
        (11, 0, 554),
        (4, 0, 6),
        (152, 0, 1_795_435_200_000),
        (153, 0, 1_795_435_201_250),
        (1, 0, 500),
        (2, 0, 5),
        (1, 29_305, 40_000),
        (2, 29_305, 4),
        (136, 0, 3),
        (239, 0, 1),
        (148, 0, 2049),
    ] {
        assert_eq!(number(record, element, enterprise), expected, "{element} of {enterprise}");
    }
    assert_eq!(record[&(82, 0)], b"wan0");
    assert_eq!(record[&(96, 0)], b"rtsp");
}

#[test]
fn ipv6_has_a_template_of_its_own() {
    let decoded = first_message(&[ended(1), ended_v6(2), ended_v6(3), ended(4)]);
    let templates: Vec<_> = decoded.records.iter().map(|(template, _)| *template).collect();
    assert_eq!(templates, [256, 257, 257, 256], "in the order of the events");
    let source: std::net::Ipv6Addr = "fd00:1::2".parse().unwrap();
    assert_eq!(decoded.records[1].1[&(27, 0)], source.octets());
    assert_eq!(number(&decoded.records[2].1, 148, 0), 3);
}

#[test]
fn a_message_is_these_bytes() {
    let message = Session::new(Transport::Tcp, 7).message(&[flow(&ended(2049))], 0x6b03_f0c2);
    let expected = concat!(
        "000a 0101 6b03f0c2 00000000 00000007", // 257 bytes, no record before, domain 7
        "0002 009c",                            // templates, 156 bytes
        "0100 0010 0008 0004 000c 0004",
        "0098 0008 0099 0008 0007 0002 000b 0002 0004 0001 0001 0008 0002 0008",
        "8001 0008 00007279 8002 0008 00007279",
        "0088 0001 00ef 0001 0094 0008 0052 ffff 0060 ffff",
        "0101 0010 001b 0010 001c 0010",
        "0098 0008 0099 0008 0007 0002 000b 0002 0004 0001 0001 0008 0002 0008",
        "8001 0008 00007279 8002 0008 00007279",
        "0088 0001 00ef 0001 0094 0008 0052 ffff 0060 ffff",
        "0100 0055", // records by template 256
        "0a010002 0a020002",
        "000001a20846fe00 000001a2084702e2",
        "cc32 022a 06 00000000000001f4 0000000000000005",
        "0000000000009c40 0000000000000004",
        "03 01 0000000000000801 04 77616e30 04 72747370",
    );
    let hex: String = message.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.replace(' ', ""));
}

#[test]
fn a_flow_that_ended_in_silence_has_its_first_packets_ends() {
    let silent = Event {
        direction: None,
        reason: Some(Reason::IdleTimeout.name().to_owned()),
        src_port: None,
        dst_port: None,
        transport: Some("47".to_owned()),
        adopted: true,
        protocol: None,
        ..ended(1)
    };
    let flow = flow(&silent);
    assert_eq!(flow.addresses, Addresses::V4([[10, 2, 0, 2].into(), [10, 1, 0, 2].into()]));
    assert_eq!((flow.ports, flow.ip_protocol), ([0, 0], 47));
    assert_eq!((flow.end_reason, flow.has_initiator), (EndReason::IdleTimeout, false));
    assert_eq!(flow.protocol, "");
}

#[test]
fn a_clock_that_was_set_back_makes_no_flow_end_before_it_began() {
    let early = Event { timestamp: "2026-11-23T11:00:00.000000000Z".to_owned(), ..ended(1) };
    let [start, end] = flow(&early).times;
    assert_eq!(start, end);
}

#[test]
fn what_ends_a_flow_is_told_by_its_reason() {
    let end_reason = |kind: EventKind, reason: Reason| EndReason::of(kind, Some(reason)) as u8;
    for (reason, expected) in [
        (Reason::IdleTimeout, 1),
        (Reason::TcpNoServerReply, 1),
        (Reason::GracefulShutdown, 3),
        (Reason::AbortiveShutdown, 3),
        (Reason::OutOfResources, 5),
    ] {
        assert_eq!(end_reason(EventKind::ConnectionClosed, reason), expected, "{reason:?}");
    }
    for reason in [Reason::ConnectionKilled, Reason::PolicyConnectionClosed, Reason::None] {
        assert_eq!(end_reason(EventKind::ConnectionKilled, reason), 4, "{reason:?}");
    }
    assert_eq!(EndReason::of(EventKind::ConnectionKilled, None) as u8, 4);
    assert_eq!(EndReason::of(EventKind::ConnectionClosed, None) as u8, 3);
}

#[test]
fn other_events_have_no_record() {
    for kind in ["connection_opened", "packet_dropped", "filter_finding", "control", ""] {
        let event = Event { event: kind.to_owned(), ..ended(1) };
        assert_eq!(Flow::of(&event), Ok(None), "{kind}");
    }
}

#[test]
fn an_end_that_says_too_little_is_an_error() {
    let told = |event: Event| Flow::of(&event).unwrap_err().to_string();
    let has_no = "the event of a flow's end has no ";
    assert_eq!(told(Event { totals: None, ..ended(1) }), format!("{has_no}totals"));
    assert_eq!(told(Event { flow_id: None, ..ended(1) }), format!("{has_no}number"));
    let no_time = Event { timestamp: crate::event::rfc3339(i128::MAX), ..ended(1) };
    assert_eq!(told(no_time), format!("{has_no}time"));
    let mixed = Event { src_ip: ended_v6(1).src_ip, ..ended(1) };
    assert_eq!(told(mixed), format!("{has_no}two addresses of one family"));
}

#[test]
fn the_templates_and_the_longest_record_leave_room() {
    let long = "ü".repeat(400);
    let event = Event { interface: Some(long.clone()), protocol: Some(long), ..ended_v6(1) };
    let flows = vec![flow(&event); 100];
    let message = Session::new(Transport::Udp, 0).message(&flows, 0);
    assert!(message.records >= 2, "{}", message.records);
    let decoded = Decoder::default().decode(&message.bytes);
    assert_eq!(decoded.records[0].1[&(82, 0)], "ü".repeat(32).as_bytes(), "cut between characters");
}

fn any_name() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(prop_oneof![".{0,100}", "\\PC{200,300}", Just("\0\x1b[2J\r\n".to_owned())])
}

fn any_address() -> impl Strategy<Value = Option<std::net::IpAddr>> {
    let v4 = any::<[u8; 4]>().prop_map(std::net::IpAddr::from);
    let v6 = any::<[u8; 16]>().prop_map(std::net::IpAddr::from);
    prop_oneof![9 => v4.prop_map(Some), 9 => v6.prop_map(Some), 1 => Just(None)]
}

fn any_event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just("connection_closed"), Just("connection_killed"), Just("control")];
    let reason = proptest::sample::select(Reason::ALL);
    let transport = prop_oneof![Just("tcp"), Just("icmpv6"), Just("250"), Just("999"), Just("")];
    let direction = prop_oneof![Just("original"), Just("reply"), Just("")];
    let ends = (any_address(), any_address(), any::<Option<u16>>(), any::<Option<u16>>());
    let sums = (any::<[u64; 2]>(), any::<[u64; 2]>(), any::<i64>(), any::<i64>());
    let names = (any_name(), any_name());
    (kind, reason, transport, direction, ends, sums, names, any::<u64>()).prop_map(
        |(kind, reason, transport, direction, ends, sums, names, flow_id)| Event {
            event: kind.to_owned(),
            reason: Some(reason.name().to_owned()),
            transport: Some(transport.to_owned()),
            direction: Some(direction.to_owned()),
            src_ip: ends.0,
            dst_ip: ends.1,
            src_port: ends.2,
            dst_port: ends.3,
            totals: Some(Totals {
                started: crate::event::rfc3339(sums.2.into()),
                packets: sums.0,
                bytes: sums.1,
            }),
            timestamp: crate::event::rfc3339(sums.3.into()),
            interface: names.0,
            protocol: names.1,
            flow_id: Some(flow_id),
            ..ended(1)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_events_are_messages_that_a_collector_can_read(
        events in prop::collection::vec(any_event(), 0..60),
        is_udp in any::<bool>(),
    ) {
        let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
        let flows: Vec<_> =
            events.iter().filter_map(|event| Flow::of(event).unwrap_or(None)).collect();
        let mut session = Session::new(transport, 1);
        let mut decoder = Decoder::default();
        let mut rest = &flows[..];
        while !rest.is_empty() {
            let message = session.message(rest, 0);
            prop_assert!(message.bytes.len() <= MESSAGE_MAX);
            let decoded = decoder.decode(&message.bytes);
            prop_assert_eq!(decoded.records.len(), message.records);
            for ((_, record), flow) in decoded.records.iter().zip(rest) {
                prop_assert_eq!(number(record, 148, 0), flow.id);
                prop_assert_eq!(number(record, 1, 29_305), flow.octets[1]);
                prop_assert!(flow.interface.as_bytes().starts_with(&record[&(82, 0)]));
                prop_assert!(std::str::from_utf8(&record[&(96, 0)]).is_ok());
            }
            session.sent(&message);
            rest = &rest[message.records..];
        }
    }
}
