//! Reading a segment with the filter that is bound: brings its bytes to the parser, in order, and acts on what
//! that finds.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use firewall_common::{
    filter::{
        connection::{Arrival, Connection, Stream, place},
        finding::Findings,
        parser::{Outcome, Parser, Scene},
        stream::Cursor,
    },
    flow::{Direction, Flow, Half, sides_of},
    layout::{Counter, FILTERS_MAX, FilterCounters, Verdict},
    policy::{Mode, Profile},
    reason::Reason,
    wire::tcp_flags,
};

use crate::{
    atomic,
    filter::enforces,
    findings::{self, NO_KILL},
    frame::Frame,
    hook,
    maps::{CONNECTIONS, FILTER_COMMANDS, FILTER_COUNTERS, NEW_CONNECTION},
    pinholes, report, reset, tables,
    work::{CHUNK, Work},
};

/// A filter in the kernel. [`filters!`](crate::filters) makes it of a parser.
pub trait Filter: Parser {
    /// [`Parser::step`] as a function that the verifier knows by its signature alone: it looks at the parser
    /// once, and not again for every way that leads there.
    fn step_once(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome;
}

/// Reads the segment on the desk. Returns the program's return value.
#[inline(always)]
pub fn segment<F: Frame, P: Filter>(frame: &F) -> i32 {
    let Some(work) = Work::desk() else {
        return F::DROP;
    };
    let Some(connection) = connection::<P>(work) else {
        if enforces(work) {
            return hook::drop(frame, work);
        }
        report::passed_unread(frame, work);
        return hook::pass::<F>(work);
    };
    report::count(Counter::FilterSegments, 1);
    count(work.protocol, |counters| counters.segments += 1);
    set_scene(work);

    let arrival = Arrival {
        mode: Mode::from_raw(work.binding.mode),
        profile: Profile::from_raw(work.binding.profile),
        seq: work.packet.payload_seq(),
        len: work.packet.payload_len,
        acked: work.acked,
    };
    if !its_turn::<P>(work, connection) {
        work.refuse(Reason::FilterSegmentHeld);
        if !enforces(work) {
            report::passed_unread(frame, work);
            return hook::pass::<F>(work);
        }
        count(work.protocol, |counters| counters.held += 1);
        return hook::drop(frame, work);
    }
    let (stream, parser, peer) = connection.reading::<P>(work.direction);
    if work.unread {
        begin_anew(work, stream, parser);
    }
    let Some(skip_front) = place(&arrival, &work.scene, &stream.cursor, parser, peer) else {
        atomic::release(&mut stream.claim);
        count(work.protocol, |counters| counters.held += 1);
        work.refuse(Reason::FilterSegmentHeld);
        return hook::drop(frame, work);
    };
    let mut reading = Reading { frame, work, stream, parser, peer, killed_by: NO_KILL };
    reading.urgent();
    if reading.killed_by == NO_KILL && !arrival.is_keep_alive(skip_front) {
        reading.repeated(skip_front);
    }
    if reading.killed_by == NO_KILL {
        reading.new_bytes(skip_front);
    }
    let Reading { work, stream, parser, killed_by, .. } = reading;
    if killed_by == NO_KILL {
        stream.cursor.advance(arrival.seq, arrival.len);
        atomic::release(&mut stream.claim);
        return hook::pass::<F>(work);
    }
    // The claim stays: what waits for it has nothing to read any more.
    findings::kill(frame, work, parser, killed_by as u16);
    // The receiver takes a RST at the first byte that it does not have yet.
    work.packet.seq = arrival.seq.wrapping_add(skip_front);
    report::replayed(work, Verdict::Reset);
    reset::send(frame, work, reset::Into::ResetToReceiver)
}

/// The segment before this one may be read on another CPU: what that reads decides where this one stands. `false`: that
/// takes longer, or the flow was killed meanwhile.
#[inline(always)]
fn its_turn<P: Filter>(work: &Work, connection: &mut Connection) -> bool {
    let (stream, _, _) = connection.reading::<P>(work.direction);
    if !atomic::claim(&mut stream.claim) {
        return false;
    }
    if connection.is_of(work.flow_id) {
        return true;
    }
    // The entry was freed while the segment waited, and another flow has it.
    let (stream, _, _) = connection.reading::<P>(work.direction);
    atomic::release(&mut stream.claim);
    false
}

/// What is known of the flow's streams, or a new beginning. `None`: there is none, for the reason on the desk.
#[inline(always)]
fn connection<P: Filter>(work: &mut Work) -> Option<&'static mut Connection> {
    match known_connection(work.flow_id) {
        Some(known) if known.is_read_by(P::FILTER) => Some(known),
        // Another filter was bound before.
        Some(_) => new_connection::<P>(work, true),
        None => new_connection::<P>(work, false),
    }
}

