//! What has one cause: events that say the same again are told once, and what a kill caused is told with it.

use std::collections::{HashMap, HashSet};

use firewall_common::{event::EventKind, reason::Reason};

use super::{
    advice::{self, Gravity},
    join::{Tuple, is_kill},
};
use crate::event::Event;

/// What makes two events the same matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A filter killed connections for one finding.
    Objection { protocol: Option<String>, filter: String, finding: String, profile: String },
    /// Somebody else ended connections.
    Ended { reason: Option<String> },
    /// Packets of connections whose kill is not known any more.
    UnknownKill,
    /// Packets that were refused. For what rules refuse, to one destination.
    Dropped {
        reason: Option<String>,
        rule: Option<String>,
        to: Option<(Option<String>, std::net::IpAddr, Option<u16>)>,
        /// Whether it is the number acknowledged that was wrong, and not that of the segment.
        acknowledges: bool,
    },
    /// A filter found something and let it pass.
    Noted { protocol: Option<String>, filter: String, finding: String, reason: Option<String> },
    /// Something passed that would have been refused, had the policy not said otherwise.
    Passed { reason: Option<String> },
    /// Connections ended by themselves.
    Closed { reason: Option<String> },
    /// Connections were let in, and nothing else is known of them.
    Opened { rule: Option<String> },
    /// Of a kind that is not known here.
    Other { event: String },
}

/// Events with one cause.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    pub key: Key,
    /// In the order of time; at least one.
    pub events: Vec<&'a Event>,
    /// What they caused, in the order of time.
    pub effects: Vec<Effect<'a>>,
}

/// A packet that was dropped because of a kill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect<'a> {
    pub event: &'a Event,
    /// The firewall had forgotten the kill: the two ends alone say so.
    pub is_late: bool,
}

/// The groups of `events`, which are in the order of time; what matters most comes first.
pub(super) fn groups<'a>(events: &[&'a Event]) -> Vec<Group<'a>> {
    let mut groups = Groups::default();
    let kills = events.iter().filter(|event| is_kill(event));
    for kill in kills {
        groups.add_kill(kill);
    }
    let opened = EventKind::ConnectionOpened.name();
    for event in events.iter().filter(|event| !is_kill(event) && event.event != opened) {
        groups.add(event);
    }
    // A connection's beginning is told with what became of it.
    let told: HashSet<u64> = groups.list.iter().flat_map(Group::flows).collect();
    for event in events.iter().filter(|event| event.event == opened) {
        if event.flow_id.is_none_or(|flow| !told.contains(&flow)) {
            groups.push(Key::Opened { rule: event.rule.clone() }, event);
        }
    }
    let mut list = groups.list;
    list.sort_by_key(|group| (group.rank(), std::cmp::Reverse(group.weight())));
    list
}

#[derive(Default)]
struct Groups<'a> {
    list: Vec<Group<'a>>,
    places: HashMap<Key, usize>,
    /// Which group a kill is in, by its event's number.
    kills: HashMap<u64, usize>,
    /// The last kill of a connection with these ends: when, and which group it is in.
    killed: HashMap<Tuple, (&'a str, usize)>,
}

impl<'a> Groups<'a> {
    fn push(&mut self, key: Key, event: &'a Event) -> usize {
        let place = *self.places.entry(key.clone()).or_insert_with(|| {
            self.list.push(Group { key, events: Vec::new(), effects: Vec::new() });
            self.list.len() - 1
        });
        self.list[place].events.push(event);
        place
    }

    fn add_kill(&mut self, kill: &'a Event) {
        let key = match &kill.filter {
            Some(filter) => Key::Objection {
                protocol: kill.protocol.clone(),
                filter: filter.name.clone(),
                finding: filter.finding.clone(),
                profile: filter.profile.clone(),
            },
            None => Key::Ended { reason: kill.reason.clone() },
        };
        let place = self.push(key, kill);
        self.kills.insert(kill.event_id, place);
        if let Some(tuple) = Tuple::of(kill) {
            self.killed.insert(tuple, (kill.timestamp.as_str(), place));
        }
    }

    fn add(&mut self, event: &'a Event) {
        if event.kind() != Some(EventKind::PacketDropped) {
            if let Some(key) = key_of(event) {
                self.push(key, event);
            }
            return;
        }
        if let Some(kill) = event.caused_by {
            match self.kills.get(&kill) {
                Some(place) => self.list[*place].effects.push(Effect { event, is_late: false }),
                None => drop(self.push(Key::UnknownKill, event)),
            }
            return;
        }
        match self.late_of(event) {
            Some(place) => self.list[place].effects.push(Effect { event, is_late: true }),
            None => drop(self.push(dropped(event), event)),
        }
    }

    /// The group of the kill that ended what the packet was of, if it came after the firewall forgot that.
    fn late_of(&self, event: &Event) -> Option<usize> {
        let reason = event.reason()?;
        if event.flow_id.is_some() || !matches!(reason, Reason::TcpNotSyn | Reason::KilledFlow) {
            return None;
        }
        let (killed, place) = self.killed.get(&Tuple::of(event)?)?;
        (*killed <= event.timestamp.as_str()).then_some(*place)
    }
}

/// `None`: it is about no packet and no connection.
fn key_of(event: &Event) -> Option<Key> {
    let reason = event.reason.clone();
    if event.is_control() {
        return None;
    }
    Some(match (event.event.as_str(), &event.filter) {
        ("filter_finding", Some(filter)) => Key::Noted {
            protocol: event.protocol.clone(),
            filter: filter.name.clone(),
            finding: filter.finding.clone(),
            reason,
        },
        ("filter_finding", None) => Key::Passed { reason },
        ("connection_closed", _) => Key::Closed { reason },
        (other, _) => Key::Other { event: other.to_owned() },
    })
}

fn dropped(event: &Event) -> Key {
    let by_rule = event.reason() == Some(Reason::PolicyRulesDenied);
    let to = event.dst_ip.filter(|_| by_rule);
    Key::Dropped {
        reason: event.reason.clone(),
        rule: event.rule.clone(),
        to: to.map(|address| (event.transport.clone(), address, event.dst_port)),
        acknowledges: event.tcp.as_ref().is_some_and(|tcp| tcp.expected_ack.is_some()),
    }
}

impl<'a> Group<'a> {
    /// The connections that its events name and those that it had effects on, by their numbers.
    fn flows(&self) -> impl Iterator<Item = u64> + use<'_> {
        let effects = self.effects.iter().map(|effect| &effect.event);
        self.events.iter().chain(effects).filter_map(|event| event.flow_id)
    }

    /// The event that tells it best: the newest.
    pub(super) fn newest(&self) -> &'a Event {
        self.events[self.events.len() - 1]
    }

    /// What all of its events have as their reason.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self.key {
            Key::UnknownKill => Some(Reason::ConnectionKilled),
            _ => self.newest().reason(),
        }
    }

    /// What matters most has the least.
    fn rank(&self) -> u8 {
        let gravity = self.reason().map_or(Gravity::Notice, |reason| advice::of(reason).gravity);
        match (&self.key, gravity) {
            (Key::Objection { .. } | Key::Ended { .. } | Key::UnknownKill, _) => 0,
            (Key::Dropped { .. }, Gravity::Trouble) => 1,
            (Key::Noted { .. } | Key::Passed { .. }, _) => 3,
            (_, Gravity::Trouble) => 2,
            (_, Gravity::Notice) => 4,
            (_, Gravity::Normal) => 5,
        }
    }

    fn weight(&self) -> usize {
        self.events.len() + self.effects.len()
    }
}
