//! Reading what the screen shows: counters and bindings, which takes a moment, and the flows, which takes as long as
//! there are many. Each has a thread of its own, so that neither holds up the screen or the other.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use firewall_common::{layout::Counter, reason::Reason};
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::rates::{Rate, Rates};
use crate::{
    apply::confirm::{Pending, PendingStatus},
    conn::{First, Relations, Row, Viewer},
    event::{Names, rfc3339},
    flows::{Entry, FlowTable},
    instance::{Instance, State},
    losses,
    ring::{monotonic_epoch_ns, monotonic_ns},
    status::{self, ControllerStatus, FilterStatus, Traffic},
    sweep::Fill,
    tables::Tables,
};

/// Flows that are kept of a walk: the first ones.
pub const FLOWS_MAX: usize = 500;
/// Of the time, a walk takes at most one part of so many.
const WALK_SHARE: u32 = 4;
/// Looks that may wait for the screen.
const BACKLOG: usize = 4;

/// What comes first among the flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[repr(u8)]
pub enum Order {
    /// Most bits per second
    #[default]
    Rate,
    /// Most packets per second
    Packets,
    /// Most bytes since it began
    Bytes,
    /// The oldest
    Age,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rate, Self::Packets, Self::Bytes, Self::Age];

    /// For people, behind "by".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Packets => "packets/s",
            Self::Bytes => "bytes",
            Self::Age => "age",
        }
    }

    /// The one behind it, and the first behind the last.
    pub const fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// What can be read at once, however many flows there are.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// When, RFC 3339 in UTC.
    pub timestamp: String,
    /// When, nanoseconds of the monotonic clock.
    #[serde(skip)]
    pub at: u64,
    /// Name of the instance.
    pub instance: String,
    /// Its controller.
    pub controller: ControllerStatus,
    /// The policy file in force; none: the built-in policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// A policy that waits for `fwx confirm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingStatus>,
    /// Since when a SYN attack is on, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_attack_since: Option<String>,
    /// Whether timeouts are shorter than the policy's, because the tables fill.
    pub timeouts_shortened: bool,
    /// Packets seen.
    pub packets: Traffic,
    /// Bytes seen.
    pub bytes: Traffic,
    /// Packets dropped, by reason; those that never came up are left out.
    pub drops: BTreeMap<&'static str, u64>,
    /// Events that found no room in their ring.
    pub events_lost: u64,
    /// The filters' bindings.
    pub filters: Vec<FilterStatus>,
}

/// What a walk through the flow tables found.
#[derive(Debug, Default, Serialize)]
pub struct Walked {
    /// Seconds that it took.
    #[serde(serialize_with = "as_seconds", rename = "walk_s")]
    pub took: Duration,
    /// Flows met; one that got its answer meanwhile possibly twice.
    pub flows_met: u64,
    /// Flows among them without a rate yet: seen for the first time, or more than are remembered.
    pub flows_without_rate: u64,
    /// How full the tables are.
    pub tables: Vec<TableFill>,
    /// The first ones.
    pub flows: Vec<RatedFlow>,
}

/// How full a flow table is.
#[derive(Debug, Serialize)]
pub struct TableFill {
    /// What it holds, for people.
    pub name: &'static str,
    /// Its entries. A flow whose addresses are translated has two.
    pub entries: u64,
    /// For how many there is room.
    pub size: u64,
    /// In percent, rounded down.
    pub percent: u64,
}

/// A flow and how fast it is.
#[derive(Clone, Debug, Serialize)]
pub struct RatedFlow {
    /// The flow as `fwx conn list` shows it.
    #[serde(flatten)]
    pub row: Row,
    /// How fast it is.
    #[serde(flatten)]
    pub rate: Rate,
    /// The filter that reads its protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// That filter's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

fn as_seconds<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

impl Figures {
    /// How commands begin that are about this instance.
    pub fn fwx(&self) -> String {
        match self.instance.as_str() {
            Instance::DEFAULT => "fwx".to_owned(),
            name => format!("fwx --instance {name}"),
        }
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// The instance is not up.
    pub fn read(instance: &Instance) -> Result<Self> {
        let (state, tables) = status::open(instance)?;
        let mut drops = BTreeMap::new();
        for reason in Reason::ALL.iter().filter(|reason| reason.is_drop()) {
            let count = tables.reason_count(*reason)?;
            if count > 0 {
                drops.insert(reason.name(), count);
            }
        }
        let both = |[ingress, egress]: [Counter; 2]| -> Result<Traffic> {
            Ok(Traffic { ingress: tables.counter(ingress)?, egress: tables.counter(egress)? })
        };
        let at = monotonic_ns();
        Ok(Self {
            timestamp: rfc3339(monotonic_epoch_ns() + i128::from(at)),
            at,
            instance: instance.name().to_owned(),
            controller: ControllerStatus::look(instance),
            policy: state.policy_file.as_ref().map(|path| path.display().to_string()),
            pending: Pending::status(instance)?,
            syn_attack_since: status::attack_since(&tables)?,
            timeouts_shortened: status::timeouts_shortened(&state, &tables)?,
            packets: both([Counter::IngressPackets, Counter::EgressPackets])?,
            bytes: both([Counter::IngressBytes, Counter::EgressBytes])?,
            drops,
            events_lost: losses::total(&losses::losses(&tables)?).lost,
            filters: status::filters(&state, &tables)?,
        })
    }
}

/// Walks through the flow tables, and remembers what flows had counted.
#[derive(Debug)]
pub struct Walker {
    instance: Instance,
    rates: Rates,
}

impl Walker {
    /// One that has not walked yet.
    pub fn new(instance: &Instance) -> Self {
        Self { instance: instance.clone(), rates: Rates::default() }
    }

