//! The kernel's event rings, of each kind one for each CPU, read as one stream in the order of time.
//!
//! Kills have rings of their own: whatever else the kernel has to tell, it takes none of their room.

mod clock;
mod merge;
mod watch;

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result};
use aya::{
    maps::{
        MapData, PerfEventArray,
        perf::{PerfEvent, PerfEventArrayBuffer},
    },
    util::online_cpus,
};
use firewall_common::event::Ring;

use self::merge::Merge;
pub use self::{
    clock::{monotonic_coarse_ns, monotonic_epoch_ns, monotonic_ns},
    watch::Watch,
};
use crate::{
    event::{Caught, decode},
    tables::Tables,
};

/// Pages of each CPU's ring of kills, and of its ring of other events: powers of two. A record with the beginning of its
/// packet takes 392 bytes, so 512 KiB have room for 1,300. That is two minutes of ten kills a second, or the bursts of six
/// reasons at once (200 each), and the longest that the controller looks away is some milliseconds. On a machine of 64 CPUs
/// the rings take 64 MiB.
const PAGES: usize = 128;

/// The rings of all CPUs.
pub struct Rings {
    kills: Vec<Buffer>,
    events: Vec<Buffer>,
    merge: Merge,
    malformed: u64,
    /// The last look found nothing in the rings of events.
    is_calm: bool,
    looks: u64,
}

nix::ioctl_none!(
    /// PERF_EVENT_IOC_DISABLE of include/uapi/linux/perf_event.h.
    disable,
    b'$',
    1
);

type Buffer = PerfEventArrayBuffer<MapData>;

impl Rings {
    /// Opens the rings. From now on events come here and nowhere else.
    pub fn open(tables: &Tables) -> Result<Self> {
        let open = |ring| open(tables, ring);
        let (kills, events) = (open(Ring::Kills)?, open(Ring::Events)?);
        Ok(Self { kills, events, merge: Merge::default(), malformed: 0, is_calm: true, looks: 0 })
    }

    /// Takes out what is in the rings. Returns the records that no earlier one can come before any more, in order.
    pub fn look(&mut self) -> Vec<Caught> {
        let Self { kills, events, merge, malformed, is_calm, looks } = self;
        *looks += 1;
        merge.look(monotonic_ns, |found| {
            drain(kills, malformed, found);
            *is_calm = drain(events, malformed, found) == 0;
        })
    }

    /// Takes out what is in the rings and returns all records, in order.
    pub fn all(&mut self) -> Vec<Caught> {
        let mut first = self.look();
        first.extend(self.merge.all());
        first
    }

    /// Lets nothing more come: from here on the kernel programs count what they would tell as lost. What is in the rings
    /// stays there to be read.
    ///
    /// The kernel puts nothing into the ring of an event that is disabled: it runs on no CPU, and
    /// `bpf_perf_event_output` fails with EOPNOTSUPP (`__bpf_perf_event_output` in kernel/trace/bpf_trace.c).
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn stop(&self) -> Result<()> {
        self.kills.iter().chain(&self.events).try_for_each(|buffer| {
            // SAFETY: the descriptor is open for as long as its buffer is, and the request takes nothing.
            unsafe { disable(buffer.as_fd().as_raw_fd()) }.context("cannot stop an event ring")?;
            Ok(())
        })
    }

    /// Takes out all records for the last time. What comes until the rings are gone, the kernel counts as lost, and as
    /// unheard then: nothing comes into a ring behind the last look.
    pub fn close(&mut self) -> Vec<Caught> {
        if let Err(error) = self.stop() {
            tracing::warn!("what comes at the very end may be missing: {error:#}");
        }
        let all = self.all();
        self.kills.clear();
        self.events.clear();
        all
    }

    /// Whether records wait for their time to come.
    pub fn has_unsettled(&self) -> bool {
        !self.merge.is_empty()
    }

    /// Whether the last look found nothing but kills.
    pub fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// How many looks there were.
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Samples that were no records, since last asked.
    pub fn take_malformed(&mut self) -> u64 {
        std::mem::take(&mut self.malformed)
    }
}

/// The kernel's table of rings.
const fn table(ring: Ring) -> &'static str {
    match ring {
        Ring::Kills => "KILLS",
        Ring::Events => "EVENTS",
    }
}

fn open(tables: &Tables, ring: Ring) -> Result<Vec<Buffer>> {
    let mut map: PerfEventArray<MapData> = tables.open(table(ring))?;
    let cpus = online_cpus().map_err(|(path, error)| {
        anyhow::Error::new(error).context(format!("cannot read {path}"))
    })?;
    cpus.into_iter()
        .map(|cpu| {
            map.open(cpu, Some(PAGES))
                .with_context(|| format!("cannot open the ring of {} of CPU {cpu}", ring.name()))
        })
        .collect()
}

/// Takes all records out of `buffers`. Returns how many samples there were.
fn drain(buffers: &mut [Buffer], malformed: &mut u64, found: &mut dyn FnMut(Caught)) -> usize {
    let mut samples = 0;
    let mut joined = Vec::new();
    for buffer in buffers {
        buffer.for_each(|event| {
            // The kernel programs count what is lost, by its reason.
            let PerfEvent::Sample { head, tail } = event else { return };
            samples += 1;
            let sample = if tail.is_empty() {
                head
            } else {
                joined.clear();
                joined.extend_from_slice(head);
                joined.extend_from_slice(tail);
                &joined
            };
            match decode(sample) {
                Ok(caught) => found(caught),
                Err(error) => {
                    tracing::debug!("a sample of the rings is no record: {error}");
                    *malformed += 1;
                }
            }
        });
    }
    samples
}
