//! The transport layer: TCP (RFC 9293), UDP (RFC 768), ICMP echo (RFC 792, RFC 4443).

use super::{checksum::checksum, network::Network};

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_ICMPV6: u8 = 58;

const TCP_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;

#[derive(Clone, Debug)]
pub(super) enum Transport {
    Tcp(Tcp),
    Udp {
        source: u16,
        destination: u16,
    },
    Echo {
        reply: bool,
        identifier: u16,
        sequence: u16,
    },
    /// ICMP or ICMPv6 of any type.
    Icmp {
        kind: u8,
        code: u8,
        /// What stands between checksum and payload: an MTU, a pointer, zeros.
        rest: u32,
    },
    /// Any other protocol: the payload follows the IP header.
    Other(u8),
}

#[derive(Clone, Debug)]
pub(super) struct Tcp {
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// Of a length divisible by 4.
    pub(super) options: Vec<u8>,
}

impl Transport {
    /// The protocol number that stands in the header of `network`.
    pub(super) fn protocol(&self, network: &Network) -> u8 {
        match (self, network) {
            (Transport::Tcp(_), _) => PROTOCOL_TCP,
            (Transport::Udp { .. }, _) => PROTOCOL_UDP,
            (Transport::Echo { .. } | Transport::Icmp { .. }, Network::V6(_)) => PROTOCOL_ICMPV6,
            (Transport::Echo { .. } | Transport::Icmp { .. }, _) => PROTOCOL_ICMP,
            (Transport::Other(number), _) => *number,
        }
    }

    /// Header and payload. `break_checksum` makes the checksum wrong.
    pub(super) fn datagram(
        &self,
        network: &Network,
        payload: &[u8],
        break_checksum: bool,
    ) -> Vec<u8> {
        let mut bytes = self.header(network, payload.len());
        bytes.extend(payload);
        let Some(at) = self.checksum_offset() else { return bytes };

        let mut sum = checksum(&[&self.pseudo_header(network, bytes.len()), &bytes]);
        if sum == 0 && matches!(self, Transport::Udp { .. }) {
            sum = 0xffff; // zero would mean that there is none
        }
        if break_checksum {
            sum ^= 0x5555;
        }
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    pub(super) fn pseudo_header(&self, network: &Network, length: usize) -> Vec<u8> {
        match (self, network) {
            // The one checksum of these that covers nothing else.
            (Transport::Echo { .. } | Transport::Icmp { .. }, Network::V4(_)) => Vec::new(),
            _ => network.pseudo_header(self.protocol(network), length),
        }
    }

    /// The header, its checksum still zero.
    fn header(&self, network: &Network, payload_len: usize) -> Vec<u8> {
        match self {
            Transport::Tcp(tcp) => tcp.header(),
            Transport::Udp { source, destination } => {
                let length = u16::try_from(UDP_HEADER_LEN + payload_len)
                    .expect("a datagram is at most 64 KiB");
                [*source, *destination, length, 0].map(u16::to_be_bytes).concat()
            }
            Transport::Echo { reply, identifier, sequence } => {
                let kind = match (network, reply) {
                    (Network::V6(_), false) => 128,
                    (Network::V6(_), true) => 129,
                    (_, false) => 8,
                    (_, true) => 0,
                };
                let mut header = vec![kind, 0, 0, 0];
                header.extend(identifier.to_be_bytes());
                header.extend(sequence.to_be_bytes());
                header
            }
            Transport::Icmp { kind, code, rest } => {
                let mut header = vec![*kind, *code, 0, 0];
                header.extend(rest.to_be_bytes());
                header
            }
            Transport::Other(_) => Vec::new(),
        }
    }

    fn checksum_offset(&self) -> Option<usize> {
        match self {
            Transport::Tcp(_) => Some(16),
            Transport::Udp { .. } => Some(6),
            Transport::Echo { .. } | Transport::Icmp { .. } => Some(2),
            Transport::Other(_) => None,
        }
    }
}

impl Tcp {
    fn header(&self) -> Vec<u8> {
        let words = (TCP_HEADER_LEN + self.options.len()) / 4;
        let mut header = Vec::with_capacity(words * 4);
        header.extend(self.source.to_be_bytes());
        header.extend(self.destination.to_be_bytes());
        header.extend(self.seq.to_be_bytes());
        header.extend(self.ack.to_be_bytes());
        header.extend([(words as u8) << 4, self.flags]);
        header.extend(self.window.to_be_bytes());
        header.extend([0; 4]); // checksum and urgent pointer
        header.extend(&self.options);
        header
    }
}

/// The flags that `letters` stand for.
pub(super) fn tcp_flags(letters: &str) -> u8 {
    letters.chars().fold(0, |flags, letter| {
        let bit = "FSRPAUEW".find(letter).unwrap_or_else(|| panic!("no TCP flag {letter:?}"));
        flags | 1 << bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_where_rfc_9293_puts_them() {
        assert_eq!(tcp_flags("FSRPAUEW"), 0xff);
        assert_eq!(tcp_flags("SA"), 0x12);
        assert_eq!(tcp_flags(""), 0);
    }
}
