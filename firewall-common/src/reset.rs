//! Turning a TCP segment into another one, in place: into a RST, or into the answer to a SYN.
//!
//! A kill has to reach both ends. The offending segment itself becomes a RST towards its receiver; the
//! sender's next segment becomes one back to the sender. Either way the frame keeps its headers up to the
//! transport header (tags, IPv4 options, IPv6 extension headers) and ends behind a TCP header of 20 bytes.

use crate::wire::{Packet, checksum, checksum::Sum, tcp_flags};

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
pub struct Rewritten {
    /// The new TCP header.
    pub tcp: [u8; TCP_HEADER_LEN],
    /// The new value of the IP header's length field: total length (IPv4), payload length (IPv6).
    pub ip_len_field: u16,
    /// Length of the frame.
    pub frame_len: u32,
}

/// Whether the checksum in the header of a TCP segment or a UDP datagram is only the sum of the pseudo-header, left for hardware to
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
pub fn reset(packet: &Packet, toward: Toward, partial_checksum: bool) -> Rewritten {
    // The segment's length in sequence space (RFC 9293 §3.4): SYN and FIN count one each.
    let control = packet.flags & (tcp_flags::SYN | tcp_flags::FIN);
    let end = packet.seq.wrapping_add(packet.payload_len).wrapping_add(control.count_ones());
    let flags = tcp_flags::RST | tcp_flags::ACK;
    let header = match toward {
        Toward::Receiver => Header {
            ports: [packet.source_port, packet.destination_port],
            seq: packet.seq,
            ack: packet.ack,
            flags,
        },
        // The sender takes a RST whose sequence number is the one it expects: what it acknowledged last.
        Toward::Sender => Header {
            ports: [packet.destination_port, packet.source_port],
            seq: packet.ack,
            ack: end,
            flags,
        },
    };
    rewritten(packet, header, partial_checksum)
}

/// The answer to the SYN `packet` that challenges its sender with `cookie`, see [`crate::cookie`].
#[inline(always)]
pub fn challenge(packet: &Packet, cookie: u32, partial_checksum: bool) -> Rewritten {
    let header = Header {
        ports: [packet.destination_port, packet.source_port],
        // Nobody will build on it: any number does.
        seq: cookie.wrapping_mul(packet.seq | 1),
        ack: cookie,
        flags: tcp_flags::SYN | tcp_flags::ACK,
    };
    rewritten(packet, header, partial_checksum)
}

/// What a TCP header without options says.
struct Header {
    ports: [u16; 2],
    seq: u32,
    ack: u32,
    flags: u8,
}

#[inline(always)]
fn rewritten(packet: &Packet, header: Header, partial_checksum: bool) -> Rewritten {
    let Header { ports: [source_port, destination_port], seq, ack, flags } = header;
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
    tcp[13] = flags;

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
    Rewritten {
        tcp,
        ip_len_field: if packet.version == 4 {
            ip_len
        } else {
            ip_len.wrapping_sub(IPV6_HEADER_LEN)
        },
        frame_len: u32::from(packet.ip_offset) + u32::from(ip_len),
    }
}

/// How far a packet may go that this machine sends back: IANA's recommended default (RFC 1700).
pub const HOP_LIMIT: u8 = 64;

/// The IPv4 header checksum after its length field changed; addresses that change places leave it as is.
#[inline(always)]
#[must_use]
pub fn ipv4_checksum(old_checksum: u16, packet: &Packet, rewritten: &Rewritten) -> u16 {
    checksum::updated(old_checksum, packet.ip_len as u16, rewritten.ip_len_field)
}

