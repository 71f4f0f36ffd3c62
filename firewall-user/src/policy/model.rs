//! A sound policy, with every name resolved.

use std::{ops::RangeInclusive, path::Path};

use firewall_common::{
    filter::FilterId,
    flow::Timeouts,
    policy::{Action, AntiSpoofing, Mode, NewFlow, Profile, SynAuthentication},
};
use ipnet::IpNet;
use thiserror::Error;

use crate::{events::EventSettings, export::Export};

use super::{
    IcmpType, PolicyError, SourceFile, Sources, Transport, builtin, network, ports::merge,
};

/// A policy that can be put into force.
///
/// Networks, protocols, filters and rules refer to each other by their index in this policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    pub(super) interfaces: Vec<String>,
    pub(super) default_action: Action,
    pub(super) new_flow: NewFlow,
    pub(super) shortcut: bool,
    pub(super) essential: u32,
    pub(super) live: Live,
    pub(super) tables: TableSizes,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) networks: Vec<Network>,
    pub(super) protocols: Vec<Protocol>,
    pub(super) filters: Vec<FilterSettings>,
    pub(super) asymmetric: Vec<Asymmetric>,
    pub(super) anti_spoofing: SourceChecks,
    pub(super) rules: Vec<PolicyRule>,
    pub(super) events: EventSettings,
    pub(super) exports: Vec<Export>,
}

impl Policy {
    /// The policy that `text` describes. `name` is what messages call the file.
    ///
    /// # Errors
    /// Everything that is wrong with `text`, in the order of the file.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let main = SourceFile { path: name.into(), text: text.to_owned() };
        Sources::new(main, Vec::new()).parse()
    }

    /// The policy in the file at `path` and those that it includes.
    ///
    /// # Errors
    /// As [`Policy::parse`]; also a file that cannot be read or is not UTF-8, and more than 4 MiB in all.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Sources::load(path)?.parse()
    }

    /// The policy that applies where no file is given: every new flow is allowed, every filter is
    /// bound to its usual ports in monitor mode. It names no interfaces.
    pub fn builtin() -> Self {
        builtin::policy()
    }

    /// The same policy for other interfaces, such as those of the command line.
    ///
    /// # Errors
    /// A network or a rule names an interface that is none of them.
    pub fn with_interfaces(mut self, interfaces: Vec<String>) -> Result<Self, MissingInterface> {
        let of_networks = self.networks.iter().map(|it| ("network", &it.name, &it.interfaces));
        let of_rules = self.rules.iter().map(|it| ("rule", &it.name, &it.interfaces));
        for (what, name, named) in of_networks.chain(of_rules) {
            if let Some(missing) = named.iter().find(|named| !interfaces.contains(named)) {
                let (interface, name) = (missing.clone(), name.clone());
                return Err(MissingInterface { interface, what, name });
            }
        }
        self.interfaces = interfaces;
        Ok(self)
    }

    /// Interfaces that the firewall sits on; empty only in a built-in policy.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// What a new flow gets that no rule speaks about.
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// What becomes of a TCP segment that belongs to no flow and is not a SYN.
    pub fn new_flow(&self) -> NewFlow {
        self.new_flow
    }

    /// Whether packets of established flows may go past the kernel's stack.
    pub fn shortcut(&self) -> bool {
        self.shortcut
    }

    /// What passes whatever the rules say: bit set of [`Essential`](firewall_common::essential::Essential).
    pub fn essential(&self) -> u32 {
        self.essential
    }

    /// What becomes of live flows that this policy would not let in, when it comes in force.
    pub fn live(&self) -> Live {
        self.live
    }

    /// Who may read events, and which are kept.
    pub fn events(&self) -> &EventSettings {
        &self.events
    }

    /// Who is sent events and metrics, in the order of the file.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// How much room there is for flows.
    pub fn tables(&self) -> TableSizes {
        self.tables
    }

    /// How long a flow may be silent.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// What may begin, beside what the rules allow.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Networks in the order of the file.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Protocols in the order of the file.
    pub fn protocols(&self) -> &[Protocol] {
        &self.protocols
    }

    /// One entry for each filter there is, whether the file speaks about it or not.
    pub fn filters(&self) -> &[FilterSettings] {
        &self.filters
    }

    /// How `filter` behaves wherever it is bound.
    pub fn filter_settings(&self, filter: FilterId) -> Option<&FilterSettings> {
        self.filters.iter().find(|settings| settings.filter == filter)
    }

    /// How the filter that is bound to `protocol` behaves there; `None`: none is bound.
    pub fn settings_of(&self, protocol: &Protocol) -> Option<FilterSettings> {
        let settings = self.filter_settings(protocol.filter?)?;
        Some(FilterSettings {
            mode: protocol.mode.unwrap_or(settings.mode),
            profile: protocol.profile.unwrap_or(settings.profile),
            ..*settings
        })
    }

    /// Whose connections may come by with one direction only.
    pub fn asymmetric(&self) -> &[Asymmetric] {
        &self.asymmetric
    }

    /// Every prefix that is declared asymmetric, by itself or by its network.
    pub(super) fn asymmetric_prefixes(&self) -> impl Iterator<Item = &IpNet> {
        self.asymmetric.iter().flat_map(|declared| {
            declared.prefixes.iter().chain(self.prefixes_of(&declared.networks))
        })
    }

    /// Every prefix of the networks with these indices, and of those that they name.
    pub fn prefixes_of(&self, networks: &[usize]) -> impl Iterator<Item = &IpNet> {
        let reached = network::reached(&self.networks, networks);
        reached.into_iter().flat_map(|index| &self.networks[index].prefixes)
    }

    /// Which sources may come in by which interface.
    pub fn anti_spoofing(&self) -> &SourceChecks {
        &self.anti_spoofing
    }

    /// Rules in the order in which they are tried.
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }
}

