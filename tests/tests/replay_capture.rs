//! A capture of the story, recorded in the lab: what `fwx replay` prints about it, and what it makes of the
//! same file when a part is missing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use firewall_common::reason::Reason;
use firewall_user::{
    capture::{Capture, CaptureError},
    event::Event,
};
use lab::{
    Lab, Packet, find_binary,
    peers::{recorder::Recorder, stray, viewer::Viewer},
    policy,
    tshark::tshark,
    wait,
};
use serde_json::Value;

const NOT_SYN: &str = Reason::TcpNotSyn.name();
const PCAP_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;

/// Recorder and viewer talk over IPv4, then over IPv6, as seen at the gateway's `lan0` without a firewall.
fn story() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/story.pcap")
}

/// What a run of `fwx replay` gave.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn replay(capture: &Path, arguments: &[&str]) -> Run {
    let fwx = find_binary().expect("fwx was built");
    let output = Command::new(&fwx)
        .arg("replay")
        .arg(capture)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", fwx.display()));
    let text = |bytes| String::from_utf8(bytes).expect("fwx prints UTF-8");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The lines of a run that went well.
fn lines(run: &Run) -> Vec<Value> {
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    run.stdout.lines().map(parse).collect()
}

/// How many lines have each verdict: pass, drop, reset.
fn verdicts(lines: &[Value]) -> [usize; 3] {
    ["pass", "drop", "reset"].map(|name| lines.iter().filter(|l| l["verdict"] == name).count())
}

/// A policy of the lab in a file of its own.
fn policy_file(directory: &tempfile::TempDir, profile: &str) -> PathBuf {
    let path = directory.path().join(format!("{profile}.toml"));
    fs::write(&path, policy::cameras(&["lan0", "wan0"], profile)).expect("a policy is written");
    path
}

