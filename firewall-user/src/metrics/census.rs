//! What the last sweep counted.

use std::collections::BTreeMap;

use firewall_common::{
    flow::State as FlowState,
    layout::CONNECTIONS_MAX,
    wire::ip_protocol::{ICMP, ICMPV6, TCP, UDP},
};

use super::{
    Definition, Metric,
    definitions::{
        FLOWS, RULE_BYTES, RULE_FLOWS, RULE_LIVE_FLOWS, RULE_PACKETS, RULE_REFUSED_BYTES,
        RULE_REFUSED_PACKETS, SWEEP_TIME, TABLE_ENTRIES, TABLE_SIZE,
    },
};
use crate::{
    census::{Census, RuleTotals},
    flows::FlowTable,
    instance::State,
};

/// The number and the name of what becomes of flows that no rule speaks about.
const DEFAULT: (u16, &str) = (0, "(default)");

pub(super) fn metrics(state: &State, census: &Census) -> Vec<Metric> {
    let seconds = census.taken as f64 / 1e9;
    let mut metrics = vec![SWEEP_TIME.is(seconds), flows(census)];
    metrics.extend(tables(census));
    metrics.extend(rules(state, census));
    metrics
}

/// Those that may be met are there with a zero: a series that comes and goes is hard to watch.
fn flows(census: &Census) -> Metric {
    let mut flows = BTreeMap::new();
    for family in ["ipv4", "ipv6"] {
        for (transport, states) in STATES {
            for state in *states {
                flows.insert([state.name(), family, transport], 0);
            }
        }
    }
    for (class, count) in &census.flows {
        let family = if class.is_v6 { "ipv6" } else { "ipv4" };
        let labels = [class.state.name(), family, transport(class.ip_protocol)];
        *flows.entry(labels).or_insert(0) += count;
    }
    FLOWS.with(
        flows
            .into_iter()
            .map(|(labels, count)| (labels.map(|label| label.to_lowercase()), count as f64)),
    )
}

/// In which states flows of each transport are.
const STATES: &[(&str, &[FlowState])] = &[
    (
        "tcp",
        &[
            FlowState::SynSent,
            FlowState::SynReceived,
            FlowState::Midstream,
            FlowState::Established,
            FlowState::FinWait,
            FlowState::CloseWait,
            FlowState::LastAck,
            FlowState::TimeWait,
            FlowState::Closed,
            FlowState::Killed,
        ],
    ),
    ("udp", OTHERS),
    ("icmp", OTHERS),
    ("other", OTHERS),
];
const OTHERS: &[FlowState] = &[FlowState::Unreplied, FlowState::Assured, FlowState::Killed];

const fn transport(ip_protocol: u8) -> &'static str {
    match ip_protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP | ICMPV6 => "icmp",
        _ => "other",
    }
}

fn tables(census: &Census) -> [Metric; 2] {
    let flows = census.fills.iter().map(|fill| {
        let name = match fill.table {
            FlowTable::CompletedV4 => "ipv4",
            FlowTable::CompletedV6 => "ipv6",
            FlowTable::HalfOpenV4 => "ipv4_half_open",
            FlowTable::HalfOpenV6 => "ipv6_half_open",
        };
        (name, fill.entries, fill.size)
    });
    let filtered = [("filtered", census.filtered, CONNECTIONS_MAX as u64)];
    let tables: Vec<_> = flows.chain(filtered).collect();
    let each = |value: fn(&(&str, u64, u64)) -> u64| {
        tables.iter().map(move |table| ([table.0.to_owned()], value(table) as f64))
    };
    [TABLE_ENTRIES.with(each(|table| table.1)), TABLE_SIZE.with(each(|table| table.2))]
}

/// As `fwx rules` has them: those in force, the default, and those that are gone and have live flows.
fn rules(state: &State, census: &Census) -> Vec<Metric> {
    let mut rules = vec![(DEFAULT.1, census.rules.get(&DEFAULT.0).copied().unwrap_or_default())];
    for (number, name) in (1..=u16::MAX).zip(&state.rules) {
        let did = census.rules.get(&number).copied();
        let is_shown = state.rules_in_force.contains(&number)
            || did.is_some_and(|totals| totals.live_flows > 0);
        if is_shown {
            rules.push((name, did.unwrap_or_default()));
        }
    }
    let metric = |definition: Definition, value: fn(&RuleTotals) -> u64| {
        let each = rules.iter().map(|(name, did)| ([(*name).to_owned()], value(did) as f64));
        definition.with(each)
    };
    vec![
        metric(RULE_FLOWS, |it| it.flows),
        metric(RULE_PACKETS, |it| it.packets),
        metric(RULE_BYTES, |it| it.bytes),
        metric(RULE_REFUSED_PACKETS, |it| it.refused_packets),
        metric(RULE_REFUSED_BYTES, |it| it.refused_bytes),
        metric(RULE_LIVE_FLOWS, |it| it.live_flows),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::Class;
    use std::collections::HashMap;

    fn value(metric: &Metric, labels: &[&str]) -> Option<f64> {
        let has = |values: &[(&str, String)]| values.iter().map(|(_, value)| value).eq(labels);
        metric.samples.iter().find(|sample| has(&sample.labels)).map(|sample| sample.value)
    }

    #[test]
    fn flows_are_counted_by_state_family_and_transport() {
        let class = |ip_protocol, state| Class { is_v6: true, ip_protocol, state };
        let census = Census {
            flows: HashMap::from([
                (class(TCP, FlowState::Established), 3),
                (class(47, FlowState::Assured), 1),
                (class(50, FlowState::Assured), 1),
            ]),
            ..Census::default()
        };
        let metric = flows(&census);
        assert_eq!(value(&metric, &["established", "ipv6", "tcp"]), Some(3.0));
        assert_eq!(value(&metric, &["established", "ipv4", "tcp"]), Some(0.0));
        assert_eq!(value(&metric, &["assured", "ipv6", "other"]), Some(2.0));
    }

    #[test]
    fn rules_that_are_gone_are_told_while_they_have_flows() {
        let totals = |live_flows| RuleTotals { packets: 5, live_flows, ..RuleTotals::default() };
        let census = Census {
            rules: HashMap::from([(0, totals(0)), (2, totals(1)), (3, totals(0))]),
            ..Census::default()
        };
        let state = State {
            rules: ["unused", "gone", "forgotten"].map(str::to_owned).to_vec(),
            rules_in_force: vec![1],
            ..State::default()
        };
        let metrics = rules(&state, &census);
        let packets = metrics.iter().find(|metric| metric.name == RULE_PACKETS.name).unwrap();
        let values =
            ["(default)", "unused", "gone", "forgotten"].map(|rule| value(packets, &[rule]));
        assert_eq!(values, [Some(5.0), Some(0.0), Some(5.0), None]);
    }
}
