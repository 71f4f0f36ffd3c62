//! What an observer between two ends knows of them, and where a segment lies by that: the words in which
//! differences are told apart. It judges nothing.

use firewall_common::wire::tcp_flags::{ACK, SYN};

use super::segment::{Segment, Side};

/// What was seen of one end.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Its first sequence number.
    isn: Option<u32>,
    /// The number behind all that it sent.
    end: u32,
    /// The shift in its SYN.
    scale: Option<u8>,
    /// The highest number that it acknowledged.
    acked: Option<u32>,
    /// How far it lets its peer send.
    edge: Option<u32>,
    /// The window that it announced last was closed.
    is_closed: bool,
    /// The largest window that it announced, in bytes.
    window: u32,
}

/// What was seen of a conversation.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    seen: [Seen; 2],
}

/// Where a segment lies, in bytes from what was seen before: positive is beyond it. Nothing where there is
/// nothing to compare with.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its first byte, from the end of what its sender sent before.
    pub start_beyond_sent: Option<i32>,
    /// Its end, from the end of what its sender sent before.
    pub end_beyond_sent: Option<i32>,
    /// Its first byte, from the edge of the window.
    pub start_beyond_window: Option<i32>,
    /// Its end, from the edge of the window.
    pub end_beyond_window: Option<i32>,
    /// Its end, from the highest acknowledgement of its receiver: negative is old.
    pub end_beyond_acked: Option<i32>,
    /// Its first byte, from the highest acknowledgement of its receiver: 0 is exact.
    pub start_beyond_acked: Option<i32>,
    /// What it acknowledges, from the end of what its receiver sent.
    pub ack_beyond_sent: Option<i32>,
    /// What it acknowledges, from what its sender acknowledged before.
    pub ack_beyond_acked: Option<i32>,
    /// The largest window that its sender announced before, in bytes.
    pub sender_window: u32,
    /// The largest window that its receiver announced, in bytes.
    pub receiver_window: u32,
}

impl Observer {
    /// Where `segment` lies.
    pub fn place(&self, segment: &Segment) -> Place {
        let (sender, receiver) = (self.of(segment.from), self.of(segment.from.other()));
        // A SYN of other numbers begins something new.
        let sent = sender.isn.filter(|isn| !segment.has(SYN) || *isn == segment.seq);
        let has_ack = segment.has(ACK);
        let edge = receiver.edge.filter(|_| sent.is_some());
        let acked = receiver.acked.filter(|_| sent.is_some());
        // One byte may always be sent, to ask whether a closed window is still closed.
        let probe = u32::from(receiver.is_closed);
        let from = |base: u32, number: u32| number.wrapping_sub(base).cast_signed();
        Place {
            start_beyond_sent: sent.map(|_| from(sender.end, segment.seq)),
            end_beyond_sent: sent.map(|_| from(sender.end, segment.end())),
            start_beyond_window: edge.map(|edge| from(edge, segment.seq)),
            end_beyond_window: edge.map(|edge| from(edge.wrapping_add(probe), segment.end())),
            end_beyond_acked: acked.map(|acked| from(acked, segment.end())),
            start_beyond_acked: acked.map(|acked| from(acked, segment.seq)),
            ack_beyond_sent: receiver
                .isn
                .filter(|_| has_ack)
                .map(|_| from(receiver.end, segment.ack)),
            ack_beyond_acked: sender
                .acked
                .filter(|_| has_ack && sent.is_some())
                .map(|acked| from(acked, segment.ack)),
            sender_window: sender.window,
            receiver_window: receiver.window,
        }
    }

    /// Takes note of a segment that passed.
    pub fn note(&mut self, segment: &Segment) {
        let (from, to) = (segment.from as usize, segment.from.other() as usize);
        if segment.has(SYN) && self.seen[from].isn != Some(segment.seq) {
            if self.seen[from].isn.is_some() && !segment.has(ACK) {
                *self = Self::default();
            }
            self.seen[from] = Seen {
                isn: Some(segment.seq),
                end: segment.end(),
                scale: scale_of(&segment.options),
                ..Seen::default()
            };
        }
        let shift = match (self.seen[from].scale, self.seen[to].scale) {
            (Some(shift), Some(_)) if !segment.has(SYN) => shift.min(14),
            _ => 0,
        };
        let sender = &mut self.seen[from];
        if sender.isn.is_none() {
            return;
        }
        sender.end = later(sender.end, segment.end());
        let window = u32::from(segment.window) << shift;
        sender.window = sender.window.max(window);
        if segment.has(ACK) {
            let edge = segment.ack.wrapping_add(window);
            sender.acked =
                Some(sender.acked.map_or(segment.ack, |acked| later(acked, segment.ack)));
            sender.edge = Some(sender.edge.map_or(edge, |before| later(before, edge)));
            sender.is_closed = window == 0;
        } else if let Some(peer) = self.seen[to].isn.filter(|_| segment.has(SYN)) {
            // Crossing SYNs: the window begins at the peer's first byte.
            self.seen[from].edge = Some(peer.wrapping_add(1).wrapping_add(window));
        }
    }

    fn of(&self, side: Side) -> &Seen {
        &self.seen[side as usize]
    }
}

impl Place {
    /// The place in words, as far as it is remarkable.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        match (self.start_beyond_window, self.end_beyond_window) {
            (Some(1..), _) => words.push("begins beyond the window"),
            (_, Some(1..)) => words.push("ends beyond the window"),
            _ => {}
        }
        match self.end_beyond_acked {
            // Keep-alives and repetitions end a little before what was acknowledged.
            Some(..-66_000) => words.push("is very old"),
            Some(-66_000..0) => words.push("is old"),
            _ => {}
        }
        match (self.ack_beyond_sent, self.ack_beyond_acked) {
            (Some(1..), _) => words.push("acknowledges what was not sent"),
            (Some(..-66_000), Some(..0)) => words.push("acknowledges what is very old"),
            (_, Some(..0)) => words.push("acknowledges what is old"),
            _ => {}
        }
        if words.is_empty() { "lies in the window".to_owned() } else { words.join(", ") }
    }
}

fn later(one: u32, other: u32) -> u32 {
    if other.wrapping_sub(one).cast_signed() > 0 { other } else { one }
}

/// The shift in the options of a SYN (RFC 7323 §2.2).
fn scale_of(mut options: &[u8]) -> Option<u8> {
    loop {
        options = match *options {
            [3, 3, shift, ..] => return Some(shift),
            [1, ref rest @ ..] => rest,
            [0, ..] | [] | [_] => return None,
            [_, len, ..] => options.get(usize::from(len.max(2))..)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_is_found_among_other_options() {
        assert_eq!(scale_of(&[2, 4, 5, 180, 1, 3, 3, 7]), Some(7));
        assert_eq!(scale_of(&[2, 4, 5, 180]), None);
        assert_eq!(scale_of(&[2, 40, 5, 180]), None);
        assert_eq!(scale_of(&[2]), None);
    }

    #[test]
    fn later_wraps() {
        assert_eq!(later(u32::MAX, 3), 3);
        assert_eq!(later(3, u32::MAX), 3);
    }
}
