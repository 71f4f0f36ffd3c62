//! Events in the form that people and their tools read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{
    event::{EXCERPT_MAX, EventKind, Record},
    filter::FilterId,
    flow::{Direction, Fault, Flow},
    policy::{Mode, Profile},
    reason::Reason,
    wire::{ip_protocol, tcp_flags},
};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    flows::Entry,
    instance::{Instance, State},
};

/// One event. In JSON a field that does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339 in UTC.
    pub timestamp: String,
    /// What happened: `packet_dropped`, `connection_killed`, ….
    pub event: String,
    /// Unique number.
    pub event_id: u64,
    /// The instance of fwx that reports it; in replay none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Name of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Number of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Number of the flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<u64>,
    /// Number of the flow that announced this one to a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u64>,
    /// Interface where the packet was caught.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// `original` or `reply`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Protocol by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `tcp`, `udp`, `icmp`, … or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_ip: Option<IpAddr>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_ip: Option<IpAddr>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// The TCP header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
    /// The filter that took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// The flow was taken over in its midst: it was there before the firewall, or the policy let it begin so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// Rule that let the flow in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Number of the kill that explains a drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<u64>,
    /// Events of this reason that were not sent since the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<u64>,
    /// What else there is to say, for control events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The lowest bits of an event's or a flow's number tell the CPU that gave it; what user space numbers has this
/// one, which no machine has.
pub(crate) const CONTROLLER_CPU: u64 = (1 << 10) - 1;

/// What stood in the TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Flags by their first letters; `E` and `C` are the ECN bits.
    pub flags: String,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window, unscaled.
    pub window: u16,
    /// Of a segment that was refused for its sequence numbers: the first and the last number that its end
    /// could have had; of a RST that it could have had itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<[u32; 2]>,
    /// Of a segment that was refused for what it acknowledges: the first and the last number that it could have
    /// acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_ack: Option<[u32; 2]>,
}

/// What a filter found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The filter's name.
    pub name: String,
    /// `enforce` or `monitor`.
    pub mode: String,
    /// `standard` or `strict`.
    pub profile: String,
    /// What it objects to.
    pub finding: String,
    /// Where in the stream of this direction.
    pub offset: u64,
    /// What stood there: printable characters, others escaped.
    pub excerpt: String,
}

/// The names behind the numbers of a record.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The instance.
    pub instance: Option<String>,
    /// Protocol n at n - 1, also those that are gone.
    pub protocols: Vec<String>,
    /// Rule n at n - 1, also those that are gone.
    pub rules: Vec<String>,
    /// Interface indices and names.
    pub interfaces: Vec<(u32, String)>,
}

/// A sample of the ring that is no record: shorter than one, or with a kind or reason that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The sample has too few bytes.
    #[error("a record of {found} bytes, of which {} are needed", size_of::<Record>())]
    Short {
        /// How many there are.
        found: usize,
    },
    /// The kind is none.
    #[error("an event of unknown kind {0}")]
    Kind(u8),
    /// The reason is none.
    #[error("an event with unknown reason {0}")]
    Reason(u8),
}

/// Takes the record out of a sample of the ring.
pub fn decode(sample: &[u8]) -> Result<Record, DecodeError> {
    let bytes =
        sample.get(..size_of::<Record>()).ok_or(DecodeError::Short { found: sample.len() })?;
    let record: Record = bytemuck::pod_read_unaligned(bytes);
    EventKind::from_raw(record.kind).ok_or(DecodeError::Kind(record.kind))?;
    Reason::from_index(record.reason).ok_or(DecodeError::Reason(record.reason))?;
    Ok(record)
}

