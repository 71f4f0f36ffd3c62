//! On the wire: packets that really cross a gateway, with fwx on it, with other firewalls and with none.
//!
//! Each firewall has a lab of its own, and all stand at the same time: so turns can change from one to the next
//! without anything being set up in between.

mod bulk;
mod cell;
mod connections;
mod drops;
mod firewall;
mod forwarding;
mod iperf;
mod latency;
mod rules;
mod site;
mod turns;
mod visits;

use std::time::Duration;

use anyhow::Result;
use lab::Lab;
use serde::Serialize;

use crate::section::Section;
use firewall::Firewall;
use site::Site;

/// Where everything runs, for every section's method.
const MACHINES: &str = "Sender, gateway and receiver are network namespaces of this machine, joined by veth pairs, and \
     share its CPUs. Each firewall has machines of its own. The turns go from firewall to firewall and back again; \
     figures are medians over the turns, ratios are taken within a turn before the median.";

/// How much is measured.
#[derive(Serialize)]
pub(crate) struct Plan {
    /// Of a packet rate.
    packets: u32,
    packet_turns: u32,
    /// Of a transfer: the least that iperf3 takes is a second.
    bulk_seconds: u32,
    bulk_turns: u32,
    /// Of new connections.
    connection_time: Duration,
    connection_turns: u32,
    /// Of requests and responses.
    latency_time: Duration,
    latency_turns: u32,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            Self {
                packets: 200_000,
                packet_turns: 4,
                bulk_seconds: 1,
                bulk_turns: 1,
                connection_time: Duration::from_millis(300),
                connection_turns: 4,
                latency_time: Duration::from_millis(600),
                latency_turns: 1,
            }
        } else {
            Self {
                packets: 1_000_000,
                packet_turns: 10,
                bulk_seconds: 1,
                bulk_turns: 8,
                connection_time: Duration::from_millis(300),
                connection_turns: 24,
                latency_time: Duration::from_secs(3),
                latency_turns: 5,
            }
        }
    }
}

/// Takes all figures.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Section>> {
    let labs = Firewall::ALL.map(|_| Lab::single()).into_iter().collect::<Result<Vec<_>>>()?;
    let mut sites = Vec::new();
    for (firewall, lab) in Firewall::ALL.into_iter().zip(&labs) {
        let site = Site::set_up(firewall, lab);
        progress(&format!("on the wire: {} stands", site.name()));
        sites.push(site);
    }
    let measures: [(&str, Measure<'_>); 5] = [
        ("drops", &drops::measure),
        ("forwarding", &forwarding::measure),
        ("bulk TCP", &bulk::measure),
        ("new connections", &connections::measure),
        ("latency", &latency::measure),
    ];
    let mut sections = Vec::new();
    for (what, measure) in measures {
        sections.push(measure(plan, &sites)?);
        progress(&format!("on the wire: {what} measured"));
    }
    Ok(sections)
}

type Measure<'a> = &'a dyn Fn(&Plan, &[Site<'_>]) -> Result<Section>;
