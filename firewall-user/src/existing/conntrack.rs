//! What the kernel's connection tracking knows: IPCTNL_MSG_CT_GET of nfnetlink.
//!
//! Sources: include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h and nf_conntrack_tcp.h
//! for numbers, `ctnetlink_dump_info` in net/netfilter/nf_conntrack_netlink.c for what is there when, and
//! nf_conntrack_proto_tcp.c for what it means. The attributes are read here and not by
//! netlink-packet-netfilter (0.4), which knows neither ICMP identifiers nor zones, and makes some twenty
//! allocations of an entry: there may be a million.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use firewall_common::wire::ip_protocol::{ICMP, ICMPV6, TCP};
use netlink_packet_core::{
    DecodeError, NlaBuffer, NlasIterator, parse_ip, parse_u8, parse_u16_be, parse_u32_be,
};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{ListError, Request, list};

use super::{Existing, Origin, Progress, Tuple, valid_scale};

/// NFNL_SUBSYS_CTNETLINK in the upper byte, IPCTNL_MSG_CT_GET and _NEW in the lower.
const GET: u16 = 0x0101;
const NEW: u16 = 0x0100;

/// `struct nfgenmsg`: AF_UNSPEC, which lists both families, NFNETLINK_V0, no resource.
const ANY_FAMILY: [u8; GENERAL_BYTES] = [0; GENERAL_BYTES];
const GENERAL_BYTES: usize = 4;

/// Attributes of an entry: `enum ctattr_type`.
mod entry {
    pub(super) const TUPLE_ORIG: u16 = 1;
    pub(super) const TUPLE_REPLY: u16 = 2;
    pub(super) const STATUS: u16 = 3;
    pub(super) const PROTOINFO: u16 = 4;
    pub(super) const TIMEOUT: u16 = 7;
    pub(super) const ZONE: u16 = 18;
}

/// Attributes of a tuple: `enum ctattr_tuple`, and those of its parts: `ctattr_ip`, `ctattr_l4proto`.
mod tuple {
    pub(super) const IP: u16 = 1;
    pub(super) const PROTO: u16 = 2;
    pub(super) const ZONE: u16 = 3;

    pub(super) const V4_SRC: u16 = 1;
    pub(super) const V4_DST: u16 = 2;
    pub(super) const V6_SRC: u16 = 3;
    pub(super) const V6_DST: u16 = 4;

    pub(super) const NUM: u16 = 1;
    pub(super) const SRC_PORT: u16 = 2;
    pub(super) const DST_PORT: u16 = 3;
    pub(super) const ICMP_ID: u16 = 4;
    pub(super) const ICMP_TYPE: u16 = 5;
    pub(super) const ICMPV6_ID: u16 = 7;
    pub(super) const ICMPV6_TYPE: u16 = 8;
}

/// `enum ctattr_protoinfo` and `enum ctattr_protoinfo_tcp`.
mod protoinfo {
    pub(super) const TCP: u16 = 1;

    pub(super) const STATE: u16 = 1;
    pub(super) const WSCALE_ORIGINAL: u16 = 2;
    pub(super) const WSCALE_REPLY: u16 = 3;
    pub(super) const FLAGS_ORIGINAL: u16 = 4;
    pub(super) const FLAGS_REPLY: u16 = 5;
}

/// `enum ip_conntrack_status`.
mod status {
    pub(super) const SEEN_REPLY: u32 = 1 << 1;
    pub(super) const DYING: u32 = 1 << 9;
    pub(super) const OFFLOAD: u32 = 1 << 14;
}

/// IP_CT_TCP_FLAG_…
mod tcp_flags {
    pub(super) const WINDOW_SCALE: u8 = 0x01;
    pub(super) const BE_LIBERAL: u8 = 0x08;
}

/// Types of ICMP and ICMPv6 echo requests and replies.
const ICMP_ECHO: [u8; 2] = [8, 0];
const ICMPV6_ECHO: [u8; 2] = [128, 129];

/// IP protocols whose packets begin with a source and a destination port: TCP, UDP, DCCP, SCTP, UDP-Lite.
/// Conntrack puts the keys of a GRE tunnel into the same attributes.
const WITH_PORTS: [u8; 5] = [TCP, 17, 33, 132, 136];