impl Event {
    /// Tells a record in full. `epoch_ns` is the time of its timestamp's zero, nanoseconds since 1970.
    pub fn of(record: &Record, names: &Names, epoch_ns: i128) -> Result<Self, DecodeError> {
        let kind = EventKind::from_raw(record.kind).ok_or(DecodeError::Kind(record.kind))?;
        let reason = Reason::from_index(record.reason).ok_or(DecodeError::Reason(record.reason))?;
        let parsed = record.version != 0;
        let is_tcp = parsed && record.ip_protocol == ip_protocol::TCP;
        let has_ports = is_tcp || parsed && record.ip_protocol == ip_protocol::UDP;
        Ok(Self {
            timestamp: rfc3339(epoch_ns + i128::from(record.timestamp)),
            event: kind.name().to_owned(),
            event_id: record.id,
            instance: names.instance.clone(),
            reason: (reason != Reason::None).then(|| reason.name().to_owned()),
            code: (reason != Reason::None).then(|| format!("{:#010x}", reason.code())),
            flow_id: (record.flow_id != 0).then_some(record.flow_id),
            parent: (record.parent != 0).then_some(record.parent),
            interface: names.interface(record.interface),
            direction: (record.flow_id != 0).then(|| direction(record.direction).name().to_owned()),
            protocol: named(&names.protocols, record.protocol as usize),
            transport: parsed.then(|| transport(record.ip_protocol)),
            src_ip: parsed.then(|| address(record.version, record.source)),
            src_port: has_ports.then_some(record.source_port),
            dst_ip: parsed.then(|| address(record.version, record.destination)),
            dst_port: has_ports.then_some(record.destination_port),
            tcp: is_tcp.then(|| Tcp {
                flags: flag_letters(record.tcp_flags),
                seq: record.seq,
                ack: record.ack,
                window: record.window,
                expected: (record.fault == Fault::Sequence as u8).then_some(record.expected),
                expected_ack: (record.fault == Fault::Acknowledgment as u8)
                    .then_some(record.expected),
            }),
            filter: filter(record),
            adopted: record.flow_flags & u16::from(Flow::ADOPTED) != 0,
            rule: named(&names.rules, record.rule as usize),
            caused_by: (record.caused_by != 0).then_some(record.caused_by),
            suppressed: Some(record.suppressed),
            message: None,
        })
    }

    /// Something that the controller noticed itself, [`Reason::None`] if it has none of the reasons.
    pub fn control(
        event_id: u64,
        instance: Option<String>,
        timestamp_ns: i128,
        reason: Reason,
        message: String,
    ) -> Self {
        Self {
            timestamp: rfc3339(timestamp_ns),
            event_id,
            instance,
            message: Some(message),
            ..Self::bare("control", reason)
        }
    }

    /// Something that happened to a flow without a packet. It has no number and no time yet. Addresses are those
    /// of the flow's first packet.
    pub fn of_flow(kind: EventKind, reason: Reason, entry: &Entry, names: &Names) -> Self {
        let flow = &entry.flow;
        let [source, destination] = entry.endpoints();
        Self {
            instance: names.instance.clone(),
            flow_id: Some(flow.id),
            interface: names.interface(flow.interface),
            protocol: named(&names.protocols, usize::from(flow.protocol)),
            transport: Some(transport(flow.ip_protocol)),
            src_ip: Some(source.ip()),
            src_port: entry.has_ports().then_some(source.port()),
            dst_ip: Some(destination.ip()),
            dst_port: entry.has_ports().then_some(destination.port()),
            adopted: flow.flags & Flow::ADOPTED != 0,
            rule: named(&names.rules, flow.rule as usize),
            ..Self::bare(kind.name(), reason)
        }
    }

    fn bare(event: &str, reason: Reason) -> Self {
        Self {
            timestamp: String::new(),
            event: event.to_owned(),
            event_id: 0,
            instance: None,
            reason: (reason != Reason::None).then(|| reason.name().to_owned()),
            code: (reason != Reason::None).then(|| format!("{:#010x}", reason.code())),
            flow_id: None,
            parent: None,
            interface: None,
            direction: None,
            protocol: None,
            transport: None,
            src_ip: None,
            src_port: None,
            dst_ip: None,
            dst_port: None,
            tcp: None,
            filter: None,
            adopted: false,
            rule: None,
            caused_by: None,
            suppressed: None,
            message: None,
        }
    }

