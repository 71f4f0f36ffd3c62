//! What a segment says that passed, and the flow's next state.

use super::{
    super::{
        Direction, Flow, Half, State, Tally,
        window::{self, Segment, after, before, learn, note_both_syns, note_syn, sides},
    },
    PassedSyn, acknowledges_syn, answers_a_syn, are_judged, is_repeated_challenge, is_synchronized,
};
use crate::wire::tcp_flags::*;

const NO_SCALE: u8 = crate::wire::NO_WINDOW_SCALE;

/// Takes in the one thing that is remembered of a segment that was refused: what a SYN with ACK acknowledged
/// that answers no SYN. A stale one comes once; but a firewall between here and the responder may challenge the
/// originator in this way (as this one does, see [`crate::cookie`]), and does so again when the SYN is repeated.
#[inline(always)]
pub fn note_refused(flow: &mut Flow, direction: Direction, segment: &Segment) {
    if matches!((flow.state(), direction), (State::SynSent, Direction::Reply))
        && segment.flags & (SYN | ACK | RST) == SYN | ACK
    {
        let [_, reply] = &mut flow.halves;
        reply.flags |= Half::ACKED;
        reply.acked = segment.ack;
    }
}

/// Whether a RST that passes ends the flow. Where nothing is held against the ends one passes with any number, and its
/// receiver is the judge (RFC 5961 §3): unless it is inside the window as far as that is known, the flow stays.
#[inline(always)]
fn closes(flow: &Flow, direction: Direction, segment: &Segment) -> bool {
    let (sender, receiver) = flow.sides(direction);
    if are_judged(sender, receiver) {
        return true;
    }
    receiver.flags & Half::ACKED != 0
        && !before(segment.seq, receiver.acked)
        && !after(segment.seq, receiver.edge)
}

/// Takes in what a segment says that passed. Returns the flow's state after it, which the caller has to set.
#[inline(always)]
pub fn note(flow: &mut Flow, direction: Direction, segment: &Segment) -> State {
    let state = flow.state();
    if is_synchronized(state) && segment.flags & (SYN | RST) == 0 {
        return note_by_window(flow, direction, segment, state);
    }
    note_rarely(flow, direction, segment)
}

#[inline(always)]
fn note_by_window(flow: &mut Flow, direction: Direction, segment: &Segment, state: State) -> State {
    let (sender, receiver) = sides(&mut flow.halves, direction);
    if are_judged(sender, receiver) {
        window::note(sender, segment);
    } else {
        learn(sender, receiver, segment);
    }
    if segment.is_partial && after(receiver.edge, sender.end) {
        // How much more comes in the fragments behind it nobody tells: no more than there is room for.
        sender.end = receiver.edge;
    }
    if (sender.flags | receiver.flags) & Half::FIN == 0 { state } else { closing(sender, receiver) }
}

/// The state of a connection of which at least one end closed its side.
#[inline(always)]
fn closing(one: &Half, other: &Half) -> State {
    let is_acked =
        |half: &Half, by: &Half| half.flags & Half::FIN != 0 && !before(by.acked, half.end);
    let both = one.flags & other.flags & Half::FIN != 0;
    match (both, is_acked(one, other), is_acked(other, one)) {
        (true, true, true) => State::TimeWait,
        (true, _, _) => State::LastAck,
        (false, false, false) => State::FinWait,
        (false, _, _) => State::CloseWait,
    }
}

#[inline(never)]
fn note_rarely(flow: &mut Flow, direction: Direction, segment: &Segment) -> State {
    let state = flow.state();
    let flags = segment.flags;
    match state {
        State::SynSent => note_before_the_answer(flow, direction, segment),
        _ if flags & RST != 0 && !closes(flow, direction, segment) => state,
        State::Midstream if flags & RST != 0 => State::Closed,
        State::Midstream => {
            note_by_window(flow, direction, segment, State::Midstream);
            let [original, reply] = &flow.halves;
            let fin = (original.flags | reply.flags) & Half::FIN != 0;
            match direction {
                Direction::Original => State::Midstream,
                Direction::Reply if fin => closing(original, reply),
                Direction::Reply => State::Established,
            }
        }
        State::Killed => State::Killed,
        _ if flags & RST != 0 => State::Closed,
        State::Closed => {
            let [original, reply] = &flow.halves;
            if original.flags & reply.flags & Half::SPOKE != 0 {
                // What was on its way when the RST came still gets its answers.
                note_by_window(flow, direction, segment, State::Closed);
            }
            State::Closed
        }
        State::SynReceived if flags & (SYN | ACK) == ACK => {
            let next = note_by_window(flow, direction, segment, State::Established);
            // The responder may speak before the handshake's last ACK comes by.
            if direction == Direction::Original { next } else { State::SynReceived }
        }
        // The other half of a simultaneous open: from here on both ends are known to listen.
        State::SynReceived
            if direction == Direction::Original && flags & (SYN | ACK) == SYN | ACK =>
        {
            State::SynReceived
        }
        _ if flags & ACK != 0 => {
            // The answer to the SYN once more, perhaps with another window.
            let (sender, _) = sides(&mut flow.halves, direction);
            window::widen(sender, segment);
            state
        }
        _ => {
            if segment.seq.wrapping_add(1) != flow.first_seq_of(direction) {
                flow.passed_syn = PassedSyn::of(segment, direction);
            }
            state
        }
    }
}

