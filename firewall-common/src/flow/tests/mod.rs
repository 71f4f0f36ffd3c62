//! The tracker's logic as a whole, on the host: an observer that does with a flow what the kernel programs do.

mod cases;
mod ends;
mod guesses;
mod handshake;

use super::{
    Direction, Flow, Segment, State, Step, judge, moves_on, note, note_first_syn, note_refused,
    opens, renew,
};
use crate::{reason::Reason, wire::tcp_flags::*};

/// The client's SYN, near the end of the circle.
const C: u32 = u32::MAX - 5;
/// The server's SYN.
const S: u32 = 500_000;
const WINDOW: u16 = 1_000;

const OUT: Direction = Direction::Original;
const BACK: Direction = Direction::Reply;

const MISMATCH: Result<State, Reason> = Err(Reason::SeqAckMismatch);
const NOT_SYN: Result<State, Reason> = Err(Reason::TcpNotSyn);

/// What it shows, which way it goes, the segment, what becomes of it.
type Case = (&'static str, Direction, Segment, Result<State, Reason>);

/// A segment of the client whose numbers are so far behind the SYNs.
fn out(letters: &str, seq: u32, ack: u32, len: u32) -> Segment {
    segment(letters, C.wrapping_add(seq), S.wrapping_add(ack), WINDOW, len)
}

/// A segment of the server.
fn back(letters: &str, seq: u32, ack: u32, len: u32) -> Segment {
    segment(letters, S.wrapping_add(seq), C.wrapping_add(ack), WINDOW, len)
}

fn follow(observer: &mut Observer, cases: impl IntoIterator<Item = Case>) {
    for (shows, direction, segment, expected) in cases {
        let before_it = observer.flow;
        let became = observer.sees(direction, &segment);
        assert_eq!(became, expected, "{shows}: {segment:?} {before_it:?}");
    }
}

/// One flow, and what it makes of the segments that come by.
#[derive(Clone, Debug, Default)]
struct Observer {
    flow: Flow,
}

impl Observer {
    /// Takes a segment in. `Err`: it was refused.
    fn sees(&mut self, direction: Direction, segment: &Segment) -> Result<State, Reason> {
        if self.flow.state() == State::None {
            opens(segment.flags)?;
            return Ok(self.begin(segment));
        }
        let mut moved = self.flow;
        let is_moved = moves_on(&mut moved, direction, segment);
        let before = self.flow;
        let step = judge(&self.flow, direction, segment);
        let next = match step {
            Step::Pass => note(&mut self.flow, direction, segment),
            Step::Reopen => {
                assert!(!is_moved, "the short way");
                return Ok(self.begin(segment));
            }
            Step::Renew => renew(&mut self.flow, segment),
            Step::Refuse(reason, _) => {
                assert_eq!((is_moved, moved), (false, before), "the short way");
                note_refused(&mut self.flow, direction, segment);
                return Err(reason);
            }
        };
        if is_moved {
            assert_eq!(
                (step, next, moved),
                (Step::Pass, before.state(), self.flow),
                "the short way"
            );
        } else {
            assert_eq!(moved, before, "nothing is taken in");
        }
        self.flow.count(direction, 40);
        self.flow.state = next as u8;
        Ok(next)
    }

    fn begin(&mut self, segment: &Segment) -> State {
        self.flow = Flow { state: State::SynSent as u8, id: self.flow.id + 1, ..Flow::default() };
        note_first_syn(&mut self.flow, segment);
        self.flow.count(Direction::Original, 40);
        State::SynSent
    }
}

/// The flags that `letters` stand for.
fn flags(letters: &str) -> u8 {
    letters.chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'S' => SYN,
                'A' => ACK,
                'F' => FIN,
                'R' => RST,
                'P' => PSH,
                'U' => URG,
                'E' => ECE,
                'W' => CWR,
                _ => panic!("no flag {letter}"),
            }
    })
}

/// A segment with `len` bytes of payload.
fn segment(letters: &str, seq: u32, ack: u32, window: u16, len: u32) -> Segment {
    let flags = flags(letters);
    let control = (flags & (SYN | FIN)).count_ones();
    let end = seq.wrapping_add(len).wrapping_add(control);
    Segment { seq, end, ack, window, flags, scale: crate::wire::NO_WINDOW_SCALE, is_partial: false }
}

fn established() -> Observer {
    let mut observer = Observer::default();
    follow(
        &mut observer,
        [
            ("SYN", OUT, out("S", 0, 0, 0), Ok(State::SynSent)),
            ("its answer", BACK, back("SA", 0, 1, 0), Ok(State::SynReceived)),
            ("the last ACK", OUT, out("A", 1, 1, 0), Ok(State::Established)),
        ],
    );
    observer
}
