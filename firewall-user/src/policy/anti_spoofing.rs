//! `[anti_spoofing]`: which sources may come in by which interface.

use firewall_common::{classifier::INTERFACES_LISTED_MAX, policy::AntiSpoofing};

use super::{
    Network, SourceChecks, SourceList,
    document::{self, Section},
    error::{ProblemKind, Problems, quote},
    network::{Reach, deny_interfaces},
    parse::check_count,
    references::KnownNames,
};

/// How sources are checked. `interfaces` are those of the policy.
pub(super) fn anti_spoofing(
    root: &Section<'_, '_>,
    interfaces: &[String],
    known: &KnownNames<'_>,
    networks: &[Network],
    problems: &mut Problems,
) -> SourceChecks {
    let Some(section) = root.section("anti_spoofing", problems) else {
        return SourceChecks::default();
    };
    section.deny_unknown_keys(&["mode", "sources"], problems);
    let choices = AntiSpoofing::ALL.map(|choice| (choice.name(), choice));
    let mode =
        section.value("mode").and_then(|value| document::choice("mode", &choices, value, problems));
    let lists = section.value("sources").and_then(|value| {
        let section = Section::new("[anti_spoofing.sources]".to_owned(), value, problems)?;
        Some(lists(&section, interfaces, known, networks, problems))
    });
    SourceChecks { mode: mode.unwrap_or_default(), lists: lists.unwrap_or_default() }
}

/// The lists in the order of the file: a key for each interface that has one.
fn lists(
    section: &Section<'_, '_>,
    interfaces: &[String],
    known: &KnownNames<'_>,
    networks: &[Network],
    problems: &mut Problems,
) -> Vec<SourceList> {
    let reach = Reach::of(networks);
    let entries = section.entries();
    let spans: Vec<_> = entries.iter().map(|(name, _)| name.span()).collect();
    let what = "interfaces with a list of sources";
    check_count(what, INTERFACES_LISTED_MAX, spans.into_iter(), problems);
    let mut lists = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let interface: &str = name.get_ref();
        if !interfaces.iter().any(|name| name == interface) {
            let kind = ProblemKind::UnknownName { what: "interface", name: quote(interface) };
            let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
            let help = document::help_for_name(interface, &names, "those of `[gateway]`");
            problems.add(name.span(), kind, help);
        }
        let any = "for any source leave the interface out, and the mode `\"off\"`";
        lists.push(SourceList {
            interface: interface.to_owned(),
            networks: known.listed_in("sources", any, value, problems),
        });
    }
    let why = ("an address is looked for in them", "name the prefixes behind the interfaces");
    for SourceList { networks: listed, .. } in &lists {
        deny_interfaces("sources", listed, section, networks, &reach, why, problems);
    }
    lists
}
