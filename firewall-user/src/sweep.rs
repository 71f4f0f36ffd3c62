//! Taking expired flows out of the tables, with what filters know of them, and counting the rest.
//!
//! The kernel never uses an expired flow: a packet that comes too late finds it, removes it and is judged as
//! the first of a new flow. So the sweep only gives room back, and tells of flows that ended in silence. It
//! picks out what looks expired; the kernel program that removes it looks again, so that a packet which comes
//! in between keeps its flow.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use anyhow::Result;
use aya::maps::{Array, HashMap as KernelHashMap, MapData, MapError};
use firewall_common::{
    event::Bucket,
    filter::connection::Connection,
    flow::{Alias, Flow, KeyV4, KeyV6, State, Timeouts},
    number::count_of,
    reason::Reason,
    wire::ip_protocol,
};

use crate::{
    census::{Census, Ledger, Taking},
    command::Commander,
    flows::{Entry, FlowTable, Key},
    pinholes::{self, Announced, Sessions},
    ring::{monotonic_coarse_ns, monotonic_epoch_ns, monotonic_ns},
    rule_counters::AllCounters,
    tables::Tables,
};

/// Aliases that are compared with their flows in one sweep, about: each takes two system calls or more. Where
/// there are more, they take turns.
const ALIASES_AT_ONCE: u64 = 65_536;

/// What sweeps one instance's tables.
#[derive(Debug)]
pub struct Sweeper {
    tables: Tables,
    commander: Commander,
    limits: Limits,
    /// Aliases that the last sweep met.
    aliases: u64,
    /// Sweeps so far.
    round: u64,
    ledger: Ledger,
}

/// What a sweep did and saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How full each table is, in the order of [`FlowTable::ALL`].
    pub fills: Vec<Fill>,
    /// Flows that were removed, those that are not told included.
    pub removed: u64,
    /// Aliases that were removed.
    pub aliases_removed: u64,
    /// Flows whose end is to be told.
    pub told: Vec<Gone>,
    /// The source addresses that hold most flows, the first most, if that was asked.
    pub holders: Vec<(IpAddr, u64)>,
    /// What it saw.
    pub census: Arc<Census>,
}

/// A sweep that failed in its midst.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}")]
pub struct Unfinished {
    /// Flows that it had removed, whose end is to be told all the same.
    pub told: Vec<Gone>,
    error: anyhow::Error,
}

impl From<anyhow::Error> for Unfinished {
    /// It failed before it had removed any.
    fn from(error: anyhow::Error) -> Self {
        Self { told: Vec::new(), error }
    }
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Which.
    pub table: FlowTable,
    /// Its entries; a flow whose addresses are translated has two.
    pub entries: u64,
    /// For how many there is room.
    pub size: u64,
}

/// A flow that ended in silence.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// As it was.
    pub entry: Entry,
    /// Why it ended.
    pub reason: Reason,
    /// Flows of this reason that were not told since the last one.
    pub suppressed: u64,
}

impl Fill {
    /// In percent, rounded down.
    pub const fn percent(&self) -> u64 {
        let size = if self.size == 0 { 1 } else { self.size };
        self.entries * 100 / size
    }
}

impl Report {
    /// The fuller one of the tables of flows with an answer.
    pub fn fuller_completed(&self) -> Option<Fill> {
        let completed = self.fills.iter().filter(|fill| fill.table.is_completed());
        completed.max_by_key(|fill| fill.percent()).copied()
    }
}

impl Sweeper {
    /// Sweeps `tables`, whose programs `commander` runs. What its censuses say of rules is no less than `ledger` says.
    pub fn new(tables: Tables, commander: Commander, ledger: Ledger) -> Self {
        let limits = Limits::default();
        Self { tables, commander, limits, aliases: 0, round: 0, ledger }
    }

