//! Programs for measurements and tests.
//!
//! The least that a firewall with flows can do to a packet: what the cost of the real programs is measured
//! against. With their own parser and tables, so that nothing but the firewall's work makes the difference.
//!
//! `cargo xtask bench` runs these by the kernel's test-run. They are never attached, no program calls them,
//! and user space loads them for measurements only. The last one makes the frames of a flood, which the
//! test-run sends for real.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_get_prandom_u32, bpf_redirect},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    layout::{Flood, Hook},
    wire::{self, Bytes as _, Parsed},
};

use crate::{
    frame::{Frame, TcFrame, XdpFrame},
    hook, tables,
    work::Work,
};

/// Nothing at all: what the test-run itself costs.
#[xdp(frags)]
pub fn bench_empty_xdp(_context: XdpContext) -> u32 {
    XdpFrame::PASS as u32
}

/// As [`bench_empty_xdp`].
#[classifier]
pub fn bench_empty_tc(_context: TcContext) -> i32 {
    TcFrame::PASS
}

/// The parser. Passes what is IP.
#[xdp(frags)]
pub fn bench_parse_xdp(context: XdpContext) -> u32 {
    parse(&XdpFrame::new(context)) as u32
}

/// As [`bench_parse_xdp`].
#[classifier]
pub fn bench_parse_tc(context: TcContext) -> i32 {
    parse(&TcFrame::new(context))
}

/// The parser and one look into the table of flows: the floor. Passes what belongs to a flow.
#[xdp(frags)]
pub fn bench_lookup_xdp(context: XdpContext) -> u32 {
    lookup(&XdpFrame::new(context)) as u32
}

/// As [`bench_lookup_xdp`].
#[classifier]
pub fn bench_lookup_tc(context: TcContext) -> i32 {
    lookup(&TcFrame::new(context))
}

#[inline(always)]
fn parse<F: Frame>(frame: &F) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    if parses(frame, work) { F::PASS } else { F::DROP }
}

#[inline(always)]
fn lookup<F: Frame>(frame: &F) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    if !parses(frame, work) {
        return F::DROP;
    }
    tables::note_key(work);
    if tables::completed(&work.key()).is_some() { F::PASS } else { F::DROP }
}

/// Parses onto the desk, and apart from its caller: on the stack the verifier would tell all ways through
/// the headers from each other, and there are too many.
#[inline(never)]
fn parses<F: Frame>(frame: &F, work: &mut Work) -> bool {
    wire::parse(frame, &mut work.packet) == Parsed::Ip
}

/// The ingress program, on a segment that each run makes the next one of its stream: in the test-run a frame stays
/// what the run before made of it, and a filter reads what is new.
#[xdp(frags)]
pub fn bench_stream_xdp(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    let frame = XdpFrame::without_headers(context);
    go_on(start, end, frame.len());
    hook::packet(&frame, Hook::Ingress) as u32
}

/// As [`bench_stream_xdp`].
#[classifier]
pub fn bench_stream_tc(context: TcContext) -> i32 {
    let (start, end) = (context.data(), context.data_end());
    let frame = TcFrame::without_headers(context);
    go_on(start, end, frame.len());
    hook::packet(&frame, Hook::Ingress)
}

/// Moves the sequence number on by the length of the payload. Headers have no options.
#[inline(always)]
fn go_on(start: usize, end: usize, frame_len: usize) {
    const ETHERNET: usize = 14;
    const TCP: usize = 20;
    const SEQ: usize = 4;
    if start + ETHERNET + 40 + TCP > end {
        return;
    }
    // SAFETY: the frame is long enough, as the verifier checks too.
    let version = unsafe { *((start + ETHERNET) as *const u8) } >> 4;
    let tcp = if version == 4 { ETHERNET + 20 } else { ETHERNET + 40 };
    let len = frame_len.wrapping_sub(tcp + TCP) as u32;
    let seq = (start + tcp + SEQ) as *mut u32;
    // SAFETY: as above.
    unsafe { seq.write_unaligned(u32::from_be(seq.read_unaligned()).wrapping_add(len).to_be()) }
}

/// Makes the frame a SYN of a random source and sends it, as the [`Flood`] behind it says. All of the packet is
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
    let packet = syn(&flood, source, random(), random());
    // SAFETY: as above.
    unsafe { (start as *mut Syn).write_unaligned(packet) };
    // SAFETY: the helper only notes where to.
    unsafe { bpf_redirect(flood.interface, 0) as u32 }
}

/// The words of a SYN without options, as they stand in memory.
type Syn = [u16; Flood::PACKET_LEN / 2];

#[inline(always)]
fn syn(flood: &Flood, source: u32, seq: u32, random: u32) -> Syn {
    const WINDOW: u16 = 64_240;
    let [m0, m1, m2, m3, m4, m5] = flood.macs;
    let [s0, s1] = halves(u32::from_be(source));
    let [d0, d1] = halves(u32::from_be(flood.destination));
    let [seq0, seq1] = halves(seq);
    let [id, port] = halves(random);
    // Never one that is refused for itself.
    let (from, to) = (port | 1, flood.destination_port as u16);
    let addresses = sum([s0, s1, d0, d1]);
    let ip = folded(addresses + sum([0x4500, 40, id, 0x4000]) + 0x4006);
    let tcp = folded(addresses + sum([6, 20, from, to]) + sum([seq0, seq1, 0x5002, WINDOW]));
    let network = [
        0x0800, 0x4500, 40, id, 0x4000, 0x4006, ip, s0, s1, d0, d1, from, to, seq0, seq1, 0, 0,
        0x5002, WINDOW, tcp, 0,
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
