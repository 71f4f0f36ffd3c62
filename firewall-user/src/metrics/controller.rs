//! The policy in force, interfaces, exports, and what runs.

use anyhow::Result;

use super::{
    Definition, Metric,
    definitions::{
        BUILD, EXPORT_FAILED, EXPORT_LOST, EXPORT_SENT, EXPORT_UP, INTERFACE_UP, POLICY,
        POLICY_ON_TRIAL, POLICY_PENDING, POLICY_RULES, POLICY_TIME,
    },
    kernel::flag,
};
use crate::{
    apply::Pending,
    export::ExportStatus,
    instance::{Instance, State},
};

/// `policy_since`: when the policy came in force, seconds since 1970.
pub(super) fn metrics(
    instance: &Instance,
    state: &State,
    policy_since: i64,
) -> Result<Vec<Metric>> {
    Ok(vec![
        interfaces(state),
        POLICY.with([([format!("{:016x}", state.policy_digest)], 1.0)]),
        POLICY_TIME.is(policy_since as f64),
        POLICY_RULES.is(state.rules_in_force.len() as f64),
        POLICY_PENDING.is(flag(Pending::status(instance)?.is_some())),
        POLICY_ON_TRIAL.is(flag(state.shadow.is_some())),
        BUILD.with([([env!("CARGO_PKG_VERSION").to_owned()], 1.0)]),
    ])
}

fn interfaces(state: &State) -> Metric {
    let attached = state
        .interfaces
        .iter()
        .map(|it| ([it.name.clone(), it.ingress.clone(), it.egress.clone()], 1.0));
    let none = || "none".to_owned();
    let awaited = state.awaited().map(|name| ([name.clone(), none(), none()], 0.0));
    INTERFACE_UP.with(attached.chain(awaited))
}

pub(super) fn exports(exports: &[ExportStatus]) -> Vec<Metric> {
    let metric = |definition: Definition, value: fn(&ExportStatus) -> f64| {
        definition.with(exports.iter().map(|it| ([it.name.clone(), it.kind.clone()], value(it))))
    };
    vec![
        metric(EXPORT_UP, |it| flag(it.condition.failure.is_none())),
        metric(EXPORT_SENT, |it| it.condition.sent as f64),
        metric(EXPORT_FAILED, |it| it.condition.failed as f64),
        metric(EXPORT_LOST, |it| it.lost as f64),
    ]
}
