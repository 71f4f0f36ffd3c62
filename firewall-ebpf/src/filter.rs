//! Handing a segment over to the filter that is bound to its protocol.

use firewall_common::{
    policy::{Binding, Mode, PROTOCOLS_MAX},
    reason::Reason,
    wire::Fragment,
};

use crate::{
    frame::Frame,
    hook,
    maps::{BINDINGS, CONNECTIONS},
    pinholes, report,
    work::Work,
};

/// Whether a filter is bound to the flow's protocol. Lays its binding on the desk.
#[inline(always)]
pub fn wants(work: &mut Work) -> bool {
    if work.protocol == 0 {
        return false;
    }
    let Some(binding) = binding(work, u32::from(work.protocol)) else {
        return false;
    };
    work.binding = *binding;
    work.binding.filter != 0 && work.binding.mode != Mode::Off as u8
}

/// Whether a filter is bound to a protocol.
#[inline(always)]
pub fn is_bound(work: &Work, protocol: u32) -> bool {
    binding(work, protocol)
        .is_some_and(|binding| binding.filter != 0 && binding.mode != Mode::Off as u8)
}

/// How a protocol is bound by the policy that the packet on the desk is judged by.
#[inline(always)]
fn binding(work: &Work, protocol: u32) -> Option<&'static Binding> {
    BINDINGS.get(work.slot * PROTOCOLS_MAX as u32 + protocol)
}

/// Whether the filter whose binding lies on the desk is to enforce.
#[inline(always)]
pub fn enforces(work: &Work) -> bool {
    work.binding.mode == Mode::Enforce as u8
}

/// Goes on in the filter. Where that cannot be, the packet is dropped if the filter is to enforce, and
/// passes with a word if it only watches.
#[inline(always)]
pub fn hand_over<F: Frame>(frame: &F, work: &mut Work) -> i32 {
    let reason = if work.packet.fragment == Fragment::Whole {
        frame.tail_call(u32::from(work.binding.filter));
        Reason::FilterUnavailable
    } else {
        // The rest of the segment would pass unread in the later fragments.
        Reason::FragmentDropped
    };
    work.refuse(reason);
    if enforces(work) {
        return hook::drop(frame, work);
    }
    report::passed_unread(frame, work);
    hook::pass::<F>(work)
}

/// Forgets what filters know of a flow that is no more: it ended by itself, or by the kill with the number
/// `killed_by`. What it announced ends with it.
#[inline(always)]
pub fn forget(flow_id: u64, now: u64, killed_by: u64) {
    // Most flows were never read by a filter and have no entry.
    let _ = CONNECTIONS.remove(flow_id);
    pinholes::parent_ended(flow_id, now, killed_by);
}
