//! The flows that are measured and that fill the tables, as frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use firewall_common::{
    flow::{KeyV4, KeyV6},
    step::{Step, client_port},
    wire::{self, ip_protocol},
};
use lab::{Mac, Packet};
use serde::Serialize;

/// Sequence numbers that the ends begin with.
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000;

/// A full segment on Ethernet, timestamps left out.
const PAYLOAD_LEN: usize = 1_448;
/// The payload of a segment of media: one interleaved frame (RFC 2326 §10.12).
pub(super) const MEDIA_LEN: usize = 1_400;
/// The payload of a datagram: that of a small RTP packet.
pub(super) const DATAGRAM_LEN: usize = 160;
/// Where it is cut in two, counted from the UDP header.
pub(super) const CUT: usize = 80;
/// Largest window (RFC 7323 §2.3).
const WINDOW_SCALE: [u8; 4] = [1, 3, 3, 14];

/// What comes before media that a filter takes.
const SETUP: &[u8] =
    b"SETUP rtsp://h/s RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n";
/// What keeps a session alive, over and over.
pub(super) const REQUEST: &[u8] = b"GET_PARAMETER rtsp://192.0.2.1/stream RTSP/1.0\r\nCSeq: 7\r\n\
    Session: 12345678\r\nUser-Agent: player/1.0\r\n\r\n";
/// Its answer. To the filter it is one to any request, for no request has its number.
pub(super) const REPLY: &[u8] =
    b"RTSP/1.0 200 OK\r\nCSeq: 6\r\nSession: 12345678\r\nServer: camera/1.0\r\n\r\n";

/// A reply without a number, which is noted and passes.
const ODD_REPLY: &[u8] = b"RTSP/1.0 200 OK\r\nSession: 12345678\r\nServer: camera/1.0\r\n\r\n";

/// The address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A port that the policy names no protocol for: the flows that fill the tables.
    Unnamed,
    /// The same, for connections that begin while it is measured.
    Fresh,
    /// A port for exchanges of datagrams.
    Datagrams,
    /// The same, for those that begin while it is measured.
    FreshDatagrams,
    /// A protocol that the policy denies.
    Denied,
    /// A protocol of the policy that no filter is bound to.
    Unbound,
    /// The same, for connections whose streams go on from run to run.
    MediaUnbound,
    /// A protocol that the RTSP filter is bound to, likewise.
    Filtered,
}

impl Service {
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Unnamed => 9_000,
            Self::Fresh => 9_001,
            Self::Datagrams => 9_002,
            Self::FreshDatagrams => 9_004,
            Self::Denied => 9_003,
            Self::Unbound => 554,
            Self::MediaUnbound => 555,
            Self::Filtered => 556,
        }
    }

    const fn transport(self) -> u8 {
        match self {
            Self::Datagrams | Self::FreshDatagrams => ip_protocol::UDP,
            _ => ip_protocol::TCP,
        }
    }
}

/// One connection, or exchange of datagrams.
#[derive(Clone, Copy)]
pub(crate) struct Conversation {
    client: SocketAddr,
    server: SocketAddr,
    transport: u8,
}

impl Conversation {
    /// Flow `number` of a family: each comes from a client of its own. The kernel programs for measurements
    /// make the same of a number (`firewall-ebpf/src/bench/step.rs`).
    ///
    /// # Panics
    ///
    /// For numbers from [`Step::COUNT_END`] on: that is how many addresses the clients have.
    pub(crate) fn new(family: Family, service: Service, number: u32) -> Self {
        assert!(number < Step::COUNT_END, "too many clients");
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
        Self {
            client: (client, client_port(number)).into(),
            server: (server, service.port()).into(),
            transport: service.transport(),
        }
    }

    /// The client asks for a connection.
    pub(crate) fn syn(self) -> Vec<u8> {
        let syn = Packet::tcp(self.client, self.server).seq(CLIENT_ISN);
        syn.tcp_options(&WINDOW_SCALE).build()
    }

    /// The server grants it.
    pub(crate) fn syn_ack(self) -> Vec<u8> {
        self.server_says("SA", SERVER_ISN, 0).tcp_options(&WINDOW_SCALE).build()
    }

    /// The client acknowledges and has nothing to say.
    pub(crate) fn acknowledgment(self) -> Vec<u8> {
        self.client_says("A").build()
    }

    /// SYN, SYN/ACK, ACK.
    pub(crate) fn handshake(self) -> [Vec<u8>; 3] {
        [self.syn(), self.syn_ack(), self.acknowledgment()]
    }

    /// The client sends a full segment.
    pub(crate) fn data(self) -> Vec<u8> {
        self.client_says("PA").payload([b'x'; PAYLOAD_LEN]).build()
    }

    /// The client asks for a stream, and the server opens its window.
    pub(crate) fn asks_for_media(self) -> [Vec<u8>; 2] {
        let request = self.client_says("PA").payload(SETUP);
        let first = SERVER_ISN.wrapping_add(1);
        let answer = self.server_says("A", first, SETUP.len() as u32).window(u16::MAX);
        [request.build(), answer.build()]
    }

