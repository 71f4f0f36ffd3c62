//! What one policy says and another does not.
//!
//! Compared is what `fwx check -o json` shows of them: with names and defaults, and so that a key which policies learn
//! is compared without a word here.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::policy::Policy;

/// Most changes that people are shown.
const SHOWN_MAX: usize = 500;

/// The difference between two policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Rules that are new, gone, changed or in another place, in the order of the new policy; those that are gone
    /// come last.
    pub rules: Vec<RuleChange>,
    /// Everything else: `default`, `timeouts.udp`, `protocols.rtsp.filter`.
    pub settings: Vec<Change>,
}

/// A rule that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// Its name.
    pub rule: String,
    /// What became of it.
    pub change: Kind,
    /// Place among the rules before, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_before: Option<usize>,
    /// Place among the rules now, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
    /// What it says now and said before.
    pub keys: Vec<Change>,
    /// Live flows that it let in.
    pub flows: u64,
    /// Those of them that the new policy does not let in.
    pub not_admitted: u64,
    /// Live flows that it did not let in, and does now.
    pub gains: u64,
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It says something else.
    Changed,
    /// It says the same in another place.
    Moved,
}

/// A value that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Which, with dots between the names of what it lies in.
    pub key: String,
    /// What it was; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Diff {
    /// From `before` to `after`.
    pub fn between(before: &Policy, after: &Policy) -> Result<Self> {
        let values = [before, after].map(|policy| serde_json::to_value(policy.summary()));
        let [before, after] = values;
        let (mut before, mut after) = (named(before?), named(after?));
        let rules = [&mut before, &mut after].map(take_rules);
        let mut settings = Vec::new();
        compare("", Some(&before), Some(&after), &mut settings);
        Ok(Self { rules: rule_changes(&rules[0], &rules[1]), settings })
    }

    /// Whether the two say the same.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.settings.is_empty()
    }

    /// For people, a line for each change, and no more of them than they read.
    pub fn text(&self) -> String {
        let rules = self.rules.iter().map(RuleChange::text);
        let all = rules.chain(self.settings.iter().map(|change| format!("  {}\n", change.text())));
        let mut text: String = all.take(SHOWN_MAX).collect();
        let hidden = (self.rules.len() + self.settings.len()).saturating_sub(SHOWN_MAX);
        if hidden > 0 {
            text += &format!("  and {hidden} changes more, which -o json shows\n");
        }
        text
    }
}

impl RuleChange {
    fn text(&self) -> String {
        let (sign, place) = match self.change {
            Kind::Added => ('+', format!("as number {}", shown(self.place))),
            Kind::Removed => ('-', format!("was number {}", shown(self.place_before))),
            Kind::Changed => ('~', "changed".to_owned()),
            Kind::Moved => {
                let (from, to) = (shown(self.place_before), shown(self.place));
                ('~', format!("moved from number {from} to {to}"))
            }
        };
        let mut text = format!("{sign} rule {:?} {place}{}\n", self.rule, self.flows_text());
        for change in &self.keys {
            // Of a rule that is gone: what it said.
            let Change { key, before, .. } = change;
            text += &match (self.change, before) {
                (Kind::Removed, Some(said)) => format!("    {key}: {}\n", plain(said)),
                _ => format!("    {}\n", change.text()),
            };
        }
        text
    }

