//! What Wireshark makes of a capture, without its window.

use std::{path::Path, process::Command};

/// The values of `fields` of each packet in `capture`, a line a packet, with tabs in between.
///
/// # Panics
///
/// There is no tshark, or it does not understand the capture.
pub fn tshark(capture: &Path, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-n", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap_or_else(|error| panic!("cannot run tshark: {error}"));
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(output.status.success(), "tshark: {stderr}");
    stdout.lines().map(str::to_owned).collect()
}