#[test]
fn without_a_policy_only_what_belongs_to_nothing_is_dropped() {
    for hook in ["xdp", "tc", "egress"] {
        let run = replay(&story(), &["-o", "json", "--hook", hook]);
        let lines = lines(&run);
        assert_eq!(lines.len(), 61, "{hook}");
        assert_eq!(verdicts(&lines), [59, 2, 0], "{hook}");
        let text: Vec<_> = run.stdout.lines().collect();
        for (packet, line) in [
            // Neighbour discovery belongs to no flow.
            (1, r#"{"packet":1,"timestamp":"2026-11-22T21:19:29.264342000Z","verdict":"pass"}"#),
            (
                3,
                r#"{"packet":3,"timestamp":"2026-11-22T21:19:29.264358000Z","verdict":"pass","state":"SYN_SENT","direction":"original"}"#,
            ),
            (
                4,
                r#"{"packet":4,"timestamp":"2026-11-22T21:19:29.264383000Z","verdict":"pass","state":"SYN_RECV","direction":"reply"}"#,
            ),
            (
                11,
                r#"{"packet":11,"timestamp":"2026-11-22T21:19:29.267994000Z","verdict":"pass","state":"ESTABLISHED","direction":"reply"}"#,
            ),
            (
                26,
                r#"{"packet":26,"timestamp":"2026-11-22T21:19:29.288630000Z","verdict":"pass","state":"TIME_WAIT","direction":"reply"}"#,
            ),
            (
                57,
                r#"{"packet":57,"timestamp":"2026-11-22T21:19:30.344989000Z","verdict":"pass","state":"TIME_WAIT","direction":"reply"}"#,
            ),
            (
                58,
                r#"{"packet":58,"timestamp":"2026-11-22T21:19:30.355327000Z","verdict":"drop","reason":"FWX_E_TCP_NOT_SYN_PACKET_DROPPED","code":"0xc0040017"}"#,
            ),
            (
                61,
                r#"{"packet":61,"timestamp":"2026-11-22T21:19:30.400227000Z","verdict":"pass","state":"ASSURED","direction":"reply"}"#,
            ),
        ] {
            assert_eq!(text[packet - 1], line, "{hook}");
        }
        for (number, line) in (1..).zip(&lines) {
            assert_eq!(line["packet"], number, "{hook}: packets are counted from 1");
            let refused = line["verdict"] != "pass";
            assert_eq!(line.get("reason").is_some(), refused, "{hook}: {line}");
            assert_eq!(line.get("code").is_some(), refused, "{hook}: {line}");
        }
    }
}

#[test]
fn what_was_refused_is_written_as_it_was_captured() {
    let directory = tempfile::tempdir().expect("a directory");
    let written = directory.path().join("refused.pcapng");
    let strict = policy_file(&directory, "strict");
    let arguments = ["--policy", strict.to_str().unwrap(), "--write", written.to_str().unwrap()];
    let lines = lines(&replay(&story(), &[&arguments[..], &["-o", "json"]].concat()));

    let all: Vec<_> = Capture::open(&story()).unwrap().map(Result::unwrap).collect();
    let refused = lines.iter().zip(all).filter(|(line, _)| line["verdict"] != "pass");
    let (lines, refused): (Vec<_>, Vec<_>) = refused.unzip();
    let written: Vec<_> = Capture::open(&written).unwrap().map(Result::unwrap).collect();
    assert_eq!(written.len(), refused.len());
    for (written, refused) in written.iter().zip(&refused) {
        assert_eq!((written.timestamp_ns, &written.data), (refused.timestamp_ns, &refused.data));
        assert_eq!(written.original_len, refused.original_len);
    }
    let comments = tshark(&directory.path().join("refused.pcapng"), &["frame.comment"]);
    assert_eq!(comments.len(), lines.len());
    for (comment, line) in comments.iter().zip(&lines) {
        let [code, reason] = ["code", "reason"].map(|field| line[field].as_str().unwrap());
        assert!(comment.starts_with(&format!("{code} {reason}, ")), "{comment}: {line}");
    }
}

#[test]
fn under_the_strict_policy_the_story_ends_with_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = policy_file(&directory, "strict");
    let policy = policy.to_str().expect("a path in UTF-8");
    let events = directory.path().join("events.json");
    let events = events.to_str().expect("a path in UTF-8");
    for hook in ["xdp", "tc"] {
        let run = replay(
            &story(),
            &["-o", "json", "--policy", policy, "--events", events, "--hook", hook],
        );
        let lines = lines(&run);
        // Two conversations end at their first offence; a lone ACK and its RST, an echo and its reply.
        assert_eq!(verdicts(&lines), [25, 4, 32], "{hook}");
        let text: Vec<_> = run.stdout.lines().collect();
        for (packet, line) in [
            (
                10,
                r#"{"packet":10,"timestamp":"2026-11-22T21:19:29.267943000Z","verdict":"pass","state":"ESTABLISHED","direction":"original"}"#,
            ),
            (
                11,
                r#"{"packet":11,"timestamp":"2026-11-22T21:19:29.267994000Z","verdict":"reset","reason":"FWX_E_CONNECTION_KILLED","code":"0x80074e24","state":"KILLED","direction":"reply"}"#,
            ),
            (
                12,
                r#"{"packet":12,"timestamp":"2026-11-22T21:19:29.268036000Z","verdict":"reset","reason":"FWX_E_TCP_NOT_SYN_PACKET_DROPPED","code":"0xc0040017","state":"KILLED","direction":"original"}"#,
            ),
            (
                42,
                r#"{"packet":42,"timestamp":"2026-11-22T21:19:30.324379000Z","verdict":"reset","reason":"FWX_E_CONNECTION_KILLED","code":"0x80074e24","state":"KILLED","direction":"reply"}"#,
            ),
            (
                58,
                r#"{"packet":58,"timestamp":"2026-11-22T21:19:30.355327000Z","verdict":"drop","reason":"FWX_E_TCP_NOT_SYN_PACKET_DROPPED","code":"0xc0040017"}"#,
            ),
            (
                60,
                r#"{"packet":60,"timestamp":"2026-11-22T21:19:30.399982000Z","verdict":"drop","reason":"FWX_E_POLICY_RULES_DENIED","code":"0xc004000d"}"#,
            ),
        ] {
            assert_eq!(text[packet - 1], line, "{hook}");
        }
        check_events(&fs::read_to_string(events).expect("the events were written"));
    }
}

fn check_events(text: &str) {
    let events: Vec<Event> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let count = |kind: &str| events.iter().filter(|event| event.event == kind).count();
    assert_eq!(count("connection_opened"), 2);
    assert_eq!(count("connection_killed"), 2);
    assert_eq!(count("packet_dropped"), 34);
    assert_eq!(events.len(), 38);

    let mut kills = events.iter().filter(|event| event.event == "connection_killed");
    let (v4, v6) = (kills.next().expect("a kill"), kills.next().expect("another"));
    assert_eq!(v4.timestamp, "2026-11-22T21:19:29.267994000Z", "the capture's own time");
    assert_eq!(v6.timestamp, "2026-11-22T21:19:30.324379000Z");
    for (kill, source, port) in [(v4, "10.2.0.2", 35_668), (v6, "fd00:2::2", 33_894)] {
        assert_eq!(kill.code.as_deref(), Some("0x80074e24"));
        assert_eq!(kill.reason.as_deref(), Some("FWX_E_CONNECTION_KILLED"));
        assert_eq!(kill.interface.as_deref(), Some("lan0"));
        assert_eq!(kill.rule.as_deref(), Some("cameras"));
        assert_eq!(kill.protocol.as_deref(), Some("rtsp"));
        assert_eq!(kill.src_ip, Some(source.parse().expect("an address")));
        assert_eq!((kill.src_port, kill.dst_port), (Some(554), Some(port)));
        let filter = kill.filter.as_ref().expect("the kill names its filter");
        assert_eq!((filter.finding.as_str(), filter.offset), ("missing-cseq", 86));
        assert_eq!(filter.excerpt, "RTSP/1.0 200 OK");
        assert_eq!((filter.mode.as_str(), filter.profile.as_str()), ("enforce", "strict"));
        let caused = events.iter().filter(|event| event.caused_by == Some(kill.event_id));
        let caused: Vec<_> = caused.collect();
        assert_eq!(caused.len(), 15, "all that follows points back to the kill");
        assert!(caused.iter().all(|event| event.reason.as_deref() == Some(NOT_SYN)));
        assert!(caused.iter().all(|event| event.flow_id == kill.flow_id));
    }
    assert_eq!(events.iter().filter(|event| event.caused_by.is_none()).count(), 8);
}

