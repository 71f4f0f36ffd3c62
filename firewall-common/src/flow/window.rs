//! TCP's windows, as an observer between the ends sees them.
//!
//! G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), gives the bounds; the kernel's
//! tracker has them from there too (`tcp_in_window` in `nf_conntrack_proto_tcp.c`). A segment has to end
//! at or before the edge of its receiver's window and no further back than a window behind what its sender
//! sent last; it may acknowledge what was sent, and no less than a window behind.
//!
//! What an end said is kept in that end's [`Half`], and only a packet of that end writes there: two CPUs that
//! carry one direction each never write the same word. Positions move forward only.

use bytemuck::{Pod, Zeroable};

use super::Direction;
use crate::wire::{Fragment, NO_WINDOW_SCALE, Packet, tcp_flags::*};

/// What one end of a TCP connection has said so far.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Half {
    /// One past the highest sequence number it sent; a SYN and a FIN count one each.
    pub end: u32,
    /// The highest number it acknowledged.
    pub acked: u32,
    /// The edge of its window: one past the highest sequence number it will take. At least one past `acked`,
    /// for the probe of a window that is closed (RFC 9293 §3.8.6.1).
    pub edge: u32,
    /// The largest window it announced, in units of `1 << scale` bytes.
    pub max_window: u16,
    /// Lower four bits: by how many bits its windows are shifted (RFC 7323 §2), 0 to 14. Upper four bits: how many of
    /// its packets are still to be learnt from.
    pub scale: u8,
    /// Bit set of the constants below.
    pub flags: u8,
}

impl Half {
    /// `end` is known.
    pub const SPOKE: u8 = 1;
    /// `acked` and `edge` are known.
    pub const ACKED: u8 = 2;
    /// It sent its FIN: `end` moves no more.
    pub const FIN: u8 = 4;
    /// Its SYN offered to scale windows.
    pub const OFFERED_SCALE: u8 = 8;
    /// Its stream's first sequence number is known, see [`super::Flow::first_seq`].
    pub const BEGIN_KNOWN: u8 = 16;
    /// Payload passed that no filter read, since a filter read last or since the flow began.
    pub const UNREAD: u8 = 32;
    /// The connection was taken over in its midst: positions are learnt from what the ends say, and nothing
    /// is held against them yet.
    pub const LEARNING: u8 = 64;
    /// Of the connection only one direction may come by: nothing is ever held against it.
    pub const UNJUDGED: u8 = 128;

    /// The largest window it announced, in bytes.
    #[inline(always)]
    pub const fn window(&self) -> u32 {
        (self.max_window as u32) << self.shift()
    }

    /// By how many bits its windows are shifted (RFC 7323 §2), 0 to 14.
    #[inline(always)]
    pub const fn shift(&self) -> u8 {
        self.scale & SHIFT
    }

    /// Lets the half be learnt about anew: what is known of it may be some packets old.
    pub const fn learn_again(&mut self) {
        self.flags |= Self::LEARNING;
        self.scale |= !SHIFT;
    }

    /// The half of an end whose beginning was not seen.
    ///
    /// `scale`: what its SYN announced, where somebody remembers it.
    pub const fn in_midstream(scale: Option<u8>) -> Self {
        let scale = match scale {
            Some(scale) if scale < MAX_SCALE => scale,
            // Too wide a window does less harm than one too narrow.
            _ => MAX_SCALE,
        };
        let mut half = Self { end: 0, acked: 0, edge: 0, max_window: 0, scale, flags: 0 };
        half.learn_again();
        half
    }
}

/// The largest shift (RFC 7323 §2.3).
const MAX_SCALE: u8 = 14;
/// How far behind an acknowledgment may lag where windows are small (`MAXACKWINCONST` in
/// `nf_conntrack_proto_tcp.c`, after van Rooij).
const LEAST_ACK_WINDOW: u32 = 66_000;
/// The bits of [`Half::scale`] that are the shift. Above them stands how many packets are to be learnt from.
const SHIFT: u8 = 15;
/// One packet there.
const ONE_PACKET: u8 = SHIFT + 1;

