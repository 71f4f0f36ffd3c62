//! The way of one connection, from the first packet that is known to the last.

use serde::Serialize;

use super::{index::Index, tell};
use crate::event::Event;

/// What is known of one connection, or of packets between the same two ends that are of none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// What it is over and its ends, the one that began first as far as that is known.
    pub connection: String,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<u64>,
    /// Protocol by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Number of the connection that announced it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// When it began, if an event says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub began: Option<String>,
    /// Whether its beginning is among what is known.
    pub beginning_is_known: bool,
    /// What happened, in the order of time.
    pub steps: Vec<Step>,
}

/// Something that happened to a connection, once or several times in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When, RFC 3339.
    pub time: String,
    /// When for the last time, if it happened several times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How often.
    pub times: u64,
    /// What, in words.
    pub what: String,
    /// Number of the event that tells of it; of several, the first.
    pub event_id: u64,
}

impl Way {
    /// The way of what `event` is of. `None`: it has no ends.
    pub(super) fn of(event: &Event, index: &Index<'_>) -> Option<Self> {
        event.src_ip?;
        let own = index.same_connection(event);
        let first = own.first()?;
        let said = |of: fn(&Event) -> Option<String>| own.iter().find_map(|event| of(event));
        Some(Self {
            connection: tell::connection(first),
            flow_id: event.flow_id,
            protocol: event.protocol.clone(),
            parent: own.iter().find_map(|event| event.parent),
            began: said(|event| Some(event.totals.as_ref()?.started.clone())),
            beginning_is_known: own.iter().any(|event| begins(event)),
            steps: steps(&own),
        })
    }
}

/// Whether the packet is the first of a connection, or the event tells of its beginning.
fn begins(event: &Event) -> bool {
    event.event == "connection_opened" || event.tcp.as_ref().is_some_and(|tcp| tcp.flags == "S")
}

fn steps(events: &[&Event]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut last: Option<&Event> = None;
    for event in events.iter().filter(|event| !event.is_control()) {
        match (steps.last_mut(), last) {
            (Some(step), Some(before)) if says_the_same(before, event) => {
                step.times += 1;
                step.until = Some(event.timestamp.clone());
            }
            _ => steps.push(Step {
                time: event.timestamp.clone(),
                until: None,
                times: 1,
                what: tell::step(event),
                event_id: event.event_id,
            }),
        }
        last = Some(event);
    }
    steps
}

fn says_the_same(a: &Event, b: &Event) -> bool {
    let finding = |event: &Event| event.filter.as_ref().map(|filter| filter.finding.clone());
    // What both ends send after a kill comes in turns.
    if a.caused_by.is_some() {
        return (&a.event, &a.reason, a.caused_by) == (&b.event, &b.reason, b.caused_by);
    }
    (&a.event, &a.reason, a.src_ip, a.src_port) == (&b.event, &b.reason, b.src_ip, b.src_port)
        && b.caused_by.is_none()
        && finding(a) == finding(b)
}
