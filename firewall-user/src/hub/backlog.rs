//! Events in their order, where those that come in masses crowd out only each other.

use std::{collections::VecDeque, sync::Arc};

use super::Told;

/// Events of either kind that there is room for.
pub const ROOM: usize = 10_000;
/// Bytes that those of one kind may take, roughly.
const ROOM_BYTES: usize = 24 << 20;

/// Events in the order in which they were published, two lanes with room of their own: one for what comes in masses
/// ([`Told::is_routine`]), one for kills and what the controller has to say.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    routine: Lane,
    weighty: Lane,
    /// From this number on no event had to go.
    whole_from: u64,
}

/// Each event with its number, which rises.
#[derive(Debug, Default)]
struct Lane {
    events: VecDeque<(u64, Arc<Told>)>,
    bytes: usize,
}

/// The number of the oldest event of each lane. What has a lower one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    routine: u64,
    weighty: u64,
}

impl Backlog {
    /// Puts an event behind all others. For want of room the oldest of its lane go, and are told to `gone`.
    pub(super) fn push(&mut self, number: u64, told: Arc<Told>, gone: impl FnMut(&Told)) {
        let lane = if told.is_routine() { &mut self.routine } else { &mut self.weighty };
        lane.bytes += told.size();
        lane.events.push_back((number, told));
        let last = lane.shrink(|lane| lane.events.len() > ROOM || lane.bytes > ROOM_BYTES, gone);
        self.whole_from = self.whole_from.max(last.map_or(0, |last| last + 1));
    }

    /// From this number on no event had to go for want of room.
    pub(super) fn whole_from(&self) -> u64 {
        self.whole_from
    }

    /// The first event.
    pub(super) fn first(&self) -> Option<&Told> {
        match (self.routine.events.front(), self.weighty.events.front()) {
            (Some(routine), Some(weighty)) if weighty.0 < routine.0 => Some(&weighty.1),
            (Some((_, first)), _) | (None, Some((_, first))) => Some(first),
            (None, None) => None,
        }
    }

    /// Puts events before all others, the oldest first: they are older.
    pub(super) fn put_before(&mut self, past: Vec<(u64, Arc<Told>)>) {
        for (number, told) in past.into_iter().rev() {
            let lane = if told.is_routine() { &mut self.routine } else { &mut self.weighty };
            lane.bytes += told.size();
            lane.events.push_front((number, told));
        }
    }

    /// Takes the first event out.
    pub(super) fn pop(&mut self) -> Option<Arc<Told>> {
        let lane = match (self.routine.first(), self.weighty.first()) {
            (Some(routine), Some(weighty)) if routine < weighty => &mut self.routine,
            (Some(_), None) => &mut self.routine,
            _ => &mut self.weighty,
        };
        lane.pop().map(|(_, told)| told)
    }

    /// The oldest of each lane; of an empty one, `next`, the number of the next event to come.
    pub(super) fn oldest(&self, next: u64) -> Oldest {
        Oldest {
            routine: self.routine.first().unwrap_or(next),
            weighty: self.weighty.first().unwrap_or(next),
        }
    }

    /// Gives up what is older, and tells it to `gone`.
    pub(super) fn forget_before(&mut self, oldest: Oldest, mut gone: impl FnMut(&Told)) {
        let older = |than: u64| move |lane: &Lane| lane.first().is_some_and(|first| first < than);
        self.routine.shrink(older(oldest.routine), &mut gone);
        self.weighty.shrink(older(oldest.weighty), &mut gone);
    }

    /// All of them, in their order.
    pub(super) fn all(&self) -> Vec<(u64, Arc<Told>)> {
        let mut all: Vec<_> =
            self.routine.events.iter().chain(&self.weighty.events).cloned().collect();
        // Two runs that are in order already: a merge.
        all.sort_by_key(|(number, _)| *number);
        all
    }
}

impl Lane {
    fn first(&self) -> Option<u64> {
        self.events.front().map(|(number, _)| *number)
    }

