//! What an instance is doing: `fwx status` and `fwx filter list`.

mod text;

use std::{collections::BTreeMap, io};

use anyhow::{Result, bail};
use aya::maps::Array;
use firewall_common::{
    filter::FilterId,
    flow::{Timeout, Timeouts},
    layout::{Attack, Counter},
    policy::{Mode, Profile},
    reason::Reason,
};
use serde::Serialize;

use crate::{
    apply::confirm::{Pending, PendingStatus},
    event::rfc3339,
    export::ExportStatus,
    flows::FlowTable,
    instance::{Instance, InterfaceState, State},
    losses::{self, LossStatus},
    rejects::Rejects,
    ring::{monotonic_epoch_ns, monotonic_ns},
    shadow::ShadowStatus,
    shortcut::{AtInterface, Shortcut, Taken},
    subscribe,
    sweep::Fill,
    tables::Tables,
};

pub use text::filter_table;

/// The whole picture.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Name of the instance.
    pub instance: String,
    /// Whether it is up.
    pub attached: bool,
    /// Its controller.
    pub controller: ControllerStatus,
    /// The policy file it was brought up with; none: the built-in policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The policy on trial beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowStatus>,
    /// A policy that waits for `fwx confirm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Names of those that are not there and are attached by the controller when they come.
    pub awaited: Vec<String>,
    /// Flows in the tables.
    pub flows: Flows,
    /// Packets seen.
    pub packets: Traffic,
    /// Bytes seen.
    pub bytes: Traffic,
    /// Packets dropped, by reason; those that never came up are left out.
    pub drops: BTreeMap<String, u64>,
    /// Flows ended and findings made, by reason; those that never came up are left out.
    pub outcomes: BTreeMap<String, u64>,
    /// Events that found no room in their ring.
    pub events_lost: u64,
    /// Events that nobody listened to, because no controller ran.
    pub events_unheard: u64,
    /// Events held back by their rate limit.
    pub events_suppressed: u64,
    /// The same three by ring and reason; those of which there is nothing are left out.
    pub events_untold: Vec<LossStatus>,
    /// Segments that a filter in monitor mode should have read and could not.
    pub passed_unread: u64,
    /// Since when a SYN attack is on, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_attack_since: Option<String>,
    /// Whether timeouts are shorter than the policy's, because the tables fill.
    pub timeouts_shortened: bool,
    /// What became of packets of rules that reject, and not TCP.
    pub rejects: Rejects,
    /// Packets whose source passed because the kernel could not tell by which way it is reached.
    pub sources_unknown: u64,
    /// SYNs that were answered by a challenge.
    pub syns_challenged: u64,
    /// Sources that answered a challenge.
    pub sources_authenticated: u64,
    /// Connections that were taken over in their midst.
    pub flows_adopted: u64,
    /// Connections whose addresses are translated.
    pub flows_translated: u64,
    /// What became of announced connections.
    pub pinholes: Pinholes,
    /// The shortcut past the kernel's stack.
    pub shortcut: Taken,
    /// Where the controller sends events and metrics, and how that is going; none without a controller.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportStatus>,
    /// Why it is not known how the exports are doing: the controller does not answer, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exports_unknown: Option<String>,
    /// The filters' bindings.
    pub filters: Vec<FilterStatus>,
}

/// The controller.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ControllerStatus {
    /// Whether one runs and serves events.
    pub running: bool,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

impl ControllerStatus {
    /// Whether one runs now.
    pub(crate) fn look(instance: &Instance) -> Self {
        let stuck = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        let connected = subscribe::connect(&instance.socket());
        Self {
            // One that is still attaching serves nobody yet; one that does not look now may be stuck, and runs.
            running: connected.as_ref().map_or_else(stuck, |_| true),
            pid: instance.controller().flatten(),
        }
    }
}

/// Flows by address family.
#[derive(Debug, Default, Serialize)]
pub struct Flows {
    /// IPv4.
    pub ipv4: FamilyFlows,
    /// IPv6.
    pub ipv6: FamilyFlows,
}

/// Flows of one address family.
#[derive(Debug, Default, Serialize)]
pub struct FamilyFlows {
    /// With an answer.
    pub completed: usize,
    /// Without one yet.
    pub half_open: usize,
    /// Second names of those whose addresses are translated; they take room in the same tables.
    pub aliases: usize,
    /// Room for entries with an answer.
    pub completed_size: u32,
    /// Room for entries without one.
    pub half_open_size: u32,
    /// How full the table of those with an answer is, rounded down.
    pub completed_percent: u64,
    /// How full the table of those without one is, rounded down.
    pub half_open_percent: u64,
}

/// A number for each direction.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Traffic {
    /// Coming in.
    pub ingress: u64,
    /// Going out.
    pub egress: u64,
}