#[inline(always)]
fn note_before_the_answer(flow: &mut Flow, direction: Direction, segment: &Segment) -> State {
    let flags = segment.flags;
    let [original, reply] = &mut flow.halves;
    if direction == Direction::Original {
        return match flags & (SYN | ACK | RST) {
            SYN => {
                if segment.end != original.end {
                    let Half { end, max_window: window, flags, .. } = *original;
                    let offered = flags & Half::OFFERED_SCALE != 0;
                    let scale = if offered { original.shift() } else { NO_SCALE };
                    flow.passed_syn =
                        PassedSyn { end, window, scale, known: 1 + Direction::Original as u8 };
                }
                note_first_syn(flow, segment);
                State::SynSent
            }
            // The answer to a challenge: the originator will repeat its SYN.
            _ if flags & RST != 0 && segment.seq != original.end => State::SynSent,
            _ if flags & RST != 0 => State::Closed,
            // Only where nothing is judged.
            _ => State::SynSent,
        };
    }
    match flags & (SYN | ACK | RST) {
        ACK if original.flags & Half::UNJUDGED == 0 => {
            reply.flags |= Half::ACKED;
            reply.acked = segment.ack;
            State::SynSent
        }
        _ if flags & RST != 0 => State::Closed,
        _ if flags & SYN == 0 => State::Established,
        // A challenge, as above.
        _ if is_repeated_challenge(flow, segment) && !answers_a_syn(flow, segment) => {
            State::SynSent
        }
        _ => {
            if !acknowledges_syn(flow, segment)
                && flow.passed_syn.is_answered_by(segment, direction)
            {
                let first = flow.passed_syn.segment();
                note_first_syn(flow, &first);
            }
            note_answer(flow, segment);
            State::SynReceived
        }
    }
}

/// Lays down a SYN of the originator.
#[inline(always)]
pub fn note_first_syn(flow: &mut Flow, segment: &Segment) {
    let [original, _] = &mut flow.halves;
    note_syn(original, segment);
    flow.first_seq[0] = segment.seq.wrapping_add(1);
}

/// Lays down the responder's SYN.
#[inline(always)]
fn note_answer(flow: &mut Flow, segment: &Segment) {
    let [original, reply] = &mut flow.halves;
    note_syn(reply, segment);
    flow.first_seq[1] = segment.seq.wrapping_add(1);
    if segment.flags & ACK != 0 && before(segment.ack, original.end) {
        // It took the SYN and not the data with it, which the originator will send again.
        flow.first_seq[0] = segment.ack;
    }
    note_both_syns(&mut flow.halves, flow.first_seq);
    flow.passed_syn.known = 0;
}

/// The direction, in the flow that was, of the one that `answer` begins: see [`Step::Renew`].
#[inline(always)]
pub const fn renewed_by(flow: &Flow) -> Direction {
    if flow.passed_syn.known == 1 + Direction::Reply as u8 {
        Direction::Reply
    } else {
        Direction::Original
    }
}

/// Makes the flow that `answer` answers out of the one that was: see [`Step::Renew`]. Returns its state, which
/// the caller has to set, as the flow's number and times.
#[inline(always)]
pub fn renew(flow: &mut Flow, answer: &Segment) -> State {
    let syn = flow.passed_syn.segment();
    if matches!(renewed_by(flow), Direction::Reply) {
        flow.originator_is_second ^= 1;
    }
    flow.halves = [Half::default(); 2];
    flow.tallies = [Tally::default(); 2];
    flow.flags &= !Flow::ADOPTED;
    note_first_syn(flow, &syn);
    note_answer(flow, answer);
    State::SynReceived
}
