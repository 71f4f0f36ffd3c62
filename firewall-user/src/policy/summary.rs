//! A policy as `fwx check -o json` shows it: as it was understood, with names and defaults.

use std::collections::BTreeMap;

use firewall_common::{
    essential::Essential,
    filter::FilterId,
    flow::Timeout,
    policy::{Mode, Profile},
};
use serde::Serialize;

use crate::{events::EventSettings, export::Export};

use super::{
    FilterSettings, ITSELF, IcmpType, Limits, Policy, PolicyRule, Protocol, TableSizes, Transport,
    duration::NANOSECONDS_PER_SECOND, model::action_name,
};

/// What a policy says, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary<'a> {
    interfaces: &'a [String],
    default: &'static str,
    new_flow: &'static str,
    shortcut: bool,
    essential: Vec<&'static str>,
    live: &'static str,
    tables: TablesSummary,
    /// In seconds.
    timeouts: BTreeMap<&'static str, u64>,
    limits: LimitsSummary,
    networks: Vec<NetworkSummary<'a>>,
    protocols: Vec<ProtocolSummary<'a>>,
    filters: Vec<FilterSummary>,
    asymmetric: Vec<AsymmetricSummary<'a>>,
    anti_spoofing: AntiSpoofingSummary<'a>,
    rules: Vec<RuleSummary<'a>>,
    events: &'a EventSettings,
    exports: &'a [Export],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct TablesSummary {
    completed: u32,
    half_open: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LimitsSummary {
    half_open_per_source: u32,
    new_per_second_per_source: u32,
    syn_attack: u32,
    syn_authentication: &'static str,
    reject_per_second: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NetworkSummary<'a> {
    name: &'a str,
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    interfaces: &'a [String],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ProtocolSummary<'a> {
    name: &'a str,
    transport: TransportSummary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<Ports>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    types: Vec<Types>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<BoundFilter>,
}

/// A filter as a protocol binds it: by its name, or with what it says of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum BoundFilter {
    Name(&'static str),
    Own {
        name: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        mode: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        profile: Option<&'static str>,
    },
}

/// An IP protocol as a policy writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum TransportSummary {
    Name(&'static str),
    Number(u8),
}

/// ICMP types as a policy writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Types {
    Number(u8),
    Name(String),
}

