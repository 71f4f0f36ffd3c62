//! What is kept of one connection that a filter reads.

use bytemuck::{Pod, Zeroable};

use super::{
    FilterId,
    parser::{Parser, Scene},
    recent::Recent,
    stream::{Cursor, Deliver, Situation, deliver},
};
use crate::{
    flow::Direction,
    policy::{Mode, Profile},
};

/// Words that a parser may take.
const SLOT: usize = 96;

/// What is kept of one connection, whatever filter reads it: the value of the connections' table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Connection {
    /// Number of the flow. It comes first: what lies where another connection's entry lay is told by it before its streams
    /// can be claimed.
    flow_id: u64,
    /// Number of the filter that reads it; 0: none yet.
    filter: u64,
    /// Original direction, then reply.
    streams: [Stream; 2],
    /// A filter's parsers, likewise.
    parsers: [[u64; SLOT]; 2],
}

/// How far one direction was read, and what stood there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Stream {
    /// 1 while a segment is read: one at a time, whatever CPUs they are on.
    pub claim: u64,
    /// How far.
    pub cursor: Cursor,
    /// What stood there.
    pub recent: Recent,
}

impl Connection {
    /// Whether `filter` has begun to read it.
    #[inline(always)]
    pub const fn is_read_by(&self, filter: FilterId) -> bool {
        self.filter == filter as u64
    }

    /// Whether it is of the flow with this number.
    #[inline(always)]
    pub fn is_of(&self, flow_id: u64) -> bool {
        // SAFETY: a reference is valid to read from. Volatile, because another CPU may write it meanwhile.
        (unsafe { (&raw const self.flow_id).read_volatile() }) == flow_id
    }

    /// Forgets everything: the filter of `P` begins to read the flow with this number.
    #[inline(always)]
    pub fn begin<P: Parser>(&mut self, flow_id: u64) {
        crate::words::clear(self);
        self.flow_id = flow_id;
        self.filter = P::FILTER as u64;
        self.parser::<P>(Direction::Original).begin(Direction::Original);
        self.parser::<P>(Direction::Reply).begin(Direction::Reply);
    }

    #[inline(always)]
    fn parser<P: Parser>(&mut self, direction: Direction) -> &mut P {
        let [original, reply] = &mut self.parsers;
        cast(match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        })
    }

    /// What a segment of `direction` is read with: its stream, its parser, and the parser of the other
    /// direction.
    #[inline(always)]
    pub fn reading<P: Parser>(&mut self, direction: Direction) -> (&mut Stream, &mut P, &mut P) {
        let [stream0, stream1] = &mut self.streams;
        let [parser0, parser1] = &mut self.parsers;
        match direction {
            Direction::Original => (stream0, cast(parser0), cast(parser1)),
            Direction::Reply => (stream1, cast(parser1), cast(parser0)),
        }
    }
}

#[inline(always)]
fn cast<P: Parser>(slot: &mut [u64; SLOT]) -> &mut P {
    const { assert!(size_of::<P>() <= size_of::<[u64; SLOT]>() && align_of::<P>() <= 8) };
    // SAFETY: the slot is large enough and aligned for it, and any bytes are a valid P.
    unsafe { &mut *core::ptr::from_mut(slot).cast() }
}

/// A segment that is to be read, and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Mode of the binding.
    pub mode: Mode,
    /// Profile of the binding.
    pub profile: Profile,
    /// Sequence number of its first byte of payload.
    pub seq: u32,
    /// Bytes of its payload.
    pub len: u32,
    /// What its receiver acknowledged last.
    pub acked: u32,
}

impl Arrival {
    /// Whether the first `count` bytes, which were read before, may be anything: one byte that its receiver has is
    /// how a keep-alive may look (RFC 9293 §3.8.4).
    #[inline(always)]
    pub const fn is_keep_alive(&self, count: u32) -> bool {
        let taken = self.acked.wrapping_sub(self.seq).wrapping_sub(1) < 1 << 31;
        count == 1 && self.len == 1 && taken
    }
}

/// Puts the parser where the segment's new bytes begin. Returns how many bytes at its front are not to be read,
/// all of them if it is a repetition; `None`: it has to be held back.
#[inline(always)]
pub fn place<P: Parser>(
    arrival: &Arrival,
    scene: &Scene,
    cursor: &Cursor,
    parser: &mut P,
    peer: &P,
) -> Option<u32> {
    let mut skippable = parser.skippable();
    let may_rejoin = parser.may_rejoin();
    if !may_rejoin && cursor.missing_before(arrival.seq) > skippable {
        skippable = 0;
    }
    let now = Situation {
        mode: arrival.mode,
        profile: arrival.profile,
        skippable,
        in_media: may_rejoin,
        acknowledged: cursor.is_behind(arrival.acked),
    };
    let skip_front = match deliver(cursor.place(arrival.seq, arrival.len), &now) {
        Deliver::Skip => return Some(arrival.len),
        Deliver::Hold => return None,
        Deliver::Feed { skip_front } => skip_front,
        Deliver::FeedAfterLoss { missing } => {
            parser.skip(missing);
            0
        }
        Deliver::Resync { missing } => {
            parser.resync();
            parser.skip(missing);
            0
        }
    };
    parser.segment_start(scene, peer);
    Some(skip_front)
}
