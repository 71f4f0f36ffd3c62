//! The kernel's records, told in full.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{
    event::{EXCERPT_MAX, EventKind, Record},
    filter::FilterId,
    flow::{Direction, Fault, Flow},
    policy::{Mode, Profile},
    reason::Reason,
    wire::{ip_protocol, tcp_flags},
};

use super::{Event, Filter, Names, Tcp, named, rfc3339};

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
            totals: None,
            community_id: None,
            packet: None,
            message: None,
        })
    }
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
                prop_assert!(!serde_json::to_string(&event).unwrap().contains('\n'));
            }
        }
    }
}
