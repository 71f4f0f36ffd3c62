//! What the RTSP filter costs on a path that loses packets: interleaved media as fast as TCP goes, through a gateway
//! and a router that drops a share at random; with the filter and without, in turn.
//!
//! Which packets get lost decides how long a transfer takes far more than the filter does: single figures differ by
//! several times, and only medians over many turns say something.

use std::fmt;

use anyhow::Result;
use lab::{
    Fwx, Lab, Mode, loss,
    peers::bulk::{self, Transferred},
    policy,
};
use serde::Serialize;

/// Shares of packets that get lost, in percent.
const PERCENT: [u32; 3] = [0, 1, 3];
const FILTER: [&str; 6] = ["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile"];

/// How much is measured.
#[derive(Serialize)]
pub(crate) struct Plan {
    /// Turns of each, with the filter and without.
    turns: u32,
    /// Media of a transfer.
    bytes: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        let turns = if quick { 25 } else { 151 };
        Self { turns, bytes: 8 << 20 }
    }
}

/// Medians over all turns at one share of loss. Ratios are taken within a turn, before the median.
#[derive(Serialize)]
pub(crate) struct Path {
    pub(crate) percent: u32,
    /// Packets that got lost in all.
    pub(crate) lost: u64,
    /// Segments that the filter read, and held back.
    pub(crate) segments: u64,
    pub(crate) held: u64,
    pub(crate) with: Rate,
    pub(crate) without: Rate,
    /// Throughput with the filter as a multiple of that without.
    pub(crate) ratio: f64,
    /// The quarter of the ratios that is the lowest ends, and the highest begins here.
    pub(crate) ratio_quartiles: [f64; 2],
}

/// How fast media came.
#[derive(Serialize)]
pub(crate) struct Rate {
    pub(crate) mbit_per_s: f64,
    pub(crate) longest_stall_ms: f64,
    /// Segments that were sent again, for a thousand of those that carry the media.
    pub(crate) repeated_per_thousand: f64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turns, bytes } = self;
        write!(f, "{turns} turns of {} MiB with the filter and without", bytes >> 20)
    }
}

/// Takes all figures.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Path>> {
    let lab = Lab::routed(1500)?;
    loss::packet_by_packet(&lab)?;
    // What TCP learnt from one transfer is nothing to the next.
    lab.camera.sysctl("ipv4/tcp_no_metrics_save", "1")?;
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw"))?;
    fwx.run(&policy::rtsp_alone(&["lan0", "wan0"], "enforce"), Mode::Auto)?;
    let mut paths = Vec::new();
    for percent in PERCENT {
        loss::lose(lab.router(), percent)?;
        let before = fwx.binding("rtsp")?;
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..plan.turns {
            // Who is first changes, so that what a turn leaves behind falls out.
            for filtered in [turn % 2 == 0, turn % 2 != 0] {
                if filtered {
                    fwx.filter(&[&FILTER[..], &["standard"]].concat())?;
                } else {
                    fwx.filter(&["unbind", "rtsp"])?;
                }
                let address = lab.camera.socket_v4(554);
                let transferred =
                    bulk::play(&lab.client, &lab.camera, address, plan.bytes, || Ok(()))?;
                if filtered { &mut with } else { &mut without }.push(transferred);
            }
        }
        let after = fwx.binding("rtsp")?;
        let rate = |taken: &Transferred| plan.bytes as f64 * 8e-6 / taken.took.as_secs_f64();
        let segments = plan.bytes as f64 / 1448.0;
        let ratios = with.iter().zip(&without).map(|(with, without)| rate(with) / rate(without));
        let ratios = sorted(ratios);
        let of = |all: &[Transferred]| Rate {
            mbit_per_s: at(&sorted(all.iter().map(rate)), 0.5),
            longest_stall_ms: at(
                &sorted(all.iter().map(|taken| taken.longest_stall.as_secs_f64() * 1e3)),
                0.5,
            ),
            repeated_per_thousand: at(
                &sorted(all.iter().map(|taken| f64::from(taken.repeated) * 1e3 / segments)),
                0.5,
            ),
        };
        paths.push(Path {
            percent,
            lost: loss::lost(lab.router())?,
            segments: after.segments - before.segments,
            held: after.held - before.held,
            with: of(&with),
            without: of(&without),
            ratio: at(&ratios, 0.5),
            ratio_quartiles: [at(&ratios, 0.25), at(&ratios, 0.75)],
        });
        progress(&format!("{percent} % loss: {} turns done", plan.turns));
    }
    Ok(paths)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value at `share` of the sorted `values`.
fn at(values: &[f64], share: f64) -> f64 {
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}
