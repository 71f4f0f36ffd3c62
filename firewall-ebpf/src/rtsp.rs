//! The RTSP filter: brings a segment's bytes to the parser, in order, and acts on what it finds.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use firewall_common::{
    event::EventKind,
    filter::{
        FilterId,
        finding::Findings,
        rtsp::{KILL_STANDARD, KILL_STRICT, Parser},
        stream::{Cursor, Deliver, Situation, deliver},
    },
    flow::{Direction, Flow, Half, State},
    layout::{Counter, FilterCounters, Verdict},
    policy::{Mode, Profile},
    reason::Reason,
};

use crate::{
    filter::{self, enforces},
    frame::Frame,
    hook,
    maps::{FILTER_COUNTERS, RTSP_CONNECTIONS, RTSP_START},
    report, reset, tables,
    work::{CHUNK, Work},
};

/// No finding kills.
const NO_KILL: u32 = u32::MAX;
/// One byte gives rise to fewer findings than this.
const FINDINGS_PER_BYTE: u32 = 8;

/// What is kept of one connection: for each direction how far it was read, and the parser.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    cursors: [Cursor; 2],
    parsers: [Parser; 2],
}

/// Reads the segment on the desk. Returns the program's return value.
#[inline(always)]
pub fn segment<F: Frame>(frame: &F) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    // Between the caller's look and this one another CPU may have ended the flow.
    let Some(flow) = tables::find_again(work) else {
        work.refuse(Reason::TcpNotSyn);
        return hook::drop(frame, work);
    };
    let Some(connection) = connection(flow) else {
        work.refuse(Reason::OutOfResources);
        if enforces(work) {
            return hook::drop(frame, work);
        }
        report::passed_unread(frame, work);
        return hook::pass::<F>(work);
    };
    report::count(Counter::FilterSegments, 1);
    count(work.protocol, |counters| counters.segments += 1);

    let Connection { cursors: [cursor0, cursor1], parsers: [parser0, parser1] } = connection;
    let (cursor, parser) = match work.direction {
        Direction::Original => (cursor0, parser0),
        Direction::Reply => (cursor1, parser1),
    };
    let (_, receiver) = flow.sides(work.direction);
    let acked = receiver.acked;
    let half = flow.half(work.direction);
    if half.flags & Half::UNREAD != 0 {
        half.flags &= !Half::UNREAD;
        *cursor = Cursor::default();
        parser.resync();
    }
    let Some(skip_front) = place(work, acked, cursor, parser) else {
        count(work.protocol, |counters| counters.held += 1);
        work.refuse(Reason::FilterSegmentHeld);
        return hook::drop(frame, work);
    };
    work.at = u32::from(work.packet.payload_offset) + skip_front;
    work.end = u32::from(work.packet.payload_offset) + work.packet.payload_len;
    work.chunk_len = 0;

    let killed_by = read(frame, work, parser);
    if killed_by == NO_KILL {
        cursor.advance(work.packet.payload_seq(), work.packet.payload_len);
        return hook::pass::<F>(work);
    }
    kill(frame, work, flow, parser, killed_by as u16);
    // The receiver takes a RST at the first byte that it does not have yet.
    work.packet.seq = work.packet.payload_seq().wrapping_add(skip_front);
    report::replayed(work, Verdict::Reset);
    reset::send(frame, work, reset::Into::ResetToReceiver)
}

/// What is known of the flow's streams, or a new beginning. `None`: the table is full.
#[inline(always)]
fn connection(flow: &Flow) -> Option<&'static mut Connection> {
    const BPF_NOEXIST: u64 = 1;
    if let Some(known) = RTSP_CONNECTIONS.get_ptr_mut(flow.id) {
        // SAFETY: map values stay readable and writable for as long as the program runs.
        return Some(unsafe { &mut *known });
    }
    // Should another CPU be first, with the other direction, its entry is the one to use.
    let _ = RTSP_CONNECTIONS.insert(flow.id, RTSP_START.get(0)?, BPF_NOEXIST);
    // SAFETY: as above.
    let new = unsafe { &mut *RTSP_CONNECTIONS.get_ptr_mut(flow.id)? };
    let Connection { cursors, parsers } = new;
    let [original, reply] = &flow.halves;
    let [first0, first1] = flow.first_seq;
    let [cursor0, cursor1] = cursors;
    let [parser0, parser1] = parsers;
    begin(original, first0, cursor0, parser0);
    begin(reply, first1, cursor1, parser1);
    Some(new)
}

