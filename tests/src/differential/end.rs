//! An end that follows TCP (RFC 9293): what it may send, and what it makes of what it receives.
//!
//! Inside, numbers are offsets in a stream and do not wrap: the SYN is at 0, the first byte at 1.

use firewall_common::wire::tcp_flags::{ACK, FIN, SYN};

use super::{
    Random,
    options::{self, Offers},
    segment::{Segment, Side},
};

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
/// Timestamps and a stretch that came too early, each padded.
const OPTIONS_OF_A_SEGMENT: u64 = 12 + 12;

/// What an end receives: the segment and the offsets that its numbers stand for.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) segment: Segment,
    /// Offset of its first byte in the sender's stream.
    pub(super) from: u64,
    /// What it acknowledges of the receiver's stream.
    acked: Option<u64>,
    /// What the sender offers, in a SYN.
    offers: Option<Offers>,
    /// Milliseconds.
    clock: u32,
}

/// One end of a conversation.
#[derive(Clone, Debug)]
pub(super) struct End {
    side: Side,
    isn: u32,
    offers: Offers,
    peer_isn: u32,
    peer_offers: Option<Offers>,

    /// The first byte of its own that the peer has not acknowledged.
    pub(super) unacked: u64,
    /// The next byte that it sends.
    pub(super) next: u64,
    /// How far the peer lets it send.
    pub(super) limit: u64,
    /// Bytes that it would like to send.
    pub(super) pending: u64,
    /// Where its FIN is.
    pub(super) fin: Option<u64>,

    /// The next byte that it expects from the peer.
    pub(super) expected: u64,
    /// Stretches that came too early: begin and end.
    early: Vec<(u64, u64)>,
    /// How far it lets the peer send; never taken back.
    edge: u64,
    /// Bytes that it is ready to take.
    capacity: u64,
    /// It does not read at the moment: its window closes.
    pub(super) stalled: bool,
    peer_fin: Option<u64>,
    /// The peer waits for an acknowledgement.
    pub(super) owes_ack: bool,
    peer_clock: u32,
    /// Reset by one of the two.
    pub(super) dead: bool,
}

impl End {
    pub(super) fn new(side: Side, isn: u32, random: &mut Random) -> Self {
        let scale = random.chance(70).then(|| random.between(0, options::MAX_SCALE.into()) as u8);
        let capacity = match random.between(0, 9) {
            0..=2 => random.between(1, 3_000),
            3..=6 => 64_240,
            _ => random.between(1, 0xffff << scale.unwrap_or(0)),
        };
        Self {
            side,
            isn,
            offers: Offers {
                mss: random.pick(&[1_440, 1_380, 536, 100]),
                scale,
                sack: random.chance(70),
                timestamps: random.chance(50),
            },
            peer_isn: 0,
            peer_offers: None,
            unacked: 0,
            next: 0,
            limit: 1,
            pending: random.between(0, 8_000),
            fin: None,
            expected: 1,
            early: Vec::new(),
            edge: 1,
            capacity,
            stalled: false,
            peer_fin: None,
            owes_ack: false,
            peer_clock: 0,
            dead: false,
        }
    }

    /// The end of the same host in a later conversation: its numbers go on behind the old ones (RFC 6191).
    pub(super) fn again(&self, random: &mut Random) -> Self {
        let isn = self.number(self.next + random.between(1, 200_000));
        Self::new(self.side, isn, random)
    }

    /// Both sides are closed and both ends know.
    pub(super) fn is_closed(&self) -> bool {
        self.fin.is_some_and(|fin| self.unacked > fin)
            && self.peer_fin.is_some_and(|fin| self.expected > fin)
            && !self.owes_ack
    }

    /// The largest segment that both take, with room for options.
    pub(super) fn largest(&self) -> u64 {
        let peer = self.peer_offers.map_or(self.offers.mss, |offers| offers.mss);
        u64::from(self.offers.mss.min(peer)) - OPTIONS_OF_A_SEGMENT
    }

    /// Where its data ends: at its FIN, or at what it sends next.
    pub(super) fn data_end(&self) -> u64 {
        self.fin.unwrap_or(self.next)
    }

    /// Whether the peer knows that this end waits for it to make room.
    pub(super) fn is_stuck(&self) -> bool {
        self.pending > 0 && self.limit == self.next && self.unacked == self.next
    }

