//! `[[rule]]`: which flows a rule speaks about, and what they get.

use std::collections::HashMap;

use firewall_common::policy::{Action, RULES_MAX};

use super::{
    PolicyRule,
    document::{self, Section, Span},
    error::{ProblemKind, Problems, quote},
    model::action_name,
    number::Number,
    parse::{check_count, report},
    references::Scope,
    tracker::{RULE_HALF_OPEN, RULE_NEW_PER_SECOND},
    value,
};

const KEYS: [&str; 7] =
    ["name", "action", "from", "to", "protocols", RULE_HALF_OPEN.key, RULE_NEW_PER_SECOND.key];

/// The rules in the order of the file.
pub(super) fn rules(
    root: &Section<'_, '_>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Vec<PolicyRule> {
    let Some(value) = root.value("rule") else { return Vec::new() };
    let tables =
        document::array("rule", "a list of tables, each headed `[[rule]]`", value, problems);
    let tables = tables.unwrap_or_default();
    check_count("rules", RULES_MAX, tables.iter().map(|table| table.span()), problems);
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
        rules.push(PolicyRule {
            name,
            action: action.unwrap_or(Action::Deny),
            from: scope.networks.listed_or_any("from", &section, problems),
            to: scope.networks.listed_or_any("to", &section, problems),
            protocols: scope.protocols.listed_or_any("protocols", &section, problems),
            half_open_max: limit(&RULE_HALF_OPEN, &section, action, problems),
            new_per_second: limit(&RULE_NEW_PER_SECOND, &section, action, problems),
        });
    }
    rules
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
