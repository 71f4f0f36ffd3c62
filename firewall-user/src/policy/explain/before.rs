//! What is decided about the first packet of a flow before the rules are asked, in the order in which the kernel's
//! programs look at it.

use firewall_common::{
    essential::{Essential, Need, need},
    layout::Hook,
    martian::{is_from_nobody, is_of_the_link},
    policy::AntiSpoofing,
    wire::{Packet, ip_protocol, is_answer},
};

use super::{Probe, conditions::list, membership::membership, probe::Origin};
use crate::policy::{Policy, SourceList, error::quote};

/// What comes of a packet without the rules.
pub(super) enum Before {
    /// `"pass"` or `"drop"`, and why.
    Decided(&'static str, String),
    /// The rules are asked, after what these sentences say.
    Rules(Vec<String>),
}

/// What is decided without a look at the rules.
pub(super) fn before_rules(policy: &Policy, probe: &Probe) -> Before {
    let origin = probe.origin();
    if let Origin::Interface(name) = origin
        && !policy.interfaces.is_empty()
        && !policy.interfaces.iter().any(|known| known == name)
    {
        let why = format!("the policy does not name the interface {}", quote(name));
        return Before::Decided("pass", why + ": what comes in by it is not looked at");
    }
    let packet = probe.packet();
    if is_error(&packet) {
        return related("quotes a packet of a known flow");
    }
    let mut notes = Vec::new();
    match essential(policy, &packet, &origin) {
        Some(decided @ Before::Decided(..)) => return decided,
        Some(Before::Rules(more)) => notes.extend(more),
        None => {}
    }
    if packet.is_to_itself() {
        let why = "its source is its destination (LAND_ATTACK)".to_owned();
        return Before::Decided("drop", why);
    }
    match source(policy, probe, &packet, &origin) {
        decided @ Before::Decided(..) => return decided,
        Before::Rules(more) => notes.extend(more),
    }
    if is_answer(&packet) {
        return related("answers a request that passed");
    }
    Before::Rules(notes)
}

const fn is_error(packet: &Packet) -> bool {
    match packet.protocol {
        ip_protocol::ICMP => matches!(packet.icmp_type, 3 | 11 | 12),
        ip_protocol::ICMPV6 => matches!(packet.icmp_type, 1..=4),
        _ => false,
    }
}

fn related(to_what: &str) -> Before {
    let why = format!(
        "it begins no flow: it passes if it {to_what}, and is dropped otherwise; rules are not asked"
    );
    Before::Decided("drop", why)
}

/// Whether it is essential. What does not say where it comes from is taken to come in.
fn essential(policy: &Policy, packet: &Packet, origin: &Origin<'_>) -> Option<Before> {
    let hook = if matches!(origin, Origin::Itself) { Hook::Egress } else { Hook::Ingress };
    let wanted = Essential::ALL.into_iter().filter(|(_, it)| it.is_in(policy.essential));
    let mut needs = wanted.map(|(name, it)| (name, need(packet, hook, it as u32)));
    let (name, need) = needs.find(|(_, need)| *need != Need::None)?;
    let name = quote(name);
    Some(match need {
        Need::IfAsked => Before::Rules(vec![format!(
            "it passes before any rule while the gateway itself asks for an address: {name} is essential"
        )]),
        _ => Before::Decided(
            "pass",
            format!("{name} is essential: it passes, whatever the rules say"),
        ),
    })
}

/// Whether its source may come in where it does.
fn source(policy: &Policy, probe: &Probe, packet: &Packet, origin: &Origin<'_>) -> Before {
    let checks = &policy.anti_spoofing;
    let nothing = Before::Rules(Vec::new());
    if !checks.is_on() || is_of_the_link(packet) {
        return nothing;
    }
    let name = match origin {
        Origin::Itself => return nothing,
        Origin::Unsaid => {
            let why = "[anti_spoofing] may refuse its source, by the interface that it comes in by";
            return Before::Rules(vec![why.to_owned()]);
        }
        Origin::Interface(name) => name,
    };
    let (source, by) = (probe.source, quote(name));
    match checks.lists.iter().find(|list| list.interface == *name) {
        Some(list) => by_list(policy, probe, list),
        None if checks.mode == AntiSpoofing::Off => nothing,
        None if is_from_nobody(packet) => spoofed(&format!("source {source} is no host's address")),
        None => {
            let mode = checks.mode.name();
            Before::Rules(vec![format!(
                "the routing table, which is not known here, has to say first that {source} may come in by {by} \
                 ([anti_spoofing], {mode})"
            )])
        }
    }
}

fn by_list(policy: &Policy, probe: &Probe, list_of: &SourceList) -> Before {
    let (source, by) = (probe.source, quote(&list_of.interface));
    let listed = list_of.networks.iter();
    if let Some(membership) = listed.clone().find_map(|it| membership(policy, *it, source, None)) {
        return Before::Rules(vec![format!(
            "source {source} may come in by {by}: it is {membership}"
        )]);
    }
    let names = listed.map(|index| quote(&policy.networks[*index].name)).collect();
    spoofed(&format!("source {source} may not come in by {by}: it is not in {}", list(names, "")))
}

fn spoofed(why: &str) -> Before {
    Before::Decided("drop", format!("{why} (SPOOFING)"))
}
