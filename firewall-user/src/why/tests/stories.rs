//! Whole stories.

use expect_test::expect;
use serde_json::json;

use super::{
    Context, denied, event, kill_for, not_syn, note_of, question, recorded, tcp, told, told_with,
    with,
};
use crate::{policy::Policy, status::FilterStatus};

#[test]
fn the_story_as_it_was_recorded() {
    let asked = question(&[], &[("dst", "10.2.0.2"), ("port", "554"), ("flow", "1024")]);
    let context = Context { instance: Some("branch".to_owned()), ..Context::default() };
    expect![[r#"
        The filter rtsp killed 1 connection from 10.1.0.2 to 10.2.0.2:554: missing-cseq

          what        0x80074e24 FWX_E_CONNECTION_KILLED, 2026-11-22 21:19:29.267, event 2048
          let in by   rule "cameras"
          filter      rtsp, mode enforce, profile strict, of protocol rtsp
          finding     missing-cseq: the message has no CSeq header, so replies cannot be matched to requests
                      (RFC 2326 §12.17)
          profiles    standard: note, strict: kill, in mode enforce
          bytes       at byte 86 of what 10.2.0.2:554 sent: "RTSP/1.0 200 OK"
          caused      15 packets of the connection dropped, 2026-11-22 21:19:29.268 to 21:19:29.288:
                      0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED
          means       The connection was ended by RSTs to both ends. What the ends send after that belongs
                      to no connection and is dropped; those drops are no trouble of their own.

          Its way: tcp 10.1.0.2:35668 -> 10.2.0.2:554, flow 1024
            21:19:29.264  complete on lan0, let in by rule "cameras"
            21:19:29.267  killed on lan0: filter rtsp (enforce, strict) found missing-cseq at byte 86:
                          "RTSP/1.0 200 OK"
            21:19:29.268  packet dropped on lan0 because of event 2048, 0xc0040017
                          FWX_E_TCP_NOT_SYN_PACKET_DROPPED (15 times, until 21:19:29.288)

          What ends it, what gives up least first:

            fwx --instance branch filter mode rtsp enforce --profile standard
              The profile standard only notes missing-cseq; the filter goes on killing what is no RTSP.
              Gives up: 14 other departures from the grammar that strict kills for are only noted, too.

            fwx --instance branch filter mode rtsp monitor
              The filter goes on reading and only tells what it finds; from the next packet on it kills
              nothing.
              Gives up: what it would end gets through, on every connection of protocol rtsp: also what is
              no RTSP at all.

            fwx --instance branch filter unbind rtsp
              Connections of protocol rtsp pass unread.
              Gives up: no findings any more, and no pinholes: where the default denies, UDP streams that
              are announced need a rule of their own.

          A command takes effect at once, on live connections too, until a policy is loaded that says
          something else; a connection that was killed does not come back, its client has to begin another.

        Told by 38 events that are known, from 2026-11-22 21:19:29.264 to 2026-11-22 21:19:30.400 (UTC): 17
        about --dst 10.2.0.2 --flow 1024 --port 554.
    "#]].assert_eq(&told_with(&recorded(), &asked, context));
}

#[test]
fn a_rule_that_refuses_and_a_client_that_tries_again() {
    let syn = |seconds, id, port: u16| {
        let fields = with(tcp(&format!("10.1.0.2:{port}"), "10.2.0.2:80", "S"), denied());
        event(
            seconds,
            id,
            "packet_dropped",
            with(fields, json!({"rule": "no-web", "protocol": "web"})),
        )
    };
    let events = [
        syn(1.0, 1024, 40000),
        syn(2.0, 2048, 40000),
        syn(4.0, 3072, 40000),
        syn(9.0, 4096, 40002),
    ];
    let policy = "[gateway]\ninterfaces = [\"lan0\"]\n[protocol.web]\ntransport = \"tcp\"\nports = [80]\n\
                  [[rule]]\nname = \"no-web\"\naction = \"reject\"\nprotocols = [\"web\"]\n\
                  [[rule]]\nname = \"quiet\"\naction = \"allow\"\nlog = false\n";
    let context = Context {
        policy: Some(Policy::parse("policy.toml", policy).unwrap()),
        counters: Some([("FWX_E_POLICY_RULES_DENIED".to_owned(), 17)].into()),
        ..Context::default()
    };
    expect![[r#"
        4 packets from 10.1.0.2 to 10.2.0.2:80 were refused by rule "no-web"

          what        0xc004000d FWX_E_POLICY_RULES_DENIED, 2026-11-23 09:00:01.000 to 09:00:09.000, the
                      last event 4096
          refused by  rule "no-web"
          means       Rules are tried in the order of the policy, and the first that matches decides; where
                      none does, the default does. Packets of flows that were let in are not judged again.
          usually     No rule names this source, destination and port together.
          or          A rule that denies stands before the one that would allow.
          or          A flow that was announced to a filter came after its session had ended: then rules
                      decide again.
          seen        4 SYNs of 2 attempts: a client that gets no answer repeats its SYN.
          now         The policy in force decides about tcp 10.1.0.2:40002 -> 10.2.0.2:80 on lan0: reject by
                      rule "no-web"; tcp port 80 is of protocol `web`. `fwx check POLICY --explain 'tcp
                      10.1.0.2:40002 -> 10.2.0.2:80 on lan0'` says which rules it passes over and why.
          now         17 packets were dropped for this reason in all, of whomever (exact, since the firewall
                      was brought up).

          The last of them: tcp 10.1.0.2:40002 -> 10.2.0.2:80
            09:00:09.000  packet from 10.1.0.2:40002 [S] dropped on lan0, 0xc004000d
                          FWX_E_POLICY_RULES_DENIED

          What ends it, what gives up least first:

            # It has to stand before the rule "no-web".
            [network.host-10-1-0-2]
            prefixes = ["10.1.0.2/32"]

            [network.host-10-2-0-2]
            prefixes = ["10.2.0.2/32"]

            [[rule]]
            name = "web from 10.1.0.2 to 10.2.0.2"
            action = "allow"
            from = ["host-10-1-0-2"]
            to = ["host-10-2-0-2"]
            protocols = ["web"]
              Lets just this in: the source, the destination, the port.
              Gives up: whoever has this source address may begin such flows.

            fwx apply --shadow FILE
              Tries a changed policy beside the one in force: `fwx shadow diff` tells what it would do.
              Gives up: nothing: it only compares.

          Lines of a policy go into its file; then `fwx check FILE` and `fwx apply FILE`. A table that the
          file has already is not to be written again: put the keys there.

        Told by 4 events that are known, from 2026-11-23 09:00:01.000 to 2026-11-23 09:00:09.000 (UTC): 4
        about 10.2.0.2:80.
        Not known: What rules with `log = false` refused or let in: "quiet". `fwx rules` counts it.
    "#]].assert_eq(&told_with(&events, &question(&["10.2.0.2:80"], &[]), context));
}

#[test]
fn answers_whose_question_went_another_way() {
    let answer = |seconds, id| {
        event(
            seconds,
            id,
            "packet_dropped",
            with(tcp("10.2.0.2:443", "10.1.0.2:40000", "SA"), not_syn()),
        )
    };
    let held_back = with(tcp("10.9.0.9:1", "10.9.0.8:2", "A"), not_syn());
    let events = [
        event(0.5, 1023, "control", json!({"message": "controller started: attached anew"})),
        answer(1.0, 1024),
        answer(2.0, 2048),
        event(3.0, 3072, "packet_dropped", with(held_back, json!({"suppressed": 40}))),
    ];
    expect![[r#"
        2 packets from 10.1.0.2 to 10.2.0.2:443 were dropped: a TCP segment of no known connection that is
        no SYN

          what        0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED, 2026-11-23 09:00:01.000 to 09:00:02.000,
                      the last event 2048
                      besides: at most 40 packets with this reason in that time, of whomever, of which no
                      event tells
          means       A TCP connection begins with a SYN, and the firewall knows no connection that the
                      segment could be of.
          usually     Only one direction comes by this gateway (asymmetric routing): the SYN went another
                      way.
          or          The connection is older than the firewall, and the kernel's connection tracking did
                      not know it.
          or          It was silent for longer than its timeout, and was forgotten.
          or          It is a straggler of a connection that has ended.
          seen        2 packets among them are answers to a SYN that did not come by here: the two
                      directions go different ways.

          Its way: tcp 10.1.0.2:40000 -> 10.2.0.2:443
            09:00:01.000  packet from 10.2.0.2:443 [SA] dropped on lan0, 0xc0040017
                          FWX_E_TCP_NOT_SYN_PACKET_DROPPED (2 times, until 09:00:02.000)

          What ends it, what gives up least first:

            [[asymmetric]]
            prefixes = ["10.2.0.2/32"]
              Lets connections with this address live of which only one direction comes by here.
              Gives up: for this address a connection may begin in its midst, and sequence numbers are not
              judged.

            [gateway]
            new_flow = "monitor"
              Lets such segments pass, as far as the rules allow, and tells of each.
              Gives up: that every connection begins with a SYN: scans by other segments get through.

          Lines of a policy go into its file; then `fwx check FILE` and `fwx apply FILE`. A table that the
          file has already is not to be written again: put the keys there.

        Told by 4 events that are known, from 2026-11-23 09:00:00.500 to 2026-11-23 09:00:03.000 (UTC): 2
        about 10.1.0.2.
    "#]].assert_eq(&told(&events, &question(&["10.1.0.2"], &[])));
}

#[test]
fn a_finding_that_was_noted_and_a_kill_that_cannot_happen_any_more() {
    let ends = || tcp("10.2.0.2:554", "10.1.0.2:40000", "PA");
    let of = |flow: u64| json!({"flow_id": flow});
    let events = [
        event(
            1.0,
            1024,
            "connection_killed",
            with(with(ends(), kill_for("not-rtsp", "standard")), of(1)),
        ),
        event(
            1.5,
            2047,
            "control",
            json!({"message": "filter of protocol rtsp: rtsp monitor (standard) (was rtsp enforce (standard))"}),
        ),
        event(2.0, 2048, "filter_finding", with(with(ends(), note_of("odd-spacing")), of(2))),
    ];
    let binding = FilterStatus {
        protocol: "rtsp".to_owned(),
        transport: "tcp".to_owned(),
        ports: Vec::new(),
        filter: Some("rtsp".to_owned()),
        mode: "monitor".to_owned(),
        profile: "standard".to_owned(),
        segments: 9,
        findings: 2,
        kills: 1,
        held: 0,
    };
    let context = Context { bindings: Some(vec![binding]), ..Context::default() };
    expect![[r#"
        The filter rtsp killed 1 connection from 10.1.0.2 to 10.2.0.2:554: not-rtsp

          what        0x80074e24 FWX_E_CONNECTION_KILLED, 2026-11-23 09:00:01.000, event 1024
          let in by   rule "cameras"
          filter      rtsp, mode enforce, profile standard, of protocol rtsp
          finding     not-rtsp: neither a request, nor a response, nor an interleaved frame begins here (RFC
                      2326 §4, §6.1, §7.1, §10.12)
          profiles    standard: kill, strict: kill, in mode enforce
          bytes       at byte 86 of what 10.2.0.2:554 sent: "RTSP/1.0 200 OK"
          switched    09:00:01.500 filter of protocol rtsp: rtsp monitor (standard) (was rtsp enforce
                      (standard))
          means       The connection was ended by RSTs to both ends. What the ends send after that belongs
                      to no connection and is dropped; those drops are no trouble of their own.
          now         The filter of rtsp is in mode monitor now: it kills nothing any more.

          Its way: tcp 10.1.0.2:40000 -> 10.2.0.2:554, flow 1
            its beginning is not among the events that are known
            09:00:01.000  killed on lan0: filter rtsp (enforce, standard) found not-rtsp at byte 86:
                          "RTSP/1.0 200 OK"

        The filter rtsp noted odd-spacing once in 1 connection from 10.1.0.2 to 10.2.0.2:554, and let it
        pass

          what        0xc004003c FWX_E_IPS_DETECTED, 2026-11-23 09:00:02.000, event 2048
          let in by   rule "cameras"
          filter      rtsp, mode monitor, profile standard, of protocol rtsp
          finding     odd-spacing: blanks stand where the grammar has none, or one is missing (RFC 2326
                      §6.1, §7.1, §15.1)
          profiles    standard: note, strict: kill, in mode enforce
          bytes       at byte 86 of what 10.2.0.2:554 sent: "RTSP/1.0 200 OK"
          switched    09:00:01.500 filter of protocol rtsp: rtsp monitor (standard) (was rtsp enforce
                      (standard))
          means       The packet passed: the filter's mode is `monitor`, or its profile lives with what was
                      found.
          seen        In mode enforce the profile standard notes it, the profile strict kills the
                      connection.

          Its way: tcp 10.1.0.2:40000 -> 10.2.0.2:554, flow 2
            its beginning is not among the events that are known
            09:00:02.000  passed on lan0, and noted: filter rtsp (monitor, standard) found odd-spacing at
                          byte 86: "RTSP/1.0 200 OK"

        Told by 3 events that are known, from 2026-11-23 09:00:01.000 to 2026-11-23 09:00:02.000 (UTC): 2
        about --port 554.
    "#]].assert_eq(&told_with(&events, &question(&[], &[("port", "554")]), context));
}

#[test]
fn nothing_is_known() {
    let policy = "[gateway]\ninterfaces = [\"lan0\"]\n";
    let context = Context {
        policy: Some(Policy::parse("policy.toml", policy).unwrap()),
        ..Context::default()
    };
    let asked = question(&["10.9.9.9", "10.2.0.2:80"], &[]);
    expect![[r#"
        Nothing is known about 10.9.9.9 10.2.0.2:80: no event, and no connection that lives.
        What the policy in force says of such a flow:
          tcp 10.9.9.9 -> 10.2.0.2:80: deny
            the policy has no rules, so the default decides: deny
            tcp port 80 belongs to no protocol of the policy, so no filter reads it

        Told by 38 events that are known, from 2026-11-22 21:19:29.264 to 2026-11-22 21:19:30.400 (UTC): 0
        about 10.9.9.9 10.2.0.2:80.
    "#]].assert_eq(&told_with(&recorded(), &asked, context));
}

#[test]
fn a_story_for_programs() {
    let asked = question(&[], &[("event", "2048")]);
    let story = super::Story::of(recorded(), &asked, Context::default());
    let mut json = serde_json::to_value(&story).unwrap();
    // The sentences are those of the text.
    for cause in json["causes"].as_array_mut().unwrap() {
        let remedies = cause["remedies"].as_array().unwrap().iter();
        cause["remedies"] = remedies.filter_map(|remedy| remedy["command"].as_str()).collect();
        cause["means"] = json!("…");
        cause["objection"]["means"] = json!("…");
    }
    expect![[r#"
        {
          "asked": "--event 2048",
          "causes": [
            {
              "caused": [
                {
                  "code": "0xc0040017",
                  "connections": 1,
                  "first": "2026-11-22T21:19:29.268036000Z",
                  "held_back": {
                    "at_least": 0,
                    "at_most": 0
                  },
                  "is_late": false,
                  "last": "2026-11-22T21:19:29.288630000Z",
                  "packets": 15,
                  "reason": "FWX_E_TCP_NOT_SYN_PACKET_DROPPED"
                }
              ],
              "changes": [],
              "clients": [
                "10.1.0.2"
              ],
              "clues": [],
              "code": "0x80074e24",
              "connections": 1,
              "event_id": 2048,
              "events": 1,
              "first": "2026-11-22T21:19:29.267994000Z",
              "headline": "The filter rtsp killed 1 connection from 10.1.0.2 to 10.2.0.2:554: missing-cseq",
              "held_back": {
                "at_least": 0,
                "at_most": 0
              },
              "last": "2026-11-22T21:19:29.267994000Z",
              "means": "…",
              "now": [],
              "objection": {
                "excerpt": "RTSP/1.0 200 OK",
                "filter": "rtsp",
                "finding": "missing-cseq",
                "means": "…",
                "mode": "enforce",
                "offset": 86,
                "profile": "strict",
                "reference": "RFC 2326 §12.17",
                "sent_by": "10.2.0.2:554",
                "standard": "note",
                "strict": "kill"
              },
              "protocol": "rtsp",
              "reason": "FWX_E_CONNECTION_KILLED",
              "remedies": [
                "fwx filter mode rtsp enforce --profile standard",
                "fwx filter mode rtsp monitor",
                "fwx filter unbind rtsp"
              ],
              "rule": "cameras",
              "usually": [],
              "way": {
                "beginning_is_known": true,
                "connection": "tcp 10.1.0.2:35668 -> 10.2.0.2:554",
                "flow_id": 1024,
                "protocol": "rtsp",
                "steps": [
                  {
                    "event_id": 1024,
                    "time": "2026-11-22T21:19:29.264395000Z",
                    "times": 1,
                    "what": "complete on lan0, let in by rule \"cameras\""
                  },
                  {
                    "event_id": 2048,
                    "time": "2026-11-22T21:19:29.267994000Z",
                    "times": 1,
                    "what": "killed on lan0: filter rtsp (enforce, strict) found missing-cseq at byte 86: \"RTSP/1.0 200 OK\""
                  },
                  {
                    "event_id": 3072,
                    "time": "2026-11-22T21:19:29.268036000Z",
                    "times": 15,
                    "until": "2026-11-22T21:19:29.288630000Z",
                    "what": "packet dropped on lan0 because of event 2048, 0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED"
                  }
                ]
              }
            }
          ],
          "events": {
            "asked_about": 1,
            "from": "2026-11-22T21:19:29.264395000Z",
            "looked_at": 38,
            "told": 17,
            "until": "2026-11-22T21:19:30.400227000Z"
          },
          "flows": [],
          "known": true,
          "not_known": []
        }
    "#]].assert_eq(&(serde_json::to_string_pretty(&json).unwrap() + "\n"));
}