    /// The event as one line for people.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", self.timestamp, self.event);
        if let (Some(code), Some(reason)) = (&self.code, &self.reason) {
            line += &format!(" {code} {reason}");
        }
        let endpoint = |address: &Option<IpAddr>, port: &Option<u16>| match (address, port) {
            (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
            (Some(address), Some(port)) => format!("{address}:{port}"),
            (Some(address), None) => address.to_string(),
            (None, _) => "?".to_owned(),
        };
        if let Some(transport) = &self.transport {
            line += &format!(
                " {transport} {} -> {}",
                endpoint(&self.src_ip, &self.src_port),
                endpoint(&self.dst_ip, &self.dst_port)
            );
        }
        if let Some(tcp) = &self.tcp {
            line += &format!(" [{}]", tcp.flags);
            if let Some([low, high]) = tcp.expected {
                line += &format!(" seq {} expected {low} to {high}", tcp.seq);
            }
            if let Some([low, high]) = tcp.expected_ack {
                line += &format!(" ack {} expected {low} to {high}", tcp.ack);
            }
        }
        if let Some(interface) = &self.interface {
            line += &format!(" on {interface}");
        }
        if let Some(filter) = &self.filter {
            line += &format!(
                " filter {} {} ({}): {} at byte {}: {:?}",
                filter.name,
                filter.mode,
                filter.profile,
                filter.finding,
                filter.offset,
                filter.excerpt
            );
        }
        if let Some(parent) = self.parent {
            line += &format!(" announced by flow {parent}");
        }
        if let Some(rule) = &self.rule {
            line += &format!(" rule {rule:?}");
        }
        if let Some(cause) = self.caused_by {
            line += &format!(" because of event {cause}");
        }
        if let Some(count @ 1..) = self.suppressed {
            line += &format!(" ({count} more before it)");
        }
        if let Some(message) = &self.message {
            line += &format!(" {message}");
        }
        line
    }
}

impl Names {
    /// The names of an instance that is up.
    pub fn of(instance: &Instance, state: &State) -> Self {
        Self {
            instance: Some(instance.name().to_owned()),
            protocols: state.protocols.iter().map(|protocol| protocol.name.clone()).collect(),
            rules: state.rules.clone(),
            interfaces: state
                .interfaces
                .iter()
                .map(|interface| (interface.index, interface.name.clone()))
                .collect(),
        }
    }

    /// The name of interface `index`, `#N` if there is none; `None` for 0.
    pub fn interface(&self, index: u32) -> Option<String> {
        if index == 0 {
            return None;
        }
        let known = self.interfaces.iter().find(|(known, _)| *known == index);
        Some(known.map_or_else(|| format!("#{index}"), |(_, name)| name.clone()))
    }
}

/// What `number`, counted from 1, is called in `list`; `None` if it has no name.
pub fn named(list: &[String], number: usize) -> Option<String> {
    let name = number.checked_sub(1).and_then(|index| list.get(index));
    name.filter(|name| !name.is_empty()).cloned()
}

/// RFC 3339 with nanoseconds, in UTC. A time that no calendar holds, which only a capture can claim, is
/// told as the number it is.
pub fn rfc3339(epoch_ns: i128) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(epoch_ns)
        .ok()
        .and_then(|time| {
            let text = time.format(&Rfc3339).ok()?;
            // Rfc3339 leaves trailing zeros out; columns like it better with all nine digits.
            let (seconds, fraction) = text
                .trim_end_matches('Z')
                .split_once('.')
                .unwrap_or((text.trim_end_matches('Z'), ""));
            Some(format!("{seconds}.{fraction:0<9}Z"))
        })
        .unwrap_or_else(|| format!("@{epoch_ns}"))
}

