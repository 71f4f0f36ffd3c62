//! Segments of anybody: whatever they are, nothing panics, no state is left that is none, and no byte passes
//! that its receiver has not made room for.

use proptest::prelude::*;

use super::{Observer, segment};
use crate::{
    flow::{Direction, Flow, Half, PassedSyn, Segment, State, after, before, judge, note, renew},
    wire::tcp_flags::*,
};

const CLIENT: u32 = u32::MAX - 20;
const SERVER: u32 = 77_000;

/// What an end has made room for, by what it said itself: kept apart from what is tested.
#[derive(Clone, Copy, Debug)]
struct Room {
    edge: u32,
    shift: u8,
    closed: bool,
}

impl Room {
    fn widen(&mut self, segment: &Segment, sent: u32) {
        // A window of 0 still takes the byte of a probe.
        let window = (u32::from(segment.window) << self.shift).max(1);
        let edge = segment.ack.wrapping_add(window);
        if after(edge, self.edge) {
            self.edge = edge;
        }
        // One in the midst of what was sent is none.
        self.closed |= segment.flags & FIN != 0 && !before(segment.end, sent);
    }
}

/// A segment about places that matter: near to what the ends said, or anywhere.
#[derive(Clone, Copy, Debug)]
struct Guess {
    direction: Direction,
    flags: u8,
    seq: Place,
    ack: Place,
    len: u16,
    window: u16,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So far from where the sender is, or from where it acknowledged.
    Near(i32),
    /// So far from the edge of the receiver's window.
    Edge(i32),
    Anywhere(u32),
}

impl Place {
    fn of(self, near: u32, edge: u32) -> u32 {
        match self {
            Self::Near(by) => near.wrapping_add_signed(by),
            Self::Edge(by) => edge.wrapping_add_signed(by),
            Self::Anywhere(number) => number,
        }
    }
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => (-3i32..3).prop_map(Place::Near),
        1 => (-70_000i32..70_000).prop_map(Place::Near),
        2 => (-1_500i32..3).prop_map(Place::Edge),
        1 => any::<u32>().prop_map(Place::Anywhere),
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(vec![Direction::Original, Direction::Reply])
}

fn guess() -> impl Strategy<Value = Guess> {
    let flags = prop_oneof![
        6 => Just(ACK),
        2 => Just(ACK | FIN),
        1 => Just(SYN),
        1 => Just(SYN | ACK),
        1 => Just(RST),
        1 => any::<u8>(),
    ];
    let len = prop_oneof![Just(0u16), Just(1), 0u16..1_460];
    let window = prop_oneof![Just(0u16), 0u16..2_000, any::<u16>()];
    (direction(), flags, place(), place(), len, window).prop_map(
        |(direction, flags, seq, ack, len, window)| Guess {
            direction,
            flags,
            seq,
            ack,
            len,
            window,
        },
    )
}

fn any_segment() -> impl Strategy<Value = Segment> {
    any::<(u32, u16, u32, u16, u8, u8)>().prop_map(|(seq, len, ack, window, flags, scale)| {
        let control = (flags & (SYN | FIN)).count_ones();
        let end = seq.wrapping_add(u32::from(len)).wrapping_add(control);
        Segment { seq, end, ack, window, flags, scale, is_partial: false }
    })
}

fn any_half() -> impl Strategy<Value = Half> {
    any::<(u32, u32, u32, u16, u8, u8)>().prop_map(
        |(end, acked, edge, max_window, scale, flags)| Half {
            end,
            acked,
            edge,
            max_window,
            scale,
            flags,
        },
    )
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let states = 0u8..=14;
    (states, any_half(), any_half(), any::<[u32; 2]>(), any::<(u32, u16, u8, u8)>()).prop_map(
        |(state, original, reply, first_seq, (end, window, scale, known))| Flow {
            state,
            halves: [original, reply],
            first_seq,
            passed_syn: PassedSyn { end, window, scale, known },
            ..Flow::default()
        },
    )
}

/// A state that TCP's tracker may leave behind.
fn is_of_tcp(state: State) -> bool {
    !matches!(state, State::None | State::Unreplied | State::Assured | State::Alias)
}

