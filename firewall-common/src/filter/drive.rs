//! Reading segments on the host as the kernel's programs do: for tests, fuzzing and the filters' own checks.
//!
//! The kernel's loop differs in how it fetches bytes and in nothing else.

use bytemuck::Zeroable;

use super::{
    connection::{Arrival, Connection, place},
    finding::Findings,
    parser::{Outcome, Parser, Scene},
    stream::Cursor,
};
use crate::{
    flow::Direction,
    policy::{Mode, Profile},
};

/// One connection and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Drive<P> {
    connection: Connection,
    /// What its parsers know besides the bytes, as seen from each direction.
    pub scenes: [Scene; 2],
    /// Mode of the binding.
    pub mode: Mode,
    /// Profile of the binding.
    pub profile: Profile,
    killed: bool,
    parser: core::marker::PhantomData<P>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It passed.
    Passed,
    /// It was held back, so that its sender repeats it after what is missing.
    Held,
    /// A finding with this code killed the connection.
    Killed(u16),
    /// The connection had been killed before.
    Dead,
}

impl<P: Parser> Drive<P> {
    /// A connection seen from its SYNs; `first` are the sequence numbers of each direction's first byte.
    pub fn new(mode: Mode, profile: Profile, first: [u32; 2]) -> Self {
        let mut drive = Self::joining(mode, profile);
        drive.connection.begin::<P>(0);
        for (direction, first) in [Direction::Original, Direction::Reply].into_iter().zip(first) {
            let (stream, ..) = drive.connection.reading::<P>(direction);
            stream.cursor = Cursor::starting_at(first);
        }
        drive
    }

    /// A connection that already runs.
    pub fn joining(mode: Mode, profile: Profile) -> Self {
        let mut connection = Connection::zeroed();
        connection.begin::<P>(0);
        for direction in [Direction::Original, Direction::Reply] {
            connection.reading::<P>(direction).1.resync();
        }
        let scene = Scene { version: 4, commands: u64::MAX, ..Scene::default() };
        let scenes = [scene; 2];
        let parser = core::marker::PhantomData;
        Self { connection, scenes, mode, profile, killed: false, parser }
    }

    /// The parser of `direction`.
    pub fn parser(&mut self, direction: Direction) -> &mut P {
        self.connection.reading::<P>(direction).1
    }

    /// Reads a segment whose first byte has the sequence number `seq`. Each outcome is given to `tell`, with
    /// the parser that it came from.
    pub fn segment(
        &mut self,
        direction: Direction,
        seq: u32,
        bytes: &[u8],
        mut tell: impl FnMut(&P, Outcome),
    ) -> Passage {
        if self.killed {
            return Passage::Dead;
        }
        let scene = self.scenes[direction as usize];
        let (stream, parser, peer) = self.connection.reading::<P>(direction);
        let len = bytes.len() as u32;
        // The receiver has what was read, and nothing beyond it: what is held back never reached it.
        let acked = stream.cursor.next().unwrap_or(seq);
        let arrival = Arrival { mode: self.mode, profile: self.profile, seq, len, acked };
        let Some(skip_front) = place(&arrival, &scene, &stream.cursor, parser, peer) else {
            return Passage::Held;
        };
        let killing = match self.mode {
            Mode::Enforce => P::FILTER.killing(self.profile),
            _ => Findings::EMPTY,
        };
        let (old, new) = bytes.split_at(skip_front as usize);
        let mut at = seq;
        if !arrival.is_keep_alive(skip_front) {
            for byte in old {
                if stream.recent.contradicts(at, *byte) {
                    let finding = Findings::of(P::SEGMENTS_DISAGREE);
                    tell(parser, finding.into());
                    if !(finding & killing).is_empty() {
                        self.killed = true;
                        return Passage::Killed(P::SEGMENTS_DISAGREE);
                    }
                    break;
                }
                at = at.wrapping_add(1);
            }
        }
        let mut rest = new;
        at = seq.wrapping_add(skip_front);
        while let Some((byte, behind)) = rest.split_first() {
            let skippable = parser.skippable().min(rest.len() as u32);
            if skippable > 0 {
                parser.skip(skippable);
                at = at.wrapping_add(skippable);
                rest = &rest[skippable as usize..];
                continue;
            }
            if parser.in_media()
                && let Some((head, behind)) = rest.split_first_chunk()
                && parser.take_head(*head)
            {
                for byte in head {
                    stream.recent.note(at, *byte);
                    at = at.wrapping_add(1);
                }
                rest = behind;
                continue;
            }
            let outcome = parser.step(&scene, peer, *byte);
            stream.recent.note(at, *byte);
            if !outcome.is_none() {
                tell(parser, outcome);
                if let Some(code) = (outcome.found() & killing).first() {
                    self.killed = true;
                    return Passage::Killed(code);
                }
            }
            at = at.wrapping_add(1);
            rest = behind;
        }
        stream.cursor.advance(seq, len);
        Passage::Passed
    }
}