    /// Sweeps once, at `now`: nanoseconds of the monotonic clock. `holders`: how many of the addresses that
    /// hold most flows are wanted.
    ///
    /// # Errors
    ///
    /// With those flows that were removed before it failed.
    pub fn sweep(&mut self, now: u64, holders: usize) -> Result<Report, Unfinished> {
        let mut report = Report::default();
        match self.go_through(now, holders, &mut report) {
            Ok(()) => Ok(report),
            Err(error) => Err(Unfinished { told: report.told, error }),
        }
    }

    fn go_through(&mut self, now: u64, holders: usize, report: &mut Report) -> Result<()> {
        // What filters know first: a connection that begins while the flows are read has a flow that may not
        // be among them.
        let mut orphans = self.filtered_connections()?;
        let filtered = orphans.len() as u64;
        let mut taking = Taking::begin(monotonic_coarse_ns());
        let counters = AllCounters::open(&self.tables)?;
        let timeouts: Array<_, Timeouts> = self.tables.open("TIMEOUTS")?;
        let pass = Pass {
            commander: &self.commander,
            lookup: Lookup::open(&self.tables)?,
            now,
            timeouts: timeouts.get(&0, 0)?,
            share: Share { round: self.round, of: self.aliases / ALIASES_AT_ONCE + 1 },
            sessions: pinholes::sessions(&self.tables)?,
        };
        let (mut aliases, mut failure, mut counts) = (0, None, HashMap::new());
        for table in FlowTable::ALL {
            if table == FlowTable::COMPLETED[0] {
                taking.read_counters(&counters);
            }
            let mut entries = 0;
            self.tables.each_entry(table, |entry| {
                entries += 1;
                if failure.is_some() {
                    return;
                }
                taking.meet(table, entry);
                match pass.deal_with(entry) {
                    Ok(Dealt::RemovedFlow(how)) => {
                        entries -= 1;
                        report.removed += 1;
                        report.told.extend(self.limits.admit(table, entry, how, now));
                    }
                    Ok(Dealt::RemovedAlias) => {
                        entries -= 1;
                        report.aliases_removed += 1;
                    }
                    Ok(Dealt::Alias) => aliases += 1,
                    Ok(Dealt::Flow) => {
                        orphans.remove(&entry.flow.id);
                        taking.stays(entry, !entry.flow.state().is_over());
                        if holders > 0 {
                            *counts.entry(entry.source()).or_insert(0) += 1;
                        }
                    }
                    Err(error) => failure = Some(error),
                }
            })?;
            let size = self.tables.size(table)?.into();
            report.fills.push(Fill { table, entries, size });
        }
        if let Some(error) = failure {
            return Err(error);
        }
        (self.aliases, self.round) = (aliases, self.round.wrapping_add(1));
        report.holders = most(counts, holders);
        let taken = monotonic_epoch_ns() + i128::from(monotonic_ns());
        let census = taking.end(taken, &mut self.ledger);
        if let Err(error) = self.ledger.write() {
            tracing::warn!(
                "what rules did so far cannot be kept for the next controller: {error:#}"
            );
        }
        report.census = Arc::new(Census { fills: report.fills.clone(), filtered, ..census });
        self.forget_connections(&orphans, now)?;
        pinholes::sweep(&self.tables, now)
    }

    fn filtered_connections(&self) -> Result<HashSet<u64>> {
        let connections: KernelHashMap<MapData, u64, Connection> =
            self.tables.open("CONNECTIONS")?;
        // Keys alone: a value is of kilobytes.
        Ok(connections.keys().collect::<Result<_, _>>()?)
    }

    /// Forgets what filters know of connections that are no more. Of most the kernel did, with their end; those that
    /// a flood pushed out of their table are left.
    fn forget_connections(&self, ids: &HashSet<u64>, now: u64) -> Result<()> {
        ids.iter().try_for_each(|id| self.commander.forget(*id, now))
    }
}

/// The `wanted` addresses that hold most flows, the first most.
pub fn most(counts: HashMap<IpAddr, u64>, wanted: usize) -> Vec<(IpAddr, u64)> {
    let mut list: Vec<_> = counts.into_iter().collect();
    let before = |a: &(IpAddr, u64), b: &(IpAddr, u64)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
    if wanted < list.len() {
        list.select_nth_unstable_by(wanted, before);
        list.truncate(wanted);
    }
    list.sort_unstable_by(before);
    list
}