fn filter(record: &Record) -> Option<Filter> {
    let id = FilterId::from_raw(record.filter)?;
    let finding = id.findings().iter().find(|known| known.code == record.finding)?;
    let len = usize::from(record.excerpt_len).min(EXCERPT_MAX);
    Some(Filter {
        name: id.name().to_owned(),
        mode: Mode::from_raw(record.mode).name().to_owned(),
        profile: Profile::from_raw(record.profile).name().to_owned(),
        finding: finding.name.to_owned(),
        offset: record.offset,
        excerpt: record.excerpt[..len].escape_ascii().to_string(),
    })
}

/// The direction that `raw` stands for.
pub fn direction(raw: u8) -> Direction {
    if raw == Direction::Reply as u8 { Direction::Reply } else { Direction::Original }
}

/// What an IP protocol is called: `tcp`, `udp`, `icmp`, `icmpv6`, or its number.
pub fn transport(protocol: u8) -> String {
    match protocol {
        ip_protocol::TCP => "tcp".to_owned(),
        ip_protocol::UDP => "udp".to_owned(),
        ip_protocol::ICMP => "icmp".to_owned(),
        ip_protocol::ICMPV6 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}

/// The address that a packet's `words` are.
pub(crate) fn address(version: u8, words: [u32; 4]) -> IpAddr {
    let [first, ..] = words;
    if version == 4 {
        IpAddr::V4(Ipv4Addr::from(first.to_ne_bytes()))
    } else {
        IpAddr::V6(Ipv6Addr::from(bytemuck::cast::<_, [u8; 16]>(words)))
    }
}

fn flag_letters(flags: u8) -> String {
    use tcp_flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};
    [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, 'A'), (URG, 'U'), (ECE, 'E'), (CWR, 'C')]
        .into_iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;
    use proptest::prelude::*;

    fn story() -> Record {
        let mut record = Record::zeroed();
        record.timestamp = 1_000;
        record.id = 42;
        record.kind = EventKind::ConnectionKilled as u8;
        record.reason = Reason::ConnectionKilled as u8;
        record.flow_id = 7;
        record.version = 4;
        record.ip_protocol = ip_protocol::TCP;
        record.source[0] = u32::from_ne_bytes([10, 1, 0, 2]);
        record.destination[0] = u32::from_ne_bytes([10, 2, 0, 2]);
        record.source_port = 58907;
        record.destination_port = 554;
        record.tcp_flags = tcp_flags::PSH | tcp_flags::ACK;
        record.filter = FilterId::Rtsp as u8;
        record.mode = Mode::Enforce as u8;
        record.profile = Profile::Strict as u8;
        record.excerpt[..4].copy_from_slice(b"A\x1b[2");
        record.excerpt_len = 4;
        record
    }

    #[test]
    fn a_kill_reads_as_documented() {
        let event = Event::of(&story(), &Names::default(), 0).unwrap();
        assert_eq!(event.code.as_deref(), Some("0x80074e24"));
        assert_eq!(event.reason.as_deref(), Some("FWX_E_CONNECTION_KILLED"));
        assert_eq!(event.timestamp, "1970-01-01T00:00:00.000001000Z");
        assert_eq!(event.tcp.unwrap().flags, "PA");
        let filter = event.filter.unwrap();
        assert_eq!(filter.finding, "missing-cseq");
        assert_eq!(filter.excerpt, "A\\x1b[2", "no control character reaches a terminal");
        assert_eq!(event.src_ip.unwrap().to_string(), "10.1.0.2");
        assert_eq!(event.caused_by, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(record) = decode(&bytes) {
                let event = Event::of(&record, &Names::default(), 0).unwrap();
                prop_assert!(!event.line().chars().any(char::is_control));
                prop_assert!(!serde_json::to_string(&event).unwrap().contains('\n'));
            }
        }
    }
}
