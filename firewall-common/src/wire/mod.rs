//! From bytes to a [`Packet`]: the facts that the rest of the firewall judges by.
//!
//! The parser runs on anything that can hand out bytes at an offset ([`Bytes`]): a slice on the host, the
//! packet's memory in the kernel. It never looks at a byte that it was not given, and each header's
//! lengths are checked against what is really there.

mod bytes;
pub mod checksum;
mod ethernet;
mod fragment;
mod icmp;
mod ipv4;
mod ipv6;
mod options;
mod quoted;
#[cfg(test)]
mod tests;
mod transport;

pub use bytes::{Bytes, Header};

pub use ethernet::{MAX_VLAN_TAGS, parse};
pub use icmp::{is_answer, question};
pub use ipv6::MAX_EXTENSION_HEADERS;
pub use options::NO_WINDOW_SCALE;
pub use quoted::quoted;
pub use transport::tcp_flags;

use crate::reason::Reason;

/// IP protocol numbers that the firewall knows by name (IANA "Assigned Internet Protocol Numbers").
pub mod ip_protocol {
    /// RFC 792
    pub const ICMP: u8 = 1;
    /// RFC 9293
    pub const TCP: u8 = 6;
    /// RFC 768
    pub const UDP: u8 = 17;
    /// RFC 4443
    pub const ICMPV6: u8 = 58;
}

/// What stands for the port of the end that answers ICMP echo requests. So a request and its reply share a key,
/// and a request that the other end sends under the same identifier has another one. Of other ICMP both ports are the
/// type, that of the [`question`] if it is an answer: who may ask one thing may not say another.
pub const ECHO_PORT: u16 = 8;

/// Where in its datagram a packet stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// Not a fragment.
    #[default]
    Whole = 0,
    /// Begins a datagram; holds the transport header.
    First = 1,
    /// Continues a datagram; holds no ports.
    Later = 2,
}

/// What one packet says about itself.
///
/// Addresses are in network byte order as they stand in the packet; an IPv4 address takes the first word
/// and leaves the others 0. All other numbers are in host order, all offsets count from the first byte of
/// the frame.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Source port; 0 where there is none. For an ICMP echo request its identifier, for the reply
    /// [`ECHO_PORT`], where what other ICMP has stands too.
    pub source_port: u16,
    /// Destination port; 0 where there is none. For an ICMP echo request [`ECHO_PORT`], for the reply its
    /// identifier.
    pub destination_port: u16,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgment number.
    pub ack: u32,
    /// TCP window, unscaled.
    pub window: u16,
    /// TCP flags, see [`tcp_flags`].
    pub flags: u8,
    /// 4 or 6.
    pub version: u8,
    /// IP protocol of the transport header.
    pub protocol: u8,
    /// IPv6 hop limit; 0 for IPv4.
    pub hop_limit: u8,
    /// Place in the datagram.
    pub fragment: Fragment,
    /// Start of the IP header.
    pub ip_offset: u16,
    /// Start of the transport header.
    pub transport_offset: u16,
    /// Start of the payload.
    pub payload_offset: u16,
    /// Bytes of payload, by the IP header's length field.
    pub payload_len: u32,
    /// Bytes of the IP packet, by its own length field.
    pub ip_len: u32,
    /// Identification of the datagram that a fragment belongs to; of an IPv4 packet that is whole its own.
    pub fragment_id: u32,
    /// Where in its datagram a fragment begins, in units of 8 bytes.
    pub fragment_offset: u16,
    /// 1: more fragments follow.
    pub more_fragments: u8,
    /// TCP: the shift that a SYN announces for its windows (RFC 7323 §2), or [`NO_WINDOW_SCALE`].
    pub window_scale: u8,
    /// ICMP: its type. Flags are TCP's.
    pub icmp_type: u8,
    /// ICMP: its code.
    pub icmp_code: u8,
    /// Must be 0.
    pub reserved: [u8; 6],
}

// SAFETY: numbers may be 0, and of fragments 0 is the whole packet.
unsafe impl bytemuck::Zeroable for Packet {}

impl Packet {
    /// Sequence number of the first byte of payload: a SYN counts for one before it (RFC 9293 §3.4).
    #[inline(always)]
    pub const fn payload_seq(&self) -> u32 {
        self.seq.wrapping_add((self.flags & tcp_flags::SYN != 0) as u32)
    }

    /// Lays down in `turned` between which ends the packet goes, as one of the other direction would tell it. In
    /// place, for the sake of the kernel's stack.
    #[inline(always)]
    pub const fn turn(&self, turned: &mut Self) {
        turned.source = self.destination;
        turned.destination = self.source;
        turned.source_port = self.destination_port;
        turned.destination_port = self.source_port;
        turned.version = self.version;
        turned.protocol = self.protocol;
    }

    /// Whether the packet goes to where it comes from. Word by word: a comparison of arrays becomes a call of
    /// `memcmp`, which in the kernel goes byte by byte.
    #[inline(always)]
    pub const fn is_to_itself(&self) -> bool {
        let ([a, b, c, d], [w, x, y, z]) = (self.source, self.destination);
        (a ^ w) | (b ^ x) | (c ^ y) | (d ^ z) == 0
    }

    /// Whether there is something in the packet for a filter to read, or in the fragments that follow it.
    #[inline(always)]
    pub fn brings_payload(&self) -> bool {
        self.protocol == ip_protocol::TCP
            && (self.payload_len > 0 || self.fragment == Fragment::First)
    }
}

/// What the parser makes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet, now described.
    Ip,
    /// What IPv4 finds its neighbours by.
    Arp,
    /// Something the firewall has no opinion about: LLDP, spanning tree, ….
    NotIp,
    /// Refused for this reason.
    Refused(Reason),
}

/// The parser's inner result: what a header says, or why the packet is refused.
type Result<T> = core::result::Result<T, Reason>;
