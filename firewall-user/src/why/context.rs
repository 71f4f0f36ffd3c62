//! What is known beside events.

use std::collections::BTreeMap;

use crate::{conn::Row, policy::Policy, rules::Rule, status::FilterStatus};

/// What is known beside events. What is `None` was not looked at.
#[derive(Debug, Default)]
pub struct Context {
    /// The instance that commands have to name; `None`: the one that is meant without a name.
    pub instance: Option<String>,
    /// Where the events come from.
    pub origin: Origin,
    /// The filters' bindings as they are now.
    pub bindings: Option<Vec<FilterStatus>>,
    /// Connections that live now. Those that are not asked about may be among them.
    pub flows: Option<Vec<Row>>,
    /// What the rules did.
    pub rules: Option<Vec<Rule>>,
    /// The policy in force.
    pub policy: Option<Policy>,
    /// The file it came from.
    pub policy_file: Option<String>,
    /// Exact counters by the names of reasons, since the firewall was brought up.
    pub counters: Option<BTreeMap<String, u64>>,
    /// In sentences, what could not be looked at and why.
    pub missing: Vec<String>,
    /// Show each event.
    pub all: bool,
}

impl Context {
    /// Says that something could not be looked at, once however often that is found.
    pub fn miss(&mut self, sentence: String) {
        if !self.missing.contains(&sentence) {
            self.missing.push(sentence);
        }
    }
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The controller's memory and store.
    Controller,
    /// The store alone: no controller runs.
    Disk,
    /// A file of this name.
    File(String),
}

impl Default for Origin {
    fn default() -> Self {
        Self::File("-".to_owned())
    }
}
