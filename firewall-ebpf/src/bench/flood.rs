//! Frames that the kernel's test-run sends for real, and a program to take them in.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_get_prandom_u32, bpf_redirect, bpf_xdp_adjust_tail},
    macros::xdp,
    programs::XdpContext,
};
use firewall_common::layout::{Flood, SHORTEST_FRAME_LEN, Stencil};

/// Drops everything: the least that a firewall can do to what it does not want.
#[xdp]
pub fn bench_drop_xdp(_context: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Makes the frame a segment of a random source and sends it, as the [`Flood`] behind it says. All of the packet is
/// written each time: what lies there is what became of an earlier one.
#[xdp]
pub fn bench_flood_xdp(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + Flood::FRAME_LEN > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame is long enough, as the verifier checks too, and any bytes are a Flood.
    let flood = unsafe { ((start + Flood::PACKET_LEN) as *const Flood).read_unaligned() };
    // SAFETY: the helper takes nothing.
    let random = || unsafe { bpf_get_prandom_u32() };
    let source = flood.source & !flood.source_mask | random() & flood.source_mask;
    let ack = if flood.control & Flood::ACK == 0 { 0 } else { random() };
    let packet = segment(&flood, source, [random(), ack], random());
    // SAFETY: as above.
    unsafe { (start as *mut Segment).write_unaligned(packet) };
    send(&context, Flood::FRAME_LEN, flood.interface)
}

/// Copies the frame of the [`Stencil`] in front of it and sends the copy.
#[xdp]
pub fn bench_copy_xdp(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + Stencil::FRAME_LEN > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the frame is long enough, as the verifier checks too, and any bytes are a Stencil.
    let stencil = unsafe { ((start + SHORTEST_FRAME_LEN) as *const Stencil).read_unaligned() };
    // SAFETY: as above.
    unsafe { (start as *mut [u32; SHORTEST_FRAME_LEN / 4]).write_unaligned(stencil.frame) };
    send(&context, Stencil::FRAME_LEN, stencil.interface)
}

/// Sends the frame of `len` bytes by `interface`, cut to the shortest that there is. What is cut off stays in memory.
#[inline(always)]
fn send(context: &XdpContext, len: usize, interface: u32) -> u32 {
    // SAFETY: the context is the program's own, and nothing of the frame is read any more.
    if unsafe { bpf_xdp_adjust_tail(context.ctx, SHORTEST_FRAME_LEN as i32 - len as i32) } != 0 {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the helper only notes where to.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// The words of a segment without options, as they stand in memory.
type Segment = [u16; Flood::PACKET_LEN / 2];

#[inline(always)]
fn segment(flood: &Flood, source: u32, [seq, ack]: [u32; 2], random: u32) -> Segment {
    const WINDOW: u16 = 64_240;
    /// The header's length, five words, as it stands beside the control bits.
    const DATA_OFFSET: u16 = 0x5000;
    let [m0, m1, m2, m3, m4, m5] = flood.macs;
    let [s0, s1] = halves(u32::from_be(source));
    let [d0, d1] = halves(u32::from_be(flood.destination));
    let [seq0, seq1] = halves(seq);
    let [ack0, ack1] = halves(ack);
    let [id, port] = halves(random);
    // Never one that is refused for itself.
    let (from, to) = (port | 1, flood.destination_port as u16);
    let control = DATA_OFFSET | flood.control as u16;
    let addresses = sum([s0, s1, d0, d1]);
    let ip = folded(addresses + sum([0x4500, 40, id, 0x4000]) + 0x4006);
    let numbers = sum([seq0, seq1, ack0, ack1]);
    let tcp = folded(addresses + numbers + sum([6, 20, from, to]) + sum([control, WINDOW, 0, 0]));
    let network = [
        0x0800, 0x4500, 40, id, 0x4000, 0x4006, ip, s0, s1, d0, d1, from, to, seq0, seq1, ack0,
        ack1, control, WINDOW, tcp, 0,
    ]
    .map(u16::to_be);
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u] = network;
    [m0, m1, m2, m3, m4, m5, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u]
}

#[inline(always)]
const fn halves(word: u32) -> [u16; 2] {
    [(word >> 16) as u16, word as u16]
}

#[inline(always)]
const fn sum([a, b, c, d]: [u16; 4]) -> u32 {
    a as u32 + b as u32 + c as u32 + d as u32
}

/// The checksum of words that come to `sum` (RFC 1071).
#[inline(always)]
const fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}
