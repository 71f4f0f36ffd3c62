//! Settings that can have no effect beside others.

use firewall_common::policy::{Action, SynAuthentication};

use super::{Lints, WarningKind, region::networks};
use crate::policy::{error::quote, network::Reach};

/// A policy that refuses nothing, though it has rules.
pub(super) fn refusals(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let (rules, limits) = (policy.rules(), policy.limits());
    let is_limited = limits.half_open_per_source != 0
        || limits.new_per_second_per_source != 0
        || rules.iter().any(|rule| rule.half_open_max != 0 || rule.new_per_second != 0);
    let allows = policy.default_action() == Action::Allow
        && rules.iter().all(|rule| rule.action == Action::Allow);
    if let Some(at) = lints.places.value(&["gateway", "default"])
        && allows
        && !is_limited
        && !rules.is_empty()
    {
        let help = "say `default = \"deny\"`, so that only what rules allow may begin";
        lints.warn(at, WarningKind::NothingRefused, help);
    }
}

/// Limits of rules that those of their sources never let them reach.
pub(super) fn limits(lints: &mut Lints<'_, '_>) {
    let policy = lints.policy;
    let limits = policy.limits();
    let reach = Reach::of(policy.networks());
    for (index, rule) in policy.rules().iter().enumerate() {
        for (key, own, per_source) in [
            ("half_open", rule.half_open_max, limits.half_open_per_source),
            ("new_per_second", rule.new_per_second, limits.new_per_second_per_source),
        ] {
            if own == 0 || per_source == 0 || rule.from.is_empty() {
                continue;
            }
            // By an interface any source may come in.
            if !reach.sources(&rule.from).interfaces.is_empty() {
                continue;
            }
            let sources = networks(policy, &rule.from).count();
            let together = sources.saturating_mul(per_source.into());
            // No source at all is another warning's.
            if sources != 0 && together <= own.into() {
                let rule = quote(&rule.name);
                let kind = WarningKind::LimitWithoutEffect { key, rule, sources, together };
                let help = format!("leave it out, or set it below {together}");
                lints.warn(lints.places.of_rule(index, key), kind, &help);
            }
        }
    }
}

/// What waits for attacks that are never on.
pub(super) fn syn_authentication(lints: &mut Lints<'_, '_>) {
    let limits = lints.policy.limits();
    if limits.syn_authentication == SynAuthentication::Auto && limits.syn_attack_per_second == 0 {
        let at = lints.places.value(&["limits", "syn_authentication"]).unwrap_or_default();
        let help = "give `syn_attack` a number, or leave it out: 2000";
        lints.warn(at, WarningKind::NoAttack, help);
    }
}