/// Ports as a policy writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Ports {
    One(u16),
    Range(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct FilterSummary {
    name: &'static str,
    mode: &'static str,
    profile: &'static str,
    /// Left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    commands: Option<Vec<&'static str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct AsymmetricSummary<'a> {
    prefixes: Vec<String>,
    networks: Vec<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct AntiSpoofingSummary<'a> {
    mode: &'static str,
    /// Networks by interface.
    sources: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Lists that are left out stand for "any", limits that are left out for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RuleSummary<'a> {
    name: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    to: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protocols: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interface: Vec<&'a str>,
    /// Left out: its events are made.
    #[serde(skip_serializing_if = "is_true")]
    log: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    half_open: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_per_second: Option<u32>,
}

fn allowed(settings: &FilterSettings) -> Vec<&'static str> {
    let known = settings.filter.commands().iter().enumerate();
    known.filter(|(bit, _)| settings.commands >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

impl Policy {
    /// What this policy says.
    pub fn summary(&self) -> Summary<'_> {
        let network_names = |indices: &[usize]| -> Vec<&str> {
            let networks = indices.iter().filter_map(|&index| self.networks.get(index));
            networks.map(|network| network.name.as_str()).collect()
        };
        let protocol_names = |indices: &[usize]| -> Vec<&str> {
            let protocols = indices.iter().filter_map(|&index| self.protocols.get(index));
            protocols.map(|protocol| protocol.name.as_str()).collect()
        };
        let networks = self.networks.iter().map(|network| NetworkSummary {
            name: &network.name,
            prefixes: network.prefixes.iter().map(ToString::to_string).collect(),
            networks: network_names(&network.networks),
            interfaces: &network.interfaces,
        });
        let protocols = self.protocols.iter().map(|protocol| ProtocolSummary {
            name: &protocol.name,
            transport: transport(protocol.transport),
            ports: protocol.ports.iter().map(|range| ports(*range.start(), *range.end())).collect(),
            types: protocol.types.iter().map(|icmp| types(*icmp, protocol.transport)).collect(),
            filter: protocol.filter.map(|filter| bound_filter(filter, protocol)),
        });
        let filters = self.filters.iter().map(|filter| FilterSummary {
            name: filter.filter.name(),
            mode: filter.mode.name(),
            profile: filter.profile.name(),
            commands: (filter.commands != u64::MAX).then(|| allowed(filter)),
        });
        let asymmetric = self.asymmetric.iter().map(|declared| AsymmetricSummary {
            prefixes: declared.prefixes.iter().map(ToString::to_string).collect(),
            networks: network_names(&declared.networks),
        });
        let rules = self.rules.iter().map(|rule| RuleSummary {
            name: &rule.name,
            action: action_name(rule.action),
            from: network_names(&rule.from),
            to: network_names(&rule.to),
            protocols: protocol_names(&rule.protocols),
            interface: interfaces(rule),
            log: rule.log,
            half_open: limit(rule.half_open_max),
            new_per_second: limit(rule.new_per_second),
        });
        let sources = self.anti_spoofing.lists.iter();
        let sources = sources.map(|list| (list.interface.as_str(), network_names(&list.networks)));
        let anti_spoofing = AntiSpoofingSummary {
            mode: self.anti_spoofing.mode.name(),
            sources: sources.collect(),
        };
        let seconds = |timeout| self.timeouts.get(timeout) / NANOSECONDS_PER_SECOND;
        let timeouts = Timeout::ALL.iter().map(|&(timeout, name)| (name, seconds(timeout)));
        let essential = Essential::ALL.iter().filter(|(_, it)| it.is_in(self.essential));
        let TableSizes { completed, half_open } = self.tables;
        Summary {
            interfaces: &self.interfaces,
            default: action_name(self.default_action),
            new_flow: self.new_flow.name(),
            shortcut: self.shortcut,
            essential: essential.map(|(name, _)| *name).collect(),
            live: self.live.name(),
            tables: TablesSummary { completed, half_open },
            timeouts: timeouts.collect(),
            limits: limits(&self.limits),
            networks: networks.collect(),
            protocols: protocols.collect(),
            filters: filters.collect(),
            asymmetric: asymmetric.collect(),
            anti_spoofing,
            rules: rules.collect(),
            events: &self.events,
            exports: &self.exports,
        }
    }
}

/// The interfaces that a rule asks for, as it lists them.
fn interfaces(rule: &PolicyRule) -> Vec<&str> {
    let itself = rule.itself.then_some(ITSELF);
    rule.interfaces.iter().map(String::as_str).chain(itself).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// A limit of which 0 stands for none.
fn limit(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

fn limits(limits: &Limits) -> LimitsSummary {
    LimitsSummary {
        half_open_per_source: limits.half_open_per_source,
        new_per_second_per_source: limits.new_per_second_per_source,
        syn_attack: limits.syn_attack_per_second,
        syn_authentication: limits.syn_authentication.name(),
        reject_per_second: limits.reject_per_second,
    }
}

fn bound_filter(filter: FilterId, protocol: &Protocol) -> BoundFilter {
    let name = filter.name();
    match (protocol.mode.map(Mode::name), protocol.profile.map(Profile::name)) {
        (None, None) => BoundFilter::Name(name),
        (mode, profile) => BoundFilter::Own { name, mode, profile },
    }
}

fn transport(transport: Transport) -> TransportSummary {
    let number = TransportSummary::Number(transport.number());
    transport.name().map_or(number, TransportSummary::Name)
}

fn types(icmp: IcmpType, transport: Transport) -> Types {
    let shown = icmp.shown(transport).to_string();
    shown.parse().map_or(Types::Name(shown), Types::Number)
}

fn ports(first: u16, last: u16) -> Ports {
    if first == last { Ports::One(first) } else { Ports::Range(format!("{first}-{last}")) }
}
