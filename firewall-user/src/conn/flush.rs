//! Forgetting connections without telling their ends.

use anyhow::Result;
use firewall_common::reason::Reason;

use super::{Teller, number::Numbers};
use crate::{
    command::Commander, event::Event, flows::FlowTable, instance::Instance, tables::Tables,
};

/// What came of it.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Connections that were forgotten.
    pub removed: u64,
    /// Why no event tells of it, if none does.
    pub unheard: Option<String>,
}

/// Removes all flows with an answer, and with `half_open` those without one.
pub fn flush(instance: &Instance, tables: &Tables, half_open: bool) -> Result<Flushed> {
    let commander = Commander::pinned(instance)?;
    let mut removed = 0;
    let mut failure = None;
    for table in FlowTable::ALL.into_iter().filter(|table| half_open || table.is_completed()) {
        tables.each_entry(table, |entry| {
            if failure.is_some() {
                return;
            }
            match commander.remove(&entry.key, entry.flow.id) {
                Ok(done) => removed += u64::from(done && entry.alias().is_none()),
                Err(error) => failure = Some(error),
            }
        })?;
    }
    let mut numbers = Numbers::of(instance)?;
    let mut teller = Teller::of(instance);
    let name = Some(instance.name().to_owned());
    let message = format!("{removed} connections were forgotten by `fwx conn flush`");
    teller.tell(Event::control(0, name, 0, Reason::None, message), numbers.next());
    numbers.keep()?;
    if let Some(error) = failure {
        return Err(error);
    }
    Ok(Flushed { removed, unheard: teller.finish() })
}
