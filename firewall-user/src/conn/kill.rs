//! Killing connections: an event, a tombstone for each, and a RST for both ends at once.

use anyhow::Result;
use firewall_common::reason::Reason;

use super::{Killed, Telling, end};
use crate::{command::Commander, flows::Entry, instance::Instance, tables::Tables};

/// Kills `entries`, connections of `instance`. One that is gone or was killed meanwhile is passed over.
pub fn kill(instance: &Instance, tables: &Tables, entries: &[Entry]) -> Result<Killed> {
    let telling = Telling { reason: Reason::ConnectionKilled, resets: true };
    let commander = Commander::pinned(instance)?;
    end(instance, tables, &commander, entries, telling)
}
