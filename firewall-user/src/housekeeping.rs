//! What the controller looks after besides events: the sweep in a thread of its own, timeouts of tables that
//! fill, attacks, and tables that are full.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::Array;
use firewall_common::{flow::Timeouts, layout::Attack, reason::Reason};
use tokio::{
    sync::{mpsc as channel, watch},
    time::timeout,
};

use crate::{
    addresses,
    attack::{self, AttackWatch},
    census::{Census, Ledger},
    command::Commander,
    instance::{Instance, InterfaceState, State},
    pressure::{self, Pressure},
    ring::monotonic_ns,
    shortcut::Shortcut,
    sweep::{Gone, Report, Sweeper, Unfinished},
    tables::Tables,
};

/// How often the tables are swept.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);
/// The sweep that is under way at the end may take so long: with a million flows it takes a second or two.
const LAST_SWEEP: Duration = Duration::from_secs(5);
/// A full table is told at most so often.
const FULL_PERIOD_NS: u64 = 60_000_000_000;
/// How many of those that hold most flows are named then.
const HOLDERS: usize = 3;

/// What the controller is to publish.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Something that was noticed, with the reason it has.
    Control(Reason, String),
    /// A flow that ended in silence.
    Gone(Gone),
}

/// What is looked after.
#[derive(Debug)]
pub struct Housekeeping {
    tables: Tables,
    sweeps: Sweeps,
    pressure: Pressure,
    attack: AttackWatch,
    full: FullWatch,
    census: watch::Sender<Option<Arc<Census>>>,
    interfaces: Vec<InterfaceState>,
    shortcut_wanted: bool,
    /// What the shortcut came to when it was looked at last.
    shortcut: Option<Shortcut>,
    /// What the last look at this machine's addresses failed with.
    addresses_failure: Option<String>,
    /// What the last sweep, the last look at the tables and the last one at the shortcut failed with.
    failures: [Option<String>; 3],
}

impl Housekeeping {
    /// Looks after an instance that is up, whose policy has these timeouts.
    pub fn new(instance: &Instance, state: &State, timeouts: Timeouts) -> Result<Self> {
        let tables = Tables::pinned(&instance.maps());
        let full = FullWatch { counted: tables.reason_count(Reason::OutOfResources)?, told: None };
        Ok(Self {
            tables,
            sweeps: Sweeps::start(instance)?,
            pressure: Pressure::new(timeouts),
            attack: AttackWatch::default(),
            full,
            census: watch::Sender::default(),
            interfaces: state.interfaces.clone(),
            shortcut_wanted: state.shortcut,
            shortcut: None,
            addresses_failure: None,
            failures: [const { None }; 3],
        })
    }

    /// Another policy is in force, with these timeouts; it wants the shortcut or does not. What can be had of that is
    /// looked at with the next sweep.
    pub fn take_policy(&mut self, timeouts: Timeouts, shortcut_wanted: bool) {
        self.pressure = Pressure::new(timeouts);
        self.shortcut_wanted = shortcut_wanted;
    }

    /// Programs are on these interfaces now.
    pub fn take_interfaces(&mut self, interfaces: &[InterfaceState]) {
        interfaces.clone_into(&mut self.interfaces);
    }

    /// What the last sweep found, for as long as this lives. `None`: there was none yet.
    pub fn census(&self) -> watch::Receiver<Option<Arc<Census>>> {
        self.census.subscribe()
    }

