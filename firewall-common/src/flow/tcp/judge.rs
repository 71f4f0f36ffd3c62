//! Whether a segment passes. Nothing is changed.

use super::{
    super::{
        Direction, Flow, Half, State,
        window::{self, Fault, Segment, acknowledgment_bounds, after, before, sequence_bounds},
    },
    Step, answers_a_syn, are_judged, impossible, is_repeated_challenge, is_synchronized,
};
use crate::{reason::Reason, wire::tcp_flags::*};

/// Judges a segment of `flow`.
#[inline(always)]
pub fn judge(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let state = flow.state();
    if is_synchronized(state)
        && segment.flags & (SYN | RST | ACK) == ACK
        && !impossible(segment.flags)
    {
        return by_window(flow, direction, segment);
    }
    rarely(flow, direction, segment)
}

#[inline(always)]
fn by_window(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let (sender, receiver) = flow.sides(direction);
    if !are_judged(sender, receiver) {
        return Step::Pass;
    }
    match window::fault(sender, receiver, segment) {
        Fault::None => Step::Pass,
        fault => mismatch(fault),
    }
}

/// Judges what does not come every time. Apart from its caller, so that the verifier walks it once.
#[inline(never)]
fn rarely(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let flags = segment.flags;
    if impossible(flags) {
        return Step::Refuse(Reason::IpHalfScan, Fault::None);
    }
    let opens = flags & (SYN | ACK) == SYN;
    let state = flow.state();
    if state.is_over() && opens {
        return Step::Reopen;
    }
    match state {
        State::SynSent => before_the_answer(flow, direction, segment),
        State::Midstream if opens => Step::Reopen,
        State::Midstream => Step::Pass,
        // The ends' own farewell, and what a kill sends them where another hook sees it again.
        State::Killed if flags & RST != 0 => Step::Pass,
        State::Killed => Step::Refuse(Reason::TcpNotSyn, Fault::None),
        State::Closed => after_a_reset(flow, direction, segment),
        State::SynReceived => in_the_handshake(flow, direction, segment),
        _ if flags & RST != 0 => reset(flow, direction, segment),
        // A SYN here is answered by a challenge ACK (RFC 5961 §4); it changes nothing.
        _ if opens => Step::Pass,
        _ if flags & SYN != 0 => syn_ack(flow, direction, segment),
        _ => by_window(flow, direction, segment),
    }
}

/// [`State::SynSent`]: the originator's SYN was seen, no answer.
#[inline(always)]
fn before_the_answer(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let [original, reply] = &flow.halves;
    let flags = segment.flags;
    if original.flags & Half::UNJUDGED != 0 {
        return Step::Pass;
    }
    if direction == Direction::Original {
        let challenged = reply.flags & Half::ACKED != 0 && segment.seq == reply.acked;
        return match flags & (SYN | ACK | RST) {
            // The SYN again, perhaps with another sequence number.
            SYN => Step::Pass,
            // The originator gives up, or answers the challenge to its SYN.
            _ if flags & RST != 0 && (segment.seq == original.end || challenged) => Step::Pass,
            _ => mismatch(Fault::Sequence),
        };
    }
    let answers = answers_a_syn(flow, segment);
    match flags & (SYN | ACK | RST) {
        // Both ends sent their SYN: simultaneous open (RFC 9293 §3.5).
        SYN => Step::Pass,
        _ if answers && flags & (SYN | RST) != 0 => Step::Pass,
        // The responder still has a connection of the same ports and challenges the SYN; its ACK makes the
        // originator send the RST that clears the way (RFC 9293 §3.5.1, RFC 5961 §4).
        ACK if segment.end == segment.seq => Step::Pass,
        // A stale answer comes once. One that comes again with the same number is a challenge too, of another
        // firewall before the responder.
        _ if is_repeated_challenge(flow, segment) => Step::Pass,
        _ => mismatch(Fault::Acknowledgment),
    }
}

/// [`State::SynReceived`]: both ends sent their SYN.
#[inline(always)]
fn in_the_handshake(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let flags = segment.flags;
    if flags & RST != 0 {
        return reset(flow, direction, segment);
    }
    if flags & (SYN | ACK) == SYN {
        return Step::Pass;
    }
    if flags & SYN != 0 {
        return syn_ack(flow, direction, segment);
    }
    let (sender, receiver) = flow.sides(direction);
    let first = flow.first_seq_of(direction.reversed());
    let judged = (sender.flags | receiver.flags) & Half::UNJUDGED == 0;
    // Nothing but the other end's SYN proves that an acknowledgment is no guess.
    if judged && before(segment.ack, first) {
        return mismatch(Fault::Acknowledgment);
    }
    by_window(flow, direction, segment)
}

