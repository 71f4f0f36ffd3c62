//! How long the metrics page takes, by the number of flows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use firewall_common::{
    flow::{Flow, State},
    wire::ip_protocol,
};
use lab::{
    Fwx, Host, Lab, Mode, flows, policy,
    scraping::{scrape, values, wait_for_a_sweep, with_metrics},
};

use crate::{
    number::figure,
    packet::median,
    section::{Bound, Goal, Section, Table},
};

/// Room for flows of each family.
const ROOM: u32 = 1 << 20;
const HALF_OPEN_ROOM: u32 = 65_536;
/// With how many flows the page has to be there in how many milliseconds.
const FLOWS_GOAL: u32 = 1_000_000;
const TIME_GOAL_MS: f64 = 100.0;
/// Pages are asked for so long after each other, that sweeps come between them: one each five seconds.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Plan {
    flows: Vec<u32>,
    /// Pages that are asked for.
    scrapes: usize,
}

impl Plan {
    pub(super) fn new(is_quick: bool) -> Self {
        let (flows, scrapes) = if is_quick {
            (vec![0, FLOWS_GOAL], 40)
        } else {
            (vec![0, 1_000, 100_000, FLOWS_GOAL], 80)
        };
        Self { flows, scrapes }
    }
}

/// What pages took with so many flows.
struct Pages {
    flows: u32,
    /// Milliseconds, each from the connection to the last byte.
    took: Vec<f64>,
    bytes: usize,
    /// Of the controller, bytes.
    resident: f64,
}

pub(super) fn measure(plan: &Plan, progress: &impl Fn(&str)) -> Result<Section> {
    let lab = Lab::single()?;
    let gateway = lab.gateway();
    let mut fwx = Fwx::new(gateway, lab.instance("gw"))?;
    let policy = policy::open(&["lan0", "wan0"]);
    fwx.run(&with_metrics(&policy::with_tables(&policy, ROOM, HALF_OPEN_ROOM)), Mode::Tc)?;
    let tables = flows::tables(&fwx)?;
    let established =
        Flow { state: State::Established as u8, ip_protocol: ip_protocol::TCP, ..Flow::default() };
    let mut all = Vec::new();
    let mut there = 0;
    for &count in &plan.flows {
        flows::fill(&tables, there..count, |_| established)?;
        there = count;
        wait_for_a_sweep(&fwx, gateway)?;
        all.push(pages(gateway, count, plan.scrapes)?);
        progress(&format!("pages with {count} flows done"));
    }
    let columns = ["flows", "ms, median", "ms, longest", "bytes", "controller, MB"];
    let row = |pages: &Pages| {
        vec![
            figure(f64::from(pages.flows)),
            format!("{:.1}", median(pages.took.clone())),
            format!("{:.1}", pages.longest()),
            figure(pages.bytes as f64),
            format!("{:.0}", pages.resident / 1e6),
        ]
    };
    Ok(Section {
        title: "Metrics",
        method: format!(
            "The page that Prometheus fetches, from the controller in a lab: {} times with each number of established \
             flows, {} ms after each other, so that the sweep of the flow tables, one each five seconds, falls among \
             them. Each from the connection to the last byte, on this machine's loopback.",
            plan.scrapes,
            PAUSE.as_millis()
        ),
        tables: vec![Table {
            title: "The metrics page".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: all.iter().map(row).collect(),
        }],
        charts: Vec::new(),
        goals: vec![goal(&all)],
    })
}

fn pages(gateway: &Host, flows: u32, count: usize) -> Result<Pages> {
    let mut pages = Pages { flows, took: Vec::new(), bytes: 0, resident: 0.0 };
    for _ in 0..count {
        let begun = Instant::now();
        let page = scrape(gateway)?;
        pages.took.push(begun.elapsed().as_secs_f64() * 1e3);
        let values = values(&page);
        let told = values.get(r#"fwx_flows{state="established",family="ipv4",transport="tcp"}"#);
        ensure!(told == Some(&f64::from(flows)), "{told:?} flows are told of {flows}");
        pages.bytes = page.len();
        let resident = values.get("process_resident_memory_bytes");
        pages.resident = *resident.context("the page tells of the process")?;
        std::thread::sleep(PAUSE);
    }
    Ok(pages)
}

impl Pages {
    fn longest(&self) -> f64 {
        self.took.iter().copied().fold(0.0, f64::max)
    }
}

fn goal(all: &[Pages]) -> Goal {
    let meant = all.iter().find(|pages| pages.flows == FLOWS_GOAL);
    Goal {
        what: "The metrics page with 1,000,000 flows, the longest time".to_owned(),
        wanted: Bound::AtMost(TIME_GOAL_MS),
        figure: meant.map(Pages::longest),
        unit: "ms",
        remark: meant.map_or(String::new(), |pages| {
            format!("{:.1} ms is the median", median(pages.took.clone()))
        }),
    }
}
