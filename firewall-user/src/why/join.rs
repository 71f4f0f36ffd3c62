//! Which events belong to those that are asked about.

use std::collections::HashSet;

use firewall_common::event::EventKind;

use super::Question;
use crate::{conn::Row, event::Event};

/// The two ends of a connection and what it is over, in an order that both directions have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tuple {
    transport: String,
    ends: [(std::net::IpAddr, Option<u16>); 2],
}

impl Tuple {
    /// `None`: the event has no ends.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let mut ends = [(event.src_ip?, event.src_port), (event.dst_ip?, event.dst_port)];
        ends.sort_unstable();
        Some(Self { transport: event.transport.clone()?, ends })
    }
}

/// What a question is about.
#[derive(Debug)]
pub(super) struct Joined<'a> {
    /// The events, in the order of time.
    pub events: Vec<&'a Event>,
    /// How many of them are asked about themselves.
    pub asked_about: usize,
}

/// The events of `all` that belong to the question: those that it names; all of their connections, also of packets
/// that came too late to be of one; the connection that announced them and those that they announced; the kills that
/// they name as their cause, and all that these caused.
pub(super) fn join<'a>(all: &'a [Event], question: &Question, live: &[Row]) -> Joined<'a> {
    let asked: Vec<&Event> = all.iter().filter(|event| question.has(event)).collect();
    let flows = flows(all, &asked, live);
    let lone = lone_tuples(all, &asked);
    let is_of = |event: &Event| {
        question.has(event)
            || event.flow_id.is_some_and(|id| flows.contains(&id))
            || event.flow_id.is_none() && Tuple::of(event).is_some_and(|it| lone.contains(&it))
    };
    let mut belongs: Vec<bool> = all.iter().map(is_of).collect();
    add_kills(all, &mut belongs);
    let events = all.iter().zip(belongs).filter(|(_, belongs)| *belongs).map(|(event, _)| event);
    Joined { events: events.collect(), asked_about: asked.len() }
}

/// The connections that are asked about, those that announced them and those that they announced. A connection has
/// all the names that its packets had, so one behind an address translation is found by either.
fn flows(all: &[Event], asked: &[&Event], live: &[Row]) -> HashSet<u64> {
    let mut own: HashSet<u64> = asked.iter().filter_map(|event| event.flow_id).collect();
    own.extend(live.iter().map(|row| row.flow_id));
    // A packet of no connection may have come after the one was forgotten that it was of.
    let without: HashSet<Tuple> = asked
        .iter()
        .filter(|event| event.flow_id.is_none())
        .filter_map(|it| Tuple::of(it))
        .collect();
    let is_late = |event: &&Event| Tuple::of(event).is_some_and(|tuple| without.contains(&tuple));
    own.extend(all.iter().filter(is_late).filter_map(|event| event.flow_id));
    let mut flows = own.clone();
    flows.extend(live.iter().filter_map(|row| row.parent));
    for event in all {
        if let (Some(flow), Some(parent)) = (event.flow_id, event.parent) {
            if own.contains(&flow) {
                flows.insert(parent);
            }
            if own.contains(&parent) {
                flows.insert(flow);
            }
        }
    }
    flows
}

/// The names of the connections and of the lone packets that are asked about.
fn lone_tuples(all: &[Event], asked: &[&Event]) -> HashSet<Tuple> {
    let flows: HashSet<u64> = asked.iter().filter_map(|event| event.flow_id).collect();
    let is_own = |event: &&Event| event.flow_id.is_some_and(|id| flows.contains(&id));
    let of_flows = all.iter().filter(is_own);
    of_flows.chain(asked.iter().copied()).filter_map(Tuple::of).collect()
}

/// Adds the kills that explain what is there, what is known of the connections killed, and what else these kills
/// caused.
fn add_kills(all: &[Event], belongs: &mut [bool]) {
    let there = |belongs: &[bool]| -> Vec<usize> {
        (0..all.len()).filter(|index| belongs[*index]).collect()
    };
    let causes: HashSet<u64> =
        there(belongs).into_iter().filter_map(|index| all[index].caused_by).collect();
    let killed: HashSet<u64> = all
        .iter()
        .filter(|event| is_kill(event) && causes.contains(&event.event_id))
        .filter_map(|event| event.flow_id)
        .collect();
    for (event, belongs) in all.iter().zip(belongs.iter_mut()) {
        *belongs |= is_kill(event) && causes.contains(&event.event_id)
            || event.flow_id.is_some_and(|id| killed.contains(&id));
    }
    let kills: HashSet<u64> = there(belongs)
        .into_iter()
        .filter(|index| is_kill(&all[*index]))
        .map(|index| all[index].event_id)
        .collect();
    for (event, belongs) in all.iter().zip(belongs.iter_mut()) {
        *belongs |= event.caused_by.is_some_and(|cause| kills.contains(&cause));
    }
}

pub(super) fn is_kill(event: &Event) -> bool {
    event.kind() == Some(EventKind::ConnectionKilled)
}