/// The sum over addresses, protocol and length (RFC 9293 §3.1, RFC 8200 §8.1); the same both ways.
#[inline(always)]
fn pseudo_header(packet: &Packet, len: u32) -> Sum {
    Sum::default()
        .address(packet.source)
        .address(packet.destination)
        .number(len)
        .word(u16::from(packet.protocol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip_protocol;
    use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    /// A TCP segment with data, and what the parser says of it.
    fn segment(v6: bool, payload: &[u8]) -> (Vec<u8>, Packet) {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([1; 6], [2; 6]);
        let ip = if v6 {
            link.ipv6([1; 16], [2; 16], 64)
        } else {
            link.ipv4([10, 1, 0, 2], [10, 2, 0, 2], 64)
        };
        ip.tcp(1111, 554, 1000, 64).ack(5000).psh().write(&mut frame, payload).unwrap();
        let mut packet = Packet::default();
        assert_eq!(crate::wire::parse(frame.as_slice(), &mut packet), crate::wire::Parsed::Ip);
        (frame, packet)
    }

    /// Writes the RST into the frame as the kernel program does.
    fn apply(frame: &[u8], packet: &Packet, toward: Toward, reset: &Rewritten) -> Vec<u8> {
        let mut frame = frame[..reset.frame_len as usize].to_vec();
        let ip = usize::from(packet.ip_offset);
        let tcp = usize::from(packet.transport_offset);
        let len_at = if packet.version == 4 { ip + 2 } else { ip + 4 };
        frame[len_at..len_at + 2].copy_from_slice(&reset.ip_len_field.to_be_bytes());
        if packet.version == 4 {
            let old = u16::from_be_bytes([frame[ip + 10], frame[ip + 11]]);
            let new = ipv4_checksum(old, packet, reset);
            frame[ip + 10..ip + 12].copy_from_slice(&new.to_be_bytes());
        }
        frame[tcp..].copy_from_slice(&reset.tcp);
        if toward == Toward::Sender {
            let (at, len) = if packet.version == 4 { (ip + 12, 4) } else { (ip + 8, 16) };
            let (source, destination) = frame[at..at + 2 * len].split_at_mut(len);
            source.swap_with_slice(destination);
        }
        frame
    }

    proptest! {
        #[test]
        fn a_reset_is_a_good_packet(v6: bool, sender: bool, payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let (frame, packet) = segment(v6, &payload);
            let toward = if sender { Toward::Sender } else { Toward::Receiver };
            let written = apply(&frame, &packet, toward, &reset(&packet, toward, false));

            let headers = PacketHeaders::from_ethernet_slice(&written).unwrap();
            let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("no TCP") };
            prop_assert!(tcp.rst && tcp.ack && !tcp.syn && !tcp.psh);
            let end = 1000 + payload.len() as u32;
            let expected = if sender { (554, 1111, 5000, end) } else { (1111, 554, 1000, 5000) };
            prop_assert_eq!(
                (tcp.source_port, tcp.destination_port, tcp.sequence_number, tcp.acknowledgment_number),
                expected
            );
            let net = headers.net.unwrap();
            let sum = match &net {
                etherparse::NetHeaders::Ipv4(ip, _) => {
                    prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    prop_assert_eq!(ip.total_len, 40);
                    tcp.calc_checksum_ipv4(ip, &[])
                }
                etherparse::NetHeaders::Ipv6(ip, _) => {
                    prop_assert_eq!(ip.payload_length, 20);
                    tcp.calc_checksum_ipv6(ip, &[])
                }
                _ => panic!("neither"),
            };
            prop_assert_eq!(tcp.checksum, sum.unwrap());
        }

        #[test]
        fn a_partial_checksum_is_the_pseudo_header_alone(v6: bool, len in 0usize..40) {
            let (frame, packet) = segment(v6, &vec![7; len]);
            let full = u16::from_be_bytes([frame[frame.len() - len - 4], frame[frame.len() - len - 3]]);
            prop_assert!(!is_partial(&packet, full));
            let pseudo = pseudo_header(&packet, 20 + len as u32).folded();
            prop_assert!(is_partial(&packet, pseudo));

            // Finished by a device: the sum over the header as it stands is what makes it whole.
            let partial = reset(&packet, Toward::Receiver, true);
            let finished = partial.tcp.chunks(2).fold(Sum::default(), |sum, pair| {
                sum.word(u16::from_be_bytes([pair[0], pair[1]]))
            });
            let whole = reset(&packet, Toward::Receiver, false);
            let [high, low] = finished.checksum().to_be_bytes();
            prop_assert_eq!(&[high, low], &whole.tcp[16..18]);
        }
    }

    #[test]
    fn a_syn_is_answered_as_rfc_9293_wants() {
        // §3.10.7.1: without an ACK the RST has sequence number 0 and acknowledges the SYN.
        let packet = Packet {
            version: 4,
            protocol: ip_protocol::TCP,
            seq: 41,
            ack: 0,
            flags: tcp_flags::SYN,
            ip_offset: 14,
            transport_offset: 34,
            payload_offset: 54,
            ..Packet::default()
        };
        let tcp = reset(&packet, Toward::Sender, false).tcp;
        assert_eq!(&tcp[4..12], &[0, 0, 0, 0, 0, 0, 0, 42]);
    }
}
