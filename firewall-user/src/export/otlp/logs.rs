//! Events as log records (OpenTelemetry, "Logs Data Model").
//!
//! What the semantic conventions have a name for is told by that name, the rest as `fwx.…`.

use std::net::IpAddr;

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::any_value::Value,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};

use super::value::{Attributes, any, scope};
use crate::{
    event::{Event, Filter, Tcp, Totals},
    events::sentence,
    export::{Severity, clock},
};

/// The request that hands over `records`.
pub(super) fn request(resource: &Resource, records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs =
        ScopeLogs { scope: Some(scope()), log_records: records, ..ScopeLogs::default() };
    let resource_logs = ResourceLogs {
        resource: Some(resource.clone()),
        scope_logs: vec![scope_logs],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}

/// An event as a log record. `observed`: now, nanoseconds since 1970.
pub(super) fn record(event: &Event, observed: u64) -> LogRecord {
    let severity = Severity::of(event);
    LogRecord {
        // 0 is what the data model has for a time that is not known.
        time_unix_nano: clock::nanoseconds(&event.timestamp).unwrap_or(0),
        observed_time_unix_nano: observed,
        severity_number: severity_number(severity).into(),
        severity_text: severity.name().to_owned(),
        event_name: format!("fwx.{}", event.event),
        body: Some(any(Value::StringValue(body(event)))),
        attributes: attributes(event),
        ..LogRecord::default()
    }
}

/// What the data model makes of syslog's severities (its appendix B).
const fn severity_number(severity: Severity) -> SeverityNumber {
    match severity {
        Severity::Error => SeverityNumber::Error,
        Severity::Warning => SeverityNumber::Warn,
        Severity::Notice => SeverityNumber::Info2,
        Severity::Informational => SeverityNumber::Info,
    }
}

/// What the controller says; of other events the line for people, without the time, which has a field of its own.
fn body(event: &Event) -> String {
    match &event.message {
        Some(message) if event.is_control() => message.clone(),
        _ => sentence(event),
    }
}

fn attributes(event: &Event) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let mut all = Attributes::default();
    packet(event, &mut all);
    all.number("fwx.event_id", event.event_id);
    let texts = [
        ("fwx.reason", &event.reason),
        ("fwx.code", &event.code),
        ("fwx.direction", &event.direction),
        ("fwx.protocol", &event.protocol),
        ("fwx.community_id", &event.community_id),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            all.text(key, text);
        }
    }
    let numbers = [
        ("fwx.flow_id", event.flow_id),
        ("fwx.parent", event.parent),
        ("fwx.caused_by", event.caused_by),
        ("fwx.suppressed", event.suppressed),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            all.number(key, number);
        }
    }
    if event.adopted {
        all.flag("fwx.adopted", true);
    }
    event.tcp.iter().for_each(|header| tcp(header, &mut all));
    event.filter.iter().for_each(|found| filter(found, &mut all));
    event.totals.iter().for_each(|sums| totals(sums, &mut all));
    all.into_inner()
}

/// What has a name in the semantic conventions.
fn packet(event: &Event, all: &mut Attributes) {
    let ends = [
        ("source.address", event.src_ip, "source.port", event.src_port),
        ("destination.address", event.dst_ip, "destination.port", event.dst_port),
    ];
    for (address_key, address, port_key, port) in ends {
        if let Some(address) = address {
            all.text(address_key, address.to_string());
        }
        if let Some(port) = port {
            all.number(port_key, port);
        }
    }
    if let Some(address) = event.src_ip {
        let family = if matches!(address, IpAddr::V4(_)) { "ipv4" } else { "ipv6" };
        all.text("network.type", family);
    }
    let texts = [
        ("network.transport", &event.transport),
        ("network.interface.name", &event.interface),
        ("security_rule.name", &event.rule),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            all.text(key, text);
        }
    }
}

fn tcp(header: &Tcp, all: &mut Attributes) {
    all.text("fwx.tcp.flags", &header.flags);
    all.number("fwx.tcp.seq", header.seq);
    all.number("fwx.tcp.ack", header.ack);
    all.number("fwx.tcp.window", header.window);
    let ranges =
        [("fwx.tcp.expected", header.expected), ("fwx.tcp.expected_ack", header.expected_ack)];
    for (key, range) in ranges {
        if let Some(range) = range {
            all.pair(key, range.map(u64::from));
        }
    }
}

fn filter(found: &Filter, all: &mut Attributes) {
    all.text("fwx.filter.name", &found.name);
    all.text("fwx.filter.mode", &found.mode);
    all.text("fwx.filter.profile", &found.profile);
    all.text("fwx.filter.finding", &found.finding);
    all.number("fwx.filter.offset", found.offset);
    all.text("fwx.filter.excerpt", &found.excerpt);
}

fn totals(sums: &Totals, all: &mut Attributes) {
    all.text("fwx.totals.started", &sums.started);
    all.pair("fwx.totals.packets", sums.packets);
    all.pair("fwx.totals.bytes", sums.bytes);
}
