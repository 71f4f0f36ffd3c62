//! All events that are known, by what stories look them up by: there may be hundreds of thousands, and many causes.

use std::collections::HashMap;

use super::{held_back::Limits, join::Tuple};
use crate::event::Event;

/// All events, in the order of time within each list.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    by_flow: HashMap<u64, Vec<&'a Event>>,
    by_tuple: HashMap<Tuple, Vec<&'a Event>>,
    /// What rate limits let pass and held back.
    pub limits: Limits<'a>,
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
            index.limits.add(event);
            if event.is_control() {
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
}
