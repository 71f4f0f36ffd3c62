//! What the RTSP filter costs on a path that loses packets: interleaved media as fast as TCP goes, through a gateway
//! and a router that drops a share at random; with the filter and without, in turn.
//!
//! Which packets get lost decides how long a transfer takes far more than the filter does: single figures differ by
//! several times, and only medians over many turns say something.

use std::fmt;

use anyhow::{Context as _, Result};
use lab::{
    Fwx, Lab, Mode, loss,
    peers::bulk::{self, Transferred},
    policy,
};

use crate::{
    section::{Bound, Chart, ChartKind, Goal, Section, Table},
    spread::Spread,
};

/// Shares of packets that get lost, in percent.
const PERCENT: [u32; 3] = [0, 1, 3];
const FILTER: [&str; 6] = ["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile"];

/// How much is measured.
pub(crate) struct Plan {
    /// Turns of each, with the filter and without.
    turns: u32,
    /// Media of a transfer.
    bytes: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        let turns = if quick { 25 } else { 121 };
        Self { turns, bytes: 8 << 20 }
    }
}

/// Medians over all turns at one share of loss. Ratios are taken within a turn, before the median.
struct Path {
    percent: u32,
    /// Packets that got lost in all.
    lost: u64,
    /// Segments that the filter read, and held back.
    segments: u64,
    held: u64,
    with: Rate,
    without: Rate,
    /// Throughput with the filter as a multiple of that without, turn by turn.
    ratio: Spread,
    /// That without it as a multiple of that without it in the turn before: what chance makes of a ratio.
    control: Spread,
}

/// How fast media came.
struct Rate {
    mbit_per_s: f64,
    longest_stall_ms: f64,
    /// Segments that were sent again, for a thousand of those that carry the media.
    repeated_per_thousand: f64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turns, bytes } = self;
        write!(f, "{turns} turns of {} MiB with the filter and without", bytes >> 20)
    }
}

/// What it comes to.
pub(crate) fn measure(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Section>> {
    let paths = paths(plan, progress)?;
    let method = format!(
        "Interleaved media as fast as TCP goes, from a camera through a gateway with fwx and a router that drops \
         packets at random, in network namespaces on one machine: medians over {plan}, who is first changing. Which \
         packets get lost decides far more than the filter does; ratios are taken within a turn, with their 95 % \
         interval by the sign test and between what half of them lie. Without against without is the ratio of one turn \
         to the one before it, of two each: what chance makes of it. All CPUs take part."
    );
    let chart = Chart {
        name: "lossy".to_owned(),
        title: "Media on a path that loses packets".to_owned(),
        value: "Mbit/s, median".to_owned(),
        kind: ChartKind::Bars(paths.iter().flat_map(Path::bars).collect()),
    };
    Ok(vec![Section {
        title: "Lossy paths",
        method,
        tables: vec![table(&paths)],
        charts: vec![chart],
        goals: vec![goal(&paths)],
    }])
}

/// The filter must not be what makes a lossy path slow.
fn goal(paths: &[Path]) -> Goal {
    let worst = paths.iter().min_by(|a, b| a.ratio.median.total_cmp(&b.ratio.median));
    let wanted = Bound::AtLeast(0.9);
    Goal {
        what: "Media on paths that lose packets, with the filter against without".to_owned(),
        wanted,
        figure: worst.map(|path| path.ratio.median),
        unit: "times the throughput",
        remark: worst.map_or(String::new(), |path| path.remark(wanted)),
    }
}

fn table(paths: &[Path]) -> Table {
    let columns = [
        "packets lost",
        "Mbit/s with",
        "without",
        "ratio",
        "95 %",
        "half of all",
        "without against without",
        "longest stall, ms, with",
        "without",
        "repeated of 1,000, with",
        "without",
        "segments read",
        "held back",
    ];
    Table {
        title: "With the RTSP filter and without".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: paths.iter().map(Path::row).collect(),
    }
}

impl Path {
    /// Whether chance may have decided it, and what the filter was seen to do.
    fn remark(&self, wanted: Bound) -> String {
        let Self { percent, segments, held, with, without, ratio, control, .. } = self;
        format!(
            "the least, at {percent} % lost; {}; half of all turns {}; without the filter against without it, from one \
             turn to the next, {control}, half of them {}; the filter held back {held} of {segments} segments; segments \
             sent again of 1,000: {:.1} with, {:.1} without; longest stall {:.1} ms with, {:.1} ms without",
            ratio.judged(wanted),
            ratio.half_text(),
            control.half_text(),
            with.repeated_per_thousand,
            without.repeated_per_thousand,
            with.longest_stall_ms,
            without.longest_stall_ms,
        )
    }

    fn row(&self) -> Vec<String> {
        let Self { percent, lost, segments, held, with, without, ratio, control } = self;
        let mut row = vec![
            format!("{percent} % ({lost})"),
            format!("{:.1}", with.mbit_per_s),
            format!("{:.1}", without.mbit_per_s),
            format!("{:.2}", ratio.median),
            ratio.interval_text(),
            ratio.half_text(),
            control.to_string(),
        ];
        for figure in [
            with.longest_stall_ms,
            without.longest_stall_ms,
            with.repeated_per_thousand,
            without.repeated_per_thousand,
        ] {
            row.push(format!("{figure:.1}"));
        }
        row.extend([segments.to_string(), held.to_string()]);
        row
    }

    fn bars(&self) -> [(String, f64); 2] {
        let percent = self.percent;
        [
            (format!("{percent} % lost, with the filter"), self.with.mbit_per_s),
            (format!("{percent} % lost, without"), self.without.mbit_per_s),
        ]
    }
}

fn paths(plan: &Plan, progress: impl Fn(&str)) -> Result<Vec<Path>> {
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
        let all = |taken: &[Transferred], of: &dyn Fn(&Transferred) -> f64| {
            Spread::of(taken.iter().map(of).collect()).context("no turn was taken")
        };
        let of = |taken: &[Transferred]| {
            let repeated = |taken: &Transferred| f64::from(taken.repeated) * 1e3 / segments;
            Ok::<_, anyhow::Error>(Rate {
                mbit_per_s: all(taken, &rate)?.median,
                longest_stall_ms: all(taken, &|taken| taken.longest_stall.as_secs_f64() * 1e3)?
                    .median,
                repeated_per_thousand: all(taken, &repeated)?.median,
            })
        };
        let ratios = with.iter().zip(&without).map(|(with, without)| rate(with) / rate(without));
        let control = without.windows(2).map(|pair| rate(&pair[1]) / rate(&pair[0]));
        paths.push(Path {
            percent,
            lost: loss::lost(lab.router())?,
            segments: after.segments - before.segments,
            held: after.held - before.held,
            with: of(&with)?,
            without: of(&without)?,
            ratio: Spread::of(ratios.collect()).context("no turn was taken")?,
            control: Spread::of(control.step_by(2).collect()).context("one turn says nothing")?,
        });
        progress(&format!("{percent} % loss: {} turns done", plan.turns));
    }
    Ok(paths)
}
