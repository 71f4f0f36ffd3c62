//! Conversations of real RTSP software, recorded in the lab (`lab_rtsp_peers/record.rs`): what the filter finds in
//! each, under a policy with one rule. What is expected stands in `captures/rtsp/expected.txt`: the packets of each
//! capture, and below it what is refused or found, of which there is nothing so far.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lab::{find_binary, policy};
use serde_json::Value;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/rtsp")
}

#[test]
fn what_is_found_in_real_conversations_is_known_when_it_watches() {
    what_is_found_is_known("monitor", "xdp");
}

/// Nothing that is found in them kills, and none of their segments is held back.
#[test]
fn what_is_found_in_real_conversations_is_known_when_it_enforces() {
    what_is_found_is_known("enforce", "tc");
}

fn what_is_found_is_known(mode: &str, hook: &str) {
    let expected = directory().join("expected.txt");
    let expected = fs::read_to_string(&expected).expect("what is expected is there");
    let mut captures: Vec<_> = fs::read_dir(directory())
        .expect("the captures are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    captures.sort();
    let found: String = captures.iter().map(|path| found_in(path, mode, hook)).collect();
    assert_eq!(found, expected, "{mode}, {hook}: found\n{found}");
}

/// A line with the packets, and one for each kind of finding in each direction.
fn found_in(capture: &Path, mode: &str, hook: &str) -> String {
    let name = capture.file_stem().expect("a file").to_string_lossy();
    let (mut packets, mut refused) = (0, BTreeMap::new());
    let mut findings = BTreeMap::new();
    for line in replay(capture, mode, hook) {
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        if line.get("packet").is_some() {
            packets += 1;
            if line["verdict"] != "pass" {
                *refused.entry(text(&line["reason"])).or_insert(0) += 1;
            }
        } else if line["event"] == "filter_finding" || line["event"] == "connection_killed" {
            let what = (text(&line["filter"]["finding"]), text(&line["direction"]));
            *findings.entry(what).or_insert(0) += 1;
        }
    }
    let mut lines = format!("{name}: {packets} packets\n");
    for (reason, count) in refused {
        writeln!(lines, "  {count} refused: {reason}").expect("a string takes all");
    }
    for ((finding, direction), count) in findings {
        writeln!(lines, "  {count} times {finding}, {direction}").expect("a string takes all");
    }
    lines
}

/// What `fwx replay` prints about packets and events.
fn replay(capture: &Path, mode: &str, hook: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().expect("a directory");
    let policy = directory.path().join("policy.toml");
    fs::write(&policy, policy::rtsp_alone(&["lan0", "wan0"], mode)).expect("a policy is written");
    let fwx = find_binary().expect("fwx was built");
    let output = Command::new(&fwx)
        .arg("replay")
        .arg(capture)
        .arg("--policy")
        .arg(&policy)
        .args(["--interface", "lan0", "--hook", hook, "-o", "json", "--events", "-"])
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", fwx.display()));
    let text = String::from_utf8(output.stdout).expect("fwx prints UTF-8");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", capture.display());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
