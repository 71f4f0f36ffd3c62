//! Turning a TCP segment into a RST, in place.
//!
//! A kill has to reach both ends. The offending segment itself becomes a RST towards its receiver; the
//! sender's next segment becomes one back to the sender. Either way the frame keeps its headers up to the
//! transport header (tags, IPv4 options, IPv6 extension headers) and ends behind a TCP header of 20 bytes.

use crate::wire::{Packet, checksum, checksum::Sum, ip_protocol, tcp_flags};

/// Length of a TCP header without options.
pub const TCP_HEADER_LEN: usize = 20;
/// Offset of the checksum in the TCP header (RFC 9293 §3.1).
pub const TCP_CHECKSUM_OFFSET: usize = 16;

/// Which end the RST is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// The packet's receiver: addresses and ports stay.
    Receiver,
    /// The packet's sender: addresses and ports change places.
    Sender,
}

/// What has to be written into the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The new TCP header.
    pub tcp: [u8; TCP_HEADER_LEN],
    /// The new value of the IP header's length field: total length (IPv4), payload length (IPv6).
    pub ip_len_field: u16,
    /// Length of the frame.
    pub frame_len: u32,
}

/// Whether the checksum in a segment's header is only the sum of the pseudo-header, left for hardware to
/// finish (`CHECKSUM_PARTIAL`): so do packets of a local stack arrive over a virtual link. A right
/// checksum looks like this once in 65,536 times; then the RST goes out with a wrong one and is lost, as
/// a packet may be.
#[inline(always)]
pub fn is_partial(packet: &Packet, field: u16) -> bool {
    let len = packet.payload_len + u32::from(packet.payload_offset - packet.transport_offset);
    field == pseudo_header(packet, len).folded()
}

/// The RST that `packet` becomes. `partial_checksum`: leave the checksum to be finished by the device.
#[inline(always)]
pub fn reset(packet: &Packet, toward: Toward, partial_checksum: bool) -> Reset {
    // The segment's length in sequence space (RFC 9293 §3.4): SYN and FIN count one each.
    let control = packet.flags & (tcp_flags::SYN | tcp_flags::FIN);
    let end = packet.seq.wrapping_add(packet.payload_len).wrapping_add(control.count_ones());
    let (source_port, destination_port, seq, ack) = match toward {
        Toward::Receiver => (packet.source_port, packet.destination_port, packet.seq, packet.ack),
        // The sender takes a RST whose sequence number is the one it expects: what it acknowledged last.
        Toward::Sender => (packet.destination_port, packet.source_port, packet.ack, end),
    };
    let mut tcp = [0; TCP_HEADER_LEN];
    let [s0, s1] = source_port.to_be_bytes();
    let [d0, d1] = destination_port.to_be_bytes();
    let [q0, q1, q2, q3] = seq.to_be_bytes();
    let [a0, a1, a2, a3] = ack.to_be_bytes();
    tcp[0] = s0;
    tcp[1] = s1;
    tcp[2] = d0;
    tcp[3] = d1;
    tcp[4] = q0;
    tcp[5] = q1;
    tcp[6] = q2;
    tcp[7] = q3;
    tcp[8] = a0;
    tcp[9] = a1;
    tcp[10] = a2;
    tcp[11] = a3;
    tcp[12] = (TCP_HEADER_LEN as u8 / 4) << 4;
    tcp[13] = tcp_flags::RST | tcp_flags::ACK;

    let pseudo = pseudo_header(packet, TCP_HEADER_LEN as u32);
    let check = if partial_checksum {
        pseudo.folded()
    } else {
        pseudo
            .word(source_port)
            .word(destination_port)
            .number(seq)
            .number(ack)
            .word(u16::from_be_bytes([tcp[12], tcp[13]]))
            .checksum()
    };
    let [c0, c1] = check.to_be_bytes();
    tcp[TCP_CHECKSUM_OFFSET] = c0;
    tcp[TCP_CHECKSUM_OFFSET + 1] = c1;

    let ip_headers = packet.transport_offset - packet.ip_offset;
    let ip_len = ip_headers + TCP_HEADER_LEN as u16;
    const IPV6_HEADER_LEN: u16 = 40;
    Reset {
        tcp,
        ip_len_field: if packet.version == 4 {
            ip_len
        } else {
            ip_len.wrapping_sub(IPV6_HEADER_LEN)
        },
        frame_len: u32::from(packet.ip_offset) + u32::from(ip_len),
    }
}

/// The IPv4 header checksum after its length field changed; addresses that change places leave it as is.
#[inline(always)]
#[must_use]
pub fn ipv4_checksum(old_checksum: u16, packet: &Packet, reset: &Reset) -> u16 {
    checksum::updated(old_checksum, packet.ip_len as u16, reset.ip_len_field)
}

/// The sum over addresses, protocol and length (RFC 9293 §3.1, RFC 8200 §8.1); the same both ways.
#[inline(always)]
fn pseudo_header(packet: &Packet, tcp_len: u32) -> Sum {
    Sum::default()
        .address(packet.source)
        .address(packet.destination)
        .number(tcp_len)
        .word(u16::from(ip_protocol::TCP))
}
