//! Beside the kernel's NAT: what a flow is called on the other side of the machine.
//! [`firewall_common::crossing`] says how it is found out.

use firewall_common::{
    crossing::{CROSSING_NS, Crossing, Fingerprint},
    flow::{Alias, Direction, Flow, State},
    layout::{CROSSINGS_MAX, Counter},
    tally::Counted,
    wire::{Fragment, Packet, ip_protocol},
    words::same,
};

use crate::{
    filter,
    frame::{Frame, SkbFrame},
    link::Link,
    maps::{CROSSING_TAGS, CROSSINGS, SHORTCUT, TIMEOUTS},
    report,
    tables::{self, Key},
    work::Work,
};

/// Notes a packet on its way in whose flow has no answer yet, or just got it.
#[inline(never)]
pub fn enters<F: Frame>(frame: &F, work: &mut Work) {
    if work.packet.fragment == Fragment::Later {
        return;
    }
    let fingerprint = fingerprint(frame, &work.packet);
    let slot = fingerprint.slot(CROSSINGS_MAX);
    let (Some(crossing), Some(tag)) =
        (CROSSINGS.get_ptr_mut(slot), CROSSING_TAGS.get_ptr_mut(slot))
    else {
        return;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let (crossing, tag) = unsafe { (&mut *crossing, &mut *tag) };
    // Another CPU that reads it meanwhile must not take the half for the whole.
    // SAFETY: a reference is valid to write to.
    unsafe { (&raw mut crossing.fingerprint).write_volatile(Fingerprint::default()) };
    crossing.flow_id = work.flow_id;
    crossing.at = work.now;
    crossing.key_v4 = work.key_v4;
    crossing.key_v6 = work.key_v6;
    crossing.direction = work.direction as u32;
    // SAFETY: as above.
    unsafe { (&raw mut crossing.fingerprint).write_volatile(fingerprint) };
    *tag = fingerprint.tag();
}

/// Makes sure that the flow of a packet on its way out, which was judged on its way in, is known by the name it
/// has here.
#[inline(never)]
pub fn leaves<L: Link>(frame: &SkbFrame<L>, work: &mut Work) {
    if work.packet.fragment == Fragment::Later {
        return;
    }
    let fingerprint = fingerprint(frame, &work.packet);
    let slot = fingerprint.slot(CROSSINGS_MAX);
    // Nearly every packet ends here, and looks at no more than the caches keep.
    if CROSSING_TAGS.get(slot).is_none_or(|tag| *tag != fingerprint.tag()) {
        return;
    }
    let Some(crossing) = CROSSINGS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let crossing = unsafe { &mut *crossing };
    if !same(&crossing.fingerprint, &fingerprint) {
        return;
    }
    // It leaves once: the next that looks like it is another packet, perhaps of another flow.
    // SAFETY: a reference is valid to write to.
    unsafe { (&raw mut crossing.fingerprint).write_volatile(Fingerprint::default()) };
    if work.now.saturating_sub(crossing.at) > CROSSING_NS {
        return;
    }
    tables::note_key(work);
    let here = work.key();
    let same =
        if here.version == 4 { crossing.key_v4 == *here.v4 } else { crossing.key_v6 == *here.v6 };
    if same && SHORTCUT.get(0).is_none_or(|allowed| *allowed == 0) {
        return;
    }
    known_again(work, crossing, frame.came_in_by(), u32::from(same));
}

/// What a packet that is known again says about its flow, which came in by the interface `came_in_by`: `same` is 0 if
/// it leaves by another name. A function of its own for the verifier's sake.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn known_again(
    work: *mut Work,
    crossing: *const Crossing,
    came_in_by: u32,
    same: u32,
) -> u32 {
    // SAFETY: the caller passes references, or so the verifier will not believe: hence the check.
    if let (Some(work), Some(crossing)) = (Work::passed(work), unsafe { crossing.as_ref() }) {
        tell_flow(work, crossing, came_in_by, same != 0);
    }
    0
}

