//! Packets of a capture through the very programs that are attached to interfaces, in the capture's time.
//!
//! The kernel's test-run (`BPF_PROG_TEST_RUN`, `net/bpf/test_run.c`) runs the loaded program on each
//! packet; the verifier has seen every instruction of it. Only time and interface come from the capture.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::Array,
    programs::{TestRun as _, TestRunOptions},
};
use firewall_common::{
    event::EventKind,
    flow::State,
    layout::{OwnAddresses, ReplayInput, ReplayOutput, Verdict},
    reason::Reason,
    wire::{self, Packet, Parsed},
};
use serde::Serialize;

use crate::{
    bad_input,
    command::Commander,
    empty,
    event::{self, Event, Names},
    generation::Over,
    instance,
    object::{self, Purpose, TC_EGRESS, TC_INGRESS, XDP_INGRESS},
    policy::{Policy, TableSizes},
    ring::Rings,
    shadow::{Comparison, Trial},
    tables::Tables,
};

/// The kernel's test-run wants a whole Ethernet header, and to make an skb also the IP header that the
/// EtherType announces. Shorter frames are given to the same parser on the host.
const ETHERNET_HEADER_LEN: usize = 14;
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
/// Flows of a capture.
const SIZES: TableSizes = TableSizes { completed: 65_536, half_open: 16_384 };

/// What this machine answers by where a rule rejects: 192.0.2.1 and 2001:db8::1, which are for documentation
/// (RFC 5737, RFC 3849). Nothing is sent.
const OWN_ADDRESSES: OwnAddresses = OwnAddresses {
    v4: u32::from_ne_bytes([192, 0, 2, 1]),
    v6: [0x2001_0db8_u32.to_be(), 0, 0, 1_u32.to_be()],
};

/// Which program the packets go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// Ingress by XDP, native or generic.
    #[default]
    Xdp,
    /// Ingress by traffic control.
    Tc,
    /// Egress.
    Egress,
}

impl Hook {
    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Xdp => XDP_INGRESS,
            Self::Tc => TC_INGRESS,
            Self::Egress => TC_EGRESS,
        }
    }
}

/// Programs ready to be given packets.
#[derive(Debug)]
pub struct Replay {
    ebpf: Ebpf,
    tables: Tables,
    rings: RingsCell,
    names: Names,
    hook: Hook,
    interface: u32,
    output: Vec<u8>,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Pass, drop, reset or reject.
    pub verdict: Verdict,
    /// Why it did not pass.
    pub reason: Reason,
    /// State of its flow after it.
    pub state: State,
    /// Its direction in its flow.
    pub direction: firewall_common::flow::Direction,
    /// Number of its flow; 0: none.
    pub flow_id: u64,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// A line of `fwx replay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Number of the packet in the capture, from 1.
    pub packet: u64,
    /// When it was captured, RFC 3339.
    pub timestamp: String,
    /// `pass`, `drop`, `reset` or `reject`.
    pub verdict: &'static str,
    /// Name of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Number of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// State of the flow after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// `original` or `reply`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// The capture holds only the packet's beginning; zeros took the place of the rest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

impl Replay {
    /// Loads the programs with a policy. Without one every new flow is allowed and no filter is bound.
    /// `interface` names the interface of the policy on which packets are taken to come in.
    pub fn new(policy: Option<&Policy>, interface: Option<&str>, hook: Hook) -> Result<Self> {
        Self::with_sizes(policy, interface, hook, SIZES)
    }

    /// As [`Replay::new`], with flow tables of these sizes.
    pub fn with_sizes(
        policy: Option<&Policy>,
        interface: Option<&str>,
        hook: Hook,
        sizes: TableSizes,
    ) -> Result<Self> {
        let ebpf = object::load(Purpose::Replay(hook), sizes)?;
        let tables = Tables::of_loaded(&ebpf)?;
        let rings = RingsCell(Rings::open(&tables)?);
        let names = Names::default();
        let output = Vec::new();
        let mut replay = Self { ebpf, tables, rings, names, hook, interface: 0, output };
        replay.begin(policy, interface)?;
        Ok(replay)
    }

