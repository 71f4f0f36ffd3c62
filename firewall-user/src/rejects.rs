//! What became of packets that rules reject and that are not TCP, as `fwx status` tells it.

use anyhow::Result;
use firewall_common::layout::Counter;
use serde::Serialize;

use crate::tables::Tables;

/// What became of packets that rules reject and that are not TCP.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rejects {
    /// Answered by an ICMP error.
    pub answered: u64,
    /// Not answered, because nothing of their kind may be.
    pub unanswerable: u64,
    /// Not answered, because there were too many.
    pub limited: u64,
    /// Not answered, because no address of this machine is known to answer from.
    pub without_address: u64,
    /// Not answered, because the kernel would not make room for the answer.
    pub failed: u64,
}

impl Rejects {
    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// When a table cannot be read.
    pub fn read(tables: &Tables) -> Result<Self> {
        Ok(Self {
            answered: tables.counter(Counter::RejectsAnswered)?,
            unanswerable: tables.counter(Counter::RejectsUnanswerable)?,
            limited: tables.counter(Counter::RejectsLimited)?,
            without_address: tables.counter(Counter::RejectsWithoutAddress)?,
            failed: tables.counter(Counter::RejectsFailed)?,
        })
    }

    /// The counts, and what each is called, for people.
    pub fn lines(&self) -> [(&'static str, u64); 5] {
        [
            ("rejects that were answered by an ICMP error", self.answered),
            ("rejects without an answer: of a kind that gets none", self.unanswerable),
            ("rejects without an answer: too many a second", self.limited),
            ("rejects without an answer: no address to answer from", self.without_address),
            ("rejects without an answer: no room for it", self.failed),
        ]
    }
}