#[inline(always)]
fn tell_flow(work: &mut Work, crossing: &Crossing, came_in_by: u32, same: bool) {
    work.flow_id = crossing.flow_id;
    work.alias_v4 = crossing.key_v4;
    work.alias_v6 = crossing.key_v6;
    let target = Key { version: work.packet.version, v4: &work.alias_v4, v6: &work.alias_v6 };
    let Some(flow) = tables::entry(&target).filter(|flow| flow.id == crossing.flow_id) else {
        return;
    };
    if !same {
        name(work, crossing, flow);
    } else if Alias::of(flow).is_none() {
        let reply = crossing.direction == Direction::Reply as u32;
        let direction = if reply { Direction::Reply } else { Direction::Original };
        flow.note_passage(direction, came_in_by, work.interface, work.now);
    }
}

/// Enters the alias, into the table that its flow lies in.
#[inline(always)]
fn name(work: &mut Work, crossing: &Crossing, flow: &mut Flow) {
    if !make_room(work) {
        return;
    }
    if flow.flags & Flow::TRANSLATED == 0 {
        flow.flags |= Flow::TRANSLATED;
        report::count(Counter::FlowsTranslated, 1);
    }
    let is_original = crossing.direction == Direction::Original as u32;
    let unsettled = flow.state().is_half_open();
    let alias = Alias {
        last_seen: work.now,
        id: crossing.flow_id,
        state: State::Alias as u8,
        originator_is_second: u8::from(work.source_is_second == is_original),
        reserved: [0; 2],
        unsettled: u32::from(unsettled),
        target_v4: crossing.key_v4,
        target_v6: crossing.key_v6,
        reserved2: [0; 6],
    };
    work.flow = bytemuck::cast(alias);
    let here = work.key();
    if unsettled {
        // Again with every packet that has no answer: it then is young among those that a flood may evict.
        let _ = tables::insert_half_open(&here, &work.flow);
    } else {
        let _ = tables::promote(&here, &work.flow, None);
    }
}

/// Removes what lies under the name that a packet leaves by and is not of its flow: the kernel gives a name to one
/// flow at a time, so that is over. `false`: what lies there stays, because it is the flow's settled alias or a
/// flow that seems alive.
#[inline(always)]
fn make_room(work: &Work) -> bool {
    let here = work.key();
    let Some(entry) = tables::entry(&here) else {
        return true;
    };
    match Alias::of(entry) {
        // Its own, which is renewed until it is settled.
        Some(alias) if alias.id == work.flow_id => return alias.unsettled != 0,
        Some(_) => tables::remove(&here, None),
        None => {
            // A connection that is older than the firewall may begin with a packet from either end, at the same
            // time: one flow becomes the other's.
            let over = entry.state().is_over()
                || entry.state() == State::Midstream
                || TIMEOUTS.get(0).is_some_and(|timeouts| entry.expired(work.now, timeouts));
            if !over {
                return false;
            }
            filter::forget(entry.id, work.now, 0);
            tables::remove(&here, Some(Counted::by(entry)));
        }
    }
    true
}

#[inline(always)]
fn fingerprint<F: Frame>(frame: &F, packet: &Packet) -> Fingerprint {
    if packet.protocol == ip_protocol::TCP {
        return Fingerprint::of(packet, 0, 0);
    }
    // Should the frame lack these bytes, zeros make a poorer fingerprint.
    let (mut payload, mut extra) = ([0; 8], [0; 2]);
    if packet.payload_len >= payload.len() as u32 {
        // SAFETY: the array has eight bytes.
        unsafe { frame.load(u32::from(packet.payload_offset), payload.as_mut_ptr(), 8) };
    }
    if let Some(at) = Fingerprint::extra_at(packet.protocol) {
        // SAFETY: the array has two bytes.
        unsafe { frame.load(u32::from(packet.transport_offset) + at, extra.as_mut_ptr(), 2) };
    }
    Fingerprint::of(packet, u64::from_ne_bytes(payload), u16::from_ne_bytes(extra))
}
