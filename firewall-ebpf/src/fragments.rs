//! Fragments: later ones go the way of their datagram's first, which alone has ports.

use firewall_common::{
    datagram::{Admission, Datagram, Fit, end_of},
    flow::FragmentKey,
    reason::Reason,
};

use crate::{
    maps::{FRAGMENTING_PAIRS, FRAGMENTS},
    work::{Decision, Work},
};

const BPF_ANY: u64 = 0;

/// How long a datagram's fragments may come: the kernel's own reassembly time (`ipfrag_time`).
const TIMEOUT_NS: u64 = 30_000_000_000;
/// How many fragments may come before the first of their datagram.
const EARLY_MAX: u8 = 64;

/// Decides about a fragment without a transport header.
#[inline(never)]
pub fn later(work: &mut Work) -> Decision {
    let key = FragmentKey::of(&work.packet);
    let known = FRAGMENTS.get_ptr_mut(key);
    // SAFETY: map values stay readable and writable for as long as the program runs.
    let known = known.map(|datagram| unsafe { &mut *datagram });
    match known {
        Some(datagram) if work.now.saturating_sub(datagram.seen) < TIMEOUT_NS => {
            follow(work, datagram)
        }
        _ if fragments_between(work) => begin_early(work, &key),
        _ => work.refuse(Reason::FragmentDropped),
    }
}

/// A fragment of a datagram of which another came by.
#[inline(always)]
fn follow(work: &mut Work, datagram: &mut Datagram) -> Decision {
    let admission = Admission::from_raw(datagram.admission);
    let too_early = admission == Admission::Awaited && datagram.early >= EARLY_MAX;
    if admission == Admission::Refused || too_early {
        return work.refuse(Reason::FragmentDropped);
    }
    match enter(work, datagram) {
        Fit::New => {
            if admission == Admission::Awaited {
                datagram.early += 1;
            }
            Decision::Pass
        }
        Fit::Repeated | Fit::TooScattered => work.refuse(Reason::FragmentDropped),
        Fit::Overlaps => {
            // RFC 5722 §4: nothing of such a datagram may be put together.
            datagram.admission = Admission::Refused as u8;
            work.refuse(Reason::FragmentDropped)
        }
    }
}

/// Takes in what was decided about a datagram's first fragment, so that the later ones follow it. Returns
/// whether it fits to those that came before it.
#[inline(never)]
pub fn note_first(work: &mut Work, passes: bool) -> bool {
    let key = FragmentKey::of(&work.packet);
    let known = FRAGMENTS.get_ptr_mut(key);
    // SAFETY: as above.
    let known = known.map(|datagram| unsafe { &mut *datagram });
    let mut fresh = Datagram::new(work.now);
    let (datagram, is_fresh) = match known {
        Some(known) if work.now.saturating_sub(known.seen) < TIMEOUT_NS => (known, false),
        _ => (&mut fresh, true),
    };
    let fits = passes
        && datagram.admission != Admission::Refused as u8
        && enter(work, datagram) == Fit::New;
    // A first fragment that comes twice is dropped the second time, and the datagram lives.
    if fits {
        datagram.admission = Admission::Passed as u8;
    } else if datagram.admission != Admission::Passed as u8 {
        datagram.admission = Admission::Refused as u8;
    }
    if is_fresh {
        // A table that is full makes room by itself; should that fail, the later fragments are refused
        // with a reason.
        let _ = FRAGMENTS.insert(key, fresh, BPF_ANY);
    }
    if fits {
        let _ = FRAGMENTING_PAIRS.insert(pair(work), work.now, BPF_ANY);
    }
    fits
}

/// A fragment that came before the first of its datagram. It may pass, but only between hosts whose
/// fragmented datagrams passed a moment ago: strangers could fill a receiver's memory with such fragments.
#[inline(always)]
fn begin_early(work: &mut Work, key: &FragmentKey) -> Decision {
    let mut datagram = Datagram::new(work.now);
    datagram.early = 1;
    let fit = enter(work, &mut datagram);
    if fit != Fit::New || FRAGMENTS.insert(key, datagram, BPF_ANY).is_err() {
        return work.refuse(Reason::FragmentDropped);
    }
    Decision::Pass
}

#[inline(always)]
fn enter(work: &Work, datagram: &mut Datagram) -> Fit {
    let packet = &work.packet;
    let from = packet.fragment_offset;
    // What lies behind the IP headers: the transport header is part of the datagram.
    let len = packet.payload_len + u32::from(packet.payload_offset - packet.transport_offset);
    datagram.enter(from, end_of(from, len), packet.more_fragments == 0)
}

/// Whether a first fragment passed between these hosts lately.
#[inline(always)]
fn fragments_between(work: &Work) -> bool {
    // SAFETY: the time is read at once.
    unsafe { FRAGMENTING_PAIRS.get(pair(work)) }
        .is_some_and(|at| work.now.saturating_sub(*at) < TIMEOUT_NS)
}

#[inline(always)]
fn pair(work: &Work) -> FragmentKey {
    FragmentKey { id: 0, ..FragmentKey::of(&work.packet) }
}
