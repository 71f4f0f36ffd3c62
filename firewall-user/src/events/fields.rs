//! Fields of events by choice, separated by tabs.

use anyhow::Result;
use serde_json::Value;

use super::{
    printable,
    words::{NOTHING, endpoint},
};
use crate::{bad_input, event::Event};

/// What can be chosen besides the fields of the JSON: what those who read lines want as one.
const TOGETHER: [&str; 3] = ["time", "src", "dst"];

/// The fields of the JSON, those within another behind its name and a dot.
const FIELDS: [&str; 40] = [
    "timestamp",
    "event",
    "event_id",
    "instance",
    "reason",
    "code",
    "flow_id",
    "parent",
    "interface",
    "direction",
    "protocol",
    "transport",
    "src_ip",
    "src_port",
    "dst_ip",
    "dst_port",
    "tcp.flags",
    "tcp.seq",
    "tcp.ack",
    "tcp.window",
    "tcp.expected",
    "tcp.expected_ack",
    "filter.name",
    "filter.mode",
    "filter.profile",
    "filter.finding",
    "filter.offset",
    "filter.excerpt",
    "adopted",
    "rule",
    "caused_by",
    "suppressed",
    "totals.started",
    "totals.packets",
    "totals.bytes",
    "community_id",
    "packet.link",
    "packet.length",
    "packet.bytes",
    "message",
];

/// Which fields of an event are wanted, in this order.
#[derive(Clone, Debug)]
pub struct Fields {
    wanted: Vec<&'static str>,
}

impl Fields {
    /// The fields of a list with commas in between.
    ///
    /// # Errors
    ///
    /// One that events do not have: bad input.
    pub fn parse(list: &str) -> Result<Self> {
        let wanted = list.split(',').map(|name| field(name.trim())).collect::<Result<_>>()?;
        Ok(Self { wanted })
    }

    /// Whether one of them is about the packet behind an event, which comes only if asked for.
    pub fn need_packets(&self) -> bool {
        self.wanted.iter().any(|name| name.starts_with("packet."))
    }

    /// Their names.
    pub fn header(&self) -> String {
        self.wanted.join("\t")
    }

    /// What they hold in `event`, without the newline; `-` where it has no such field. Lists have commas in between.
    pub fn line(&self, event: &Event) -> Result<String> {
        let json = serde_json::to_value(event)?;
        let values = self.wanted.iter().map(|name| {
            let value = match *name {
                "time" => event.timestamp.clone(),
                "src" => endpoint(event.src_ip, event.src_port),
                "dst" => endpoint(event.dst_ip, event.dst_port),
                name => text(name.split('.').try_fold(&json, |within, name| within.get(name))),
            };
            printable(&value).into_owned()
        });
        Ok(values.collect::<Vec<_>>().join("\t"))
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => NOTHING.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            list.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

fn field(name: &str) -> Result<&'static str> {
    let known = || TOGETHER.into_iter().chain(FIELDS);
    if let Some(known) = known().find(|known| *known == name) {
        return Ok(known);
    }
    let list = known().collect::<Vec<_>>().join(", ");
    let within: Vec<_> = known().filter(|known| known.split('.').any(|it| it == name)).collect();
    if !within.is_empty() {
        bad_input!("--fields {name}: events have {} instead", within.join(", "));
    }
    let nearest = known().min_by_key(|known| strsim::osa_distance(name, known));
    match nearest.filter(|known| strsim::osa_distance(name, known) <= 3) {
        Some(nearest) => bad_input!(
            "--fields {name}: events have no such field; did you mean {nearest}? There are {list}"
        ),
        None => bad_input!("--fields {name}: events have no such field; there are {list}"),
    }
}
