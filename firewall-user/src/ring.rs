//! The kernel's event rings, one for each CPU, read as one stream in the order of time.

use std::{cmp::Reverse, collections::BinaryHeap, future::poll_fn, task::Poll, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    maps::{
        MapData, PerfEventArray,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use firewall_common::event::Record;
use nix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;

use crate::{
    event::{DecodeError, decode},
    tables::Tables,
};

/// Pages of each CPU's ring; a power of two.
const PAGES: usize = 128;
/// A record is in its ring within this time of its timestamp. Until then one of another CPU may come
/// before it.
const SETTLING: Duration = Duration::from_millis(1);

/// The rings of all CPUs.
pub struct Rings {
    buffers: Vec<PerfEventArrayBuffer<MapData>>,
    waiting: BinaryHeap<Reverse<InOrder>>,
    lost: u64,
    malformed: u64,
}

/// A record, ordered by time, then by number.
struct InOrder(Box<Record>);

impl InOrder {
    fn rank(&self) -> (u64, u64) {
        (self.0.timestamp, self.0.id)
    }
}

impl PartialEq for InOrder {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}
impl Eq for InOrder {}
impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for InOrder {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Rings {
    /// Opens the rings. From now on events come here and nowhere else.
    pub fn open(tables: &Tables) -> Result<Self> {
        let mut map: PerfEventArray<MapData> = tables.open("EVENTS")?;
        let cpus = online_cpus().map_err(|(path, error)| error_at(path, error))?;
        let buffers = cpus
            .into_iter()
            .map(|cpu| {
                map.open(cpu, Some(PAGES))
                    .with_context(|| format!("cannot open the event ring of CPU {cpu}"))
            })
            .collect::<Result<_>>()?;
        Ok(Self { buffers, waiting: BinaryHeap::new(), lost: 0, malformed: 0 })
    }

    /// Takes all records out of the rings.
    pub fn drain(&mut self) {
        let Self { buffers, waiting, lost, malformed } = self;
        let mut sample = Vec::new();
        for buffer in buffers {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail } => {
                    let decoded = if tail.is_empty() {
                        decode(head)
                    } else {
                        sample.clear();
                        sample.extend_from_slice(head);
                        sample.extend_from_slice(tail);
                        decode(&sample)
                    };
                    match decoded {
                        Ok(record) => waiting.push(Reverse(InOrder(Box::new(record)))),
                        Err(
                            DecodeError::Short { .. }
                            | DecodeError::Kind(_)
                            | DecodeError::Reason(_),
                        ) => {
                            *malformed += 1;
                        }
                    }
                }
                PerfEvent::Lost { count } => *lost += count,
            });
        }
    }

    /// The records that no earlier one can come before any more, in order.
    pub fn settled(&mut self) -> Vec<Record> {
        let horizon = monotonic_ns().saturating_sub(SETTLING.as_nanos() as u64);
        self.up_to(horizon)
    }

    /// All records, in order.
    pub fn all(&mut self) -> Vec<Record> {
        self.up_to(u64::MAX)
    }

    /// Whether records wait for their time to come.
    pub fn has_unsettled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Records that the rings had no room for, and samples that were none; both since last asked.
    pub fn take_losses(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.lost), std::mem::take(&mut self.malformed))
    }

    fn up_to(&mut self, horizon: u64) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(Reverse(first)) = self.waiting.peek()
            && first.0.timestamp <= horizon
        {
            records.extend(self.waiting.pop().map(|Reverse(first)| *first.0));
        }
        records
    }
}

/// Wakes up when a ring has something to read.
pub struct Watch {
    rings: Vec<AsyncFd<std::os::fd::OwnedFd>>,
}

impl Watch {
    /// Watches `rings`. Needs a tokio runtime.
    pub fn new(rings: &Rings) -> Result<Self> {
        let rings = rings
            .buffers
            .iter()
            .map(|buffer| {
                let fd = std::os::fd::AsFd::as_fd(buffer).try_clone_to_owned()?;
                // SAFETY: an OwnedFd is one descriptor for all of its life.
                Ok(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }?)
            })
            .collect::<Result<_>>()
            .context("cannot watch the event rings")?;
        Ok(Self { rings })
    }

    /// Returns when there is something to drain.
    pub async fn readable(&self) -> std::io::Result<()> {
        poll_fn(|context| {
            let mut any = false;
            for ring in &self.rings {
                if let Poll::Ready(ready) = ring.poll_read_ready(context) {
                    ready?.clear_ready();
                    any = true;
                }
            }
            if any { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }
}

/// Nanoseconds of the clock that the kernel stamps events with.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC) as u64
}

/// The same as flows are stamped: the tick before now.
pub fn monotonic_coarse_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC_COARSE) as u64
}

/// The time, in nanoseconds since 1970, of that clock's zero.
pub fn monotonic_epoch_ns() -> i128 {
    nanoseconds(ClockId::CLOCK_REALTIME) - nanoseconds(ClockId::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: ClockId) -> i128 {
    // These two clocks are there on every kernel that runs BPF.
    clock_gettime(clock)
        .map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}

fn error_at(path: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot read {path}"))
}