/// The policy speaks about an interface that it was told not to sit on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "--interface leaves {interface} out, which the {what} {name:?} of the policy names: name it with --interface too, \
     or leave it out of the policy"
)]
pub struct MissingInterface {
    /// The interface.
    pub interface: String,
    /// Who names it: a network or a rule,
    pub what: &'static str,
    /// of this name.
    pub name: String,
}

/// What becomes of live flows when another policy comes in force that would not let them in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Live {
    /// They go on, and no flow is judged again
    #[default]
    Keep,
    /// They end in silence; the others go on under the rule that lets them in now
    Reevaluate,
    /// They end, and both ends of a TCP connection are told by a RST
    Kill,
}

impl Live {
    /// The name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reevaluate => "reevaluate",
            Self::Kill => "kill",
        }
    }
}

/// How much room there is for flows, in flows of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableSizes {
    /// Flows with an answer, 1,024 to 16,777,216.
    pub completed: u32,
    /// Flows without an answer yet, 1,024 to 4,194,304.
    pub half_open: u32,
}

impl Default for TableSizes {
    fn default() -> Self {
        Self { completed: 1_048_576, half_open: 262_144 }
    }
}

/// What may begin, beside what the rules allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most flows without an answer of one source address at a time; 0: no limit.
    pub half_open_per_source: u32,
    /// Most new flows a second of one source address; 0: no limit.
    pub new_per_second_per_source: u32,
    /// Unanswered new TCP flows a second, in all, beyond which a SYN attack is on; 0: none ever is.
    pub syn_attack_per_second: u32,
    /// When the sender of a SYN has to show that its address is its own.
    pub syn_authentication: SynAuthentication,
    /// Most ICMP errors a second by which rejects are answered, 1 to 10,000,000.
    pub reject_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            half_open_per_source: 0,
            new_per_second_per_source: 0,
            syn_attack_per_second: 2_000,
            syn_authentication: SynAuthentication::Off,
            reject_per_second: 100,
        }
    }
}

/// A named set of addresses, and of interfaces that they come in by: all of its own and those of the networks that it
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// The name in the policy.
    pub name: String,
    /// Prefixes without host bits.
    pub prefixes: Vec<IpNet>,
    /// Indices into [`Policy::networks`]. None leads back to this one.
    pub networks: Vec<usize>,
    /// Names out of [`Policy::interfaces`]: whatever comes in by them.
    pub interfaces: Vec<String>,
}

/// Addresses of whose connections only one direction may come by here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asymmetric {
    /// Prefixes without host bits.
    pub prefixes: Vec<IpNet>,
    /// Indices into [`Policy::networks`].
    pub networks: Vec<usize>,
}

