//! The two address families, so that each table runs on both.

use std::net::{IpAddr, SocketAddr};

use crate::packet::Packet;

/// Both of them.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

const ETHERNET_HEADER_LEN: usize = 14;
const TCP_CHECKSUM_OFFSET: usize = 16;

/// IPv4 or IPv6, with the addresses of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Where requests come from.
    pub fn client(self) -> IpAddr {
        match self {
            Family::V4 => [10, 1, 0, 2].into(),
            Family::V6 => [0xfd00, 1, 0, 0, 0, 0, 0, 2].into(),
        }
    }

    /// Where they go to.
    pub fn camera(self) -> IpAddr {
        match self {
            Family::V4 => [10, 2, 0, 2].into(),
            Family::V6 => [0xfd00, 2, 0, 0, 0, 0, 0, 2].into(),
        }
    }

    /// In no network of any policy.
    pub fn stranger(self) -> IpAddr {
        match self {
            Family::V4 => [192, 0, 2, 7].into(),
            Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(),
        }
    }

    /// A SYN from the client to the camera.
    pub fn tcp(self, source_port: u16, destination_port: u16) -> Packet {
        Packet::tcp(self.client_at(source_port), self.camera_at(destination_port))
    }

    /// A datagram from the client to the camera.
    pub fn udp(self, source_port: u16, destination_port: u16) -> Packet {
        Packet::udp(self.client_at(source_port), self.camera_at(destination_port))
    }

    /// A datagram from the camera to the client.
    pub fn udp_back(self, source_port: u16, destination_port: u16) -> Packet {
        Packet::udp(self.camera_at(source_port), self.client_at(destination_port))
    }

    /// The client's address with `port`.
    pub fn client_at(self, port: u16) -> SocketAddr {
        (self.client(), port).into()
    }

    /// The camera's address with `port`.
    pub fn camera_at(self, port: u16) -> SocketAddr {
        (self.camera(), port).into()
    }
}

/// `frame`, an untagged TCP segment without IPv4 options or IPv6 extension headers, with only the sum of
/// the pseudo-header in its checksum field: so a local stack leaves it for the device to finish.
///
/// # Panics
///
/// When the frame is too short for that.
pub fn with_partial_checksum(frame: &[u8]) -> Vec<u8> {
    let ip = &frame[ETHERNET_HEADER_LEN..];
    let (header_len, addresses) = match ip[0] >> 4 {
        4 => (20, 12..20),
        _ => (40, 8..40),
    };
    const PROTOCOL_TCP: u32 = 6;
    let tcp_len = u32::try_from(ip.len() - header_len).expect("a segment is at most 64 KiB");
    let mut sum = PROTOCOL_TCP + tcp_len;
    for word in ip[addresses].chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word[1]);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let mut partial = frame.to_vec();
    let at = ETHERNET_HEADER_LEN + header_len + TCP_CHECKSUM_OFFSET;
    partial[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    partial
}
