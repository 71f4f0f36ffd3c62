//! Programs for measurements and tests.
//!
//! The least that a firewall with flows can do to a packet: what the cost of the real programs is measured
//! against. With their own parser and tables, so that nothing but the firewall's work makes the difference.
//!
//! `cargo xtask bench` runs these by the kernel's test-run. They are never attached, no program calls them,
//! and user space loads them for measurements only. Those that are about frames on links are in [`flood`], those that
//! make each run another packet in [`step`].

mod flood;
mod step;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::wire::{self, Parsed};

use crate::{
    frame::{Frame, TcFrame, XdpFrame},
    tables,
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
