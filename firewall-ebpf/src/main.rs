//! The kernel programs of fwx.
//!
//! A packet's way: a [`hook`], [`wire::parse`](firewall_common::wire::parse), [`track`] with its
//! [`tables`], [`judge`] for a new flow, [`filter`] where one is bound, and [`report`] for what is to be
//! said about it. All that can be decided without the kernel is decided in `firewall-common`.
#![no_std]
#![no_main]
// Compare-exchange, see `atomic`.
#![feature(core_intrinsics)]
// Arguments that the compiler is to know nothing of, see `work`.
#![feature(asm_experimental_arch)]
#![allow(internal_features)]

// In the same object, because the floor has to be measured with the same parser and the same tables.
mod atomic;
mod begin;
mod bench;
mod challenge;
mod clock;
mod command;
mod crossing;
mod essential;
mod filter;
mod filters;
mod findings;
mod fragments;
mod frame;
mod hook;
mod judge;
mod limits;
mod link;
mod maps;
mod pinholes;
mod prohibited;
mod read;
mod related;
mod report;
mod reset;
mod shadow;
mod shortcut;
mod spoofing;
mod tables;
mod tally;
mod track;
mod work;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use firewall_common::layout::Hook;
use frame::{IpFrame, TcFrame, XdpFrame};

/// Ingress, native or generic XDP.
#[xdp(frags)]
pub fn fwx_xdp(context: XdpContext) -> u32 {
    hook::packet(&XdpFrame::without_headers(context), Hook::Ingress) as u32
}

/// Ingress, traffic control.
#[classifier]
pub fn fwx_ingress(context: TcContext) -> i32 {
    hook::packet(&TcFrame::without_headers(context), Hook::Ingress)
}

/// Egress, traffic control.
#[classifier]
pub fn fwx_egress(context: TcContext) -> i32 {
    hook::leaves(&TcFrame::without_headers(context))
}

/// Ingress, traffic control, of an interface whose packets have no Ethernet header.
#[classifier]
pub fn fwx_ingress_ip(context: TcContext) -> i32 {
    hook::packet(&IpFrame::without_headers(context), Hook::Ingress)
}

/// Egress, traffic control, of such an interface.
#[classifier]
pub fn fwx_egress_ip(context: TcContext) -> i32 {
    hook::leaves(&IpFrame::without_headers(context))
}

/// What user space wants done to a flow. Never attached: it is run by the kernel's test-run, on a frame that is
/// the command.
#[classifier]
pub fn fwx_command(context: TcContext) -> i32 {
    command::execute(&TcFrame::new(context))
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses a program that could get here: it would not end.
    loop {}
}
