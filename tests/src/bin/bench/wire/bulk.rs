//! How much a connection carries that sends all it can.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use lab::{Host, Process};

use super::{
    MACHINES, Plan,
    cell::{cell, columns, ratio, ratio_columns, row, trouble},
    effort::Watch,
    firewall::{FWX, Firewall},
    forwarding::AtGateway,
    iperf::{self, Amount, Sender, Transfer},
    shares::{PerFirewall, Share, Shares, Watched},
    site::{self, Site},
    turns::{self, Series},
    verdict,
};
use crate::{
    section::{Bound, Chart, ChartKind, Goal, Line, Section, Table},
    spread::Spread,
};

const DIRECTIONS: [(Sender, &str); 2] =
    [(Sender::Client, "the client sends"), (Sender::Server, "the server sends")];
/// What is sent to find out how much to send.
const TRIAL_BYTES: u64 = 128 << 20;

const METHOD: &str = "iperf3 between the ends, one process each, with the offloads that a veth pair has by default: the \
     ends make segments of up to 64 KiB and leave the checksums to a card that there is none of. Bytes a packet are \
     those of the gateway's near interface, both directions together: they tell whether such segments stay whole. A \
     turn sends as many bytes as were carried in its length in a trial before, by the middle one of the firewalls; one \
     that is slower than half of that sends as many as it carried itself.";

/// For the method: what the figure is and how fwx's part in it is told from chance.
const STATISTICS: &str = "The goals' figure is the median of the ratios of all turns, streams and directions; the least \
     of six medians would be below 1 in 63 of 64 runs if nothing made a difference. 95 % intervals are those of the \
     sign test. \"No firewall, again\" are other machines, set up in the same way: what it comes to is chance. What fwx \
     takes is measured in turns that nothing is compared with, as the kernel's statistics of programs cost time \
     themselves; a run of a program that does nothing is subtracted from each.";

/// What iperf3 and the gateway say of a run.
struct Run {
    transfer: Transfer,
    bytes: f64,
    packets: f64,
}

impl Run {
    fn gbit(&self) -> f64 {
        self.transfer.bits_per_second * 1e-9
    }

    fn packets_per_second(&self) -> f64 {
        self.packets / self.transfer.seconds
    }
}

/// A site, and how much is sent through it in a turn, or why nothing can be.
struct Subject<'a> {
    site: &'a Site<'a>,
    amount: Result<Amount, String>,
}

/// All firewalls with as many streams in one direction.
struct Comparison {
    streams: u32,
    sender: Sender,
    direction: &'static str,
    all: Vec<Series<Run>>,
    /// fwx, in turns of their own, or why there are none.
    watched: Result<Watched, String>,
}

impl Comparison {
    fn name(&self) -> String {
        format!("{}, {}", self.streams, self.direction)
    }
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>], at_gateway: &AtGateway) -> Result<Section> {
    let sites = site::those(sites, &Firewall::WITH_CONTROL);
    let servers =
        sites.iter().map(|site| iperf::serve(site.lab)).collect::<Result<Vec<Process>>>()?;
    let watch = Watch::of(sites[site::place(&sites, FWX)?]);
    let mut comparisons = Vec::new();
    for &streams in &plan.bulk_streams {
        for (sender, direction) in DIRECTIONS {
            comparisons.push(compare(plan, &sites, &watch, streams, sender, direction)?);
        }
    }
    drop(servers);
    let charts =
        DIRECTIONS.map(|(sender, direction)| chart(&sites, &comparisons, sender, direction));
    let shares = shares(&sites, &comparisons, at_gateway)?;
    let goal = |other, name, wanted| goal(&sites, &comparisons, &shares, (other, name, wanted));
    Ok(Section {
        title: "Bulk TCP",
        method: format!(
            "{METHOD} {} ms a turn, {} turns. {STATISTICS} {MACHINES}",
            plan.bulk_time.as_millis(),
            plan.bulk_turns
        ),
        tables: vec![table(&sites, &comparisons)?, shares.table()],
        charts: charts.into(),
        goals: vec![
            goal(Firewall::Nftables, "nftables with conntrack", 1.0)?,
            goal(Firewall::Absent, "no firewall", 0.95)?,
        ],
    })
}

fn compare(
    plan: &Plan,
    sites: &[&Site<'_>],
    watch: &Result<Watch>,
    streams: u32,
    sender: Sender,
    direction: &'static str,
) -> Result<Comparison> {
    let trial = |site: &&Site<'_>| {
        let trial = take(site, sender, streams, Amount::Bytes(TRIAL_BYTES));
        trial.map(|run| run.transfer.bits_per_second).map_err(|error| format!("{error:#}"))
    };
    let rates: Vec<_> = sites.iter().map(trial).collect();
    let known: Vec<_> = rates.iter().filter_map(|rate| rate.as_ref().ok().copied()).collect();
    let amount = |rate: f64| Amount::Bytes(bytes_a_turn(rate, &known, plan.bulk_time));
    let subjects: Vec<_> = sites
        .iter()
        .zip(rates)
        .map(|(&site, rate)| Subject { site, amount: rate.map(amount) })
        .collect();
    let all = turns::in_turn(&subjects, plan.bulk_turns, |subject| subject.take(sender, streams));
    let fwx = &subjects[site::place(sites, FWX)?];
    let watched = watch
        .as_ref()
        .map_err(|why| anyhow!("{why:#}"))
        .and_then(|watch| watched(plan, watch, fwx, sender, streams))
        .map_err(|error| format!("{error:#}"));
    Ok(Comparison { streams, sender, direction, all, watched })
}