#[inline(always)]
fn known_connection(flow_id: u64) -> Option<&'static mut Connection> {
    // SAFETY: map values stay readable and writable for as long as the program runs.
    CONNECTIONS.get_ptr_mut(flow_id).map(|known| unsafe { &mut *known })
}

/// The flow's first segment, or the first that this filter reads. What is new is laid out apart and entered as a
/// whole: another CPU may be about to read the other direction.
#[inline(never)]
fn new_connection<P: Filter>(work: &mut Work, in_midst: bool) -> Option<&'static mut Connection> {
    const BPF_ANY: u64 = 0;
    const BPF_NOEXIST: u64 = 1;
    // Between the caller's look and this one another CPU may have ended the flow.
    work.refuse(Reason::TcpNotSyn);
    let flow = tables::find_again(work)?;
    work.refuse(Reason::OutOfResources);
    // SAFETY: the entry is this CPU's alone.
    let new = unsafe { &mut *NEW_CONNECTION.get_ptr_mut(0)? };
    new.begin::<P>(flow.id);
    join::<P>(new, flow, in_midst);
    // Should another CPU be first, its entry is the one to use.
    let _ = CONNECTIONS.insert(flow.id, new, if in_midst { BPF_ANY } else { BPF_NOEXIST });
    known_connection(flow.id).filter(|known| known.is_read_by(P::FILTER))
}

/// Says where each direction is to be read from: its first byte, if that is still to come.
#[inline(always)]
fn join<P: Filter>(connection: &mut Connection, flow: &Flow, in_midst: bool) {
    let [first0, first1] = flow.first_seq;
    let [original, reply] = &flow.halves;
    join_one::<P>(connection, Direction::Original, original, first0, in_midst);
    join_one::<P>(connection, Direction::Reply, reply, first1, in_midst);
}

#[inline(always)]
fn join_one<P: Filter>(
    connection: &mut Connection,
    direction: Direction,
    half: &Half,
    first_seq: u32,
    in_midst: bool,
) {
    let (stream, parser, _) = connection.reading::<P>(direction);
    if !in_midst && half.flags & (Half::BEGIN_KNOWN | Half::UNREAD) == Half::BEGIN_KNOWN {
        stream.cursor = Cursor::starting_at(first_seq);
    } else {
        parser.resync();
    }
}

/// Payload of this direction passed unread: the parser begins anew, in the midst.
#[inline(never)]
fn begin_anew<P: Filter>(work: &Work, stream: &mut Stream, parser: &mut P) {
    if let Some(flow) = tables::find_again(work) {
        flow.half(work.direction).flags &= !Half::UNREAD;
    }
    stream.cursor = Cursor::default();
    parser.resync();
}

