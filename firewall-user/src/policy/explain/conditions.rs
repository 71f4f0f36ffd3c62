//! What a rule asks of a flow, and whether the flow is so: each key of a rule is one condition.
//!
//! This is how a rule is read by a person. The kernel's programs do it by bit vectors
//! ([`firewall_common::classifier`]); that both agree is tested.

use std::net::IpAddr;

use super::Probe;
use crate::policy::{Network, Policy, PolicyRule, Protocol, error::quote};

/// Most networks or protocols, and most prefixes or ports of one, that a sentence lists.
const LISTED_MAX: usize = 4;

/// One key of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) key: &'static str,
    /// Whether the flow is what the rule asks for.
    pub(super) holds: bool,
    /// That in a sentence.
    pub(super) says: String,
}

/// What `rule` asks for; a key that it does not have asks for nothing. It matches if all conditions hold.
pub(super) fn conditions(policy: &Policy, rule: &PolicyRule, probe: &Probe) -> Vec<Condition> {
    let ends = [
        ("from", "source", probe.source, &rule.from),
        ("to", "destination", probe.destination, &rule.to),
    ];
    let ends = ends.into_iter().filter(|(.., wanted)| !wanted.is_empty());
    let mut conditions: Vec<_> = ends
        .map(|(key, end, address, wanted)| {
            let networks = wanted.iter().map(|index| &policy.networks[*index]);
            in_networks(key, end, address, &networks.collect::<Vec<_>>())
        })
        .collect();
    if !rule.protocols.is_empty() {
        let wanted = rule.protocols.iter().map(|index| &policy.protocols[*index]);
        conditions.push(of_protocols(probe, &wanted.collect::<Vec<_>>()));
    }
    conditions
}

fn in_networks(key: &'static str, end: &str, address: IpAddr, wanted: &[&Network]) -> Condition {
    let holding = wanted.iter().find_map(|network| {
        let prefix = network.prefixes.iter().find(|prefix| prefix.contains(&address))?;
        Some((network, prefix))
    });
    let says = match holding {
        Some((network, prefix)) => {
            format!("{end} {address} is in network {}, by {prefix}", quote(&network.name))
        }
        None => {
            let described = |network: &&Network| {
                let prefixes = list(network.prefixes.iter().map(ToString::to_string), "no prefix");
                format!("{} ({prefixes})", quote(&network.name))
            };
            let networks = list(wanted.iter().map(described), "");
            format!("{end} {address} is not in {networks}")
        }
    };
    Condition { key, holds: holding.is_some(), says }
}

fn of_protocols(probe: &Probe, wanted: &[&Protocol]) -> Condition {
    let service = service(probe);
    let holding = wanted.iter().find(|protocol| is_of(protocol, probe));
    let says = match holding {
        Some(protocol) => format!("{service} is of protocol {}", quote(&protocol.name)),
        None => {
            let described = |protocol: &&Protocol| {
                format!("{} ({})", quote(&protocol.name), services(protocol))
            };
            format!("{service} is not of {}", list(wanted.iter().map(described), ""))
        }
    };
    Condition { key: "protocols", holds: holding.is_some(), says }
}

/// Whether the flow belongs to `protocol`.
pub(super) fn is_of(protocol: &Protocol, probe: &Probe) -> bool {
    probe.has_ports()
        && protocol.transport.number() == probe.protocol
        && protocol.ports.iter().any(|range| range.contains(&probe.destination_port))
}

/// What the flow asks for, in words.
pub(super) fn service(probe: &Probe) -> String {
    let protocol = probe.protocol_name();
    if probe.has_ports() {
        format!("{protocol} port {}", probe.destination_port)
    } else if probe.has_types() {
        format!("{protocol} {}", probe.type_name())
    } else {
        format!("IP protocol {protocol}")
    }
}

/// What a protocol is, in words.
fn services(protocol: &Protocol) -> String {
    let listed = list(protocol.listed().into_iter(), "");
    format!("{} {listed}", protocol.transport).trim_end().to_owned()
}

/// `a, b, c`, with the end left out of a long list.
fn list(items: impl ExactSizeIterator<Item = String>, nothing: &str) -> String {
    let more = items.len().saturating_sub(LISTED_MAX);
    let mut listed: Vec<_> = items.take(LISTED_MAX).collect();
    if listed.is_empty() {
        return nothing.to_owned();
    }
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed.join(", ")
}
