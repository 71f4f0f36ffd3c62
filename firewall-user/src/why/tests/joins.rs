//! What belongs together.

use serde_json::json;

use super::{Context, Story, denied, ends, event, kill_for, not_syn, question, tcp, told, with};
use crate::event::Event;

fn story(events: &[Event], words: &[&str], options: &[(&str, &str)]) -> Story {
    Story::of(events.to_vec(), &question(words, options), Context::default())
}

/// A connection of `client` to the camera that was killed, `seconds` past nine, and a drop that names the kill.
fn killed(seconds: f64, flow: u64, client: &str) -> Vec<Event> {
    let of = json!({"flow_id": flow, "rule": "cameras", "protocol": "rtsp"});
    let camera = "10.2.0.2:554";
    let drop = with(with(tcp(camera, client, "PA"), not_syn()), of.clone());
    vec![
        event(
            seconds,
            flow + 1,
            "connection_opened",
            with(with(tcp(client, camera, "A"), of.clone()), json!({"direction": "original"})),
        ),
        event(
            seconds + 0.1,
            flow + 2,
            "connection_killed",
            with(with(tcp(camera, client, "PA"), kill_for("missing-cseq", "strict")), of),
        ),
        event(
            seconds + 0.3,
            flow + 3,
            "packet_dropped",
            with(drop, json!({"caused_by": flow + 2, "direction": "reply"})),
        ),
    ]
}

#[test]
fn connections_that_were_killed_for_the_same_are_told_once() {
    let mut events = Vec::new();
    for number in 0..12_u16 {
        let client = format!("10.1.0.{}:{}", 2 + number % 2, 40_000 + number);
        events.extend(killed(f64::from(number) * 60.0, 10_240 * (u64::from(number) + 1), &client));
    }
    let story = story(&events, &["10.2.0.2"], &[]);
    let [cause] = &story.causes[..] else { panic!("{story:#?}") };
    assert_eq!(
        cause.headline,
        "The filter rtsp killed 12 connections from 10.1.0.2, 10.1.0.3 to 10.2.0.2:554: missing-cseq"
    );
    assert_eq!((cause.events, cause.connections), (12, 12));
    assert_eq!(cause.first, "2026-11-23T09:00:00.100000000Z");
    let [caused] = &cause.caused[..] else { panic!("{cause:#?}") };
    assert_eq!((caused.packets, caused.connections, caused.is_late), (12, 12, false));
    let way = cause.way.as_ref().unwrap();
    assert_eq!(way.connection, "tcp 10.1.0.3:40011 -> 10.2.0.2:554");
    assert!(way.beginning_is_known);
    assert_eq!(way.steps.len(), 3, "{way:#?}");
}

#[test]
fn a_kill_is_found_from_a_drop_that_it_caused_and_the_other_way_round() {
    let events = killed(1.0, 1024, "10.1.0.2:40000");
    for number in ["1026", "1027"] {
        let story = story(&events, &[], &[("event", number)]);
        assert_eq!(story.causes.len(), 1, "{story:#?}");
        assert_eq!(story.causes[0].event_id, 1026);
        assert_eq!(story.causes[0].caused[0].packets, 1);
        assert_eq!(story.events.asked_about, 1);
        assert_eq!(story.events.told, 3);
    }
}

#[test]
fn packets_that_come_after_the_kill_was_forgotten_are_told_with_it() {
    let mut events = killed(1.0, 1024, "10.1.0.2:40000");
    // Before the kill it had another cause.
    events.insert(
        0,
        event(
            0.5,
            7,
            "packet_dropped",
            with(tcp("10.2.0.2:554", "10.1.0.2:40000", "A"), not_syn()),
        ),
    );
    events.push(event(
        200.0,
        5120,
        "packet_dropped",
        with(tcp("10.2.0.2:554", "10.1.0.2:40000", "PA"), not_syn()),
    ));
    let story = story(&events, &[], &[("flow", "1024")]);
    let [kill, other] = &story.causes[..] else { panic!("{story:#?}") };
    let late: Vec<_> = kill.caused.iter().map(|caused| (caused.is_late, caused.packets)).collect();
    assert_eq!(late, [(false, 1), (true, 1)]);
    assert_eq!((other.event_id, other.events), (7, 1));
}

#[test]
fn what_a_connection_announced_is_told_with_its_kill() {
    let mut events = killed(1.0, 1024, "10.1.0.2:40000");
    let media = || {
        with(
            ends("udp", "10.2.0.2:6970", "10.1.0.2:5000"),
            json!({"flow_id": 2048, "parent": 1024}),
        )
    };
    let reason = json!({"reason": "FWX_E_KILLED_FLOW_PACKET_DROPPED", "code": "0xc0f0000c", "caused_by": 1026});
    events.insert(1, event(1.05, 2049, "connection_opened", media()));
    events.push(event(1.4, 2050, "packet_dropped", with(media(), reason)));
    // Asked about the stream alone, and about the control connection alone.
    for asked in [("flow", "2048"), ("port", "554")] {
        let story = story(&events, &[], &[asked]);
        let [cause] = &story.causes[..] else { panic!("{asked:?}: {story:#?}") };
        assert!(cause.headline.starts_with("The filter rtsp killed 1 connection"), "{cause:#?}");
        let reasons: Vec<_> = cause.caused.iter().map(|caused| caused.reason.as_str()).collect();
        assert!(reasons.contains(&"FWX_E_KILLED_FLOW_PACKET_DROPPED"), "{reasons:?}");
        assert!(reasons.contains(&"FWX_E_TCP_NOT_SYN_PACKET_DROPPED"), "{reasons:?}");
    }
}

