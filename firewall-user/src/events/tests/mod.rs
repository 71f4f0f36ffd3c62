//! What is printed and written of events, seen from outside.

mod outputs;
mod written;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::event::Event;

fn event(json: Value) -> Event {
    serde_json::from_value(json).unwrap()
}

/// A viewer and a camera: a connection begins, the filter kills it, a repetition is dropped because of that.
fn story() -> Vec<Event> {
    vec![
        event(json!({
            "timestamp": "2026-01-02T03:04:05.000000001Z", "event": "control", "event_id": 1023, "instance": "gate",
            "message": "controller started: attached anew"
        })),
        event(json!({
            "timestamp": "2026-01-02T03:04:06.036023777Z", "event": "connection_opened", "event_id": 2048,
            "instance": "gate", "flow_id": 2049, "interface": "lan0", "direction": "original", "protocol": "rtsp",
            "transport": "tcp", "src_ip": "10.1.0.2", "src_port": 52274, "dst_ip": "10.2.0.2", "dst_port": 554,
            "tcp": {"flags": "A", "seq": 1, "ack": 1, "window": 63}, "rule": "cameras", "suppressed": 0
        })),
        kill(),
        event(json!({
            "timestamp": "2026-01-02T03:04:07.367788827Z", "event": "packet_dropped", "event_id": 6144,
            "instance": "gate", "reason": "FWX_E_TCP_NOT_SYN_PACKET_DROPPED", "code": "0xc0040017", "flow_id": 2049,
            "interface": "wan0", "direction": "reply", "protocol": "rtsp", "transport": "tcp", "src_ip": "10.2.0.2",
            "src_port": 554, "dst_ip": "10.1.0.2", "dst_port": 52274,
            "tcp": {"flags": "PA", "seq": 679373596, "ack": 640745703, "window": 64}, "rule": "cameras",
            "caused_by": 5120, "suppressed": 3,
            "packet": {"link": "ethernet", "length": 70, "bytes": "AgAAAAABAgAAAAACCABF"}
        })),
    ]
}

fn kill() -> Event {
    event(json!({
        "timestamp": "2026-01-02T03:04:07.160324862Z", "event": "connection_killed", "event_id": 5120,
        "instance": "gate", "reason": "FWX_E_CONNECTION_KILLED", "code": "0x80074e24", "flow_id": 2049,
        "interface": "wan0", "direction": "reply", "protocol": "rtsp", "transport": "tcp", "src_ip": "10.2.0.2",
        "src_port": 554, "dst_ip": "10.1.0.2", "dst_port": 52274,
        "tcp": {"flags": "PA", "seq": 679373596, "ack": 640745703, "window": 64},
        "filter": {"name": "rtsp", "mode": "enforce", "profile": "strict", "finding": "missing-cseq", "offset": 123,
                   "excerpt": "RTSP/1.0 200 OK"},
        "rule": "cameras", "suppressed": 0,
        "packet": {"link": "ethernet", "length": 1514, "bytes": "AgAAAAABAgAAAAACCABFAAA="}
    }))
}

/// IPv6, a tunnel's interface, no packet, no ports, no headers at all, a number for a protocol.
fn others() -> Vec<Event> {
    vec![
        event(json!({
            "timestamp": "2026-01-02T03:04:08.5Z", "event": "packet_dropped", "event_id": 7169,
            "reason": "FWX_E_SEQ_ACK_MISMATCH", "code": "0xc0040034", "flow_id": 4096, "interface": "wg0",
            "direction": "original", "transport": "tcp", "src_ip": "2001:db8:aaaa:bbbb::17", "src_port": 40000,
            "dst_ip": "fd00:2::2", "dst_port": 22, "suppressed": 0, "adopted": true,
            "tcp": {"flags": "A", "seq": 5, "ack": 9, "window": 64, "expected": [10, 20], "expected_ack": [1, 2]},
            "community_id": "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            "packet": {"link": "ip", "length": 60, "bytes": "YAAAAA=="}
        })),
        event(json!({
            "timestamp": "2026-01-02T03:04:09.000000000Z", "event": "connection_closed", "event_id": 1024,
            "reason": "FWX_E_TCP_NO_SERVER_REPLY", "code": "0xc0040038", "flow_id": 8192, "interface": "lan0",
            "transport": "tcp", "src_ip": "10.1.0.2", "src_port": 40001, "dst_ip": "192.168.100.200",
            "dst_port": 65535, "parent": 2049, "suppressed": 0,
            "totals": {"started": "2026-01-02T03:03:39.000000000Z", "packets": [3, 0], "bytes": [180, 0]}
        })),
        event(json!({
            "timestamp": "2026-01-02T03:04:10.000000000Z", "event": "packet_dropped", "event_id": 9216,
            "reason": "FWX_E_POLICY_RULES_DENIED", "code": "0xc004000d", "interface": "#7", "transport": "47",
            "src_ip": "10.1.0.3", "dst_ip": "10.2.0.3", "suppressed": 0
        })),
        event(json!({
            "timestamp": "2026-01-02T03:04:10.000000001Z", "event": "packet_dropped", "event_id": 9217,
            "reason": "FWX_E_IP6_EXTENSION_HEADERS_DROPPED", "code": "0xc0f00004", "interface": "lan0",
            "suppressed": 0
        })),
    ]
}

/// One whose every text was chosen by somebody who means harm.
fn hostile(text: &str) -> Event {
    event(json!({
        "timestamp": text, "event": text, "event_id": 1, "instance": text, "reason": text, "code": text, "flow_id": 2,
        "interface": text, "direction": text, "protocol": text, "transport": text, "src_ip": "10.1.0.2",
        "src_port": 1, "dst_ip": "10.2.0.2", "dst_port": 2, "rule": text, "message": text, "community_id": text,
        "tcp": {"flags": text, "seq": 1, "ack": 2, "window": 3, "expected": [1, 2], "expected_ack": [3, 4]},
        "filter": {"name": text, "mode": text, "profile": text, "finding": text, "offset": 4, "excerpt": text},
        "parent": 3, "caused_by": 4, "suppressed": 5, "adopted": true,
        "totals": {"started": text, "packets": [1, 2], "bytes": [3, 4]},
        "packet": {"link": "ethernet", "length": 60, "bytes": "AAAA"}
    }))
}

/// Texts in which what a terminal obeys is frequent.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[\u{0}-\u{20}\u{7f}-\u{9f}\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2066}-\u{2069}aT:]{0,40}",
    ]
}
