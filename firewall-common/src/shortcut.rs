//! Which packets of a proven flow ([`crate::flow::Passage`]) need not go through the kernel's stack, and what is
//! changed in them on the way: what a router does (RFC 1812 §5.2.1, RFC 8200 §3).
//!
//! Whatever the kernel does besides goes through the kernel: errors about packets, fragments, options, tags.

use crate::{
    reset,
    wire::{Fragment, Packet, checksum, ip_protocol, tcp_flags},
};

/// A bit of what may take the shortcut: UDP may.
pub const FOR_UDP: u32 = 1;
/// Another: TCP may.
pub const FOR_TCP: u32 = 2;

/// Length of an Ethernet header without tags.
pub const ETHERNET_LEN: u16 = 14;
/// What a link pads shorter frames to (IEEE 802.3 §4.2.3.3), without the check sequence.
const SHORTEST_FRAME: u32 = 60;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: u16 = 20;
/// Length of an IPv6 header.
pub const IPV6_LEN: u16 = 40;

/// Why a packet goes the long way, through the kernel's stack.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongWay {
    /// Its frame is for another hardware address.
    OtherAddress = 0,
    /// Its frame lies in several pieces, or is too short for what it says.
    Pieces = 1,
    /// It has tags, options, extension headers or is a fragment, or something follows it in its frame.
    Form = 2,
    /// It has no hop left.
    Hops = 3,
    /// Its checksum was left for a network card to finish.
    Checksum = 4,
    /// It is longer than the next link carries.
    TooLong = 5,
    /// The next hop's hardware address is not known.
    Neighbour = 6,
    /// The routing table does not forward it.
    Route = 7,
    /// The routing table names another interface than the one that the flow was seen to leave by.
    OtherInterface = 8,
    /// The interface does not send redirected frames.
    Device = 9,
}

impl LongWay {
    /// How many there are.
    pub const COUNT: usize = 10;
    /// Each with its name in `fwx status -o json`.
    pub const ALL: [(Self, &'static str); Self::COUNT] = [
        (Self::OtherAddress, "other_address"),
        (Self::Pieces, "pieces"),
        (Self::Form, "form"),
        (Self::Hops, "hops"),
        (Self::Checksum, "checksum"),
        (Self::TooLong, "too_long"),
        (Self::Neighbour, "neighbour"),
        (Self::Route, "route"),
        (Self::OtherInterface, "other_interface"),
        (Self::Device, "device"),
    ];
}

/// Whether the policy, whose bits are `shortcut`, lets packets like this one: TCP and UDP, but none that begins or
/// ends a connection.
#[inline(always)]
pub const fn is_meant(shortcut: u32, packet: &Packet) -> bool {
    const CONTROL: u8 = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    match packet.protocol {
        ip_protocol::TCP => shortcut & FOR_TCP != 0 && packet.flags & CONTROL == 0,
        ip_protocol::UDP => shortcut & FOR_UDP != 0,
        _ => false,
    }
}

/// What a packet's frame says besides what the parser keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its receiver's hardware address, as words of the frame.
    pub destination: [u16; 3],
    /// The hardware address of the interface that it came in by; all zeros: not known.
    pub own: [u16; 3],
    /// IPv4's time to live, IPv6's hop limit.
    pub hops: u8,
    /// The transport header's checksum, in host order.
    pub checksum: u16,
}

/// Whether the packet has the form that is forwarded: no tags, options or extension headers, not a fragment, and
/// nothing behind it in its frame of `frame_len` bytes but what the link pads short frames with.
#[inline(always)]
pub const fn is_plain(packet: &Packet, frame_len: u32) -> bool {
    let header_len = if packet.version == 4 { IPV4_LEN } else { IPV6_LEN };
    let whole = ETHERNET_LEN as u32 + packet.ip_len;
    packet.ip_offset == ETHERNET_LEN
        && (frame_len == whole || frame_len <= SHORTEST_FRAME)
        && packet.transport_offset == ETHERNET_LEN + header_len
        && matches!(packet.fragment, Fragment::Whole)
}

/// Why a packet that [`is_plain`] has to go the long way all the same, before the routing table is asked.
#[inline(always)]
pub fn obstacle(packet: &Packet, facts: &Facts) -> Option<LongWay> {
    let ([a, b, c], [x, y, z]) = (facts.destination, facts.own);
    let is_unknown = x | y | z == 0;
    if (a ^ x) | (b ^ y) | (c ^ z) != 0 || is_unknown {
        return Some(LongWay::OtherAddress);
    }
    if facts.hops <= 1 {
        return Some(LongWay::Hops);
    }
    if reset::is_partial(packet, facts.checksum) {
        return Some(LongWay::Checksum);
    }
    None
}

