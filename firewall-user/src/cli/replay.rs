//! `fwx replay`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context as _, Result};
use firewall_user::{
    capture::Capture,
    policy::Policy,
    replay::{Hook, Line, Replay},
};

use super::{
    OutputOption,
    out::{self, broken_pipe_is_fine},
};

/// The longest frame: an IP packet of 65,535 bytes behind an Ethernet header with two VLAN tags.
const FRAME_MAX: usize = 65_535 + 14 + 8;

/// Flows that are shown of each pair of rules that differ.
const FLOWS_SHOWN: usize = 10;

/// Runs the packets of a capture through the programs and prints what becomes of each.
pub(super) fn run(
    capture: &Path,
    policy: Option<&Policy>,
    shadow: Option<&Policy>,
    interface: Option<&str>,
    events_to: Option<&Path>,
    hook: Hook,
    output: OutputOption,
) -> Result<()> {
    let packets = Capture::open(capture)?;
    let mut replay = Replay::new(policy, interface, hook)?;
    if let Some(shadow) = shadow {
        replay.compare_with(shadow)?;
    }
    let mut to_stdout = BufWriter::new(std::io::stdout().lock());
    let mut events = Vec::new();
    let mut end = Ok(());
    for packet in packets {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                end = Err(error);
                break;
            }
        };
        let mut frame = packet.data;
        let truncated = frame.len() < packet.original_len as usize;
        // What the capture left out is not known. Zeros keep the lengths true, as far as a packet can be long.
        let whole = (packet.original_len as usize).min(FRAME_MAX);
        frame.resize(frame.len().max(whole), 0);
        let outcome = replay
            .packet(packet.timestamp_ns, &frame)
            .with_context(|| format!("packet {}", packet.number))?;
        events.extend(replay.events()?);
        let line = Line::new(packet.number, packet.timestamp_ns, truncated, &outcome);
        let shown =
            if output.is_json() { serde_json::to_string(&line)? } else { line.text() } + "\n";
        out::write(&mut to_stdout, &shown)?;
    }
    if shadow.is_some() {
        let comparison = replay.comparison(FLOWS_SHOWN)?;
        let shown = if output.is_json() {
            serde_json::to_string(&serde_json::json!({ "shadow": comparison }))? + "\n"
        } else {
            comparison.summary() + &comparison.list()
        };
        out::write(&mut to_stdout, &shown)?;
    }
    to_stdout.flush().or_else(broken_pipe_is_fine)?;
    if let Some(path) = events_to {
        let mut to: Box<dyn Write> = if path == Path::new("-") {
            Box::new(to_stdout)
        } else {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        };
        for mut event in events {
            // The capture has it.
            event.packet = None;
            out::write(&mut to, &(serde_json::to_string(&event)? + "\n"))?;
        }
        to.flush().or_else(broken_pipe_is_fine)?;
    }
    Ok(end?)
}
