//! Makes conversations whose ends follow TCP. An observer that judges strictly has to let all of it pass:
//! nobody sends beyond the window that the observer saw announced, nobody acknowledges what the observer
//! did not see.
//!
//! Segments may be lost, before the observer or behind it, and are repeated then.

use std::collections::VecDeque;

use firewall_common::wire::tcp_flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN};

use super::{
    Random,
    end::{Arrival, End},
    segment::{Conversation, Segment, Side},
};
use crate::replaying::Family;

/// Nanoseconds between two segments, at most.
const LONGEST_PAUSE: u64 = 20_000_000;
/// No conversation goes on for longer than this many segments, its farewell excepted.
const ENOUGH: usize = 60;
const BOTH: [Side; 2] = [Side::Left, Side::Right];

/// The conversation of `seed`.
pub fn converse(seed: u64, family: Family) -> Conversation {
    let mut random = Random::new(seed);
    let ends = BOTH.map(|side| {
        // Near the end of the circle, so that they wrap, more often than not.
        let isn = match random.chance(60) {
            true => u32::MAX - random.between(0, 6_000) as u32,
            false => random.any() as u32,
        };
        End::new(side, isn, &mut random)
    });
    let loss = random.pick(&[0, 0, 5]);
    let play = Play { random, ends, inboxes: Default::default(), now: 0, loss, segments: vec![] };
    Conversation { seed, family, segments: play.perform() }
}

/// Two ends and what is on its way between them.
struct Play {
    random: Random,
    ends: [End; 2],
    /// What has yet to reach an end.
    inboxes: [VecDeque<Arrival>; 2],
    now: u64,
    /// Segments that are lost before the observer, and as many behind it: percent.
    loss: u64,
    segments: Vec<Segment>,
}

impl Play {
    fn perform(mut self) -> Vec<Segment> {
        let mut opener = if self.random.chance(90) { Side::Left } else { Side::Right };
        loop {
            let stands = match self.random.between(0, 99) {
                0..=3 => self.is_refused(opener),
                4..=7 => self.is_abandoned(opener),
                // After a RST nobody between can tell a crossing SYN from a forged one.
                8..=13 if self.segments.is_empty() => {
                    opener = Side::Left;
                    self.open_at_once()
                }
                _ => self.open(opener),
            };
            if stands {
                self.talk();
            }
            let is_closed = match self.random.between(0, 99) {
                _ if !stands => false,
                0..=59 => self.close(),
                60..=84 => {
                    self.reset();
                    false
                }
                _ => break,
            };
            if self.segments.len() >= ENOUGH || !self.random.chance(40) {
                break;
            }
            // From TIME_WAIT either end may begin anew.
            if is_closed && self.random.chance(15) {
                opener = opener.other();
            } else if !is_closed && BOTH.iter().any(|&side| !self.end(side).dead) {
                // One of them still thinks that there is a connection.
                break;
            }
            self.ends = self.ends.clone().map(|end| end.again(&mut self.random));
            self.inboxes = Default::default();
        }
        self.segments
    }

    fn open(&mut self, opener: Side) -> bool {
        let answerer = opener.other();
        let ecn = if self.random.chance(20) { ECE | CWR } else { 0 };
        self.surely(opener, 0, 0, SYN | ecn, "SYN");
        while self.random.chance(15) {
            self.pause_ms(1_000);
            self.surely(opener, 0, 0, SYN | ecn, "SYN, repeated");
        }
        self.deliver_all(answerer);
        self.surely(answerer, 0, 0, SYN | ACK | ecn & ECE, "SYN-ACK");
        while self.random.chance(10) {
            self.pause_ms(1_000);
            self.surely(answerer, 0, 0, SYN | ACK, "SYN-ACK, repeated");
        }
        self.deliver_all(opener);
        if self.random.chance(85) {
            self.acknowledge(opener);
        }
        true
    }

