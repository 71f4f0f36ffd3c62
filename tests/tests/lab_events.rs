//! `fwx events`: what it prints while controllers come and go, and the packets that it writes, as tshark reads them.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use lab::{
    Fwx, Lab, Mode, Process,
    peers::{
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy,
    tshark::tshark,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What a terminal obeys, in the forms that it takes.
const HARM: &str = "\x1b[2J\u{9b}31m\r\n\t\u{202e}";

fn firewall(lab: &Lab) -> Fwx<'_> {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&["lan0", "wan0"]), Mode::Auto).unwrap();
    fwx
}

/// A drop that somebody with bad intentions made up, with a packet: Ethernet, IPv4, and the ICMP echo request in it.
fn drop(number: u64, packet: Option<&str>) -> Value {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let mut event = json!({
        "timestamp": firewall_user::event::rfc3339(now), "event": "packet_dropped", "event_id": number,
        "reason": "FWX_E_POLICY_RULES_DENIED", "code": "0xc004000d", "interface": "lan0", "transport": "icmp",
        "src_ip": "10.1.0.2", "dst_ip": "10.2.0.2", "rule": format!("no {HARM}"), "suppressed": 0
    });
    if let Some(bytes) = packet {
        event["packet"] = json!({"link": "ethernet", "length": 98, "bytes": bytes});
    }
    event
}

/// 02:00:00:00:00:01 <- 02:00:00:00:00:02, 10.1.0.2 -> 10.2.0.2, an echo request of which the payload was left out.
const ECHO: &str = "AgAAAAABAgAAAAACCABFAABUAAFAAEABJaMKAQACCgIAAggA//8AAQAB";

fn follow(fwx: &Fwx<'_>, lab: &Lab, arguments: &[&str]) -> Process {
    let command = fwx.command(&[&["events", "--follow"], arguments].concat());
    lab.gateway().start("events", command).unwrap()
}

fn wait_for_lines(process: &Process, count: usize) -> Vec<String> {
    wait::until("the lines are there", || {
        let lines: Vec<_> = process.stdout()?.lines().map(str::to_owned).collect();
        ensure!(lines.len() >= count, "{lines:?}");
        Ok(lines)
    })
    .unwrap()
}

#[test]
fn who_follows_hears_the_next_controller_too() {
    let lab = Lab::single().unwrap();
    let mut fwx = firewall(&lab);
    fwx.publish([drop(1, None)].into_iter()).unwrap();
    let arguments = ["--event", "drop", "--fields", "event_id,rule", "--header"];
    let mut follower = follow(&fwx, &lab, &arguments);
    let line = |number: u64| format!("{number}\tno \\u{{1b}}[2J\\u{{9b}}31m\\r\\n\\t\\u{{202e}}");
    assert_eq!(wait_for_lines(&follower, 2), ["event_id\trule".to_owned(), line(1)]);

    fwx.kill_controller().unwrap();
    wait::until("it says that it waits", || {
        let said = follower.stderr()?;
        said.contains("waiting for the next one").then_some(()).context(said)
    })
    .unwrap();
    fwx.run_again().unwrap();
    wait::until("it found the next one", || {
        let said = follower.stderr()?;
        said.contains("there is a controller again").then_some(()).context(said)
    })
    .unwrap();
    fwx.publish([drop(2, None)].into_iter()).unwrap();
    assert_eq!(wait_for_lines(&follower, 3)[1..], [line(1), line(2)]);

    follower.signal(Signal::SIGINT).unwrap();
    assert!(follower.wait().unwrap().success());
}

