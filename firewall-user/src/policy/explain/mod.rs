//! Which rule decides about a flow, and why the others do not.

mod before;
mod conditions;
mod membership;
mod probe;
mod text;

use serde::Serialize;

pub use self::probe::{BadProbe, Probe};
use self::{
    before::{Before, before_rules},
    conditions::{conditions, is_of, service},
};
use super::{Place, Policy, PolicyRule, error::quote, model::action_name};

/// What becomes of the first packet of a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The flow as it was understood.
    pub flow: String,
    /// `"allow"`, `"deny"` or `"reject"` by a rule or the default; `"pass"` or `"drop"` where neither is asked.
    pub decision: &'static str,
    /// Why, in sentences.
    pub why: Vec<String>,
    /// The rule that decides; `None`: the default does, or something before the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleName>,
    /// Most flows without an answer at a time that the rule lets in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open: Option<u32>,
    /// Most new flows a second that the rule lets in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_per_second: Option<u32>,
    /// Whether what the rule decides makes events; left out: yes.
    #[serde(skip_serializing_if = "is_true")]
    pub log: bool,
    /// The protocol of the policy that the flow belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The filter that is bound to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterName>,
    /// The rules before the one that decides, in the order of the policy: none of them matches.
    pub passed_over: Vec<PassedOver>,
}

/// A rule and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleName {
    /// Its name.
    pub name: String,
    /// What it does with what it matches.
    pub action: &'static str,
    /// Where it stands.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A filter and how it behaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterName {
    /// Its name.
    pub name: &'static str,
    /// Its mode.
    pub mode: &'static str,
    /// Its profile.
    pub profile: &'static str,
}

/// A rule that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleName,
    /// What does not match; at least one.
    pub because: Vec<Mismatch>,
}

/// A key of a rule that the flow does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The key.
    pub key: &'static str,
    /// In a sentence, what does not fit.
    pub message: String,
}

impl Policy {
    /// What becomes of the first packet of a flow. `places` are those of the rules, as
    /// [`Checked::rule_places`](super::Checked::rule_places) has them, or none.
    pub fn explain(&self, probe: &Probe, places: &[Place]) -> Explanation {
        let mut explanation = Explanation {
            flow: probe.to_string(),
            decision: action_name(self.default_action),
            why: Vec::new(),
            rule: None,
            half_open: None,
            new_per_second: None,
            log: true,
            protocol: None,
            filter: None,
            passed_over: Vec::new(),
        };
        match before_rules(self, probe) {
            Before::Decided(decision, why) => {
                explanation.decision = decision;
                explanation.why.push(why);
                return explanation;
            }
            Before::Rules(notes) => explanation.why = notes,
        }
        self.explain_rules(probe, places, &mut explanation);
        self.explain_protocol(probe, &mut explanation);
        explanation
    }

    fn explain_rules(&self, probe: &Probe, places: &[Place], explanation: &mut Explanation) {
        // The first rule that might match, if it had been said where the flow comes from.
        let mut undecided = None;
        let mut decides = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let name = RuleName {
                name: rule.name.clone(),
                action: action_name(rule.action),
                place: places.get(index).cloned(),
            };
            let mut conditions = conditions(self, rule, probe);
            if conditions.iter().all(|condition| condition.holds) {
                explanation.decide(rule, name);
                let says = conditions.into_iter().map(|condition| condition.says);
                decides = Some(says.collect::<Vec<_>>());
                break;
            }
            conditions.retain(|condition| !condition.holds);
            if undecided.is_none() && conditions.iter().all(|it| it.lacks_interface) {
                undecided = Some(&rule.name);
            }
            let because =
                conditions.into_iter().map(|it| Mismatch { key: it.key, message: it.says });
            let because = because.collect();
            explanation.passed_over.push(PassedOver { rule: name, because });
        }
        explanation.why.extend(match decides {
            Some(says) if says.is_empty() => {
                vec!["the rule asks for nothing, so it matches every flow".to_owned()]
            }
            Some(says) => says,
            None => vec![self.default_decides()],
        });
        if let Some(rule) = undecided {
            explanation.why.push(format!(
                "but rule {} asks where the flow comes from, which is not said: add `on INTERFACE`, or `on self`",
                quote(rule)
            ));
        }
    }

    fn default_decides(&self) -> String {
        let none =
            if self.rules.is_empty() { "the policy has no rules" } else { "no rule matches" };
        let default = action_name(self.default_action);
        format!("{none}, so the default decides: {default}")
    }

    fn explain_protocol(&self, probe: &Probe, explanation: &mut Explanation) {
        let Some(protocol) = self.protocols.iter().find(|protocol| is_of(protocol, probe)) else {
            let why = format!(
                "{} belongs to no protocol of the policy, so no filter reads it",
                service(probe)
            );
            explanation.why.push(why);
            return;
        };
        explanation.protocol = Some(protocol.name.clone());
        explanation.filter = self.settings_of(protocol).map(|settings| FilterName {
            name: settings.filter.name(),
            mode: settings.mode.name(),
            profile: settings.profile.name(),
        });
    }
}

impl Explanation {
    fn decide(&mut self, rule: &PolicyRule, name: RuleName) {
        self.decision = name.action;
        self.half_open = (rule.half_open_max != 0).then_some(rule.half_open_max);
        self.new_per_second = (rule.new_per_second != 0).then_some(rule.new_per_second);
        self.log = rule.log;
        self.rule = Some(name);
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}