    /// Both SYNs cross (RFC 9293 §3.5, figure 8); that from the left is seen first.
    fn open_at_once(&mut self) -> bool {
        for side in BOTH {
            self.surely(side, 0, 0, SYN, "SYN, crossing");
        }
        for side in BOTH {
            self.deliver_all(side);
        }
        for side in BOTH {
            self.surely(side, 0, 0, SYN | ACK, "SYN-ACK, crossing");
        }
        for side in BOTH {
            self.deliver_all(side);
        }
        for side in BOTH {
            let next = self.end(side).next;
            self.surely(side, next, 0, ACK, "ACK after crossing");
        }
        for side in BOTH {
            self.deliver_all(side);
        }
        true
    }

    /// Nobody listens there.
    fn is_refused(&mut self, opener: Side) -> bool {
        self.surely(opener, 0, 0, SYN, "SYN");
        let syn = self.segments.last().expect("it was sent").clone();
        self.now += 1_000_000;
        self.segments.push(Segment {
            from: opener.other(),
            at: self.now,
            seq: 0,
            ack: syn.end(),
            flags: RST | ACK,
            window: 0,
            options: Vec::new(),
            payload: 0,
            bases: (0, syn.seq),
            note: "RST: refused".to_owned(),
        });
        for side in BOTH {
            self.end_mut(side).dead = true;
        }
        false
    }

    /// The opener thinks better of it.
    fn is_abandoned(&mut self, opener: Side) -> bool {
        self.surely(opener, 0, 0, SYN, "SYN");
        if self.random.chance(50) {
            self.pause_ms(1_000);
            self.surely(opener, 0, 0, SYN, "SYN, repeated");
        }
        if self.random.chance(50) {
            self.send_reset(opener, 0, "RST: abandoned");
            for side in BOTH {
                self.end_mut(side).dead = true;
            }
        }
        false
    }

    fn talk(&mut self) {
        for _ in 0..self.random.between(0, 60) {
            if self.segments.len() >= ENOUGH {
                return;
            }
            self.step();
        }
    }

    /// One of the ends receives or does something.
    fn step(&mut self) {
        let side = self.random.pick(&BOTH);
        if self.inbox(side).is_empty() || self.random.chance(40) {
            self.act(side);
        } else {
            self.deliver(side);
        }
    }

    fn act(&mut self, side: Side) {
        let end = self.end(side);
        if end.dead {
            return;
        }
        if end.unacked == 0 {
            if self.random.chance(10) {
                self.pause_ms(1_000);
                self.send(side, 0, 0, SYN | ACK, "SYN-ACK, repeated");
            }
            return;
        }
        let (next, owes_ack, is_open) = (end.next, end.owes_ack, end.fin.is_none());
        let is_idle = end.unacked == next && is_open;
        let may_send = self.may_send(side);
        match self.random.between(0, 99) {
            0..=54 if may_send > 0 => {
                let whole = self.random.chance(60);
                let len = if whole { may_send } else { self.random.between(1, may_send) };
                self.end_mut(side).pending -= len;
                let push = if self.random.chance(50) { PSH } else { 0 };
                self.send(side, next, len, ACK | push, "data");
            }
            0..=54 if self.end(side).is_stuck() && is_open => self.probe(side),
            55..=61 if self.end(side).unacked < next => self.repeat(side),
            62..=64 if is_idle => {
                self.pause_ms(100);
                let garbage = u64::from(self.random.chance(30));
                self.send(side, next - 1, garbage, ACK, "keep-alive");
            }
            65..=67 => {
                let end = self.end_mut(side);
                end.stalled = !end.stalled;
                if !end.stalled {
                    self.send(side, next, 0, ACK, "window update");
                }
            }
            68..=70 if is_open => {
                let more = self.random.between(1, 4_000);
                self.end_mut(side).pending += more;
            }
            _ if owes_ack => self.acknowledge(side),
            _ => {}
        }
    }

    /// How much data the end can send in one segment.
    fn may_send(&self, side: Side) -> u64 {
        let end = self.end(side);
        if end.fin.is_some() || end.unacked == 0 {
            return 0;
        }
        end.limit.saturating_sub(end.next).min(end.pending).min(end.largest())
    }

