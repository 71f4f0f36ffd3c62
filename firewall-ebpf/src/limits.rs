//! Limits on new flows, of each source and of each rule, and whether a SYN attack is on.

use firewall_common::{
    classifier::{Head, Lines as _, Terms},
    layout::SourceLimits,
    limit::{Bucket, SECOND},
    reason::Reason,
    wire::ip_protocol,
};

use crate::{
    atomic::change_bucket,
    judge::Policy,
    maps::{ATTACK, RULE_LIMITS, SOURCES, UNANSWERED},
    work::Work,
};

const BPF_ANY: u64 = 0;

/// For how long a flow without an answer counts, whatever its protocol: one word holds them all. Nanoseconds.
const HALF_OPEN_NS: u64 = 60 * SECOND;

/// This CPU's flows without an answer are told to the others so many at a time: one word that all of them
/// change would cost more than the flow.
const BATCH: i64 = 16;

/// Whether the new flow on the desk is within its source's and its rule's limits. It is counted if it is.
#[inline(always)]
pub fn admit(work: &Work, policy: &Policy, head: &Head) -> Result<(), Reason> {
    if head.source_half_open_max != 0 || head.source_new_per_second != 0 {
        admit_source(work, head)?;
    }
    if let Some(rule) = rule(work, policy)
        && (rule.half_open_max != 0 || rule.new_per_second != 0)
        && let Some(limits) = RULE_LIMITS.get_ptr_mut(work.rule)
    {
        // SAFETY: map values stay readable and writable for as long as the program runs.
        let limits = unsafe { &mut *limits };
        admitted(
            &mut limits.rate,
            work.now,
            rule.new_per_second,
            SECOND,
            Reason::RuleQuotaExceeded,
        )?;
        admitted(
            &mut limits.half_open,
            work.now,
            rule.half_open_max,
            HALF_OPEN_NS,
            Reason::NoBacklog,
        )?;
    }
    Ok(())
}

#[inline(never)]
fn admit_source(work: &Work, head: &Head) -> Result<(), Reason> {
    let Some(limits) = source(work) else {
        let fresh = SourceLimits::default();
        let _ = SOURCES.insert(work.packet.source, fresh, BPF_ANY);
        // A table that is full makes room by itself.
        let Some(limits) = source(work) else {
            return Err(Reason::OutOfResources);
        };
        return admit_by(limits, work.now, head);
    };
    admit_by(limits, work.now, head)
}

#[inline(always)]
fn admit_by(limits: &mut SourceLimits, now: u64, head: &Head) -> Result<(), Reason> {
    let rate = head.source_new_per_second;
    admitted(&mut limits.rate, now, rate, SECOND, Reason::RateQuotaExceeded)?;
    admitted(&mut limits.half_open, now, head.source_half_open_max, HALF_OPEN_NS, Reason::NoBacklog)
}

#[inline(always)]
fn admitted(word: &mut u64, now: u64, max: u32, drain: u64, reason: Reason) -> Result<(), Reason> {
    if max == 0 {
        return Ok(());
    }
    change_bucket(word, |bucket| bucket.fill(now, max, drain)).ok_or(reason)
}

/// The flow on the desk, whose originator lies there too, got its answer: it counts no more among those
/// without.
#[inline(always)]
pub fn answered(work: &Work, policy: &Policy, head: &Head) {
    if head.source_half_open_max != 0
        && let Some(limits) = SOURCES.get_ptr_mut(&work.originator)
    {
        // SAFETY: as above.
        release(unsafe { &mut (*limits).half_open }, work.now, head.source_half_open_max);
    }
    if let Some(rule) = rule(work, policy)
        && rule.half_open_max != 0
        && let Some(limits) = RULE_LIMITS.get_ptr_mut(work.rule)
    {
        // SAFETY: as above.
        release(unsafe { &mut (*limits).half_open }, work.now, rule.half_open_max);
    }
    if work.packet.protocol == ip_protocol::TCP {
        note_unanswered(work.now, head, -1);
    }
}

#[inline(always)]
fn release(word: &mut u64, now: u64, max: u32) {
    let _ = change_bucket(word, |bucket| Some(bucket.take(now, max, HALF_OPEN_NS)));
}

/// One TCP flow more, or one less, that has no answer.
#[inline(always)]
pub fn note_unanswered(now: u64, head: &Head, by: i64) {
    if head.syn_attack_per_second == 0 {
        return;
    }
    let Some(mine) = UNANSWERED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the entry is this CPU's alone.
    let mine = unsafe { &mut *mine };
    *mine += by;
    if *mine < BATCH {
        // Answers take back what this CPU has not told yet, and no more than that: a good moment is no
        // credit for an attack.
        *mine = if *mine < 0 { 0 } else { *mine };
        return;
    }
    *mine = 0;
    tell_unanswered(now, head);
}

/// Adds a batch to the level of all CPUs. What runs over is an attack, and one that has run empty is over.
#[inline(never)]
fn tell_unanswered(now: u64, head: &Head) {
    let Some(attack) = ATTACK.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    let attack = unsafe { &mut *attack };
    // In units of batches.
    let max = head.syn_attack_per_second / BATCH as u32;
    let filled =
        change_bucket(&mut attack.unanswered, |bucket: Bucket| bucket.fill(now, max, SECOND));
    if filled.is_none() && attack.since == 0 {
        attack.since = now;
    }
}

/// Whether a SYN attack is on. It is over when what came in excess has drained away.
#[inline(always)]
pub fn is_attacked(now: u64) -> bool {
    let Some(attack) = ATTACK.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as above.
    let attack = unsafe { &mut *attack };
    if attack.since == 0 {
        return false;
    }
    if attack.unanswered <= now {
        attack.since = 0;
    }
    attack.since != 0
}

#[inline(always)]
fn source(work: &Work) -> Option<&'static mut SourceLimits> {
    // SAFETY: as above.
    SOURCES.get_ptr_mut(work.packet.source).map(|limits| unsafe { &mut *limits })
}

#[inline(always)]
fn rule<'a>(work: &Work, policy: &'a Policy) -> Option<&'a Terms> {
    if work.rule == 0 { None } else { policy.terms(work.rule as u16) }
}
