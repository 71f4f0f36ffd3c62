//! Questions and answers of ICMP (RFC 792, RFC 950, RFC 4443, RFC 4620, RFC 8335).

use super::{Packet, ip_protocol};

/// The type of the question that an ICMP message of type `kind` answers; `kind` itself if it is no answer. Of
/// `protocol` it has to be ICMP's or ICMPv6's number.
#[inline(always)]
pub const fn question(protocol: u8, kind: u8) -> u8 {
    const ECHO_REQUEST: u8 = 8;
    match (protocol, kind) {
        (ip_protocol::ICMP, 0) => ECHO_REQUEST,
        // Timestamp, information, address mask and extended echo; then echo, node information and extended echo.
        (ip_protocol::ICMP, 14 | 16 | 18 | 43) | (ip_protocol::ICMPV6, 129 | 140 | 161) => kind - 1,
        _ => kind,
    }
}

/// Whether the packet is ICMP and answers a question: it begins nothing.
#[inline(always)]
pub const fn is_answer(packet: &Packet) -> bool {
    matches!(packet.protocol, ip_protocol::ICMP | ip_protocol::ICMPV6)
        && question(packet.protocol, packet.icmp_type) != packet.icmp_type
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_type_of_its_question() {
        let answers =
            |protocol| (0..=255_u8).filter(move |kind| question(protocol, *kind) != *kind);
        assert_eq!(answers(ip_protocol::ICMP).collect::<Vec<_>>(), [0, 14, 16, 18, 43]);
        assert_eq!(answers(ip_protocol::ICMPV6).collect::<Vec<_>>(), [129, 140, 161]);
        assert_eq!([0, 14].map(|kind| question(ip_protocol::ICMP, kind)), [8, 13]);
        assert_eq!(question(ip_protocol::ICMPV6, 129), 128);
    }

    #[test]
    fn only_icmp_answers() {
        let packet = |protocol, icmp_type| Packet { protocol, icmp_type, ..Packet::default() };
        assert!(is_answer(&packet(ip_protocol::ICMP, 0)));
        assert!(!is_answer(&packet(ip_protocol::ICMPV6, 0)));
        assert!(!is_answer(&packet(ip_protocol::UDP, 0)));
    }
}
