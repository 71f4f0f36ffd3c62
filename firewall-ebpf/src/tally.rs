//! Counting for rules: [`firewall_common::tally`] says what, and where flows count themselves.

use core::intrinsics::{AtomicOrdering::Relaxed, atomic_xadd};

use firewall_common::tally::Counted;

use crate::{maps::RULE_COUNTERS, tables, work::Work};

/// A flow began, by this packet.
const BEGAN: u32 = 0;
/// A packet passed that no flow with an answer counts.
const PASSED: u32 = 1;
/// A packet was refused.
const REFUSED: u32 = 2;
/// What a flow has counted was added or taken off.
const MOVED: u32 = 3;

/// The rule on the desk lets in the flow that the packet begins. `apart`: the flow does not count for its rule.
#[inline(always)]
pub fn began(work: &Work, apart: bool) {
    let (packets, bytes) = if apart { (1, u64::from(work.packet.ip_len)) } else { (0, 0) };
    count_for_rule(work.rule, BEGAN, packets, bytes, work.now);
}

/// The packet on the desk passes, and no flow counts it for its rule.
#[inline(always)]
pub fn passed(work: &Work) {
    count_for_rule(work.rule, PASSED, 1, u64::from(work.packet.ip_len), work.now);
}

/// The rule on the desk refuses the packet.
#[inline(always)]
pub fn refused(work: &Work) {
    count_for_rule(work.rule, REFUSED, 1, u64::from(work.packet.ip_len), work.now);
}

/// A packet that its flow, and the flow's rule, counted as passed does not pass after all: a function that the verifier
/// knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn passed_not(work: *mut Work) -> u32 {
    let Some(work) = Work::passed(work) else {
        return 0;
    };
    if let Some(flow) = tables::find_again(work) {
        flow.take_back(work.direction, work.packet.ip_len);
        if flow.is_counted_apart() {
            let bytes = u64::from(work.packet.ip_len);
            count_for_rule(work.rule, PASSED, 1_u64.wrapping_neg(), bytes.wrapping_neg(), work.now);
        }
    }
    0
}

/// A flow left the table of those with an answer, or begins anew there: what it has counted, as it was when it was
/// read, is counted here from now on.
#[inline(always)]
pub fn left(Counted { rule, packets, bytes, last_seen }: Counted) {
    count_for_rule(u32::from(rule), MOVED, packets, bytes, last_seen);
}

/// A flow entered the table of those with an answer: it counts itself from now on, what was counted here so far
/// included.
#[inline(always)]
pub fn entered(Counted { rule, packets, bytes, last_seen }: Counted) {
    let (packets, bytes) = (packets.wrapping_neg(), bytes.wrapping_neg());
    count_for_rule(u32::from(rule), MOVED, packets, bytes, last_seen);
}

/// Adds to a rule's counters, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_for_rule(rule: u32, what: u32, packets: u64, bytes: u64, at: u64) -> u32 {
    let Some(counters) = RULE_COUNTERS.get_ptr_mut(rule) else {
        return 0;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let counters = unsafe { &mut *counters };
    if counters.last_hit < at {
        counters.last_hit = at;
    }
    if what == REFUSED {
        add(&mut counters.refused_packets, packets);
        add(&mut counters.refused_bytes, bytes);
        return 0;
    }
    add(&mut counters.packets, packets);
    add(&mut counters.bytes, bytes);
    match what {
        BEGAN => add(&mut counters.flows, 1),
        MOVED => add(&mut counters.moves, 1),
        _ => {}
    }
    0
}

/// Adds for all CPUs to see, and does not ask what stood there: an instruction of its own, and the cheaper one.
#[inline(always)]
fn add(word: &mut u64, by: u64) {
    // SAFETY: a reference is valid, and a u64 is aligned.
    let _ = unsafe { atomic_xadd::<u64, u64, { Relaxed }>(word, by) };
}
