//! Names that nothing refers to, and filters that have nothing to read.

use firewall_common::{
    filter::FilterId,
    policy::{Action, Mode},
};

use super::{Lints, WarningKind};
use crate::policy::{Protocol, error::quote};

const OFF_HELP: &str = "in mode `monitor` it reports, in mode `enforce` it kills";

/// Networks that nothing refers to, and those that hold nothing.
pub(super) fn networks(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let of_rules = policy.rules().iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
    let of_asymmetric = policy.asymmetric().iter().flat_map(|declared| &declared.networks);
    let of_networks = policy.networks().iter().flat_map(|network| &network.networks);
    let of_lists = policy.anti_spoofing().lists.iter().flat_map(|list| &list.networks);
    let mut used = vec![false; policy.networks().len()];
    of_rules
        .chain(of_asymmetric)
        .chain(of_networks)
        .chain(of_lists)
        .for_each(|network| used[*network] = true);
    for (index, network) in policy.networks().iter().enumerate() {
        let (at, name) = (lints.places.network(index), quote(&network.name));
        if !used[index] {
            let kind = WarningKind::UnusedNetwork { network: name };
            lints.warn(at, kind, "name it where it is meant, or leave it out");
        } else if network.prefixes.is_empty()
            && network.networks.is_empty()
            && network.interfaces.is_empty()
        {
            let kind = WarningKind::EmptyNetwork { network: name };
            lints.warn(at, kind, "what asks for it matches nothing until it has a prefix");
        }
    }
}

/// Protocols that make no difference.
pub(super) fn protocols(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let mut used = vec![false; policy.protocols().len()];
    policy.rules().iter().flat_map(|rule| &rule.protocols).for_each(|it| used[*it] = true);
    for (index, protocol) in policy.protocols().iter().enumerate() {
        if !used[index] && protocol.filter.is_none() {
            let kind = WarningKind::UnusedProtocol { protocol: quote(&protocol.name) };
            let at = lints.places.protocol(index);
            lints.warn(at, kind, "name it where it is meant, or leave it out");
        }
    }
}

/// Filters that are bound to what never passes, and settings of filters that make no difference. `dead` says which
/// rules never match.
pub(super) fn filters(lints: &mut Lints<'_, '_>, dead: &[bool]) {
    let policy = lints.policy;
    for (index, Protocol { name, filter, .. }) in policy.protocols().iter().enumerate() {
        let Some(filter) = filter else { continue };
        if !passes(lints, index, dead) {
            let kind = WarningKind::UnreadProtocol { filter: filter.name(), protocol: quote(name) };
            lints.warn(lints.places.protocol(index), kind, "allow the protocol by a rule");
        }
    }
    for settings in policy.filters() {
        settings_of_filter(lints, settings.filter);
    }
    for protocol in policy.protocols() {
        settings_of_binding(lints, protocol);
    }
}

/// What `[filter.NAME]` says and no protocol goes by.
fn settings_of_filter(lints: &mut Lints<'_, '_>, id: FilterId) {
    let policy = lints.policy;
    let filter = id.name();
    let Some(at) = lints.places.name("filter", filter) else { return };
    let bound: Vec<_> = policy.protocols().iter().filter(|it| it.filter == Some(id)).collect();
    if bound.is_empty() {
        let help = format!("`filter = \"{filter}\"` in a protocol binds it");
        lints.warn(at, WarningKind::UnboundFilter { filter }, &help);
        return;
    }
    let is_off = |protocol: &&Protocol| {
        policy.settings_of(protocol).is_some_and(|settings| settings.mode == Mode::Off)
    };
    let all_off = bound.iter().all(is_off);
    for (key, is_overridden, is_for_nothing) in [
        ("mode", bound.iter().all(|it| it.mode.is_some()), false),
        ("profile", bound.iter().all(|it| it.profile.is_some()), all_off),
        ("commands", false, all_off),
    ] {
        let Some(at) = lints.places.value(&["filter", filter, key]) else { continue };
        if is_overridden {
            let help = "leave it out";
            lints.warn(at, WarningKind::FilterOverridden { filter, key }, help);
        } else if is_for_nothing {
            lints.warn(at, WarningKind::FilterOff { filter, key }, OFF_HELP);
        }
    }
}

/// A profile that a protocol gives a filter which is off there.
fn settings_of_binding(lints: &mut Lints<'_, '_>, protocol: &Protocol) {
    let settings = lints.policy.settings_of(protocol).filter(|it| it.mode == Mode::Off);
    let Some(settings) = settings.filter(|_| protocol.profile.is_some()) else { return };
    let path = ["protocol", &protocol.name, "filter", "profile"];
    if let Some(at) = lints.places.value(&path) {
        let kind = WarningKind::FilterOff { filter: settings.filter.name(), key: "profile" };
        lints.warn(at, kind, OFF_HELP);
    }
}

/// Whether any flow of a protocol may begin.
fn passes(lints: &Lints<'_, '_>, protocol: usize, dead: &[bool]) -> bool {
    let policy = lints.policy;
    let allows = policy.rules().iter().zip(dead).any(|(rule, dead)| {
        let speaks = rule.protocols.is_empty() || rule.protocols.contains(&protocol);
        rule.action == Action::Allow && speaks && !dead
    });
    allows || policy.default_action() == Action::Allow
}
