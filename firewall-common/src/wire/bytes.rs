//! Access to a packet's bytes.

use network_types::{
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

/// A header that can be read out of a packet: any bytes make a valid value of it.
///
/// # Safety
///
/// The type has no padding, no alignment above 1 that matters (it is read unaligned), and no invalid bit
/// pattern.
pub unsafe trait Header: Copy {}

// SAFETY: bytes are bytes.
unsafe impl<const N: usize> Header for [u8; N] {}
// SAFETY: packed structs of integers and byte arrays, by their definition in network-types.
unsafe impl Header for EthHdr {}
// SAFETY: as above.
unsafe impl Header for VlanHdr {}
// SAFETY: as above.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: as above.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: as above.
unsafe impl Header for TcpHdr {}
// SAFETY: as above.
unsafe impl Header for UdpHdr {}
// SAFETY: as above.
unsafe impl Header for Icmpv4Hdr {}

/// Something that holds a frame.
pub trait Bytes {
    /// How many bytes the frame has, linear or not.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// VLAN tags that were in front of the frame and are kept beside it, as the kernel does with the outer one
    /// of an skb.
    fn tags_kept_aside(&self) -> usize {
        0
    }

    /// The Ethernet type of what the first byte begins, where that is told beside the bytes: there is no Ethernet header
    /// in front of it then.
    fn ether_type_aside(&self) -> Option<u16> {
        None
    }

    /// The header that begins at `offset`; `None` if the frame ends before it does.
    fn read<H: Header>(&self, offset: usize) -> Option<H>;
}

impl Bytes for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read<H: Header>(&self, offset: usize) -> Option<H> {
        let bytes = self.get(offset..)?.get(..size_of::<H>())?;
        // SAFETY: the slice has the header's size, and a Header is valid for any bytes.
        Some(unsafe { bytes.as_ptr().cast::<H>().read_unaligned() })
    }
}

/// Reads a number back from memory, where the verifier has forgotten how it came about. So it finds each
/// round of a loop over options or extension headers equal to the one before, and walks the loop once
/// instead of once for each of thousands of chains; and what stands behind tags or either IP header once,
/// whatever stood before it.
#[inline(always)]
pub(super) fn forgotten(number: &u16) -> u16 {
    // SAFETY: a reference is valid to read from.
    unsafe { core::ptr::from_ref(number).read_volatile() }
}