/// All entries of zone 0.
pub(super) fn read(notes: &mut Vec<String>) -> Result<Vec<Existing>> {
    let request = Request {
        protocol: NETLINK_NETFILTER,
        question: GET,
        answer: NEW,
        body: ANY_FAMILY.to_vec(),
    };
    let listed = match list(&request, Tracked::take) {
        Ok(listed) => listed,
        Err(ListError::Unavailable(error)) => {
            notes.push(format!(
                "this kernel tracks no connections ({error}): those that only pass through are not known"
            ));
            return Ok(Vec::new());
        }
        Err(error @ ListError::Failed(_)) => {
            return Err(error).context(
                "cannot list the connections that the kernel tracks: this needs CAP_NET_ADMIN",
            );
        }
    };
    let Tracked { connections, other_zones } = listed.collected;
    if listed.not_understood > 0 {
        notes.push(format!(
            "connections that the kernel tracks but that could not be understood and are left out: {}",
            listed.not_understood
        ));
    }
    if other_zones > 0 {
        notes.push(format!(
            "connections left out because they belong to conntrack zones other than 0: {other_zones}"
        ));
    }
    if listed.inconsistent {
        notes.push(
            "the kernel's connection tracking changed each time it was read: connections may be missing"
                .to_owned(),
        );
    }
    if connections.is_empty() && other_zones == 0 && listed.not_understood == 0 {
        notes.push(
            "the kernel tracks no connection now; if no rule of nftables or iptables makes it do so, those \
             that only pass through are not known"
                .to_owned(),
        );
    }
    Ok(connections)
}

#[derive(Debug, Default)]
struct Tracked {
    connections: Vec<Existing>,
    other_zones: usize,
}

impl Tracked {
    fn take(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        match parse(message)? {
            Entry::Connection(connection) => self.connections.push(connection),
            Entry::OtherZone => self.other_zones += 1,
            Entry::Irrelevant => {}
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Connection(Existing),
    /// It belongs to another zone than 0: its addresses may be those of somebody else here.
    OtherZone,
    /// It is being removed, or never leaves the loopback interface.
    Irrelevant,
}

/// Reads an entry: what follows the netlink header.
fn parse(message: &[u8]) -> Result<Entry, DecodeError> {
    let attributes =
        message.get(GENERAL_BYTES..).ok_or("the entry is shorter than its general header")?;
    let (mut original, mut reply) = (None, None);
    let (mut status, mut protoinfo, mut expires_in_s, mut zone) = (None, None, None, 0);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            entry::TUPLE_ORIG => original = Some(Half::parse(value)?),
            entry::TUPLE_REPLY => reply = Some(Half::parse(value)?),
            entry::STATUS => status = Some(parse_u32_be(value)?),
            entry::PROTOINFO => protoinfo = TcpInfo::parse(value)?,
            entry::TIMEOUT => expires_in_s = Some(parse_u32_be(value)?),
            entry::ZONE => zone = parse_u16_be(value)?,
            _ => {}
        }
    }
    let original = original.ok_or("the entry has no original tuple")?;
    let reply = reply.ok_or("the entry has no reply tuple")?;
    let status = status.ok_or("the entry has no status")?;
    if [zone, original.zone, reply.zone] != [0; 3] {
        return Ok(Entry::OtherZone);
    }
    let (original, protocol) = original.whole()?;
    let (reply, reply_protocol) = reply.whole()?;
    let version = original.version().ok_or("the original tuple mixes IPv4 and IPv6")?;
    if reply.version() != Some(version) || protocol != reply_protocol {
        return Err("the tuples are of different protocols".into());
    }
    if status & status::DYING != 0 || original.is_loopback() && reply.is_loopback() {
        return Ok(Entry::Irrelevant);
    }
    let (state, scales) = match (protocol, protoinfo) {
        (TCP, Some(info)) => (info.progress()?, info.scales()),
        // A flowtable forwards it: conntrack keeps its hands off, and hands out neither state nor timeout.
        // That is done for established connections only.
        (TCP, None) if status & status::OFFLOAD != 0 => (Progress::Established, [None, None]),
        (TCP, None) => return Err("the entry has no TCP state".into()),
        _ => (Progress::Datagrams, [None, None]),
    };
    Ok(Entry::Connection(Existing {
        version,
        protocol,
        original,
        reply,
        state,
        scales,
        answered: status & status::SEEN_REPLY != 0,
        expires_in_s,
        from: Origin::Conntrack,
    }))
}

