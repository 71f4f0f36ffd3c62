//! The policy that applies where none is given.

use firewall_common::{
    essential::Essential,
    filter::FilterId,
    flow::Timeouts,
    policy::{Action, Mode, NewFlow, Profile},
};

use crate::events::EventSettings;

use super::{FilterSettings, Limits, Live, Policy, Protocol, SourceChecks, TableSizes, Transport};

/// See [`Policy::builtin`].
pub(super) fn policy() -> Policy {
    let usual_protocol = |filter: FilterId| Protocol {
        name: filter.name().to_owned(),
        transport: Transport::OF_FILTERS,
        ports: filter.usual_ports().iter().map(|&port| port..=port).collect(),
        types: Vec::new(),
        filter: Some(filter),
        mode: None,
        profile: None,
    };
    Policy {
        interfaces: Vec::new(),
        default_action: Action::Allow,
        new_flow: NewFlow::Enforce,
        shortcut: false,
        essential: Essential::DEFAULT,
        live: Live::Keep,
        tables: TableSizes::default(),
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        networks: Vec::new(),
        protocols: FilterId::ALL.into_iter().map(usual_protocol).collect(),
        filters: default_settings(),
        asymmetric: Vec::new(),
        anti_spoofing: SourceChecks::default(),
        rules: Vec::new(),
        events: EventSettings::default(),
        exports: Vec::new(),
    }
}

/// Every filter as it behaves where the policy says nothing about it. A filter that has never seen
/// this network's traffic should first show what it would kill, so it only monitors.
pub(super) fn default_settings() -> Vec<FilterSettings> {
    let settings = |filter| {
        let (mode, profile) = (Mode::Monitor, Profile::Standard);
        FilterSettings { filter, mode, profile, commands: u64::MAX }
    };
    FilterId::ALL.into_iter().map(settings).collect()
}
