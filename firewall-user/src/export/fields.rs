//! An event's fields one by one, for receivers that know no objects within objects.

use serde_json::Value;

use crate::event::Event;

/// The fields that the event has, without the packet, by name: a field within another is `tcp_flags`, of two numbers
/// those of a range are `tcp_expected_first` and `tcp_expected_last`, and those of the two directions
/// `totals_bytes_original` and `totals_bytes_reply`. All names have letters of ASCII and `_` only.
pub(super) fn fields(event: &Event) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    // What an event consists of can be told in JSON: the hub did so before.
    if let Ok(Value::Object(mut members)) = serde_json::to_value(event) {
        members.remove("packet");
        for (name, value) in members {
            flatten(name, value, &mut flat);
        }
    }
    flat
}

fn flatten(name: String, value: Value, flat: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::String(text) => flat.push((name, text)),
        Value::Bool(_) | Value::Number(_) => flat.push((name, value.to_string())),
        Value::Object(members) => {
            for (member, value) in members {
                flatten(format!("{name}_{member}"), value, flat);
            }
        }
        Value::Array(values) => {
            let suffixes = if name.contains("expected") { RANGE } else { DIRECTIONS };
            for (suffix, value) in suffixes.into_iter().zip(values) {
                flatten(format!("{name}_{suffix}"), value, flat);
            }
        }
    }
}

/// What the two numbers of a field mean.
const RANGE: [&str; 2] = ["first", "last"];
/// Likewise.
const DIRECTIONS: [&str; 2] = ["original", "reply"];

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::{Captured, Filter, Link, Tcp, Totals};

    /// An event with a value in each of its fields; no event of the firewall's has all of them.
    pub(crate) fn full() -> Event {
        Event {
            timestamp: "2026-01-02T03:04:05.678901234Z".to_owned(),
            event: "connection_killed".to_owned(),
            event_id: 1_025,
            instance: Some("main".to_owned()),
            reason: Some("FWX_E_CONNECTION_KILLED".to_owned()),
            code: Some("0x80074e24".to_owned()),
            flow_id: Some(2_049),
            parent: Some(3_073),
            interface: Some("lan0".to_owned()),
            direction: Some("original".to_owned()),
            protocol: Some("rtsp".to_owned()),
            transport: Some("tcp".to_owned()),
            src_ip: Some("10.1.0.2".parse().unwrap()),
            src_port: Some(58_907),
            dst_ip: Some("2001:db8::7".parse().unwrap()),
            dst_port: Some(554),
            tcp: Some(Tcp {
                flags: "PA".to_owned(),
                seq: 1,
                ack: 2,
                window: 3,
                expected: Some([4, 5]),
                expected_ack: Some([6, 7]),
            }),
            filter: Some(Filter {
                name: "rtsp".to_owned(),
                mode: "enforce".to_owned(),
                profile: "strict".to_owned(),
                finding: "missing-cseq".to_owned(),
                offset: 8,
                excerpt: r#"A\x1b[2J"]"#.to_owned(),
            }),
            adopted: true,
            rule: Some("cameras".to_owned()),
            caused_by: Some(4_097),
            suppressed: Some(9),
            totals: Some(Totals {
                started: "2026-01-02T03:04:00.000000001Z".to_owned(),
                packets: [10, 11],
                bytes: [12, 13],
            }),
            community_id: Some("1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned()),
            packet: Some(Captured { link: Link::Ip, length: 60, bytes: vec![0x45; 60] }),
            message: Some("a kill, as an example".to_owned()),
        }
    }

    #[test]
    fn each_number_of_a_pair_has_a_name() {
        let fields = fields(&full());
        let value = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("tcp_expected_first"), Some("4"));
        assert_eq!(value("tcp_expected_ack_last"), Some("7"));
        assert_eq!(value("totals_packets_original"), Some("10"));
        assert_eq!(value("totals_bytes_reply"), Some("13"));
        assert_eq!(value("adopted"), Some("true"));
        assert!(fields.iter().all(|(name, _)| !name.starts_with("packet_")));
        assert!(fields.iter().all(|(name, _)| name.len() <= 32
            && !name.contains(|letter: char| { !letter.is_ascii_lowercase() && letter != '_' })));
    }

    /// The names of what has no fields of its own, with dots.
    fn leaves(name: &str, value: &Value, found: &mut BTreeSet<String>) {
        let Value::Object(members) = value else {
            found.insert(name.to_owned());
            return;
        };
        for (member, value) in members {
            let dot = if name.is_empty() { "" } else { "." };
            leaves(&format!("{name}{dot}{member}"), value, found);
        }
    }

    #[test]
    fn the_documentation_has_the_common_schemas_name_of_each_field() {
        let text = include_str!("../../../docs/exports.md");
        let (_, section) = text.split_once("| field | ECS | value |").unwrap();
        let (table, _) = section.split_once("\n\n").unwrap();
        let rows = table.lines().filter(|row| row.starts_with("| `"));
        let documented: Vec<_> = rows
            .map(|row| {
                let mut cells = row.split(" | ");
                let field = cells.next().unwrap().trim_start_matches("| ").trim_matches('`');
                assert!(cells.next().unwrap().starts_with('`'), "{row}");
                field.to_owned()
            })
            .collect();
        let mut there = BTreeSet::new();
        leaves("", &serde_json::to_value(full()).unwrap(), &mut there);
        assert_eq!(documented.len(), there.len());
        assert_eq!(documented.into_iter().collect::<BTreeSet<_>>(), there);
    }
}
