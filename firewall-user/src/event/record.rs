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

use super::{Captured, Event, Filter, Link, Names, Tcp, Totals, community_id, named, rfc3339};

/// A record with the beginning of the packet that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    /// The record.
    pub record: Record,
    /// [`Record::captured`] bytes; none if it is about no packet.
    pub bytes: Box<[u8]>,
}

/// A sample of the ring that is no record: shorter than it has to be, or with a field that says what there is not.
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
    /// The address family is none.
    #[error("an event of a packet of IP version {0}")]
    Version(u8),
    /// The kind of link is none.
    #[error("an event of a packet that begins with a header of unknown kind {0}")]
    Link(u8),
    /// The packet's beginning is not all there, or more than the packet.
    #[error("{captured} bytes of a packet of {length}, of which {found} are there")]
    Packet {
        /// How many the record promises.
        captured: u16,
        /// How many the packet has.
        length: u32,
        /// How many there are.
        found: usize,
    },
}

/// Takes the record out of a sample of the ring, which the kernel has padded.
pub fn decode(sample: &[u8]) -> Result<Caught, DecodeError> {
    let (bytes, packet) = sample
        .split_at_checked(size_of::<Record>())
        .ok_or(DecodeError::Short { found: sample.len() })?;
    let record: Record = bytemuck::pod_read_unaligned(bytes);
    EventKind::from_raw(record.kind).ok_or(DecodeError::Kind(record.kind))?;
    Reason::from_index(record.reason).ok_or(DecodeError::Reason(record.reason))?;
    if !matches!(record.version, 0 | 4 | 6) {
        return Err(DecodeError::Version(record.version));
    }
    link(&record)?;
    let Record { captured, length, .. } = record;
    match packet.get(..captured.into()) {
        Some(bytes) if u32::from(captured) <= length => Ok(Caught { record, bytes: bytes.into() }),
        _ => Err(DecodeError::Packet { captured, length, found: packet.len() }),
    }
}

fn link(record: &Record) -> Result<Link, DecodeError> {
    match record.link {
        Record::ETHERNET => Ok(Link::Ethernet),
        Record::IP => Ok(Link::Ip),
        other => Err(DecodeError::Link(other)),
    }
}

impl Event {
    /// Tells a record in full. `epoch_ns` is the time of its timestamp's zero, nanoseconds since 1970.
    pub fn of(caught: &Caught, names: &Names, epoch_ns: i128) -> Result<Self, DecodeError> {
        let record = &caught.record;
        let kind = EventKind::from_raw(record.kind).ok_or(DecodeError::Kind(record.kind))?;
        let reason = Reason::from_index(record.reason).ok_or(DecodeError::Reason(record.reason))?;
        let parsed = record.version != 0;
        let about_packet = record.length != 0;
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
            direction: (about_packet && record.flow_id != 0)
                .then(|| direction(record.direction).name().to_owned()),
            protocol: named(&names.protocols, record.protocol as usize),
            transport: parsed.then(|| transport(record.ip_protocol)),
            src_ip: parsed.then(|| address(record.version, record.source)),
            src_port: has_ports.then_some(record.source_port),
            dst_ip: parsed.then(|| address(record.version, record.destination)),
            dst_port: has_ports.then_some(record.destination_port),
            tcp: (about_packet && is_tcp).then(|| Tcp {
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
            suppressed: about_packet.then_some(record.suppressed),
            totals: totals(record, epoch_ns),
            community_id: community_id::of_record(record),
            packet: about_packet.then_some(Captured {
                link: link(record)?,
                length: record.length,
                bytes: caught.bytes.to_vec(),
            }),
            message: None,
        })
    }
}

