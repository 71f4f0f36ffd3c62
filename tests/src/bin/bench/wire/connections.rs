//! How many connections can begin.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::{Context as _, Result};

use super::{
    MACHINES, Plan,
    cell::{cell, columns, ratio, ratio_columns, row, trouble},
    effort::{Effort, Ran, Watch},
    firewall::{FWX, Firewall},
    site::{self, Site},
    turns::{self, Series},
    verdict,
    visits::{self, Visits},
};
use crate::section::{Bound, Chart, ChartKind, Goal, Section, Table};

const PORT: u16 = 7_777;
/// Addresses of the server: no two ends meet twice before a firewall has forgotten them.
const ADDRESSES: u8 = 32;
const FIRST_ADDRESS: u8 = 100;

const TITLE: &str = "New connections through the gateway";

const METHOD: &str = "Four clients, each a thread, connect to a server of four threads, send a byte, get it back and reset \
     the connection (SO_LINGER 0), one after the other; the server has 32 addresses. What is counted are whole \
     connections: with handshake, data and reset they are eight packets through the gateway.";

/// For the method: how fwx's part in it is told from chance.
const STATISTICS: &str = "95 % intervals are those of the sign test. \"No firewall, again\" are other machines, set up in the \
     same way: what it comes to is chance. What fwx takes of a connection is measured in turns that nothing is compared \
     with, as the kernel's statistics of programs cost time themselves; a run of a program that does nothing is \
     subtracted from each. The CPU time of a connection is that of all CPUs in a turn, which clients and servers keep \
     busy, by the connections made.";

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &Firewall::WITH_CONTROL);
    let addresses = (0..ADDRESSES).map(|n| Ipv4Addr::new(10, 2, 0, FIRST_ADDRESS + n));
    let addresses: Vec<_> = addresses.collect();
    for site in &sites {
        let lines = addresses.iter().map(|address| format!("address add {address}/24 dev eth0\n"));
        site.lab.camera.ip(&lines.collect::<String>())?;
    }
    let addresses: Vec<_> =
        addresses.into_iter().map(|address| SocketAddr::new(address.into(), PORT)).collect();
    let take = |site: &Site<'_>| {
        site.stands()?;
        let (client, camera) = (&site.lab.client, &site.lab.camera);
        visits::visit_all(client, camera, &addresses, plan.connection_time)
    };
    let all = turns::in_turn(&sites, plan.connection_turns, |site| {
        take(site).map(|visits| visits.per_second())
    });
    let fwx = sites[site::place(&sites, FWX)?];
    let watched = watched(plan.watched_turns, fwx, || take(fwx));
    let cpus = thread::available_parallelism().context("cannot tell how many CPUs there are")?;

    let taken = Taken { sites, all, watched, cpus: cpus.get() as f64 };
    Ok(Section {
        title: "New connections",
        method: format!(
            "{METHOD} {} ms a turn, {} turns. {STATISTICS} {MACHINES}",
            plan.connection_time.as_millis(),
            plan.connection_turns
        ),
        tables: vec![taken.table()?, taken.shares()?],
        charts: vec![taken.chart()],
        goals: vec![taken.goal()?],
    })
}

fn watched(turns: u32, fwx: &Site<'_>, take: impl Fn() -> Result<Visits>) -> Result<(Effort, f64)> {
    let watch = Watch::of(fwx)?;
    let (mut sum, mut connections) = (Effort::default(), 0);
    for _ in 0..turns {
        let (visits, effort) = watch.during(&take)?;
        sum.add(effort);
        connections += visits.count;
    }
    Ok((sum, connections as f64))
}

/// What all turns came to.
struct Taken<'a> {
    sites: Vec<&'a Site<'a>>,
    /// Connections a second, in the order of the sites.
    all: Vec<Series<f64>>,
    /// What fwx did in turns that nothing is compared with, and how many connections there were.
    watched: Result<(Effort, f64)>,
    cpus: f64,
}

