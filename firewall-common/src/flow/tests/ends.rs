//! Two ends that do nothing wrong, a network that loses, repeats and reorders, and the observer between them.
//!
//! What the observer refuses it takes from the connection. So it may refuse only what the receiver has no use
//! for: a copy, late, of what arrived long before. On a network that keeps the order it refuses nothing.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Observer, flags};
use crate::{
    flow::{Direction, Segment, State, after, before},
    wire::{NO_WINDOW_SCALE, tcp_flags::*},
};

/// How one end behaves.
#[derive(Clone, Copy, Debug)]
struct Manner {
    isn: u32,
    /// What its SYN offers.
    scale: Option<u8>,
    /// Bytes that it has room for.
    buffer: u32,
    /// Bytes that it has to say.
    data: u32,
    /// Most bytes of payload in one segment.
    mss: u32,
    /// Every so many rounds its application reads; so its window closes meanwhile.
    reads_every: u32,
    /// A keep-alive brings a byte along, as old stacks have it (RFC 9293 §3.8.4).
    garbage: bool,
    /// It sends its FIN even where the window has no room for it.
    fin_needs_no_room: bool,
}

/// What the network does, one number for each segment on each of its two stretches.
#[derive(Clone, Debug)]
struct Network {
    luck: Vec<u8>,
    at: usize,
    keeps_order: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    Late,
}

impl Network {
    fn fate(&mut self) -> Fate {
        let luck = self.luck[self.at % self.luck.len()];
        self.at += 1;
        // What is lost for long enough at the same place is lost for ever: in the end all is well.
        match luck {
            _ if self.at > 4 * self.luck.len() => Fate::Arrives,
            0..24 => Fate::Lost,
            24..40 => Fate::Twice,
            40..64 if !self.keeps_order => Fate::Late,
            _ => Fate::Arrives,
        }
    }

    /// Puts `segment` on a stretch.
    fn carry(&mut self, stretch: &mut VecDeque<Segment>, segment: Segment) {
        match self.fate() {
            Fate::Lost => {}
            Fate::Arrives => stretch.push_back(segment),
            Fate::Twice => stretch.extend([segment, segment]),
            Fate::Late => {
                // Those before it overtake it the next time somebody looks.
                let at = stretch.len().saturating_sub(3);
                stretch.insert(at, segment);
            }
        }
    }
}

/// One end, after RFC 9293 and no cleverer than has to be.
#[derive(Clone, Debug)]
struct End {
    manner: Manner,
    open: bool,
    heard_syn: bool,
    /// Oldest number that is not acknowledged, next to be sent, and the highest ever sent.
    una: u32,
    next: u32,
    highest: u32,
    /// Next number that it expects, once it heard the SYN.
    expects: u32,
    /// Bytes that wait for its application.
    unread: u32,
    /// What of the other's numbers arrived out of order: first and one past the last.
    islands: Vec<(u32, u32)>,
    other_fin: Option<u32>,
    heard_fin: bool,
    edge: u32,
    shift: u8,
    other_shift: u8,
    /// It has something to say about what it heard.
    owes_ack: bool,
    idle: u32,
}

impl End {
    fn new(manner: Manner) -> Self {
        Self {
            manner,
            open: false,
            heard_syn: false,
            una: manner.isn,
            next: manner.isn,
            highest: manner.isn,
            expects: 0,
            unread: 0,
            islands: Vec::new(),
            other_fin: None,
            heard_fin: false,
            edge: manner.isn,
            shift: 0,
            other_shift: 0,
            owes_ack: false,
            idle: 0,
        }
    }

    /// One past the last byte that it has to say; its FIN stands there.
    fn fin(&self) -> u32 {
        self.manner.isn.wrapping_add(1).wrapping_add(self.manner.data)
    }

    fn is_done(&self) -> bool {
        self.heard_fin && self.una == self.fin().wrapping_add(1)
    }

    fn window(&self, shift: u8) -> u16 {
        let room = self.manner.buffer.saturating_sub(self.unread);
        (room >> shift).min(65_535) as u16
    }

    fn say(&self, letters: &str, seq: u32, len: u32) -> Segment {
        let window = self.window(self.shift);
        let ack = if flags(letters) & ACK != 0 { self.expects } else { 0 };
        super::segment(letters, seq, ack, window, len)
    }

    fn syn(&self, letters: &str) -> Segment {
        // A SYN's own window is never scaled.
        let window = self.window(0);
        let scale = self.manner.scale.unwrap_or(NO_WINDOW_SCALE);
        Segment { window, scale, ..self.say(letters, self.manner.isn, 0) }
    }

