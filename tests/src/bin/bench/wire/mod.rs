//! On the wire: packets that really cross a gateway, with fwx on it, with other firewalls and with none.
//!
//! Each firewall has a lab of its own, and all stand at the same time: so turns can change from one to the next
//! without anything being set up in between.

mod bulk;
mod cell;
mod connections;
mod drops;
mod effort;
mod firewall;
mod forwarding;
mod iperf;
mod latency;
mod newflow;
mod rules;
mod ruleset;
mod shares;
mod site;
mod turns;
mod verdict;
mod visits;

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use lab::Lab;
use serde::Serialize;

use crate::section::Section;
use firewall::Firewall;
use site::Site;

/// Where everything runs, for every section's method.
const MACHINES: &str = "Sender, gateway and receiver are network namespaces of this machine, joined by veth pairs, and \
     share its CPUs. Each firewall has machines of its own. The turns go from firewall to firewall and back again; \
     figures are medians over the turns, ratios are taken within a turn before the median.";

/// How a packet rate is taken, for those sections' methods.
const SENDING: &str = "The kernel's test-run sends shortest Ethernet frames (60 bytes and the check sequence) and takes the \
     time itself, in whole nanoseconds a packet. It hands 64 at a time to the gateway's interface, and softirqs do with \
     them what is to be done, on the same CPU, before the next are made; its thread has real-time priority, so nobody \
     else gets in between. Generic receive offload is on at that interface, whatever the firewall.";

/// How much is measured.
#[derive(Serialize)]
pub(crate) struct Plan {
    /// Of a packet rate.
    packets: u32,
    packet_turns: u32,
    /// Of a transfer, about: iperf3 is told bytes, for the least time that it takes is a second.
    bulk_time: Duration,
    bulk_turns: u32,
    /// Numbers of streams, ascending.
    bulk_streams: Vec<u32>,
    /// Of new connections.
    connection_time: Duration,
    connection_turns: u32,
    /// Of requests and responses.
    latency_time: Duration,
    latency_turns: u32,
    /// In which the kernel says what programs take, of each comparison.
    watched_turns: u32,
    /// Of new flows, at each number of rules.
    new_flow_turns: u32,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        if quick {
            Self {
                packets: 200_000,
                packet_turns: 4,
                bulk_time: Duration::from_millis(200),
                bulk_turns: 2,
                bulk_streams: vec![1, 8],
                connection_time: Duration::from_millis(300),
                connection_turns: 4,
                latency_time: Duration::from_millis(600),
                latency_turns: 1,
                watched_turns: 1,
                new_flow_turns: 2,
            }
        } else {
            Self {
                packets: 1_000_000,
                packet_turns: 10,
                bulk_time: Duration::from_millis(200),
                bulk_turns: 26,
                bulk_streams: vec![1, 8, 64],
                connection_time: Duration::from_millis(300),
                connection_turns: 24,
                latency_time: Duration::from_secs(3),
                latency_turns: 5,
                watched_turns: 2,
                new_flow_turns: 11,
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
    let mut sections = Vec::new();
    let mut add = |what: &str, measure: Measure<'_>| {
        let load = load_average()?;
        let mut section = measure()?;
        section.method += &format!(" The machine's load average before that was {load}.");
        sections.push(section);
        progress(&format!("on the wire: {what} measured"));
        Ok::<_, anyhow::Error>(())
    };
    add("drops", &mut || drops::measure(plan, &sites))?;
    let mut at_gateway = None;
    add("forwarding", &mut || {
        let (section, taken) = forwarding::measure(plan, &sites)?;
        at_gateway = Some(taken);
        Ok(section)
    })?;
    let at_gateway = at_gateway.context("forwarding was not measured")?;
    add("bulk TCP", &mut || bulk::measure(plan, &sites, &at_gateway))?;
    add("new connections", &mut || connections::measure(plan, &sites))?;
    add("latency", &mut || latency::measure(plan, &sites))?;
    add("rules", &mut || newflow::measure(plan))?;
    Ok(sections)
}

/// Of the last minute: how busy others kept the machine, which is in every figure but packet rates.
fn load_average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read the load average")?;
    Ok(text.split_whitespace().next().unwrap_or("unknown").to_owned())
}

type Measure<'a> = &'a mut dyn FnMut() -> Result<Section>;