    /// Forgets every packet so far and takes another policy: as [`Replay::new`], without loading the programs.
    pub fn begin_anew(&mut self, policy: Option<&Policy>, interface: Option<&str>) -> Result<()> {
        self.rings.0.all();
        empty::empty(&self.ebpf)?;
        object::register_filters_of(&mut self.ebpf, self.hook)?;
        self.begin(policy, interface)
    }

    fn begin(&mut self, policy: Option<&Policy>, interface: Option<&str>) -> Result<()> {
        let open = Policy::builtin();
        let given = policy.is_some();
        let policy = policy.unwrap_or(&open);
        let mut compiled = policy.compile();
        if !given {
            compiled.bindings.clear();
        }
        self.tables.write_policy(&compiled, Over::Nothing)?;
        let interfaces: Vec<_> = (1..).zip(policy.interfaces().iter().cloned()).collect();
        self.names = Names {
            instance: None,
            protocols: policy.protocols().iter().map(|it| it.name.clone()).collect(),
            rules: policy.rules().iter().map(|it| it.name.clone()).collect(),
            interfaces,
        };
        let interfaces = &self.names.interfaces;
        for (index, number) in interfaces.iter().map(|(index, _)| *index).zip(1..) {
            self.tables.note_interface(index, None, number)?;
            self.tables.set_own_addresses(index, OWN_ADDRESSES)?;
        }
        let first = interfaces.first().map(|(_, name)| name.clone());
        self.come_in_by(interface.or(first.as_deref()))
    }

    /// Takes packets from now on to come in by the interface of the policy with this name; `None`: by none, as what the
    /// gateway itself sends.
    ///
    /// # Errors
    ///
    /// The policy has no such interface.
    pub fn come_in_by(&mut self, interface: Option<&str>) -> Result<()> {
        self.interface = match interface {
            None => 0,
            Some(wanted) => match self.names.interfaces.iter().find(|(_, name)| name == wanted) {
                Some((index, _)) => *index,
                None => bad_input!("--interface {wanted}: the policy has no such interface"),
            },
        };
        Ok(())
    }

    /// Gives the programs a frame that was caught at `now` (nanoseconds since 1970 or any other zero).
    pub fn packet(&mut self, now: u64, frame: &[u8]) -> Result<Outcome> {
        if !self.takes(frame) {
            return too_short(frame);
        }
        let mut input: Array<_, ReplayInput> = self.tables.open("REPLAY_INPUT")?;
        input.set(0, ReplayInput { now, interface: self.interface, reserved: 0 }, 0)?;
        let output: Array<_, ReplayOutput> = self.tables.open("REPLAY_OUTPUT")?;
        let mut table: Array<_, ReplayOutput> = self.tables.open("REPLAY_OUTPUT")?;
        // A verdict that is none: what stands there afterwards is this packet's.
        table.set(0, ReplayOutput { verdict: u8::MAX, ..ReplayOutput::default() }, 0)?;

        self.output.resize(frame.len() + 64, 0);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.output),
            ..TestRunOptions::new()
        };
        let program = self.hook.program();
        let result = match self.hook {
            Hook::Xdp => object::xdp(&mut self.ebpf, program)?.test_run(options),
            Hook::Tc | Hook::Egress => {
                object::classifier(&mut self.ebpf, program)?.test_run(options)
            }
        }
        .with_context(|| {
            let hint = match self.hook {
                Hook::Xdp => "",
                // It makes an skb of one page (`bpf_test_init` in the kernel's net/bpf/test_run.c).
                Hook::Tc | Hook::Egress => {
                    "; for traffic control it takes frames of less than a page, for --hook xdp larger ones"
                }
            };
            format!("the kernel's test-run refused a frame of {} bytes{hint}", frame.len())
        })?;