    /// What it sends when its turn comes. `round` drives its application and its timers.
    fn speak(&mut self, round: u32, begins: bool) -> Vec<Segment> {
        if round.is_multiple_of(self.manner.reads_every) && self.unread > 0 {
            self.unread = 0;
            self.owes_ack = true;
        }
        let first = self.manner.isn.wrapping_add(1);
        if !self.open {
            if !begins && !self.heard_syn {
                return Vec::new();
            }
            self.next = first;
            self.highest = first;
            self.owes_ack = false;
            return vec![self.syn(if self.heard_syn { "SA" } else { "S" })];
        }
        let mut said = Vec::new();
        let before_it = self.next;
        self.idle += 1;
        if self.idle > 3 && self.una != self.next {
            // Its retransmission timer: again from the oldest.
            self.next = self.una;
            self.idle = 0;
        }
        while before(self.next, self.fin()) {
            let room = self.edge.wrapping_sub(self.next) as i32;
            let rest = self.fin().wrapping_sub(self.next);
            let len = rest.min(self.manner.mss).min(room.max(0) as u32);
            if len == 0 {
                break;
            }
            said.push(self.say("PA", self.next, len));
            self.next = self.next.wrapping_add(len);
        }
        // The stacks of BSD do not count a FIN against the window; others do.
        let fits = self.manner.fin_needs_no_room || after(self.edge, self.next);
        if self.next == self.fin() && fits {
            said.push(self.say("FA", self.next, 0));
            self.next = self.next.wrapping_add(1);
        }
        let is_quiet = said.is_empty() && self.next == before_it && self.una == self.next;
        if is_quiet && self.idle.is_multiple_of(3) {
            said.push(self.probe());
        }
        if after(self.next, self.highest) {
            self.highest = self.next;
        }
        if said.is_empty() && self.owes_ack {
            said.push(self.say("A", self.highest, 0));
        }
        self.owes_ack = false;
        said
    }

    /// A window probe if there is more to say, else a keep-alive.
    fn probe(&mut self) -> Segment {
        if before(self.next, self.fin()) {
            let probe = self.say("A", self.next, 1);
            self.next = self.next.wrapping_add(1);
            return probe;
        }
        self.say("A", self.una.wrapping_sub(1), u32::from(self.manner.garbage))
    }

    fn hear(&mut self, segment: &Segment) {
        if segment.flags & SYN != 0 {
            if !self.heard_syn {
                self.heard_syn = true;
                self.expects = segment.seq.wrapping_add(1);
                let offered = segment.scale != NO_WINDOW_SCALE;
                if let (true, Some(shift)) = (offered, self.manner.scale) {
                    (self.shift, self.other_shift) = (shift.min(14), segment.scale.min(14));
                }
            }
            self.owes_ack = true;
        }
        if !self.heard_syn {
            return;
        }
        if segment.flags & ACK != 0 {
            self.hear_ack(segment);
        }
        if segment.flags & SYN == 0 && segment.end != segment.seq {
            self.hear_data(segment);
        } else if segment.end != self.expects {
            self.owes_ack = true;
        }
    }

    fn hear_ack(&mut self, segment: &Segment) {
        let first = self.manner.isn.wrapping_add(1);
        if before(segment.ack, first) || after(segment.ack, self.highest) {
            return;
        }
        if !self.open {
            self.open = true;
            self.edge = first;
            self.una = first;
        }
        if after(segment.ack, self.una) {
            self.una = segment.ack;
            self.idle = 0;
        }
        if before(self.next, self.una) {
            self.next = self.una;
        }
        let shift = if segment.flags & SYN != 0 { 0 } else { self.other_shift };
        let edge = segment.ack.wrapping_add(u32::from(segment.window) << shift);
        if after(edge, self.edge) {
            self.edge = edge;
        }
    }

    fn hear_data(&mut self, segment: &Segment) {
        self.owes_ack = true;
        let room = self.manner.buffer.saturating_sub(self.unread);
        let last = self.expects.wrapping_add(room);
        let fin = segment.flags & FIN != 0;
        let end = segment.end.wrapping_sub(u32::from(fin));
        if after(end, last) || before(segment.seq, self.expects.wrapping_sub(1 << 30)) {
            return;
        }
        if fin {
            self.other_fin = Some(end);
        }
        self.islands.push((segment.seq, end));
        while let Some(at) = self
            .islands
            .iter()
            .position(|(from, to)| !after(*from, self.expects) && after(*to, self.expects))
        {
            let (_, to) = self.islands.swap_remove(at);
            self.unread += to.wrapping_sub(self.expects);
            self.expects = to;
        }
        let expects = self.expects;
        self.islands.retain(|(_, to)| after(*to, expects));
        if self.other_fin == Some(self.expects) && !self.heard_fin {
            self.heard_fin = true;
            self.expects = self.expects.wrapping_add(1);
        }
    }