impl Taken<'_> {
    fn of(&self, firewall: Firewall) -> Result<&Series<f64>> {
        Ok(&self.all[site::place(&self.sites, firewall)?])
    }

    fn ratios(&self, own: &Series<f64>, other: Firewall) -> Result<Vec<f64>> {
        Ok(own.pairs(self.of(other)?, |own, other| own / other))
    }

    /// Microseconds of CPU time by which a connection exceeds one without a firewall.
    fn added_us(&self, firewall: Firewall) -> Result<Option<f64>> {
        let us = |rate: &f64| self.cpus * 1e6 / rate;
        Ok(self.of(firewall)?.against(self.of(Firewall::Absent)?, |own, none| us(own) - us(none)))
    }

    fn table(&self) -> Result<Table> {
        let mut rows = Vec::new();
        for (site, series) in self.sites.iter().zip(&self.all) {
            let mut row = row(site, series, &[(series.median(|&rate| rate), 0)]);
            for other in [Firewall::Absent, Firewall::Nftables] {
                row.extend(ratio(self.ratios(series, other)?));
            }
            rows.push(row);
        }
        Ok(Table {
            title: TITLE.to_owned(),
            columns: [
                columns(&["firewall", "a second"]),
                ratio_columns("no firewall").into(),
                ratio_columns("nftables").into(),
            ]
            .concat(),
            rows,
        })
    }

    /// What a connection takes of the CPUs, and who.
    fn shares(&self) -> Result<Table> {
        let mut rows = Vec::new();
        let mut push = |who: &str, runs: Option<f64>, ns: Option<f64>, us: Option<f64>| {
            rows.push(vec![who.to_owned(), cell(runs, 1), cell(ns, 0), cell(us, 2)]);
        };
        let us = |series: &Series<f64>| series.median(|rate| self.cpus * 1e6 / rate);
        push("all, no firewall", None, None, us(self.of(Firewall::Absent)?));
        push("nftables, conntrack, over that", None, None, self.added_us(Firewall::Nftables)?);
        push("fwx, over that", None, None, self.added_us(FWX)?);
        if let Ok((effort, connections)) = &self.watched {
            for Ran { name, runs, ns } in &effort.programs {
                let runs = *runs as f64;
                let (each, whole) = (ns / runs, ns / connections / 1e3);
                push(&format!("its {name}"), Some(runs / connections), Some(each), Some(whole));
            }
            let controller = effort.controller.as_secs_f64() * 1e6 / connections;
            push("its controller", None, None, Some(controller));
        }
        Ok(Table {
            title: "What a connection takes of all CPUs".to_owned(),
            columns: columns(&["who", "runs a connection", "ns a run", "us a connection"]),
            rows,
        })
    }

    fn chart(&self) -> Chart {
        let bars = self.sites.iter().zip(&self.all);
        let bars = bars.filter_map(|(site, series)| {
            Some((site.name().to_owned(), series.median(|rate| rate / 1e3)?))
        });
        Chart {
            name: "wire-connections".to_owned(),
            title: TITLE.to_owned(),
            value: "thousand connections a second".to_owned(),
            kind: ChartKind::Bars(bars.collect()),
        }
    }

    fn goal(&self) -> Result<Goal> {
        let (fwx, nft) = (self.of(FWX)?, self.of(Firewall::Nftables)?);
        let comparison = verdict::Comparison {
            name: FWX.name(),
            ratios: self.ratios(fwx, Firewall::Nftables)?,
            control: self.ratios(self.of(Firewall::Again)?, Firewall::Absent)?,
        };
        Ok(verdict::goal(
            "New connections with fwx in the mode it picks, compared with nftables with conntrack"
                .to_owned(),
            Bound::AtLeast(1.0),
            &[comparison],
            &self.cause()?,
            trouble(&[fwx, nft]),
        ))
    }

    /// What a connection takes with either firewall, and what of it fwx's programs and controller do.
    fn cause(&self) -> Result<String> {
        let added = (self.added_us(FWX)?, self.added_us(Firewall::Nftables)?);
        let (Some(fwx), Some(nft)) = added else { return Ok(String::new()) };
        let parts = match &self.watched {
            Err(why) => format!("what of it its programs take is not known: {why:#}"),
            Ok((effort, connections)) => {
                let each = |ns: f64| ns / connections / 1e3;
                let programs: Vec<_> = effort
                    .programs
                    .iter()
                    .map(|ran| {
                        let runs = ran.runs as f64 / connections;
                        format!("{} {:.2} us in {runs:.1} runs", ran.name, each(ran.ns))
                    })
                    .collect();
                let controller = each(effort.controller.as_nanos() as f64);
                let rest = fwx - each(effort.programs_ns()) - controller;
                format!(
                    "its programs take {:.2} us ({}), its controller {controller:.2} us; the other {rest:.2} us are \
                     in neither: the kernel's for both, and chance",
                    each(effort.programs_ns()),
                    programs.join(", ")
                )
            }
        };
        Ok(format!(
            "a connection takes {fwx:.2} us of CPU time more with fwx than with no firewall, {nft:.2} us more with \
             nftables; {parts}"
        ))
    }
}
