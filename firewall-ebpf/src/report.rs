//! What is said about packets: exact counters, and events for those who want to know more.

use aya_ebpf::{
    bindings::BPF_F_CURRENT_CPU,
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_perf_event_output},
};
use firewall_common::{
    event::{EventKind, Record, SNAP_MAX},
    flow::Flow,
    layout::{Counter, Hook, ReplayOutput, Verdict},
    reason::Reason,
};

use crate::{
    clock,
    frame::Frame,
    maps::{BUCKETS, COUNTERS, EVENTS, NUMBERS, REASONS, REPLAY_OUTPUT},
    work::Work,
};

/// Counts the frame on the desk at its hook.
#[inline(always)]
pub fn frame_seen(work: &Work) {
    let Some(counters) = counters() else {
        return;
    };
    let (packets, bytes) = match work.hook {
        Hook::Ingress => (Counter::IngressPackets, Counter::IngressBytes),
        Hook::Egress => (Counter::EgressPackets, Counter::EgressBytes),
    };
    counters[packets as usize] += 1;
    counters[bytes as usize] += u64::from(work.frame_len);
}

/// Counts the frame on the desk where it leaves past the kernel's stack: no hook there will see it.
#[inline(always)]
pub fn short_cut(work: &Work) {
    if let Some(counters) = counters() {
        counters[Counter::ShortCut as usize] += 1;
        counters[Counter::EgressPackets as usize] += 1;
        counters[Counter::EgressBytes as usize] += u64::from(work.frame_len);
    }
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter, by: u64) {
    if let Some(counters) = counters() {
        counters[counter as usize] += by;
    }
}

/// The counters of this CPU. `None` cannot happen: the map has an entry 0.
#[inline(always)]
fn counters() -> Option<&'static mut [u64; Counter::COUNT]> {
    // SAFETY: the entry is this CPU's alone.
    COUNTERS.get_ptr_mut(0).map(|counters| unsafe { &mut *counters })
}

/// A packet is refused, for the reason on the desk: counted always, said as often as the rate limit lets
/// it.
#[inline(always)]
pub fn refused<F: Frame>(frame: &F, work: &mut Work) {
    count_reason(work.told.reason);
    limited(frame, work, EventKind::PacketDropped as u8);
}

/// A flow began or ended by itself, as laid out on the desk.
#[inline(always)]
pub fn flow_changed<F: Frame>(frame: &F, work: &mut Work) {
    count_reason(work.told.reason);
    limited(frame, work, work.told.change);
}

/// A segment passes that the policy would have refused, were it not to watch only: for the reason on the desk.
#[inline(always)]
pub fn passed_against_rules<F: Frame>(frame: &F, work: &mut Work) {
    limited(frame, work, EventKind::FilterFinding as u8);
}

/// A segment passes that the filter in monitor mode could not read.
#[inline(always)]
pub fn passed_unread<F: Frame>(frame: &F, work: &mut Work) {
    count(Counter::PassedUnread, 1);
    limited(frame, work, EventKind::FilterFinding as u8);
}

/// Sends an event about the packet on the desk, as often as the rate limit of its reason lets it.
#[inline(never)]
fn limited<F: Frame>(frame: &F, work: &mut Work, kind: u8) {
    let may_be_quiet = EventKind::from_raw(kind).is_some_and(EventKind::may_be_quiet);
    if may_be_quiet && work.flow_flags & Flow::QUIET != 0 {
        return;
    }
    if let Some(suppressed) = admit(work.told.reason, work.now) {
        begin(work, kind);
        let record = &mut work.record;
        record.caused_by = work.caused_by;
        record.suppressed = suppressed;
        record.filter = 0;
        record.finding = 0;
        record.offset = 0;
        record.excerpt_len = 0;
        send(frame, work);
    }
}

/// A filter found something: a kill, or a note. Never held back by a rate limit. The finding's own fields
/// of the record (filter, finding, offset, excerpt) are the caller's to set. Returns the event's number.
#[inline(always)]
pub fn finding<F: Frame>(frame: &F, work: &mut Work, kind: EventKind, reason: Reason) -> u64 {
    work.told.reason = reason as u8;
    count_reason(work.told.reason);
    begin(work, kind as u8);
    work.record.caused_by = work.caused_by;
    work.record.suppressed = 0;
    let number = work.record.id;
    send(frame, work);
    number
}