/// A SYN with ACK on a connection that has both SYNs already.
#[inline(always)]
fn syn_ack(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let (sender, receiver) = flow.sides(direction);
    if !are_judged(sender, receiver) {
        return Step::Pass;
    }
    if flow.passed_syn.is_answered_by(segment, direction) {
        return Step::Renew;
    }
    let first = flow.first_seq_of(direction);
    let is_repeated = sender.flags & Half::BEGIN_KNOWN != 0 && segment.seq.wrapping_add(1) == first;
    if !is_repeated {
        return mismatch(Fault::Sequence);
    }
    let [low, high] = acknowledgment_bounds(sender, receiver);
    if after(segment.ack, high) || before(segment.ack, low) {
        return mismatch(Fault::Acknowledgment);
    }
    Step::Pass
}

/// A RST on a connection that has both SYNs (RFC 5961 §3).
#[inline(always)]
fn reset(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let (sender, receiver) = flow.sides(direction);
    if !are_judged(sender, receiver) {
        return Step::Pass;
    }
    // What the receiver acknowledged last, or what the sender sent last and the receiver will have by then.
    let exact = segment.seq == receiver.acked || segment.seq == sender.end;
    // The answer of an end that knows of no connection to a SYN that passed: another one, or the first one again,
    // because its answer was lost.
    let answers_the_first = direction == Direction::Reply
        && flow.state() == State::SynReceived
        && segment.flags & ACK != 0
        && segment.ack == flow.first_seq_of(Direction::Original);
    if answers_the_first || flow.passed_syn.is_answered_by(segment, direction) {
        return Step::Pass;
    }
    let closing = flow.state() != State::Established && flow.state() != State::SynReceived;
    let inside = !before(segment.seq, receiver.acked) && !after(segment.seq, receiver.edge);
    if !(exact || closing && inside) {
        return mismatch(Fault::Sequence);
    }
    if segment.flags & ACK != 0 && after(segment.ack, receiver.end) {
        return mismatch(Fault::Acknowledgment);
    }
    Step::Pass
}

/// [`State::Closed`]: a second RST, or what crossed the first.
#[inline(always)]
fn after_a_reset(flow: &Flow, direction: Direction, segment: &Segment) -> Step {
    let (sender, receiver) = flow.sides(direction);
    let settled = Half::SPOKE | Half::ACKED;
    let known = sender.flags & receiver.flags & settled == settled;
    match segment.flags & (SYN | RST) {
        RST if known => reset(flow, direction, segment),
        // The connection never stood: the end that refused it repeats itself, or the one that gave it up.
        RST => before_the_answer(flow, direction, segment),
        0 if known => by_window(flow, direction, segment),
        _ => Step::Refuse(Reason::TcpNotSyn, Fault::None),
    }
}

#[inline(always)]
const fn mismatch(fault: Fault) -> Step {
    Step::Refuse(Reason::SeqAckMismatch, fault)
}

/// What a segment that was refused for `fault` should have had: the first and the last number. For
/// [`Fault::Sequence`] numbers of its end, and of a RST that of itself; for [`Fault::Acknowledgment`]
/// acknowledgment numbers.
#[inline(always)]
pub fn expected(flow: &Flow, direction: Direction, segment: &Segment, fault: Fault) -> [u32; 2] {
    let (sender, receiver) = flow.sides(direction);
    let state = flow.state();
    let first = flow.first_seq_of(direction.reversed());
    match fault {
        Fault::None => [0, 0],
        Fault::Sequence if segment.flags & RST != 0 && state == State::SynSent => {
            [sender.end, sender.end]
        }
        Fault::Sequence if segment.flags & RST != 0 => [receiver.acked, receiver.acked],
        Fault::Sequence if state == State::SynSent => {
            // Nothing but the SYN.
            [sender.end.wrapping_sub(1), sender.end]
        }
        Fault::Sequence => sequence_bounds(sender, receiver),
        Fault::Acknowledgment if state.is_half_open() => [first, receiver.end],
        Fault::Acknowledgment => acknowledgment_bounds(sender, receiver),
    }
}
