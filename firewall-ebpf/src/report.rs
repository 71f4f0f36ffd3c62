//! What is said about packets: exact counters, and events for those who want to know more.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_CURRENT_CPU, xdp_md},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_perf_event_output},
    programs::{TcContext, XdpContext},
};
use firewall_common::{
    event::{EventKind, Record, Ring, SNAP_MAX, Untold, finding_bucket},
    flow::{Change, Flow, State, sides_of},
    layout::{Command, CommandResult, Counter, Hook, ReplayOutput, Verdict},
    number::numbered,
    reason::Reason,
    words::clear,
};

use crate::{
    clock,
    frame::{Frame, TcFrame, XdpFrame},
    maps::{
        BUCKETS, COUNTERS, EVENTS, FINDING_BUCKETS, KILLS, NUMBERS, REASONS, REPLAY_OUTPUT, UNTOLD,
    },
    tables::Key,
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

/// A flow began or ended by itself, as laid out on the desk. If its packet is refused besides, that is told apart.
#[inline(always)]
pub fn flow_changed<F: Frame>(frame: &F, work: &mut Work) {
    let Some(change) = Change::from_raw(work.told.change) else {
        return;
    };
    let (kind, reason) = change.event();
    let refused = core::mem::replace(&mut work.told.reason, reason as u8);
    count_reason(reason as u8);
    limited(frame, work, kind as u8);
    work.told.reason = refused;
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
        if kind != EventKind::ConnectionClosed as u8 {
            record.started = 0;
        }
        send(frame, work, Ring::Events);
    }
}

/// A filter found something that it only notes: counted always. `Some(n)`: it is to be told by [`Frame::finding`], and that
/// `n` of its kind before it were not. A peer can bring about a finding with every byte, so each has a rate limit.
#[inline(always)]
pub fn admit_finding(work: &mut Work, filter: u8, code: u16, reason: Reason) -> Option<u64> {
    work.told.reason = reason as u8;
    match admit_note(work, finding_bucket(filter, code)) {
        HELD_BACK => None,
        suppressed => Some(suppressed),
    }
}

/// What [`admit_note`] returns for what is not to be told.
const HELD_BACK: u64 = u64::MAX;

/// Asks the rate limit of a finding, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn admit_note(work: *mut Work, bucket: u32) -> u64 {
    let Some(work) = Work::passed(work) else {
        return HELD_BACK;
    };
    count_reason(work.told.reason);
    let Some(bucket) = FINDING_BUCKETS.get_ptr_mut(bucket) else {
        return HELD_BACK;
    };
    // SAFETY: the entry is this CPU's alone.
    let admitted = unsafe { (*bucket).admit(work.now) };
    admitted.unwrap_or_else(|| {
        untold(Ring::Events, work.told.reason, |untold| untold.held_back += 1);
        HELD_BACK
    })
}

/// [`finding`] behind XDP, as a function that the verifier knows by its signature alone.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn finding_xdp(context: *mut xdp_md, work: *mut Work, suppressed: u64) -> u32 {
    if let Some(work) = Work::passed(work) {
        finding(&XdpFrame::without_headers(XdpContext::new(context)), work, suppressed);
    }
    0
}

/// The same behind traffic control.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn finding_tc(context: *mut __sk_buff, work: *mut Work, suppressed: u64) -> u32 {
    if let Some(work) = Work::passed(work) {
        finding(&TcFrame::without_headers(TcContext::new(context)), work, suppressed);
    }
    0
}

/// Tells of a finding that was admitted. Its own fields of the record (filter, finding, offset, excerpt) are the
/// caller's to set.
#[inline(always)]
fn finding<F: Frame>(frame: &F, work: &mut Work, suppressed: u64) {
    begin(work, EventKind::FilterFinding as u8);
    let record = &mut work.record;
    record.caused_by = work.caused_by;
    record.suppressed = suppressed;
    record.started = 0;
    send(frame, work, Ring::Events);
}

/// A filter kills a flow: never held back by a rate limit. The finding's own fields of the record, and what the flow has
/// come to, are the caller's to set. Returns the event's number.
///
/// The flow is marked after this, so that no packet is dropped by it whose drop could be told before (see `ring` in
/// firewall-user).
#[inline(always)]
pub fn killed<F: Frame>(frame: &F, work: &mut Work) -> u64 {
    work.told.reason = Reason::ConnectionKilled as u8;
    count_reason(work.told.reason);
    begin(work, EventKind::ConnectionKilled as u8);
    work.record.caused_by = work.caused_by;
    work.record.suppressed = 0;
    let number = work.record.id;
    send(frame, work, Ring::Kills);
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

/// Each CPU counts for itself, see [`firewall_common::number`].
#[inline(always)]
fn next_number(of: u32) -> u64 {
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(last) = NUMBERS.get_ptr_mut(of) else {
        return 0;
    };
    // SAFETY: the entry is this CPU's alone.
    let count = unsafe {
        *last += 1;
        *last
    };
    numbered(count, u64::from(cpu))
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
        untold(Ring::Events, reason, |untold| untold.held_back += 1);
    }
    admitted
}

