//! Stories, as they are told.

mod any;
mod documented;
mod joins;
mod questions;
mod stories;

use serde_json::{Value, json};

use super::{Context, Question, Story, read};
use crate::{event::Event, events::Criteria};

/// 2026-11-23T10:00:00Z.
const NOW: i128 = 1_795_428_000_000_000_000;

/// What `words` and options ask.
fn question(words: &[&str], options: &[(&str, &str)]) -> Question {
    let mut criteria = json!({});
    for (option, value) in options {
        criteria[*option] = match *option {
            "since" | "until" => json!(value),
            _ => json!([value]),
        };
    }
    let criteria: Criteria = serde_json::from_value(criteria).unwrap();
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    Question::new(&words, criteria, NOW).unwrap()
}

fn told(events: &[Event], question: &Question) -> String {
    told_with(events, question, Context::default())
}

fn told_with(events: &[Event], question: &Question, context: Context) -> String {
    let all = context.all;
    Story::of(events.to_vec(), question, context).text(all)
}

/// Events that were recorded: the capture of the story, replayed with the strict profile.
fn recorded() -> Vec<Event> {
    read("story.json", &include_bytes!("story.json")[..]).unwrap().events
}

/// An event at `seconds` past 09:00, number `id`.
fn event(seconds: f64, id: u64, kind: &str, fields: Value) -> Event {
    let (minute, second) = ((seconds / 60.0) as u32, seconds % 60.0);
    let mut event = json!({
        "timestamp": format!("2026-11-23T09:{minute:02}:{second:012.9}Z"),
        "event": kind,
        "event_id": id,
        "interface": "lan0",
    });
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    serde_json::from_value(event).unwrap()
}

/// The ends of a packet over TCP.
fn tcp(source: &str, destination: &str, flags: &str) -> Value {
    let mut fields = ends("tcp", source, destination);
    fields["tcp"] = json!({"flags": flags, "seq": 1, "ack": 2, "window": 64});
    fields
}

fn ends(transport: &str, source: &str, destination: &str) -> Value {
    let end = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let (source, destination) = (end(source), end(destination));
    json!({
        "transport": transport,
        "src_ip": source.ip(), "src_port": source.port(),
        "dst_ip": destination.ip(), "dst_port": destination.port(),
    })
}

/// `fields` with those of `more`.
fn with(mut fields: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

fn not_syn() -> Value {
    json!({"reason": "FWX_E_TCP_NOT_SYN_PACKET_DROPPED", "code": "0xc0040017", "suppressed": 0})
}

fn denied() -> Value {
    json!({"reason": "FWX_E_POLICY_RULES_DENIED", "code": "0xc004000d", "suppressed": 0})
}

fn kill_for(finding: &str, profile: &str) -> Value {
    json!({
        "reason": "FWX_E_CONNECTION_KILLED", "code": "0x80074e24", "protocol": "rtsp", "rule": "cameras",
        "direction": "reply",
        "filter": {
            "name": "rtsp", "mode": "enforce", "profile": profile, "finding": finding,
            "offset": 86, "excerpt": "RTSP/1.0 200 OK",
        },
    })
}

/// The same finding, noted.
fn note_of(finding: &str) -> Value {
    let mut fields = with(
        kill_for(finding, "standard"),
        json!({"reason": "FWX_E_IPS_DETECTED", "code": "0xc004003c"}),
    );
    fields["filter"]["mode"] = json!("monitor");
    fields
}