/// Where a direction is to be read from: its first byte, if that is still to come.
#[inline(always)]
fn begin(half: &Half, first_seq: u32, cursor: &mut Cursor, parser: &mut Parser) {
    if half.flags & (Half::BEGIN_KNOWN | Half::UNREAD) == Half::BEGIN_KNOWN {
        *cursor = Cursor::starting_at(first_seq);
    } else {
        parser.resync();
    }
}

/// Puts the parser where the segment's new bytes begin. Returns how many bytes at the segment's front
/// are not to be read, all of them if it is a repetition; `None`: it has to be held back.
#[inline(always)]
fn place(work: &Work, acked: u32, cursor: &Cursor, parser: &mut Parser) -> Option<u32> {
    let (seq, len) = (work.packet.payload_seq(), work.packet.payload_len);
    let now = Situation {
        mode: Mode::from_raw(work.binding.mode),
        profile: Profile::from_raw(work.binding.profile),
        skippable: parser.skippable(),
        in_media: parser.in_media(),
        acknowledged: cursor.is_behind(acked),
    };
    match deliver(cursor.place(seq, len), &now) {
        Deliver::Skip => Some(len),
        Deliver::Hold => None,
        Deliver::Feed { skip_front } => {
            parser.segment_start();
            Some(skip_front)
        }
        Deliver::FeedAfterLoss { missing } => {
            parser.skip(missing);
            parser.segment_start();
            Some(0)
        }
        Deliver::Resync { missing } => {
            parser.resync();
            parser.skip(missing);
            parser.segment_start();
            Some(0)
        }
    }
}

/// What the loop over a segment's bytes works with. Its counters lie on the desk, where the verifier
/// forgets them, so that it looks at one round for all.
struct Reading<'a, F> {
    frame: &'a F,
    work: &'a mut Work,
    parser: &'a mut Parser,
    /// Code of the finding that kills, or [`NO_KILL`].
    killed_by: u32,
}

/// Reads from `work.at` to `work.end`. Returns the code of the finding that kills, or [`NO_KILL`].
#[inline(always)]
fn read<F: Frame>(frame: &F, work: &mut Work, parser: &mut Parser) -> u32 {
    // Each round reads a byte or skips a stretch and then reads a byte.
    let rounds = work.packet.payload_len;
    let mut reading = Reading { frame, work, parser, killed_by: NO_KILL };
    let context = (&raw mut reading).cast();
    // SAFETY: the callback has the signature that the helper wants and gets the context it expects.
    unsafe { bpf_loop(rounds, read_byte::<F> as *mut c_void, context, 0) };
    reading.killed_by
}

/// One round: skips what the parser does not look at, then reads one byte.
extern "C" fn read_byte<F: Frame>(_round: u64, context: *mut c_void) -> u64 {
    const GO_ON: u64 = 0;
    const STOP: u64 = 1;
    // SAFETY: `read` passes its own reading.
    let Reading { frame, work, parser, killed_by } =
        unsafe { &mut *context.cast::<Reading<'_, F>>() };
    let left = work.end.saturating_sub(work.at);
    let skippable = parser.skippable();
    let skipped = if skippable < left { skippable } else { left };
    if skipped > 0 {
        parser.skip(skipped);
        work.at += skipped;
    }
    if skipped >= left {
        return STOP;
    }
    let Some(byte) = next_byte(*frame, work) else {
        return STOP;
    };
    let findings: Findings = bytemuck::cast(rtsp_step(*parser, u32::from(byte)));
    if findings.is_empty() {
        return GO_ON;
    }
    *killed_by = report_findings(*frame, work, parser, findings);
    if *killed_by == NO_KILL { GO_ON } else { STOP }
}

/// [`Parser::step`] as a function that the verifier knows by its signature alone: it looks at the parser
/// once, and not again for every way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rtsp_step(parser: *mut Parser, byte: u32) -> u32 {
    // SAFETY: the only caller passes a reference, or so the verifier will not believe: hence the check.
    match unsafe { parser.as_mut() } {
        Some(parser) => bytemuck::cast(parser.step(byte as u8)),
        None => 0,
    }
}

