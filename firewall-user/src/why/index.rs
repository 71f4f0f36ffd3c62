//! All events that are known, by what stories look them up by: there may be hundreds of thousands, and many causes.

use std::collections::{HashMap, HashSet};

use super::join::Tuple;
use crate::event::{CONTROLLER_CPU, Event};

/// All events, in the order of time within each list.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    by_flow: HashMap<u64, Vec<&'a Event>>,
    by_tuple: HashMap<Tuple, Vec<&'a Event>>,
    /// Those before which others were held back, by kind and reason.
    held_back: HashMap<(&'a str, Option<&'a str>), Vec<&'a Event>>,
    /// What the controller said itself.
    pub controls: Vec<&'a Event>,
}

impl<'a> Index<'a> {
    /// `all` is in the order of time.
    pub(super) fn new(all: &'a [Event]) -> Self {
        let mut index = Self::default();
        for event in all {
            if let Some(flow) = event.flow_id {
                index.by_flow.entry(flow).or_default().push(event);
            }
            if let Some(tuple) = Tuple::of(event) {
                index.by_tuple.entry(tuple).or_default().push(event);
            }
            if event.suppressed.is_some() {
                let kind = (event.event.as_str(), event.reason.as_deref());
                index.held_back.entry(kind).or_default().push(event);
            }
            if event.event == "control" {
                index.controls.push(event);
            }
        }
        index
    }

    /// Events between the ends of `event`, in both directions.
    pub(super) fn between(&self, event: &Event) -> &[&'a Event] {
        Tuple::of(event).and_then(|tuple| self.by_tuple.get(&tuple)).map_or(&[], Vec::as_slice)
    }

    /// What is of the connection that `event` is of, with packets between its ends that are of none; or of no
    /// connection, as it is.
    pub(super) fn same_connection(&self, event: &Event) -> Vec<&'a Event> {
        let of_flow = event.flow_id.and_then(|flow| self.by_flow.get(&flow)).into_iter().flatten();
        let lone = self.between(event).iter().filter(|other| other.flow_id.is_none());
        let mut events: Vec<_> = of_flow.chain(lone).copied().collect();
        events.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        events
    }

    /// How many packets with the reason of `events`, at most, were dropped while these came, of which no event tells.
    /// An event says how many were held back before it on its CPU; so the first behind the last one counts too.
    pub(super) fn held_back(&self, events: &[&Event]) -> u64 {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return 0 };
        let kind = (first.event.as_str(), first.reason.as_deref());
        let same = self.held_back.get(&kind).map_or(&[][..], Vec::as_slice);
        let begin = same.partition_point(|event| event.timestamp < first.timestamp);
        let mut told = HashSet::new();
        let counts = same[begin..].iter().filter(|event| {
            event.timestamp <= last.timestamp || told.insert(event.event_id & CONTROLLER_CPU)
        });
        counts.fold(0, |sum: u64, event| sum.saturating_add(event.suppressed.unwrap_or(0)))
    }
}