        let decided = output.get(&0, 0)?;
        let Some(verdict) = Verdict::from_raw(decided.verdict) else {
            bail!("the program returned {} and said nothing", result.return_value as i32);
        };
        let len = (result.data_size_out as usize).min(self.output.len());
        Ok(Outcome {
            verdict,
            reason: Reason::from_index(decided.reason).context("a reason that is none")?,
            state: State::from_raw(decided.state),
            direction: event::direction(decided.direction),
            flow_id: decided.flow_id,
            frame: self.output[..len].to_vec(),
        })
    }

    /// Whether the kernel's test-run takes the frame. What it does not take is too short for its headers: it
    /// is refused by the parser alone, without a counter or an event.
    pub fn takes(&self, frame: &[u8]) -> bool {
        let headers = match (self.hook, frame.get(12..ETHERNET_HEADER_LEN)) {
            (_, None) => return false,
            (Hook::Tc | Hook::Egress, Some([0x08, 0x00])) => IPV4_HEADER_LEN,
            (Hook::Tc | Hook::Egress, Some([0x86, 0xdd])) => IPV6_HEADER_LEN,
            _ => 0,
        };
        frame.len() >= ETHERNET_HEADER_LEN + headers
    }

    /// The events since last asked, each with its packet.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let records = self.rings.0.all();
        let events: Result<_, _> =
            records.iter().map(|record| Event::of(record, &self.names, 0)).collect();
        Ok(events?)
    }

    /// What there is to say of a packet that was given at `now`, if the kernel said nothing: it limits its events.
    pub fn told(&self, now: u64, outcome: &Outcome) -> Event {
        Event {
            timestamp: event::rfc3339(i128::from(now)),
            flow_id: (outcome.flow_id != 0).then_some(outcome.flow_id),
            interface: self.names.interface(self.interface),
            ..Event::bare(EventKind::PacketDropped.name(), outcome.reason)
        }
    }

    /// Has the packets from here on judged by `policy` too, which does nothing about them.
    pub fn compare_with(&mut self, policy: &Policy) -> Result<()> {
        let known = instance::State {
            rules: self.names.rules.clone(),
            interface_names: self.names.interfaces.iter().map(|(_, name)| name.clone()).collect(),
            ..instance::State::default()
        };
        let trial = Trial::new(policy, &known, &self.tables)?;
        trial.begin(&self.tables)?;
        self.names.rules = trial.rule_names().to_vec();
        Ok(())
    }

    /// How the policies compare, with the newest `flows` of each pair of rules that differ.
    pub fn comparison(&self, flows: usize) -> Result<Comparison> {
        Comparison::read(&self.tables, &self.names, 0, flows)
    }

    /// What changes single flows, as user space does.
    pub fn commander(&self) -> Result<Commander> {
        Commander::loaded(&self.ebpf)
    }

    /// The tables that the programs work with.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }
}

impl Line {
    /// What is printed about a packet.
    pub fn new(packet: u64, timestamp_ns: u64, truncated: bool, outcome: &Outcome) -> Self {
        let refused = outcome.reason != Reason::None;
        let in_flow = outcome.state != State::None;
        Self {
            packet,
            timestamp: event::rfc3339(i128::from(timestamp_ns)),
            verdict: outcome.verdict.name(),
            reason: refused.then(|| outcome.reason.name()),
            code: refused.then(|| format!("{:#010x}", outcome.reason.code())),
            state: in_flow.then(|| outcome.state.name()),
            direction: in_flow.then(|| outcome.direction.name()),
            truncated,
        }
    }

    /// The line for people.
    pub fn text(&self) -> String {
        let mut text = format!("{:>6} {} {}", self.packet, self.timestamp, self.verdict);
        let parts = [self.code.as_deref(), self.reason, self.state, self.direction];
        for part in parts.into_iter().flatten() {
            text += " ";
            text += part;
        }
        if self.truncated {
            text += " (truncated in the capture)";
        }
        text
    }
}

fn too_short(frame: &[u8]) -> Result<Outcome> {
    let mut packet = Packet::default();
    let Parsed::Refused(reason) = wire::parse(frame, &mut packet) else {
        bail!("a frame of {} bytes was not refused", frame.len());
    };
    Ok(Outcome {
        verdict: Verdict::Drop,
        reason,
        state: State::None,
        direction: firewall_common::flow::Direction::Original,
        flow_id: 0,
        frame: frame.to_vec(),
    })
}

/// The rings have nothing to show.
struct RingsCell(Rings);

impl std::fmt::Debug for RingsCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rings")
    }
}