    /// Whether it would have had any use for `segment`.
    fn has_use_for(&self, segment: &Segment) -> bool {
        let brings = !self.heard_syn || after(segment.end, self.expects);
        let acknowledges = segment.flags & ACK != 0 && after(segment.ack, self.una);
        brings || acknowledges
    }
}

/// Lets two ends talk until both have said and heard everything.
fn talk(
    [client, server]: [Manner; 2],
    mut network: Network,
    both_begin: bool,
) -> Result<(), TestCaseError> {
    // No more than some windows full, or the test never ends.
    let [client, server] = [
        Manner { data: client.data.min(server.buffer.saturating_mul(40)), ..client },
        Manner { data: server.data.min(client.buffer.saturating_mul(40)), ..server },
    ];
    let (mut client, mut server) = (End::new(client), End::new(server));
    let mut observer = Observer::default();
    // From each end to the observer, and from there to the other.
    let mut to_observer = [VecDeque::new(), VecDeque::new()];
    let mut to_end = [VecDeque::new(), VecDeque::new()];
    let mut rounds = 0;
    while !(client.is_done() && server.is_done()) {
        rounds += 1;
        prop_assert!(rounds < 4_000, "it ends: {client:?} {server:?} {:?}", observer.flow);
        for (side, end, begins) in [(0, &mut client, true), (1, &mut server, both_begin)] {
            for segment in end.speak(rounds, begins) {
                network.carry(&mut to_observer[side], segment);
            }
        }
        for (side, direction) in [(0, Direction::Original), (1, Direction::Reply)] {
            while let Some(segment) = to_observer[side].pop_front() {
                if side == 1 && observer.flow.state() == State::None {
                    // The first SYN was lost before anybody saw it: the other end's is the first.
                    continue;
                }
                let receiver = if side == 0 { &server } else { &client };
                let before_it = observer.flow;
                match observer.sees(direction, &segment) {
                    Ok(_) => network.carry(&mut to_end[side], segment),
                    Err(reason) => {
                        // A FIN beyond the edge was lost before it came by; what is behind it waits for
                        // the next one.
                        let edge = before_it.halves[1 - side].edge;
                        let is_behind_a_lost_fin =
                            segment.seq == segment.end && segment.end == edge.wrapping_add(1);
                        let is_useless = !network.keeps_order && !receiver.has_use_for(&segment);
                        let excused = is_behind_a_lost_fin || is_useless;
                        prop_assert!(
                            excused,
                            "{direction:?} {segment:?} {reason:?} {before_it:?} {receiver:?}"
                        );
                    }
                }
            }
        }
        to_end[0].drain(..).for_each(|segment| server.hear(&segment));
        to_end[1].drain(..).for_each(|segment| client.hear(&segment));
    }
    let state = observer.flow.state();
    prop_assert!(
        matches!(state, State::TimeWait | State::LastAck | State::SynReceived),
        "after the end: {state:?}"
    );
    Ok(())
}

fn manner() -> impl Strategy<Value = Manner> {
    let isn = prop_oneof![any::<u32>(), (u32::MAX - 3_000)..=u32::MAX, (1u32 << 31)..(1 << 31) + 9];
    let scale = prop::option::of(0u8..=15);
    let buffer = prop_oneof![1u32..3_000, Just(65_535), 100_000u32..2_000_000];
    let data = prop_oneof![Just(0u32), 1u32..5_000, 50_000u32..400_000];
    (isn, scale, buffer, data, 1u32..1_461, 1u32..12, any::<[bool; 2]>()).prop_map(
        |(isn, scale, buffer, data, mss, reads_every, [garbage, fin_needs_no_room])| Manner {
            isn,
            // A window that is smaller than its unit could never be announced.
            scale: scale.map(|shift| if buffer >> shift.min(14) == 0 { 0 } else { shift }),
            buffer,
            data,
            // Small segments of a lot of data only make the test slow.
            mss: mss.max(data / 200).min(1_460),
            reads_every,
            garbage,
            fin_needs_no_room,
        },
    )
}

fn network(keeps_order: bool) -> impl Strategy<Value = Network> {
    prop::collection::vec(any::<u8>(), 1..200).prop_map(move |luck| Network {
        luck,
        at: 0,
        keeps_order,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn where_the_order_is_kept_nothing_of_two_honest_ends_is_refused(
        client in manner(), server in manner(), network in network(true),
    ) {
        talk([client, server], network, false)?;
    }

    #[test]
    fn of_two_honest_ends_only_what_nobody_needs_is_refused(
        client in manner(), server in manner(), network in network(false),
    ) {
        talk([client, server], network, false)?;
    }

    #[test]
    fn both_may_begin(client in manner(), server in manner(), network in network(true)) {
        talk([client, server], network, true)?;
    }
}
