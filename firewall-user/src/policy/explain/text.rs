//! An explanation for people.

use std::fmt::Write as _;

use super::{Explanation, PassedOver, RuleName};
use crate::policy::error::quote;

/// Most rules that are shown of those that do not match: the nearest misses.
const SHOWN_MAX: usize = 8;

impl Explanation {
    /// For people: the decision, why, and the rules that nearly matched.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}", self.flow, self.decision);
        if let Some(rule) = &self.rule {
            text += &format!(", by rule {}", described(rule));
        }
        text.push('\n');
        for why in &self.why {
            line(&mut text, why);
        }
        if let Some(protocol) = &self.protocol {
            let reader = match &self.filter {
                None => "no filter reads it".to_owned(),
                Some(filter) if filter.mode == "off" => {
                    format!("filter {} is bound to it and off", filter.name)
                }
                Some(filter) => {
                    let (name, mode, profile) = (filter.name, filter.mode, filter.profile);
                    format!("filter {name} reads it, mode {mode}, profile {profile}")
                }
            };
            line(&mut text, &format!("protocol {}: {reader}", quote(protocol)));
        }
        for (limit, of_what) in [
            (self.half_open, "flows without an answer at a time"),
            (self.new_per_second, "new flows a second"),
        ] {
            if let Some(limit) = limit {
                line(&mut text, &format!("the rule lets in {limit} {of_what} at most"));
            }
        }
        if !self.log {
            line(&mut text, "the rule is quiet: what it decides is counted and makes no events");
        }
        self.write_passed_over(&mut text);
        text
    }

    fn write_passed_over(&self, text: &mut String) {
        let mut nearest: Vec<&PassedOver> = self.passed_over.iter().collect();
        // Of those that miss by as much, the one that comes first in the policy.
        nearest.sort_by_key(|passed| passed.because.len());
        if !nearest.is_empty() {
            text.push_str("rules tried before, which do not match; the nearest first:\n");
        }
        for PassedOver { rule, because } in nearest.iter().take(SHOWN_MAX) {
            line(text, &format!("{}, {}", described(rule), rule.action));
            for mismatch in because {
                line(text, &format!("  {}: {}", mismatch.key, mismatch.message));
            }
        }
        if let Some(more @ 1..) = nearest.len().checked_sub(SHOWN_MAX) {
            line(text, &format!("and {more} more: `-o json` has all of them"));
        }
    }
}

fn described(rule: &RuleName) -> String {
    let mut text = quote(&rule.name);
    if let Some(place) = &rule.place {
        let _ = write!(text, " ({place})");
    }
    text
}

fn line(text: &mut String, indented: &str) {
    text.push_str("  ");
    text.push_str(indented);
    text.push('\n');
}