/// Lays out what parsers may know besides the bytes.
#[inline(always)]
fn set_scene(work: &mut Work) {
    let commands = FILTER_COMMANDS
        .get(work.slot * FILTERS_MAX as u32 + u32::from(work.binding.filter))
        .copied();
    let speaker_is_second =
        work.originator_is_second == matches!(work.direction, Direction::Original);
    let scene = &mut work.scene;
    scene.now = work.now;
    scene.commands = commands.unwrap_or(u64::MAX);
    scene.version = u32::from(work.packet.version);
    scene.translated = u32::from(work.flow_flags & Flow::TRANSLATED != 0);
    let [speaker_here, speaker_there] = &mut scene.speaker;
    let [listener_here, listener_there] = &mut scene.listener;
    *speaker_here = work.packet.source;
    *listener_here = work.packet.destination;
    if work.packet.version == 4 {
        let (speaker, listener) = sides_of(&work.key_v4.addresses, speaker_is_second);
        *speaker_there = [*speaker, 0, 0, 0];
        *listener_there = [*listener, 0, 0, 0];
    } else {
        let (speaker, listener) = sides_of(&work.key_v6.addresses, speaker_is_second);
        *speaker_there = *speaker;
        *listener_there = *listener;
    }
}

/// What the loops over a segment's bytes work with. Their counters lie on the desk, where the verifier forgets
/// them, so that it looks at one round for all.
struct Reading<'a, F, P> {
    frame: &'a F,
    work: &'a mut Work,
    stream: &'a mut Stream,
    parser: &'a mut P,
    peer: &'a P,
    /// Code of the finding that kills, or [`NO_KILL`].
    killed_by: u32,
}

impl<F: Frame, P: Filter> Reading<'_, F, P> {
    /// Objects to urgent data where the protocol knows none.
    #[inline(always)]
    fn urgent(&mut self) {
        if P::URGENT_DATA != u16::MAX && self.work.packet.flags & tcp_flags::URG != 0 {
            self.object(Findings::of(P::URGENT_DATA));
        }
    }

    /// Says what was found, and notes whether it kills.
    #[inline(never)]
    fn object(&mut self, found: Findings) {
        self.killed_by = findings::report(self.frame, self.work, self.parser, found);
    }

    /// Compares the `count` bytes at the segment's front, which were read before, with what was read.
    #[inline(always)]
    fn repeated(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        let begin = u32::from(self.work.packet.payload_offset);
        self.go(begin, begin + count);
        let context = core::ptr::from_mut(self).cast();
        // SAFETY: the callback has the signature that the helper wants and gets the context it expects.
        unsafe { bpf_loop(count, compare_byte::<F, P> as *mut c_void, context, 0) };
    }

    /// Reads what is behind the `skip_front` bytes at the segment's front.
    #[inline(always)]
    fn new_bytes(&mut self, skip_front: u32) {
        let begin = u32::from(self.work.packet.payload_offset);
        let rounds = self.work.packet.payload_len;
        self.go(begin + skip_front, begin + rounds);
        // Of most segments with media this is all.
        if self.skip() || self.take_head() && self.skip() {
            return;
        }
        let context = core::ptr::from_mut(self).cast();
        // Each round reads a byte or skips a stretch and then reads a byte.
        // SAFETY: as above.
        unsafe { bpf_loop(rounds, read_byte::<F, P> as *mut c_void, context, 0) };
    }

    /// Skips what the parser does not look at. Returns whether nothing is left.
    #[inline(always)]
    fn skip(&mut self) -> bool {
        let left = self.work.end.saturating_sub(self.work.at);
        let skippable = self.parser.skippable();
        let skipped = if skippable < left { skippable } else { left };
        if skipped > 0 {
            self.parser.skip(skipped);
            self.work.at += skipped;
        }
        skipped >= left
    }

    /// Reads the head of a stretch that is skipped, if one begins here. Returns whether it does.
    #[inline(always)]
    fn take_head(&mut self) -> bool {
        const HEAD: u32 = 4;
        let Self { frame, work, stream, parser, .. } = self;
        if !parser.in_media() || work.end.saturating_sub(work.at) < HEAD {
            return false;
        }
        // SAFETY: the head has four bytes.
        if !unsafe { frame.load(work.at, work.head.as_mut_ptr(), HEAD) }
            || !parser.take_head(work.head)
        {
            return false;
        }
        let into = work.at.wrapping_sub(u32::from(work.packet.payload_offset));
        let seq = work.packet.payload_seq().wrapping_add(into);
        let [a, b, c, d] = work.head;
        stream.recent.note(seq, a);
        stream.recent.note(seq.wrapping_add(1), b);
        stream.recent.note(seq.wrapping_add(2), c);
        stream.recent.note(seq.wrapping_add(3), d);
        work.at += HEAD;
        true
    }

    /// Goes to the bytes of the frame from `at` to `end`.
    #[inline(always)]
    fn go(&mut self, at: u32, end: u32) {
        self.work.at = at;
        self.work.end = end;
        self.work.chunk_len = 0;
    }

    /// Sequence number of the byte at `work.at`.
    #[inline(always)]
    fn seq(&self) -> u32 {
        let into = self.work.at.wrapping_sub(u32::from(self.work.packet.payload_offset));
        self.work.packet.payload_seq().wrapping_add(into)
    }
}

