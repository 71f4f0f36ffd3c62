//! The TCP connections that the flow table is filled with, as frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lab::Packet;
use serde::Serialize;

/// Sequence numbers that the ends begin with.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000;

/// A full segment on Ethernet, timestamps left out.
const PAYLOAD_LEN: usize = 1_448;

/// The payload of a segment of media: one interleaved frame (RFC 2326 §10.12).
const FRAME_LEN: usize = 1_400;
/// Largest window (RFC 7323 §2.3).
const WINDOW_SCALE: [u8; 4] = [1, 3, 3, 14];

/// What comes before media that a filter takes.
const SETUP: &[u8] =
    b"SETUP rtsp://h/s RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n";

/// The address family.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Family {
    #[serde(rename = "ipv4")]
    V4,
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// What the server is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// A port that the policy names no protocol for.
    Unnamed,
    /// A protocol of the policy that no filter is bound to.
    Unbound,
    /// The same, for connections whose streams go on from run to run.
    MediaUnbound,
    /// A protocol that the RTSP filter is bound to, likewise.
    MediaFiltered,
}

impl Service {
    fn port(self) -> u16 {
        match self {
            Self::Unnamed => 9_000,
            Self::Unbound => 554,
            Self::MediaUnbound => 555,
            Self::MediaFiltered => 556,
        }
    }
}

/// One connection.
#[derive(Clone, Copy)]
pub(crate) struct Conversation {
    client: SocketAddr,
    server: SocketAddr,
}

impl Conversation {
    /// Connection `number` of a family: each comes from a client of its own.
    ///
    /// # Panics
    ///
    /// For numbers from 2^24 on: that is how many addresses the clients have.
    pub(crate) fn new(family: Family, service: Service, number: u32) -> Self {
        assert!(number < 1 << 24, "too many clients");
        let [_, a, b, c] = number.to_be_bytes();
        let (client, server): (IpAddr, IpAddr) = match family {
            Family::V4 => (Ipv4Addr::new(10, a, b, c).into(), Ipv4Addr::new(192, 0, 2, 1).into()),
            Family::V6 => {
                let (high, low) = (u16::from(a), u16::from_be_bytes([b, c]));
                (
                    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, high, low).into(),
                    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1).into(),
                )
            }
        };
        // Ports as a client's kernel deals them out.
        let port = 32_768 + (number % 28_232) as u16;
        Self { client: (client, port).into(), server: (server, service.port()).into() }
    }

    /// SYN, SYN/ACK, ACK.
    pub(crate) fn handshake(self) -> [Vec<u8>; 3] {
        let syn = Packet::tcp(self.client, self.server).seq(CLIENT_ISN).tcp_options(&WINDOW_SCALE);
        let answer = Packet::tcp(self.server, self.client)
            .flags("SA")
            .tcp_options(&WINDOW_SCALE)
            .seq(SERVER_ISN)
            .ack(CLIENT_ISN.wrapping_add(1));
        [syn.build(), answer.build(), self.acknowledgment()]
    }

    /// The client acknowledges and has nothing to say.
    pub(crate) fn acknowledgment(self) -> Vec<u8> {
        self.client_says("A").build()
    }

    /// The client sends a full segment.
    pub(crate) fn data(self) -> Vec<u8> {
        self.client_says("PA").payload([b'x'; PAYLOAD_LEN]).build()
    }

    /// The client asks for a stream, and the server opens its window.
    pub(crate) fn asks_for_media(self) -> [Vec<u8>; 2] {
        let request = self.client_says("PA").payload(SETUP);
        let answer = Packet::tcp(self.server, self.client)
            .flags("A")
            .seq(SERVER_ISN.wrapping_add(1))
            .ack(CLIENT_ISN.wrapping_add(1).wrapping_add(SETUP.len() as u32))
            .window(u16::MAX);
        [request.build(), answer.build()]
    }

    /// A segment of media that lies one before the first one of the stream.
    pub(crate) fn before_media(self) -> Vec<u8> {
        let mut frame = vec![0; FRAME_LEN];
        let len = (FRAME_LEN - 4) as u16;
        frame[0] = b'$';
        frame[2..4].copy_from_slice(&len.to_be_bytes());
        let first = CLIENT_ISN.wrapping_add(1).wrapping_add(SETUP.len() as u32);
        self.client_says("PA").seq(first.wrapping_sub(FRAME_LEN as u32)).payload(frame).build()
    }

    fn client_says(self, flags: &str) -> Packet {
        Packet::tcp(self.client, self.server)
            .flags(flags)
            .seq(CLIENT_ISN.wrapping_add(1))
            .ack(SERVER_ISN.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_connections_are_the_same() {
        for family in Family::ALL {
            let numbers = (0..70_000).chain([(1 << 24) - 1]);
            let mut seen = HashSet::new();
            for conversation in numbers.map(|n| Conversation::new(family, Service::Unnamed, n)) {
                assert!(seen.insert((conversation.client, conversation.server)));
            }
        }
    }
}
