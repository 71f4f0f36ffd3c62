//! What became of events on their way out of the kernel, and of those who read them.

use std::sync::Mutex;

use anyhow::Result;
use firewall_common::layout::Counter;

use super::{
    Metric,
    definitions::{EVENTS_LOST, EVENTS_SUPPRESSED, EVENTS_UNHEARD},
};
use crate::{hub::Hub, tables::Tables};

/// Events of one ring and reason that were not told.
struct Untold {
    ring: &'static str,
    reason: &'static str,
    lost: u64,
    suppressed: u64,
    unheard: u64,
}

pub(super) fn metrics(tables: &Tables, _hub: &Mutex<Hub>) -> Result<Vec<Metric>> {
    let untold = untold(tables)?;
    let each = |count: fn(&Untold) -> u64| {
        untold.iter().map(move |it| ([it.ring.to_owned(), it.reason.to_owned()], count(it) as f64))
    };
    Ok(vec![
        EVENTS_LOST.with(each(|it| it.lost)),
        EVENTS_SUPPRESSED.with(each(|it| it.suppressed)),
        EVENTS_UNHEARD.with(each(|it| it.unheard)),
    ])
}

fn untold(tables: &Tables) -> Result<Vec<Untold>> {
    Ok(vec![Untold {
        ring: "events",
        reason: "any",
        lost: tables.counter(Counter::EventsLost)?,
        suppressed: tables.counter(Counter::EventsSuppressed)?,
        unheard: tables.counter(Counter::EventsUnheard)?,
    }])
}