/// What an entry is judged by.
struct Pass<'a> {
    commander: &'a Commander,
    lookup: Lookup,
    now: u64,
    timeouts: Timeouts,
    share: Share,
    sessions: Sessions,
}

/// What became of an entry.
enum Dealt {
    Flow,
    Alias,
    RemovedFlow(Ended),
    RemovedAlias,
}

/// How a flow ended that was removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    BySilence,
    /// The connection that announced it had ended.
    WithItsParent,
}

impl Pass<'_> {
    fn deal_with(&self, entry: &Entry) -> Result<Dealt> {
        let id = entry.flow.id;
        if let Some(alias) = entry.alias() {
            // Never by its timeout: it is as good as the flow that it leads to.
            let stays =
                !self.share.has(id) || self.lookup.is_there(&entry.key.target(alias), id)?;
            let removed = !stays && self.commander.remove(&entry.key, id)?;
            return Ok(if removed { Dealt::RemovedAlias } else { Dealt::Alias });
        }
        let silent = entry.flow.expired(self.now, &self.timeouts);
        let announced = pinholes::announced(&self.sessions, entry, self.now)?;
        if let Announced::Killed(event) = announced
            && !silent
        {
            self.commander.kill(&entry.key, id, event, self.now)?;
            return Ok(Dealt::Flow);
        }
        let ended = silent || announced == Announced::Ended;
        let removed = ended && self.commander.expire(&entry.key, id, self.now)?;
        Ok(match removed {
            true if silent => Dealt::RemovedFlow(Ended::BySilence),
            true => Dealt::RemovedFlow(Ended::WithItsParent),
            false => Dealt::Flow,
        })
    }
}

/// Which aliases a sweep looks at.
struct Share {
    round: u64,
    of: u64,
}

impl Share {
    const fn has(&self, id: u64) -> bool {
        count_of(id) % self.of == self.round % self.of
    }
}

/// Finding single flows.
struct Lookup {
    completed_v4: KernelHashMap<MapData, KeyV4, Flow>,
    completed_v6: KernelHashMap<MapData, KeyV6, Flow>,
    half_open_v4: KernelHashMap<MapData, KeyV4, Flow>,
    half_open_v6: KernelHashMap<MapData, KeyV6, Flow>,
}

impl Lookup {
    fn open(tables: &Tables) -> Result<Self> {
        Ok(Self {
            completed_v4: tables.flows_v4()?,
            completed_v6: tables.flows_v6()?,
            half_open_v4: tables.half_open_v4()?,
            half_open_v6: tables.half_open_v6()?,
        })
    }

