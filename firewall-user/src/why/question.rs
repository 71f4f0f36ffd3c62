//! What is asked about: what stands behind `fwx why` and in its options.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;

use crate::{
    bad_input,
    conn::Row,
    event::Event,
    events::{Criteria, Selection},
    policy::Probe,
};

use super::tell;

/// What is asked about. All of it has to hold of an event.
#[derive(Clone, Debug)]
pub struct Question {
    asked: String,
    ends: Vec<End>,
    event_ids: Vec<u64>,
    selection: Selection,
    /// The same for connections that live; `None`: nothing that such a one could be asked.
    of_flows: Option<Selection>,
    criteria: Criteria,
}

/// One end of a connection, as somebody writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    network: IpNet,
    /// `None`: any.
    port: Option<u16>,
}

impl Question {
    /// What `words` and `criteria` ask at `now`, nanoseconds since 1970. Words are an end (`10.2.0.2`, `10.2.0.2:554`,
    /// `10.2.0.0/24`) or both ends in either order, before them maybe a protocol, between them maybe `->`. A number
    /// among `criteria.event` is the number of an event.
    ///
    /// # Errors
    ///
    /// What is none of that: bad input.
    pub fn new(words: &[String], mut criteria: Criteria, now: i128) -> Result<Self> {
        if !words.is_empty() && words.iter().all(|word| word.trim().is_empty()) {
            bad_input!(
                "what is asked about is empty: name an address, a prefix, or an end such as 10.2.0.2:554"
            );
        }
        let asked = asked(words, &criteria)?;
        let ends = ends(words, &mut criteria)?;
        let (numbers, kinds): (Vec<_>, Vec<_>) =
            criteria.event.into_iter().partition(|text| is_number(text));
        let event_ids = numbers.iter().map(|text| number(text)).collect::<Result<Vec<_>>>()?;
        criteria.event = kinds;
        let selection = criteria.selection(now)?;
        // What a connection that lives has no answer to is not asked of it.
        let of_flows = Criteria {
            since: None,
            until: None,
            event: Vec::new(),
            reason: Vec::new(),
            filter: Vec::new(),
            ..criteria.clone()
        };
        let asks_flows =
            event_ids.is_empty() && (!ends.is_empty() || of_flows != Criteria::default());
        let of_flows = asks_flows.then(|| of_flows.selection(now)).transpose()?;
        Ok(Self { asked, ends, event_ids, selection, of_flows, criteria })
    }

    /// How it was asked.
    pub fn asked(&self) -> &str {
        &self.asked
    }

    /// A superset of the connections that it is about, to be looked for in the tables: prefixes one of which an end
    /// is in (none: any), and a port. `None`: it is about none that live.
    pub fn of_flows(&self) -> Option<(Vec<String>, Option<u16>)> {
        self.of_flows.as_ref()?;
        let wanted = |values: &[String]| -> Vec<String> {
            values.iter().filter(|value| !value.starts_with('!')).cloned().collect()
        };
        let Criteria { network, src, dst, port, .. } = &self.criteria;
        // All criteria have to hold, so those of any one are enough.
        let networks = match self.ends.first() {
            Some(end) => vec![end.network.to_string()],
            None => {
                let lists = [src, dst, network].map(|values| wanted(values));
                lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
            }
        };
        let given = match wanted(port).as_slice() {
            [port] => port.parse().ok(),
            _ => None,
        };
        Some((networks, given.or_else(|| self.ends.iter().find_map(|end| end.port))))
    }

    /// The first packet of a flow that the question names in full. TCP, if it names a port and nothing else.
    pub(super) fn probe(&self) -> Option<Probe> {
        let Criteria { src, dst, port, protocol, interface, .. } = &self.criteria;
        let address = |values: &[String]| match values {
            [one] => End::parse(one),
            _ => None,
        };
        let (source, destination) = match self.ends[..] {
            [source, destination] => (source, destination),
            [destination] => (address(src)?, destination),
            _ => (address(src)?, address(dst)?),
        };
        let port = match port.as_slice() {
            [one] => one.parse().ok(),
            _ => destination.port,
        };
        let transport = match protocol.as_slice() {
            [one] => one.as_str(),
            _ => "tcp",
        };
        let on = interface.first().map_or_else(String::new, |name| format!(" on {name}"));
        let [source, destination] = [(source, source.port), (destination, port)]
            .map(|(end, port)| tell::end((end.network.addr(), port)));
        format!("{transport} {source} -> {destination}{on}").parse().ok()
    }

