//! Packets as tests write them, with every length and checksum right unless asked otherwise.
//!
//! ```
//! use lab::Packet;
//!
//! let client = "10.1.0.2:58907".parse().unwrap();
//! let camera = "10.2.0.2:554".parse().unwrap();
//! let frame = Packet::tcp(client, camera).flags("PA").seq(1001).ack(5).payload(b"OPTIONS").build();
//! assert_eq!(frame.len(), 14 + 20 + 20 + 7);
//! ```

mod checksum;
mod network;
mod transport;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
};

use self::{
    network::{
        ArpRequest, EIGHT, Extension, Ipv4, Ipv6, Network, PROTOCOL_DESTINATION_OPTIONS,
        PROTOCOL_HOP_BY_HOP, PROTOCOL_ROUTING, Place,
    },
    transport::{Tcp, Transport, tcp_flags},
};

const ETHERNET_HEADER_LEN: usize = 14;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// What Linux begins with when the other side has said nothing of its windows.
const DEFAULT_WINDOW: u16 = 64240;
const DEFAULT_TTL: u8 = 64;
/// More fits into the header of neither IPv4 nor TCP.
const MAX_OPTIONS_LEN: usize = 40;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.map(|byte| format!("{byte:02x}"));
        f.write_str(&bytes.join(":"))
    }
}

/// A packet to be built. Made by [`Packet::tcp`] and its like, shaped by the methods that follow,
/// finished by [`Packet::build`] or [`Packet::build_fragment`].
#[derive(Clone, Debug)]
pub struct Packet {
    source_mac: Mac,
    destination_mac: Mac,
    /// EtherType and tag, the outermost first.
    tags: Vec<(u16, u16)>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
    break_checksum: bool,
}

