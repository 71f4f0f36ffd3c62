//! What must become of a packet.

use std::fmt;

use firewall_common::{flow::State, layout::Verdict, reason::Reason};
use firewall_user::replay::Outcome;

/// Verdict, reason and the state of the flow afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    verdict: Verdict,
    reason: Reason,
    state: State,
}

/// It goes on its way, and its flow is in `state` then.
pub fn passes(state: State) -> Expected {
    Expected { verdict: Verdict::Pass, reason: Reason::None, state }
}

/// It is dropped for `reason` and belongs to no flow.
pub fn drops(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Drop, reason, state: State::None }
}

/// It becomes a RST for `reason` and belongs to no flow.
pub fn resets(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Reset, reason, state: State::None }
}

/// It becomes an ICMP error to its sender for `reason` and belongs to no flow.
pub fn rejects(reason: Reason) -> Expected {
    Expected { verdict: Verdict::Reject, reason, state: State::None }
}

impl Expected {
    /// The same for a packet of a flow that is in `state`.
    #[must_use]
    pub fn in_state(self, state: State) -> Self {
        Self { state, ..self }
    }
}

impl From<&Outcome> for Expected {
    fn from(outcome: &Outcome) -> Self {
        Self { verdict: outcome.verdict, reason: outcome.reason, state: outcome.state }
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verdict, reason, state } = self;
        write!(f, "{} {} {}", verdict.name(), reason.name(), state.name())
    }
}
