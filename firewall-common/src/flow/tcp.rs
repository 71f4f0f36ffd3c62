//! The TCP state machine of an observer between the ends (RFC 9293 §3.3.2).
//!
//! It follows flags only. Sequence numbers are not yet judged.

use super::{Direction, State};
use crate::{reason::Reason, wire::tcp_flags::*};

/// The flags that decide; PSH, URG and the ECN bits do not.
const DECIDING: u8 = SYN | ACK | FIN | RST;

/// What a segment does to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The segment passes and the flow is in this state.
    To(State),
    /// The segment begins a new flow in place of this one, which is over.
    Reopen,
    /// The segment is refused and the flow stays as it was.
    Refuse(Reason),
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
    } else if flags & DECIDING != SYN {
        Err(Reason::TcpNotSyn)
    } else {
        Ok(())
    }
}

/// What a segment with `flags`, going in `direction`, does to a flow in `state`.
#[inline(always)]
pub const fn advance(state: State, direction: Direction, flags: u8) -> Step {
    if impossible(flags) {
        return Step::Refuse(Reason::IpHalfScan);
    }
    let syn = flags & SYN != 0;
    let ack = flags & ACK != 0;
    if state.is_over() {
        return over(state, syn && !ack, flags);
    }
    if flags & RST != 0 {
        return Step::To(State::Closed);
    }
    match (state, direction) {
        (State::SynSent, Direction::Original) if syn && !ack => Step::To(State::SynSent),
        (State::SynSent, Direction::Reply) if syn && ack => Step::To(State::SynReceived),
        // Simultaneous open: both SYNs crossed, each end will answer with SYN and ACK.
        (State::SynSent, Direction::Reply) if syn => Step::To(State::SynReceived),
        // The responder still has a connection of the same ports and challenges the SYN; its ACK makes the
        // originator send the RST that clears the way (RFC 9293 §3.5.1, RFC 5961 §4).
        (State::SynSent, Direction::Reply) => Step::To(State::SynSent),
        (State::SynSent, _) => Step::Refuse(Reason::SeqAckMismatch),
        // The responder repeats its answer, or the originator its SYN.
        (State::SynReceived, _) if syn => Step::To(State::SynReceived),
        (State::SynReceived, Direction::Original) if ack => {
            closing(State::Established, direction, flags)
        }
        // The responder may speak before the handshake's last ACK reaches us.
        (State::SynReceived, _) => Step::To(State::SynReceived),
        // A SYN here is answered by a challenge ACK (RFC 5961 §4); it changes nothing.
        (_, _) if syn => Step::To(state),
        (_, _) => closing(state, direction, flags),
    }
}

/// The state after a segment on a flow whose handshake is complete.
#[inline(always)]
const fn closing(state: State, direction: Direction, flags: u8) -> Step {
    if flags & FIN == 0 {
        return Step::To(state);
    }
    Step::To(match (state, direction) {
        (State::Established, Direction::Original) => State::FinWait,
        (State::Established, Direction::Reply) => State::CloseWait,
        (State::FinWait, Direction::Reply) | (State::CloseWait, Direction::Original) => {
            State::TimeWait
        }
        (other, _) => other,
    })
}

/// A segment on a flow that is over.
#[inline(always)]
const fn over(state: State, opens: bool, flags: u8) -> Step {
    match state {
        _ if opens => Step::Reopen,
        // The ends still acknowledge each other's FIN and repeat what was lost.
        State::TimeWait if flags & SYN == 0 => Step::To(State::TimeWait),
        // A second RST, or the ACK that crossed the first.
        State::Closed if flags & SYN == 0 => Step::To(State::Closed),
        // The ends' own farewell, and what a kill sends them where another hook sees it again.
        State::Killed if flags & RST != 0 => Step::To(State::Killed),
        _ => Step::Refuse(Reason::TcpNotSyn),
    }
}

/// Combinations that RFC 9293 has no use for and port scanners like.
#[inline(always)]
const fn impossible(flags: u8) -> bool {
    let deciding = flags & DECIDING;
    deciding & (SYN | FIN) == SYN | FIN
        || deciding & (SYN | RST) == SYN | RST
        || deciding & (FIN | RST) == FIN | RST
        // Every segment but the first carries an ACK, a RST to a SYN excepted.
        || deciding == 0
        || deciding == FIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};
    use State::*;

    /// Runs a conversation and returns the states it went through.
    fn walk(from: State, segments: &[(Direction, u8)]) -> Vec<State> {
        let mut state = from;
        segments
            .iter()
            .map(|(direction, flags)| {
                match advance(state, *direction, *flags) {
                    Step::To(next) => state = next,
                    other => panic!("{state:?} {direction:?} {flags:#04x}: {other:?}"),
                }
                state
            })
            .collect()
    }

    #[test]
    fn a_connection_from_syn_to_time_wait() {
        let states = walk(
            SynSent,
            &[
                (Reply, SYN | ACK),
                (Original, ACK),
                (Original, PSH | ACK),
                (Reply, ACK),
                (Original, FIN | ACK),
                (Reply, ACK),
                (Reply, FIN | ACK),
                (Original, ACK),
            ],
        );
        assert_eq!(
            states,
            [
                SynReceived,
                Established,
                Established,
                Established,
                FinWait,
                FinWait,
                TimeWait,
                TimeWait
            ]
        );
    }

    #[test]
    fn the_responder_may_close_first() {
        let states = walk(Established, &[(Reply, FIN | ACK), (Original, FIN | ACK)]);
        assert_eq!(states, [CloseWait, TimeWait]);
    }

    #[test]
    fn only_a_syn_opens() {
        for flags in 0..=255u8 {
            let expected = if flags & DECIDING == SYN {
                Ok(())
            } else if impossible(flags) {
                Err(Reason::IpHalfScan)
            } else {
                Err(Reason::TcpNotSyn)
            };
            assert_eq!(opens(flags), expected, "{flags:#04x}");
        }
        assert_eq!(opens(SYN | ECE | CWR), Ok(()), "ECN setup, RFC 3168 §6.1.1");
    }

    #[test]
    fn a_syn_on_an_established_flow_changes_nothing() {
        assert_eq!(advance(Established, Original, SYN), Step::To(Established));
    }

    #[test]
    fn a_flow_that_is_over_reopens_with_a_syn_only() {
        for state in [TimeWait, Closed, Killed] {
            assert_eq!(advance(state, Original, SYN), Step::Reopen);
        }
        assert_eq!(advance(Killed, Original, PSH | ACK), Step::Refuse(Reason::TcpNotSyn));
        assert_eq!(advance(Killed, Reply, RST), Step::To(Killed));
    }

    #[test]
    fn a_challenge_to_a_syn_passes() {
        assert_eq!(advance(SynSent, Reply, ACK), Step::To(SynSent));
    }

    #[test]
    fn data_before_the_answer_is_refused() {
        assert_eq!(advance(SynSent, Original, PSH | ACK), Step::Refuse(Reason::SeqAckMismatch));
    }

    #[test]
    fn no_state_and_no_flags_panic() {
        for raw in 0..=255 {
            for flags in 0..=255 {
                for direction in [Original, Reply] {
                    let _ = advance(State::from_raw(raw), direction, flags);
                }
            }
        }
    }
}
