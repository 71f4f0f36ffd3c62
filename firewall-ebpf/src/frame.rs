//! The two kinds of packet memory: XDP's and traffic control's.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{
        bpf_redirect, bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_pull_data, bpf_skb_store_bytes, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
        bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    programs::{TcContext, XdpContext},
};
use core::{ffi::c_void, marker::PhantomData};
use firewall_common::{
    bound::masked,
    layout::Hook,
    wire::{Bytes, Header},
};

use crate::{
    clock, hook,
    link::{Ethernet, Link, NoHeader},
    maps::{FILTERS_TC, FILTERS_XDP},
    prohibited, report, shortcut, spoofing,
    work::Work,
};

/// Headers are looked for this far into a frame. The verifier needs a bound; longer chains of extension
/// headers are refused. All bits below a power of two.
const MAX_HEADER_OFFSET: usize = 2047;

/// Headers that traffic control makes linear where they are not.
const LINEAR: u32 = 256;

/// A packet in the kernel.
pub trait Frame: Bytes {
    /// The program's return value for a packet that goes on its way.
    const PASS: i32;
    /// The program's return value for a packet that does not.
    const DROP: i32;
    /// Whether the first byte is that of an Ethernet header.
    const ETHERNET: bool;
    /// Whether a frame that is sent back keeps a checksum that is left to the device to finish.
    const SENT_BACK_KEEPS_PARTIAL_CHECKSUM: bool;

    /// The context that helpers want.
    fn context(&self) -> *mut c_void;
    /// Index of the interface.
    fn interface(&self) -> u32;
    /// Copies `len` bytes from `offset` to `to`, wherever they lie. Needs `1 <= len`.
    ///
    /// # Safety
    ///
    /// `to` points to at least `len` bytes.
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool;
    /// Overwrites the bytes at `offset`. Headers that were read before are stale then.
    fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool;
    /// Cuts the frame to `len` bytes.
    fn truncate(&self, len: u32) -> bool;
    /// Makes room for `len` bytes before the first one of the frame.
    fn grow_head(&self, len: u32) -> bool;
    /// Sends the frame out by the interface that it came in on.
    fn send_back(&self, hook: Hook) -> i32;
    /// Sends the frame on past the kernel's stack, or lets it pass.
    fn forward(&self, work: &mut Work) -> i32;
    /// Goes on in the filter with this number; comes back only if there is none.
    fn tail_call(&self, filter: u32);
    /// Parses the frame onto the desk: [`hook::parse_xdp`], or [`Link::parse`].
    fn parse(&self, work: &mut Work) -> u32;
    /// Whether the packet on the desk may come in by its interface: [`spoofing::is_credible_xdp`] or
    /// [`spoofing::is_credible_tc`].
    fn has_credible_source(&self, work: &mut Work) -> bool;
    /// Tells of a filter's finding that was admitted: [`report::finding_xdp`] or [`report::finding_tc`].
    fn finding(&self, work: &mut Work, suppressed: u64);
    /// Turns the frame into an ICMP error: [`prohibited::become_error_xdp`] or [`prohibited::become_error_tc`].
    fn become_error(&self, work: &mut Work) -> bool;
}

/// A packet before the kernel made an skb of it.
pub struct XdpFrame {
    context: XdpContext,
    start: usize,
    end: usize,
    len: usize,
}

impl XdpFrame {
    #[inline(always)]
    pub fn new(context: XdpContext) -> Self {
        let (start, end) = (context.data(), context.data_end());
        // SAFETY: the context is the program's own.
        let len = unsafe { bpf_xdp_get_buff_len(context.ctx) } as usize;
        Self { context, start, end, len }
    }

    /// A frame whose headers were read before, or will be elsewhere. Its length is asked for where it is needed:
    /// that is a call of the kernel.
    #[inline(always)]
    pub fn without_headers(context: XdpContext) -> Self {
        Self { context, start: 0, end: 0, len: UNASKED }
    }
}

/// No frame is empty.
const UNASKED: usize = 0;

impl Bytes for XdpFrame {
    #[inline(always)]
    fn len(&self) -> usize {
        if self.len != UNASKED {
            return self.len;
        }
        // SAFETY: the context is the program's own.
        unsafe { bpf_xdp_get_buff_len(self.context.ctx) as usize }
    }

    #[inline(always)]
    fn read<H: Header>(&self, offset: usize) -> Option<H> {
        read_linear(self.start, self.end, offset)
    }
}

