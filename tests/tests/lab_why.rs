//! The story, told by `fwx why` at the gateway that killed, and ended by each of the commands that it names.

use std::collections::BTreeSet;

use expect_test::expect;
use lab::{
    Fwx, Lab, Mode,
    peers::{
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    policy,
};
use regex::Regex;

const STRICT: &str = "strict";
/// Exit code: nothing is known about it.
const NOTHING: i32 = 1;
/// Exit code: wrong usage or bad input.
const BAD_INPUT: i32 = 2;
const ASKED: [&str; 5] = ["why", "--dst", "10.2.0.2", "--port", "554"];

#[test]
fn the_story_names_filter_finding_bytes_and_drops_and_its_commands_end_it() {
    let lab = Lab::story().unwrap();
    let mut central = Fwx::new(lab.central(), lab.instance("central")).unwrap();
    let mut branch = Fwx::new(lab.branch(), lab.instance("branch")).unwrap();
    central.run(&policy::cameras(&["lan0", "vpn0"], STRICT), Mode::Auto).unwrap();
    branch.run(&policy::cameras(&["vpn0", "cam0"], STRICT), Mode::Auto).unwrap();
    central.filter(&["unbind", "rtsp"]).unwrap();

    let outcome = branch.call(&ASKED).unwrap();
    assert_eq!(outcome.code, Some(NOTHING), "{outcome:?}");
    assert!(outcome.stdout.starts_with("Nothing is known about --dst 10.2.0.2"), "{outcome:?}");

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let port = killed(&lab, &recorder);
    // A drop for sure: the recorder does not in every run repeat what was not acknowledged.
    stray::lone_ack(&lab.camera, recorder.address(), lab.client.socket_v4(port)).unwrap();
    let kill = branch
        .wait_for_event("a drop that names the kill", |event| {
            event.caused_by.is_some() && event.is_between_ports(port, 554)
        })
        .unwrap();
    let story = branch.call(&ASKED).unwrap().success().unwrap();
    assert!(story.contains(&format!("event {}", kill.caused_by.unwrap())), "{story}");
    expect![[r#"
        The filter rtsp killed 1 connection from 10.1.0.2 to 10.2.0.2:554: missing-cseq

          what        0x80074e24 FWX_E_CONNECTION_KILLED, DATE TIME, event N
          let in by   rule "cameras"
          filter      rtsp, mode enforce, profile strict, of protocol rtsp
          finding     missing-cseq: the message has no CSeq header, so replies cannot be matched to requests (RFC 2326 §12.17)
          profiles    standard: note, strict: kill, in mode enforce
          bytes       at byte 86 of what 10.2.0.2:554 sent: "RTSP/1.0 200 OK"
          caused      N packets of the connection dropped, DATE TIME: 0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED
          means       The connection was ended by RSTs to both ends. What the ends send after that belongs to no connection and is dropped; those drops are no trouble of their own.

          Its way: tcp 10.1.0.2:PORT -> 10.2.0.2:554, flow N
            TIME  the first packet, by what is told at the end
            TIME  complete on vpn0, let in by rule "cameras"
            TIME  killed on cam0: filter rtsp (enforce, strict) found missing-cseq at byte 86: "RTSP/1.0 200 OK"; passed until then: N packets (N bytes) there, N (N bytes) back
            TIME  packet dropped on cam0 because of event N, 0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED

          What ends it, what gives up least first:

            fwx --instance INSTANCE filter mode rtsp enforce --profile standard

            fwx --instance INSTANCE filter mode rtsp monitor

            fwx --instance INSTANCE filter unbind rtsp

        In the flow table now (`fwx conn show FLOW` has more):
          tcp 10.1.0.2:PORT -> 10.2.0.2:554, flow N, KILLED
            let in by rule "cameras", protocol rtsp, began at vpn0, N packets there and N back, N s old, silent for N s

        Told by N events that are known, from DATE TIME to DATE TIME (UTC): N about --dst 10.2.0.2 --port 554.
    "#]].assert_eq(&without_what_differs(&story, branch.instance(), port));

    // Another question, the same story.
    let by_event = kill.caused_by.unwrap().to_string();
    for asked in [
        &["why", "--event", &by_event][..],
        &["why", "10.1.0.2"],
        &["why", "--flow", &kill.flow_id.unwrap().to_string()],
    ] {
        let told = branch.call(asked).unwrap().success().unwrap();
        assert_eq!(told.lines().next(), story.lines().next(), "{asked:?}");
    }

    let commands = commands(&story);
    assert_eq!(commands.len(), 3, "{story}");
    for command in &commands {
        branch.filter(&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", STRICT]).unwrap();
        killed(&lab, &recorder);
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(words[..3], ["fwx", "--instance", branch.instance()], "{command}");
        branch.call(&words[3..]).unwrap().success().unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let conversation = viewer.converse(20);
        assert_eq!(conversation.end, None, "{command}: {conversation}");
        // What was done is not advised again.
        let after = branch.call(&ASKED).unwrap().success().unwrap();
        assert!(!after.contains(command), "{command}: {after}");
        assert!(after.contains("  now "), "{command}: {after}");
    }

    let outcome = branch.call(&["why", "10.2.0.2:x"]).unwrap();
    assert_eq!(outcome.code, Some(BAD_INPUT), "{outcome:?}");
}

/// A connection that the filter kills. Returns the client's port.
fn killed(lab: &Lab, recorder: &Recorder<'_>) -> u16 {
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    let port = viewer.local_address().port();
    let conversation = viewer.converse(1);
    assert_eq!(conversation.end, Some(End::Reset), "{conversation}");
    port
}

/// The commands that the story advises, as they are printed.
fn commands(story: &str) -> BTreeSet<String> {
    let lines = story.lines().filter_map(|line| line.strip_prefix("    "));
    lines.filter(|line| line.starts_with("fwx ")).map(str::to_owned).collect()
}

/// The story without what differs from run to run (times, numbers, and so where lines are broken), and without what is
/// said of commands.
fn without_what_differs(story: &str, instance: &str, port: u16) -> String {
    let mut told = story.replace(instance, "INSTANCE").replace(&port.to_string(), "PORT");
    for (pattern, same) in [
        // Lines that were broken.
        (r"\n {14,}", " "),
        (r"(?m)^(Told .*)\n", "$1 "),
        (r",\s+(\d+ s old),\s+", ", $1, "),
        (r"\d{4}-\d\d-\d\d ", "DATE "),
        (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
        (r"(flow|event) \d+", "$1 N"),
        // How often the recorder repeats what was not acknowledged.
        (
            r"\d+ packets? of the connection dropped, DATE TIME( to TIME)?",
            "N packets of the connection dropped, DATE TIME",
        ),
        (r" \(\d+ times, until TIME\)", ""),
        (
            r"\d+ packets there and \d+ back, \d+ s old, silent for \d+ s",
            "N packets there and N back, N s old, silent for N s",
        ),
        (
            r"\d+ packets \(\d+ bytes\) there, \d+ \(\d+ bytes\) back",
            "N packets (N bytes) there, N (N bytes) back",
        ),
        (r"Told by \d+ events(.*): \d+ about", "Told by N events$1: N about"),
        // What commands do and give up in words: why/tests/stories.rs has those.
        (r"(?m)^ {6}\S.*\n", ""),
        (r"(?s)  A command takes effect .* begin another\.\n\n", ""),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        told = pattern.replace_all(&told, same).into_owned();
    }
    told
}