#[test]
fn a_connection_behind_a_translation_is_found_by_either_name() {
    let mut events = killed(1.0, 1024, "10.1.0.2:40000");
    // What the server sees.
    let outside = json!({"flow_id": 1024, "caused_by": 1026, "direction": "reply"});
    events.push(event(
        1.5,
        1029,
        "packet_dropped",
        with(with(tcp("10.2.0.2:554", "192.0.2.1:61000", "PA"), not_syn()), outside),
    ));
    for asked in ["192.0.2.1", "10.1.0.2"] {
        let story = story(&events, &[asked], &[]);
        assert_eq!(story.causes.len(), 1, "{asked}: {story:#?}");
        assert_eq!(story.causes[0].caused[0].packets, 2, "{asked}");
    }
}

#[test]
fn a_kill_that_is_not_known_any_more_is_said_to_be_so() {
    let events = &killed(1.0, 1024, "10.1.0.2:40000")[2..];
    let text = told(events, &question(&["10.1.0.2"], &[]));
    assert!(
        text.starts_with(
            "1 packet from 10.1.0.2 to 10.2.0.2:554 was dropped because of a kill that is not"
        ),
        "{text}"
    );
    assert!(text.contains("Not known: Who killed and why: event 1026"), "{text}");
}

#[test]
fn what_matters_most_comes_first_and_what_is_as_it_should_be_last() {
    let mut events = vec![
        event(
            0.1,
            1,
            "connection_opened",
            with(tcp("10.1.0.2:1", "10.2.0.2:554", "A"), json!({"flow_id": 9, "rule": "cameras"})),
        ),
        event(0.2, 2, "packet_dropped", with(tcp("10.1.0.2:2", "10.2.0.2:80", "S"), denied())),
        event(0.3, 3, "packet_dropped", with(tcp("10.1.0.2:3", "10.2.0.2:80", "S"), denied())),
    ];
    events.extend(killed(1.0, 1024, "10.1.0.2:40000"));
    let story = story(&events, &["10.1.0.2"], &[]);
    let headlines: Vec<_> = story.causes.iter().map(|cause| cause.headline.as_str()).collect();
    assert_eq!(
        headlines,
        [
            "The filter rtsp killed 1 connection from 10.1.0.2 to 10.2.0.2:554: missing-cseq",
            "2 packets from 10.1.0.2 to 10.2.0.2:80 were refused by the default: no rule lets it in",
            "1 connection from 10.1.0.2 to 10.2.0.2:554: let in by rule \"cameras\", and no event tells of an end",
        ]
    );
}

#[test]
fn events_of_others_are_left_out() {
    let mut events = killed(1.0, 1024, "10.1.0.2:40000");
    events.extend(killed(2.0, 20_480, "10.1.0.9:40000"));
    let story = story(&events, &["10.1.0.9"], &[]);
    assert_eq!((story.events.looked_at, story.events.told), (6, 3));
    assert_eq!(story.causes[0].event_id, 20_482);
}

#[test]
fn a_scan_is_told_within_bounds() {
    let scan = |port: u16| {
        let fields = with(tcp("10.1.0.2:40000", &format!("10.2.0.2:{port}"), "S"), denied());
        event(f64::from(port) / 1000.0, u64::from(port), "packet_dropped", fields)
    };
    let events: Vec<_> = (1..=3_000).map(scan).collect();
    let story = story(&events, &["10.2.0.2"], &[]);
    assert_eq!(story.causes.len(), 1_000);
    assert!(
        story.not_known[0].starts_with("What there is to say of 2000 other matters"),
        "{story:#?}"
    );
    let text = story.text(false);
    assert!(text.contains("\n  and 975 other matters\n"), "{text}");
    assert!(text.lines().count() < 300, "{text}");
}

#[test]
fn what_memory_had_no_room_for_is_said_of_either_sort() {
    let asked = question(&["10.9.9.9"], &[]);
    let said = |kind: &str, other: &str, number: usize| {
        let at = |number: usize| 60.0 + number as f64 / 1_000.0;
        let of = |number| event(at(number), number as u64, kind, json!({}));
        let events: Vec<_> =
            [event(0.0, 0, other, json!({}))].into_iter().chain((1..=number).map(of)).collect();
        let context = Context { origin: crate::why::Origin::Controller, ..Context::default() };
        Story::of(events, &asked, context).not_known.join("\n")
    };
    for (kind, other, what) in [
        ("packet_dropped", "control", "Drops, findings, and connections opened and closed"),
        ("connection_killed", "packet_dropped", "Kills and what the controller said"),
    ] {
        let forgotten = format!("{what} before 2026-11-23T09:01:00.001000000Z, ");
        let full = said(kind, other, crate::hub::ROOM);
        assert!(full.contains(&forgotten), "{full}");
        let not_full = said(kind, other, crate::hub::ROOM - 1);
        assert!(!not_full.contains(" before "), "{not_full}");
    }
}