    /// The next sweep's report. Never ends if there will be none.
    pub async fn swept(&mut self) -> Result<Report, Unfinished> {
        match self.sweeps.reports.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    /// Ends the sweeping behind the sweep that is under way. Returns the reports that nobody has taken in: their flows are
    /// out of the tables, and nobody else finds their ends. Waits for [`LAST_SWEEP`] at most.
    pub async fn end(&mut self) -> Vec<Result<Report, Unfinished>> {
        self.sweeps.orders = None;
        let mut reports = Vec::new();
        let rest = async {
            while let Some(report) = self.sweeps.reports.recv().await {
                reports.push(report);
            }
        };
        if timeout(LAST_SWEEP, rest).await.is_err() {
            tracing::warn!(
                "a sweep goes on for too long: nobody is told of the flows that it removes"
            );
        }
        reports
    }

    /// Takes in what a sweep said.
    pub fn take_in(&mut self, report: Result<Report, Unfinished>) -> Vec<Notice> {
        let mut notices = self.look_at_shortcut();
        notices.extend(self.look_at_addresses());
        let [failure, ..] = &mut self.failures;
        let error = report.as_ref().err().map(ToString::to_string);
        notices.extend(changed(failure, "the sweep of the flow tables", error.as_ref()));
        let report = match report {
            Ok(report) => report,
            Err(Unfinished { told, .. }) => {
                notices.extend(told.into_iter().map(Notice::Gone));
                return notices;
            }
        };
        self.census.send_replace(Some(Arc::clone(&report.census)));
        notices.extend(report.told.iter().copied().map(Notice::Gone));
        if !report.holders.is_empty() {
            notices.push(Notice::Control(Reason::OutOfResources, told_full(&report)));
        }
        if let Some(fill) = report.fuller_completed()
            && let Some(change) = self.pressure.look(fill)
        {
            let told = match self.tables.set_timeouts(change.timeouts) {
                Err(error) => Some(format!("cannot change the timeouts: {error:#}")),
                Ok(()) => change.told.map(|told| match told {
                    pressure::Told::Begins => format!(
                        "the table of {} is {} % full: timeouts are shortened",
                        fill.table.name(),
                        fill.percent()
                    ),
                    pressure::Told::Ends => {
                        "the flow tables have room again: timeouts are those of the policy"
                            .to_owned()
                    }
                }),
            };
            notices.extend(told.map(|message| Notice::Control(Reason::None, message)));
        }
        notices
    }

    /// Looks at what may change at any time.
    pub fn look(&mut self) -> Vec<Notice> {
        let looked = self.look_at_tables();
        let [_, failure, _] = &mut self.failures;
        match looked {
            Ok(mut notices) => {
                notices.extend(changed(failure, "the look at the tables", None));
                notices
            }
            Err(error) => changed(failure, "the look at the tables", Some(&format!("{error:#}"))),
        }
    }

    /// What can be had of the shortcut may change: conntrack's setting, and the device at the other end.
    fn look_at_shortcut(&mut self) -> Vec<Notice> {
        let looked = Shortcut::look(self.shortcut_wanted).and_then(|shortcut| {
            shortcut.put_into_force(&self.tables, &self.interfaces)?;
            Ok(shortcut)
        });
        let failed = looked.as_ref().err().map(|error| format!("{error:#}"));
        let [.., failure] = &mut self.failures;
        let mut notices = changed(failure, "the look at the shortcut", failed.as_ref());
        if let Ok(now) = looked
            && self.shortcut.as_ref() != Some(&now)
        {
            if self.shortcut_wanted {
                notices.extend(self.interfaces.iter().map(|interface| {
                    let message = format!("{}: {}", interface.name, now.at(interface).text());
                    Notice::Control(Reason::None, message)
                }));
            }
            self.shortcut = Some(now);
        }
        notices
    }

    /// Addresses come and go.
    fn look_at_addresses(&mut self) -> Vec<Notice> {
        let looked = addresses::put_into_force(&self.tables, &self.interfaces);
        let failed = looked.err().map(|error| format!("{error:#}"));
        let what = "the look at this machine's addresses";
        changed(&mut self.addresses_failure, what, failed.as_ref())
    }

    fn look_at_tables(&mut self) -> Result<Vec<Notice>> {
        let mut table: Array<_, Attack> = self.tables.open("ATTACK")?;
        let mut attack = table.get(&0, 0)?;
        if let Some(over) = attack::ended(attack, monotonic_ns()) {
            table.set(0, over, 0)?;
            attack = over;
        }
        let mut notices = Vec::new();
        match self.attack.look(attack) {
            Some(attack::Told::Begins) => notices.push(Notice::Control(
                Reason::SynAttackStart,
                "a SYN attack is on: more TCP connections begin without an answer than the policy takes \
                 for normal"
                    .to_owned(),
            )),
            Some(attack::Told::Ends) => notices
                .push(Notice::Control(Reason::SynAttackEnd, "the SYN attack is over".to_owned())),
            None => {}
        }
        let refused = self.tables.reason_count(Reason::OutOfResources)?;
        if self.full.look(refused, monotonic_ns()) {
            self.sweeps.ask(HOLDERS);
        }
        Ok(notices)
    }
}

/// What to tell when something fails, fails in another way than before, or works again.
fn changed(before: &mut Option<String>, what: &str, now: Option<&String>) -> Vec<Notice> {
    if before.as_ref() == now {
        return Vec::new();
    }
    let message = match now {
        Some(error) => format!("{what} failed: {error}"),
        None => format!("{what} works again"),
    };
    *before = now.cloned();
    vec![Notice::Control(Reason::None, message)]
}

fn told_full(report: &Report) -> String {
    let fills: Vec<_> = report
        .fills
        .iter()
        .map(|fill| {
            let (name, percent) = (fill.table.name(), fill.percent());
            format!("{name} {} of {} ({percent} %)", fill.entries, fill.size)
        })
        .collect();
    let holders: Vec<_> =
        report.holders.iter().map(|(address, count)| format!("{address} ({count})")).collect();
    format!(
        "packets are refused because a table is full: {}; most flows are held by {}",
        fills.join(", "),
        holders.join(", ")
    )
}

/// Whether a table is full, and when that was told.
#[derive(Debug)]
struct FullWatch {
    counted: u64,
    told: Option<u64>,
}

impl FullWatch {
    /// Whether to tell now that `refused` packets found a table full.
    fn look(&mut self, refused: u64, now: u64) -> bool {
        if refused <= self.counted
            || self.told.is_some_and(|told| now.saturating_sub(told) < FULL_PERIOD_NS)
        {
            return false;
        }
        (self.counted, self.told) = (refused, Some(now));
        true
    }
}

/// The thread that sweeps.
#[derive(Debug)]
struct Sweeps {
    /// `None`: there are to be no more sweeps.
    orders: Option<mpsc::Sender<usize>>,
    reports: channel::Receiver<Result<Report, Unfinished>>,
}

impl Sweeps {
    fn start(instance: &Instance) -> Result<Self> {
        let (orders, ordered) = mpsc::channel();
        // One waits to be read while the next is made, no more.
        let (sender, reports) = channel::channel(1);
        let instance = instance.clone();
        thread::Builder::new()
            .name("sweep".to_owned())
            .spawn(move || sweep_on(&instance, &ordered, &sender))
            .context("cannot start the thread that sweeps")?;
        Ok(Self { orders: Some(orders), reports })
    }