#[test]
fn the_standard_profile_lets_the_story_live() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = policy_file(&directory, "standard");
    let policy = policy.to_str().expect("a path in UTF-8");
    let run = replay(&story(), &["-o", "json", "--policy", policy, "--interface", "lan0"]);
    assert_eq!(verdicts(&lines(&run)), [57, 4, 0]);

    let events = replay(&story(), &["-o", "json", "--policy", policy, "--events", "-"]);
    let findings: Vec<_> = events
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok()?.filter)
        .map(|filter| filter.finding)
        .collect();
    let of_each = ["missing-cseq", "unknown-method"];
    assert_eq!(findings, of_each.repeat(2), "events come behind the packets");
}

#[test]
fn people_get_a_line_a_packet() {
    let run = replay(&story(), &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let text: Vec<_> = run.stdout.lines().collect();
    assert_eq!(text.len(), 61);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(text[0]), ["1", "2026-11-22T21:19:29.264342000Z", "pass"]);
    let handshake = ["3", "2026-11-22T21:19:29.264358000Z", "pass", "SYN_SENT", "original"];
    assert_eq!(words(text[2]), handshake);
    let lone_ack = ["58", "2026-11-22T21:19:30.355327000Z", "drop", "0xc0040017", NOT_SYN];
    assert_eq!(words(text[57]), lone_ack);
}

