//! Beside the kernel's NAT: what a flow is called on the other side of the machine.
//! [`firewall_common::crossing`] says how it is found out.

use firewall_common::{
    crossing::{Crossing, Fingerprint},
    flow::{Alias, Direction, Flow, State},
    layout::{CROSSINGS_MAX, Counter},
    wire::{Fragment, Packet, ip_protocol},
    words::same,
};

use crate::{
    frame::Frame,
    maps::CROSSINGS,
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
    let Some(crossing) = CROSSINGS.get_ptr_mut(fingerprint.slot(CROSSINGS_MAX)) else {
        return;
    };
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let crossing = unsafe { &mut *crossing };
    // Another CPU that reads it meanwhile must not take the half for the whole.
    // SAFETY: a reference is valid to write to.
    unsafe { (&raw mut crossing.fingerprint).write_volatile(Fingerprint::default()) };
    crossing.flow_id = work.flow_id;
    crossing.key_v4 = work.key_v4;
    crossing.key_v6 = work.key_v6;
    crossing.direction = work.direction as u32;
    // SAFETY: as above.
    unsafe { (&raw mut crossing.fingerprint).write_volatile(fingerprint) };
}

/// Makes sure that the flow of a packet on its way out, which was judged on its way in, is known by the name it
/// has here.
#[inline(never)]
pub fn leaves<F: Frame>(frame: &F, work: &mut Work) {
    if work.packet.fragment == Fragment::Later {
        return;
    }
    let fingerprint = fingerprint(frame, &work.packet);
    let Some(crossing) = CROSSINGS.get(fingerprint.slot(CROSSINGS_MAX)) else {
        return;
    };
    if !same(&crossing.fingerprint, &fingerprint) {
        return;
    }
    tables::note_key(work);
    let here = work.key();
    let same =
        if here.version == 4 { crossing.key_v4 == *here.v4 } else { crossing.key_v6 == *here.v6 };
    if !same {
        name(work, crossing);
    }
}

/// Enters the alias, into the table that its flow lies in.
#[inline(always)]
fn name(work: &mut Work, crossing: &Crossing) {
    work.flow_id = crossing.flow_id;
    work.alias_v4 = crossing.key_v4;
    work.alias_v6 = crossing.key_v6;
    let target = Key { version: work.packet.version, v4: &work.alias_v4, v6: &work.alias_v6 };
    let Some(flow) = tables::entry(&target) else {
        return;
    };
    if flow.id != crossing.flow_id {
        return;
    }
    if flow.flags & Flow::TRANSLATED == 0 {
        flow.flags |= Flow::TRANSLATED;
        report::count(Counter::FlowsTranslated, 1);
    }
    let is_original = crossing.direction == Direction::Original as u32;
    let alias = Alias {
        last_seen: work.now,
        id: crossing.flow_id,
        state: State::Alias as u8,
        originator_is_second: u8::from(work.source_is_second == is_original),
        reserved: [0; 2],
        reserved2: 0,
        target_v4: crossing.key_v4,
        target_v6: crossing.key_v6,
        reserved3: [0; 6],
    };
    work.flow = bytemuck::cast(alias);
    let here = work.key();
    if flow.state().is_half_open() {
        // Again with every packet that has no answer: it then is young among those that a flood may evict.
        let _ = tables::insert_half_open(&here, &work.flow);
    } else {
        let _ = tables::promote(&here, &work.flow);
    }
}

#[inline(always)]
fn fingerprint<F: Frame>(frame: &F, packet: &Packet) -> Fingerprint {
    let mut payload = [0; 8];
    if packet.protocol != ip_protocol::TCP && packet.payload_len >= payload.len() as u32 {
        // SAFETY: the array has eight bytes. Should the frame lack them, zeros make a poorer fingerprint.
        unsafe {
            frame.load(u32::from(packet.payload_offset), payload.as_mut_ptr(), payload.len() as u32)
        };
    }
    Fingerprint::of(packet, u64::from_ne_bytes(payload))
}
