//! Drops as fast as a CPU makes them and a hundred kills a second beside them: what the controller makes of both.

use anyhow::{Context as _, Result};
use lab::{
    Fwx, Lab, Mode,
    event_flood::{self, Seen},
    memory,
};

use super::listeners::cpu_time;
use crate::{
    number::figure,
    section::{Bound, Goal, Section, Table},
};

pub(super) struct Plan {
    /// A hundred a second.
    kills: u16,
}

impl Plan {
    pub(super) fn new(is_quick: bool) -> Self {
        Self { kills: if is_quick { 300 } else { 3_000 } }
    }
}

/// What aims are held against.
const DROPS_A_SECOND: f64 = 2e6;
const MEMORY_MIB: f64 = 200.0;

pub(super) fn measure(plan: &Plan, progress: &impl Fn(&str)) -> Result<Section> {
    let lab = Lab::single()?;
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw"))?;
    fwx.run(event_flood::POLICY, Mode::Native)?;
    let controller = fwx.status()?.controller.pid.context("the controller has no number")?;
    let cpu = cpu_time(controller)?;
    let seen = event_flood::play(&lab, &fwx, plan.kills)?;
    let cpu = cpu_time(controller)?.saturating_sub(cpu);
    let share = cpu.as_secs_f64() / seen.took.as_secs_f64();
    let memory = memory::peak_kib(controller)? as f64 / 1024.0;
    progress("drops and kills done");
    Ok(Section {
        title: "Drops and kills",
        method: format!(
            "A gateway in a lab, native XDP. One of its links is flooded with TCP segments of connections that nobody \
             has, made by the kernel's test-run, while connections at the other link are begun, killed by the strict \
             RTSP filter and gone on with, one every 10 ms, {} in all; a client follows all events. The flood has one \
             CPU before all others, by real-time priority, and the kills another; the gateway's programs run on these \
             two. The controller and the client run where there is time left. Drops that count are those that the link took, and those of segments \
             after a kill; a kill is in order if it was told before every drop that names it. The controller's CPU time \
             is what the kernel accounts to its process, its memory the most that it had resident (VmHWM).",
            plan.kills
        ),
        tables: vec![table(&seen, share, memory)],
        charts: Vec::new(),
        goals: goals(&seen, share, memory),
    })
}

fn table(seen: &Seen, share: f64, memory: f64) -> Table {
    let columns = ["what", "figure"];
    let rows = [
        ("seconds", format!("{:.1}", seen.took.as_secs_f64())),
        ("drops", figure(seen.counted as f64)),
        ("drops a second", figure(drops_a_second(seen).round())),
        ("counted exactly", if seen.is_exact() { "yes" } else { "no" }.to_owned()),
        ("kills", figure(seen.kills as f64)),
        ("kills told", figure(seen.kills_told as f64)),
        ("drops told that name a kill", figure(seen.with_cause as f64)),
        ("of these, told before it", figure(seen.before_their_kill as f64)),
        ("drops told", figure(seen.drops_told as f64)),
        ("events held back", figure(seen.untold.held_back as f64)),
        ("events lost", figure(seen.untold.lost as f64)),
        ("controller's CPU, % of one", format!("{:.1}", share * 100.0)),
        ("controller's memory, MiB", format!("{memory:.0}")),
    ];
    Table {
        title: "Drops and a hundred kills a second".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.map(|(what, figure)| vec![what.to_owned(), figure]).to_vec(),
    }
}

fn goals(seen: &Seen, share: f64, memory: f64) -> Vec<Goal> {
    let goal = |what: &str, wanted, figure, unit, remark: &str| Goal {
        what: what.to_owned(),
        wanted,
        figure: Some(figure),
        unit,
        remark: remark.to_owned(),
    };
    let untold = (seen.kills - seen.kills_told.min(seen.kills)) + seen.before_their_kill;
    let wrong = seen.counted.abs_diff(seen.flood + seen.strays);
    vec![
        goal(
            "Drops a second while a hundred connections a second are killed",
            Bound::AtLeast(DROPS_A_SECOND),
            drops_a_second(seen),
            "a second",
            "one CPU makes the flood and drops it",
        ),
        goal(
            "Kills that were not told, or after what they caused",
            Bound::AtMost(0.0),
            untold as f64,
            "kills",
            "",
        ),
        goal(
            "Drops that the counters do not tell of",
            Bound::AtMost(0.0),
            wrong as f64,
            "packets",
            "",
        ),
        goal("The controller's share of a CPU meanwhile", Bound::AtMost(1.0), share, "CPUs", ""),
        goal("The controller's memory at its most", Bound::AtMost(MEMORY_MIB), memory, "MiB", ""),
    ]
}

fn drops_a_second(seen: &Seen) -> f64 {
    seen.counted as f64 / seen.took.as_secs_f64()
}
