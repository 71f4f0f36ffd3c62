//! iperf3: bulk TCP between the ends, and what it says of it.

use anyhow::{Context as _, Result, ensure};
use lab::{Host, Lab, Process, wait};
use serde::Deserialize;

pub(super) const PORT: u16 = 5_201;
/// How much longer a run may take than it was told to, or one that was told no time may take.
const PATIENCE_SECONDS: u32 = 6;

/// Which end sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// After what a run ends.
#[derive(Clone, Copy)]
pub(super) enum Amount {
    /// At least 1.
    Seconds(u32),
    /// Of all streams together.
    Bytes(u64),
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transfer {
    pub(super) bits_per_second: f64,
    pub(super) seconds: f64,
    pub(super) repeated_segments: u64,
}

/// A server on the camera of `lab`, which serves one run after the other for as long as it is kept.
pub(super) fn serve(lab: &Lab) -> Result<Process> {
    let mut command = lab.camera.command("iperf3");
    command.args(["--server", "--port", &PORT.to_string()]);
    let mut server = lab.camera.start("iperf3", command)?;
    wait::until("iperf3 listens", || {
        server.check_alive()?;
        ensure!(listens(&lab.camera)?, "it does not yet");
        Ok(())
    })?;
    Ok(server)
}

fn listens(host: &Host) -> Result<bool> {
    let mut ss = host.command("ss");
    ss.args(["--no-header", "--listening", "--tcp", "sport", "=", &format!(":{PORT}")]);
    Ok(!host.output(&mut ss)?.is_empty())
}

/// Begins a run of so much with so many `streams`.
pub(super) fn begin(lab: &Lab, sender: Sender, streams: u32, amount: Amount) -> Result<Process> {
    let (seconds, option, value) = match amount {
        Amount::Seconds(seconds) => (seconds, "--time", u64::from(seconds)),
        Amount::Bytes(bytes) => (0, "--bytes", bytes),
    };
    let mut command = lab.client.command("timeout");
    command.arg((seconds + PATIENCE_SECONDS).to_string()).args(["iperf3", "--json"]);
    command.args(["--client", &lab.camera.first_interface().ipv4.to_string()]);
    command.args(["--port", &PORT.to_string(), option, &value.to_string()]);
    command.args(["--parallel", &streams.to_string()]);
    if sender == Sender::Server {
        command.arg("--reverse");
    }
    lab.client.start("iperf3", command)
}

/// Waits for the end of a run and reads what it said.
pub(super) fn finish(mut run: Process) -> Result<Transfer> {
    run.wait()?;
    let text = run.stdout()?;
    parse(&text).with_context(|| format!("iperf3 said: {}", run.tail()))
}

fn parse(text: &str) -> Result<Transfer> {
    #[derive(Deserialize)]
    struct Failure {
        error: Option<String>,
    }
    #[derive(Deserialize)]
    struct Output {
        end: End,
    }
    #[derive(Deserialize)]
    struct End {
        sum_sent: Sent,
        sum_received: Received,
    }
    #[derive(Deserialize)]
    struct Sent {
        #[serde(default)]
        retransmits: u64,
    }
    #[derive(Deserialize)]
    struct Received {
        bits_per_second: f64,
        seconds: f64,
    }
    let Failure { error } = serde_json::from_str(text).context("not iperf3's JSON")?;
    ensure!(error.is_none(), "{}", error.unwrap_or_default());
    let Output { end: End { sum_sent, sum_received } } = serde_json::from_str(text)?;
    ensure!(sum_received.bits_per_second > 0.0, "nothing was transferred");
    Ok(Transfer {
        bits_per_second: sum_received.bits_per_second,
        seconds: sum_received.seconds,
        repeated_segments: sum_sent.retransmits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iperf3_prints_is_read() {
        let text = r#"{"start": {}, "intervals": [], "end": {"streams": [],
            "sum_sent": {"bytes": 10, "bits_per_second": 90.5, "retransmits": 3, "sender": true},
            "sum_received": {"seconds": 0.5, "bytes": 10, "bits_per_second": 80.5, "sender": true}}}"#;
        let expected = Transfer { bits_per_second: 80.5, seconds: 0.5, repeated_segments: 3 };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn its_errors_are_errors() {
        let refused = r#"{"start": {}, "intervals": [], "end": {},
            "error": "error - the server is busy running a test"}"#;
        assert!(parse(refused).unwrap_err().to_string().contains("busy"));
        let nothing =
            r#"{"end": {"sum_sent": {}, "sum_received": {"seconds": 1, "bits_per_second": 0}}}"#;
        for text in [nothing, "", "{}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
