//! What passes whatever the rules say, because the host needs it to stay on its network:
//! [`firewall_common::essential`] says what that is.

use firewall_common::{
    classifier::Lines as _,
    essential::{self, Essential, Need},
    reason::Reason,
};

use crate::{
    judge::{self, Policy},
    maps::TIMEOUTS,
    tables,
    work::{Decision, Work},
};

/// What is to be done with the packet on the desk, of no known flow. Never [`Need::IfAsked`].
#[inline(always)]
pub fn need(work: &mut Work) -> Need {
    match needed(work) {
        PASSES => Need::Passes,
        BEGINS => Need::Begins,
        _ => Need::None,
    }
}

const PASSES: u32 = Need::Passes as u32;
const BEGINS: u32 = Need::Begins as u32;

/// What [`need`] calls, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn needed(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return Need::None as u32;
    };
    match essential::need(&work.packet, work.hook, wanted(work)) {
        Need::IfAsked if has_asked(work) => PASSES,
        Need::IfAsked => Need::None as u32,
        need => need as u32,
    }
}

/// Bit set of what the policy lets through; without a policy there is nothing.
#[inline(always)]
fn wanted(work: &Work) -> u32 {
    let policy = Policy::of(work);
    policy.as_ref().and_then(|policy| policy.head()).map_or(0, |head| head.essential)
}

/// Whether this machine asked for an address lately, which the packet on the desk may answer.
#[inline(always)]
fn has_asked(work: &mut Work) -> bool {
    work.key_v4 = essential::dhcp_question();
    let asked = match (tables::entry(&work.key()), TIMEOUTS.get(0)) {
        (Some(flow), Some(timeouts)) => !flow.expired(work.now, timeouts),
        _ => false,
    };
    tables::note_key(work);
    asked
}

/// Decides about an ARP frame. Returns a [`Decision`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn arp(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return Decision::Drop as u32;
    };
    work.forget_flow();
    judge::note_policy(work);
    if Essential::Arp.is_in(wanted(work)) {
        return Decision::Pass as u32;
    }
    work.refuse(Reason::ArpDenied) as u32
}