/// One direction's tuple while its parts come together.
#[derive(Default)]
struct Half {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    icmp_id: Option<u16>,
    icmp_type: Option<u8>,
    zone: u16,
}

impl Half {
    fn parse(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut half = Self::default();
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                tuple::IP => half.parse_addresses(attribute.value())?,
                tuple::PROTO => half.parse_transport(attribute.value())?,
                tuple::ZONE => half.zone = parse_u16_be(attribute.value())?,
                _ => {}
            }
        }
        Ok(half)
    }

    fn parse_addresses(&mut self, attributes: &[u8]) -> Result<(), DecodeError> {
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                tuple::V4_SRC | tuple::V6_SRC => self.source = Some(address(&attribute)?),
                tuple::V4_DST | tuple::V6_DST => self.destination = Some(address(&attribute)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn parse_transport(&mut self, attributes: &[u8]) -> Result<(), DecodeError> {
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                tuple::NUM => self.protocol = Some(parse_u8(value)?),
                tuple::SRC_PORT => self.source_port = Some(parse_u16_be(value)?),
                tuple::DST_PORT => self.destination_port = Some(parse_u16_be(value)?),
                tuple::ICMP_ID | tuple::ICMPV6_ID => self.icmp_id = Some(parse_u16_be(value)?),
                tuple::ICMP_TYPE | tuple::ICMPV6_TYPE => self.icmp_type = Some(parse_u8(value)?),
                _ => {}
            }
        }
        Ok(())
    }

    /// The tuple and its IP protocol, if all of it is there.
    fn whole(self) -> Result<(Tuple, u8), DecodeError> {
        let protocol = self.protocol.ok_or("a tuple has no IP protocol")?;
        let (source_port, destination_port) = match (protocol, self.icmp_type) {
            (ICMP, Some(kind)) if ICMP_ECHO.contains(&kind) => self.echo()?,
            (ICMPV6, Some(kind)) if ICMPV6_ECHO.contains(&kind) => self.echo()?,
            (protocol, _) if WITH_PORTS.contains(&protocol) => (
                self.source_port.ok_or("a tuple has no source port")?,
                self.destination_port.ok_or("a tuple has no destination port")?,
            ),
            (ICMP | ICMPV6, None) => return Err("a tuple has no ICMP type".into()),
            _ => (0, 0),
        };
        let tuple = Tuple {
            source: self.source.ok_or("a tuple has no source address")?,
            destination: self.destination.ok_or("a tuple has no destination address")?,
            source_port,
            destination_port,
        };
        Ok((tuple, protocol))
    }

    fn echo(&self) -> Result<(u16, u16), DecodeError> {
        let id = self.icmp_id.ok_or("the tuple of an echo has no identifier")?;
        Ok((id, id))
    }
}

/// An address of the length that its attribute's type calls for.
fn address(attribute: &NlaBuffer<&[u8]>) -> Result<IpAddr, DecodeError> {
    let address = parse_ip(attribute.value())?;
    let is_v4_attribute = matches!(attribute.kind(), tuple::V4_SRC | tuple::V4_DST);
    if address.is_ipv4() != is_v4_attribute {
        return Err(DecodeError::invalid_ip_address(attribute.value().len()));
    }
    Ok(address)
}

/// What conntrack knows of a TCP connection.
#[derive(Default)]
struct TcpInfo {
    state: Option<u8>,
    /// Of the original and the reply direction, as are the flags.
    scales: [Option<u8>; 2],
    flags: [Option<u8>; 2],
}

