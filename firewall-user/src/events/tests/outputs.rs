//! Lines of each output.

use std::collections::BTreeSet;

use expect_test::expect;
use proptest::prelude::*;
use serde_json::Value;

use super::{event, hostile, others, story, text};
use crate::{
    error::BadInput,
    event::Event,
    events::{Compact, Fields, Isa, Printer},
};

const HARM: &str = "a\x1b[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é";

fn printed(mut printer: Printer, events: &[Event]) -> String {
    let header = printer.header().into_iter();
    let lines = events.iter().map(|event| printer.line(event).unwrap());
    let lines: Vec<_> = header.chain(lines.collect::<Vec<_>>()).collect();
    anstream::adapter::strip_str(&(lines.join("\n") + "\n")).to_string()
}

fn compact() -> Printer {
    Printer::Compact(Compact::default())
}

fn fields(list: &str) -> Printer {
    Printer::Fields(Fields::parse(list).unwrap())
}

#[test]
fn the_story_is_read_at_a_glance() {
    expect![[r#"
        2026-01-02 03:04:05.000 note                         controller started: attached anew
        2026-01-02 03:04:06.036 opened                      tcp/rtsp 10.1.0.2:52274        -> 10.2.0.2:554           rule cameras  lan0  [A]  flow 2049
        2026-01-02 03:04:07.160 KILL    CONNECTION_KILLED   tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274           kill 5120  rtsp/missing-cseq at byte 123 (enforce, strict): "RTSP/1.0 200 OK"  rule cameras  wan0  [PA]  flow 2049
        2026-01-02 03:04:07.367 drop    TCP_NOT_SYN         tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274         ← kill 5120  rule cameras  wan0  [PA]  flow 2049  (3 more before it)
    "#]].assert_eq(&printed(compact(), &story()));
}

#[test]
fn lines_behind_a_wide_one_are_aligned_with_it() {
    let events: Vec<_> = story().into_iter().skip(1).chain(others()).collect();
    expect![[r#"
        2026-01-02 03:04:06.036 opened                      tcp/rtsp 10.1.0.2:52274        -> 10.2.0.2:554           rule cameras  lan0  [A]  flow 2049
        2026-01-02 03:04:07.160 KILL    CONNECTION_KILLED   tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274           kill 5120  rtsp/missing-cseq at byte 123 (enforce, strict): "RTSP/1.0 200 OK"  rule cameras  wan0  [PA]  flow 2049
        2026-01-02 03:04:07.367 drop    TCP_NOT_SYN         tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274         ← kill 5120  rule cameras  wan0  [PA]  flow 2049  (3 more before it)
        2026-01-02T03:04:08.5Z  drop    SEQ_ACK_MISMATCH    tcp      [2001:db8:aaaa:bbbb::17]:40000 -> [fd00:2::2]:22         wg0  [A] seq 5 expected 10 to 20 ack 9 expected 1 to 2  flow 4096  adopted
        2026-01-02 03:04:09.000 closed  TCP_NO_SERVER_REPLY tcp      10.1.0.2:40001                 -> 192.168.100.200:65535  lan0  3+0 packets, 180+0 bytes  flow 8192  announced by flow 2049
        2026-01-02 03:04:10.000 drop    POLICY_RULES_DENIED 47       10.1.0.3                       -> 10.2.0.3               #7
        2026-01-02 03:04:10.000 drop    IP6_EXTENSION_HEADERS  lan0
    "#]].assert_eq(&printed(compact(), &events));
}

#[test]
fn a_kill_stands_out() {
    let mut compact = Compact::default();
    let lines: Vec<_> = story().iter().skip(2).map(|event| compact.line(event)).collect();
    expect![[r#"
        ESC[2m2026-01-02 03:04:07.160ESC[0m ESC[1mESC[31mKILLESC[0m    ESC[1mESC[31mCONNECTION_KILLEDESC[0m   tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274         ESC[1mESC[31m  kill 5120ESC[0m  rtsp/missing-cseq at byte 123 (enforce, strict): "RTSP/1.0 200 OK"  rule cameras  wan0  [PA]  flow 2049
        ESC[2m2026-01-02 03:04:07.367ESC[0m ESC[33mdropESC[0m    ESC[33mTCP_NOT_SYNESC[0m         tcp/rtsp 10.2.0.2:554          -> 10.1.0.2:52274         ESC[1mESC[31m← kill 5120ESC[0m  rule cameras  wan0  [PA]  flow 2049  (3 more before it)"#]].assert_eq(&lines.join("\n").replace('\x1b', "ESC"));
}

#[test]
fn who_comes_from_isa_finds_what_he_knows() {
    let events: Vec<_> = story().into_iter().chain(others()).collect();
    expect![[r#"
        Log Time                Client IP and Port    Destination IP  Destination Port Protocol Action                    Rule          Result Code
        2026-01-02 03:04:05.000 -                     -               -                -        -                         -             -  controller started: attached anew
        2026-01-02 03:04:06.036 10.1.0.2:52274        10.2.0.2        554              rtsp     Initiated Connection      cameras       0x0 ERROR_SUCCESS
        2026-01-02 03:04:07.160 10.1.0.2:52274        10.2.0.2        554              rtsp     Closed Connection         cameras       0x80074e24 FWX_E_CONNECTION_KILLED
        2026-01-02 03:04:07.367 10.2.0.2:554          10.1.0.2        52274            rtsp     Denied Connection         cameras       0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED
        2026-01-02 03:04:08.5Z  [2001:db8:aaaa:bbbb::17]:40000 fd00:2::2       22               tcp      Denied Connection         Default rule  0xc0040034 FWX_E_SEQ_ACK_MISMATCH
        2026-01-02 03:04:09.000 10.1.0.2:40001                 192.168.100.200 65535            tcp      Failed Connection Attempt Default rule  0xc0040038 FWX_E_TCP_NO_SERVER_REPLY
        2026-01-02 03:04:10.000 10.1.0.3                       10.2.0.3        -                47       Denied Connection         Default rule  0xc004000d FWX_E_POLICY_RULES_DENIED
        2026-01-02 03:04:10.000 -                              -               -                -        Denied Connection         -             0xc0f00004 FWX_E_IP6_EXTENSION_HEADERS_DROPPED
    "#]].assert_eq(&printed(Printer::Isa(Isa::default()), &events));
}

#[test]
fn fields_by_choice() {
    let list = "time,src,dst,reason,filter.finding,tcp.expected,totals.packets,packet.length";
    let events: Vec<_> = story().into_iter().chain(others()).collect();
    expect![[r#"
        time	src	dst	reason	filter.finding	tcp.expected	totals.packets	packet.length
        2026-01-02T03:04:05.000000001Z	-	-	-	-	-	-	-
        2026-01-02T03:04:06.036023777Z	10.1.0.2:52274	10.2.0.2:554	-	-	-	-	-
        2026-01-02T03:04:07.160324862Z	10.2.0.2:554	10.1.0.2:52274	FWX_E_CONNECTION_KILLED	missing-cseq	-	-	1514
        2026-01-02T03:04:07.367788827Z	10.2.0.2:554	10.1.0.2:52274	FWX_E_TCP_NOT_SYN_PACKET_DROPPED	-	-	-	70
        2026-01-02T03:04:08.5Z	[2001:db8:aaaa:bbbb::17]:40000	[fd00:2::2]:22	FWX_E_SEQ_ACK_MISMATCH	-	10,20	-	60
        2026-01-02T03:04:09.000000000Z	10.1.0.2:40001	192.168.100.200:65535	FWX_E_TCP_NO_SERVER_REPLY	-	-	3,0	-
        2026-01-02T03:04:10.000000000Z	10.1.0.3	10.2.0.3	FWX_E_POLICY_RULES_DENIED	-	-	-	-
        2026-01-02T03:04:10.000000001Z	-	-	FWX_E_IP6_EXTENSION_HEADERS_DROPPED	-	-	-	-
    "#]].assert_eq(&printed(fields(list), &events));
    assert!(Fields::parse(list).unwrap().need_packets());
    assert!(!Fields::parse("time").unwrap().need_packets());
}

#[test]
fn no_text_of_an_event_escapes_its_place() {
    let hostile = [hostile(HARM)];
    expect![[r#"
        a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é/a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é 10.1.0.2:1            -> 10.2.0.2:2             ← kill 4  a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é  a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é/a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é at byte 4 (a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é, a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é): "a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é"  rule "a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é"  a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é  [a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é] seq 1 expected 1 to 2 ack 2 expected 3 to 4  1+2 packets, 3+4 bytes  flow 2  announced by flow 3  adopted  (5 more before it)
    "#]].assert_eq(&printed(compact(), &hostile));
    expect![[r#"
        Log Time                Client IP and Port    Destination IP  Destination Port Protocol Action                    Rule          Result Code
        a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é 10.1.0.2:1            10.2.0.2        2                a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é -                         a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é  a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é  a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é
    "#]].assert_eq(&printed(Printer::Isa(Isa::default()), &hostile));
    expect![[r#"
        time	event	rule	filter.excerpt	message
        a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é	a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é	a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é	a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é	a\u{1b}[2J\u{9b}31m\r\n\t\u{202e}\u{200b}\0é
    "#]].assert_eq(&printed(fields("time,event,rule,filter.excerpt,message"), &hostile));
    let json = printed(Printer::Json, &hostile);
    assert_eq!(event(serde_json::from_str(&json).unwrap()), hostile[0]);
    expect![[r#"
        {"timestamp":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","event":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","event_id":1,"instance":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","reason":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","code":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","flow_id":2,"parent":3,"interface":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","direction":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","protocol":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","transport":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","src_ip":"10.1.0.2","src_port":1,"dst_ip":"10.2.0.2","dst_port":2,"tcp":{"flags":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","seq":1,"ack":2,"window":3,"expected":[1,2],"expected_ack":[3,4]},"filter":{"name":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","mode":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","profile":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","finding":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","offset":4,"excerpt":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é"},"adopted":true,"rule":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","caused_by":4,"suppressed":5,"totals":{"started":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","packets":[1,2],"bytes":[3,4]},"community_id":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é","packet":{"link":"ethernet","length":60,"bytes":"AAAA"},"message":"a\u001b[2J\u009b31m\r\n\t\u202e\u200b\u0000é"}
    "#]].assert_eq(&json);
}

#[test]
fn a_field_that_is_none_is_bad_input() {
    for (list, said) in [
        ("time,sorce", "--fields sorce: events have no such field; did you mean src?"),
        ("reason,flow", "--fields flow: events have no such field; did you mean"),
        ("tcp", "--fields tcp: events have tcp.flags, tcp.seq, tcp.ack"),
        ("finding", "--fields finding: events have filter.finding instead"),
        ("nonsense_of_some_length", "there are time, src, dst, timestamp, event, event_id"),
        ("", "--fields : events have no such field"),
    ] {
        let error = Fields::parse(list).unwrap_err();
        assert!(error.is::<BadInput>() && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn every_field_of_the_json_can_be_chosen() {
    let json = serde_json::to_value(hostile("x")).unwrap();
    let mut names = BTreeSet::new();
    leaves(&json, "", &mut names);
    let error = Fields::parse("nonsense_of_some_length").unwrap_err().to_string();
    let listed = error.split_once("there are ").unwrap().1;
    let listed = listed.split(", ").filter(|name| !["time", "src", "dst"].contains(name));
    assert_eq!(names, listed.map(str::to_owned).collect());
}

fn leaves(value: &Value, prefix: &str, names: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().unwrap() {
        let name = format!("{prefix}{name}");
        match value {
            Value::Object(_) => leaves(value, &format!("{name}."), names),
            _ => assert!(names.insert(name)),
        }
    }
}

proptest! {
    #[test]
    fn whatever_an_event_holds_is_one_line(text in text()) {
        let event = hostile(&text);
        let all = "time,src,reason,rule,tcp.flags,filter.excerpt,filter.name,message,totals.started";
        for mut printer in [compact(), Printer::Isa(Isa::default()), fields(all), Printer::Json] {
            let is_fields = matches!(printer, Printer::Fields(_));
            let line = printer.line(&event).unwrap();
            let tabs = line.matches('\t').count();
            prop_assert_eq!(tabs, if is_fields { all.matches(',').count() } else { 0 });
            // Nothing but the colours begins with an escape character, and they are gone here.
            let seen = anstream::adapter::strip_str(&line).to_string().replace('\t', "");
            prop_assert_eq!(crate::events::printable(&seen), seen.as_str());
            let colours = line.split('\x1b').skip(1).all(|it| it.starts_with('[') && it.contains('m'));
            prop_assert!(colours);
            if let Printer::Json = printer {
                let same: Event = serde_json::from_str(&line).unwrap();
                prop_assert_eq!(&same, &event);
            }
        }
    }
}
