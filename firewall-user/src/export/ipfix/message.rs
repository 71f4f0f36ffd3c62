//! Messages: a header, the templates now and then, and as many records as there is room for (RFC 7011, section 3).

use std::time::Duration;

use tokio::time::Instant;

use super::{
    flow::Flow,
    template::{Template, record, template_set},
};
use crate::export::Transport;

/// The protocol's version.
const VERSION: u16 = 10;
const HEADER_LENGTH: usize = 16;
const SET_HEADER_LENGTH: usize = 4;
/// Most bytes of a message, so that a datagram goes by Ethernet in one piece, whatever it is wrapped in. A record of the
/// longest kind and the templates take a third of it.
pub(super) const MESSAGE_MAX: usize = 1_400;
/// How often a collector that is sent datagrams is told the templates again, for it may have missed or forgotten them.
const TEMPLATES_PERIOD: Duration = Duration::from_secs(60);

/// What one connection has been sent: RFC 7011 calls it a transport session.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    domain: u32,
    /// Records so far, modulo 2^32.
    sequence: u32,
    templates_due: Option<Instant>,
}

/// A message, and what it holds.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    /// Of how many of the flows it has the records.
    pub(super) records: usize,
    has_templates: bool,
}

impl Session {
    /// One that begins, so that templates come first.
    pub(super) fn new(transport: Transport, domain: u32) -> Self {
        Self { transport, domain, sequence: 0, templates_due: Some(Instant::now()) }
    }

    /// The next message: the first of `flows`, at least one if there is one. `seconds`: now, since 1970.
    pub(super) fn message(&self, flows: &[Flow], seconds: u32) -> Message {
        let has_templates = self.templates_due.is_some_and(|due| due <= Instant::now());
        let mut bytes = Vec::with_capacity(MESSAGE_MAX);
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend([0; 2]);
        for word in [seconds, self.sequence, self.domain] {
            bytes.extend(word.to_be_bytes());
        }
        debug_assert_eq!(bytes.len(), HEADER_LENGTH);
        if has_templates {
            bytes.extend(template_set());
        }
        let records = add_records(&mut bytes, flows);
        set_length(&mut bytes, 0);
        Message { bytes, records, has_templates }
    }

    /// `message` was sent.
    pub(super) fn sent(&mut self, message: &Message) {
        self.sequence = self.sequence.wrapping_add(message.records as u32);
        if message.has_templates {
            // A connection forgets nothing (RFC 7011, section 8.4).
            let repeats = self.transport == Transport::Udp;
            self.templates_due = repeats.then(|| Instant::now() + TEMPLATES_PERIOD);
        }
    }
}

/// Adds the records of as many flows as there is room for, and returns of how many. Those that follow each other and
/// have the same template are in one set.
fn add_records(bytes: &mut Vec<u8>, flows: &[Flow]) -> usize {
    let mut set: Option<(Template, usize)> = None;
    for (index, flow) in flows.iter().enumerate() {
        let (template, record) = (Template::of(flow), record(flow));
        let open = set.filter(|(open, _)| *open == template);
        let header = if open.is_some() { 0 } else { SET_HEADER_LENGTH };
        if bytes.len() + header + record.len() > MESSAGE_MAX {
            return index;
        }
        let start = open.map_or(bytes.len(), |(_, start)| start);
        if open.is_none() {
            bytes.extend(template.number().to_be_bytes());
            bytes.extend([0; 2]);
            set = Some((template, start));
        }
        bytes.extend(record);
        set_length(bytes, start);
    }
    flows.len()
}

/// Writes down how long what begins at `start` is by now: a message or a set, whose second two bytes tell.
fn set_length(bytes: &mut [u8], start: usize) {
    // Nothing is longer than a message.
    let length = (bytes.len() - start) as u16;
    bytes[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
}
