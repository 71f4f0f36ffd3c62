//! Events in the form that people and their tools read.

mod community_id;
mod names;
mod record;
mod text;

use std::net::IpAddr;

use firewall_common::{
    event::EventKind,
    flow::{Direction, Flow},
    reason::Reason,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::record::address;
pub use self::{
    names::{Names, named},
    record::{Caught, DecodeError, decode, direction, transport},
    text::{epoch_ns, rfc3339},
};
use crate::{flows::Entry, ring::monotonic_epoch_ns};

/// RFC 3339 with nine digits; in replay a time that no calendar holds is the number of nanoseconds since 1970.
const TIMESTAMP: &str =
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z|@-?[0-9]+)$";

/// What there is for [`Event::event`].
fn kinds() -> Vec<&'static str> {
    EventKind::ALL.iter().map(|kind| kind.name()).chain([CONTROL]).collect()
}

/// What the controller says itself is an event of this kind.
pub const CONTROL: &str = "control";

/// The kind of this name. `None`: [`CONTROL`], or one that this version does not know.
pub fn kind(name: &str) -> Option<EventKind> {
    EventKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// An address, with its port if there is one.
pub type End = (Option<IpAddr>, Option<u16>);

/// One event. In JSON a field that does not apply is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, RFC 3339 in UTC.
    #[schemars(regex(pattern = TIMESTAMP))]
    pub timestamp: String,
    /// What happened: `packet_dropped`, `connection_killed`, ….
    #[schemars(extend("enum" = kinds()))]
    pub event: String,
    /// Unique number.
    pub event_id: u64,
    /// The instance of fwx that reports it; in replay none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Name of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^FWX_E_[A-Z0-9_]+$"))]
    pub reason: Option<String>,
    /// Number of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^0x[0-9a-f]{8}$"))]
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
    #[schemars(extend("enum" = ["original", "reply"]))]
    pub direction: Option<String>,
    /// Protocol by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// `tcp`, `udp`, `icmp`, … or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(tcp|udp|icmp|icmpv6|[0-9]{1,3})$"))]
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
    /// What passed in all, of a flow that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// The packet's two ends and its protocol as one text that other tools make the same of: Community ID 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^1:[A-Za-z0-9+/]{27}=$"))]
    pub community_id: Option<String>,
    /// The packet itself, where it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<Captured>,
    /// What else there is to say, for control events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What stood in the TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tcp {
    /// Flags by their first letters; `E` and `C` are the ECN bits.
    #[schemars(regex(pattern = "^S?F?R?P?A?U?E?C?$"))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(regex(pattern = "^[ -~]*$"))]
    pub excerpt: String,
}

/// What a flow came to, from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// When it began, RFC 3339 in UTC.
    #[schemars(regex(pattern = TIMESTAMP))]
    pub started: String,
    /// Packets that passed: in the original direction, in that of the reply.
    pub packets: [u64; 2],
    /// Bytes of their IP packets, likewise.
    pub bytes: [u64; 2],
}

/// The beginning of a packet, as it was caught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Captured {
    /// What it begins with.
    pub link: Link,
    /// Bytes that it had on the wire, those of `bytes` among them.
    pub length: u32,
    /// Its first bytes.
    #[serde(with = "base64_text")]
    #[schemars(with = "String", extend("contentEncoding" = "base64"))]
    pub bytes: Vec<u8>,
}

/// What a packet begins with on the link where it was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// A header of Ethernet.
    Ethernet,
    /// The IP header.
    Ip,
}

/// Bytes as text (RFC 4648, section 4).
mod base64_text {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Event {
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
            ..Self::bare(CONTROL, reason)
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
            community_id: community_id::of_flow(flow.ip_protocol, [source, destination]),
            totals: Some(Totals {
                started: rfc3339(monotonic_epoch_ns() + i128::from(flow.created)),
                packets: flow.tallies.map(|tally| tally.packets),
                bytes: flow.tallies.map(|tally| tally.bytes),
            }),
            ..Self::bare(kind.name(), reason)
        }
    }

    /// What happened. `None`: the controller says something itself, or this version does not know it.
    pub fn kind(&self) -> Option<EventKind> {
        kind(&self.event)
    }

    /// The result code. `None`: it has none, or one that this version does not know.
    pub fn reason(&self) -> Option<Reason> {
        let name = self.reason.as_deref()?;
        Reason::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// Whether the controller says it itself.
    pub fn is_control(&self) -> bool {
        self.event == CONTROL
    }

    /// The end that began what the packet is of, and the other, as far as that is known: the one that sent it may be
    /// either. Who answers a SYN did not begin, also where no flow is known.
    pub fn client_and_server(&self) -> [End; 2] {
        let source = (self.src_ip, self.src_port);
        let destination = (self.dst_ip, self.dst_port);
        let answers = || {
            self.tcp
                .as_ref()
                .is_some_and(|tcp| tcp.flags.starts_with('S') && tcp.flags.contains('A'))
        };
        let is_reply = match self.direction.as_deref() {
            Some(direction) => direction == Direction::Reply.name(),
            None => self.flow_id.is_none() && answers(),
        };
        if is_reply { [destination, source] } else { [source, destination] }
    }

    pub(crate) fn bare(event: &str, reason: Reason) -> Self {
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
            totals: None,
            community_id: None,
            packet: None,
            message: None,
        }
    }
}
