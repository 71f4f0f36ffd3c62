//! Finding, making, promoting and removing flows, for either address family.

use firewall_common::flow::{Flow, KeyV4, KeyV6};

use crate::{
    maps::{FLOWS_V4, FLOWS_V6, HALF_OPEN_V4, HALF_OPEN_V6},
    work::Work,
};

const BPF_ANY: u64 = 0;
const BPF_NOEXIST: u64 = 1;

/// A flow where it lies in its table. Other CPUs may write the same entry: every field is written whole,
/// and what must not be lost moves forward only.
pub type FlowRef = &'static mut Flow;

/// Lays the packet's key on the desk.
#[inline(always)]
pub fn note_key(work: &mut Work) {
    if work.packet.version == 4 {
        let oriented = KeyV4::of(&work.packet);
        work.key_v4 = oriented.key;
        work.source_is_second = oriented.source_is_second;
    } else {
        let oriented = KeyV6::of(&work.packet);
        work.key_v6 = oriented.key;
        work.source_is_second = oriented.source_is_second;
    }
}

/// The flow that the packet belongs to.
#[inline(always)]
pub fn find(work: &Work) -> Option<FlowRef> {
    let flow = if work.packet.version == 4 {
        FLOWS_V4.get_ptr_mut(&work.key_v4).or_else(|| HALF_OPEN_V4.get_ptr_mut(&work.key_v4))
    } else {
        FLOWS_V6.get_ptr_mut(&work.key_v6).or_else(|| HALF_OPEN_V6.get_ptr_mut(&work.key_v6))
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    flow.map(|flow| unsafe { &mut *flow })
}

/// Enters the flow on the desk among those without an answer. `false`: there was no room.
#[inline(always)]
pub fn insert_half_open(work: &Work) -> bool {
    let inserted = if work.packet.version == 4 {
        HALF_OPEN_V4.insert(&work.key_v4, &work.flow, BPF_ANY)
    } else {
        HALF_OPEN_V6.insert(&work.key_v6, &work.flow, BPF_ANY)
    };
    inserted.is_ok()
}

/// Moves a flow that got its answer to the table that never evicts. `false`: that table is full.
#[inline(always)]
pub fn promote(work: &Work, flow: &Flow) -> bool {
    const EEXIST: i32 = -17;
    let inserted = if work.packet.version == 4 {
        FLOWS_V4.insert(&work.key_v4, flow, BPF_NOEXIST)
    } else {
        FLOWS_V6.insert(&work.key_v6, flow, BPF_NOEXIST)
    };
    match inserted {
        // Another CPU was first, with the other direction.
        Ok(()) | Err(EEXIST) => {
            remove_half_open(work);
            true
        }
        Err(_) => false,
    }
}

/// Forgets a flow that is over or was silent for too long, so that another can begin.
#[inline(always)]
pub fn remove(work: &Work) {
    // Nothing to remove is fine: the entry is in one of the two tables only.
    if work.packet.version == 4 {
        let _ = FLOWS_V4.remove(&work.key_v4);
    } else {
        let _ = FLOWS_V6.remove(&work.key_v6);
    }
    remove_half_open(work);
}

#[inline(always)]
fn remove_half_open(work: &Work) {
    if work.packet.version == 4 {
        let _ = HALF_OPEN_V4.remove(&work.key_v4);
    } else {
        let _ = HALF_OPEN_V6.remove(&work.key_v6);
    }
}