impl Packet {
    /// A TCP segment; a SYN until [`Packet::flags`] says otherwise.
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        let transport = Transport::Tcp(Tcp {
            source: source.port(),
            destination: destination.port(),
            seq: 0,
            ack: 0,
            flags: tcp_flags("S"),
            window: DEFAULT_WINDOW,
            options: Vec::new(),
        });
        Self::ip(source.ip(), destination.ip(), transport)
    }

    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        let transport = Transport::Udp { source: source.port(), destination: destination.port() };
        Self::ip(source.ip(), destination.ip(), transport)
    }

    /// An ICMP or ICMPv6 echo request.
    pub fn echo_request(
        source: IpAddr,
        destination: IpAddr,
        identifier: u16,
        sequence: u16,
    ) -> Self {
        Self::ip(source, destination, Transport::Echo { reply: false, identifier, sequence })
    }

    /// An ICMP or ICMPv6 echo reply.
    pub fn echo_reply(source: IpAddr, destination: IpAddr, identifier: u16, sequence: u16) -> Self {
        Self::ip(source, destination, Transport::Echo { reply: true, identifier, sequence })
    }

    /// An ICMP or ICMPv6 message of type `kind`. `rest` stands between checksum and payload: an MTU, a
    /// pointer, or 0.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, rest: u32) -> Self {
        Self::ip(source, destination, Transport::Icmp { kind, code, rest })
    }

    /// Makes the packet's payload the first `len` bytes of the IP packet `quoted`, as an ICMP error has it.
    ///
    /// # Panics
    ///
    /// When `quoted` is in a VLAN: its IP packet is looked for behind a plain Ethernet header.
    pub fn quoting(self, quoted: &Packet, len: usize) -> Self {
        assert!(quoted.tags.is_empty(), "a quoted packet bears no tag");
        let frame = quoted.build();
        let packet = &frame[ETHERNET_HEADER_LEN..];
        self.payload(&packet[..len.min(packet.len())])
    }

    /// A packet of any other `protocol`, whose payload is all that follows the IP header.
    pub fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        Self::ip(source, destination, Transport::Other(protocol))
    }

    /// `sender` asks who has `target`.
    pub fn arp_request(sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self::new(Network::Arp(ArpRequest { sender, target }), Transport::Other(0))
    }

    /// Sets the hardware addresses; without it, two fixed ones.
    pub fn macs(mut self, source: Mac, destination: Mac) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// Adds an 802.1Q tag inside the tags added before.
    pub fn vlan(mut self, id: u16) -> Self {
        self.tags.push((ETHERTYPE_VLAN, id));
        self
    }

    /// Adds a service tag and a customer tag (802.1ad, QinQ).
    pub fn qinq(mut self, service: u16, customer: u16) -> Self {
        self.tags.push((ETHERTYPE_QINQ, service));
        self.vlan(customer)
    }

    /// Sets the IPv4 options, padded with zeros to a multiple of 4 bytes.
    ///
    /// # Panics
    ///
    /// When the packet is not IPv4 or the options are longer than 40 bytes.
    pub fn ip_options(mut self, bytes: &[u8]) -> Self {
        let Network::V4(ip) = &mut self.network else {
            panic!("only IPv4 has options in its header");
        };
        ip.options = padded_options(bytes);
        self
    }

    /// Adds a hop-by-hop options header with `options` after those added before.
    pub fn hop_by_hop(self, options: &[u8]) -> Self {
        self.extension(PROTOCOL_HOP_BY_HOP, options)
    }

    /// Adds a destination options header with `options` after those added before.
    pub fn destination_options(self, options: &[u8]) -> Self {
        self.extension(PROTOCOL_DESTINATION_OPTIONS, options)
    }

    /// Adds a routing header of type `kind` with `data` after those added before.
    pub fn routing(self, kind: u8, segments_left: u8, data: &[u8]) -> Self {
        self.extension(PROTOCOL_ROUTING, &[&[kind, segments_left], data].concat())
    }

    /// Adds an IPv6 extension header `number` with `body` behind its first two bytes (next header and
    /// length), padded to a multiple of 8 bytes.
    ///
    /// # Panics
    ///
    /// When the packet is not IPv6.
    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        let Network::V6(ip) = &mut self.network else {
            panic!("only IPv6 has extension headers");
        };
        ip.extensions.push(Extension::new(number, body));
        self
    }

    /// Sets the identification that the fragments of one datagram share. IPv4 takes its low 16 bits.
    pub fn identification(mut self, id: u32) -> Self {
        match &mut self.network {
            Network::V4(ip) => ip.identification = id as u16,
            Network::V6(ip) => ip.identification = id,
            Network::Arp(_) => panic!("ARP has no identification"),
        }
        self
    }

    /// Sets the time to live, in IPv6 the hop limit.
    pub fn ttl(mut self, hops: u8) -> Self {
        match &mut self.network {
            Network::V4(ip) => ip.ttl = hops,
            Network::V6(ip) => ip.hop_limit = hops,
            Network::Arp(_) => panic!("ARP has no time to live"),
        }
        self
    }

    /// Sets the TCP flags, by letters: `S`YN, `A`CK, `F`IN, `R`ST, `P`SH, `U`RG, `E`CE, C`W`R. The
    /// empty string means none.
    ///
    /// # Panics
    ///
    /// When the packet is not TCP, or there is no such flag.
    pub fn flags(mut self, letters: &str) -> Self {
        self.tcp_header().flags = tcp_flags(letters);
        self
    }

    /// Sets the byte of TCP flags. Panics when the packet is not TCP, as the next four do.
    pub fn flag_bits(mut self, bits: u8) -> Self {
        self.tcp_header().flags = bits;
        self
    }

    /// Sets the sequence number.
    pub fn seq(mut self, number: u32) -> Self {
        self.tcp_header().seq = number;
        self
    }

    /// Sets the acknowledgement number.
    pub fn ack(mut self, number: u32) -> Self {
        self.tcp_header().ack = number;
        self
    }

    /// Sets the window, as it stands in the header.
    pub fn window(mut self, window: u16) -> Self {
        self.tcp_header().window = window;
        self
    }

    /// Sets the TCP options, padded with zeros to a multiple of 4 bytes.
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        self.tcp_header().options = padded_options(bytes);
        self
    }

    /// Sets what follows the last header.
    pub fn payload(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.payload = bytes.as_ref().to_vec();
        self
    }

    /// Makes the checksum of TCP, UDP or ICMP wrong.
    pub fn wrong_checksum(mut self) -> Self {
        self.break_checksum = true;
        self
    }

    /// The whole frame, without padding to Ethernet's minimum of 60 bytes.
    pub fn build(&self) -> Vec<u8> {
        match &self.network {
            Network::Arp(request) => self.frame(&request.packet(self.source_mac)),
            _ => self.frame(&self.ip_packet(None, &self.datagram())),
        }
    }

    /// A frame that carries the bytes `part` of the datagram (counted from the TCP, UDP or ICMP
    /// header) as an IP fragment. It is marked as the last one when `part` ends where the datagram
    /// does. [`Packet::datagram_len`] is the end.
    ///
    /// # Panics
    ///
    /// When `part` does not begin at a multiple of 8, or is not within the datagram.
    pub fn build_fragment(&self, part: Range<usize>) -> Vec<u8> {
        assert_eq!(part.start % EIGHT, 0, "a fragment begins at a multiple of 8 bytes");
        let datagram = self.datagram();
        let place = Place {
            offset: u16::try_from(part.start / EIGHT).expect("a datagram is at most 64 KiB"),
            more_follow: part.end < datagram.len(),
        };
        self.frame(&self.ip_packet(Some(place), &datagram[part]))
    }

    /// A frame that carries `content` as the fragment that begins at `offset` (units of 8 bytes), whatever
    /// the datagram itself has there.
    pub fn build_piece(&self, offset: u16, more_follow: bool, content: &[u8]) -> Vec<u8> {
        self.frame(&self.ip_packet(Some(Place { offset, more_follow }), content))
    }

    /// The length of what [`Packet::build_fragment`] takes parts of: transport header and payload.
    pub fn datagram_len(&self) -> usize {
        self.datagram().len()
    }

    fn ip(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        let network = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Network::V4(Ipv4 {
                source,
                destination,
                options: Vec::new(),
                identification: 0,
                ttl: DEFAULT_TTL,
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Network::V6(Ipv6 {
                source,
                destination,
                extensions: Vec::new(),
                identification: 0,
                hop_limit: DEFAULT_TTL,
            }),
            _ => panic!("{source} and {destination} are not of one family"),
        };
        Self::new(network, transport)
    }

    fn new(network: Network, transport: Transport) -> Self {
        Self {
            source_mac: Mac([2, 0, 0, 0, 0, 1]),
            destination_mac: Mac([2, 0, 0, 0, 0, 2]),
            tags: Vec::new(),
            network,
            transport,
            payload: Vec::new(),
            break_checksum: false,
        }
    }

    fn tcp_header(&mut self) -> &mut Tcp {
        match &mut self.transport {
            Transport::Tcp(tcp) => tcp,
            other => panic!("{other:?} has no TCP header"),
        }
    }

    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination_mac.0, self.source_mac.0].concat();
        for (tag_type, tag) in &self.tags {
            frame.extend(tag_type.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(self.network.ethertype().to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn ip_packet(&self, place: Option<Place>, content: &[u8]) -> Vec<u8> {
        let protocol = self.transport.protocol(&self.network);
        match &self.network {
            Network::Arp(_) => panic!("ARP is not IP: it has no fragments and no datagram"),
            Network::V4(ip) => ip.packet(protocol, place, content),
            Network::V6(ip) => ip.packet(protocol, place, content),
        }
    }

    fn datagram(&self) -> Vec<u8> {
        self.transport.datagram(&self.network, &self.payload, self.break_checksum)
    }
}

fn padded_options(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() <= MAX_OPTIONS_LEN, "options are at most {MAX_OPTIONS_LEN} bytes");
    let mut options = bytes.to_vec();
    options.resize(bytes.len().next_multiple_of(4), 0);
    options
}

#[cfg(test)]
mod tests {
    use super::{checksum::checksum, *};

    fn v4() -> (SocketAddr, SocketAddr) {
        ("10.1.0.2:58907".parse().unwrap(), "10.2.0.2:554".parse().unwrap())
    }

    fn v6() -> (SocketAddr, SocketAddr) {
        ("[fd00:1::2]:58907".parse().unwrap(), "[fd00:2::2]:554".parse().unwrap())
    }

    fn pseudo_header(packet: &Packet, content: &[u8]) -> Vec<u8> {
        packet.transport.pseudo_header(&packet.network, content.len())
    }

    #[test]
    fn checksums_over_header_and_content_come_out_as_zero() {
        let (source, destination) = v4();
        for packet in [
            Packet::tcp(source, destination).tcp_options(&[2, 4, 5, 180]).payload(b"odd"),
            Packet::udp(source, destination).payload(b"odd"),
            Packet::echo_request(source.ip(), destination.ip(), 7, 1).payload(b"odd"),
            Packet::icmp(source.ip(), destination.ip(), 3, 4, 1400).payload(b"odd"),
        ] {
            let frame = packet.build();
            assert_eq!(checksum(&[&frame[14..34]]), 0, "IPv4 header of {packet:?}");
            let content = &frame[34..];
            assert_eq!(checksum(&[&pseudo_header(&packet, content), content]), 0, "{packet:?}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_wrong() {
        let (source, destination) = v4();
        let packet = Packet::tcp(source, destination).wrong_checksum();
        let frame = packet.build();
        assert_ne!(checksum(&[&pseudo_header(&packet, &frame[34..]), &frame[34..]]), 0);
    }

    #[test]
    fn tags_stand_between_addresses_and_ethertype() {
        let (source, destination) = v4();
        let frame = Packet::udp(source, destination).qinq(5, 6).build();
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x08, 0]);
    }

    #[test]
    fn options_lengthen_the_ipv4_header() {
        let (source, destination) = v4();
        let frame = Packet::udp(source, destination).ip_options(&[7, 3, 4]).build();
        assert_eq!(frame[14], 0x46);
        assert_eq!(frame[34..38], [7, 3, 4, 0]);
        assert_eq!(checksum(&[&frame[14..38]]), 0);
    }

    #[test]
    fn ipv6_headers_name_each_other_in_order() {
        let (source, destination) = v6();
        let packet = Packet::tcp(source, destination)
            .hop_by_hop(&[])
            .routing(4, 0, &[0; 4])
            .destination_options(&[5, 2, 0, 0]);
        let frame = packet.build_fragment(0..packet.datagram_len());
        let ip = &frame[14..];
        assert_eq!(ip[6], PROTOCOL_HOP_BY_HOP);
        assert_eq!(ip[40..48], [PROTOCOL_ROUTING, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(ip[48..56], [PROTOCOL_DESTINATION_OPTIONS, 0, 4, 0, 0, 0, 0, 0]);
        assert_eq!(ip[56..64], [44, 0, 5, 2, 0, 0, 1, 0]);
        assert_eq!(ip[64..72], [6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ip.len(), 72 + 20);
        assert_eq!(usize::from(ip[5]), ip.len() - 40);
    }

    #[test]
    fn fragments_carry_their_place_and_whether_more_follow() {
        for (source, destination) in [v4(), v6()] {
            let packet = Packet::udp(source, destination).identification(9).payload([1; 24]);
            let field = |frame: &[u8]| match source {
                SocketAddr::V4(_) => u16::from_be_bytes([frame[20], frame[21]]),
                SocketAddr::V6(_) => u16::from_be_bytes([frame[56], frame[57]]),
            };
            let (first, middle, last) = match source {
                SocketAddr::V4(_) => (0x2000, 0x2001, 0x0003),
                SocketAddr::V6(_) => (0x0001, 0x0009, 0x0018),
            };
            assert_eq!(field(&packet.build_fragment(0..8)), first);
            assert_eq!(field(&packet.build_fragment(8..24)), middle);
            assert_eq!(field(&packet.build_fragment(24..32)), last);
        }
    }
}