    /// A segment of media that lies one before the first one of the stream.
    pub(crate) fn before_media(self) -> Vec<u8> {
        let mut media = vec![0; MEDIA_LEN];
        let len = (MEDIA_LEN - 4) as u16;
        media[0] = b'$';
        media[2..4].copy_from_slice(&len.to_be_bytes());
        self.before_the_next(&media)
    }

    /// A request that lies one before the first one after the SETUP.
    pub(crate) fn before_requests(self) -> Vec<u8> {
        self.before_the_next(REQUEST)
    }

    /// A reply that lies one before the first one of the server.
    pub(crate) fn before_replies(self) -> Vec<u8> {
        self.before_the_first_of_the_server(REPLY)
    }

    /// Reply `number` of a server that leaves its number out, which the filter notes: counted from 0.
    pub(crate) fn odd_reply(self, number: u32) -> Vec<u8> {
        let before = (ODD_REPLY.len() as u32).wrapping_mul(number);
        let seq = SERVER_ISN.wrapping_add(1).wrapping_add(before);
        self.server_says("PA", seq, SETUP.len() as u32).payload(ODD_REPLY).build()
    }

    /// The client sends a datagram.
    pub(crate) fn datagram(self) -> Vec<u8> {
        Packet::udp(self.client, self.server).payload([b'x'; DATAGRAM_LEN]).build()
    }

    /// The server answers it.
    pub(crate) fn answer(self) -> Vec<u8> {
        Packet::udp(self.server, self.client).payload([b'x'; DATAGRAM_LEN]).build()
    }

    /// A fragmented datagram of the client's: its first fragment, and the one behind that.
    pub(crate) fn fragments(self) -> [Vec<u8>; 2] {
        let packet =
            Packet::udp(self.client, self.server).payload([b'x'; DATAGRAM_LEN]).identification(0);
        [packet.build_fragment(0..CUT), packet.build_fragment(CUT..packet.datagram_len())]
    }

    /// What an IPv4 flow lies under in the kernel's tables.
    pub(crate) fn key_v4(self) -> KeyV4 {
        KeyV4::of(&self.packet()).key
    }

    /// The same of an IPv6 flow.
    pub(crate) fn key_v6(self) -> KeyV6 {
        KeyV6::of(&self.packet()).key
    }

    fn packet(self) -> wire::Packet {
        wire::Packet {
            source: words(self.client.ip()),
            destination: words(self.server.ip()),
            source_port: self.client.port(),
            destination_port: self.server.port(),
            protocol: self.transport,
            ..wire::Packet::default()
        }
    }

    fn client_says(self, flags: &str) -> Packet {
        Packet::tcp(self.client, self.server)
            .flags(flags)
            .seq(CLIENT_ISN.wrapping_add(1))
            .ack(SERVER_ISN.wrapping_add(1))
    }

    /// The server, once it got `len` bytes.
    fn server_says(self, flags: &str, seq: u32, len: u32) -> Packet {
        let ack = CLIENT_ISN.wrapping_add(1).wrapping_add(len);
        Packet::tcp(self.server, self.client).flags(flags).seq(seq).ack(ack)
    }

    /// A segment of the client's that ends where its next one after the SETUP begins.
    fn before_the_next(self, payload: &[u8]) -> Vec<u8> {
        let next = CLIENT_ISN.wrapping_add(1).wrapping_add(SETUP.len() as u32);
        self.client_says("PA").seq(next.wrapping_sub(payload.len() as u32)).payload(payload).build()
    }

    fn before_the_first_of_the_server(self, payload: &[u8]) -> Vec<u8> {
        let seq = SERVER_ISN.wrapping_add(1).wrapping_sub(payload.len() as u32);
        self.server_says("PA", seq, SETUP.len() as u32).payload(payload).build()
    }
}

/// The frame, to change from run to run as `step` says.
pub(crate) fn stepping(mut frame: Vec<u8>, step: Step) -> Vec<u8> {
    frame[..size_of::<Step>()].copy_from_slice(bytemuck::bytes_of(&step));
    frame
}

/// Ethernet addresses have room for what a frame is to become.
const _: () = assert!(size_of::<Step>() <= 2 * size_of::<Mac>());

/// An address as the kernel programs keep it.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [u32::from_ne_bytes(v4.octets()), 0, 0, 0],
        IpAddr::V6(v6) => bytemuck::cast(v6.octets()),
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

    #[test]
    fn a_frame_that_is_to_change_is_the_same_packet() {
        let frame = Conversation::new(Family::V4, Service::Unnamed, 1).acknowledgment();
        let changed = stepping(frame.clone(), Step::scattered(1_000));
        assert_eq!(changed[12..], frame[12..]);
        assert_ne!(changed[..12], frame[..12]);
    }
}
