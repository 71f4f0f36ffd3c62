//! What there is to show: the last looks, what was dropped over time, and the log. Memory is bounded.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use serde::Serialize;

use super::{
    drops::{Drops, per_second},
    look::{Figures, Look, Walked},
};
use crate::event::Event;

/// Events that the log keeps.
pub const LOG_MAX: usize = 1_000;

/// What there is to show.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// Counters and bindings of the last look.
    pub figures: Option<Arc<Figures>>,
    /// What passed between the last two looks: coming in, going out.
    pub traffic: Option<[Passing; 2]>,
    /// Flows of the last walk.
    pub walked: Option<Arc<Walked>>,
    /// Drops over time.
    pub drops: Drops,
    /// Events, the oldest first.
    pub log: VecDeque<Arc<Event>>,
    /// Where they come from.
    pub source: Source,
    /// Why the last look found nothing.
    pub problem: Option<String>,
    /// Why the last walk found nothing.
    pub walk_problem: Option<String>,
    /// Numbers of events that may come again, because they were there when the controller was asked anew.
    known: HashSet<u64>,
}

/// How much passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Passing {
    /// Packets in a second.
    pub packets_per_s: u64,
    /// Bits of their IP packets in a second.
    pub bits_per_s: u64,
}

/// Where events come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The controller is being asked.
    #[default]
    Asked,
    /// It tells.
    Tells,
    /// It does not, and why.
    Absent(String),
}

/// What becomes of the subscription.
#[derive(Debug)]
pub enum Heard {
    /// The controller takes the question. What it remembers comes first.
    Taken,
    /// Events, in their order.
    Events(Vec<Event>),
    /// There are no more, and why.
    Ended(String),
}

impl Data {
    /// Takes in a look.
    pub fn take_look(&mut self, look: Look) {
        match look {
            Look::Figures(Ok(figures)) => {
                self.problem = None;
                self.take_figures(figures);
            }
            Look::Walked(Ok(walked)) => {
                self.walk_problem = None;
                self.walked = Some(Arc::new(walked));
            }
            Look::Figures(Err(problem)) => {
                self.problem = Some(problem);
                (self.figures, self.traffic) = (None, None);
            }
            Look::Walked(Err(problem)) => {
                self.walk_problem = Some(problem);
                self.walked = None;
            }
        }
    }

    fn take_figures(&mut self, figures: Figures) {
        self.drops.take(figures.at, &figures.drops);
        self.traffic = self.figures.as_ref().map(|before| passing(before, &figures));
        self.figures = Some(Arc::new(figures));
    }

    /// Takes in what the controller told. Returns how many events are new.
    pub fn take_heard(&mut self, heard: Heard) -> usize {
        match heard {
            Heard::Taken => {
                self.source = Source::Tells;
                self.known = self.log.iter().map(|event| event.event_id).collect();
                0
            }
            Heard::Ended(why) => {
                self.source = Source::Absent(why);
                0
            }
            Heard::Events(events) => events.into_iter().filter(|event| self.log(event)).count(),
        }
    }

    /// Forgets the events: others are asked for.
    pub fn forget_log(&mut self) {
        self.log.clear();
        self.known.clear();
        self.source = Source::Asked;
    }

    /// Whether the event is a new one.
    fn log(&mut self, event: &Event) -> bool {
        // What the controller tells this reader alone has no number.
        if event.event_id != 0 && self.known.remove(&event.event_id) {
            return false;
        }
        if self.log.len() == LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(Arc::new(event.clone()));
        true
    }
}

fn passing(before: &Figures, now: &Figures) -> [Passing; 2] {
    let period = now.at.saturating_sub(before.at);
    // Where counters fell, the firewall was brought up anew.
    let rate = |before: u64, now: u64| per_second(now.saturating_sub(before), period);
    let bits =
        |before: u64, now: u64| per_second(now.saturating_sub(before).saturating_mul(8), period);
    [
        Passing {
            packets_per_s: rate(before.packets.ingress, now.packets.ingress),
            bits_per_s: bits(before.bytes.ingress, now.bytes.ingress),
        },
        Passing {
            packets_per_s: rate(before.packets.egress, now.packets.egress),
            bits_per_s: bits(before.bytes.egress, now.bytes.egress),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn the_log_keeps_the_last_events() {
        let mut data = Data::default();
        data.take_heard(Heard::Taken);
        let events = (1..=LOG_MAX as u64 + 5).map(samples::control).collect();
        assert_eq!(data.take_heard(Heard::Events(events)), LOG_MAX + 5);
        assert_eq!(data.log.len(), LOG_MAX);
        assert_eq!(data.log[0].event_id, 6);
    }

    #[test]
    fn what_a_controller_tells_again_is_there_once() {
        let mut data = Data::default();
        data.take_heard(Heard::Taken);
        data.take_heard(Heard::Events(vec![samples::control(1), samples::control(2)]));
        data.take_heard(Heard::Ended("it went away".to_owned()));
        assert_eq!(data.source, Source::Absent("it went away".to_owned()));
        data.take_heard(Heard::Taken);
        let again = vec![samples::control(2), samples::control(3), samples::control(0)];
        assert_eq!(data.take_heard(Heard::Events(again)), 2);
        let ids: Vec<_> = data.log.iter().map(|event| event.event_id).collect();
        assert_eq!(ids, [1, 2, 3, 0]);
    }

    #[test]
    fn what_passes_is_the_difference_of_two_looks() {
        let mut data = Data::default();
        let at = |second: u64, packets, bytes| {
            let mut figures = samples::figures();
            figures.at = second * 1_000_000_000;
            (figures.packets.ingress, figures.bytes.ingress) = (packets, bytes);
            Look::Figures(Ok(figures))
        };
        data.take_look(at(1, 100, 1_000));
        assert_eq!(data.traffic, None);
        data.take_look(at(3, 300, 2_000));
        let [ingress, egress] = data.traffic.unwrap();
        assert_eq!(ingress, Passing { packets_per_s: 100, bits_per_s: 4_000 });
        assert_eq!(egress, Passing::default());
        data.take_look(at(4, 0, 0));
        assert_eq!(data.traffic, Some([Passing::default(); 2]), "brought up anew");
    }

    #[test]
    fn an_instance_that_is_down_is_a_problem_until_it_is_up() {
        let mut data = Data::default();
        data.take_look(Look::Figures(Ok(samples::figures())));
        data.take_look(Look::Walked(Ok(samples::walked())));
        data.take_look(Look::Figures(Err("not up".to_owned())));
        data.take_look(Look::Walked(Err("not up".to_owned())));
        assert!(data.figures.is_none() && data.walked.is_none());
        assert_eq!(data.problem.as_deref(), Some("not up"));
        data.take_look(Look::Figures(Ok(samples::figures())));
        assert_eq!((data.problem.as_deref(), data.walk_problem.as_deref()), (None, Some("not up")));
        data.take_look(Look::Walked(Ok(samples::walked())));
        assert_eq!(data.walk_problem, None);
    }
}
