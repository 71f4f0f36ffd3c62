//! Ending connections: an event, a tombstone for each, and a RST for both ends if they are to know at once.

use anyhow::Result;
use aya::maps::{HashMap, MapData};
use firewall_common::{
    flow::{Flow, KeyV4, KeyV6},
    layout::CommandResult,
    reason::Reason,
    wire::ip_protocol,
};

use super::{list::aliases, number::Numbers, publish::Publisher, raw::Sender, resets};
use crate::{
    command::{Commander, Kill},
    event::{Event, rfc3339},
    flows::{Entry, Key},
    instance::Instance,
    ring::monotonic_ns,
    tables::Tables,
};

/// What came of it.
#[derive(Debug, Default)]
pub struct Killed {
    /// Connections that are dead now.
    pub killed: u64,
    /// RSTs that were sent.
    pub resets: u64,
    /// What the first RST failed with that could not be sent.
    pub reset_failure: Option<String>,
    /// Of how many no event tells.
    pub untold: u64,
}

/// How the end of connections is told.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// To whom reads the events.
    pub reason: Reason,
    /// Whether both ends of a TCP connection get a RST at once. Else they learn of it by the answer to their next
    /// segment.
    pub resets: bool,
}

impl Killed {
    /// Adds what came of others.
    pub fn add(&mut self, others: Self) {
        self.killed += others.killed;
        self.resets += others.resets;
        self.reset_failure = self.reset_failure.take().or(others.reset_failure);
        self.untold += others.untold;
    }
}

/// Ends `entries`, connections of `instance`, by a tombstone for each. One that is gone or was killed meanwhile is
/// passed over. Who ends more of them later does it by the same `commander`, which has one patience for all.
pub fn end(
    instance: &Instance,
    tables: &Tables,
    commander: &Commander,
    entries: &[Entry],
    telling: Telling,
) -> Result<Killed> {
    let aliases = aliases(tables, entries)?;
    let flows = Finder::open(tables)?;
    let mut numbers = Numbers::of(instance)?;
    let mut sender = Sender::default();
    let mut killed = Killed::default();
    for entry in entries {
        let kill = Kill { event: numbers.next(), reason: telling.reason, now: monotonic_ns() };
        match commander.tell_and_kill(&entry.key, entry.flow.id, kill)? {
            CommandResult::Done => {}
            CommandResult::Untold => killed.untold += 1,
            CommandResult::NotDone | CommandResult::NoRoom => continue,
        }
        killed.killed += 1;
        // From here on no packet changes it: these are the last numbers that both ends got to see.
        let flow = flows.get(&entry.key).unwrap_or(entry.flow);
        let entry = Entry { key: entry.key, flow };
        if telling.resets && entry.key.protocol() == ip_protocol::TCP {
            let near = entry.endpoints();
            let far = aliases.get(&flow.id).copied().unwrap_or(near);
            for reset in resets(&flow, near, far) {
                match sender.send(&reset, flow.interface) {
                    Ok(()) => killed.resets += 1,
                    Err(error) => {
                        killed.reset_failure.get_or_insert_with(|| format!("{error:#}"));
                    }
                }
            }
        }
    }
    numbers.keep()?;
    Ok(killed)
}

/// Tells the controller, as long as that works.
#[derive(Debug)]
pub(crate) struct Teller {
    publisher: Result<Publisher, String>,
}

impl Teller {
    pub(crate) fn of(instance: &Instance) -> Self {
        let publisher = match Publisher::of(instance) {
            Ok(Some(publisher)) => Ok(publisher),
            Ok(None) => Err("no controller runs".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        };
        Self { publisher }
    }

    /// Hands over an event with its number, of this moment.
    pub(crate) fn tell(&mut self, event: Event, number: u64) {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let event = Event { event_id: number, timestamp: rfc3339(now), ..event };
        if let Ok(publisher) = &mut self.publisher
            && let Err(error) = publisher.publish(&event)
        {
            self.publisher = Err(format!("{error:#}"));
        }
    }

    /// Why not all was heard, if it was not.
    pub(crate) fn finish(self) -> Option<String> {
        match self.publisher {
            Ok(publisher) => publisher.finish().err().map(|error| format!("{error:#}")),
            Err(error) => Some(error),
        }
    }
}

/// Finding single flows again.
#[derive(Debug)]
pub(crate) struct Finder {
    v4: [HashMap<MapData, KeyV4, Flow>; 2],
    v6: [HashMap<MapData, KeyV6, Flow>; 2],
}

impl Finder {
    pub(crate) fn open(tables: &Tables) -> Result<Self> {
        Ok(Self {
            v4: [tables.flows_v4()?, tables.half_open_v4()?],
            v6: [tables.flows_v6()?, tables.half_open_v6()?],
        })
    }

    /// What lies under a key, flow or alias.
    pub(crate) fn get(&self, key: &Key) -> Option<Flow> {
        match key {
            Key::V4(key) => self.v4.iter().find_map(|table| table.get(key, 0).ok()),
            Key::V6(key) => self.v6.iter().find_map(|table| table.get(key, 0).ok()),
        }
    }
}