#[test]
fn packets_are_written_while_they_come() {
    let lab = Lab::single().unwrap();
    let fwx = firewall(&lab);
    let file = lab.gateway().write_file("packets.pcapng", "what was there before").unwrap();
    let path = file.to_str().unwrap();
    let mut follower = follow(&fwx, &lab, &["--write", path, "-o", "json"]);
    fwx.publish([drop(1, Some(ECHO)), drop(2, None)].into_iter()).unwrap();
    wait_for_lines(&follower, 3);

    // It goes on, and what it wrote so far can be read.
    let fields = ["ip.src", "icmp.type", "frame.len", "frame.interface_name", "frame.comment"];
    let comment = "0xc004000d FWX_E_POLICY_RULES_DENIED, packet_dropped 1, rule \"no \
                   \\u{1b}[2J\\u{9b}31m\\r\\n\\t\\u{202e}\"";
    let packets = [format!("10.1.0.2\t8\t98\tlan0\t{comment}")];
    assert_eq!(tshark(&file, &fields), packets);

    follower.signal(Signal::SIGTERM).unwrap();
    assert!(follower.wait().unwrap().success());
    let said = follower.stderr().unwrap();
    assert!(said.contains("1 packet written to"), "{said}");
    assert!(said.contains("; 2 events without a packet"), "{said}");
    assert_eq!(tshark(&file, &fields), packets, "the end adds none");
}

#[test]
fn the_packets_of_the_story_are_those_that_were_sent() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "strict"), Mode::Auto).unwrap();
    for at in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        let recorder = Recorder::start(&lab.camera, at).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let port = viewer.local_address().port();
        assert_eq!(viewer.converse(1).end, Some(End::Reset));
        let kill = fwx
            .wait_for_event("the kill", |event| {
                event.kind == "connection_killed" && event.is_between_ports(port, 554)
            })
            .unwrap();

        let file = lab.gateway().write_file("story.pcapng", "").unwrap();
        let flow = kill.flow_id.unwrap().to_string();
        let asked =
            ["events", "--event", "kill", "--flow", &flow, "--write", file.to_str().unwrap()];
        let outcome = fwx.call(&asked).unwrap();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);

        let fields =
            ["frame.interface_name", "tcp.srcport", "tcp.dstport", "frame.comment", "tcp.payload"];
        let lines = tshark(&file, &fields);
        let [line] = lines.as_slice() else { panic!("{at}: {lines:?}\n{}", kill.line) };
        let begin = format!(
            "wan0\t554\t{port}\t0x80074e24 FWX_E_CONNECTION_KILLED, connection_killed {}, flow {flow} reply, protocol \
             rtsp, rule cameras, rtsp/missing-cseq at byte ",
            kill.event_id
        );
        assert!(line.starts_with(&begin), "{line}\n{begin}");
        // "RTSP/1.0 200 OK": what the recorder said without a CSeq is in the packet.
        let payload = line.rsplit('\t').next().unwrap();
        assert!(payload.contains("525453502f312e3020323030204f4b"), "{line}");
    }
}

#[test]
fn packets_go_through_a_pipe_and_end_with_its_reader() {
    let lab = Lab::single().unwrap();
    let fwx = firewall(&lab);
    fwx.publish([drop(1, Some(ECHO))].into_iter()).unwrap();
    let mut writer = fwx.command(&["events", "--follow", "--write", "-"]);
    let mut writer = writer.stdout(Stdio::piped()).spawn().unwrap();
    let reader = Command::new("tshark")
        .args(["-n", "-c", "1", "-i", "-", "-T", "fields", "-e", "frame.comment"])
        .stdin(writer.stdout.take().unwrap())
        .output()
        .unwrap();
    let read = String::from_utf8_lossy(&reader.stdout);
    assert!(read.starts_with("0xc004000d FWX_E_POLICY_RULES_DENIED"), "{reader:?}");

    // The reader is gone: with the next packet it ends.
    fwx.publish([drop(2, Some(ECHO))].into_iter()).unwrap();
    assert!(writer.wait().unwrap().success());
}

#[test]
fn what_is_wrong_with_the_options_is_said_before_a_file_is_touched() {
    let lab = Lab::single().unwrap();
    let fwx = firewall(&lab);
    let file = lab.gateway().write_file("mine", "precious").unwrap();
    let path = file.to_str().unwrap();
    for (arguments, said) in [
        (&["--fields", "sorce"][..], "did you mean src?"),
        (&["--fields", "time", "-o", "json"], "cannot be used with"),
        (&["--write", "-", "-o", "isa"], "packets or lines, not both"),
        (&["--write", path, "--reason", "nonsense"], "no such result code"),
        (&["--write-limit", "1"], "--write <FILE>"),
        (&["--header"], "--fields <FIELD"),
    ] {
        let outcome = fwx.call(&[&["events"], arguments].concat()).unwrap();
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}
