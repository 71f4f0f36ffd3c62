//! Events and metrics as a collector of OpenTelemetry gets them.

mod collector;

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use firewall_common::reason::Reason;
use lab::{
    Event, Fwx, Lab, Mode,
    peers::{recorder::Recorder, stray, viewer::Viewer},
    policy, wait,
};
use opentelemetry_proto::tonic::{
    common::v1::any_value::Value,
    logs::v1::LogRecord,
    metrics::v1::{Sum, metric::Data, number_data_point},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use collector::{Collector, attribute};

const NOT_SYN: &str = Reason::TcpNotSyn.name();

fn policy(to: SocketAddr) -> String {
    let export =
        format!("\n[export.near]\nkind = \"otlp\"\nto = \"http://{to}\"\ninterval = \"1s\"\n");
    policy::cameras(&["lan0", "wan0"], "strict") + policy::THE_GATEWAY_ITSELF + &export
}

/// Waits for the record of `event`.
fn came(collector: &Collector, event: &Event) -> LogRecord {
    wait::until(&format!("{} comes", event.line), || {
        collector.received().log(event.event_id).cloned().context("it is not there")
    })
    .unwrap()
}

/// Compares what all events have, and a packet's.
fn check(record: &LogRecord, event: &Event, severity: (i32, &str)) {
    let line: serde_json::Value = serde_json::from_str(&event.line).unwrap();
    let time = OffsetDateTime::parse(line["timestamp"].as_str().unwrap(), &Rfc3339).unwrap();
    assert_eq!(i128::from(record.time_unix_nano), time.unix_timestamp_nanos());
    assert!(record.observed_time_unix_nano >= record.time_unix_nano);
    assert_eq!(record.event_name, format!("fwx.{}", event.kind));
    assert_eq!((record.severity_number, record.severity_text.as_str()), severity);
    for (key, member) in [
        ("source.address", "src_ip"),
        ("destination.address", "dst_ip"),
        ("network.transport", "transport"),
        ("network.interface.name", "interface"),
        ("fwx.reason", "reason"),
        ("fwx.code", "code"),
    ] {
        let expected = Value::StringValue(line[member].as_str().unwrap().to_owned());
        assert_eq!(attribute(&record.attributes, key), Some(&expected), "{key}");
    }
    for (key, member) in [
        ("source.port", "src_port"),
        ("destination.port", "dst_port"),
        ("fwx.caused_by", "caused_by"),
        ("fwx.flow_id", "flow_id"),
    ] {
        let expected = line[member].as_i64().map(Value::IntValue);
        assert_eq!(attribute(&record.attributes, key), expected.as_ref(), "{key}");
    }
}

/// Of a counter with one label: its values in the last metrics that came, by that label's.
fn counter(collector: &Collector, name: &str) -> Result<BTreeMap<String, f64>> {
    let received = collector.received();
    let metrics = received.metrics.last().context("no metrics came")?;
    let metric = metrics.iter().find(|metric| metric.name == name).context("it is not there")?;
    let Some(Data::Sum(Sum { data_points, is_monotonic: true, .. })) = &metric.data else {
        panic!("{metric:?} does not only rise");
    };
    let value = |point: &opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| {
        assert!(point.start_time_unix_nano <= point.time_unix_nano);
        let label = point.attributes[0].value.as_ref()?.value.as_ref()?;
        match (label, point.value?) {
            (Value::StringValue(label), number_data_point::Value::AsDouble(value)) => {
                Some((label.clone(), value))
            }
            _ => None,
        }
    };
    data_points.iter().map(|point| value(point).context("another point")).collect()
}

#[test]
fn the_kill_its_drop_and_the_counters_come() {
    let lab = Lab::single().unwrap();
    let address = lab.client.socket_v4(4318);
    let collector = Collector::start(&lab.client, address).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(address), Mode::Auto).unwrap();

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v6(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    let port = viewer.local_address().port();
    viewer.converse(1);
    let kill = fwx
        .wait_for_event("the kill", |event| {
            event.kind == "connection_killed" && event.is_between_ports(port, 554)
        })
        .unwrap();
    stray::lone_ack(&lab.client, viewer.local_address(), recorder.address()).unwrap();
    let drop = fwx
        .wait_for_event("a drop that the kill caused", |event| {
            event.is_drop(NOT_SYN) && event.caused_by == Some(kill.event_id)
        })
        .unwrap();

    let record = came(&collector, &kill);
    check(&record, &kill, (13, "warning"));
    let finding = kill.filter.as_ref().unwrap();
    for (key, text) in [
        ("fwx.filter.finding", finding.finding.clone()),
        ("fwx.filter.excerpt", finding.excerpt.clone()),
        ("network.type", Some("ipv6".to_owned())),
    ] {
        let expected = text.map(Value::StringValue);
        assert_eq!(attribute(&record.attributes, key), expected.as_ref(), "{key}");
    }
    check(&came(&collector, &drop), &drop, (10, "notice"));

    // Nothing is dropped any more: what comes is what `fwx status` shows.
    wait::until("the counter of drops comes", || {
        let drops = counter(&collector, "fwx.dropped_packets")?;
        let expected = fwx.status()?.drops[NOT_SYN];
        ensure!(expected > 0 && drops.get(NOT_SYN) == Some(&(expected as f64)), "{drops:?}");
        Ok(())
    })
    .unwrap();
    let received = collector.received();
    assert_eq!(received.refused, Vec::<String>::new());
    for resource in &received.resources {
        let name = attribute(&resource.attributes, "service.name");
        assert_eq!(name, Some(&Value::StringValue("fwx".to_owned())));
        let instance = attribute(&resource.attributes, "fwx.instance");
        assert_eq!(instance, Some(&Value::StringValue(fwx.instance().to_owned())));
    }
    let failed = counter(&collector, "fwx.export_failed").unwrap();
    assert_eq!(failed, BTreeMap::from([("near".to_owned(), 0.0)]));
}

#[test]
fn what_waits_for_a_collector_comes_when_it_is_there() {
    let lab = Lab::single().unwrap();
    let address = lab.client.socket_v4(4318);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(address), Mode::Auto).unwrap();
    let waiting = stray::dropped_ack(&lab, &fwx, 40_001).unwrap();
    fwx.wait_for_event("nobody is there", |event| {
        event.reason.as_deref() == Some("FWX_E_ABORTIVE_SHUTDOWN") && event.src_port == Some(4318)
    })
    .unwrap();
    let collector = Collector::start(&lab.client, address).unwrap();
    check(&came(&collector, &waiting), &waiting, (10, "notice"));
    let later = stray::dropped_ack(&lab, &fwx, 40_002).unwrap();
    came(&collector, &later);
    wait::until("its own counter comes", || {
        let failed = counter(&collector, "fwx.export_failed")?;
        ensure!(failed == BTreeMap::from([("near".to_owned(), 0.0)]), "{failed:?}");
        Ok(())
    })
    .unwrap();
}