/// Counts an event that nobody will read.
#[inline(always)]
fn untold(ring: Ring, reason: u8, add: impl FnOnce(&mut Untold)) {
    if let Some(untold) = UNTOLD.get_ptr_mut(ring.untold_index(reason)) {
        // SAFETY: the entry is this CPU's alone.
        add(unsafe { &mut *untold })
    }
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
    record.protocol = work.protocol;
    record.state = work.state as u8;
    record.fault = work.told.fault;
    record.expected = work.expected;
    record.flow_flags = u16::from(work.flow_flags);
    record.mode = work.binding.mode;
    record.profile = work.binding.profile;
}

/// Puts the record into this CPU's ring, followed by the start of the packet.
#[inline(always)]
fn send<F: Frame>(frame: &F, work: &mut Work, ring: Ring) {
    let len = frame.len();
    let captured = if len < SNAP_MAX { len } else { SNAP_MAX } as u32;
    let record = &mut work.record;
    record.length = work.frame_len;
    record.captured = captured as u16;
    // Both kinds of link share the filters: there only the packet tells.
    let is_bare = work.packet.ip_offset == 0 && work.packet.version != 0;
    record.link = if !F::ETHERNET || is_bare { Record::IP } else { Record::ETHERNET };
    match output(frame, record, captured, ring) {
        0 => {}
        ENOENT => untold(ring, work.told.reason, |untold| untold.unheard += 1),
        _ => untold(ring, work.told.reason, |untold| untold.lost += 1),
    }
}

/// What [`output`] returns where a CPU's slot is empty, because no controller has its ring open (`bpf_event_entry` in the
/// kernel).
const ENOENT: i64 = -2;

/// Puts a record and the first `captured` bytes of the frame into this CPU's ring. Returns 0, or a negative error number.
#[inline(always)]
fn output<F: Frame>(frame: &F, record: &mut Record, captured: u32, ring: Ring) -> i64 {
    let ring = match ring {
        Ring::Kills => &KILLS,
        Ring::Events => &EVENTS,
    };
    let flags = u64::from(captured) << 32 | u64::from(BPF_F_CURRENT_CPU as u32);
    // SAFETY: the ring's address is the map's; the record has its type's size.
    unsafe {
        bpf_perf_event_output(
            frame.context(),
            core::ptr::from_ref(ring).cast_mut().cast(),
            flags,
            core::ptr::from_mut(record).cast(),
            size_of::<Record>() as u64,
        )
    }
}

/// Tells of the kill of a flow by a command, about which there is no packet: before the flow is marked, as of every kill.
/// `patient`: what finds no room is not lost, for the command is given again.
#[inline(never)]
pub fn killed_by_command(
    frame: &TcFrame,
    key: &Key<'_>,
    flow: &Flow,
    command: &Command,
    patient: bool,
) -> CommandResult {
    let mut record = core::mem::MaybeUninit::<Record>::uninit();
    // SAFETY: only cleared, and all zeros are a record.
    let record = unsafe { &mut *record.as_mut_ptr() };
    clear(record);
    // SAFETY: the helper takes nothing.
    record.timestamp = unsafe { bpf_ktime_get_ns() };
    record.id = command.event;
    record.flow_id = flow.id;
    record.interface = flow.interface;
    record.rule = u32::from(flow.rule);
    record.kind = EventKind::ConnectionKilled as u8;
    record.reason = command.reason as u8;
    record.version = command.version as u8;
    record.ip_protocol = flow.ip_protocol;
    record.protocol = flow.protocol;
    record.state = State::Killed as u8;
    record.flow_flags = u16::from(flow.flags);
    record.sum_up(flow);
    name_ends(record, key, flow.originator_is_second != 0);
    let outcome = output(frame, record, 0, Ring::Kills);
    if outcome != 0 && outcome != ENOENT && patient {
        return CommandResult::NoRoom;
    }
    count_reason(record.reason);
    match outcome {
        0 => CommandResult::Done,
        ENOENT => {
            untold(Ring::Kills, record.reason, |untold| untold.unheard += 1);
            CommandResult::Untold
        }
        _ => {
            untold(Ring::Kills, record.reason, |untold| untold.lost += 1);
            CommandResult::Untold
        }
    }
}

/// Whom a flow's first packet was from, and to whom it went.
#[inline(always)]
fn name_ends(record: &mut Record, key: &Key<'_>, originator_is_second: bool) {
    let (ends, ports) = if key.version == 4 {
        let [first, second] = key.v4.addresses;
        ([[first, 0, 0, 0], [second, 0, 0, 0]], key.v4.ports)
    } else {
        (key.v6.addresses, key.v6.ports)
    };
    let (source, destination) = sides_of(&ends, originator_is_second);
    (record.source, record.destination) = (*source, *destination);
    let (source, destination) = sides_of(&ports, originator_is_second);
    (record.source_port, record.destination_port) = (*source, *destination);
}
