//! `fwx replay`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use firewall_common::{event::EventKind, layout::Verdict};
use firewall_user::{
    capture::Capture,
    event::{Captured, Event, Link},
    events::{PacketFile, create_capture},
    policy::Policy,
    replay::{Hook, Line, Replay as Programs},
};

use super::{
    OutputOption, need_root,
    out::{self, broken_pipe_is_fine},
};

/// The longest frame: an IP packet of 65,535 bytes behind an Ethernet header with two VLAN tags.
const FRAME_MAX: usize = 65_535 + 14 + 8;

/// Flows that are shown of each pair of rules that differ.
const FLOWS_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The capture
    #[arg(value_name = "CAPTURE")]
    capture: PathBuf,
    /// The policy; without one every new flow is allowed and no filter is bound
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Ask this policy about new flows too, and tell at the end where it differs
    #[arg(long, value_name = "FILE")]
    shadow: Option<PathBuf>,
    /// Take all packets as coming in on this interface of the policy
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Write the events to this file, one JSON object a line; `-`: to standard output, after the
    /// packets
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Write the packets that were refused, and those in which a filter found something, to this pcapng file, with
    /// comments that say why
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Which program the packets go through
    #[arg(long, value_enum, default_value_t = Hook::Xdp)]
    hook: Hook,
    #[command(flatten)]
    output: OutputOption,
}

/// Runs the packets of a capture through the programs and prints what becomes of each.
pub(super) fn run(command: &Replay) -> Result<()> {
    let policy = command.policy.as_deref().map(Policy::load).transpose()?;
    let shadow = command.shadow.as_deref().map(Policy::load).transpose()?;
    need_root()?;
    let Replay { output, hook, .. } = *command;
    let packets = Capture::open(&command.capture)?;
    let mut written = command.write.as_deref().map(Written::create).transpose()?;
    let mut replay = Programs::new(policy.as_ref(), command.interface.as_deref(), hook)?;
    if let Some(shadow) = &shadow {
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
        let captured = frame.len();
        let truncated = captured < packet.original_len as usize;
        // What the capture left out is not known. Zeros keep the lengths true, as far as a packet can be long.
        let whole = (packet.original_len as usize).min(FRAME_MAX);
        frame.resize(frame.len().max(whole), 0);
        let outcome = replay
            .packet(packet.timestamp_ns, &frame)
            .with_context(|| format!("packet {}", packet.number))?;
        let told = replay.events()?;
        if let Some(written) = &mut written {
            let bytes = &frame[..captured];
            let said = replay.told(packet.timestamp_ns, &outcome);
            written.add(&told, said, outcome.verdict, bytes, packet.original_len)?;
        }
        events.extend(told);
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
    if let Some(path) = command.events.as_deref() {
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

/// The packets that did not just pass, as a capture.
struct Written {
    file: PacketFile<BufWriter<File>>,
}

impl Written {
    fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let file = create_capture(path).with_context(cannot)?;
        Ok(Self { file: PacketFile::new(BufWriter::new(file))? })
    }

    /// Adds a packet of `length` bytes on the wire, of which `bytes` are known, if there is something to say of it: why it
    /// was refused, by the kernel's word or, where it held its event back, by what is `said` instead; or what a filter
    /// found in one that passed.
    fn add(
        &mut self,
        told: &[Event],
        said: Event,
        verdict: Verdict,
        bytes: &[u8],
        length: u32,
    ) -> Result<()> {
        let of = |kinds: &[EventKind]| {
            told.iter().find(|event| kinds.iter().any(|kind| kind.name() == event.event)).cloned()
        };
        let event = match verdict {
            Verdict::Pass => of(&[EventKind::FilterFinding]),
            _ => of(&[EventKind::ConnectionKilled, EventKind::PacketDropped]).or(Some(said)),
        };
        let Some(event) = event else { return Ok(()) };
        let packet = Captured { link: Link::Ethernet, length, bytes: bytes.to_vec() };
        self.file.add(&Event { packet: Some(packet), ..event })?;
        // The process may end where the reader of its lines has enough.
        Ok(self.file.flush()?)
    }
}
