//! What a policy on trial says about a new flow, and where that is not what the one in force says.
//! [`firewall_common::shadow`] says what counts as a difference.

use firewall_common::{
    policy::Action,
    shadow::{Pair, Sightings, Totals},
    words::clear,
};

use crate::{
    atomic,
    maps::{SHADOW_FLOWS, SHADOW_PAIRS, SHADOW_TOTALS},
    work::{Acting, Work},
};

const BPF_NOEXIST: u64 = 1;

/// Lays aside what the policy in force said about the packet on the desk, which is `action`, and has the desk ask the
/// policy in the slot `shadow`.
///
/// That number is read apart from the one of the policy in force, and belongs to it all the same: whoever changes one
/// of them ends the comparison first, and begins it anew when every packet is done that came before.
#[inline(always)]
pub fn turn_to(work: &mut Work, shadow: u32, action: u32) {
    work.acting = Acting {
        slot: work.slot,
        rule: work.rule,
        protocol: work.protocol,
        flow_flags: work.flow_flags,
        action,
    };
    work.slot = shadow;
    work.rule = 0;
}

/// The policy on trial said `action` about the packet on the desk, or about what it quotes. The desk then says again
/// what it did before [`turn_to`]. Returns what the policy in force said.
///
/// Not called while that policy is asked: all functions that call each other share one small stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn turn_back(work: *mut Work, quoted: u32, action: u32) -> u32 {
    let Some(work) = Work::passed(work) else {
        return Action::Deny as u32;
    };
    let Acting { slot, rule, protocol, flow_flags, action: acting } = work.acting;
    work.difference.pair = Pair {
        rules: [rule as u16, work.rule as u16],
        actions: [acting as u8, action as u8],
        reserved: 0,
    };
    work.slot = slot;
    work.rule = rule;
    work.protocol = protocol;
    work.flow_flags = flow_flags;
    if let Some(totals) = SHADOW_TOTALS.get_ptr_mut(0) {
        // SAFETY: the entry is this CPU's alone.
        count(work, quoted, unsafe { &mut *totals });
    }
    acting
}

/// Counts that both were asked, and notes what they differ in.
#[inline(always)]
fn count(work: &mut Work, quoted: u32, totals: &mut Totals) {
    let [acting, shadow] = work.difference.pair.actions;
    if acting == shadow {
        totals.alike += 1;
    } else {
        totals.different += 1;
        note(work, quoted, totals);
    }
}

/// Counts the pair of rules on the desk, and remembers the flow.
#[inline(always)]
fn note(work: &mut Work, quoted: u32, totals: &mut Totals) {
    if !count_pair(&work.difference.pair) {
        totals.uncounted += 1;
    }
    let packet = if quoted == 0 { &work.packet } else { &work.quoted };
    work.difference.note_flow(packet, work.interface);
    if !see_flow(work) {
        totals.unlisted += 1;
    }
}

/// `false`: there is no room.
#[inline(always)]
fn count_pair(pair: &Pair) -> bool {
    if !counted(pair) {
        // Another CPU may be first: then the second look finds it.
        let _ = SHADOW_PAIRS.insert(pair, 0, BPF_NOEXIST);
        return counted(pair);
    }
    true
}

#[inline(always)]
fn counted(pair: &Pair) -> bool {
    let Some(count) = SHADOW_PAIRS.get_ptr_mut(pair) else {
        return false;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    atomic::add(unsafe { &mut *count }, 1);
    true
}

/// `false`: there is no room.
#[inline(always)]
fn see_flow(work: &mut Work) -> bool {
    if !seen(work) {
        clear(&mut work.sightings);
        work.sightings.first = work.now;
        let _ = SHADOW_FLOWS.insert(&work.difference, &work.sightings, BPF_NOEXIST);
        return seen(work);
    }
    true
}

#[inline(always)]
fn seen(work: &Work) -> bool {
    let Some(sightings) = SHADOW_FLOWS.get_ptr_mut(&work.difference) else {
        return false;
    };
    // SAFETY: as above.
    let Sightings { last, count, .. } = unsafe { &mut *sightings };
    *last = work.now;
    atomic::add(count, 1);
    true
}
