//! The RSTs that end a killed connection at both of its ends at once.

use std::net::{IpAddr, SocketAddr};

use firewall_common::{
    flow::{Flow, Half},
    reset::{HOP_LIMIT, TCP_HEADER_LEN, Toward, reset},
    wire::{Packet, checksum::Sum, ip_protocol, tcp_flags},
};

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// A RST that takes the one end for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Whom it claims to be from.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
}

/// The RSTs for both ends of a TCP connection. `near` are its endpoints on the originator's side of the gateway,
/// the originator first, `far` those on the responder's side: they differ where addresses are translated.
///
/// An end takes a RST only if it has the very number that it expects (RFC 5961 §3): what it acknowledged last,
/// or the end of what was sent to it, if it has that and has yet to say so. Where these differ it gets both, and
/// drops the wrong one. For an end of which neither is known there is none: it learns of the kill by the answer to
/// its next packet.
pub fn resets(flow: &Flow, near: [SocketAddr; 2], far: [SocketAddr; 2]) -> Vec<Reset> {
    let [originator, responder] = &flow.halves;
    let to_originator = toward(originator, responder, near[1], near[0]);
    let to_responder = toward(responder, originator, far[0], far[1]);
    to_originator.into_iter().chain(to_responder).flatten().collect()
}

fn toward(receiver: &Half, sender: &Half, from: SocketAddr, to: SocketAddr) -> [Option<Reset>; 2] {
    let knows = |half: &Half, flag| half.flags & flag != 0;
    let ack = if knows(receiver, Half::SPOKE) { receiver.end } else { 0 };
    let reset = |seq| Reset { from, to, seq, ack };
    let acked = knows(receiver, Half::ACKED).then(|| reset(receiver.acked));
    let sent =
        knows(sender, Half::SPOKE).then(|| reset(sender.end)).filter(|it| Some(*it) != acked);
    // A SYN that nobody answered: its sender goes by what is acknowledged (RFC 9293 §3.10.7.3).
    let waits = !knows(receiver, Half::LEARNING) && knows(receiver, Half::SPOKE);
    let unanswered = (acked.is_none() && sent.is_none() && waits).then(|| reset(0));
    [acked.or(unanswered), sent]
}