impl Frame for XdpFrame {
    const PASS: i32 = xdp_action::XDP_PASS as i32;
    const DROP: i32 = xdp_action::XDP_DROP as i32;
    const ETHERNET: bool = true;
    const SENT_BACK_KEEPS_PARTIAL_CHECKSUM: bool = false;

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.as_ptr()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller vouches for `to`; the helper checks offset and length.
        unsafe { bpf_xdp_load_bytes(self.context.ctx, offset, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool {
        let from = bytes.as_ptr().cast_mut().cast();
        // SAFETY: `bytes` has N bytes; the helper checks the offset.
        unsafe { bpf_xdp_store_bytes(self.context.ctx, offset, from, N as u32) == 0 }
    }

    #[inline(always)]
    fn truncate(&self, len: u32) -> bool {
        let delta = len as i32 - self.len() as i32;
        // SAFETY: the helper checks the length.
        delta == 0 || unsafe { bpf_xdp_adjust_tail(self.context.ctx, delta) == 0 }
    }

    #[inline(always)]
    fn grow_head(&self, len: u32) -> bool {
        // SAFETY: the helper checks the length.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, -(len as i32)) == 0 }
    }

    #[inline(always)]
    fn send_back(&self, _hook: Hook) -> i32 {
        xdp_action::XDP_TX as i32
    }

    #[inline(always)]
    fn forward(&self, work: &mut Work) -> i32 {
        if clock::in_replay() {
            return hook::pass::<Self>(work);
        }
        shortcut::forward(self.context.ctx, work) as i32
    }

    #[inline(always)]
    fn tail_call(&self, filter: u32) {
        // SAFETY: every program in the array has this program's type.
        unsafe { FILTERS_XDP.tail_call(&self.context, filter) }
    }

    #[inline(always)]
    fn parse(&self, work: &mut Work) -> u32 {
        hook::parse_xdp(self.context.ctx, work)
    }

    #[inline(always)]
    fn has_credible_source(&self, work: &mut Work) -> bool {
        spoofing::is_credible_xdp(self.context.ctx, work) != 0
    }

    #[inline(always)]
    fn become_error(&self, work: &mut Work) -> bool {
        prohibited::become_error_xdp(self.context.ctx, work) != 0
    }

    #[inline(always)]
    fn finding(&self, work: &mut Work, suppressed: u64) {
        report::finding_xdp(self.context.ctx, work, suppressed);
    }
}

/// An skb, whose bytes begin with an Ethernet header.
pub type TcFrame = SkbFrame<Ethernet>;
/// An skb, whose bytes begin with its IP header.
pub type IpFrame = SkbFrame<NoHeader>;

/// An skb of a link of some kind.
pub struct SkbFrame<L> {
    context: TcContext,
    start: usize,
    end: usize,
    len: usize,
    link: PhantomData<L>,
}

impl<L> SkbFrame<L> {
    #[inline(always)]
    pub fn new(context: TcContext) -> Self {
        let (start, end) = (context.data(), context.data_end());
        let len = context.len() as usize;
        Self { context, start, end, len, link: PhantomData }
    }

    /// How much of the frame has to be linear for its headers to be.
    #[inline(always)]
    fn headers_len(&self) -> u32 {
        if self.len < LINEAR as usize { self.len as u32 } else { LINEAR }
    }

    /// Whether headers may lie in page fragments, where they are not read.
    #[inline(always)]
    pub fn is_incomplete(&self) -> bool {
        self.start + self.headers_len() as usize > self.end
    }

    /// A frame whose headers were read before: only its payload is of interest.
    #[inline(always)]
    pub fn without_headers(context: TcContext) -> Self {
        let len = context.len() as usize;
        Self { context, start: 0, end: 0, len, link: PhantomData }
    }

    /// How many bytes lie in one piece, of a frame whose headers are at hand.
    #[inline(always)]
    pub fn linear_len(&self) -> u32 {
        // Masked, so that the compiler leaves the difference alone: the verifier knows no other use of two pointers.
        masked::<{ u16::MAX as i32 }>(self.end - self.start) as u32
    }

    /// Index of the interface that the packet came in by; 0 if it began on this machine.
    #[inline(always)]
    pub fn came_in_by(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.context.skb.skb).ingress_ifindex }
    }
}