/// What a round of `bpf_loop` returns.
pub const GO_ON: u64 = 0;
pub const STOP: u64 = 1;

/// One round: passes over what nothing is known of, then compares a byte that was read before.
extern "C" fn compare_byte<F: Frame, P: Filter>(_round: u64, context: *mut c_void) -> u64 {
    // SAFETY: `repeated` passes its own reading.
    let reading = unsafe { &mut *context.cast::<Reading<'_, F, P>>() };
    let seq = reading.seq();
    let unknown = reading.stream.recent.unknown_from(seq);
    if unknown > 0 {
        reading.work.at += unknown;
    }
    if reading.work.at >= reading.work.end {
        return STOP;
    }
    if unknown > 0 {
        return GO_ON;
    }
    let Some(byte) = next_byte(reading.frame, reading.work) else {
        return STOP;
    };
    if !reading.stream.recent.contradicts(seq, byte) {
        return GO_ON;
    }
    reading.object(Findings::of(P::SEGMENTS_DISAGREE));
    // Once for a segment.
    STOP
}

/// One round: skips what the parser does not look at, then reads a head or one byte.
extern "C" fn read_byte<F: Frame, P: Filter>(_round: u64, context: *mut c_void) -> u64 {
    // SAFETY: `new_bytes` passes its own reading.
    let reading = unsafe { &mut *context.cast::<Reading<'_, F, P>>() };
    if reading.skip() {
        return STOP;
    }
    if reading.take_head() {
        return GO_ON;
    }
    let seq = reading.seq();
    let Some(byte) = next_byte(reading.frame, reading.work) else {
        return STOP;
    };
    reading.stream.recent.note(seq, byte);
    let outcome = reading.parser.step_once(&reading.work.scene, reading.peer, byte);
    if outcome.is_none() {
        return GO_ON;
    }
    if !outcome.found().is_empty() {
        reading.object(outcome.found());
    }
    if reading.killed_by != NO_KILL {
        return STOP;
    }
    if outcome.acts() {
        pinholes::act(reading.frame, reading.work, reading.parser.wish(), outcome);
    }
    GO_ON
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
pub fn within_chunk(len: &u32) -> u32 {
    // SAFETY: a reference is valid to read from.
    let len = unsafe { core::ptr::from_ref(len).read_volatile() };
    (len.wrapping_sub(1) & (CHUNK as u32 - 1)) + 1
}

/// Adds to a counter of the filter at this protocol.
#[inline(always)]
pub fn count(protocol: u16, add: impl FnOnce(&mut FilterCounters)) {
    if let Some(counters) = FILTER_COUNTERS.get_ptr_mut(u32::from(protocol)) {
        // SAFETY: the entry is this CPU's alone.
        add(unsafe { &mut *counters })
    }
}
