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
mod tests;