#[test]
fn an_interface_that_the_policy_does_not_have_is_bad_input() {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = policy_file(&directory, "strict");
    let policy = policy.to_str().expect("a path in UTF-8");
    let run = replay(&story(), &["--policy", policy, "--interface", "dmz0"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--interface dmz0"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

/// Where each record of the capture ends, the file's header first.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let mut ends = vec![PCAP_HEADER_LEN];
    while let Some(header) = file.get(ends[ends.len() - 1]..).filter(|rest| !rest.is_empty()) {
        let captured = header[8..12].try_into().expect("a record header");
        let length = RECORD_HEADER_LEN + u32::from_le_bytes(captured) as usize;
        ends.push(ends[ends.len() - 1] + length);
    }
    ends
}

#[test]
fn a_capture_cut_off_at_any_byte_gives_what_is_whole_and_a_clear_error() {
    let file = fs::read(story()).expect("the capture is there");
    let boundaries = boundaries(&file);
    assert_eq!((boundaries.len(), boundaries.last()), (62, Some(&file.len())));
    let mut all = Vec::new();
    for packet in Capture::new(&*file).expect("a capture") {
        all.push(packet.expect("the capture is whole"));
    }
    for cut in 0..=file.len() {
        let capture = match Capture::new(&file[..cut]) {
            Ok(capture) => capture,
            Err(error) => {
                assert!(cut < PCAP_HEADER_LEN, "{cut}: {error}");
                let expected = matches!(
                    (cut, &error),
                    (0, CaptureError::Empty)
                        | (1.., CaptureError::Truncated { after_packet: 0, .. })
                );
                assert!(expected, "{cut}: {error}");
                continue;
            }
        };
        let whole = boundaries.iter().filter(|end| **end <= cut).count() - 1;
        let mut packets = 0;
        let mut end = None;
        for packet in capture {
            match packet {
                Ok(packet) => {
                    assert_eq!(packet, all[packets], "{cut}");
                    packets += 1;
                }
                Err(error) => end = Some(error),
            }
        }
        assert_eq!(packets, whole, "{cut}: every whole packet and no other");
        match end {
            None => assert!(boundaries.contains(&cut), "{cut}: the end was not noticed"),
            Some(CaptureError::Truncated { after_packet, offset, file_len }) => {
                let place = (after_packet as usize, offset as usize, file_len as usize);
                assert_eq!(place, (whole, boundaries[whole], cut));
            }
            Some(other) => panic!("{cut}: {other}"),
        }
    }
}

#[test]
fn the_command_says_where_a_capture_is_cut_off() {
    let file = fs::read(story()).expect("the capture is there");
    let ends = boundaries(&file);
    let whole = replay(&story(), &["-o", "json"]).stdout;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("cut.pcap");
    let after = |packets: usize, more: usize| ends[packets] + more;
    for (cut, packets, says) in [
        (0, 0, "the capture is empty"),
        (3, 0, "cut off"),
        (10, 0, "cut off"),
        (after(0, 0), 0, ""),
        (after(0, 1), 0, "after packet 0"),
        (after(4, 15), 4, "after packet 4"),
        (after(11, 0), 11, ""),
        (after(11, 16), 11, "after packet 11"),
        (file.len() - 1, 60, "after packet 60"),
    ] {
        fs::write(&path, &file[..cut]).expect("a part of the capture is written");
        let run = replay(&path, &["-o", "json"]);
        let code = if says.is_empty() { 0 } else { 2 };
        assert_eq!(run.code, Some(code), "{cut} bytes: {}", run.stderr);
        assert_eq!(run.stderr.is_empty(), says.is_empty(), "{cut} bytes: {}", run.stderr);
        assert!(run.stderr.contains(says), "{cut} bytes: {}", run.stderr);
        assert!(!run.stderr.contains("panicked"), "{cut} bytes: {}", run.stderr);
        let expected: Vec<_> = whole.lines().take(packets).collect();
        assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected, "{cut} bytes");
    }
}

/// `tcpdump -s` keeps only the start of each packet; the rest is taken for zeros, and the line says so.
#[test]
fn a_packet_of_which_the_capture_has_only_a_part_is_marked() {
    let capture = fs::read(story()).expect("the capture is there");
    const SNAPLEN: usize = 96;
    let mut short = capture[..PCAP_HEADER_LEN].to_vec();
    let ends = boundaries(&capture);
    for (&start, &end) in ends.iter().zip(&ends[1..]) {
        let (header, data) = capture[start..end].split_at(RECORD_HEADER_LEN);
        let kept = data.len().min(SNAPLEN);
        short.extend(&header[..8]);
        short.extend((kept as u32).to_le_bytes());
        short.extend(&header[12..]);
        short.extend(&data[..kept]);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("short.pcap");
    fs::write(&path, short).expect("a shortened capture is written");
    let lines = lines(&replay(&path, &["-o", "json"]));
    assert_eq!(verdicts(&lines), [59, 2, 0], "headers are enough");
    for (line, (start, end)) in lines.iter().zip(ends.iter().zip(&ends[1..])) {
        let truncated = end - start - RECORD_HEADER_LEN > SNAPLEN;
        assert_eq!(line.get("truncated").is_some(), truncated, "{line}");
    }
}

/// Writes the capture anew. The numbers in the other tests are those of the one that is kept.
#[test]
#[ignore = "records the capture that the other tests read: run it to make another one"]
fn record_the_story() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let path = story();
    let mut tcpdump = gateway.command("tcpdump");
    tcpdump.args(["-i", "lan0", "-Z", "root", "-s", "0", "--immediate-mode", "-U", "-w"]);
    let mut tcpdump = gateway.start("tcpdump", {
        tcpdump.arg(&path);
        tcpdump
    });
    let tcpdump = tcpdump.as_mut().unwrap();
    wait::until("tcpdump listens", || {
        anyhow::ensure!(tcpdump.stderr()?.contains("listening on"), "{}", tcpdump.stderr()?);
        Ok(())
    })
    .unwrap();

    for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        let recorder = Recorder::start(&lab.camera, address).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let conversation = viewer.converse(3);
        assert_eq!(conversation.end, None, "{conversation}");
        viewer.request("TEARDOWN", "").unwrap();
        viewer.read_to_end();
    }
    let (from, to) = (lab.client.socket_v4(40_000), lab.camera.socket_v4(554));
    stray::lone_ack(&lab.client, from, to).unwrap();
    let echo = Packet::echo_request(from.ip(), to.ip(), 7, 1).payload([0x55; 56]);
    lab.client.send_packet("eth0", echo).unwrap();
    wait::until("the last packet is in the capture", || {
        let mut list = gateway.command("tcpdump");
        list.args(["-n", "-r"]).arg(&path);
        let list = gateway.output(&mut list)?;
        anyhow::ensure!(list.contains("ICMP echo reply"), "not yet");
        Ok(())
    })
    .unwrap();
    tcpdump.signal(nix::sys::signal::Signal::SIGINT).unwrap();
    tcpdump.wait().unwrap();
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 60_000, "{size} bytes are too many to keep");
}
