//! Names that nothing refers to, and filters that have nothing to read.

use firewall_common::policy::{Action, Mode};

use super::{Lints, WarningKind};
use crate::policy::{Protocol, error::quote};

/// Networks that nothing refers to, and those that hold nothing.
pub(super) fn networks(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let of_rules = policy.rules().iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
    let of_asymmetric = policy.asymmetric().iter().flat_map(|declared| &declared.networks);
    let mut used = vec![false; policy.networks().len()];
    of_rules.chain(of_asymmetric).for_each(|network| used[*network] = true);
    for (index, network) in policy.networks().iter().enumerate() {
        let (at, name) = (lints.places.network(index), quote(&network.name));
        if !used[index] {
            let kind = WarningKind::UnusedNetwork { network: name };
            lints.warn(at, kind, "name it where it is meant, or leave it out");
        } else if network.prefixes.is_empty() {
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
        let filter = settings.filter.name();
        let Some(at) = lints.places.name("filter", filter) else { continue };
        if !policy.protocols().iter().any(|it| it.filter == Some(settings.filter)) {
            let help = format!("`filter = \"{filter}\"` in a protocol binds it");
            lints.warn(at, WarningKind::UnboundFilter { filter }, &help);
        } else if settings.mode == Mode::Off {
            for key in ["profile", "commands"] {
                let Some(at) = lints.places.value(&["filter", filter, key]) else { continue };
                let help = "in mode `monitor` it reports, in mode `enforce` it kills";
                lints.warn(at, WarningKind::FilterOff { filter, key }, help);
            }
        }
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