/// A connection after its handshake, and the room that each end made.
fn established(scales: [u8; 2]) -> (Observer, [Room; 2]) {
    let mut observer = Observer::default();
    let [client_scale, server_scale] = scales;
    let syn = Segment { scale: client_scale, ..segment("S", CLIENT, 0, 1_000, 0) };
    let answer = Segment { scale: server_scale, ..segment("SA", SERVER, CLIENT + 1, 2_000, 0) };
    let ack = segment("A", CLIENT + 1, SERVER + 1, 10, 0);
    for (direction, segment) in
        [(Direction::Original, syn), (Direction::Reply, answer), (Direction::Original, ack)]
    {
        observer.sees(direction, &segment).expect("a handshake passes");
    }
    let scaled = scales.iter().all(|scale| *scale != crate::wire::NO_WINDOW_SCALE);
    let shift = |scale: u8| if scaled { scale.min(14) } else { 0 };
    let mut rooms = [
        Room { edge: SERVER + 1 + 1_000, shift: shift(client_scale), closed: false },
        Room { edge: CLIENT.wrapping_add(1 + 2_000), shift: shift(server_scale), closed: false },
    ];
    rooms[0].widen(&ack, ack.end);
    (observer, rooms)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The kernel's tables may hold what another version left there.
    #[test]
    fn no_segment_on_any_flow_panics(flow in any_flow(), segment in any_segment(), direction in direction()) {
        let _ = judge(&flow, direction, &segment);
        let mut flow = flow;
        let state = flow.state();
        let next = note(&mut flow, direction, &segment);
        prop_assert!(next == state || is_of_tcp(next), "{state:?} to {next:?}");
        prop_assert!(is_of_tcp(renew(&mut flow, &segment)));
    }

    #[test]
    fn from_the_first_segment_on_every_state_is_one_of_tcp(
        segments in prop::collection::vec((direction(), any_segment()), 1..60),
    ) {
        let mut observer = Observer::default();
        for (direction, segment) in segments {
            if let Ok(state) = observer.sees(direction, &segment) {
                prop_assert!(is_of_tcp(state), "{state:?}");
            }
        }
    }

    #[test]
    fn no_byte_passes_beyond_the_edge_that_its_receiver_announced(
        scales in prop_oneof![Just([255, 255]), Just([0, 255]), Just([14, 0]), [0u8..16, 0u8..16]],
        guesses in prop::collection::vec(guess(), 1..80),
    ) {
        let (mut observer, mut rooms) = established(scales);
        for guess in guesses {
            let (from, to) = match guess.direction {
                Direction::Original => (0, 1),
                Direction::Reply => (1, 0),
            };
            let (sender, receiver) = (observer.flow.halves[from], observer.flow.halves[to]);
            let seq = guess.seq.of(sender.end, rooms[to].edge);
            let ack = guess.ack.of(receiver.end, rooms[from].edge);
            let control = (guess.flags & (SYN | FIN)).count_ones();
            let fin = u32::from(guess.flags & FIN != 0);
            let end = seq.wrapping_add(u32::from(guess.len)).wrapping_add(control);
            let Guess { flags, window, .. } = guess;
            let segment = Segment { seq, end, ack, window, flags, scale: 7, is_partial: false };
            let number = observer.flow.id;
            let before_it = observer.flow;
            if observer.sees(guess.direction, &segment).is_err() {
                prop_assert_eq!(observer.flow, before_it, "what is refused changes nothing");
                continue;
            }
            let renewed = observer.flow.first_seq != before_it.first_seq;
            if observer.flow.id != number || renewed {
                // Another connection: what was announced is no more.
                return Ok(());
            }
            if flags & (SYN | ACK) == SYN | ACK {
                // The answer to the SYN once more; its window is not shifted.
                let shift = std::mem::replace(&mut rooms[from].shift, 0);
                rooms[from].widen(&Segment { flags: ACK, ..segment }, sender.end);
                rooms[from].shift = shift;
            }
            if flags & (SYN | RST) != 0 {
                continue;
            }
            let brings = guess.len > 0;
            if brings {
                let last = end.wrapping_sub(fin);
                prop_assert!(!after(last, rooms[to].edge), "{segment:?} {:?} {before_it:?}", rooms[to]);
                let closed = rooms[from].closed;
                prop_assert!(!closed || !after(end, sender.end), "nothing follows a FIN: {segment:?}");
            }
            rooms[from].widen(&segment, sender.end);
        }
    }
}
