//! SYN authentication: a source shows that its address is its own before anything is remembered of it.
//! [`firewall_common::cookie`] says how.

use firewall_common::{
    classifier::Head,
    cookie,
    layout::{Counter, Hook},
    policy::SynAuthentication,
    reason::Reason,
    wire::tcp_flags,
};

use crate::{
    limits,
    maps::{AUTHENTICATED, SECRET},
    report,
    work::{Decision, Work},
};

const BPF_ANY: u64 = 0;

/// For how long a source that answered is believed, nanoseconds.
const BELIEVED_NS: u64 = 300_000_000_000;

/// Whether the SYN on the desk has to be answered by a challenge.
///
/// Only one that comes in has: what this machine itself sends is from addresses of its own, and an answer that is
/// put in its way comes by the ingress hook, where it belongs to no connection.
#[inline(always)]
pub fn is_due(work: &Work, head: &Head) -> bool {
    if !matches!(work.hook, Hook::Ingress) {
        return false;
    }
    match SynAuthentication::from_raw(head.syn_authentication) {
        SynAuthentication::Off => return false,
        SynAuthentication::Auto if !limits::is_attacked(work.now) => return false,
        _ => {}
    }
    // SAFETY: the time is read at once.
    let since = unsafe { AUTHENTICATED.get(work.packet.source) }.copied();
    !since.is_some_and(|since| work.now.saturating_sub(since) < BELIEVED_NS)
}

/// Answers the SYN on the desk by a challenge.
#[inline(always)]
pub fn challenge(work: &mut Work, head: &Head) -> Decision {
    let Some(secret) = SECRET.get(0) else {
        return work.refuse(Reason::Internal);
    };
    work.cookie = cookie::cookie(secret, &work.packet, work.now / cookie::PERIOD);
    limits::note_unanswered(work.now, head, 1);
    report::count(Counter::SynsChallenged, 1);
    work.refuse(Reason::SynChallenged);
    Decision::Challenge
}

/// Whether the segment on the desk, of no known flow, answers a challenge. Its source is believed from now on.
#[inline(always)]
pub fn is_answer(work: &Work, head: &Head) -> bool {
    let asks = head.syn_authentication != SynAuthentication::Off as u8;
    let is_reset = work.packet.flags & tcp_flags::RST != 0;
    if !asks || !is_reset || work.packet.payload_len != 0 {
        return false;
    }
    let good =
        SECRET.get(0).is_some_and(|secret| cookie::gives_back(secret, &work.packet, work.now));
    if good {
        report::count(Counter::SourcesAuthenticated, 1);
        // A table that is full makes room by itself.
        let _ = AUTHENTICATED.insert(work.packet.source, work.now, BPF_ANY);
    }
    good
}