    /// Asks whether the window is still closed: by a number that is old, or by a byte beyond it.
    fn probe(&mut self, side: Side) {
        self.pause_ms(200);
        let next = self.end(side).next;
        if self.random.chance(50) {
            self.send(side, next - 1, 0, ACK, "probe of a closed window");
        } else {
            self.end_mut(side).pending -= 1;
            self.send(side, next, 1, ACK, "probe of a closed window by a byte");
        }
    }

    /// Sends what is not acknowledged again, from its beginning.
    fn repeat(&mut self, side: Side) {
        self.pause_ms(200);
        let end = self.end(side);
        if end.unacked == 0 {
            return self.send(side, 0, 0, SYN | ACK, "SYN-ACK, repeated");
        }
        let (from, data_end) = (end.unacked, end.data_end());
        let len = data_end.saturating_sub(from).min(end.largest());
        let fin = if end.fin == Some(from + len) { FIN } else { 0 };
        self.send(side, from, len, ACK | fin, "retransmission");
    }

    fn acknowledge(&mut self, side: Side) {
        let next = self.end(side).next;
        self.send(side, next, 0, ACK, "ACK");
    }

    /// Both ends close, in any order. Returns whether they came to an end with it.
    fn close(&mut self) -> bool {
        let first = self.random.pick(&BOTH);
        let at_once = self.random.chance(15);
        // How long the other end goes on after the first has closed.
        let patience = self.random.pick(&[0, 0, 5, 15]);
        for side in BOTH {
            let largest = self.end(side).largest();
            let end = self.end_mut(side);
            end.stalled = false;
            end.pending = end.pending.min(3 * largest);
        }
        for round in 0..200 {
            if round == 40 {
                self.loss = 0;
                for side in BOTH {
                    self.end_mut(side).stalled = false;
                }
            }
            if round >= 80 {
                for side in BOTH {
                    self.end_mut(side).pending = 0;
                }
            }
            for side in BOTH {
                if side == first || at_once || round >= patience {
                    self.finish(side);
                }
            }
            self.step();
            if round >= 40 {
                self.settle_once();
            }
            if BOTH.iter().all(|&side| self.end(side).is_closed() && self.inbox(side).is_empty()) {
                self.linger();
                return true;
            }
        }
        false
    }

    /// Sends the FIN once all data is sent and the window has room.
    fn finish(&mut self, side: Side) {
        let end = self.end(side);
        let (next, pending) = (end.next, end.pending);
        let has_room = next + pending < end.limit && pending <= end.largest();
        if end.fin.is_some() || end.unacked == 0 || !has_room {
            return;
        }
        let end = self.end_mut(side);
        end.fin = Some(next + pending);
        end.pending = 0;
        self.send(side, next, pending, ACK | FIN, "FIN");
    }

    /// The last ACK did not arrive: the FIN comes again, and is answered again.
    fn linger(&mut self) {
        if !self.random.chance(20) {
            return;
        }
        let side = self.random.pick(&BOTH);
        let fin = self.end(side).fin.expect("it has closed");
        self.pause_ms(200);
        self.surely(side, fin, 0, ACK | FIN, "FIN, repeated");
        self.deliver_all(side.other());
        self.acknowledge(side.other());
    }

    /// One of the ends gives up.
    fn reset(&mut self) {
        let side = self.random.pick(&BOTH);
        self.loss = 0;
        for _ in 0..20 {
            self.settle_once();
        }
        if self.end(side).unacked == 0 {
            return;
        }
        let may_send = self.may_send(side);
        let next = self.end(side).next;
        if may_send > 0 && self.random.chance(30) {
            self.end_mut(side).pending -= may_send;
            self.surely(side, next, may_send, ACK, "data before a RST");
        }
        let flags = self.random.pick(&[0, ACK]);
        self.send_reset(side, flags, "RST");
        self.end_mut(side).dead = true;

        let peer = side.other();
        let may_send = self.may_send(peer);
        if may_send > 0 && self.random.chance(30) {
            let next = self.end(peer).next;
            self.surely(peer, next, may_send, ACK, "data that crosses a RST");
            let acked = self.segments.last().expect("it was sent").ack;
            self.send_reset(side, 0, "RST: no such connection");
            self.segments.last_mut().expect("it was sent").seq = acked;
        }
        self.end_mut(peer).dead = true;
    }