    /// Asks for a sweep at once that names so many of those that hold most flows.
    fn ask(&self, holders: usize) {
        // A thread that is gone has told why.
        let _ = self.orders.as_ref().map(|orders| orders.send(holders));
    }
}

/// Sweeps until the controller ends.
fn sweep_on(
    instance: &Instance,
    orders: &mpsc::Receiver<usize>,
    reports: &channel::Sender<Result<Report, Unfinished>>,
) {
    let mut sweeper = None;
    let mut holders = 0;
    loop {
        let swept = sweep(instance, &mut sweeper, holders);
        if swept.is_err() {
            // With programs and tables opened anew next time.
            sweeper = None;
        }
        if reports.blocking_send(swept).is_err() {
            return;
        }
        holders = match orders.recv_timeout(SWEEP_PERIOD) {
            Ok(holders) => holders,
            Err(mpsc::RecvTimeoutError::Timeout) => 0,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
    }
}

fn sweep(
    instance: &Instance,
    sweeper: &mut Option<Sweeper>,
    holders: usize,
) -> Result<Report, Unfinished> {
    let sweeper = match sweeper {
        Some(sweeper) => sweeper,
        None => {
            let tables = Tables::pinned(&instance.maps());
            let ledger = Ledger::of(instance, &tables)?;
            sweeper.insert(Sweeper::new(tables, Commander::pinned(instance)?, ledger))
        }
    };
    sweeper.sweep(monotonic_ns(), holders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_is_told_once_a_minute() {
        let mut full = FullWatch { counted: 5, told: None };
        assert!(!full.look(5, 100));
        assert!(full.look(6, 100));
        assert!(!full.look(7, 101));
        assert!(!full.look(8, 99 + FULL_PERIOD_NS));
        assert!(full.look(8, 100 + FULL_PERIOD_NS));
        assert!(!full.look(8, 100 + 3 * FULL_PERIOD_NS), "none since");
    }

    #[test]
    fn a_failure_is_told_when_it_changes() {
        let mut before = None;
        let mut tell = |now: Option<&str>| {
            let notices = changed(&mut before, "it", now.map(str::to_owned).as_ref());
            notices
                .into_iter()
                .map(|notice| match notice {
                    Notice::Control(_, message) => message,
                    Notice::Gone(_) => String::new(),
                })
                .collect::<Vec<_>>()
        };
        assert!(tell(None).is_empty());
        assert_eq!(tell(Some("no")), ["it failed: no"]);
        assert!(tell(Some("no")).is_empty());
        assert_eq!(tell(Some("other")), ["it failed: other"]);
        assert_eq!(tell(None), ["it works again"]);
        assert!(tell(None).is_empty());
    }
}
