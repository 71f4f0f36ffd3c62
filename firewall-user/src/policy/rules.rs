//! `[[rule]]`: which flows a rule speaks about, and what they get.

use std::collections::HashMap;

use firewall_common::policy::{Action, RULES_MAX};

use super::{
    Network, PolicyRule,
    document::{self, Section, Span},
    error::{ProblemKind, Problems, quote},
    model::{ITSELF, action_name},
    network::{Reach, deny_interfaces},
    number::Number,
    parse::{check_count, report},
    references::Scope,
    tracker::{RULE_HALF_OPEN, RULE_NEW_PER_SECOND},
    value,
};

const KEYS: [&str; 9] = [
    "name",
    "action",
    "from",
    "to",
    "protocols",
    "interface",
    "log",
    RULE_HALF_OPEN.key,
    RULE_NEW_PER_SECOND.key,
];

/// The rules in the order of the file.
pub(super) fn rules(
    root: &Section<'_, '_>,
    scope: &Scope<'_>,
    networks: &[Network],
    problems: &mut Problems,
) -> Vec<PolicyRule> {
    let Some(value) = root.value("rule") else { return Vec::new() };
    let tables =
        document::array("rule", "a list of tables, each headed `[[rule]]`", value, problems);
    let tables = tables.unwrap_or_default();
    check_count("rules", RULES_MAX, tables.iter().map(|table| table.span()), problems);
    let reach = Reach::of(networks);
    let mut rows = Rows(0);
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut rules = Vec::new();
    for table in tables {
        let Some(section) = Section::new("[[rule]]".to_owned(), table, problems) else { continue };
        section.deny_unknown_keys(&KEYS, problems);
        let name = rule_name(&section, &mut names, problems);
        let actions = [Action::Allow, Action::Deny, Action::Reject];
        let actions = actions.map(|action| (action_name(action), action));
        let action = section
            .required("action", problems)
            .and_then(|value| document::choice("action", &actions, value, problems));
        let from = scope.networks.listed_or_any("from", &section, problems);
        let mut interfaces = scope.interfaces.names_or_any("interface", &section, problems);
        // It is the last that the scope knows.
        let itself = interfaces.pop_if(|last| last == ITSELF).is_some();
        let is_among = rules.len() < RULES_MAX;
        if let Some(count) = rows.grow_too_many(reach.sources(&from).rows())
            && is_among
        {
            report_rows(count, &section, problems);
        }
        rules.push(PolicyRule {
            name,
            action: action.unwrap_or(Action::Deny),
            from,
            to: destinations(&section, scope, networks, &reach, problems),
            protocols: scope.protocols.listed_or_any("protocols", &section, problems),
            interfaces,
            itself,
            log: section
                .value("log")
                .and_then(|value| document::boolean("log", value, problems))
                .unwrap_or(true),
            half_open_max: limit(&RULE_HALF_OPEN, &section, action, problems),
            new_per_second: limit(&RULE_NEW_PER_SECOND, &section, action, problems),
        });
    }
    rules
}

/// How many rules the classifier has so far: a rule of the file comes to one or two.
struct Rows(usize);

impl Rows {
    /// Adds those of a rule; how many there are, if by it they come to be too many.
    fn grow_too_many(&mut self, by: usize) -> Option<usize> {
        let before = self.0;
        self.0 += by;
        (before <= RULES_MAX && self.0 > RULES_MAX).then_some(self.0)
    }
}

/// Reports that there are too many rules where some count twice. Where they are too many as they stand in the file, that
/// was said before.
fn report_rows(count: usize, section: &Section<'_, '_>, problems: &mut Problems) {
    let kind = ProblemKind::TooMany { what: "rules, as far as this one", count, max: RULES_MAX };
    let help = "a rule counts twice if networks of its `from` have prefixes and others, or the same, have interfaces";
    problems.add(section.span.clone(), kind, Some(help.to_owned()));
}

/// The networks of which the destination must be in one: they have addresses alone.
fn destinations(
    section: &Section<'_, '_>,
    scope: &Scope<'_>,
    networks: &[Network],
    reach: &Reach<'_>,
    problems: &mut Problems,
) -> Vec<usize> {
    let to = scope.networks.listed_or_any("to", section, problems);
    let reason = "where a packet leaves is not known when it is judged";
    let help =
        "name the prefixes behind the interfaces in a network of their own, and that in `to`";
    deny_interfaces("to", &to, section, networks, reach, (reason, help), problems);
    to
}

fn rule_name<'a>(
    section: &Section<'a, '_>,
    names: &mut HashMap<&'a str, Span>,
    problems: &mut Problems,
) -> String {
    let Some(value) = section.required("name", problems) else { return String::new() };
    let Some(name) = document::string("name", value, problems) else { return String::new() };
    report(value::check_rule_name(name), &value.span(), problems);
    match names.get(name) {
        Some(first) => {
            let kind = ProblemKind::DuplicateRule { name: quote(name) };
            let help = "events name the rule that let a flow in, so each needs its own name";
            let first = (first.clone(), "first used here");
            problems.add_with(value.span(), kind, first, Some(help.to_owned()));
        }
        None => {
            names.insert(name, value.span());
        }
    }
    name.to_owned()
}

/// The limit that `number` describes; 0, no limit, if the rule has no such key.
fn limit(
    number: &Number,
    section: &Section<'_, '_>,
    action: Option<Action>,
    problems: &mut Problems,
) -> u32 {
    let limit = number.read(section, problems).unwrap_or(0);
    let refused = action.filter(|action| *action != Action::Allow);
    if let (Some(action), Some(value), 1..) = (refused, section.value(number.key), limit) {
        let (key, action) = (number.key, action_name(action));
        let help = format!("leave `{key}` out, or say `action = \"allow\"`");
        problems.add(value.span(), ProblemKind::LimitWithoutAllow { key, action }, Some(help));
    }
    limit
}
