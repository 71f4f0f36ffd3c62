//! What a policy on trial and the one in force say about the same flows.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use aya::maps::PerCpuArray;
use firewall_common::{
    policy::InForce,
    shadow::{Difference, Pair, Sightings, Totals},
    wire::ip_protocol,
};
use serde::Serialize;

use crate::{
    batch,
    event::{self, Names, named, rfc3339},
    instance::State,
    policy::action_name,
    tables::Tables,
};

/// A policy on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowStatus {
    /// Its file.
    pub policy: String,
    /// A number that another policy hardly has, hexadecimal.
    pub hash: String,
    /// Its rules.
    pub rules: usize,
    /// Since when it is compared with the policy in force, RFC 3339: since the last change of either. `null`: it is
    /// not, because a change was cut off.
    pub since: Option<String>,
}

/// A policy on trial, and how it compares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which it is.
    #[serde(flatten)]
    pub shadow: ShadowStatus,
    /// How it compares.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// What two policies say about the same flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// How often both were asked.
    pub judged: u64,
    /// How often both said the same.
    pub alike: u64,
    /// How often they did not.
    pub different: u64,
    /// Of these, how often there was no room to count the pair of rules.
    pub uncounted: u64,
    /// Of these, how often there was no room to remember the flow.
    pub unlisted: u64,
    /// By pair of rules, the most frequent first.
    pub differences: Vec<Differing>,
}

/// Two rules that say different things about the same flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// The rule of the policy in force; `null`: its default.
    pub rule: Option<String>,
    /// What it does: `allow`, `deny` or `reject`.
    pub action: &'static str,
    /// The rule of the shadow; `null`: its default.
    pub shadow_rule: Option<String>,
    /// What it would do.
    pub shadow_action: &'static str,
    /// How often.
    pub count: u64,
    /// Flows of these that are remembered.
    pub remembered: usize,
    /// Some of them, the newest first.
    pub flows: Vec<Flow>,
}

/// A flow that the policies judge differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number of its IP protocol.
    pub transport: String,
    /// Source address.
    pub src_ip: IpAddr,
    /// Source port, of a transport that has ports.
    pub src_port: Option<u16>,
    /// Destination address.
    pub dst_ip: IpAddr,
    /// Destination port.
    pub dst_port: Option<u16>,
    /// The interface that it was judged on.
    pub interface: Option<String>,
    /// When its first packet was first seen, RFC 3339.
    pub first_seen: String,
    /// When it was last.
    pub last_seen: String,
    /// How often.
    pub count: u64,
}

impl ShadowStatus {
    /// That of an instance whose state is `state`.
    pub fn of(state: &State, tables: &Tables) -> Result<Option<Self>> {
        let Some(shadow) = &state.shadow else {
            return Ok(None);
        };
        let InForce { shadow: slot, shadow_since, .. } = tables.in_force()?;
        Ok(Some(Self {
            policy: shadow.policy_file.display().to_string(),
            hash: format!("{:016x}", shadow.policy_digest),
            rules: shadow.rules.len(),
            since: (slot != 0).then(|| rfc3339(i128::from(shadow_since))),
        }))
    }

    /// A line for people.
    pub fn text(&self) -> String {
        let since = match &self.since {
            Some(since) => format!("compared since {since}"),
            None => "not compared: a change was cut off; apply either policy again".to_owned(),
        };
        let Self { policy, hash, rules, .. } = self;
        format!("shadow policy: {policy}, {rules} rules, hash {hash}, {since}\n")
    }
}

impl Report {
    /// What is compared, and how often that was, for people.
    pub fn summary(&self) -> String {
        self.shadow.text() + &self.comparison.summary()
    }

    /// All of it, for people.
    pub fn text(&self) -> String {
        self.summary() + &self.comparison.list()
    }
}

