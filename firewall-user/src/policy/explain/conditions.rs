//! What a rule asks of a flow, and whether the flow is so: each key of a rule is one condition.
//!
//! This is how a rule is read by a person. The kernel's programs do it by bit vectors
//! ([`firewall_common::classifier`]); that both agree is tested.

use std::net::IpAddr;

use firewall_common::classifier::asked_for;

use super::{Probe, membership::membership, probe::Origin};
use crate::policy::{Policy, PolicyRule, Protocol, error::quote, network};

/// Most networks or protocols, and most prefixes or ports of one, that a sentence lists.
const LISTED_MAX: usize = 4;

/// One key of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) key: &'static str,
    /// Whether the flow is what the rule asks for.
    pub(super) holds: bool,
    /// It does not hold, and might if it had been said by which interface the flow comes in.
    pub(super) lacks_interface: bool,
    /// That in a sentence.
    pub(super) says: String,
}

/// What `rule` asks for; a key that it does not have asks for nothing. It matches if all conditions hold.
pub(super) fn conditions(policy: &Policy, rule: &PolicyRule, probe: &Probe) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if !rule.from.is_empty() {
        let (address, origin) = (probe.source, probe.origin());
        conditions.push(in_networks(policy, "from", ("source", address), Some(origin), &rule.from));
    }
    if !rule.to.is_empty() {
        let end = ("destination", probe.destination);
        conditions.push(in_networks(policy, "to", end, None, &rule.to));
    }
    if !rule.protocols.is_empty() {
        let wanted = rule.protocols.iter().map(|index| &policy.protocols[*index]);
        conditions.push(of_protocols(probe, &wanted.collect::<Vec<_>>()));
    }
    if !rule.is_of_any_interface() {
        conditions.push(by_interface(rule, &probe.origin()));
    }
    conditions
}

/// Whether an end of the flow is in one of the networks `wanted`: by its address, or if it is the source, by where it
/// comes from.
fn in_networks(
    policy: &Policy,
    key: &'static str,
    (end, address): (&str, IpAddr),
    origin: Option<Origin<'_>>,
    wanted: &[usize],
) -> Condition {
    let interface = origin.as_ref().and_then(Origin::interface);
    let holding = wanted.iter().find_map(|index| membership(policy, *index, address, interface));
    let says = match &holding {
        Some(membership) => format!("{end} {address} is {membership}"),
        None => {
            let networks = wanted.iter().map(|index| network_described(policy, *index));
            format!("{end} {address} is not in {}", list(networks.collect(), ""))
        }
    };
    let reached = network::reached(&policy.networks, wanted);
    let has_interfaces = reached.iter().any(|index| !policy.networks[*index].interfaces.is_empty());
    Condition {
        key,
        holds: holding.is_some(),
        lacks_interface: holding.is_none()
            && has_interfaces
            && matches!(origin, Some(Origin::Unsaid)),
        says,
    }
}

/// A network with all that it comes to.
fn network_described(policy: &Policy, index: usize) -> String {
    let mut all: Vec<_> = policy.prefixes_of(&[index]).map(ToString::to_string).collect();
    for index in network::reached(&policy.networks, &[index]) {
        let interfaces = policy.networks[index].interfaces.iter();
        all.extend(interfaces.map(|name| format!("interface {}", quote(name))));
    }
    format!("{} ({})", quote(&policy.networks[index].name), list(all, "no prefix"))
}

fn by_interface(rule: &PolicyRule, origin: &Origin<'_>) -> Condition {
    let itself = rule.itself.then(|| "from the gateway itself".to_owned());
    let by = rule.interfaces.iter().map(|name| format!("by {}", quote(name)));
    let wanted = list(by.chain(itself).collect(), "");
    let (holds, says) = match origin {
        Origin::Itself if rule.itself => (true, "the gateway itself sends it".to_owned()),
        Origin::Itself => {
            (false, format!("the gateway itself sends it: it does not come {wanted}"))
        }
        Origin::Interface(name) if rule.interfaces.iter().any(|it| it == name) => {
            (true, format!("it comes in by {}", quote(name)))
        }
        Origin::Interface(name) => (false, format!("it comes in by {}, not {wanted}", quote(name))),
        Origin::Unsaid => (false, format!("it is not said that it comes {wanted}")),
    };
    let lacks_interface = matches!(origin, Origin::Unsaid);
    Condition { key: "interface", holds, lacks_interface, says }
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
            format!("{service} is not of {}", list(wanted.iter().map(described).collect(), ""))
        }
    };
    Condition { key: "protocols", holds: holding.is_some(), lacks_interface: false, says }
}

/// Whether the flow belongs to `protocol`.
pub(super) fn is_of(protocol: &Protocol, probe: &Probe) -> bool {
    let asked = asked_for(&probe.packet());
    protocol.transport == probe.transport()
        && protocol.services().iter().any(|range| range.contains(&asked))
}

/// What the flow asks for, in words.
pub(super) fn service(probe: &Probe) -> String {
    let transport = probe.transport();
    if transport.has_ports() {
        format!("{transport} port {}", probe.destination_port)
    } else if transport.is_icmp() {
        format!("{transport} {}", probe.type_shown())
    } else {
        format!("IP protocol {transport}")
    }
}

/// What a protocol is, in words.
fn services(protocol: &Protocol) -> String {
    let listed = list(protocol.listed(), "");
    format!("{} {listed}", protocol.transport).trim_end().to_owned()
}

/// `a, b, c`, with the end left out of a long list.
pub(super) fn list(mut items: Vec<String>, nothing: &str) -> String {
    let more = items.len().saturating_sub(LISTED_MAX);
    items.truncate(LISTED_MAX);
    if items.is_empty() {
        return nothing.to_owned();
    }
    if more > 0 {
        items.push(format!("{more} more"));
    }
    items.join(", ")
}