    /// Whether `event` itself is asked about. A packet of a reply is one of its connection, so it may be told by the
    /// connection's ends, too.
    pub(super) fn has(&self, event: &Event) -> bool {
        (self.event_ids.is_empty() || self.event_ids.contains(&event.event_id))
            && self.has_ends(event)
            && (self.selection.has(event)
                || may_be_reply(event) && self.selection.has(&reversed(event)))
    }

    /// Whether a connection that lives is asked about.
    pub(super) fn has_flow(&self, row: &Row) -> bool {
        let Some(selection) = &self.of_flows else { return false };
        let names = [Some(row.ends), row.translated];
        names.into_iter().flatten().any(|ends| {
            let event = Event {
                src_ip: Some(ends.src_ip),
                src_port: ends.src_port,
                dst_ip: Some(ends.dst_ip),
                dst_port: ends.dst_port,
                ..of_row(row)
            };
            self.has_ends(&event) && selection.has(&event)
        })
    }

    fn has_ends(&self, event: &Event) -> bool {
        let (Some(source), Some(destination)) = (event.src_ip, event.dst_ip) else {
            return self.ends.is_empty();
        };
        let source = (source, event.src_port);
        let destination = (destination, event.dst_port);
        match self.ends[..] {
            [] => true,
            [end] => end.is(source) || end.is(destination),
            [a, b, ..] => a.is(source) && b.is(destination) || b.is(source) && a.is(destination),
        }
    }
}

impl End {
    /// `None`: `text` names none.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(end) = text.parse::<std::net::SocketAddr>() {
            return Some(Self { network: end.ip().into(), port: Some(end.port()) });
        }
        let address = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let network = address.map(IpNet::from).or_else(|_| text.parse()).ok()?;
        Some(Self { network, port: None })
    }

    fn is(&self, (address, port): (IpAddr, Option<u16>)) -> bool {
        self.network.contains(&address) && (self.port.is_none() || self.port == port)
    }
}

/// Takes the ends out of `words`; a protocol before them becomes a criterion.
fn ends(words: &[String], criteria: &mut Criteria) -> Result<Vec<End>> {
    let text = words.join(" ");
    let mut words = text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty() && *word != "->")
        .peekable();
    if let Some(first) = words.peek().copied()
        && End::parse(first).is_none()
    {
        words.next();
        if words.peek().is_none() {
            if is_number(first) {
                bad_input!(
                    "{first}: say `--flow {first}` or `--event {first}`, whichever it is the number of"
                );
            }
            bad_input!("{first}: not an address, a prefix, or an end such as 10.2.0.2:554");
        }
        criteria.protocol.push(first.to_owned());
    }
    let mut ends = Vec::new();
    for word in words {
        match End::parse(word) {
            Some(end) => ends.push(end),
            None => bad_input!("{word}: not an address, a prefix, or an end such as 10.2.0.2:554"),
        }
    }
    if ends.len() > 2 {
        bad_input!("{text}: a connection has two ends, not {}", ends.len());
    }
    Ok(ends)
}

/// The question as it was typed, without what was left out.
fn asked(words: &[String], criteria: &Criteria) -> Result<String> {
    let mut asked: Vec<String> = words.to_vec();
    let options = serde_json::to_value(criteria)?;
    for (option, value) in options.as_object().into_iter().flatten() {
        let single = value.as_str().into_iter();
        let several = value.as_array().into_iter().flatten().filter_map(|value| value.as_str());
        asked.extend(single.chain(several).map(|value| format!("--{option} {value}")));
    }
    Ok(if asked.is_empty() { "everything".to_owned() } else { asked.join(" ") })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn number(text: &str) -> Result<u64> {
    let Ok(number) = text.parse() else {
        bad_input!("--event {text}: no event has such a number");
    };
    Ok(number)
}

/// Whether the packet may have gone to the end that began: it did, or nobody knows.
fn may_be_reply(event: &Event) -> bool {
    let begins = event.tcp.as_ref().is_some_and(|tcp| tcp.flags == "S");
    match event.direction.as_deref() {
        Some(direction) => direction == "reply",
        // Of a flow without a packet the ends stand as its first packet had them.
        None => event.flow_id.is_none() && !begins,
    }
}

fn reversed(event: &Event) -> Event {
    Event {
        src_ip: event.dst_ip,
        src_port: event.dst_port,
        dst_ip: event.src_ip,
        dst_port: event.src_port,
        ..event.clone()
    }
}

/// A connection that lives as an event about it would name it; its ends are the caller's.
fn of_row(row: &Row) -> Event {
    Event {
        flow_id: Some(row.flow_id),
        parent: row.parent,
        interface: row.interface.clone(),
        protocol: row.protocol.clone(),
        transport: Some(row.transport.clone()),
        rule: row.rule.clone(),
        message: None,
        ..Event::control(0, None, 0, firewall_common::reason::Reason::None, String::new())
    }
}