/// Which sources may come in by which interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceChecks {
    /// What the routing table is asked where an interface has no list.
    pub mode: AntiSpoofing,
    /// The interfaces that have a list, at most
    /// [`INTERFACES_LISTED_MAX`](firewall_common::classifier::INTERFACES_LISTED_MAX).
    pub lists: Vec<SourceList>,
}

impl SourceChecks {
    /// Whether any source is checked.
    pub fn is_on(&self) -> bool {
        self.mode != AntiSpoofing::Off || !self.lists.is_empty()
    }
}

/// The sources that may come in by an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceList {
    /// The interface's name.
    pub interface: String,
    /// Indices into [`Policy::networks`].
    pub networks: Vec<usize>,
}

/// A named set of services of an IP protocol, and the filter that reads what is sent to them. No service belongs to
/// two protocols.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// The name in the policy.
    pub name: String,
    /// The IP protocol.
    pub transport: Transport,
    /// If it has ports: destination ports from 1 to 65535.
    pub ports: Vec<RangeInclusive<u16>>,
    /// If it is ICMP: the types of messages; none: all.
    pub types: Vec<IcmpType>,
    /// The filter that is bound to the protocol.
    pub filter: Option<FilterId>,
    /// The filter's mode here, if the protocol says so itself.
    pub mode: Option<Mode>,
    /// The filter's profile here, likewise.
    pub profile: Option<Profile>,
}

impl Protocol {
    /// What its packets ask for, as [`asked_for`](firewall_common::classifier::asked_for) has it.
    pub fn services(&self) -> Vec<RangeInclusive<u16>> {
        match self.transport {
            Transport::Tcp | Transport::Udp => self.ports.clone(),
            Transport::Icmp | Transport::Icmpv6 if !self.types.is_empty() => {
                merge(self.types.iter().map(|icmp| icmp.range()).collect())
            }
            _ => vec![0..=u16::MAX],
        }
    }

    /// Its ports, or its ICMP types, as the policy writes them.
    pub fn listed(&self) -> Vec<String> {
        let ports = self.ports.iter().map(|range| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        });
        ports.chain(self.types.iter().map(|icmp| icmp.shown(self.transport).to_string())).collect()
    }
}

/// How a filter behaves wherever it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilterSettings {
    /// The filter.
    pub filter: FilterId,
    /// The mode; monitor unless the policy says otherwise.
    pub mode: Mode,
    /// The profile; standard unless the policy says otherwise.
    pub profile: Profile,
    /// The commands that are allowed, bit n standing for the nth of
    /// [`FilterInfo::commands`](firewall_common::filter::FilterInfo::commands); all unless the policy says
    /// otherwise.
    pub commands: u64,
}

/// What stands for this machine itself among the interfaces of a rule. No interface of a policy has this name.
pub const ITSELF: &str = "self";

/// One rule. An empty list stands for "any".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyRule {
    /// The name in events; no two rules share one.
    pub name: String,
    /// What a flow gets that the rule speaks about.
    pub action: Action,
    /// Indices into [`Policy::networks`], for the source.
    pub from: Vec<usize>,
    /// Indices into [`Policy::networks`], for the destination.
    pub to: Vec<usize>,
    /// Indices into [`Policy::protocols`].
    pub protocols: Vec<usize>,
    /// Names out of [`Policy::interfaces`], for the one that the first packet comes in by.
    pub interfaces: Vec<String>,
    /// Whether it also asks for what comes in by none, because this machine itself sends it: the name [`ITSELF`] in
    /// the list. Without this, and without interfaces, any will do.
    pub itself: bool,
    /// Whether what it decides and lets in makes events; kills and what filters find always do.
    pub log: bool,
    /// Most flows without an answer at a time that the rule lets in; 0: no limit. Only of
    /// [`Action::Allow`].
    pub half_open_max: u32,
    /// Most new flows a second that the rule lets in; 0: no limit. Only of [`Action::Allow`].
    pub new_per_second: u32,
}

impl PolicyRule {
    /// Whether it does not matter by which interface the first packet comes in, or whether it does at all.
    pub fn is_of_any_interface(&self) -> bool {
        self.interfaces.is_empty() && !self.itself
    }
}

/// The name of `action` in policies and events.
pub const fn action_name(action: Action) -> &'static str {
    match action {
        Action::Deny => "deny",
        Action::Allow => "allow",
        Action::Reject => "reject",
    }
}
