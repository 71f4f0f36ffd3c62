//! The TCP state machine of an observer between the ends (RFC 9293 §3.3.2, RFC 5961).
//!
//! [`judge`] says whether a segment passes and changes nothing; [`note`] takes in what a segment says that
//! passed, and returns the flow's next state. [`moves_on`] does both for nearly every segment.

mod judge;
mod note;

use bytemuck::{Pod, Zeroable};

use super::{
    Direction, Flow, Half, State,
    window::{self, Fault, Segment, after, before, sides},
};
use crate::{reason::Reason, wire::tcp_flags::*};

pub use judge::{expected, judge};
pub use note::{note, note_first_syn, note_refused, renew, renewed_by};

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

/// Whether both ends are known well enough for their segments to be judged.
#[inline(always)]
const fn are_judged(sender: &Half, receiver: &Half) -> bool {
    (sender.flags | receiver.flags) & (Half::LEARNING | Half::UNJUDGED) == 0
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
