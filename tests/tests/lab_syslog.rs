//! Events as rsyslog takes them: by UDP, TCP and its socket, and after it was away.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use firewall_common::reason::Reason;
use lab::{
    Event, ExportStatus, Fwx, Lab, Mode,
    peers::{
        recorder::Recorder,
        rsyslog::{Message, Rsyslog},
        stray,
        viewer::Viewer,
    },
    policy, wait,
};
use serde_json::Value;

const NOT_SYN: &str = Reason::TcpNotSyn.name();

/// Each way to rsyslog has a facility of its own, by which it is told from the others.
fn policy(rsyslog: &Rsyslog) -> String {
    let exports: String = [
        ("udp", "local1", format!("udp://{}", rsyslog.udp())),
        ("tcp", "local2", format!("tcp://{}", rsyslog.tcp())),
        ("unix", "local3", format!("unix://{}", rsyslog.socket().display())),
    ]
    .map(|(name, facility, to)| {
        format!(
            r#"
[export.{name}]
kind = "syslog"
to = "{to}"
facility = "{facility}"
where = {{ event = ["connection_killed", "packet_dropped"], reason = ["!policy_rules_denied"] }}
"#
        )
    })
    .concat();
    policy::cameras(&["lan0", "wan0"], "strict") + policy::THE_GATEWAY_ITSELF + &exports
}

/// Waits until the message about `event` came by all of `facilities`, and compares it with the event.
fn came(rsyslog: &Rsyslog, event: &Event, facilities: &[&str], severity: &str) {
    let number = event.event_id.to_string();
    for facility in facilities {
        let priority = format!("{facility}.{severity}");
        let message = wait::until(&format!("{} comes as {priority}", event.line), || {
            let messages = rsyslog.messages()?;
            let is_it = |message: &Message| {
                message.priority == priority && message.fields.get("event_id") == Some(&number)
            };
            messages.into_iter().find(is_it).context("it is not there")
        })
        .unwrap();
        assert_eq!(message.kind, event.kind);
        let text: Value = serde_json::from_str(&event.line).unwrap();
        let timestamp = text["timestamp"].as_str().unwrap();
        // rsyslog writes `+00:00` for what comes by its own socket.
        assert_eq!(message.time[..26], timestamp[..26], "{priority}");
        let mut fields = BTreeMap::new();
        flatten("", &text, &mut fields);
        assert_eq!(message.fields, fields);
        assert!(message.line.contains(&event.kind), "{}", message.line);
    }
}

/// The fields as docs/exports.md says that they are called.
fn flatten(name: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let below = |member: &str| match name {
        "" => member.to_owned(),
        name => format!("{name}_{member}"),
    };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(member, value)| flatten(&below(member), value, fields));
        }
        Value::Array(pair) => {
            let is_range = name.starts_with("tcp_expected");
            let ends = if is_range { ["first", "last"] } else { ["original", "reply"] };
            ends.iter().zip(pair).for_each(|(end, value)| flatten(&below(end), value, fields));
        }
        Value::String(text) => {
            fields.insert(name.to_owned(), text.clone());
        }
        other => {
            fields.insert(name.to_owned(), other.to_string());
        }
    }
}

fn exports(fwx: &Fwx) -> Result<Vec<ExportStatus>> {
    let exports = fwx.exports()?;
    ensure!(exports.len() == 3, "status shows {exports:?}");
    Ok(exports)
}

#[test]
fn the_kill_and_its_drops_come_by_every_way_with_all_their_fields() {
    let lab = Lab::single().unwrap();
    let mut rsyslog = Rsyslog::new(&lab.client).unwrap();
    rsyslog.start().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(&rsyslog), Mode::Auto).unwrap();

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
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

    came(&rsyslog, &kill, &["local1", "local2", "local3"], "warning");
    came(&rsyslog, &drop, &["local1", "local2", "local3"], "notice");
    for export in exports(&fwx).unwrap() {
        assert_eq!((export.failed, export.lost, export.failure), (0, 0, None), "{}", export.name);
        assert!(export.sent >= 2, "{}", export.name);
    }
}

#[test]
fn what_waits_for_a_receiver_that_was_killed_comes_when_it_is_back() {
    let lab = Lab::single().unwrap();
    let mut rsyslog = Rsyslog::new(&lab.client).unwrap();
    rsyslog.start().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(&rsyslog), Mode::Auto).unwrap();
    let first = stray::dropped_ack(&lab, &fwx, 40_001).unwrap();
    came(&rsyslog, &first, &["local1", "local2", "local3"], "notice");

    rsyslog.kill().unwrap();
    // By UDP the first goes to nobody, and the host's word of it comes before the next.
    let gone = stray::dropped_ack(&lab, &fwx, 40_002).unwrap();
    let waiting = stray::dropped_ack(&lab, &fwx, 40_003).unwrap();
    wait::until("every export says that nobody is there", || {
        for export in exports(&fwx)? {
            ensure!(export.failure.is_some(), "{} has no failure", export.name);
        }
        Ok(())
    })
    .unwrap();
    rsyslog.start().unwrap();
    came(&rsyslog, &gone, &["local2", "local3"], "notice");
    came(&rsyslog, &waiting, &["local1", "local2", "local3"], "notice");
    let later = stray::dropped_ack(&lab, &fwx, 40_004).unwrap();
    came(&rsyslog, &later, &["local1", "local2", "local3"], "notice");
    for export in exports(&fwx).unwrap() {
        let failed = u64::from(export.name == "udp");
        assert_eq!((export.failed, export.failure), (failed, None), "{}", export.name);
    }
}

/// What the feed keeps for one export, of what comes in masses.
const ROOM: u64 = 10_000;
/// More than that.
const MANY: u64 = 12_000;

#[test]
fn what_comes_while_the_receiver_is_away_is_bounded_and_the_rest_counted() {
    let lab = Lab::single().unwrap();
    let mut rsyslog = Rsyslog::new(&lab.client).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy(&rsyslog), Mode::Auto).unwrap();
    let numbers = 1_000_000..1_000_000 + MANY;
    fwx.publish(numbers.clone().map(|event_id| {
        serde_json::json!({
            "timestamp": "2026-01-02T03:04:05.000000006Z", "event": "packet_dropped",
            "event_id": event_id, "message": "]\"\\\n\u{1b}[2J",
        })
    }))
    .unwrap();
    rsyslog.start().unwrap();

    let sent = wait::until_within(1_500, "nothing waits any more", || {
        let exports = exports(&fwx)?;
        let tcp = exports.iter().find(|export| export.name == "tcp").context("no tcp")?;
        ensure!(tcp.sent + tcp.failed + tcp.lost == MANY, "{tcp:?}");
        Ok(tcp.sent)
    })
    .unwrap();
    assert!((ROOM..MANY).contains(&sent), "{sent} waited");
    let came = wait::until("as many came as were sent", || {
        let mut came = BTreeSet::new();
        for message in rsyslog.messages()? {
            assert_eq!(message.fields["message"], r#"]"\\n\u{1b}[2J"#);
            if message.priority == "local2.notice" {
                came.insert(message.fields["event_id"].parse::<u64>()?);
            }
        }
        ensure!(came.len() as u64 == sent, "{} of {sent} came", came.len());
        Ok(came)
    })
    .unwrap();
    assert!(came.iter().all(|number| numbers.contains(number)));
    assert!(came.contains(&(numbers.end - 1)), "the oldest are lost, not the last");
}
