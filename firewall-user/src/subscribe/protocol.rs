//! What the two ends of the socket say to each other.

use serde::{Deserialize, Serialize};

use crate::events::Criteria;

/// What a subscriber wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Go on with events as they come.
    pub follow: bool,
    /// Only so many of the events that are kept: the last ones.
    pub last: Option<usize>,
    /// Only events of which this holds.
    #[serde(rename = "where")]
    pub criteria: Criteria,
    /// With each event the packet behind it, if there is one.
    pub packets: bool,
    /// Not to get events but to hand them over: one line each follows, as they are served, up to the end of what
    /// is sent. The answer is one line that says how many were published.
    pub publish: bool,
}

/// The one line that is no event: why there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// What is wrong, a sentence.
    pub(super) error: String,
}