/// What the kernel's routing table answers (`BPF_FIB_LKUP_RET_…` in include/uapi/linux/bpf.h), where the packet
/// would leave by `interface` and was seen to leave by `leaves_by`.
#[inline(always)]
pub const fn routed(answer: i64, interface: u32, leaves_by: u32) -> Result<(), LongWay> {
    const SUCCESS: i64 = 0;
    const NO_NEIGHBOUR: i64 = 7;
    const TOO_LONG: i64 = 8;
    match answer {
        SUCCESS if interface == leaves_by => Ok(()),
        SUCCESS => Err(LongWay::OtherInterface),
        NO_NEIGHBOUR => Err(LongWay::Neighbour),
        TOO_LONG => Err(LongWay::TooLong),
        _ => Err(LongWay::Route),
    }
}

/// IPv4's time to live and header checksum one hop further. `hops` is at least 1; `protocol` is the header's byte
/// behind it.
#[inline(always)]
pub const fn one_hop_less(hops: u8, protocol: u8, checksum: u16) -> (u8, u16) {
    let less = hops.wrapping_sub(1);
    let (old, new) = (u16::from_be_bytes([hops, protocol]), u16::from_be_bytes([less, protocol]));
    (less, checksum::updated(checksum, old, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Parsed};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn words([a, b, c, d, e, f]: [u8; 6]) -> [u16; 3] {
        [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
    }

    /// A datagram or segment as it comes in, and what the parser says of it.
    fn frame(v6: bool, tcp: bool, hops: u8, payload: &[u8]) -> (Vec<u8>, Packet) {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], OWN);
        let ip = if v6 {
            ethernet.ipv6([1; 16], [2; 16], hops)
        } else {
            ethernet.ipv4([10, 1, 0, 2], [10, 2, 0, 2], hops)
        };
        let mut frame = Vec::new();
        if tcp {
            ip.tcp(40_000, 554, 7, 1000).ack(1).write(&mut frame, payload).unwrap();
        } else {
            ip.udp(40_000, 554).write(&mut frame, payload).unwrap();
        }
        let packet = parsed(&frame);
        (frame, packet)
    }

    fn parsed(frame: &[u8]) -> Packet {
        let mut packet = Packet::default();
        assert_eq!(wire::parse(frame, &mut packet), Parsed::Ip);
        packet
    }

    fn facts(frame: &[u8], packet: &Packet) -> Facts {
        let hops = if packet.version == 4 { 14 + 8 } else { 14 + 7 };
        let checksum = usize::from(packet.transport_offset)
            + if packet.protocol == ip_protocol::TCP { 16 } else { 6 };
        Facts {
            destination: words(frame[..6].try_into().unwrap()),
            own: words(OWN),
            hops: frame[hops],
            checksum: u16::from_be_bytes([frame[checksum], frame[checksum + 1]]),
        }
    }

    const BOTH: [bool; 2] = [false, true];

    #[test]
    fn an_ordinary_packet_takes_it() {
        for (v6, tcp) in BOTH.into_iter().flat_map(|v6| BOTH.map(|tcp| (v6, tcp))) {
            let (frame, packet) = frame(v6, tcp, 64, b"media");
            assert!(is_plain(&packet, frame.len() as u32), "{packet:?}");
            assert_eq!(obstacle(&packet, &facts(&frame, &packet)), None, "{v6} {tcp}");
        }
    }

    #[test]
    fn what_is_for_somebody_else_does_not() {
        for byte in 0..6 {
            let (mut frame, packet) = frame(false, true, 64, b"media");
            frame[byte] ^= 1;
            let facts = facts(&frame, &packet);
            assert_eq!(obstacle(&packet, &facts), Some(LongWay::OtherAddress), "{byte}");
        }
    }

    #[test]
    fn the_last_hop_does_not() {
        for v6 in BOTH {
            for (hops, expected) in
                [(0, Some(LongWay::Hops)), (1, Some(LongWay::Hops)), (2, None), (255, None)]
            {
                let (frame, packet) = frame(v6, false, hops, b"media");
                assert_eq!(obstacle(&packet, &facts(&frame, &packet)), expected, "{hops}");
            }
        }
    }

    #[test]
    fn a_checksum_that_a_card_was_to_finish_does_not() {
        for (v6, tcp) in BOTH.into_iter().flat_map(|v6| BOTH.map(|tcp| (v6, tcp))) {
            let (frame, packet) = frame(v6, tcp, 64, b"media");
            let at = usize::from(packet.transport_offset);
            // What covers no more than the pseudo-header: the sum without header and payload.
            let mut sum = checksum::Sum::default()
                .address(packet.source)
                .address(packet.destination)
                .word(packet.protocol.into());
            sum = sum.number((frame.len() - at) as u32);
            let facts = Facts { checksum: sum.folded(), ..facts(&frame, &packet) };
            assert_eq!(obstacle(&packet, &facts), Some(LongWay::Checksum), "{v6} {tcp}");
        }
    }

    #[test]
    fn only_plain_packets_do() {
        for v6 in BOTH {
            let (frame, packet) = frame(v6, true, 64, b"media");
            let len = frame.len() as u32;
            let tagged =
                Packet { ip_offset: 18, transport_offset: packet.transport_offset + 4, ..packet };
            let with_options = Packet { transport_offset: packet.transport_offset + 8, ..packet };
            let first = Packet { fragment: Fragment::First, ..packet };
            let later = Packet { fragment: Fragment::Later, ..packet };
            for other in [tagged, with_options, first, later] {
                assert!(!is_plain(&other, len + 4), "{other:?}");
                assert!(!is_plain(&other, len), "{other:?}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_packet_is_padding_or_for_the_kernel_to_cut_off() {
        for (payload, frame_len, expected) in [
            (&b"media"[..], 47, true),
            (b"media", 60, true),
            (b"media", 61, false),
            (&[7; 100], 142, true),
            (&[7; 100], 143, false),
        ] {
            let (_, packet) = frame(false, false, 64, payload);
            assert_eq!(is_plain(&packet, frame_len), expected, "{frame_len}");
        }
    }

    #[test]
    fn an_interface_without_a_known_address_takes_none() {
        let (mut frame, packet) = frame(false, true, 64, b"media");
        frame[..6].fill(0);
        let facts = Facts { own: [0; 3], ..facts(&frame, &packet) };
        assert_eq!(obstacle(&packet, &facts), Some(LongWay::OtherAddress));
    }

    #[test]
    fn the_policy_says_which() {
        let packet = |protocol, flags| Packet { protocol, flags, ..Packet::default() };
        let both = FOR_UDP | FOR_TCP;
        let ack = tcp_flags::ACK;
        for (shortcut, packet, expected) in [
            (both, packet(ip_protocol::TCP, ack), true),
            (both, packet(ip_protocol::UDP, 0), true),
            (FOR_UDP, packet(ip_protocol::TCP, ack), false),
            (FOR_UDP, packet(ip_protocol::UDP, 0), true),
            (FOR_TCP, packet(ip_protocol::TCP, ack | tcp_flags::PSH), true),
            (FOR_TCP, packet(ip_protocol::UDP, 0), false),
            (0, packet(ip_protocol::TCP, ack), false),
            (0, packet(ip_protocol::UDP, 0), false),
            (both, packet(ip_protocol::TCP, ack | tcp_flags::FIN), false),
            (both, packet(ip_protocol::TCP, ack | tcp_flags::SYN), false),
            (both, packet(ip_protocol::TCP, tcp_flags::RST), false),
            (both, packet(ip_protocol::ICMP, 0), false),
            (both, packet(50, 0), false),
        ] {
            assert_eq!(is_meant(shortcut, &packet), expected, "{shortcut} {packet:?}");
        }
    }

    #[test]
    fn the_routing_table_has_the_last_word() {
        assert_eq!(routed(0, 3, 3), Ok(()));
        assert_eq!(routed(0, 4, 3), Err(LongWay::OtherInterface));
        assert_eq!(routed(7, 3, 3), Err(LongWay::Neighbour));
        assert_eq!(routed(8, 3, 3), Err(LongWay::TooLong));
        for answer in [-22, 1, 2, 3, 4, 5, 6, 9, 10] {
            assert_eq!(routed(answer, 3, 3), Err(LongWay::Route), "{answer}");
        }
    }

    #[test]
    fn every_reason_has_its_place() {
        for (index, (reason, _)) in LongWay::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    proptest! {
        #[test]
        fn a_hop_less_leaves_a_right_checksum(
            source: [u8; 4], destination: [u8; 4], hops in 1u8.., id: u16, protocol: u8,
        ) {
            let mut header = etherparse::Ipv4Header::new(
                100, hops, etherparse::IpNumber(protocol), source, destination,
            ).unwrap();
            header.identification = id;
            let before = header.calc_header_checksum();
            let (less, checksum) = one_hop_less(hops, protocol, before);
            header.time_to_live = less;
            prop_assert_eq!(less, hops - 1);
            prop_assert_eq!(checksum, header.calc_header_checksum());
        }
    }
}