impl<L: Link> Bytes for SkbFrame<L> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn tags_kept_aside(&self) -> usize {
        // SAFETY: the context is the program's own.
        unsafe { ((*self.context.skb.skb).vlan_present != 0) as usize }
    }

    #[inline(always)]
    fn ether_type_aside(&self) -> Option<u16> {
        L::ether_type_aside(&self.context)
    }

    #[inline(always)]
    fn read<H: Header>(&self, offset: usize) -> Option<H> {
        read_linear(self.start, self.end, offset)
    }
}

impl<L: Link> Frame for SkbFrame<L> {
    /// "Unspecified": programs of others behind this one still get their say.
    const PASS: i32 = TC_ACT_UNSPEC;
    const DROP: i32 = TC_ACT_SHOT;
    const ETHERNET: bool = L::ETHERNET;
    const SENT_BACK_KEEPS_PARTIAL_CHECKSUM: bool = true;

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.as_ptr()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.context.skb.skb).ifindex }
    }

    #[inline(always)]
    unsafe fn load(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller vouches for `to`; the helper checks offset and length.
        unsafe { bpf_skb_load_bytes(self.context(), offset, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> bool {
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        let from = bytes.as_ptr().cast();
        // SAFETY: `bytes` has N bytes; the helper checks the offset.
        unsafe { bpf_skb_store_bytes(self.context.skb.skb, offset, from, N as u32, flags) == 0 }
    }

    #[inline(always)]
    fn truncate(&self, len: u32) -> bool {
        // SAFETY: the helper checks the length.
        unsafe { bpf_skb_change_tail(self.context.skb.skb, len, 0) == 0 }
    }

    #[inline(always)]
    fn grow_head(&self, len: u32) -> bool {
        // SAFETY: as above.
        unsafe { bpf_skb_change_head(self.context.skb.skb, len, 0) == 0 }
    }

    #[inline(always)]
    fn send_back(&self, hook: Hook) -> i32 {
        const INTO_INGRESS: u64 = aya_ebpf::bindings::BPF_F_INGRESS as u64;
        let flags = match hook {
            Hook::Ingress => 0,
            // What this machine itself sent comes back to it as if from the wire.
            Hook::Egress => INTO_INGRESS,
        };
        // SAFETY: the helper only notes where to.
        unsafe { bpf_redirect(self.interface(), flags) as i32 }
    }

    /// The shortcut needs XDP: the stack has the packet already.
    #[inline(always)]
    fn forward(&self, work: &mut Work) -> i32 {
        hook::pass::<Self>(work)
    }

    #[inline(always)]
    fn tail_call(&self, filter: u32) {
        // SAFETY: every program in the array has this program's type.
        unsafe { FILTERS_TC.tail_call(&self.context, filter) }
    }

    #[inline(always)]
    fn parse(&self, work: &mut Work) -> u32 {
        let skb = self.context.skb.skb;
        let parsed = L::parse(skb, work);
        if parsed & hook::INCOMPLETE == 0 {
            return parsed;
        }
        // Only now, because the kernel then copies the head of an skb that TCP still holds, as it does each segment
        // until that is acknowledged. Should it fail, the headers are found missing again, which is a reason.
        // SAFETY: the context is the program's own.
        unsafe { bpf_skb_pull_data(skb, self.headers_len()) };
        L::parse(skb, work) & !hook::INCOMPLETE
    }

    #[inline(always)]
    fn has_credible_source(&self, work: &mut Work) -> bool {
        spoofing::is_credible_tc(self.context.skb.skb, work) != 0
    }

    #[inline(always)]
    fn become_error(&self, work: &mut Work) -> bool {
        prohibited::become_error_tc(self.context.skb.skb, work) != 0
    }

    #[inline(always)]
    fn finding(&self, work: &mut Work, suppressed: u64) {
        report::finding_tc(self.context.skb.skb, work, suppressed);
    }
}

/// A header in the linear part, by direct access.
#[inline(always)]
fn read_linear<H: Header>(start: usize, end: usize, offset: usize) -> Option<H> {
    if offset > MAX_HEADER_OFFSET {
        return None;
    }
    let at = start + masked::<{ MAX_HEADER_OFFSET as i32 }>(offset);
    if at + size_of::<H>() > end {
        return None;
    }
    // SAFETY: the bytes lie before the end, as the verifier checks too; a Header is valid for any.
    Some(unsafe { (at as *const H).read_unaligned() })
}
