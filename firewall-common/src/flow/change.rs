//! What others are told of a flow that moves from one state to the next by what its own ends say.

use super::State;
use crate::{event::EventKind, reason::Reason};

/// A flow's beginning or its end.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It got its answer.
    Opened = 1,
    /// Both ends closed it.
    Closed = 2,
    /// One of its ends reset it.
    Reset = 3,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 3] = [Self::Opened, Self::Closed, Self::Reset];

    /// What there is to tell of the step from one state to another; `None`: nothing.
    #[inline(always)]
    pub const fn between(before: State, next: State) -> Option<Self> {
        match next {
            State::Closed => Some(Self::Reset),
            State::TimeWait => Some(Self::Closed),
            _ if before.is_half_open() && next.is_completed() => Some(Self::Opened),
            _ => None,
        }
    }

    /// The change that `raw` stands for.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            1 => Some(Self::Opened),
            2 => Some(Self::Closed),
            3 => Some(Self::Reset),
            _ => None,
        }
    }

    /// The event that tells of it, and its reason.
    #[inline(always)]
    pub const fn event(self) -> (EventKind, Reason) {
        match self {
            Self::Opened => (EventKind::ConnectionOpened, Reason::None),
            Self::Closed => (EventKind::ConnectionClosed, Reason::GracefulShutdown),
            Self::Reset => (EventKind::ConnectionClosed, Reason::AbortiveShutdown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_opens_with_its_answer_and_closes_with_its_last_word() {
        for (before, next, change) in [
            (State::SynSent, State::SynReceived, None),
            (State::SynReceived, State::Established, Some(Change::Opened)),
            (State::Unreplied, State::Assured, Some(Change::Opened)),
            (State::Established, State::FinWait, None),
            (State::LastAck, State::TimeWait, Some(Change::Closed)),
            (State::SynSent, State::Closed, Some(Change::Reset)),
            (State::Established, State::Closed, Some(Change::Reset)),
        ] {
            assert_eq!(Change::between(before, next), change, "{before:?} to {next:?}");
        }
    }

    #[test]
    fn a_change_comes_back_from_its_number() {
        for change in Change::ALL {
            assert_eq!(Change::from_raw(change as u8), Some(change));
        }
        assert_eq!(Change::from_raw(0), None);
    }
}