    fn is_there(&self, key: &Key, id: u64) -> Result<bool> {
        // Completed ones again at last: a flow may get its answer and move there meanwhile.
        for half_open in [false, true, false] {
            let found = match (key, half_open) {
                (Key::V4(key), false) => self.completed_v4.get(key, 0),
                (Key::V4(key), true) => self.half_open_v4.get(key, 0),
                (Key::V6(key), false) => self.completed_v6.get(key, 0),
                (Key::V6(key), true) => self.half_open_v6.get(key, 0),
            };
            match found {
                Ok(flow) if flow.id == id && Alias::of(&flow).is_none() => return Ok(true),
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

/// Which ends are told, and how many of them: each reason is limited as the kernel limits its events.
#[derive(Debug, Default)]
struct Limits {
    idle: Bucket,
    unanswered: Bucket,
}

impl Limits {
    fn admit(&mut self, table: FlowTable, entry: &Entry, how: Ended, now: u64) -> Option<Gone> {
        if entry.flow.is_quiet() {
            return None;
        }
        let reason = match how {
            Ended::BySilence => reason(table.is_completed(), &entry.flow)?,
            Ended::WithItsParent => Reason::GracefulShutdown,
        };
        let bucket = match reason {
            Reason::TcpNoServerReply => &mut self.unanswered,
            _ => &mut self.idle,
        };
        bucket.admit(now).map(|suppressed| Gone { entry: *entry, reason, suppressed })
    }
}

/// Why a flow ended that was removed for its silence; `None`: its end was told before, or is not worth it.
fn reason(completed: bool, flow: &Flow) -> Option<Reason> {
    let state = flow.state();
    if state.is_over() {
        return None;
    }
    match (completed, flow.ip_protocol, state) {
        (false, ip_protocol::TCP, State::SynSent) => Some(Reason::TcpNoServerReply),
        (true, ..) | (false, ip_protocol::TCP, _) => Some(Reason::IdleTimeout),
        // Datagrams that nobody answered began nothing.
        (false, ..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall_common::number::numbered;

    fn flow(state: State, ip_protocol: u8) -> Flow {
        Flow { state: state as u8, ip_protocol, ..Flow::default() }
    }

    #[test]
    fn an_end_is_told_once_and_with_its_reason() {
        use ip_protocol::{TCP, UDP};
        for (completed, state, protocol, expected) in [
            (true, State::Established, TCP, Some(Reason::IdleTimeout)),
            (true, State::CloseWait, TCP, Some(Reason::IdleTimeout)),
            (true, State::Assured, UDP, Some(Reason::IdleTimeout)),
            (true, State::TimeWait, TCP, None),
            (true, State::Closed, TCP, None),
            (true, State::Killed, TCP, None),
            (false, State::SynSent, TCP, Some(Reason::TcpNoServerReply)),
            (false, State::SynReceived, TCP, Some(Reason::IdleTimeout)),
            (false, State::Midstream, TCP, Some(Reason::IdleTimeout)),
            (false, State::Closed, TCP, None),
            (false, State::Unreplied, UDP, None),
        ] {
            assert_eq!(reason(completed, &flow(state, protocol)), expected, "{state:?}");
        }
    }

    #[test]
    fn a_burst_of_ends_is_told_in_part_and_the_rest_is_counted() {
        let mut limits = Limits::default();
        let key = Key::V4(KeyV4::default());
        let entry = Entry { key, flow: flow(State::Established, ip_protocol::TCP) };
        let mut told = |now| limits.admit(FlowTable::CompletedV4, &entry, Ended::BySilence, now);
        let now = 9_000_000_000;
        let first = (0..1000).filter(|_| told(now).is_some()).count() as u64;
        assert_eq!(first, Bucket::BURST);
        let next = told(now + 1_000_000_000).map(|gone| gone.suppressed);
        assert_eq!(next, Some(1000 - Bucket::BURST));
    }

    #[test]
    fn the_end_of_a_quiet_flow_is_not_told() {
        let mut limits = Limits::default();
        for (flags, is_told) in [(0, true), (Flow::CHILD, true), (Flow::QUIET, false)] {
            let flow = Flow { flags, ..flow(State::Established, ip_protocol::TCP) };
            let entry = Entry { key: Key::V4(KeyV4::default()), flow };
            for how in [Ended::BySilence, Ended::WithItsParent] {
                let told = limits.admit(FlowTable::CompletedV4, &entry, how, 9_000_000_000);
                assert_eq!(told.is_some(), is_told, "flags {flags}");
            }
        }
    }

    #[test]
    fn aliases_take_turns() {
        let ids = (1..=100_u64).map(|number| numbered(number, 0));
        let rounds = (0..7).map(|round| Share { round, of: 7 });
        let looked_at: usize =
            rounds.map(|share| ids.clone().filter(|id| share.has(*id)).count()).sum();
        assert_eq!(looked_at, 100);
        assert!(Share { round: 3, of: 1 }.has(numbered(77, 0)));
    }

    #[test]
    fn who_holds_most_comes_first() {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let counts = (1..=9).map(|last| (address(last), u64::from(last % 5))).collect();
        assert_eq!(most(counts, 3), [(address(4), 4), (address(9), 4), (address(3), 3)]);
        assert!(most(HashMap::new(), 3).is_empty());
    }
}