/// A protocol and the filter that is bound to it.
#[derive(Clone, Debug, Serialize)]
pub struct FilterStatus {
    /// The protocol.
    pub protocol: String,
    /// Its transport.
    pub transport: String,
    /// Its ports: numbers, or ranges as text.
    pub ports: Vec<Port>,
    /// The filter; none is bound: `null`.
    pub filter: Option<String>,
    /// Its mode; without a filter `off`.
    pub mode: String,
    /// Its profile.
    pub profile: String,
    /// Segments read.
    pub segments: u64,
    /// Findings, those that killed included.
    pub findings: u64,
    /// Connections killed.
    pub kills: u64,
    /// Segments held back until what is missing before them came.
    pub held: u64,
}

/// A port or a range of ports.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Port {
    /// One.
    One(u16),
    /// `first-last`.
    Range(String),
}

/// Looks at an instance, up or not.
pub fn status(instance: &Instance) -> Result<Status> {
    let controller = ControllerStatus::look(instance);
    let name = instance.name().to_owned();
    // Pins without a state: somebody emptied /run. The programs enforce all the same.
    let state = if instance.is_up() { Some(instance.state()?.unwrap_or_default()) } else { None };
    let Some(state) = state else {
        return Ok(Status {
            instance: name,
            attached: false,
            controller,
            policy: None,
            shadow: None,
            pending: None,
            interfaces: Vec::new(),
            awaited: Vec::new(),
            flows: Flows::default(),
            packets: Traffic::default(),
            bytes: Traffic::default(),
            drops: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            events_lost: 0,
            events_unheard: 0,
            events_suppressed: 0,
            events_untold: Vec::new(),
            passed_unread: 0,
            syn_attack_since: None,
            timeouts_shortened: false,
            rejects: Rejects::default(),
            sources_unknown: 0,
            syns_challenged: 0,
            sources_authenticated: 0,
            flows_adopted: 0,
            flows_translated: 0,
            pinholes: Pinholes::default(),
            shortcut: Taken::default(),
            exports: Vec::new(),
            exports_unknown: None,
            filters: Vec::new(),
        });
    };
    let tables = Tables::pinned(&instance.maps());
    let (mut drops, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::None) {
        let count = tables.reason_count(*reason)?;
        if count > 0 {
            let list = if reason.is_drop() { &mut drops } else { &mut outcomes };
            list.insert(reason.name().to_owned(), count);
        }
    }
    let losses = losses::losses(&tables)?;
    let untold = losses::total(&losses);
    let (exports, exports_unknown) = exports(instance);
    Ok(Status {
        instance: name,
        attached: true,
        controller,
        policy: state.policy_file.as_ref().map(|path| path.display().to_string()),
        shadow: ShadowStatus::of(&state, &tables)?,
        pending: Pending::status(instance)?,
        flows: Flows {
            ipv4: family(&tables, FlowTable::HalfOpenV4, FlowTable::CompletedV4)?,
            ipv6: family(&tables, FlowTable::HalfOpenV6, FlowTable::CompletedV6)?,
        },
        packets: Traffic {
            ingress: tables.counter(Counter::IngressPackets)?,
            egress: tables.counter(Counter::EgressPackets)?,
        },
        bytes: Traffic {
            ingress: tables.counter(Counter::IngressBytes)?,
            egress: tables.counter(Counter::EgressBytes)?,
        },
        drops,
        outcomes,
        events_lost: untold.lost,
        events_unheard: untold.unheard,
        events_suppressed: untold.held_back,
        events_untold: losses.iter().map(LossStatus::of).collect(),
        passed_unread: tables.counter(Counter::PassedUnread)?,
        syn_attack_since: attack_since(&tables)?,
        timeouts_shortened: timeouts_shortened(&state, &tables)?,
        rejects: Rejects::read(&tables)?,
        sources_unknown: tables.counter(Counter::SourcesUnknown)?,
        syns_challenged: tables.counter(Counter::SynsChallenged)?,
        sources_authenticated: tables.counter(Counter::SourcesAuthenticated)?,
        flows_adopted: tables.counter(Counter::FlowsAdopted)?,
        flows_translated: tables.counter(Counter::FlowsTranslated)?,
        pinholes: Pinholes {
            opened: tables.counter(Counter::PinholesOpened)?,
            refused: tables.counter(Counter::PinholesRefused)?,
            flows: tables.counter(Counter::PinholeFlows)?,
        },
        shortcut: Taken::read(state.shortcut, &tables)?,
        exports,
        exports_unknown,
        filters: filters(&state, &tables)?,
        awaited: state.awaited().cloned().collect(),
        interfaces: interfaces(state)?,
    })
}