impl Reset {
    /// The packet, from its IP header on. Empty if the ends are of different families, which those of a flow
    /// never are.
    pub fn packet(&self) -> Vec<u8> {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let word = |address: [u8; 4]| [u32::from_ne_bytes(address), 0, 0, 0];
                let len = (IPV4_HEADER_LEN + TCP_HEADER_LEN) as u16;
                let mut header = [0; IPV4_HEADER_LEN];
                header[0] = 0x45;
                header[2..4].copy_from_slice(&len.to_be_bytes());
                header[8] = HOP_LIMIT;
                header[9] = ip_protocol::TCP;
                header[12..16].copy_from_slice(&from.octets());
                header[16..].copy_from_slice(&to.octets());
                let words =
                    header.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                let checksum = words.fold(Sum::default(), Sum::word).checksum();
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                let tcp = self.tcp(4, word(from.octets()), word(to.octets()), IPV4_HEADER_LEN);
                [&header[..], &tcp].concat()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let mut header = [0; IPV6_HEADER_LEN];
                header[0] = 0x60;
                header[4..6].copy_from_slice(&(TCP_HEADER_LEN as u16).to_be_bytes());
                header[6] = ip_protocol::TCP;
                header[7] = HOP_LIMIT;
                header[8..24].copy_from_slice(&from.octets());
                header[24..].copy_from_slice(&to.octets());
                let words = |address: [u8; 16]| bytemuck::cast(address);
                let tcp = self.tcp(6, words(from.octets()), words(to.octets()), IPV6_HEADER_LEN);
                [&header[..], &tcp].concat()
            }
            _ => Vec::new(),
        }
    }

    /// The TCP header: what an empty segment with these numbers becomes when it is turned into a RST.
    fn tcp(
        &self,
        version: u8,
        source: [u32; 4],
        destination: [u32; 4],
        ip_header_len: usize,
    ) -> [u8; TCP_HEADER_LEN] {
        let end = ip_header_len + TCP_HEADER_LEN;
        let segment = Packet {
            version,
            protocol: ip_protocol::TCP,
            source,
            destination,
            source_port: self.from.port(),
            destination_port: self.to.port(),
            seq: self.seq,
            ack: self.ack,
            flags: tcp_flags::ACK,
            ip_offset: 0,
            transport_offset: ip_header_len as u16,
            payload_offset: end as u16,
            ip_len: end as u32,
            ..Packet::default()
        };
        reset(&segment, Toward::Receiver, false).tcp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    const KNOWN: u8 = Half::SPOKE | Half::ACKED;

    fn flow(originator: Half, responder: Half) -> Flow {
        Flow { halves: [originator, responder], ..Flow::default() }
    }

    fn half(end: u32, acked: u32, flags: u8) -> Half {
        Half { end, acked, flags, ..Half::default() }
    }

    fn ends(a: &str, b: &str) -> [SocketAddr; 2] {
        [a.parse().unwrap(), b.parse().unwrap()]
    }

    #[test]
    fn each_end_gets_the_number_it_expects() {
        let flow = flow(half(100, 900, KNOWN), half(900, 100, KNOWN));
        let near = ends("10.1.0.2:4", "10.2.0.2:5");
        let far = ends("10.2.0.1:6", "10.2.0.2:5");
        let expected = [
            Reset { from: near[1], to: near[0], seq: 900, ack: 100 },
            Reset { from: far[0], to: far[1], seq: 100, ack: 900 },
        ];
        assert_eq!(resets(&flow, near, far), expected);
    }

    #[test]
    fn what_is_not_acknowledged_yet_may_have_arrived() {
        let flow = flow(half(150, 900, KNOWN), half(900, 100, KNOWN));
        let near = ends("[fd00::1]:4", "[fd00::2]:5");
        let numbers: Vec<_> =
            resets(&flow, near, near).iter().map(|reset| (reset.to, reset.seq)).collect();
        assert_eq!(numbers, [(near[0], 900), (near[1], 100), (near[1], 150)]);
    }

    #[test]
    fn an_unanswered_syn_is_refused_by_its_acknowledgment() {
        let flow = flow(half(101, 0, Half::SPOKE), Half::default());
        let near = ends("10.1.0.2:4", "10.2.0.2:5");
        let expected = [
            Reset { from: near[1], to: near[0], seq: 0, ack: 101 },
            Reset { from: near[0], to: near[1], seq: 101, ack: 0 },
        ];
        assert_eq!(resets(&flow, near, near), expected);
    }

    #[test]
    fn of_an_end_of_which_nothing_is_known_there_is_none() {
        let learning = half(0, 0, Half::LEARNING);
        let near = ends("10.1.0.2:4", "10.2.0.2:5");
        assert!(resets(&flow(learning, learning), near, near).is_empty());
    }

    #[test]
    fn a_reset_is_a_good_packet() {
        for [from, to] in
            [ends("10.1.0.2:40000", "10.2.0.2:554"), ends("[fd00::1]:40000", "[fd00::2]:554")]
        {
            let packet = Reset { from, to, seq: 0xfeed_beef, ack: 0x1234_5678 }.packet();
            let headers = PacketHeaders::from_ip_slice(&packet).unwrap();
            let Some(TransportHeader::Tcp(tcp)) = headers.transport else { panic!("no TCP") };
            assert!(tcp.rst && tcp.ack && !tcp.syn && !tcp.fin && !tcp.psh);
            assert_eq!((tcp.source_port, tcp.destination_port), (from.port(), to.port()));
            assert_eq!(
                (tcp.sequence_number, tcp.acknowledgment_number),
                (0xfeed_beef, 0x1234_5678)
            );
            let (addresses, sum): ([IpAddr; 2], _) = match &headers.net {
                Some(NetHeaders::Ipv4(ip, _)) => {
                    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                    assert_eq!((ip.total_len, ip.time_to_live), (40, 64));
                    ([ip.source.into(), ip.destination.into()], tcp.calc_checksum_ipv4(ip, &[]))
                }
                Some(NetHeaders::Ipv6(ip, _)) => {
                    assert_eq!((ip.payload_length, ip.hop_limit), (20, 64));
                    ([ip.source.into(), ip.destination.into()], tcp.calc_checksum_ipv6(ip, &[]))
                }
                _ => panic!("no IP"),
            };
            assert_eq!(addresses, [from.ip(), to.ip()]);
            assert_eq!(tcp.checksum, sum.unwrap());
        }
    }
}
