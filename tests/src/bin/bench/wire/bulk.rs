//! How much a connection carries that sends all it can.

use std::fs;

use anyhow::{Context as _, Result};
use lab::{Host, Process};

use super::{
    MACHINES, Plan,
    cell::{cell, columns, row},
    firewall::{FWX, Firewall},
    iperf::{self, Sender, Transfer},
    site::{self, Site},
    turns::{self, Series},
};
use crate::section::{Bound, Chart, ChartKind, Goal, Line, Section, Table};

const DIRECTIONS: [(Sender, &str); 2] =
    [(Sender::Client, "the client sends"), (Sender::Server, "the server sends")];

const METHOD: &str = "iperf3 between the ends, one process each, with the offloads that a veth pair has by default: the \
     ends make segments of up to 64 KiB and leave the checksums to a card that there is none of. Bytes a packet are \
     those of the gateway's near interface, both directions together: they tell whether such segments stay whole.";

/// What iperf3 and the gateway say of a run.
struct Run {
    transfer: Transfer,
    bytes_per_packet: f64,
}

impl Run {
    fn gbit(&self) -> f64 {
        self.transfer.bits_per_second * 1e-9
    }
}

/// All firewalls with as many streams in one direction.
struct Comparison {
    streams: u32,
    sender: Sender,
    direction: &'static str,
    all: Vec<Series<Run>>,
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &Firewall::OF_CONNECTIONS);
    let servers =
        sites.iter().map(|site| iperf::serve(site.lab)).collect::<Result<Vec<Process>>>()?;
    let mut comparisons = Vec::new();
    for &streams in &plan.bulk_streams {
        for (sender, direction) in DIRECTIONS {
            let all = turns::in_turn(&sites, plan.bulk_turns, |site| {
                take(site, sender, streams, plan.bulk_seconds)
            });
            comparisons.push(Comparison { streams, sender, direction, all });
        }
    }
    drop(servers);
    let charts =
        DIRECTIONS.map(|(sender, direction)| chart(&sites, &comparisons, sender, direction));
    Ok(Section {
        title: "Bulk TCP",
        method: format!(
            "{METHOD} {} s a turn, {} turns. {MACHINES}",
            plan.bulk_seconds, plan.bulk_turns
        ),
        tables: vec![table(&sites, &comparisons)?],
        charts: charts.into(),
        goals: vec![
            goal(&sites, &comparisons, Firewall::Nftables, 1.0, "nftables with conntrack")?,
            goal(&sites, &comparisons, Firewall::Absent, 0.95, "no firewall")?,
        ],
    })
}

fn take(site: &Site<'_>, sender: Sender, streams: u32, seconds: u32) -> Result<Run> {
    site.stands()?;
    let before = traffic(site.lab.gateway())?;
    let transfer = iperf::finish(iperf::begin(site.lab, sender, streams, seconds)?)?;
    let after = traffic(site.lab.gateway())?;
    let [bytes, packets] = [0, 1].map(|index| (after[index] - before[index]) as f64);
    Ok(Run { transfer, bytes_per_packet: bytes / packets })
}

/// Bytes and packets that lan0 of `gateway` has seen, both directions together.
fn traffic(gateway: &Host) -> Result<[u64; 2]> {
    let text = gateway.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    traffic_in(&text).with_context(|| format!("no lan0 in:\n{text}"))
}

/// The same, from `/proc/net/dev`: after the name eight figures of what came in, bytes and packets first, and eight of
/// what went out.
fn traffic_in(text: &str) -> Option<[u64; 2]> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lan0:"))?;
    let figures: Vec<u64> =
        line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some([figures.first()? + figures.get(8)?, figures.get(1)? + figures.get(9)?])
}

fn table(sites: &[&Site<'_>], comparisons: &[Comparison]) -> Result<Table> {
    let mut rows = Vec::new();
    for Comparison { streams, direction, all, .. } in comparisons {
        let of = |firewall| site::place(sites, firewall).map(|place| &all[place]);
        let (absent, nft) = (of(Firewall::Absent)?, of(Firewall::Nftables)?);
        for (site, series) in sites.iter().zip(all) {
            let ratio = |other| series.against(other, |own, other: &Run| own.gbit() / other.gbit());
            let mut row = row(
                site,
                series,
                &[
                    (series.median(Run::gbit), 2),
                    (ratio(absent), 2),
                    (ratio(nft), 2),
                    (series.median(|run| run.transfer.repeated_segments as f64), 0),
                    (series.median(|run| run.bytes_per_packet), 0),
                ],
            );
            row.insert(1, format!("{streams}, {direction}"));
            rows.push(row);
        }
    }
    Ok(Table {
        title: "Bulk TCP through the gateway".to_owned(),
        columns: columns(&[
            "firewall",
            "streams",
            "Gbit/s",
            "x no firewall",
            "x nftables",
            "repeated",
            "bytes a packet",
        ]),
        rows,
    })
}

fn chart(
    sites: &[&Site<'_>],
    comparisons: &[Comparison],
    sender: Sender,
    direction: &str,
) -> Chart {
    let of_direction = || comparisons.iter().filter(|comparison| comparison.sender == sender);
    let line = |(place, site): (usize, &&Site<'_>)| {
        let point = |comparison: &Comparison| {
            let gbit = comparison.all[place].median(Run::gbit)?;
            Some((f64::from(comparison.streams), gbit))
        };
        Line { name: site.name().to_owned(), points: of_direction().filter_map(point).collect() }
    };
    Chart {
        name: match sender {
            Sender::Client => "wire-bulk".to_owned(),
            Sender::Server => "wire-bulk-reverse".to_owned(),
        },
        title: format!("Bulk TCP through the gateway, {direction}"),
        value: "Gbit/s".to_owned(),
        kind: ChartKind::Lines {
            over: "streams".to_owned(),
            lines: sites.iter().enumerate().map(line).collect(),
        },
    }
}

/// The least of what all comparisons come to; the remark has them all.
fn goal(
    sites: &[&Site<'_>],
    comparisons: &[Comparison],
    other: Firewall,
    wanted: f64,
    other_name: &str,
) -> Result<Goal> {
    let (fwx, other) = (site::place(sites, FWX)?, site::place(sites, other)?);
    let ratios = comparisons.iter().map(|Comparison { streams, direction, all, .. }| {
        let ratio = all[fwx].against(&all[other], |fwx, other| fwx.gbit() / other.gbit());
        (ratio, format!("{streams}, {direction}: {}", cell(ratio, 2)))
    });
    let (ratios, texts): (Vec<_>, Vec<_>) = ratios.unzip();
    // One that could not be measured leaves the goal without a figure.
    let ratios: Option<Vec<f64>> = ratios.into_iter().collect();
    Ok(Goal {
        what: format!(
            "Bulk TCP with fwx in the mode it picks, compared with {other_name}: the least of all numbers of streams and \
             both directions"
        ),
        wanted: Bound::AtLeast(wanted),
        figure: ratios.and_then(|ratios| ratios.into_iter().min_by(f64::total_cmp)),
        unit: "times",
        remark: texts.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_that_of_both_directions() {
        let text = "Inter-|   Receive\n face |bytes    packets errs drop fifo frame compressed multicast|bytes\n    \
             lo:       0       0    0    0    0     0          0         0        0       0    0    0 0 0 0 0\n  \
             lan0:     100       2    0    0    0     0          0         0       50       1    0    0 0 0 0 0\n";
        assert_eq!(traffic_in(text), Some([150, 3]));
        assert_eq!(traffic_in("wan0: 1 2"), None);
        assert_eq!(traffic_in("lan0: 1 2"), None);
    }
}
