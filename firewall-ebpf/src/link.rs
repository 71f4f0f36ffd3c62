//! What the bytes of an skb begin with, which is for the kind of link to say.
//!
//! A link with Ethernet headers keeps them before the packet at both hooks of traffic control. One without, as tun and
//! WireGuard are, has nothing there: the first byte is the IP header's, and what kind of packet it is stands beside it
//! (`skb->protocol`), where Ethernet has it in the frame. Nothing in an skb tells the two apart for sure, and each
//! interface is of one kind: so each kind has programs of its own, and no packet is asked.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_hdr_start_off::BPF_HDR_START_NET},
    helpers::bpf_skb_load_bytes_relative,
    programs::TcContext,
};
use firewall_common::{layout::Hook, reason::Reason, wire::Bytes as _};

use crate::{
    frame::IpFrame,
    hook::{INCOMPLETE, lacks_headers, parse_tc, parsed},
    work::Work,
};

/// A kind of link.
pub trait Link {
    /// Whether its frames begin with an Ethernet header.
    const ETHERNET: bool;

    /// The Ethernet type of the packet, if it is not in the frame.
    fn ether_type_aside(context: &TcContext) -> Option<u16>;
    /// Parses the frame onto the desk, as a function that the verifier knows by its signature alone.
    fn parse(context: *mut __sk_buff, work: *mut Work) -> u32;
}

/// Frames begin with an Ethernet header.
pub struct Ethernet;

/// Packets begin with their IP header.
pub struct NoHeader;

impl Link for Ethernet {
    const ETHERNET: bool = true;

    #[inline(always)]
    fn ether_type_aside(_context: &TcContext) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn parse(context: *mut __sk_buff, work: *mut Work) -> u32 {
        parse_tc(context, work)
    }
}

impl Link for NoHeader {
    const ETHERNET: bool = false;

    #[inline(always)]
    fn ether_type_aside(context: &TcContext) -> Option<u16> {
        // SAFETY: the context is the program's own.
        let ether_type = unsafe { (*context.skb.skb).protocol };
        Some(u16::from_be(ether_type as u16))
    }

    #[inline(always)]
    fn parse(context: *mut __sk_buff, work: *mut Work) -> u32 {
        parse_ip(context, work)
    }
}

/// As [`parse_tc`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn parse_ip(context: *mut __sk_buff, work: *mut Work) -> u32 {
    // SAFETY: the caller passes a reference, or so the verifier will not believe: hence the check.
    let Some(work) = (unsafe { work.as_mut() }) else {
        return Reason::Internal as u32;
    };
    let frame = IpFrame::new(TcContext::new(context));
    if matches!(work.hook, Hook::Ingress) && !begins_with_ip_header(context, &frame) {
        work.frame_len = frame.len() as u32;
        return Reason::IpVersion as u32;
    }
    let parsed = parsed(&frame, work);
    if lacks_headers(&frame, work, parsed) { parsed | INCOMPLETE } else { parsed }
}

/// Whether the IP header that the kernel will go by is where the frame begins. Some tunnels' drivers leave there what
/// they took off the packet (`skb_reset_mac_header` is the call that is missing), and it may look like a packet, which
/// would be judged instead. No field tells where the kernel's header is, but what lies behind it can be asked for: if
/// all of the frame's linear part does, it is at its beginning.
#[inline(always)]
fn begins_with_ip_header(context: *mut __sk_buff, frame: &IpFrame) -> bool {
    let mut byte = 0u8;
    let last = frame.linear_len().wrapping_sub(1);
    let to = (&raw mut byte).cast();
    // SAFETY: `to` points to one byte; the helper checks whether the packet has it.
    unsafe { bpf_skb_load_bytes_relative(context.cast(), last, to, 1, BPF_HDR_START_NET) == 0 }
}
