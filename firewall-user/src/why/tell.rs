//! Sentences about events.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    advice,
    group::{Group, Key},
    join::Tuple,
};
use crate::{
    event::{Event, Filter},
    events::endpoint,
};

/// Most addresses that a sentence names.
const NAMED: usize = 3;

/// `1 packet`, `2 packets`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// An end as `10.2.0.2:554`, `[fd00::2]:554` or `10.2.0.2`.
pub(super) fn end((address, port): (IpAddr, Option<u16>)) -> String {
    endpoint(Some(address), port)
}

/// The ends of what the event is of, the one that began first as far as that is known. `None`: it has none.
pub(super) fn ends(event: &Event) -> Option<[(IpAddr, Option<u16>); 2]> {
    let [client, server] = event.client_and_server();
    Some([(client.0?, client.1), (server.0?, server.1)])
}

/// `tcp 10.1.0.2:40000 -> 10.2.0.2:554`
pub(super) fn connection(event: &Event) -> String {
    let transport = event.transport.as_deref().unwrap_or("?");
    match ends(event) {
        Some([client, server]) => format!("{transport} {} -> {}", end(client), end(server)),
        None => "a packet whose headers could not be read".to_owned(),
    }
}

/// Which rule decided: `rule "cameras"`, `the default`.
pub(super) fn rule(rule: Option<&str>) -> String {
    rule.map_or_else(|| "the default".to_owned(), |name| format!("rule \"{name}\""))
}

/// `0xc0040017 FWX_E_TCP_NOT_SYN_PACKET_DROPPED`
pub(super) fn code(event: &Event) -> Option<String> {
    let (code, reason) = (event.code.as_deref()?, event.reason.as_deref()?);
    Some(format!("{code} {reason}"))
}

/// What happened to a connection.
pub(super) fn step(event: &Event) -> String {
    let at = event.interface.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
    let code = code(event).map_or_else(String::new, |code| format!(", {code}"));
    match event.event.as_str() {
        "connection_opened" if event.adopted => format!("taken over in its midst{at}"),
        "connection_opened" => {
            let complete =
                if event.transport.as_deref() == Some("tcp") { "complete" } else { "answered" };
            let by = match event.parent {
                Some(parent) => format!("let in because connection {parent} had announced it"),
                None => format!("let in by {}", rule(event.rule.as_deref())),
            };
            format!("{complete}{at}, {by}")
        }
        "connection_closed" => {
            let short = event.reason().map_or("ended", |reason| advice::of(reason).short);
            format!("{short}{code}{}", totals(event))
        }
        "connection_killed" => match &event.filter {
            Some(filter) => format!("killed{at}: {}{}", objection(filter), totals(event)),
            None => format!("killed by no filter{code}{}", totals(event)),
        },
        "packet_dropped" => match event.caused_by {
            Some(kill) => format!("packet dropped{at} because of event {kill}{code}"),
            None => format!("packet{} dropped{at}{code}{}", from(event), expected(event)),
        },
        "filter_finding" => match &event.filter {
            Some(filter) => format!("passed{at}, and noted: {}", objection(filter)),
            None => format!("passed{at} and noted{code}"),
        },
        other => format!("{other}{code}"),
    }
}

/// Whom a packet is from, with the flags of a segment.
fn from(event: &Event) -> String {
    let from = event.src_ip.map(|address| format!(" from {}", end((address, event.src_port))));
    let flags = event.tcp.as_ref().map(|tcp| format!(" [{}]", tcp.flags));
    from.unwrap_or_default() + &flags.unwrap_or_default()
}

/// What a segment should have had that was refused for its numbers.
fn expected(event: &Event) -> String {
    let Some(tcp) = &event.tcp else { return String::new() };
    if let Some([low, high]) = tcp.expected {
        return format!("; its number {} is not within {low} to {high}", tcp.seq);
    }
    match tcp.expected_ack {
        Some([low, high]) => format!("; it acknowledges {}, not within {low} to {high}", tcp.ack),
        None => String::new(),
    }
}

fn objection(filter: &Filter) -> String {
    let Filter { name, mode, profile, finding, offset, excerpt } = filter;
    format!("filter {name} ({mode}, {profile}) found {finding} at byte {offset}: \"{excerpt}\"")
}

