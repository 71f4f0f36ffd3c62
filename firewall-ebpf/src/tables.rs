//! Finding, making, promoting and removing flows, for either address family.

use firewall_common::{
    flow::{Alias, Flow, KeyV4, KeyV6, Oriented},
    layout::Counter,
    tally::Counted,
};

use crate::{
    maps::{FLOWS_V4, FLOWS_V6, HALF_OPEN_V4, HALF_OPEN_V6},
    report, tally,
    work::Work,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A flow where it lies in its table. Other CPUs may write the same entry: every field is written whole, each
/// by packets of one direction alone, and a state by compare-exchange.
pub type FlowRef = &'static mut Flow;

/// A key, of either family.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    pub version: u8,
    pub v4: &'a KeyV4,
    pub v6: &'a KeyV6,
}

/// Lays the packet's key on the desk.
#[inline(always)]
pub fn note_key(work: &mut Work) {
    if work.packet.version == 4 {
        note_v4(work, KeyV4::of(&work.packet));
    } else {
        note_v6(work, KeyV6::of(&work.packet));
    }
}

/// Lays the key of the packet that an ICMP error quotes on the desk.
#[inline(always)]
pub fn note_quoted_key(work: &mut Work) {
    if work.packet.version == 4 {
        note_v4(work, KeyV4::of(&work.quoted));
    } else {
        note_v6(work, KeyV6::of(&work.quoted));
    }
}

#[inline(always)]
fn note_v4(work: &mut Work, oriented: Oriented<KeyV4>) {
    work.key_v4 = oriented.key;
    work.source_is_second = oriented.source_is_second;
    work.by_alias = false;
}

#[inline(always)]
fn note_v6(work: &mut Work, oriented: Oriented<KeyV6>) {
    work.key_v6 = oriented.key;
    work.source_is_second = oriented.source_is_second;
    work.by_alias = false;
}

/// The flow that the packet belongs to, under this name or another. The desk then has the key that it lies
/// under, and the packet's direction.
#[inline(always)]
pub fn find(work: &mut Work) -> Option<FlowRef> {
    let flow = entry(&work.key())?;
    match Alias::of(flow) {
        None => {
            work.direction = flow.direction(work.source_is_second);
            Some(flow)
        }
        Some(alias) => follow(work, alias),
    }
}

/// The flow that an alias leads to.
#[inline(never)]
fn follow(work: &mut Work, alias: &Alias) -> Option<FlowRef> {
    work.direction = alias.direction(work.source_is_second);
    let id = alias.id;
    let unsettled = alias.unsettled != 0;
    work.alias_v4 = work.key_v4;
    work.alias_v6 = work.key_v6;
    work.key_v4 = alias.target_v4;
    work.key_v6 = alias.target_v6;
    work.by_alias = true;
    let flow = entry(&work.key()).filter(|flow| flow.id == id && Alias::of(flow).is_none());
    match &flow {
        None => {
            // The flow is no more: its name is free, and must not lead a new flow of that name astray.
            call_by_own_name(work);
            remove(&work.key(), None);
        }
        Some(flow) if unsettled && flow.state().is_completed() => {
            work.flow = bytemuck::cast(Alias { unsettled: 0, ..*alias });
            // Should the table be full, the next packet tries again.
            let _ = promote(&work.alias(), &work.flow, None);
        }
        Some(_) => {}
    }
    flow
}

/// The packet is called by the name that it came with, not by that of the flow that was found by it.
#[inline(always)]
pub fn call_by_own_name(work: &mut Work) {
    work.key_v4 = work.alias_v4;
    work.key_v6 = work.alias_v6;
    work.by_alias = false;
}

/// The flow with this number that lies under the key on the desk: what [`find`] found, where another program,
/// or this one after a promotion, looks again.
#[inline(always)]
pub fn find_again(work: &Work) -> Option<FlowRef> {
    entry(&work.key()).filter(|flow| flow.id == work.flow_id)
}

/// What lies under a key: a flow, or an alias of one.
///
/// Another CPU may be moving it, and it enters the one table before it leaves the other: what was missed in both
/// is in the first by then. Were it not looked for again, its packet would be taken for the first of a new flow,
/// or refused as one of none.
#[inline(always)]
pub fn entry(key: &Key<'_>) -> Option<FlowRef> {
    completed(key).or_else(|| half_open(key)).or_else(|| completed(key))
}

/// What lies under a key in the table that never evicts.
#[inline(always)]
pub fn completed(key: &Key<'_>) -> Option<FlowRef> {
    let flow =
        if key.version == 4 { FLOWS_V4.get_ptr_mut(key.v4) } else { FLOWS_V6.get_ptr_mut(key.v6) };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    flow.map(|flow| unsafe { &mut *flow })
}

/// What lies under a key among the flows without an answer.
#[inline(always)]
fn half_open(key: &Key<'_>) -> Option<FlowRef> {
    let flow = if key.version == 4 {
        HALF_OPEN_V4.get_ptr_mut(key.v4)
    } else {
        HALF_OPEN_V6.get_ptr_mut(key.v6)
    };
    // SAFETY: as above.
    flow.map(|flow| unsafe { &mut *flow })
}

/// Enters a flow among those without an answer. `false`: there was no room.
#[inline(always)]
pub fn insert_half_open(key: &Key<'_>, flow: &Flow) -> bool {
    let inserted = if key.version == 4 {
        HALF_OPEN_V4.insert(key.v4, flow, BPF_ANY)
    } else {
        HALF_OPEN_V6.insert(key.v6, flow, BPF_ANY)
    };
    inserted.is_ok()
}

/// Moves a flow that got its answer and has counted `counted`, or an alias of one, to the table that never evicts.
/// `false`: that table is full.
#[inline(always)]
pub fn promote(key: &Key<'_>, flow: &Flow, counted: Option<Counted>) -> bool {
    const EEXIST: i32 = -17;
    let inserted = if key.version == 4 {
        FLOWS_V4.insert(key.v4, flow, BPF_NOEXIST)
    } else {
        FLOWS_V6.insert(key.v6, flow, BPF_NOEXIST)
    };
    match inserted {
        Ok(()) => {
            report::count(Counter::FlowsCompleted, 1);
            if let Some(counted) = counted {
                tally::entered(counted);
            }
        }
        // Another CPU was first, with the other direction.
        Err(EEXIST) => {}
        Err(_) => return false,
    }
    remove_half_open(key);
    true
}

/// Removes what lies under a key, so that another flow can begin: a flow that has counted `counted`, or an alias.
#[inline(always)]
pub fn remove(key: &Key<'_>, counted: Option<Counted>) {
    // Nothing to remove is fine: the entry is in one of the two tables only.
    let removed = if key.version == 4 { FLOWS_V4.remove(key.v4) } else { FLOWS_V6.remove(key.v6) };
    if removed.is_ok() {
        report::count(Counter::FlowsRemoved, 1);
        // Of two CPUs that remove it, one gets here.
        if let Some(counted) = counted {
            tally::left(counted);
        }
    }
    remove_half_open(key);
}

#[inline(always)]
fn remove_half_open(key: &Key<'_>) {
    if key.version == 4 {
        let _ = HALF_OPEN_V4.remove(key.v4);
    } else {
        let _ = HALF_OPEN_V6.remove(key.v6);
    }
}
