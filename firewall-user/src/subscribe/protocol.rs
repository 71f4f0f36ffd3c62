//! What the two ends of the socket say to each other. docs/events.md tells it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{events::Criteria, export::ExportStatus};

/// What a subscriber wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Go on with events as they come.
    pub follow: bool,
    /// Only so many of the events that are kept: the last ones.
    pub last: Option<usize>,
    /// Only events of which this holds: what the options of `fwx events` with these names say.
    #[serde(rename = "where")]
    pub criteria: Criteria,
    /// With each event the packet behind it, if there is one.
    pub packets: bool,
    /// Not to get events but to hand them over: one line each follows, as they are served, up to the end of what
    /// is sent. The answer is one line that says how many were published.
    pub publish: bool,
    /// Not to get events but to be told how the exports are doing, in one line.
    pub exports: bool,
}

/// Longest line that the controller reads, in bytes with its newline.
pub(super) const LINE_MAX: u64 = 16_384;
/// Most values that all criteria of a request may have together: each event is held against them.
pub(super) const VALUES_MAX: usize = 64;
/// How long a subscriber may take to say what it wants.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a subscriber may take nothing of what there is for it.
pub(super) const STALLED_TIMEOUT: Duration = Duration::from_secs(600);

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Answer {
    /// Events were taken over.
    Published {
        /// How many were published.
        published: u64,
    },
    /// How the exports are doing.
    Exports {
        /// Those that run, in the order of the policy.
        exports: Vec<ExportStatus>,
    },
    /// It was not done what the request says, or not all of it. Nothing follows.
    Refused {
        /// Why, a sentence.
        error: String,
    },
}