    fn send_reset(&mut self, side: Side, flags: u8, note: &str) {
        let next = self.end(side).next;
        self.surely(side, next, 0, RST | flags, note);
        let segment = self.segments.last_mut().expect("it was sent");
        segment.window = 0;
        segment.options.clear();
    }

    /// Everything arrives, and what is owed is sent.
    fn settle_once(&mut self) {
        for side in BOTH {
            self.deliver_all(side);
            let end = self.end(side);
            if end.owes_ack {
                self.acknowledge(side);
            } else if end.unacked < end.next {
                self.repeat(side);
            }
        }
    }

    fn deliver_all(&mut self, side: Side) {
        while self.deliver(side) {}
    }

    fn deliver(&mut self, side: Side) -> bool {
        let Some(arrival) = self.inboxes[side as usize].pop_front() else { return false };
        self.end_mut(side).receive(&arrival);
        true
    }

    fn surely(&mut self, side: Side, from: u64, payload: u64, flags: u8, note: &str) {
        let loss = std::mem::take(&mut self.loss);
        self.send(side, from, payload, flags, note);
        self.loss = loss;
    }

    fn send(&mut self, side: Side, from: u64, payload: u64, flags: u8, note: &str) {
        self.now += self.random.between(50_000, LONGEST_PAUSE);
        let now = self.now;
        let arrival = self.end_mut(side).segment(now, from, payload, flags, note);
        if self.random.chance(self.loss) {
            return;
        }
        let mut segment = arrival.segment.clone();
        if self.random.chance(self.loss) {
            segment.note += ", lost later";
        } else {
            self.inboxes[side.other() as usize].push_back(arrival);
        }
        self.segments.push(segment);
    }

    fn pause_ms(&mut self, milliseconds: u64) {
        self.now += milliseconds * 1_000_000;
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    fn inbox(&self, side: Side) -> &VecDeque<Arrival> {
        &self.inboxes[side as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::Observer, *};

    #[test]
    fn a_seed_stands_for_one_conversation() {
        let text = |seed| format!("{:?}", converse(seed, Family::V4));
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }

    /// What the differential test rests on, checked by another's eyes.
    #[test]
    fn the_ends_keep_to_what_the_observer_saw_announced() {
        for seed in 0..3_000 {
            let conversation = converse(seed, Family::V4);
            let mut observer = Observer::default();
            for (index, segment) in conversation.segments.iter().enumerate() {
                let place = observer.place(segment);
                let context = || {
                    let so_far: Vec<_> =
                        conversation.segments[..=index].iter().map(ToString::to_string).collect();
                    format!("seed {seed}: {place:?}\n{}", so_far.join("\n"))
                };
                assert!(place.end_beyond_window <= Some(0), "{}", context());
                assert!(place.ack_beyond_sent <= Some(0), "{}", context());
                observer.note(segment);
            }
        }
    }

    #[test]
    fn every_kind_of_segment_occurs() {
        let mut notes = BTreeMap::new();
        for seed in 0..1_000 {
            for segment in converse(seed, Family::V4).segments {
                *notes.entry(segment.note).or_insert(0) += 1;
            }
        }
        for note in [
            "SYN, repeated",
            "SYN-ACK, repeated",
            "ACK after crossing",
            "RST: refused",
            "RST: abandoned",
            "RST: no such connection",
            "data, lost later",
            "retransmission",
            "keep-alive",
            "window update",
            "probe of a closed window",
            "probe of a closed window by a byte",
            "data before a RST",
            "data that crosses a RST",
            "FIN",
            "FIN, repeated",
        ] {
            assert!(notes.get(note) > Some(&10), "{note}: {notes:?}");
        }
    }
}