/// What matters of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// One past that of its last; a SYN and a FIN count one each.
    pub end: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window, unscaled.
    pub window: u16,
    /// Flags.
    pub flags: u8,
    /// The shift that a SYN announces; [`NO_WINDOW_SCALE`] if it does not.
    pub scale: u8,
    /// It is the first fragment of a segment that reaches further.
    pub is_partial: bool,
}

impl Segment {
    /// The segment in `packet`, which has to be TCP.
    #[inline(always)]
    pub const fn of(packet: &Packet) -> Self {
        // FIN and SYN are the lowest two bits.
        let control = (packet.flags & FIN) as u32 + (packet.flags >> 1 & 1) as u32;
        Self {
            seq: packet.seq,
            end: packet.seq.wrapping_add(packet.payload_len).wrapping_add(control),
            ack: packet.ack,
            window: packet.window,
            flags: packet.flags,
            scale: packet.window_scale,
            is_partial: matches!(packet.fragment, Fragment::First),
        }
    }
}

/// What is wrong with a segment's place.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing that has to do with numbers.
    #[default]
    None = 0,
    /// Its sequence numbers.
    Sequence = 1,
    /// What it acknowledges.
    Acknowledgment = 2,
}

/// Whether `a` comes before `b` in the circle of sequence numbers (RFC 9293 §3.4).
#[inline(always)]
pub const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes after `b`.
#[inline(always)]
pub const fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// The segment ends that `receiver` would take from `sender`, from the first to the last.
#[inline(always)]
pub(super) const fn sequence_bounds(sender: &Half, receiver: &Half) -> [u32; 2] {
    let window = receiver.window();
    let window = if window == 0 { 1 } else { window };
    let high = if sender.flags & Half::FIN != 0 { sender.end } else { receiver.edge };
    [sender.end.wrapping_sub(window), high]
}

/// The acknowledgment numbers that `sender` may have for `receiver`, from the first to the last.
#[inline(always)]
pub(super) const fn acknowledgment_bounds(sender: &Half, receiver: &Half) -> [u32; 2] {
    let window = sender.window();
    let window = if window < LEAST_ACK_WINDOW { LEAST_ACK_WINDOW } else { window };
    [receiver.end.wrapping_sub(window), receiver.end]
}

/// Judges a segment of a connection whose positions are all known.
#[inline(always)]
pub(super) const fn fault(sender: &Half, receiver: &Half, segment: &Segment) -> Fault {
    let [low, high] = sequence_bounds(sender, receiver);
    // The stacks of BSD count no FIN against the window: it may stand just beyond the edge, once.
    let fin = if sender.flags & Half::FIN == 0 { segment.flags & FIN } else { 0 };
    if after(segment.end.wrapping_sub(fin as u32), high) || before(segment.end, low) {
        return Fault::Sequence;
    }
    let [low, high] = acknowledgment_bounds(sender, receiver);
    if after(segment.ack, high) || before(segment.ack, low) {
        return Fault::Acknowledgment;
    }
    Fault::None
}

/// Takes in what a segment says, which is not a SYN.
#[inline(always)]
pub(super) const fn note(sender: &mut Half, segment: &Segment) {
    if !before(segment.end, sender.end) {
        sender.end = segment.end;
        // One in the midst of what was sent is none. One that moves nothing may be the first to come by: an ACK
        // behind it told of it before.
        if segment.flags & FIN != 0 {
            sender.flags |= Half::FIN;
        }
    }
    if after(segment.ack, sender.acked) {
        sender.acked = segment.ack;
    }
    let edge = edge(sender, segment);
    if after(edge, sender.edge) {
        sender.edge = edge;
    }
    if segment.window > sender.max_window {
        sender.max_window = segment.window;
    }
}