fn totals(record: &Record, epoch_ns: i128) -> Option<Totals> {
    let Record { started, packets, bytes, .. } = *record;
    (started != 0).then(|| Totals {
        started: rfc3339(epoch_ns + i128::from(started)),
        packets,
        bytes,
    })
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
        record.started = 500;
        record.packets = [7, 5];
        record.bytes = [700, 500];
        record.length = 1_400;
        record.captured = 3;
        record
    }

    fn told(record: Record) -> Event {
        let caught = Caught { record, bytes: Box::new([1, 2, 3]) };
        Event::of(&caught, &Names::default(), 0).unwrap()
    }

    #[test]
    fn a_kill_reads_as_documented() {
        let event = told(story());
        assert_eq!(event.code.as_deref(), Some("0x80074e24"));
        assert_eq!(event.reason.as_deref(), Some("FWX_E_CONNECTION_KILLED"));
        assert_eq!(event.timestamp, "1970-01-01T00:00:00.000001000Z");
        assert_eq!(event.tcp.unwrap().flags, "PA");
        let filter = event.filter.unwrap();
        assert_eq!(filter.finding, "missing-cseq");
        assert_eq!(filter.excerpt, "A\\x1b[2", "no control character reaches a terminal");
        assert_eq!(event.src_ip.unwrap().to_string(), "10.1.0.2");
        assert_eq!(event.caused_by, None);
        let totals = event.totals.unwrap();
        assert_eq!(totals.started, "1970-01-01T00:00:00.000000500Z");
        assert_eq!((totals.packets, totals.bytes), ([7, 5], [700, 500]));
        let packet = event.packet.unwrap();
        assert_eq!(
            (packet.link, packet.length, packet.bytes),
            (Link::Ethernet, 1_400, vec![1, 2, 3])
        );
    }

    #[test]
    fn what_is_about_no_packet_says_nothing_of_one() {
        let record = Record { length: 0, captured: 0, filter: 0, ..story() };
        let event = told(record);
        assert_eq!((event.direction, event.tcp, event.packet), (None, None, None));
        assert_eq!((event.suppressed, event.filter), (None, None));
        assert_eq!((event.src_port, event.dst_port), (Some(58907), Some(554)));
        assert!(event.totals.is_some());
        assert_eq!(told(Record { started: 0, ..story() }).totals, None, "it ends no flow");
    }

    #[test]
    fn a_sample_holds_what_its_record_promises() {
        let sample = |record: Record, behind: usize| {
            let mut sample = bytemuck::bytes_of(&record).to_vec();
            sample.resize(sample.len() + behind, 9);
            decode(&sample)
        };
        // The kernel pads to eight bytes.
        assert_eq!(sample(story(), 8).unwrap().bytes.len(), 3);
        let error = sample(story(), 2).unwrap_err();
        assert_eq!(error, DecodeError::Packet { captured: 3, length: 1_400, found: 2 });
        let error = sample(Record { length: 2, ..story() }, 8).unwrap_err();
        assert_eq!(error, DecodeError::Packet { captured: 3, length: 2, found: 8 });
        let wrong = |change: fn(&mut Record)| {
            let mut record = story();
            change(&mut record);
            sample(record, 8).unwrap_err()
        };
        assert_eq!(wrong(|record| record.kind = 9), DecodeError::Kind(9));
        assert_eq!(wrong(|record| record.reason = 255), DecodeError::Reason(255));
        assert_eq!(wrong(|record| record.version = 5), DecodeError::Version(5));
        assert_eq!(wrong(|record| record.link = 2), DecodeError::Link(2));
        assert_eq!(decode(&[0; 17]), Err(DecodeError::Short { found: 17 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400),
            fits in any::<bool>(),
        ) {
            // Of random bytes next to nothing is a record.
            if fits && bytes.len() >= size_of::<Record>() {
                let (head, packet) = bytes.split_at_mut(size_of::<Record>());
                let mut record: Record = bytemuck::pod_read_unaligned(head);
                record.kind = record.kind % 5 + 1;
                record.reason %= Reason::COUNT as u8;
                record.version = [0, 4, 6][usize::from(record.version % 3)];
                record.link %= 2;
                record.captured %= packet.len() as u16 + 1;
                record.length |= 0xffff;
                head.copy_from_slice(bytemuck::bytes_of(&record));
                prop_assert!(decode(&bytes).is_ok());
            }
            if let Ok(caught) = decode(&bytes) {
                let event = Event::of(&caught, &Names::default(), 0).unwrap();
                prop_assert!(!crate::events::sentence(&event).chars().any(char::is_control));
                prop_assert!(!serde_json::to_string(&event).unwrap().contains('\n'));
            }
        }
    }
}
