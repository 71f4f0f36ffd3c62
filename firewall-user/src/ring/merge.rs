//! Records of many rings in one order: that of time, and a kill before whatever it caused.
//!
//! For one flow the kill comes before the drops that it caused, whichever CPUs saw them:
//!
//! 1. A kernel program puts the kill into its ring, and only then marks the flow (`kill` in read.rs and `tell_and_kill`
//!    in command.rs of firewall-ebpf). Another CPU looks at the mark, and only then stamps the drop. So a drop that names
//!    a kill has its stamp from a time when that kill was in its ring.
//! 2. A look takes the horizon from the same clock, and only then reads the rings. What it hands on is stamped before the
//!    horizon. So the kill of each drop that it hands on was in its ring before the reading began, and was read, now or
//!    by an earlier look.
//! 3. The kill is then handed on before the drop, or has been: of what was read the drop's own kill goes first, whatever
//!    the stamps say.
//!
//! Where a clock may be read on two CPUs a little out of step, [`SETTLING`] has room for that in step 2. For records
//! that have nothing to do with each other it is the time within which they are put in order.

use std::collections::{BTreeMap, HashMap};

use firewall_common::event::{EventKind, Record};

use crate::event::Caught;

/// A record is in its ring within this time of its stamp, in nanoseconds, unless its CPU was stopped meanwhile. Until then
/// one of another CPU may come before it.
const SETTLING: u64 = 1_000_000;

/// Records that were read and not handed on.
#[derive(Default)]
pub(super) struct Merge {
    waiting: BTreeMap<Rank, Caught>,
    /// Where the kills among them are, by their numbers.
    kills: HashMap<u64, Rank>,
    read: u64,
}

/// What records are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    timestamp: u64,
    id: u64,
    /// How many were read before it: no two records have the same rank.
    place: u64,
}

impl Merge {
    /// Reads the rings once, by `drain`, which passes on each record. Returns those that none can come before any more.
    pub(super) fn look(
        &mut self,
        now: impl FnOnce() -> u64,
        drain: impl FnOnce(&mut dyn FnMut(Caught)),
    ) -> Vec<Caught> {
        // Before the rings are read: see above.
        let horizon = now().saturating_sub(SETTLING);
        drain(&mut |caught| self.add(caught));
        self.up_to(horizon)
    }

    /// All records.
    pub(super) fn all(&mut self) -> Vec<Caught> {
        self.up_to(u64::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn add(&mut self, caught: Caught) {
        let Record { timestamp, id, kind, .. } = caught.record;
        let rank = Rank { timestamp, id, place: self.read };
        self.read += 1;
        if kind == EventKind::ConnectionKilled as u8 {
            self.kills.insert(id, rank);
        }
        self.waiting.insert(rank, caught);
    }

    fn up_to(&mut self, horizon: u64) -> Vec<Caught> {
        let mut settled = Vec::new();
        while let Some((rank, _)) = self.waiting.first_key_value()
            && rank.timestamp <= horizon
        {
            let Some((rank, caught)) = self.waiting.pop_first() else { break };
            if self.kills.get(&rank.id) == Some(&rank) {
                self.kills.remove(&rank.id);
            } else if let Some(cause) = self.kills.remove(&caught.record.caused_by) {
                settled.extend(self.waiting.remove(&cause));
            }
            settled.push(caught);
        }
        settled
    }
}

#[cfg(test)]
mod tests;
