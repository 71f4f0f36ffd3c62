//! The TCP state machine of an observer between the ends (RFC 9293 §3.3.2, RFC 5961).
//!
//! [`judge`] says whether a segment passes and changes nothing; [`note`] takes in what a segment says that
//! passed, and returns the flow's next state. [`moves_on`] does both for nearly every segment.

use bytemuck::{Pod, Zeroable};

use super::{
    Direction, Flow, Half, State,
    window::{
        self, Fault, Segment, acknowledgment_bounds, after, before, learn, note_both_syns,
        note_syn, sequence_bounds, sides,
    },
};
use crate::{reason::Reason, wire::tcp_flags::*};

/// What a segment does to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It passes.
    Pass,
    /// It begins a new flow in place of this one, which is over.
    Reopen,
    /// It answers the SYN of an end that lost this connection and began it anew: it passes, and the flow is a
    /// new one, see [`renew`].
    Renew,
    /// It is refused and the flow stays as it was.
    Refuse(Reason, Fault),
}

/// A SYN that passed without changing its flow: of an end that began anew on a connection that stands, or the
/// one before a repeated SYN that has another sequence number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PassedSyn {
    /// What the answer to it acknowledges.
    pub end: u32,
    /// Its window.
    pub window: u16,
    /// The shift it announces.
    pub scale: u8,
    /// 0: there is no such SYN; otherwise 1 and its [`Direction`].
    pub known: u8,
}

impl PassedSyn {
    #[inline(always)]
    const fn of(segment: &Segment, direction: Direction) -> Self {
        let Segment { seq, window, scale, .. } = *segment;
        Self { end: seq.wrapping_add(1), window, scale, known: 1 + direction as u8 }
    }

    /// Whether the SYN is answered by a segment that goes in `direction`.
    #[inline(always)]
    const fn is_answered_by(&self, segment: &Segment, direction: Direction) -> bool {
        self.known == 1 + direction.reversed() as u8
            && segment.flags & ACK != 0
            && segment.ack == self.end
    }

    #[inline(always)]
    const fn segment(&self) -> Segment {
        Segment {
            seq: self.end.wrapping_sub(1),
            end: self.end,
            ack: 0,
            window: self.window,
            flags: SYN,
            scale: self.scale,
            is_partial: false,
        }
    }
}

/// Whether a segment with these flags may begin a flow.
///
/// # Errors
///
/// [`Reason::IpHalfScan`] for combinations that no stack sends, [`Reason::TcpNotSyn`] for all others that
/// are not a SYN.
#[inline(always)]
pub const fn opens(flags: u8) -> Result<(), Reason> {
    if impossible(flags) {
        Err(Reason::IpHalfScan)
    } else if flags & (SYN | ACK) != SYN {
        Err(Reason::TcpNotSyn)
    } else {
        Ok(())
    }
}

/// Whether the connection's handshake is done, and segments are judged by their windows.
#[inline(always)]
const fn is_synchronized(state: State) -> bool {
    matches!(
        state,
        State::Established | State::FinWait | State::CloseWait | State::LastAck | State::TimeWait
    )
}

/// Takes in a segment that does nothing but move its connection on: it is inside the windows, the connection is
/// established, and no end is closing it or still being learnt about. `false`: it is not one of these, and nothing
/// was taken in. Nearly every segment is: [`judge`] and [`note`] say the same of it, and do so in more steps.
#[inline(always)]
pub const fn moves_on(flow: &mut Flow, direction: Direction, segment: &Segment) -> bool {
    let is_established = matches!(flow.state(), State::Established);
    if !is_established || segment.flags & (SYN | RST | FIN | ACK) != ACK || segment.is_partial {
        return false;
    }
    let (sender, receiver) = sides(&mut flow.halves, direction);
    if (sender.flags | receiver.flags) & (Half::LEARNING | Half::UNJUDGED | Half::FIN) != 0
        || !matches!(window::fault(sender, receiver, segment), Fault::None)
    {
        return false;
    }
    window::note(sender, segment);
    true
}

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

/// Whether both ends are known well enough for their segments to be judged.
#[inline(always)]
const fn are_judged(sender: &Half, receiver: &Half) -> bool {
    (sender.flags | receiver.flags) & (Half::LEARNING | Half::UNJUDGED) == 0
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

/// Whether a SYN with ACK that does not acknowledge the originator's SYN came before, see [`note_refused`].
#[inline(always)]
fn is_repeated_challenge(flow: &Flow, segment: &Segment) -> bool {
    let [_, reply] = &flow.halves;
    let is_bare = segment.end == segment.seq.wrapping_add(1);
    segment.flags & (SYN | ACK | RST) == SYN | ACK
        && is_bare
        && reply.flags & Half::ACKED != 0
        && reply.acked == segment.ack
}

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

/// Whether a segment of the responder answers one of the originator's SYNs.
#[inline(always)]
fn answers_a_syn(flow: &Flow, segment: &Segment) -> bool {
    acknowledges_syn(flow, segment) || flow.passed_syn.is_answered_by(segment, Direction::Reply)
}

/// Whether a segment of the responder acknowledges the originator's SYN, and no more than was sent with it.
#[inline(always)]
fn acknowledges_syn(flow: &Flow, segment: &Segment) -> bool {
    let [original, _] = &flow.halves;
    let [first, _] = flow.first_seq;
    segment.flags & ACK != 0 && !before(segment.ack, first) && !after(segment.ack, original.end)
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
    flow.tallies = [super::Tally::default(); 2];
    flow.flags &= !Flow::ADOPTED;
    note_first_syn(flow, &syn);
    note_answer(flow, answer);
    State::SynReceived
}

const NO_SCALE: u8 = crate::wire::NO_WINDOW_SCALE;

/// Combinations that RFC 9293 has no use for and port scanners like: all but those that the kernel's tracker
/// knows (`tcp_valid_flags` in `nf_conntrack_proto_tcp.c`). PSH and the ECN bits do not matter.
#[inline(always)]
const fn impossible(flags: u8) -> bool {
    const VALID: u64 = 1 << SYN
        | 1 << (SYN | URG)
        | 1 << (SYN | ACK)
        | 1 << RST
        | 1 << (RST | ACK)
        | 1 << (FIN | ACK)
        | 1 << (FIN | ACK | URG)
        | 1 << ACK
        | 1 << (ACK | URG);
    VALID >> (flags & (FIN | SYN | RST | ACK | URG)) & 1 == 0
}
