//! How fast a firewall drops what belongs to nobody.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Result, bail, ensure};
use lab::{
    flood::{self, Flood, Segment},
    wait,
};

use super::{
    MACHINES, Plan, SENDING,
    cell::{columns, row, trouble},
    effort::{Effort, Watch},
    firewall::{FWX, FWX_NATIVE, Firewall},
    site::{self, COMPLETED, FLOODED_PORT, Site},
    turns::{self, Series},
};
use crate::{
    section::{Bound, Chart, ChartKind, Goal, Section, Table},
    spread::Spread,
};

/// The first one adds nothing: the others are compared with it.
const FIREWALLS: [Firewall; 9] = [
    Firewall::BareDrop,
    Firewall::BareLookup,
    FWX_NATIVE,
    FWX,
    Firewall::XdpFilter,
    Firewall::NftablesStateless,
    Firewall::NftablesEarly,
    Firewall::Nftables,
    Firewall::Iptables,
];

/// What the added cost may be of what nftables with conntrack adds.
const SHARE: f64 = 1.0 / 12.0;

const METHOD: &str = "What is sent are TCP segments with ACK from random sources in 11.0.0.0/8, of connections that nobody \
     has, and the gateway drops them. The time of a packet is that of making, sending and dropping it one after the \
     other; what a program that only drops takes is the floor. Every firewall's own counter has to show every packet, \
     native XDP's also the driver's. Tables of flows are empty.";

/// What is sent to which site.
struct Subject<'a> {
    site: &'a Site<'a>,
    flood: Result<Flood<'a>>,
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &FIREWALLS);
    site::receive_offload(&sites, "on")?;
    let subjects: Vec<_> =
        sites.iter().map(|&site| Subject { site, flood: prepare(site) }).collect();
    let all = turns::in_turn(&subjects, plan.packet_turns, |subject| subject.take(plan.packets));
    let native = &subjects[site::place(&sites, FWX_NATIVE)?];
    let watched =
        Watch::of(native.site).and_then(|watch| Ok(watch.during(|| native.take(plan.packets))?.1));
    site::receive_offload(&sites, "off")?;

    let rate = |series: &Series<f64>| series.median(|ns| 1e3 / ns);
    let added = |series: &Series<f64>| series.over(&all[0]).median(|&ns| ns);
    let rows = sites.iter().zip(&all).map(|(site, series)| {
        row(site, series, &[(rate(series), 2), (series.median(|&ns| ns), 1), (added(series), 1)])
    });
    let table = Table {
        title: "Packets of no connection, dropped at the gateway".to_owned(),
        columns: columns(&["firewall", "million a second", "ns a packet", "ns added"]),
        rows: rows.collect(),
    };
    let bars = sites.iter().zip(&all);
    let bars = bars.filter_map(|(site, series)| Some((site.name().to_owned(), rate(series)?)));
    let chart = Chart {
        name: "wire-drops".to_owned(),
        title: "Packets of no connection, dropped at the gateway".to_owned(),
        value: "million packets a second".to_owned(),
        kind: ChartKind::Bars(bars.collect()),
    };
    Ok(Section {
        title: "Drops",
        method: format!(
            "{METHOD} Those of fwx have room for {COMPLETED} flows with an answer. {SENDING} {} packets a turn, {} turns. \
             {MACHINES}",
            plan.packets, plan.packet_turns
        ),
        tables: vec![table],
        charts: vec![chart],
        goals: vec![goal(&sites, &all, &watched)?],
    })
}

fn goal(sites: &[&Site<'_>], all: &[Series<f64>], watched: &Result<Effort>) -> Result<Goal> {
    let of = |firewall| Ok::<_, anyhow::Error>(&all[site::place(sites, firewall)?]);
    let (floor, fwx, nft) = (of(Firewall::BareDrop)?, of(FWX_NATIVE)?, of(Firewall::Nftables)?);
    let added = |series: &Series<f64>| series.over(floor).median(|&ns| ns);
    let shares = fwx.over(floor).pairs(&nft.over(floor), |own, nft| own / nft);
    let wanted = Bound::AtMost(SHARE);
    let lookup = added(of(Firewall::BareLookup)?);
    let remark = match (Spread::of(shares.clone()), added(fwx), added(nft), lookup) {
        (Some(share), Some(fwx), Some(nft), Some(lookup)) => format!(
            "{}; it adds {fwx:.0} ns and nftables {nft:.0} ns, of which {:.0} ns would meet the goal; a program that \
             parses and looks once into such a table, whose places the caches do not hold, adds {lookup:.0} ns; fwx looks \
             three times, for a flow may be on its way from one table to the other, counts the drop by its reason and \
             asks whether it may be told of{}",
            share.judged(wanted),
            nft * SHARE,
            match watched {
                Ok(effort) => format!(": {} by the kernel's statistics", effort.each()),
                Err(why) =>
                    format!("; the kernel's statistics do not say how long that takes: {why:#}"),
            },
        ),
        _ => trouble(&[floor, fwx, nft]),
    };
    Ok(Goal {
        what: "What fwx adds in native XDP to a packet of no connection that is dropped, as a share of what nftables \
               with conntrack adds"
            .to_owned(),
        wanted,
        figure: Spread::of(shares).map(|share| share.median),
        unit: "times",
        remark,
    })
}

fn prepare<'a>(site: &'a Site<'_>) -> Result<Flood<'a>> {
    site.stands()?;
    Flood::of(Segment::Ack, &site.lab.client, server(site)?)
}

fn server(site: &Site<'_>) -> Result<SocketAddrV4> {
    match site.lab.camera.socket_v4(FLOODED_PORT) {
        SocketAddr::V4(server) => Ok(server),
        SocketAddr::V6(_) => bail!("no IPv4 address"),
    }
}

impl Subject<'_> {
    /// Nanoseconds a packet.
    fn take(&self, packets: u32) -> Result<f64> {
        self.site.stands()?;
        let flood = self.flood.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let client = &self.site.lab.client;
        let (sent, dropped) = (flood::sent(client)?, self.site.dropped()?);
        let time = flood.time_each(packets)?;
        let sent = flood::sent(client)? - sent;
        ensure!(sent == u64::from(packets), "the link took {sent} of {packets} packets");
        wait::until("every packet is counted as dropped", || {
            let dropped = self.site.dropped()? - dropped;
            ensure!(dropped >= u64::from(packets), "{dropped} of {packets} are");
            Ok(())
        })?;
        Ok(time.as_nanos() as f64)
    }
}
