//! The programs of others that tests send events and metrics to are there and start.

use std::process::Command;

use lab::{Host, Lab, receivers};

#[test]
fn set_up_has_fetched_those_that_receive() {
    let lab = Lab::single().unwrap();
    let host: &Host = lab.gateway();
    for (mut command, argument, says) in [
        (receivers::prometheus(host).unwrap(), "--version", "prometheus, version"),
        (receivers::promtool().unwrap(), "--version", "promtool, version"),
        (receivers::rsyslogd(host).unwrap(), "-v", "rsyslogd "),
        (Command::new("tshark"), "--version", "TShark"),
    ] {
        let output = command.arg(argument).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(says), "{command:?}: {said}");
    }
}
