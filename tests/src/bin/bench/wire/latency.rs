//! How long an answer takes while others send all they can.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lab::Process;

use super::{
    MACHINES, Plan,
    cell::{columns, row},
    firewall::Firewall,
    iperf::{self, Amount, Sender},
    site::{self, Site},
    turns, visits,
};
use crate::section::{Section, Table};

const PORT: u16 = 7_778;
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// So that the load has begun when the first request goes out.
const HEAD_START: Duration = Duration::from_millis(200);
/// The load goes on for longer than the requests.
const SLACK: Duration = Duration::from_millis(200);

const METHOD: &str = "One request of 64 bytes after the other, and its response, over one TCP connection with TCP_NODELAY, \
     while iperf3 sends all it can from client to server with one stream. On two CPUs, which all of them share, much of \
     a time is waiting for a CPU. A turn's percentiles are of all its requests.";

/// What a turn came to.
struct Turn {
    /// At [`SHARES`], in microseconds.
    percentiles: [f64; SHARES.len()],
    requests: usize,
    gbit: f64,
}

pub(super) fn measure(plan: &Plan, sites: &[Site<'_>]) -> Result<Section> {
    let sites = site::those(sites, &Firewall::OF_CONNECTIONS);
    let servers =
        sites.iter().map(|site| iperf::serve(site.lab)).collect::<Result<Vec<Process>>>()?;
    let all = turns::in_turn(&sites, plan.latency_turns, |site| take(site, plan.latency_time));
    drop(servers);
    let rows = sites.iter().zip(&all).map(|(site, series)| {
        let mut figures: Vec<_> = (0..SHARES.len())
            .map(|index| (series.median(|turn| turn.percentiles[index]), 0))
            .collect();
        figures.push((series.median(|turn| turn.requests as f64), 0));
        figures.push((series.median(|turn| turn.gbit), 2));
        row(site, series, &figures)
    });
    Ok(Section {
        title: "Latency",
        method: format!(
            "{METHOD} {} ms a turn, {} turns. {MACHINES}",
            plan.latency_time.as_millis(),
            plan.latency_turns
        ),
        tables: vec![Table {
            title: "Requests and responses beside bulk TCP, in microseconds".to_owned(),
            columns: columns(&[
                "firewall",
                "p50",
                "p90",
                "p99",
                "p99.9",
                "requests a turn",
                "bulk, Gbit/s",
            ]),
            rows: rows.collect(),
        }],
        ..Section::default()
    })
}

fn take(site: &Site<'_>, time: Duration) -> Result<Turn> {
    site.stands()?;
    let whole = HEAD_START + time + SLACK;
    let seconds = u32::try_from(whole.as_millis().div_ceil(1_000)).context("too long")?;
    let mut load = iperf::begin(site.lab, Sender::Client, 1, Amount::Seconds(seconds))?;
    thread::sleep(HEAD_START);
    let (client, camera) = (&site.lab.client, &site.lab.camera);
    let taken = visits::round_trips(client, camera, camera.socket_v4(PORT), time)?;
    ensure!(load.exit_status()?.is_none(), "the load ended before the requests");
    let transfer = iperf::finish(load)?;
    let mut times: Vec<_> = taken.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    let at = |share| turns::percentile(&times, share).context("no response came");
    let [p50, p90, p99, p999] = SHARES.map(at);
    Ok(Turn {
        percentiles: [p50?, p90?, p99?, p999?],
        requests: times.len(),
        gbit: transfer.bits_per_second * 1e-9,
    })
}
