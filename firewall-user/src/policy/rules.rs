//! `[[rule]]`: which flows a rule speaks about, and what they get.

use std::collections::HashMap;

use firewall_common::policy::{Action, RULES_MAX};

use super::{
    PolicyRule,
    document::{self, Section, Span},
    error::{ProblemKind, Problems, quote},
    model::action_name,
    parse::{check_count, report},
    references::Scope,
    value,
};

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
        section.deny_unknown_keys(&["name", "action", "from", "to", "protocols"], problems);
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
