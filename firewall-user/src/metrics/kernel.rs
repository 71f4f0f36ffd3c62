//! What the kernel programs counted, and what lies in their small tables.

use anyhow::Result;
use firewall_common::{
    layout::{Counter, FilterCounters},
    reason::Reason,
    shortcut::LongWay,
};

use super::{
    Definition, Metric,
    definitions::{
        BYTES, DROPPED, FILTER_BOUND, FILTER_FINDINGS, FILTER_HELD, FILTER_KILLS, FILTER_SEGMENTS,
        FILTER_UNREAD, FLOWS_ADOPTED, FLOWS_COMPLETED, FLOWS_OPENED, FLOWS_REMOVED,
        FLOWS_TRANSLATED, LONG_WAY, OUTCOMES, PACKETS, PINHOLE_FLOWS, PINHOLES_OPENED,
        PINHOLES_REFUSED, REJECTS, SHORTCUT, SOURCES_AUTHENTICATED, SOURCES_UNKNOWN, SYN_ATTACK,
        SYNS_CHALLENGED, TIMEOUTS_SHORTENED,
    },
};
use crate::{instance::State, rejects::Rejects, status, tables::Tables};

pub(super) fn metrics(state: &State, tables: &Tables) -> Result<Vec<Metric>> {
    let mut metrics = traffic(tables)?;
    metrics.extend(reasons(tables)?);
    metrics.extend(filters(state, tables)?);
    for (definition, counter) in COUNTERS {
        metrics.push(definition.is(tables.counter(*counter)? as f64));
    }
    metrics.push(rejects(tables)?);
    metrics.push(long_ways(tables)?);
    metrics.push(SYN_ATTACK.is(flag(status::attack_since(tables)?.is_some())));
    metrics.push(TIMEOUTS_SHORTENED.is(flag(status::timeouts_shortened(state, tables)?)));
    Ok(metrics)
}

/// Counters that are a metric each.
const COUNTERS: &[(Definition, Counter)] = &[
    (FILTER_UNREAD, Counter::PassedUnread),
    (FLOWS_OPENED, Counter::FlowsOpened),
    (FLOWS_COMPLETED, Counter::FlowsCompleted),
    (FLOWS_REMOVED, Counter::FlowsRemoved),
    (FLOWS_ADOPTED, Counter::FlowsAdopted),
    (FLOWS_TRANSLATED, Counter::FlowsTranslated),
    (SYNS_CHALLENGED, Counter::SynsChallenged),
    (SOURCES_AUTHENTICATED, Counter::SourcesAuthenticated),
    (SOURCES_UNKNOWN, Counter::SourcesUnknown),
    (PINHOLES_OPENED, Counter::PinholesOpened),
    (PINHOLES_REFUSED, Counter::PinholesRefused),
    (PINHOLE_FLOWS, Counter::PinholeFlows),
    (SHORTCUT, Counter::ShortCut),
];

fn traffic(tables: &Tables) -> Result<Vec<Metric>> {
    let metric = |definition: Definition, ingress, egress| -> Result<Metric> {
        let hooks = [("ingress", tables.counter(ingress)?), ("egress", tables.counter(egress)?)];
        Ok(definition.with(hooks.map(|(hook, count)| ([hook.to_owned()], count as f64))))
    };
    Ok(vec![
        metric(PACKETS, Counter::IngressPackets, Counter::EgressPackets)?,
        metric(BYTES, Counter::IngressBytes, Counter::EgressBytes)?,
    ])
}

/// All of them, also those that never came up: the first one then is a rise.
fn reasons(tables: &Tables) -> Result<[Metric; 2]> {
    let (mut drops, mut outcomes) = (Vec::new(), Vec::new());
    for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::None) {
        let list = if reason.is_drop() { &mut drops } else { &mut outcomes };
        list.push(([reason.name().to_owned()], tables.reason_count(*reason)? as f64));
    }
    Ok([DROPPED.with(drops), OUTCOMES.with(outcomes)])
}

fn filters(state: &State, tables: &Tables) -> Result<Vec<Metric>> {
    let (mut bound, mut counted) = (Vec::new(), Vec::new());
    for filter in status::filters(state, tables)? {
        let name = filter.filter.unwrap_or_else(|| "none".to_owned());
        bound.push(([filter.protocol.clone(), name.clone(), filter.mode, filter.profile], 1.0));
        let counters = FilterCounters {
            segments: filter.segments,
            findings: filter.findings,
            kills: filter.kills,
            held: filter.held,
        };
        counted.push(([filter.protocol, name], counters));
    }
    let metric = |definition: Definition, value: fn(&FilterCounters) -> u64| {
        definition.with(counted.iter().map(|(labels, it)| (labels.clone(), value(it) as f64)))
    };
    Ok(vec![
        FILTER_BOUND.with(bound),
        metric(FILTER_SEGMENTS, |it| it.segments),
        metric(FILTER_FINDINGS, |it| it.findings),
        metric(FILTER_KILLS, |it| it.kills),
        metric(FILTER_HELD, |it| it.held),
    ])
}

fn rejects(tables: &Tables) -> Result<Metric> {
    let Rejects { answered, unanswerable, limited, without_address, failed } =
        Rejects::read(tables)?;
    let results = [
        ("answered", answered),
        ("unanswerable", unanswerable),
        ("limited", limited),
        ("without_address", without_address),
        ("failed", failed),
    ];
    Ok(REJECTS.with(results.map(|(result, count)| ([result.to_owned()], count as f64))))
}

fn long_ways(tables: &Tables) -> Result<Metric> {
    let mut samples = Vec::new();
    for (why, name) in LongWay::ALL {
        samples.push(([name.to_owned()], tables.long_ways(why)? as f64));
    }
    Ok(LONG_WAY.with(samples))
}

/// 1: yes.
pub(super) const fn flag(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}