impl Comparison {
    /// Reads what was counted, and the newest `flows` of each pair of rules. `epoch_ns` is the time of the clock's
    /// zero, nanoseconds since 1970.
    pub fn read(tables: &Tables, names: &Names, epoch_ns: i128, flows: usize) -> Result<Self> {
        let totals: PerCpuArray<_, Totals> = tables.open("SHADOW_TOTALS")?;
        let totals = totals.get(&0, 0)?;
        let sum = |of: fn(&Totals) -> u64| totals.iter().map(of).sum();
        let (alike, different) = (sum(|it| it.alike), sum(|it| it.different));
        let mut seen: HashMap<Pair, Vec<(Difference, Sightings)>> = HashMap::new();
        batch::for_each(&tables.data("SHADOW_FLOWS")?, |flow: &Difference, at: &Sightings| {
            seen.entry(flow.pair).or_default().push((*flow, *at));
        })?;
        let mut differences = Vec::new();
        batch::for_each(&tables.data("SHADOW_PAIRS")?, |pair: &Pair, count: &u64| {
            let mut newest = seen.remove(pair).unwrap_or_default();
            newest.sort_by_key(|(_, at)| std::cmp::Reverse(at.last));
            let shown = newest.iter().take(flows);
            let shown = shown.map(|(flow, at)| Flow::of(flow, at, names, epoch_ns)).collect();
            differences.push(Differing::of(*pair, *count, newest.len(), shown, names));
        })?;
        let order = |it: &Differing| (it.rule.clone(), it.shadow_rule.clone());
        differences.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| order(a).cmp(&order(b))));
        Ok(Self {
            judged: alike + different,
            alike,
            different,
            uncounted: sum(|it| it.uncounted),
            unlisted: sum(|it| it.unlisted),
            differences,
        })
    }

    /// How often the policies were asked, and said the same.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "rules asked about a new flow: {}, {} alike, {} differently\n",
            times(self.judged),
            self.alike,
            self.different
        );
        if self.uncounted > 0 {
            text +=
                &format!("differences of pairs of rules that found no room: {}\n", self.uncounted);
        }
        if self.unlisted > 0 {
            text += &format!("flows that found no room: {}\n", times(self.unlisted));
        }
        text
    }

    /// Where they differ, for people.
    pub fn list(&self) -> String {
        self.differences.iter().map(Differing::text).collect()
    }
}

impl Differing {
    fn of(pair: Pair, count: u64, remembered: usize, flows: Vec<Flow>, names: &Names) -> Self {
        let [action, shadow_action] = pair.actions().map(action_name);
        let [rule, shadow_rule] = pair.rules.map(|rule| named(&names.rules, usize::from(rule)));
        Self { rule, action, shadow_rule, shadow_action, count, remembered, flows }
    }

    fn text(&self) -> String {
        let by = |rule: &Option<String>| match rule {
            Some(rule) => format!("by {rule:?}"),
            None => "by default".to_owned(),
        };
        let mut text = format!(
            "\n{} {}, shadow: {} {}: {}\n",
            self.action,
            by(&self.rule),
            self.shadow_action,
            by(&self.shadow_rule),
            times(self.count)
        );
        for flow in &self.flows {
            text += &format!("  {}\n", flow.text());
        }
        let more = self.remembered - self.flows.len();
        if more > 0 {
            text += &format!("  and {more} more that are remembered: see --flows\n");
        }
        text
    }
}

impl Flow {
    fn of(flow: &Difference, at: &Sightings, names: &Names, epoch_ns: i128) -> Self {
        let has_ports = matches!(flow.protocol, ip_protocol::TCP | ip_protocol::UDP);
        let [src_port, dst_port] = flow.ports.map(|port| has_ports.then_some(port));
        let time = |at| rfc3339(epoch_ns + i128::from(at));
        Self {
            transport: event::transport(flow.protocol),
            src_ip: event::address(flow.version, flow.source),
            src_port,
            dst_ip: event::address(flow.version, flow.destination),
            dst_port,
            interface: names.interface(flow.interface),
            first_seen: time(at.first),
            last_seen: time(at.last),
            count: at.count,
        }
    }

    fn text(&self) -> String {
        let end = |ip: IpAddr, port: Option<u16>| match port {
            None => ip.to_string(),
            Some(port) => SocketAddr::new(ip, port).to_string(),
        };
        let mut text = format!(
            "{} {} {} -> {}",
            self.last_seen,
            self.transport,
            end(self.src_ip, self.src_port),
            end(self.dst_ip, self.dst_port)
        );
        if let Some(interface) = &self.interface {
            text += &format!(" on {interface}");
        }
        if self.count > 1 {
            text += &format!(", {} since {}", times(self.count), self.first_seen);
        }
        text
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