/// In replay, says what became of the packet.
#[inline(always)]
pub fn replayed(work: &Work, verdict: Verdict) {
    if !clock::in_replay() {
        return;
    }
    if let Some(output) = REPLAY_OUTPUT.get_ptr_mut(0) {
        let decided = ReplayOutput {
            flow_id: work.flow_id,
            verdict: verdict as u8,
            reason: if matches!(verdict, Verdict::Pass) { 0 } else { work.told.reason },
            state: work.state as u8,
            direction: work.direction as u8,
            reserved: 0,
        };
        // SAFETY: replay runs one packet at a time.
        unsafe { *output = decided }
    }
}

/// A number for a new flow: unique, never 0.
#[inline(always)]
pub fn next_flow_number() -> u64 {
    next_number(0)
}

/// Each CPU counts for itself; its own number fills the lowest ten bits, so that numbers of different
/// CPUs never meet and all of them stay exact in a JSON number (below 2^53).
#[inline(always)]
fn next_number(of: u32) -> u64 {
    const CPU_BITS: u32 = 10;
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(last) = NUMBERS.get_ptr_mut(of) else {
        return 0;
    };
    // SAFETY: the entry is this CPU's alone.
    let number = unsafe {
        *last += 1;
        *last
    };
    number << CPU_BITS | u64::from(cpu & ((1 << CPU_BITS) - 1))
}

#[inline(always)]
fn count_reason(reason: u8) {
    if let Some(value) = REASONS.get_ptr_mut(u32::from(reason)) {
        // SAFETY: the entry is this CPU's alone.
        unsafe { *value += 1 }
    }
}

/// Asks the reason's rate limit. `Some(n)`: say it, and that `n` before it went unsaid.
#[inline(always)]
fn admit(reason: u8, now: u64) -> Option<u64> {
    let bucket = BUCKETS.get_ptr_mut(u32::from(reason))?;
    // SAFETY: the entry is this CPU's alone.
    let admitted = unsafe { (*bucket).admit(now) };
    if admitted.is_none() {
        count(Counter::EventsSuppressed, 1);
    }
    admitted
}

/// Starts the record on the desk: everything but what the kinds of event differ in.
#[inline(always)]
fn begin(work: &mut Work, kind: u8) {
    let record = &mut work.record;
    record.describe(&work.packet);
    record.timestamp = if clock::in_replay() {
        work.now
    } else {
        // The precise clock, so that events of different CPUs can be put in order.
        // SAFETY: the helper takes nothing.
        unsafe { bpf_ktime_get_ns() }
    };
    record.id = next_number(1);
    record.flow_id = work.flow_id;
    record.parent = work.parent;
    record.interface = work.interface;
    record.rule = work.rule;
    record.kind = kind;
    record.reason = work.told.reason;
    record.direction = work.direction as u8;
    record.protocol = u32::from(work.protocol);
    record.state = work.state as u8;
    record.fault = work.told.fault;
    record.expected = work.expected;
    record.flow_flags = u16::from(work.flow_flags);
    record.mode = work.binding.mode;
    record.profile = work.binding.profile;
}

/// Puts the record into this CPU's ring, followed by the start of the packet.
#[inline(always)]
fn send<F: Frame>(frame: &F, work: &mut Work) {
    let len = frame.len();
    let captured = if len < SNAP_MAX { len } else { SNAP_MAX } as u32;
    work.record.captured = captured;
    let flags = u64::from(captured) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
    // SAFETY: the ring's address is the map's; the record has its type's size.
    let sent = unsafe {
        bpf_perf_event_output(
            frame.context(),
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            flags,
            core::ptr::from_mut(&mut work.record).cast(),
            size_of::<Record>() as u64,
        )
    };
    // A CPU's slot is empty while no controller has its ring open (`bpf_event_entry` in the kernel).
    const ENOENT: i64 = -2;
    match sent {
        0 => {}
        ENOENT => count(Counter::EventsUnheard, 1),
        _ => count(Counter::EventsLost, 1),
    }
}
