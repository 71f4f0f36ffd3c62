//! What looks and events are like, for tests.

use std::{collections::BTreeMap, time::Duration};

use firewall_common::reason::Reason;

use super::{
    data::Heard,
    look::{Figures, Look, Order, RatedFlow, TableFill, Walked},
    model::Model,
    rates::Rate,
};
use crate::{
    conn::{Ends, Row, View},
    event::{Event, Filter, Tcp},
    flows::FlowTable,
    status::{ControllerStatus, FilterStatus, Port, Traffic},
};

pub(super) const NOT_SYN: &str = "FWX_E_TCP_NOT_SYN_PACKET_DROPPED";

/// A look in the story.
pub(super) fn figures() -> Figures {
    Figures {
        timestamp: "2026-01-02T03:04:05.000000000Z".to_owned(),
        at: 1_000_000_000,
        instance: "gw".to_owned(),
        controller: ControllerStatus { running: true, pid: Some(4711) },
        policy: Some("/etc/fwx/cameras.toml".to_owned()),
        pending: None,
        syn_attack_since: None,
        timeouts_shortened: false,
        packets: Traffic { ingress: 1_000, egress: 900 },
        bytes: Traffic { ingress: 1_000_000, egress: 900_000 },
        drops: BTreeMap::from([(NOT_SYN, 5), ("FWX_E_LAND_ATTACK_DROPPED", 1)]),
        events_lost: 0,
        filters: vec![
            filter("rtsp", 554, Some("rtsp"), "enforce", "strict"),
            filter("ftp", 21, Some("ftp"), "monitor", "standard"),
            filter("smtp", 25, None, "off", "standard"),
        ],
    }
}

/// The same a moment later.
pub(super) fn figures_later() -> Figures {
    let mut figures = figures();
    figures.timestamp = "2026-01-02T03:04:06.000000000Z".to_owned();
    figures.at += 1_000_000_000;
    figures.packets = Traffic { ingress: 3_400, egress: 3_100 };
    figures.bytes = Traffic { ingress: 3_500_000, egress: 3_000_000 };
    figures.drops.insert(NOT_SYN, 12);
    figures
}

fn filter(
    protocol: &str,
    port: u16,
    filter: Option<&str>,
    mode: &str,
    profile: &str,
) -> FilterStatus {
    FilterStatus {
        protocol: protocol.to_owned(),
        transport: "tcp".to_owned(),
        ports: vec![Port::One(port)],
        filter: filter.map(str::to_owned),
        mode: mode.to_owned(),
        profile: profile.to_owned(),
        segments: 4_242,
        findings: 3,
        kills: u64::from(mode == "enforce"),
        held: 0,
    }
}

/// A walk in the story.
pub(super) fn walked() -> Walked {
    let tables = FlowTable::ALL.map(FlowTable::name);
    let fill = |name| TableFill { name, entries: 3, size: 1_000_000, percent: 0 };
    Walked {
        took: Duration::from_millis(2),
        flows_met: 3,
        flows_without_rate: 0,
        tables: tables.map(fill).into(),
        flows: vec![
            flow(4_097, "10.1.0.2:40000", "10.2.0.2:554", "ESTABLISHED", 1_234_567),
            flow(5_121, "[fd00:1::2]:40001", "[fd00:2::2]:554", "ESTABLISHED", 9_000),
            flow(6_145, "10.1.0.2:40002", "10.2.0.2:554", "KILLED", 0),
        ],
    }
}

pub(super) fn flow(
    flow_id: u64,
    source: &str,
    destination: &str,
    state: &'static str,
    bits_per_s: u64,
) -> RatedFlow {
    let [source, destination]: [std::net::SocketAddr; 2] =
        [source, destination].map(|end| end.parse().unwrap());
    let row = Row {
        flow_id,
        transport: "tcp".to_owned(),
        protocol: Some("rtsp".to_owned()),
        state,
        ends: Ends {
            src_ip: source.ip(),
            src_port: Some(source.port()),
            dst_ip: destination.ip(),
            dst_port: Some(destination.port()),
        },
        icmp_id: None,
        packets: View { original: 40, reply: 400 },
        bytes: View { original: 4_000, reply: 400_000 },
        age_s: 12,
        idle_s: 0,
        expires_in_s: 3_600,
        rule: Some("cameras".to_owned()),
        interface: Some("lan0".to_owned()),
        adopted: false,
        translated: None,
        parent: None,
    };
    let rate = Rate { bits_per_s, packets_per_s: bits_per_s / 8_000 };
    RatedFlow { row, rate, filter: Some("rtsp".to_owned()), mode: Some("enforce".to_owned()) }
}

/// A model that has taken in the story: figures at two moments, flows, and a kill with the drop that it caused.
pub(super) fn story() -> Model {
    let mut model = Model::new(Order::Rate, String::new());
    for look in [
        Look::Figures(Ok(figures())),
        Look::Walked(Ok(walked())),
        Look::Figures(Ok(figures_later())),
    ] {
        model.take_look(look);
    }
    model.take_heard(Heard::Taken);
    let events = vec![control(1), kill(2), drop(3, 2)];
    model.take_heard(Heard::Events(events));
    model
}

/// Something that the controller said.
pub(super) fn control(event_id: u64) -> Event {
    let message = "controller started: attached anew".to_owned();
    Event::control(event_id, None, 1_767_323_045_000_000_000, Reason::None, message)
}

/// The kill of the story.
pub(super) fn kill(event_id: u64) -> Event {
    Event {
        event: "connection_killed".to_owned(),
        reason: Some("FWX_E_CONNECTION_KILLED".to_owned()),
        flow_id: Some(6_145),
        transport: Some("tcp".to_owned()),
        src_ip: Some("10.1.0.2".parse().unwrap()),
        src_port: Some(40_002),
        dst_ip: Some("10.2.0.2".parse().unwrap()),
        dst_port: Some(554),
        rule: Some("cameras".to_owned()),
        message: None,
        filter: Some(Filter {
            name: "rtsp".to_owned(),
            mode: "enforce".to_owned(),
            profile: "strict".to_owned(),
            finding: "missing-cseq".to_owned(),
            offset: 0,
            excerpt: "OPTIONS rtsp://x RTSP/1.0".to_owned(),
        }),
        ..control(event_id)
    }
}

/// A drop that the kill caused.
pub(super) fn drop(event_id: u64, caused_by: u64) -> Event {
    Event {
        event: "packet_dropped".to_owned(),
        reason: Some(NOT_SYN.to_owned()),
        filter: None,
        tcp: Some(Tcp {
            flags: "A".to_owned(),
            seq: 1,
            ack: 1,
            window: 1,
            expected: None,
            expected_ack: None,
        }),
        caused_by: Some(caused_by),
        ..kill(event_id)
    }
}
