//! TCP (RFC 9293), UDP (RFC 768) and ICMP echo (RFC 792, RFC 4443): ports, lengths, flags.

use network_types::{icmp::Icmpv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use super::{
    Bytes, ECHO_PORT, Fragment, NO_WINDOW_SCALE, Packet, Result, bytes::forgotten, ip_protocol,
    options::window_scale, question,
};
use crate::reason::Reason;

/// TCP's control bits as they stand in the 14th byte of its header (RFC 9293 §3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// ICMP types (RFC 792), then ICMPv6 types (RFC 4443), of an echo.
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Reads the transport header at `packet.transport_offset`; it and its payload go on to the end of the IP packet.
#[inline(always)]
pub(super) fn parse<B: Bytes + ?Sized>(frame: &B, packet: &mut Packet) -> Result<()> {
    let offset = usize::from(forgotten(&packet.transport_offset));
    let end = usize::from(packet.ip_offset) + packet.ip_len as usize;
    let len = end.saturating_sub(offset);
    let header_len = if packet.fragment == Fragment::Later {
        0
    } else {
        let parsed = match packet.protocol {
            ip_protocol::TCP => tcp(frame, offset, len, packet),
            ip_protocol::UDP => udp(frame, offset, len, packet),
            ip_protocol::ICMP | ip_protocol::ICMPV6 => icmp(frame, offset, len, packet),
            _ => Ok(0),
        };
        match parsed {
            // A first fragment that cuts the transport header hides its ports (RFC 1858, RFC 7112).
            Err(Reason::BadLength) if packet.fragment == Fragment::First => {
                return Err(Reason::FragmentDropped);
            }
            other => other?,
        }
    };
    packet.payload_offset = (offset + header_len) as u16;
    packet.payload_len = (len - header_len) as u32;
    Ok(())
}

#[inline(always)]
fn tcp<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    len: usize,
    packet: &mut Packet,
) -> Result<usize> {
    if len < TcpHdr::LEN {
        return Err(Reason::BadLength);
    }
    let header = frame.read::<[u8; TcpHdr::LEN]>(offset).ok_or(Reason::BadLength)?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, data_offset, flags, w0, w1, ..] = header;
    let header_len = usize::from(data_offset >> 4) * 4;
    if header_len < TcpHdr::LEN || header_len > len {
        return Err(Reason::BadLength);
    }
    packet.source_port = u16::from_be_bytes([s0, s1]);
    packet.destination_port = u16::from_be_bytes([d0, d1]);
    packet.seq = u32::from_be_bytes([q0, q1, q2, q3]);
    packet.ack = u32::from_be_bytes([a0, a1, a2, a3]);
    packet.window = u16::from_be_bytes([w0, w1]);
    packet.flags = flags;
    packet.window_scale = NO_WINDOW_SCALE;
    refuse_port_zero(packet)?;
    if flags & tcp_flags::SYN != 0 && header_len > TcpHdr::LEN {
        packet.payload_offset = (offset + TcpHdr::LEN) as u16;
        window_scale(frame, offset + header_len, packet)?;
    }
    Ok(header_len)
}

#[inline(always)]
fn udp<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    len: usize,
    packet: &mut Packet,
) -> Result<usize> {
    if len < UdpHdr::LEN {
        return Err(Reason::BadLength);
    }
    let header = frame.read::<UdpHdr>(offset).ok_or(Reason::BadLength)?;
    let datagram_len = usize::from(u16::from_be_bytes(header.len));
    // The first fragment's length field speaks of the whole datagram.
    let too_long = datagram_len > len && packet.fragment == Fragment::Whole;
    if datagram_len < UdpHdr::LEN || too_long {
        return Err(Reason::BadLength);
    }
    packet.source_port = u16::from_be_bytes(header.src);
    packet.destination_port = u16::from_be_bytes(header.dst);
    refuse_port_zero(packet)?;
    Ok(UdpHdr::LEN)
}

#[inline(always)]
fn icmp<B: Bytes + ?Sized>(
    frame: &B,
    offset: usize,
    len: usize,
    packet: &mut Packet,
) -> Result<usize> {
    if len < Icmpv4Hdr::LEN {
        return Err(Reason::BadLength);
    }
    note_icmp(frame.read::<[u8; Icmpv4Hdr::LEN]>(offset).ok_or(Reason::BadLength)?, packet);
    Ok(Icmpv4Hdr::LEN)
}

/// Lays down an ICMP header's type and code, and of an echo its identifier.
#[inline(always)]
pub(super) fn note_icmp(header: [u8; Icmpv4Hdr::LEN], packet: &mut Packet) {
    let [kind, code, _, _, id_high, id_low, _, _] = header;
    packet.icmp_type = kind;
    packet.icmp_code = code;
    let id = u16::from_be_bytes([id_high, id_low]);
    let (request, reply) = match packet.protocol {
        ip_protocol::ICMP => (ECHO_REQUEST, ECHO_REPLY),
        _ => (ECHO_REQUEST_V6, ECHO_REPLY_V6),
    };
    if kind == request {
        (packet.source_port, packet.destination_port) = (id, ECHO_PORT);
    } else if kind == reply {
        (packet.source_port, packet.destination_port) = (ECHO_PORT, id);
    } else {
        let asked = u16::from(question(packet.protocol, kind));
        (packet.source_port, packet.destination_port) = (asked, asked);
    }
}

#[inline(always)]
fn refuse_port_zero(packet: &Packet) -> Result<()> {
    if packet.source_port == 0 || packet.destination_port == 0 {
        return Err(Reason::PortZero);
    }
    Ok(())
}