/// What is sent in a turn through a firewall that carried so many bits a second in its trial: the same for all of about
/// the same speed, so that what a connection takes to get going weighs the same.
fn bytes_a_turn(own: f64, all: &[f64], time: Duration) -> u64 {
    let middle = Spread::of(all.to_vec()).map_or(own, |rates| rates.median);
    let rate = if own < middle / 2.0 { own } else { middle };
    (rate / 8.0 * time.as_secs_f64()) as u64
}

fn watched(
    plan: &Plan,
    watch: &Watch,
    fwx: &Subject<'_>,
    sender: Sender,
    streams: u32,
) -> Result<Watched> {
    let mut watched = Watched::default();
    for _ in 0..plan.watched_turns {
        let (run, effort) = watch.during(|| fwx.take(sender, streams))?;
        watched.effort.add(effort);
        watched.packets += run.packets;
        watched.bytes += run.bytes;
        watched.seconds += run.transfer.seconds;
    }
    Ok(watched)
}

impl Subject<'_> {
    fn take(&self, sender: Sender, streams: u32) -> Result<Run> {
        let amount = self.amount.as_ref().map_err(|why| anyhow!("{why}"))?;
        take(self.site, sender, streams, *amount)
    }
}

fn take(site: &Site<'_>, sender: Sender, streams: u32, amount: Amount) -> Result<Run> {
    site.stands()?;
    let before = traffic(site.lab.gateway())?;
    let transfer = iperf::finish(iperf::begin(site.lab, sender, streams, amount)?)?;
    let after = traffic(site.lab.gateway())?;
    let [bytes, packets] = [0, 1].map(|index| (after[index] - before[index]) as f64);
    Ok(Run { transfer, bytes, packets })
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
    for comparison in comparisons {
        let of = |firewall| site::place(sites, firewall).map(|place| &comparison.all[place]);
        let (absent, nft) = (of(Firewall::Absent)?, of(Firewall::Nftables)?);
        for (site, series) in sites.iter().zip(&comparison.all) {
            let repeated = series.median(|run| run.transfer.repeated_segments as f64);
            let bytes_per_packet = series.median(|run| run.bytes / run.packets);
            let mut row = row(site, series, &[(series.median(Run::gbit), 2)]);
            row.insert(1, comparison.name());
            row.extend([absent, nft].into_iter().flat_map(|other| ratio(ratios(series, other))));
            row.extend([cell(repeated, 0), cell(bytes_per_packet, 0)]);
            rows.push(row);
        }
    }
    Ok(Table {
        title: "Bulk TCP through the gateway".to_owned(),
        columns: [
            columns(&["firewall", "streams", "Gbit/s"]),
            ratio_columns("no firewall").into(),
            ratio_columns("nftables").into(),
            columns(&["repeated", "bytes a packet"]),
        ]
        .concat(),
        rows,
    })
}

fn ratios(own: &Series<Run>, other: &Series<Run>) -> Vec<f64> {
    own.pairs(other, |own, other| own.gbit() / other.gbit())
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

fn shares(
    sites: &[&Site<'_>],
    comparisons: &[Comparison],
    at_gateway: &AtGateway,
) -> Result<Shares> {
    let (fwx, nftables) = (site::place(sites, FWX)?, site::place(sites, Firewall::Nftables)?);
    let share = |comparison: &Comparison| {
        let rate = |place: usize| comparison.all[place].median(Run::packets_per_second);
        Share {
            name: comparison.name(),
            watched: comparison.watched.clone(),
            packets_per_second: PerFirewall { fwx: rate(fwx), nftables: rate(nftables) },
        }
    };
    Ok(Shares { all: comparisons.iter().map(share).collect(), at_gateway: at_gateway.clone() })
}

/// Over all comparisons with `other`, its name and what is wanted.
fn goal(
    sites: &[&Site<'_>],
    comparisons: &[Comparison],
    shares: &Shares,
    (other, other_name, wanted): (Firewall, &str, f64),
) -> Result<Goal> {
    let (fwx, other) = (site::place(sites, FWX)?, site::place(sites, other)?);
    let (absent, again) =
        (site::place(sites, Firewall::Absent)?, site::place(sites, Firewall::Again)?);
    let ratios = |comparison: &Comparison| verdict::Comparison {
        name: comparison.name(),
        ratios: ratios(&comparison.all[fwx], &comparison.all[other]),
        control: ratios(&comparison.all[again], &comparison.all[absent]),
    };
    let ratios: Vec<_> = comparisons.iter().map(ratios).collect();
    let series: Vec<_> = comparisons
        .iter()
        .flat_map(|comparison| [fwx, other].map(|at| &comparison.all[at]))
        .collect();
    Ok(verdict::goal(
        format!(
            "Bulk TCP with fwx in the mode it picks, compared with {other_name}: over all numbers of streams and both \
             directions"
        ),
        Bound::AtLeast(wanted),
        &ratios,
        &shares.cause(),
        trouble(&series),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_about_the_same_speed_send_the_same() {
        let (all, second) = ([8e9, 6e9, 7e9, 9e9, 2e9], Duration::from_secs(1));
        let bytes = |own| bytes_a_turn(own, &all, second);
        assert_eq!([8e9, 6e9, 9e9].map(bytes), [875_000_000; 3]);
        assert_eq!(bytes(2e9), 250_000_000);
    }

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
