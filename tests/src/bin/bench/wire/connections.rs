//! How many connections can begin.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::{
    MACHINES, Plan,
    cell::{columns, row, trouble},
    firewall::{FWX, Firewall},
    site::{self, Site},
    turns, visits,
};
use crate::section::{Bound, Chart, ChartKind, Goal, Section, Table};

const PORT: u16 = 7_777;
/// Addresses of the server: no two ends meet twice before a firewall has forgotten them.
const ADDRESSES: u8 = 32;
const FIRST_ADDRESS: u8 = 100;

const METHOD: &str = "Four clients, each a thread, connect to a server of four threads, send a byte, get it back and reset \
     the connection (SO_LINGER 0), one after the other; the server has 32 addresses. What is counted are whole \
     connections: with handshake, data and reset they are eight packets through the gateway.";

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &Firewall::OF_CONNECTIONS);
    let addresses = (0..ADDRESSES).map(|n| Ipv4Addr::new(10, 2, 0, FIRST_ADDRESS + n));
    let addresses: Vec<_> = addresses.collect();
    for site in &sites {
        let lines = addresses.iter().map(|address| format!("address add {address}/24 dev eth0\n"));
        site.lab.camera.ip(&lines.collect::<String>())?;
    }
    let addresses: Vec<_> =
        addresses.into_iter().map(|address| SocketAddr::new(address.into(), PORT)).collect();
    let all = turns::in_turn(&sites, plan.connection_turns, |site| {
        site.stands()?;
        let (client, camera) = (&site.lab.client, &site.lab.camera);
        visits::visits_per_second(client, camera, &addresses, plan.connection_time)
    });

    let of = |firewall| site::place(&sites, firewall).map(|place| &all[place]);
    let (absent, nft, fwx) = (of(Firewall::Absent)?, of(Firewall::Nftables)?, of(FWX)?);
    let rows = sites.iter().zip(&all).map(|(site, series)| {
        let ratio = |other| series.against(other, |own, other| own / other);
        row(site, series, &[(series.median(|&rate| rate), 0), (ratio(absent), 2), (ratio(nft), 2)])
    });
    let title = "New connections through the gateway".to_owned();
    let bars = sites.iter().zip(&all);
    let bars = bars.filter_map(|(site, series)| {
        Some((site.name().to_owned(), series.median(|rate| rate / 1e3)?))
    });
    Ok(Section {
        title: "New connections",
        method: format!(
            "{METHOD} {} ms a turn, {} turns. {MACHINES}",
            plan.connection_time.as_millis(),
            plan.connection_turns
        ),
        tables: vec![Table {
            title: title.clone(),
            columns: columns(&["firewall", "a second", "x no firewall", "x nftables"]),
            rows: rows.collect(),
        }],
        charts: vec![Chart {
            name: "wire-connections".to_owned(),
            title,
            value: "thousand connections a second".to_owned(),
            kind: ChartKind::Bars(bars.collect()),
        }],
        goals: vec![Goal {
            what: "New connections with fwx in the mode it picks, compared with nftables with conntrack"
                .to_owned(),
            wanted: Bound::AtLeast(1.0),
            figure: fwx.against(nft, |fwx, nft| fwx / nft),
            unit: "times",
            remark: trouble(&[fwx, nft]),
        }],
    })
}