impl TcpInfo {
    /// Reads CTA_PROTOINFO, which may speak of another protocol.
    fn parse(attributes: &[u8]) -> Result<Option<Self>, DecodeError> {
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            if attribute.kind() == protoinfo::TCP {
                return Self::parse_tcp(attribute.value()).map(Some);
            }
        }
        Ok(None)
    }

    fn parse_tcp(attributes: &[u8]) -> Result<Self, DecodeError> {
        let mut info = Self::default();
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            let value = attribute.value();
            match attribute.kind() {
                protoinfo::STATE => info.state = Some(parse_u8(value)?),
                protoinfo::WSCALE_ORIGINAL => info.scales[0] = Some(parse_u8(value)?),
                protoinfo::WSCALE_REPLY => info.scales[1] = Some(parse_u8(value)?),
                protoinfo::FLAGS_ORIGINAL => info.flags[0] = Some(flags(value)?),
                protoinfo::FLAGS_REPLY => info.flags[1] = Some(flags(value)?),
                _ => {}
            }
        }
        Ok(info)
    }

    /// `enum tcp_conntrack`.
    fn progress(&self) -> Result<Progress, DecodeError> {
        match self.state.ok_or("the entry has no TCP state")? {
            // None, SYN_SENT, SYN_RECV; a SYN from either side.
            0..=2 | 9 => Ok(Progress::HalfOpen),
            3 => Ok(Progress::Established),
            // FIN_WAIT: a FIN was seen; CLOSE_WAIT: it was acknowledged.
            4 | 5 => Ok(Progress::HalfClosed),
            // LAST_ACK, TIME_WAIT, CLOSE (reset).
            6..=8 => Ok(Progress::Closing),
            other => Err(format!("TCP state {other} is not known").into()),
        }
    }

    fn scales(&self) -> [Option<u8>; 2] {
        // In SYN_SENT the responder has not spoken, so what will be in force is open.
        if matches!(self.state, None | Some(0 | 1)) {
            return [None, None];
        }
        [0, 1].map(|side| {
            let (scale, flags) = (self.scales[side]?, self.flags[side]?);
            // Conntrack has 0 where the ends agreed on no scale, and also where it did not see the
            // handshake: then it is told to be liberal instead (`tcp_new`).
            let saw_handshake =
                flags & tcp_flags::WINDOW_SCALE != 0 || flags & tcp_flags::BE_LIBERAL == 0;
            valid_scale(scale).filter(|_| saw_handshake)
        })
    }
}

