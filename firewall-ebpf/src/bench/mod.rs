//! Programs for measurements and tests.
//!
//! The least that a firewall with flows can do to a packet: what the cost of the real programs is measured
//! against. With their own parser and tables, so that nothing but the firewall's work makes the difference.
//!
//! `cargo xtask bench` runs these by the kernel's test-run. They are never attached, no program calls them,
//! and user space loads them for measurements only. Those that are about frames on links are in [`flood`].

mod flood;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    layout::Hook,
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
