//! Which rule decides about a flow, and why the others do not.

mod conditions;
mod probe;
mod text;

use firewall_common::wire::ip_protocol;
use serde::Serialize;

use self::conditions::{conditions, is_of, service};
pub use self::probe::{BadProbe, Probe};
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
            protocol: None,
            filter: None,
            passed_over: Vec::new(),
        };
        if let Some((decision, why)) = self.before_rules(probe) {
            explanation.decision = decision;
            explanation.why.push(why);
            return explanation;
        }
        self.explain_rules(probe, places, &mut explanation);
        self.explain_protocol(probe, &mut explanation);
        explanation
    }

    /// What is decided without a look at the rules.
    fn before_rules(&self, probe: &Probe) -> Option<(&'static str, String)> {
        if let Some(name) = &probe.interface
            && !self.interfaces.is_empty()
            && !self.interfaces.contains(name)
        {
            let why = format!("the policy does not name the interface {}", quote(name));
            return Some(("pass", why + ": what comes in by it is not looked at"));
        }
        let (icmp, icmpv6) =
            (probe.protocol == ip_protocol::ICMP, probe.protocol == ip_protocol::ICMPV6);
        match probe.icmp_type {
            130..=137 | 143 if icmpv6 => {
                let why = "neighbour and multicast listener discovery pass, whatever the rules say";
                Some(("pass", why.to_owned()))
            }
            _ if probe.source == probe.destination => {
                Some(("drop", "its source is its destination (LAND_ATTACK)".to_owned()))
            }
            3 | 11 | 12 if icmp => Some(related("quotes a packet of a known flow")),
            1..=4 if icmpv6 => Some(related("quotes a packet of a known flow")),
            0 if icmp => Some(related("answers a request that passed")),
            129 if icmpv6 => Some(related("answers a request that passed")),
            _ => None,
        }
    }

    fn explain_rules(&self, probe: &Probe, places: &[Place], explanation: &mut Explanation) {
        for (index, rule) in self.rules.iter().enumerate() {
            let name = || RuleName {
                name: rule.name.clone(),
                action: action_name(rule.action),
                place: places.get(index).cloned(),
            };
            let conditions = conditions(self, rule, probe);
            if conditions.iter().all(|condition| condition.holds) {
                explanation.decide(rule, name());
                explanation.why.extend(conditions.into_iter().map(|condition| condition.says));
                if explanation.why.is_empty() {
                    explanation
                        .why
                        .push("the rule asks for nothing, so it matches every flow".to_owned());
                }
                return;
            }
            let because = conditions.into_iter().filter(|condition| !condition.holds);
            let because = because.map(|it| Mismatch { key: it.key, message: it.says }).collect();
            explanation.passed_over.push(PassedOver { rule: name(), because });
        }
        let none =
            if self.rules.is_empty() { "the policy has no rules" } else { "no rule matches" };
        let default = action_name(self.default_action);
        explanation.why.push(format!("{none}, so the default decides: {default}"));
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
        let settings = protocol.filter.and_then(|filter| self.filter_settings(filter));
        explanation.filter = settings.map(|settings| FilterName {
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
        self.rule = Some(name);
    }
}

fn related(to_what: &str) -> (&'static str, String) {
    (
        "drop",
        format!(
            "it begins no flow: it passes if it {to_what}, and is dropped otherwise; rules are not asked"
        ),
    )
}