/// `struct nf_ct_tcp_flags`: the flags, then which of them a change would touch.
fn flags(value: &[u8]) -> Result<u8, DecodeError> {
    match value {
        [flags, _mask] => Ok(*flags),
        _ => Err(DecodeError::invalid_number(2, value.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    const UDP: u8 = 17;
    const ANSWERED: u32 = status::SEEN_REPLY | 1 << 3;

    /// An attribute with a value of bytes, padded.
    fn leaf(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut attribute = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        attribute.extend(kind.to_ne_bytes());
        attribute.extend(value);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        attribute
    }

    /// An attribute that holds others, with the flag that says so.
    fn nest(kind: u16, inner: &[Vec<u8>]) -> Vec<u8> {
        leaf(kind | netlink_packet_core::NLA_F_NESTED, &inner.concat())
    }

    fn entry(attributes: &[Vec<u8>]) -> Vec<u8> {
        [vec![2, 0, 0, 0], attributes.concat()].concat()
    }

    fn addresses(source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let address = |v4, v6, address| match address {
            IpAddr::V4(address) => leaf(v4, &address.octets()),
            IpAddr::V6(address) => leaf(v6, &address.octets()),
        };
        let source = address(tuple::V4_SRC, tuple::V6_SRC, source);
        nest(tuple::IP, &[source, address(tuple::V4_DST, tuple::V6_DST, destination)])
    }

    fn ported(kind: u16, protocol: u8, from: Tuple) -> Vec<u8> {
        let transport = [
            leaf(tuple::NUM, &[protocol]),
            leaf(tuple::SRC_PORT, &from.source_port.to_be_bytes()),
            leaf(tuple::DST_PORT, &from.destination_port.to_be_bytes()),
        ];
        nest(kind, &[addresses(from.source, from.destination), nest(tuple::PROTO, &transport)])
    }

    fn status(bits: u32) -> Vec<u8> {
        leaf(entry::STATUS, &bits.to_be_bytes())
    }

    fn tcp_info(state: u8, scales: [u8; 2], flags: [u8; 2]) -> Vec<u8> {
        let info = [
            leaf(protoinfo::STATE, &[state]),
            leaf(protoinfo::WSCALE_ORIGINAL, &[scales[0]]),
            leaf(protoinfo::WSCALE_REPLY, &[scales[1]]),
            leaf(protoinfo::FLAGS_ORIGINAL, &[flags[0], 0]),
            leaf(protoinfo::FLAGS_REPLY, &[flags[1], 0]),
        ];
        nest(entry::PROTOINFO, &[nest(protoinfo::TCP, &info)])
    }

    fn between(source: [u8; 4], source_port: u16, to: [u8; 4], destination_port: u16) -> Tuple {
        Tuple {
            source: IpAddr::V4(Ipv4Addr::from(source)),
            destination: IpAddr::V4(Ipv4Addr::from(to)),
            source_port,
            destination_port,
        }
    }

    fn original() -> Tuple {
        between([10, 1, 0, 2], 40_000, [10, 2, 0, 2], 554)
    }

    /// The answer to an address that the gateway put in the client's place.
    fn reply() -> Tuple {
        between([10, 2, 0, 2], 554, [10, 2, 0, 1], 61_000)
    }

    fn tcp_entry(state: u8, scales: [u8; 2], flags: [u8; 2]) -> Vec<u8> {
        entry(&[
            ported(entry::TUPLE_ORIG, TCP, original()),
            ported(entry::TUPLE_REPLY, TCP, reply()),
            status(ANSWERED),
            leaf(entry::TIMEOUT, &431_999_u32.to_be_bytes()),
            tcp_info(state, scales, flags),
            leaf(8, &[0; 4]),
        ])
    }

    fn connection(message: &[u8]) -> Existing {
        match parse(message) {
            Ok(Entry::Connection(connection)) => connection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_translated_tcp_connection_keeps_both_tuples() {
        assert_eq!(
            connection(&tcp_entry(3, [7, 9], [0x21, 0x23])),
            Existing {
                version: 4,
                protocol: TCP,
                original: original(),
                reply: reply(),
                state: Progress::Established,
                scales: [Some(7), Some(9)],
                answered: true,
                expires_in_s: Some(431_999),
                from: Origin::Conntrack,
            }
        );
    }

    #[test]
    fn scales_are_known_only_if_the_handshake_was_seen() {
        let scales = |state, scales, flags| connection(&tcp_entry(state, scales, flags)).scales;
        // The ends agreed on none.
        assert_eq!(scales(3, [0, 0], [0, 0]), [Some(0), Some(0)]);
        // Taken up in the middle: liberal, and scales of 0 that mean nothing.
        assert_eq!(scales(3, [0, 0], [0x0a, 0x0a]), [None, None]);
        // Only the SYN was seen.
        assert_eq!(scales(1, [7, 0], [0x01, 0]), [None, None]);
        // Not a scale (RFC 7323).
        assert_eq!(scales(3, [14, 15], [1, 1]), [Some(14), None]);
    }

    #[test]
    fn every_tcp_state_of_the_kernel_has_its_progress() {
        use Progress::{Closing, Established, HalfClosed, HalfOpen};
        let expected = [
            HalfOpen,
            HalfOpen,
            HalfOpen,
            Established,
            HalfClosed,
            HalfClosed,
            Closing,
            Closing,
            Closing,
            HalfOpen,
        ];
        for (state, progress) in (0..).zip(expected) {
            assert_eq!(connection(&tcp_entry(state, [0; 2], [0; 2])).state, progress, "{state}");
        }
        assert!(parse(&tcp_entry(10, [0; 2], [0; 2])).is_err());
    }

    #[test]
    fn what_a_flowtable_forwards_is_established_without_details() {
        let tuples =
            [ported(entry::TUPLE_ORIG, TCP, original()), ported(entry::TUPLE_REPLY, TCP, reply())];
        let with = |bits| entry(&[tuples[0].clone(), tuples[1].clone(), status(bits)]);
        let found = connection(&with(ANSWERED | status::OFFLOAD));
        assert_eq!((found.state, found.scales), (Progress::Established, [None, None]));
        assert_eq!(found.expires_in_s, None);
        assert!(parse(&with(ANSWERED)).is_err(), "TCP without a state is not understood");
        assert_eq!(
            parse(&with(ANSWERED | status::OFFLOAD | status::DYING)).unwrap(),
            Entry::Irrelevant
        );
    }

    #[test]
    fn udp_over_ipv6_without_an_answer() {
        let there = Tuple {
            source: IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2)),
            destination: IpAddr::V6(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2)),
            source_port: 40_000,
            destination_port: 53,
        };
        let found = connection(&entry(&[
            ported(entry::TUPLE_ORIG, UDP, there),
            ported(entry::TUPLE_REPLY, UDP, there.reversed()),
            status(1 << 3),
            leaf(entry::TIMEOUT, &29_u32.to_be_bytes()),
        ]));
        assert_eq!((found.version, found.protocol), (6, UDP));
        assert_eq!((found.original, found.reply), (there, there.reversed()));
        assert_eq!((found.state, found.answered), (Progress::Datagrams, false));
    }

    #[test]
    fn an_echo_has_its_identifier_as_both_ports_and_other_icmp_has_none() {
        let there = original();
        let icmp = |kind, at: Tuple, id: u16, icmp_type| {
            let transport = [
                leaf(tuple::NUM, &[ICMP]),
                leaf(tuple::ICMP_ID, &id.to_be_bytes()),
                leaf(tuple::ICMP_TYPE, &[icmp_type]),
                leaf(6, &[0]),
            ];
            nest(kind, &[addresses(at.source, at.destination), nest(tuple::PROTO, &transport)])
        };
        let message = |types: [u8; 2]| {
            entry(&[
                icmp(entry::TUPLE_ORIG, there, 4711, types[0]),
                icmp(entry::TUPLE_REPLY, there.reversed(), 815, types[1]),
                status(ANSWERED),
            ])
        };
        let echo = connection(&message([8, 0]));
        assert_eq!((echo.original.source_port, echo.original.destination_port), (4711, 4711));
        assert_eq!((echo.reply.source_port, echo.reply.destination_port), (815, 815));
        let timestamp = connection(&message([13, 14]));
        assert_eq!((timestamp.original.source_port, timestamp.reply.destination_port), (0, 0));
    }

    #[test]
    fn a_tunnel_s_keys_are_no_ports() {
        let found = connection(&entry(&[
            ported(entry::TUPLE_ORIG, 47, original()),
            ported(entry::TUPLE_REPLY, 47, reply()),
            status(ANSWERED),
        ]));
        assert_eq!((found.original.source_port, found.reply.destination_port), (0, 0));
    }

    #[test]
    fn other_zones_and_loopback_are_left_out() {
        let zone = leaf(entry::ZONE, &7_u16.to_be_bytes());
        let with = |more: &[Vec<u8>]| [tcp_entry(3, [7; 2], [1; 2]), more.concat()].concat();
        assert_eq!(parse(&with(&[zone])).unwrap(), Entry::OtherZone);
        assert!(matches!(parse(&with(&[leaf(entry::ZONE, &[0; 2])])), Ok(Entry::Connection(_))));
        // A zone of one direction only stands in its tuple.
        let mut zoned = entry(&[ported(entry::TUPLE_ORIG, UDP, original()), status(ANSWERED)]);
        let inner = ported(entry::TUPLE_REPLY, UDP, reply())[4..].to_vec();
        zoned.extend(nest(entry::TUPLE_REPLY, &[inner, leaf(tuple::ZONE, &[0, 7])]));
        assert_eq!(parse(&zoned).unwrap(), Entry::OtherZone);

        let local = between([127, 0, 0, 1], 40_000, [127, 0, 0, 53], 53);
        let loopback = entry(&[
            ported(entry::TUPLE_ORIG, UDP, local),
            ported(entry::TUPLE_REPLY, UDP, local.reversed()),
            status(ANSWERED),
        ]);
        assert_eq!(parse(&loopback).unwrap(), Entry::Irrelevant);
    }

    #[test]
    fn an_entry_cut_anywhere_is_refused_or_right_as_far_as_it_goes() {
        let whole = tcp_entry(3, [7, 9], [1, 1]);
        let expected = connection(&whole);
        for length in 0..whole.len() {
            if let Ok(entry) = parse(&whole[..length]) {
                assert_eq!(entry, Entry::Connection(expected.clone()), "{length} bytes");
            }
        }
        // With every length in it wrong in turn.
        for at in 0..whole.len() {
            for value in [0, 1, 3, 4, 5, 8, 0x7f, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] = value;
                let _ = parse(&wrong);
            }
        }
    }

    proptest! {
        #[test]
        fn no_entry_makes_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&entry(&[leaf(entry::TUPLE_ORIG, &bytes)]));
            let _ = parse(&entry(&[nest(entry::PROTOINFO, &[leaf(protoinfo::TCP, &bytes)])]));
        }
    }
}
