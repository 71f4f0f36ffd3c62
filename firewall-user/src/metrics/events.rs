//! What became of events on their way out of the kernel, and of those who read them.

use std::sync::Mutex;

use anyhow::{Result, bail};
use firewall_common::{
    event::{Ring, Untold},
    reason::Reason,
};

use super::{
    Metric,
    definitions::{
        EVENTS_LOST, EVENTS_PUBLISHED, EVENTS_SUPPRESSED, EVENTS_UNHEARD, SUBSCRIBERS,
        SUBSCRIBERS_LOST,
    },
};
use crate::{
    hub::{self, Figures, Hub},
    losses::{Loss, losses},
    tables::Tables,
};

pub(super) fn metrics(tables: &Tables, hub: &Mutex<Hub>) -> Result<Vec<Metric>> {
    let Figures { subscribers, published, lost: missed } = match hub.lock() {
        Ok(hub) => hub.figures(),
        Err(_) => bail!("a task failed while it held the events"),
    };
    let at_socket = missed.iter().filter(|(reader, _)| reader == hub::SOCKET);
    let losses = losses(tables)?;
    let some = |count: fn(&Untold) -> u64| {
        let counted = losses.iter().filter(move |loss| count(&loss.untold) > 0);
        counted.map(move |loss| (labels(loss.ring, loss.reason), count(&loss.untold) as f64))
    };
    Ok(vec![
        EVENTS_LOST.with(lost(&losses)),
        EVENTS_SUPPRESSED.with(some(|untold| untold.held_back)),
        EVENTS_UNHEARD.with(some(|untold| untold.unheard)),
        EVENTS_PUBLISHED.is(published as f64),
        SUBSCRIBERS.is(subscribers as f64),
        SUBSCRIBERS_LOST.is(at_socket.map(|(_, lost)| *lost as f64).sum()),
    ])
}

/// Of every ring and reason: a counter that is not there before it counts has no increase that an alert could see.
fn lost(losses: &[Loss]) -> impl Iterator<Item = ([String; 2], f64)> {
    let all =
        Ring::ALL.iter().flat_map(|ring| Reason::ALL.iter().map(move |reason| (*ring, *reason)));
    all.map(|(ring, reason)| {
        let known = losses.iter().find(|loss| (loss.ring, loss.reason) == (ring, reason));
        (labels(ring, reason), known.map_or(0.0, |loss| loss.untold.lost as f64))
    })
}

/// Connections that were opened have no reason.
fn labels(ring: Ring, reason: Reason) -> [String; 2] {
    let reason = match reason {
        Reason::None => "none",
        reason => reason.name(),
    };
    [ring.name().to_owned(), reason.to_owned()]
}