/// How the exports are doing, or why that is not known: all else is, whatever the controller does.
fn exports(instance: &Instance) -> (Vec<ExportStatus>, Option<String>) {
    match subscribe::exports(instance) {
        Ok(exports) => (exports.unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    }
}

/// An interface, and what the shortcut comes to there.
#[derive(Debug, Serialize)]
pub struct InterfaceStatus {
    /// How its packets are caught.
    #[serde(flatten)]
    pub state: InterfaceState,
    /// The shortcut past the kernel's stack, where the policy wants it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shortcut: Option<AtInterface>,
}

fn interfaces(state: State) -> Result<Vec<InterfaceStatus>> {
    let shortcut = if state.shortcut { Some(Shortcut::look(true)?) } else { None };
    let with_shortcut = |state| InterfaceStatus {
        shortcut: shortcut.as_ref().map(|shortcut| shortcut.at(&state)),
        state,
    };
    Ok(state.interfaces.into_iter().map(with_shortcut).collect())
}

/// Connections that others announced to a filter.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pinholes {
    /// Pinholes that were opened.
    pub opened: u64,
    /// Pinholes that found no room.
    pub refused: u64,
    /// Connections that came by one.
    pub flows: u64,
}

/// Counts the flows of one family, in the order of reading that misses none.
fn family(tables: &Tables, half_open: FlowTable, completed: FlowTable) -> Result<FamilyFlows> {
    let (without, without_aliases) = count(tables, half_open)?;
    let (with, with_aliases) = count(tables, completed)?;
    Ok(FamilyFlows {
        completed: with.entries as usize - with_aliases,
        half_open: without.entries as usize - without_aliases,
        aliases: with_aliases + without_aliases,
        completed_size: tables.size(completed)?,
        half_open_size: tables.size(half_open)?,
        completed_percent: with.percent(),
        half_open_percent: without.percent(),
    })
}

/// How full a table is, and how many of its entries are aliases.
fn count(tables: &Tables, table: FlowTable) -> Result<(Fill, usize)> {
    let (mut entries, mut aliases) = (0, 0);
    tables.each_entry(table, |entry| {
        entries += 1;
        aliases += usize::from(entry.alias().is_some());
    })?;
    Ok((Fill { table, entries, size: tables.size(table)?.into() }, aliases))
}

pub(crate) fn attack_since(tables: &Tables) -> Result<Option<String>> {
    let table: Array<_, Attack> = tables.open("ATTACK")?;
    let attack = table.get(&0, 0)?;
    // The kernel notes the end of an attack when it next has to know.
    let on = attack.since != 0 && attack.unanswered > monotonic_ns();
    Ok(on.then(|| rfc3339(monotonic_epoch_ns() + i128::from(attack.since))))
}

pub(crate) fn timeouts_shortened(state: &State, tables: &Tables) -> Result<bool> {
    let table: Array<_, Timeouts> = tables.open("TIMEOUTS")?;
    let now = table.get(&0, 0)?;
    Ok(Timeout::ALL.iter().any(|(timeout, name)| {
        state.timeouts_ns.get(*name).is_some_and(|whole| now.get(*timeout) < *whole)
    }))
}

/// The bindings of an instance that is up.
pub fn bindings(instance: &Instance) -> Result<Vec<FilterStatus>> {
    let (state, tables) = open(instance)?;
    filters(&state, &tables)
}

/// What is needed to look at or change an instance that is up.
///
/// # Errors
///
/// It is not up.
pub fn open(instance: &Instance) -> Result<(State, Tables)> {
    match instance.state()? {
        Some(state) if instance.is_up() => Ok((state, Tables::pinned(&instance.maps()))),
        _ => bail!(
            "the instance {:?} is not up: bring it up with `fwx --instance {} up` or `run`",
            instance.name(),
            instance.name()
        ),
    }
}

pub(crate) fn filters(state: &State, tables: &Tables) -> Result<Vec<FilterStatus>> {
    let mut list = Vec::new();
    for (index, protocol) in state.protocols.iter().enumerate() {
        if protocol.gone {
            // A number that is kept for flows, see `renumber`.
            continue;
        }
        let number = u16::try_from(index + 1)?;
        let binding = tables.binding(number)?;
        let counters = tables.filter_counters(number)?;
        let ports = protocol
            .ports
            .iter()
            .map(|port| port.parse().map_or_else(|_| Port::Range(port.clone()), Port::One))
            .collect();
        list.push(FilterStatus {
            protocol: protocol.name.clone(),
            transport: protocol.transport.clone(),
            ports,
            filter: FilterId::from_raw(binding.filter).map(|filter| filter.name().to_owned()),
            mode: Mode::from_raw(binding.mode).name().to_owned(),
            profile: Profile::from_raw(binding.profile).name().to_owned(),
            segments: counters.segments,
            findings: counters.findings,
            kills: counters.kills,
            held: counters.held,
        });
    }
    Ok(list)
}