    fn flows_text(&self) -> String {
        let mut parts = Vec::new();
        if self.flows > 0 {
            parts.push(format!("live flows: {}", self.flows));
        }
        if self.not_admitted > 0 {
            parts.push(format!("no longer admitted: {}", self.not_admitted));
        }
        if self.gains > 0 {
            parts.push(format!("would let in {} of others", self.gains));
        }
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

impl Change {
    fn text(&self) -> String {
        let Self { key, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => format!("{key}: {} -> {}", plain(before), plain(after)),
            (None, Some(after)) => format!("{key}: {}", plain(after)),
            (Some(before), None) => format!("{key}: {} -> nothing", plain(before)),
            (None, None) => key.clone(),
        }
    }
}

fn shown(place: Option<usize>) -> usize {
    place.unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The rules of a policy, in their order.
type Rules = Vec<(String, Value)>;

/// Takes the rules out of a policy, which is left without them.
fn take_rules(policy: &mut Value) -> Rules {
    let rules = policy.as_object_mut().and_then(|policy| policy.remove("rules"));
    let Some(Value::Array(rules)) = rules else { return Vec::new() };
    rules
        .into_iter()
        .map(|mut rule| {
            let name = rule.as_object_mut().and_then(|rule| rule.remove("name"));
            (name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(), rule)
        })
        .collect()
}

/// Lists of what has a name become tables by that name, all but the rules: their order says nothing.
fn named(value: Value) -> Value {
    let Value::Object(sections) = value else { return value };
    let by_name = |value: Value| match value {
        Value::Array(items)
            if !items.is_empty() && items.iter().all(|it| it["name"].is_string()) =>
        {
            let entry = |mut item: Value| {
                let name = item.as_object_mut()?.remove("name")?;
                Some((name.as_str()?.to_owned(), item))
            };
            Value::Object(items.into_iter().filter_map(entry).collect())
        }
        other => other,
    };
    let turned = sections.into_iter().map(|(key, value)| match key.as_str() {
        "rules" => (key, value),
        _ => (key, by_name(value)),
    });
    Value::Object(turned.collect())
}

/// Notes what differs in two values that stand under `key`. What one side does not have at all is told as a whole.
fn compare(key: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let empty = Map::new();
    let table = |value: Option<&Value>| match value {
        Some(Value::Object(table)) => Some(table.clone()),
        // An empty list of what has a name.
        None => Some(empty.clone()),
        Some(Value::Array(items)) if items.is_empty() => Some(empty.clone()),
        _ => None,
    };
    let (Some(old), Some(new)) = (table(before), table(after)) else {
        let (before, after) = (before.cloned(), after.cloned());
        changes.push(Change { key: key.to_owned(), before, after });
        return;
    };
    if old.is_empty() && new.is_empty() {
        return;
    }
    let keys: BTreeMap<&String, ()> = old.keys().chain(new.keys()).map(|key| (key, ())).collect();
    for name in keys.into_keys() {
        let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        compare(&inner, old.get(name), new.get(name), changes);
    }
}

fn rule_changes(before: &Rules, after: &Rules) -> Vec<RuleChange> {
    let places: HashMap<&str, usize> =
        before.iter().enumerate().map(|(place, (name, _))| (name.as_str(), place)).collect();
    let kept: Vec<usize> =
        after.iter().filter_map(|(name, _)| places.get(name.as_str()).copied()).collect();
    let in_order = longest_rising(&kept);
    let mut changes = Vec::new();
    for (place, (name, rule)) in after.iter().enumerate() {
        let old = places.get(name.as_str()).copied();
        let mut keys = Vec::new();
        compare(
            "",
            old.and_then(|old| before.get(old)).map(|(_, rule)| rule),
            Some(rule),
            &mut keys,
        );
        let change = match old {
            None => Kind::Added,
            Some(_) if !keys.is_empty() => Kind::Changed,
            Some(old) if !in_order.contains(&old) => Kind::Moved,
            Some(_) => continue,
        };
        changes.push(RuleChange {
            place_before: old.map(|old| old + 1),
            place: Some(place + 1),
            ..RuleChange::of(name, change, keys)
        });
    }
    let now: HashMap<&str, ()> = after.iter().map(|(name, _)| (name.as_str(), ())).collect();
    for (place, (name, rule)) in before.iter().enumerate() {
        if !now.contains_key(name.as_str()) {
            let mut keys = Vec::new();
            compare("", Some(rule), None, &mut keys);
            let removed = RuleChange::of(name, Kind::Removed, keys);
            changes.push(RuleChange { place_before: Some(place + 1), ..removed });
        }
    }
    changes
}

impl RuleChange {
    fn of(name: &str, change: Kind, keys: Vec<Change>) -> Self {
        Self {
            rule: name.to_owned(),
            change,
            place_before: None,
            place: None,
            keys,
            flows: 0,
            not_admitted: 0,
            gains: 0,
        }
    }
}

/// As many of `places` as stand in their order: what is left of them was moved. (Longest increasing subsequence, by
/// Schensted's piles.)
fn longest_rising(places: &[usize]) -> std::collections::HashSet<usize> {
    // By length of a sequence: where the lowest of its ends stands. And before each place the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; places.len()];
    for (at, place) in places.iter().enumerate() {
        let length = ends.partition_point(|end| places[*end] < *place);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut next = ends.last().copied();
    let mut rising = std::collections::HashSet::new();
    while let Some(at) = next {
        rising.insert(places[at]);
        next = before[at];
    }
    rising
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[gateway]\ninterfaces = ['lan0']\n[network.lan]\nprefixes = ['10.1.0.0/24']\n\
                        [protocol.web]\ntransport = 'tcp'\nports = [80]\n";

    fn policy(rules: &[(&str, &str)], more: &str) -> Policy {
        let rules = rules.iter().map(|(name, rest)| format!("[[rule]]\nname = '{name}'\n{rest}\n"));
        Policy::parse("p", &(BASE.to_owned() + more + &rules.collect::<String>())).unwrap()
    }

    fn between(before: &Policy, after: &Policy) -> Diff {
        Diff::between(before, after).unwrap()
    }

    fn rules(diff: &Diff) -> Vec<(&str, Kind)> {
        diff.rules.iter().map(|change| (change.rule.as_str(), change.change)).collect()
    }

    const ALLOW: &str = "action = 'allow'";

    #[test]
    fn the_same_policy_differs_in_nothing() {
        let policy = policy(&[("a", ALLOW), ("b", ALLOW)], "");
        assert!(between(&policy, &policy).is_empty());
    }

    #[test]
    fn rules_come_go_change_and_move() {
        let before = policy(&[("a", ALLOW), ("b", ALLOW), ("c", ALLOW), ("d", ALLOW)], "");
        let changed = "action = 'deny'\nfrom = ['lan']\nprotocols = ['web']";
        let after = policy(&[("d", ALLOW), ("a", ALLOW), ("new", ALLOW), ("b", changed)], "");
        let diff = between(&before, &after);
        assert_eq!(
            rules(&diff),
            [("d", Kind::Moved), ("new", Kind::Added), ("b", Kind::Changed), ("c", Kind::Removed)]
        );
        assert_eq!((diff.rules[0].place_before, diff.rules[0].place), (Some(4), Some(1)));
        let text = diff.text();
        for line in [
            "~ rule \"d\" moved from number 4 to 1\n",
            "+ rule \"new\" as number 3\n    action: allow\n",
            "    action: allow -> deny\n    from: lan\n    protocols: web\n",
            "- rule \"c\" was number 3\n    action: allow\n",
        ] {
            assert!(text.contains(line), "{line}in\n{text}");
        }
        assert!(diff.settings.is_empty(), "{:?}", diff.settings);
    }

    #[test]
    fn what_is_no_rule_is_told_by_its_keys() {
        let before = policy(&[], "[timeouts]\nudp = '20s'\n");
        let after = "[timeouts]\nudp = '40s'\n[limits]\nhalf_open_per_source = 7\n[filter.smtp]\nmode = \
                     'enforce'\n[network.dmz]\nprefixes = ['10.9.0.0/24']\n";
        let after = policy(&[], after);
        let diff = between(&before, &after);
        let told: Vec<_> = diff.settings.iter().map(Change::text).collect();
        assert_eq!(
            told,
            [
                "filters.smtp.mode: monitor -> enforce",
                "limits.half_open_per_source: 0 -> 7",
                "networks.dmz.prefixes: 10.9.0.0/24",
                "timeouts.udp: 20 -> 40"
            ]
        );
        assert!(diff.rules.is_empty());
    }

    #[test]
    fn people_are_not_flooded() {
        let rules = (0..SHOWN_MAX + 7).map(|rule| format!("[[rule]]\nname = '{rule}'\n{ALLOW}\n"));
        let after = Policy::parse("p", &(BASE.to_owned() + &rules.collect::<String>())).unwrap();
        let text = between(&policy(&[], ""), &after).text();
        assert_eq!(text.matches("+ rule").count(), SHOWN_MAX);
        assert!(text.ends_with("  and 7 changes more, which -o json shows\n"));
    }

    #[test]
    fn no_more_rules_than_necessary_count_as_moved() {
        for (places, in_order) in [
            (&[0, 1, 2, 3][..], 4),
            (&[3, 0, 1, 2], 3),
            (&[1, 2, 3, 0], 3),
            (&[3, 2, 1, 0], 1),
            (&[2, 0, 3, 1, 4], 3),
            (&[], 0),
        ] {
            assert_eq!(longest_rising(places).len(), in_order, "{places:?}");
        }
    }
}
