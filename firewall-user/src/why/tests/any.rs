//! Whatever events hold, a story is told of them, and nothing in it moves a terminal.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Context, Story, question};
use crate::event::Event;

fn text() -> impl Strategy<Value = Value> {
    // What is there matters as much as what is hostile.
    let known = prop::sample::select(vec![
        "packet_dropped",
        "connection_killed",
        "connection_closed",
        "connection_opened",
        "filter_finding",
        "control",
        "reply",
        "original",
        "tcp",
        "udp",
        "rtsp",
        "cameras",
        "missing-cseq",
        "FWX_E_CONNECTION_KILLED",
        "FWX_E_TCP_NOT_SYN_PACKET_DROPPED",
        "FWX_E_POLICY_RULES_DENIED",
        "filter of protocol rtsp: unbound\u{1b}[2J",
        "\u{202e}\u{9b}31m\r\n",
        "2026-11-23T09:00:00.000000000Z",
    ]);
    prop_oneof![known.prop_map(Value::from), any::<String>().prop_map(Value::from)]
}

fn address() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["10.1.0.2", "10.2.0.2", "fd00::1"]).prop_map(Value::from)
}

fn small() -> impl Strategy<Value = Value> {
    (0_u64..4).prop_map(Value::from)
}

prop_compose! {
    fn fields()(
        texts in prop::collection::vec(prop::option::weighted(0.7, text()), 9),
        numbers in prop::collection::vec(prop::option::weighted(0.6, small()), 7),
        ends in prop::collection::vec(prop::option::weighted(0.9, address()), 2),
        filter in prop::option::of(prop::collection::vec(text(), 5)),
        flags in prop::option::of(prop::sample::select(vec!["S", "SA", "A", "R", "\u{1b}"])),
        kind in text(),
    ) -> Event {
        let mut event = json!({"timestamp": texts[0].clone().unwrap_or(json!("")), "event": kind, "event_id": 1});
        let names = ["instance", "reason", "code", "interface", "direction", "protocol", "rule", "message"];
        for (name, value) in names.iter().zip(&texts[1..]) {
            event[*name] = json!(value);
        }
        let names = ["flow_id", "parent", "src_port", "dst_port", "caused_by", "suppressed", "event_id"];
        for (name, value) in names.iter().zip(&numbers) {
            if *name != "event_id" || value.is_some() {
                event[*name] = json!(value);
            }
        }
        (event["src_ip"], event["dst_ip"]) = (json!(ends[0]), json!(ends[1]));
        event["transport"] = json!("tcp");
        if let Some([name, mode, profile, finding, excerpt]) = filter.as_deref() {
            event["filter"] = json!({"name": name, "mode": mode, "profile": profile, "finding": finding,
                "offset": 7, "excerpt": excerpt});
        }
        if let Some(flags) = flags {
            event["tcp"] = json!({"flags": flags, "seq": 1, "ack": 2, "window": 3, "expected": [1, 2]});
        }
        serde_json::from_value(event).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_events_make_a_story_that_can_be_printed(
        events in prop::collection::vec(fields(), 0..12),
        all in any::<bool>(),
        asked in prop::sample::select(vec![None, Some("10.2.0.2"), Some("fd00::1")]),
    ) {
        let asked: Vec<_> = asked.into_iter().collect();
        let context = Context { all, ..Context::default() };
        let story = Story::of(events.clone(), &question(&asked, &[]), context);
        let moves = |character: char| {
            character.is_control() && character != '\n'
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        };
        let text = story.text(all);
        prop_assert!(!text.chars().any(moves), "{text:?}");
        let json = serde_json::to_string(&story).unwrap();
        prop_assert!(!json.chars().any(moves), "{json:?}");
        let told: u64 = story.causes.iter().map(|cause| cause.events + cause.caused.iter().map(|it| it.packets).sum::<u64>()).sum();
        prop_assert!(told <= events.len() as u64, "none is told twice");
        // What can be typed is a command with words of a policy and nothing else.
        for command in story.causes.iter().flat_map(|cause| &cause.remedies).filter_map(|it| it.command.as_ref()) {
            prop_assert!(command.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -._/".contains(&byte)), "{command}");
        }
    }
}