fn totals(event: &Event) -> String {
    let Some(totals) = &event.totals else { return String::new() };
    let [original, reply] = totals.packets;
    let [sent, answered] = totals.bytes;
    format!(
        "; passed until then: {original} packets ({sent} bytes) there, {reply} ({answered} bytes) back"
    )
}

/// What a group is about, in one line.
pub(super) fn headline(group: &Group<'_>) -> String {
    let who = Who::of(group);
    let connections = count(who.connections, "connection", "connections");
    let between = who.between();
    let packets = count(group.events.len() as u64, "packet", "packets");
    let were = if group.events.len() == 1 { "was" } else { "were" };
    let short = group.reason().map(|reason| advice::of(reason).short);
    match &group.key {
        Key::Objection { filter, finding, .. } => {
            format!("The filter {filter} killed {connections} {between}: {finding}")
        }
        Key::Ended { .. } => {
            let short = short.unwrap_or("ended for a reason that is not known here");
            format!("{connections} {between}: {short}")
        }
        Key::UnknownKill => format!(
            "{packets} {between} {were} dropped because of a kill that is not known any more"
        ),
        Key::Dropped { reason, rule: name, to, .. } => {
            let by = match (to, name) {
                (None, _) => String::new(),
                (Some(_), Some(name)) => format!(" by rule \"{name}\""),
                (Some(_), None) => " by the default: no rule lets it in".to_owned(),
            };
            match (by.is_empty(), short) {
                (false, _) => format!("{packets} {between} {were} refused{by}"),
                (true, Some(short)) => format!("{packets} {between} {were} dropped: {short}"),
                (true, None) => {
                    let reason = reason.as_deref().unwrap_or("no reason is told");
                    format!("{packets} {between} {were} dropped: {reason}")
                }
            }
        }
        Key::Noted { filter, finding, .. } => format!(
            "The filter {filter} noted {finding} {} in {connections} {between}, and let it pass",
            times(group.events.len())
        ),
        Key::Passed { .. } => format!(
            "{packets} {between} passed that would be dropped otherwise: {}",
            short.unwrap_or("for a reason that is not known here")
        ),
        Key::Closed { .. } => {
            format!("{connections} {between} ended: {}", short.unwrap_or("no reason is told"))
        }
        Key::Opened { rule: name } => {
            let by = rule(name.as_deref());
            format!("{connections} {between}: let in by {by}, and no event tells of an end")
        }
        Key::Other { event } => format!("{event}, {} {between}", times(group.events.len())),
    }
}

/// `once`, `twice`, `5 times`.
pub(super) fn times(number: usize) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// Between whom a group's events are.
pub(super) struct Who {
    /// Addresses that began.
    pub clients: BTreeSet<IpAddr>,
    /// Ends that they wanted.
    pub servers: BTreeSet<(IpAddr, Option<u16>)>,
    /// How many connections, or attempts at one.
    pub connections: u64,
}

impl Who {
    pub(super) fn of(group: &Group<'_>) -> Self {
        // A flow's number tells two connections apart that had the same ends. Who began what is of none is told by
        // the first packet of it.
        let mut connections = HashMap::new();
        for event in &group.events {
            let tuple = if event.flow_id.is_none() { Tuple::of(event) } else { None };
            connections.entry((event.flow_id, tuple)).or_insert_with(|| ends(event));
        }
        let all = || connections.values().flatten();
        Self {
            clients: all().map(|[client, _]| client.0).collect(),
            servers: all().map(|[_, server]| *server).collect(),
            connections: connections.len() as u64,
        }
    }

    fn between(&self) -> String {
        if self.clients.is_empty() {
            return "of whom nothing could be read".to_owned();
        }
        let clients = list(self.clients.iter().map(ToString::to_string));
        let servers = list(self.servers.iter().map(|server| end(*server)));
        format!("from {clients} to {servers}")
    }
}

/// The first few, and how many others there are.
fn list(names: impl ExactSizeIterator<Item = String>) -> String {
    let others = names.len().saturating_sub(NAMED);
    let named = names.take(NAMED).collect::<Vec<_>>().join(", ");
    if others == 0 {
        named
    } else {
        format!("{named} and {}", count(others as u64, "other", "others"))
    }
}