    fn pop(&mut self) -> Option<(u64, Arc<Told>)> {
        let (number, told) = self.events.pop_front()?;
        self.bytes -= told.size();
        Some((number, told))
    }

    /// Returns the number of the last one that went.
    fn shrink(
        &mut self,
        while_it: impl Fn(&Self) -> bool,
        mut gone: impl FnMut(&Told),
    ) -> Option<u64> {
        let mut last = None;
        while while_it(self)
            && let Some((number, told)) = self.pop()
        {
            gone(&told);
            last = Some(number);
        }
        last
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::Event;
    use firewall_common::reason::Reason;
    use proptest::prelude::*;

    /// An event of a kind, whose number is its own.
    pub(in crate::hub) fn event(kind: &str, number: u64) -> Event {
        let control = Event::control(number, None, 0, Reason::None, String::new());
        Event { event: kind.to_owned(), ..control }
    }

    fn told(kind: &str, number: u64) -> Arc<Told> {
        Arc::new(Told::new(event(kind, number)).unwrap())
    }

    fn numbers(backlog: &mut Backlog) -> Vec<u64> {
        std::iter::from_fn(|| backlog.pop()).map(|told| told.event.event_id).collect()
    }

    #[test]
    fn drops_crowd_out_drops_and_no_kill() {
        let mut backlog = Backlog::default();
        let mut gone = 0;
        let masses = 3 * ROOM as u64;
        for number in 0..masses {
            let kind = if number % 1_000 == 7 { "connection_killed" } else { "packet_dropped" };
            backlog.push(number, told(kind, number), |told| {
                assert_eq!(told.event.event, "packet_dropped");
                gone += 1;
            });
        }
        let kills = masses / 1_000;
        let left = numbers(&mut backlog);
        assert!(left.is_sorted());
        assert_eq!(left.iter().filter(|number| *number % 1_000 == 7).count() as u64, kills);
        assert_eq!(left.len() as u64, ROOM as u64 + kills);
        assert_eq!(gone, masses - ROOM as u64 - kills);
        assert_eq!((backlog.routine.bytes, backlog.weighty.bytes), (0, 0));
    }

    #[test]
    fn large_events_have_no_more_room_than_many_small_ones() {
        let mut backlog = Backlog::default();
        let mut gone = 0;
        for number in 0..100 {
            let message = Some("x".repeat(1 << 20));
            let event = Event { message, ..event("control", number) };
            backlog.push(number, Arc::new(Told::new(event).unwrap()), |_| gone += 1);
        }
        assert!(backlog.weighty.bytes <= ROOM_BYTES && gone > 80, "{gone}");
    }

    proptest! {
        #[test]
        fn the_order_is_kept(kinds in prop::collection::vec(any::<bool>(), 0..60), split in 0..60_u64, cut in 0..60_u64) {
            let kind = |is_drop| if is_drop { "packet_dropped" } else { "filter_finding" };
            let all: Vec<_> = (0..).zip(&kinds).map(|(n, is_drop)| (n, told(kind(*is_drop), n))).collect();
            let (past, coming) = all.split_at(all.len().min(split as usize));
            let mut backlog = Backlog::default();
            for (number, told) in coming {
                backlog.push(*number, Arc::clone(told), |_| {});
            }
            backlog.put_before(past.to_vec());
            let read: Vec<_> = backlog.all().iter().map(|(number, _)| *number).collect();
            let whole: Vec<_> = (0..kinds.len() as u64).collect();
            prop_assert_eq!(&read, &whole);
            let mut gone = 0;
            backlog.forget_before(Oldest { routine: cut, weighty: cut }, |_| gone += 1);
            prop_assert_eq!(gone, whole.iter().filter(|number| **number < cut).count());
            prop_assert_eq!(numbers(&mut backlog), whole.into_iter().filter(|n| *n >= cut).collect::<Vec<_>>());
        }
    }
}