/// The byte at `work.at`, fetched with those that follow it.
#[inline(always)]
fn next_byte<F: Frame>(frame: &F, work: &mut Work) -> Option<u8> {
    let mut index = work.at.wrapping_sub(work.chunk_at);
    if index >= work.chunk_len {
        let left = work.end.saturating_sub(work.at);
        work.chunk_len = if left < CHUNK as u32 { left } else { CHUNK as u32 };
        let len = within_chunk(&work.chunk_len);
        // SAFETY: the chunk has CHUNK bytes.
        if !unsafe { frame.load(work.at, work.chunk.as_mut_ptr(), len) } {
            return None;
        }
        work.chunk_at = work.at;
        index = 0;
    }
    work.at += 1;
    work.chunk.get(index as usize & (CHUNK - 1)).copied()
}

/// A length from 1 to [`CHUNK`], which it is already, in a form that the verifier can see: read back from
/// memory, so that the compiler does not drop the arithmetic as needless.
#[inline(always)]
fn within_chunk(len: &u32) -> u32 {
    // SAFETY: a reference is valid to read from.
    let len = unsafe { core::ptr::from_ref(len).read_volatile() };
    (len.wrapping_sub(1) & (CHUNK as u32 - 1)) + 1
}

/// Reports what is only to be noted. Returns the code of the finding that kills, or [`NO_KILL`].
#[inline(always)]
fn report_findings<F: Frame>(
    frame: &F,
    work: &mut Work,
    parser: &Parser,
    findings: Findings,
) -> u32 {
    let killing = if !enforces(work) {
        Findings::EMPTY
    } else if work.binding.profile == Profile::Strict as u8 {
        KILL_STRICT
    } else {
        KILL_STANDARD
    };
    work.noted = findings.without(killing);
    let mut noting = Noting { frame, work, parser };
    let context = (&raw mut noting).cast();
    // SAFETY: the callback has the signature that the helper wants and gets the context it expects.
    unsafe { bpf_loop(FINDINGS_PER_BYTE, note_first::<F> as *mut c_void, context, 0) };
    (findings & killing).first().map_or(NO_KILL, u32::from)
}

/// What the loop over a byte's findings works with.
struct Noting<'a, F> {
    frame: &'a F,
    work: &'a mut Work,
    parser: &'a Parser,
}

/// One round: reports the first finding that is left.
extern "C" fn note_first<F: Frame>(_round: u64, context: *mut c_void) -> u64 {
    const GO_ON: u64 = 0;
    const STOP: u64 = 1;
    // SAFETY: `report_findings` passes its own noting.
    let Noting { frame, work, parser } = unsafe { &mut *context.cast::<Noting<'_, F>>() };
    let Some(code) = work.noted.first() else {
        return STOP;
    };
    work.noted = work.noted.without(Findings::of(code));
    quote(work, parser, code);
    report::finding(*frame, work, EventKind::FilterFinding, Reason::IpsDetected);
    GO_ON
}

/// Ends the flow: leaves the tombstone and reports the kill that later drops will point to.
#[inline(always)]
fn kill<F: Frame>(frame: &F, work: &mut Work, flow: &mut Flow, parser: &Parser, code: u16) {
    work.state = State::Killed;
    quote(work, parser, code);
    let number =
        report::finding(frame, work, EventKind::ConnectionKilled, Reason::ConnectionKilled);
    count(work.protocol, |counters| counters.kills += 1);
    flow.killed_by = number;
    flow.last_seen = work.now;
    // Whatever state another CPU has just moved it to: it is over.
    flow.state = State::Killed as u8;
    filter::forget(flow.id);
}

/// Lays out what was found, where, and what stood there.
#[inline(always)]
fn quote(work: &mut Work, parser: &Parser, code: u16) {
    count(work.protocol, |counters| counters.findings += 1);
    let (excerpt, len) = parser.excerpt(code);
    let record = &mut work.record;
    record.filter = FilterId::Rtsp as u8;
    record.finding = code;
    record.offset = parser.finding_offset(code);
    record.excerpt = *excerpt;
    record.excerpt_len = len;
}

#[inline(always)]
fn count(protocol: u8, add: impl FnOnce(&mut FilterCounters)) {
    if let Some(counters) = FILTER_COUNTERS.get_ptr_mut(u32::from(protocol)) {
        // SAFETY: the entry is this CPU's alone.
        add(unsafe { &mut *counters })
    }
}