    /// A segment with `flags` that carries `payload` bytes from offset `from` on.
    pub(super) fn segment(
        &mut self,
        now: u64,
        from: u64,
        payload: u64,
        flags: u8,
        note: &str,
    ) -> Arrival {
        let is_syn = flags & SYN != 0;
        let clock = (now / NANOSECONDS_PER_MILLISECOND) as u32;
        let times = (clock, self.peer_clock);
        let acked = (flags & ACK != 0).then_some(self.expected);
        let options = if is_syn {
            options::of_syn(self.answering(flags), times)
        } else {
            let sack = self.early.first().filter(|_| self.agree(|offers| offers.sack));
            let peer_number = |offset: u64| self.peer_isn.wrapping_add(offset as u32);
            let sack = sack.map(|&(from, to)| (peer_number(from), peer_number(to)));
            options::of_segment(self.agree(|offers| offers.timestamps).then_some(times), sack)
        };
        if acked.is_some() {
            self.owes_ack = false;
        }
        let control = u64::from(is_syn) + u64::from(flags & FIN != 0);
        self.next = self.next.max(from + payload + control);
        let segment = Segment {
            from: self.side,
            at: now,
            seq: self.number(from),
            ack: acked.map_or(0, |acked| self.peer_isn.wrapping_add(acked as u32)),
            flags,
            window: self.announce(is_syn),
            options,
            payload: payload as u16,
            bases: (self.isn, self.peer_isn),
            note: note.to_owned(),
        };
        Arrival { segment, from, acked, offers: is_syn.then(|| self.answering(flags)), clock }
    }

    /// What the end makes of a segment that is no RST.
    pub(super) fn receive(&mut self, arrival: &Arrival) {
        let segment = &arrival.segment;
        if let Some(offers) = arrival.offers {
            // A repeated SYN is answered like data that came before.
            self.owes_ack = self.peer_offers.is_some() || segment.has(ACK);
            self.peer_isn = segment.seq;
            self.peer_offers = Some(offers);
        }
        self.peer_clock = arrival.clock;
        let shift = match self.peer_offers.and_then(|offers| offers.scale) {
            Some(shift) if !segment.has(SYN) && self.scales() => shift,
            _ => 0,
        };
        let acked = arrival.acked.unwrap_or(1);
        self.limit = self.limit.max(acked + (u64::from(segment.window) << shift));
        if arrival.acked.is_some() && acked > self.unacked {
            self.unacked = acked;
        }
        let payload = u64::from(segment.payload);
        let first = arrival.from + u64::from(segment.has(SYN));
        if segment.has(FIN) {
            self.peer_fin = Some(first + payload);
        }
        let end = first + payload + u64::from(segment.has(FIN));
        let is_probe = first < self.expected && !segment.has(SYN);
        if end > first || is_probe {
            self.owes_ack = self.owes_ack || !segment.has(SYN);
            self.take(first, end);
        }
    }

    fn take(&mut self, first: u64, end: u64) {
        if end > self.edge || end <= first {
            return;
        }
        self.early.push((first, end));
        self.early.sort_unstable();
        while let Some(&(first, end)) = self.early.first() {
            if first > self.expected {
                break;
            }
            self.expected = self.expected.max(end);
            self.early.remove(0);
        }
    }

    /// The window to write into a segment: at least what was promised before.
    fn announce(&mut self, is_syn: bool) -> u16 {
        let promised = self.edge.saturating_sub(self.expected);
        let wanted = if self.stalled { promised } else { promised.max(self.capacity) };
        let shift = match self.offers.scale {
            Some(shift) if !is_syn && self.scales() => shift,
            _ => 0,
        };
        let field = wanted.div_ceil(1 << shift).min(0xffff);
        self.edge = self.edge.max(self.expected + (field << shift));
        field as u16
    }

    fn scales(&self) -> bool {
        self.agree(|offers| offers.scale.is_some())
    }

    fn agree(&self, offered: impl Fn(&Offers) -> bool) -> bool {
        offered(&self.offers) && self.peer_offers.as_ref().is_some_and(offered)
    }

    /// What to offer: in an answer only what the peer offered too.
    fn answering(&self, flags: u8) -> Offers {
        let Some(peer) = self.peer_offers.filter(|_| flags & ACK != 0) else { return self.offers };
        Offers {
            mss: self.offers.mss,
            scale: self.offers.scale.filter(|_| peer.scale.is_some()),
            sack: self.offers.sack && peer.sack,
            timestamps: self.offers.timestamps && peer.timestamps,
        }
    }

    fn number(&self, offset: u64) -> u32 {
        self.isn.wrapping_add(offset as u32)
    }
}
