//! Whether the source of what comes in is what it says: by the policy's lists, and by the routing table.
//! [`firewall_common::classifier::listed`] and [`firewall_common::spoofing`] say how.
//!
//! Asked of what may begin a flow, or begin or end one in the name of its ends: nothing else that is spoofed finds a
//! flow whose ends it does not hold. The routing table has to be asked with the frame at hand. So [`track`] comes to
//! the decision that the source has to be verified, with nothing done yet; that is done here, and track decides again.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_fib_lookup, xdp_md},
    helpers::bpf_fib_lookup as look_up_route,
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    classifier::{Head, Lines as _, Listed, Sources, listed},
    layout::{Counter, Hook},
    martian::{is_from_nobody, is_of_the_link},
    policy::AntiSpoofing,
    reason::Reason,
    spoofing::{Source, by_route},
    wire::tcp_flags,
};

use crate::{
    clock,
    frame::{Frame, TcFrame, XdpFrame},
    judge::{self, Policy},
    maps::INTERFACES,
    report, shortcut, track,
    work::{Decision, Work},
};

/// Whether the source of the packet on the desk, the first of a flow, has yet to be verified.
#[inline(always)]
pub fn is_due(work: &mut Work, head: &Head) -> bool {
    head.checks_sources != 0 && is_unverified(work) != 0
}

/// A function that the verifier knows by its signature alone: what it learns here it does not carry along.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_unverified(work: *mut Work) -> u32 {
    Work::passed(work)
        .map_or(0, |work| u32::from(matches!(work.hook, Hook::Ingress) && !work.source_is_verified))
}

/// Whether the segment on the desk, of a known flow, begins or ends a connection, and its source has yet to be verified.
#[inline(always)]
pub fn is_due_of_segment(work: &mut Work) -> bool {
    of_segment(work) != 0
}

/// As [`is_unverified`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn of_segment(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return 0;
    };
    if work.packet.flags & (tcp_flags::SYN | tcp_flags::RST) == 0 {
        return 0;
    }
    let Some(policy) = Policy::of(work) else {
        return 0;
    };
    policy.head().map_or(0, |head| u32::from(is_due(work, head)))
}

/// Verifies the source of the packet on the desk; what it says is then decided.
#[inline(always)]
pub fn verify<F: Frame>(frame: &F, work: &mut Work) -> Decision {
    if !frame.has_credible_source(work) {
        return work.refuse(Reason::Spoofing);
    }
    work.source_is_verified = true;
    let decision = track::decide(work);
    work.source_is_verified = false;
    Decision::from_raw(decision)
}

/// [`is_credible`] as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_credible_xdp(context: *mut xdp_md, work: *mut Work) -> u32 {
    let frame = XdpFrame::without_headers(XdpContext::new(context));
    Work::passed(work).map_or(0, |work| u32::from(is_credible(&frame, work)))
}

/// As [`is_credible_xdp`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_credible_tc(context: *mut __sk_buff, work: *mut Work) -> u32 {
    let frame = TcFrame::without_headers(TcContext::new(context));
    Work::passed(work).map_or(0, |work| u32::from(is_credible(&frame, work)))
}

/// Whether the packet on the desk may come in by its interface.
#[inline(always)]
fn is_credible<F: Frame>(frame: &F, work: &mut Work) -> bool {
    match said_by_policy(work) {
        CREDIBLE => true,
        SPOOFED => false,
        mode => is_credible_by_route(frame, work, AntiSpoofing::from_raw(mode)),
    }
}

/// What [`said_by_policy`] returns besides the mode by which the routing table is to be asked.
const CREDIBLE: u32 = u32::MAX;
const SPOOFED: u32 = u32::MAX - 1;

/// What the policy says of the packet's source without the routing table.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn said_by_policy(work: *mut Work) -> u32 {
    match Work::passed(work) {
        // A policy that cannot be read is no reason to pass.
        Some(work) => by_policy(work).unwrap_or(SPOOFED),
        None => SPOOFED,
    }
}

#[inline(always)]
fn by_policy(work: &mut Work) -> Option<u32> {
    let policy = Policy::of(work)?;
    let head = policy.head()?;
    let sources = Sources::of(policy.line(head.sources)?);
    // SAFETY: the number is read at once.
    let number = unsafe { INTERFACES.get(work.interface) }.map_or(0, |port| port.number);
    let list = listed(&policy, sources, number, &work.packet)?;
    let mode = AntiSpoofing::from_raw(sources.mode);
    if matches!(list, Listed::Unasked) && matches!(mode, AntiSpoofing::Off)
        || is_of_the_link(&work.packet)
    {
        return Some(CREDIBLE);
    }
    match list {
        Listed::Yes => Some(CREDIBLE),
        Listed::No => Some(SPOOFED),
        Listed::Unasked if is_from_nobody(&work.packet) => Some(SPOOFED),
        Listed::Unasked if judge::is_asymmetric_source(work, head) => {
            Some(AntiSpoofing::Loose as u32)
        }
        Listed::Unasked => Some(mode as u32),
    }
}

/// Asks the routing table by which way the source is reached.
#[inline(always)]
fn is_credible_by_route<F: Frame>(frame: &F, work: &mut Work, mode: AntiSpoofing) -> bool {
    // A capture comes without routes.
    if clock::in_replay() {
        return true;
    }
    work.packet.turn(&mut work.quoted);
    let mut route = shortcut::question_back(&work.quoted, work.interface);
    let len = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the program's own, and `route` has the length that is told.
    let answer = unsafe { look_up_route(frame.context(), &raw mut route, len, 0) };
    match by_route(mode, answer, route.ifindex, work.interface) {
        Source::Credible => true,
        Source::Spoofed => false,
        Source::Unknown => {
            report::count(Counter::SourcesUnknown, 1);
            true
        }
    }
}