    /// Walks once. Memory does not depend on how many flows there are, beyond what [`Rates`] may remember.
    ///
    /// # Errors
    ///
    /// The instance is not up.
    pub fn walk(&mut self, order: Order) -> Result<Walked> {
        let began = Instant::now();
        let (state, tables) = status::open(&self.instance)?;
        let mut first = First::new(FLOWS_MAX);
        let mut walked = Walked::default();
        self.rates.begin(monotonic_ns());
        for table in FlowTable::ALL {
            let mut entries = 0;
            tables.each_entry(table, |entry| {
                entries += 1;
                if entry.alias().is_some() {
                    return;
                }
                walked.flows_met += 1;
                let rate = self.rates.of(&entry.flow, monotonic_ns());
                first.offer(rank(order, entry, rate), entry.flow.id, || (*entry, rate));
            })?;
            let fill = Fill { table, entries, size: tables.size(table)?.into() };
            let (size, percent) = (fill.size, fill.percent());
            walked.tables.push(TableFill { name: table.name(), entries, size, percent });
        }
        walked.flows_without_rate = self.rates.end();
        walked.flows = rows(&self.instance, &state, &tables, first.sorted())?;
        walked.took = began.elapsed();
        Ok(walked)
    }
}

fn rank(order: Order, entry: &Entry, rate: Rate) -> u64 {
    let [original, reply] = &entry.flow.tallies;
    match order {
        Order::Rate => rate.bits_per_s,
        Order::Packets => rate.packets_per_s,
        Order::Bytes => original.bytes.saturating_add(reply.bytes),
        Order::Age => u64::MAX - entry.flow.created,
    }
}

/// Entries as they are shown. What addresses are translated to would take another walk and is left out.
fn rows(
    instance: &Instance,
    state: &State,
    tables: &Tables,
    entries: Vec<(Entry, Rate)>,
) -> Result<Vec<RatedFlow>> {
    let names = Names::of(instance, state);
    let viewer = Viewer { names, timeouts: tables.timeouts()?, now: monotonic_ns() };
    let bound: HashMap<String, (String, String)> = status::filters(state, tables)?
        .into_iter()
        .filter_map(|filter| Some((filter.protocol, (filter.filter?, filter.mode))))
        .collect();
    let relations = Relations::default();
    let rated = |(entry, rate)| {
        let row = viewer.row(&entry, &relations);
        let filter = row.protocol.as_ref().and_then(|protocol| bound.get(protocol)).cloned();
        let (filter, mode) = filter.unzip();
        RatedFlow { row, rate, filter, mode }
    };
    Ok(entries.into_iter().map(rated).collect())
}

/// What a look found, or why it found nothing.
#[derive(Debug)]
pub enum Look {
    /// Counters and bindings.
    Figures(Result<Figures, String>),
    /// Flows.
    Walked(Result<Walked, String>),
}

/// Looks as they come, from threads that end with this.
#[derive(Debug)]
pub struct Looks {
    receiver: Receiver<Look>,
    order: Arc<AtomicU8>,
    threads: [thread::JoinHandle<()>; 2],
}

impl Looks {
    /// Begins to look, each `period`; at the flows less often, where a walk takes long.
    pub fn begin(instance: &Instance, period: Duration, order: Order) -> Result<Self> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let order = Arc::new(AtomicU8::new(order as u8));
        let (to, of) = (sender.clone(), instance.clone());
        let figures = thread::Builder::new().name("figures".to_owned()).spawn(move || {
            let look = || Look::Figures(Figures::read(&of).map_err(|error| format!("{error:#}")));
            go_on(&to, look, |_| period);
        })?;
        let (mut walker, wanted) = (Walker::new(instance), Arc::clone(&order));
        let walk = thread::Builder::new().name("walk".to_owned()).spawn(move || {
            let walk = || {
                let order = Order::ALL[usize::from(wanted.load(Relaxed)) % Order::ALL.len()];
                Look::Walked(walker.walk(order).map_err(|error| format!("{error:#}")))
            };
            go_on(&sender, walk, |took| period.max(took * WALK_SHARE));
        })?;
        Ok(Self { receiver, order, threads: [figures, walk] })
    }

    /// Whether one of the threads is no more, which only a panic in it can bring about.
    pub fn have_failed(&self) -> bool {
        self.threads.iter().any(thread::JoinHandle::is_finished)
    }

    /// The next look. `None`: there are none any more.
    ///
    /// May be cancelled without losing one.
    pub async fn next(&mut self) -> Option<Look> {
        self.receiver.recv().await
    }

    /// What comes first from the next walk on.
    pub fn set_order(&self, order: Order) {
        self.order.store(order as u8, Relaxed);
    }
}

/// Looks until nobody wants it any more. `period`: how long after the beginning of a look, which took so long, the next
/// begins.
fn go_on(to: &Sender<Look>, mut look: impl FnMut() -> Look, period: impl Fn(Duration) -> Duration) {
    loop {
        let began = Instant::now();
        let found = look();
        let took = began.elapsed();
        if to.blocking_send(found).is_err() {
            return;
        }
        thread::sleep(period(took).saturating_sub(began.elapsed()));
    }
}