/// Takes in what a segment says of a connection that was taken over.
#[inline(always)]
pub(super) const fn learn(sender: &mut Half, receiver: &mut Half, segment: &Segment) {
    if sender.flags & Half::SPOKE == 0 {
        sender.flags |= Half::SPOKE;
        sender.end = segment.seq;
    }
    if sender.flags & Half::ACKED == 0 && segment.flags & ACK != 0 {
        sender.flags |= Half::ACKED;
        sender.acked = segment.ack;
        sender.edge = edge(sender, segment);
    }
    note(sender, segment);
    if sender.scale > SHIFT {
        sender.scale -= ONE_PACKET;
    }
    if segment.flags & ACK == 0 {
        return;
    }
    if receiver.flags & Half::SPOKE == 0 || after(segment.ack, receiver.end) {
        // It is acknowledged, so it was sent, before anybody looked.
        receiver.flags |= Half::SPOKE;
        receiver.end = segment.ack;
    }
    let settled = Half::SPOKE | Half::ACKED;
    if sender.scale <= SHIFT
        && receiver.scale <= SHIFT
        && segment.ack == receiver.end
        && sender.flags & receiver.flags & settled == settled
    {
        // The ends agree on where they are.
        receiver.flags &= !Half::LEARNING;
    }
}

/// Takes in a SYN: where its sender's stream begins.
#[inline(always)]
pub(super) const fn note_syn(sender: &mut Half, segment: &Segment) {
    // What a filter has not read stays so.
    let mut flags =
        sender.flags & (Half::UNREAD | Half::UNJUDGED) | Half::SPOKE | Half::BEGIN_KNOWN;
    if segment.scale != NO_WINDOW_SCALE {
        flags |= Half::OFFERED_SCALE;
    }
    sender.flags = flags;
    sender.end = segment.end;
    sender.scale = if segment.scale < MAX_SCALE { segment.scale } else { MAX_SCALE };
    // A SYN's own window is never scaled (RFC 7323 §2.2).
    sender.max_window = segment.window;
    sender.edge = 0;
    sender.acked = 0;
    if segment.flags & ACK != 0 {
        acknowledge(sender, segment.ack, segment.window);
    }
}

/// Takes in the window of a SYN that comes once more: never scaled, as that of the first.
#[inline(always)]
pub(super) const fn widen(sender: &mut Half, segment: &Segment) {
    let edge = segment.ack.wrapping_add(at_least_one(segment.window as u32));
    if after(edge, sender.edge) {
        sender.edge = edge;
    }
}

/// Both SYNs are known: settles how windows are scaled, and lets each end's SYN open its window for the
/// other.
#[inline(always)]
pub(super) const fn note_both_syns(halves: &mut [Half; 2], first_seq: [u32; 2]) {
    let [original, reply] = halves;
    let both = original.flags & reply.flags & Half::OFFERED_SCALE != 0;
    settle(original, both, first_seq[1]);
    settle(reply, both, first_seq[0]);
}

#[inline(always)]
const fn settle(half: &mut Half, scaled: bool, other_first_seq: u32) {
    let window = half.max_window;
    if scaled {
        let scale = half.shift();
        // Rounded up.
        let rest = window & ((1 << scale) - 1);
        half.max_window = (window >> scale) + (rest != 0) as u16;
    } else {
        half.scale = 0;
    }
    if half.flags & Half::ACKED == 0 {
        acknowledge(half, other_first_seq, window);
    }
}

#[inline(always)]
const fn acknowledge(half: &mut Half, ack: u32, window: u16) {
    half.flags |= Half::ACKED;
    half.acked = ack;
    half.edge = ack.wrapping_add(at_least_one(window as u32));
}

#[inline(always)]
const fn edge(sender: &Half, segment: &Segment) -> u32 {
    let window = (segment.window as u32) << sender.shift();
    segment.ack.wrapping_add(at_least_one(window))
}

#[inline(always)]
const fn at_least_one(window: u32) -> u32 {
    if window == 0 { 1 } else { window }
}

/// Splits a flow's halves into that of the packet's sender and that of its receiver.
#[inline(always)]
pub(super) const fn sides(halves: &mut [Half; 2], direction: Direction) -> (&mut Half, &mut Half) {
    let [original, reply] = halves;
    match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    }
}
