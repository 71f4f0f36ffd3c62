//! Killing connections: a tombstone for each, an event, and a RST for both ends at once.

use anyhow::Result;
use firewall_common::reason::Reason;

use super::{Killed, Telling, end};
use crate::{event::Names, flows::Entry, instance::Instance, tables::Tables};

/// Kills `entries`, connections of `instance`. One that is gone or was killed meanwhile is passed over.
pub fn kill(
    instance: &Instance,
    tables: &Tables,
    names: &Names,
    entries: &[Entry],
) -> Result<Killed> {
    let telling = Telling { reason: Reason::ConnectionKilled, resets: true };
    end(instance, tables, names, entries, telling)
}
