//! `[[asymmetric]]`: prefixes of whose connections only one direction may come by here.

use super::{
    Asymmetric, Network,
    document::{self, Section},
    error::{ProblemKind, Problems},
    network::{PrefixTotals, Reach, deny_interfaces, prefixes},
    references::KnownNames,
};

/// The declarations in the order of the file. Their prefixes count among those of the networks,
/// which lie in the same tables.
pub(super) fn asymmetric(
    root: &Section<'_, '_>,
    known: &KnownNames<'_>,
    networks: &[Network],
    totals: &mut PrefixTotals,
    problems: &mut Problems,
) -> Vec<Asymmetric> {
    let Some(value) = root.value("asymmetric") else { return Vec::new() };
    let expected = "a list of tables, each headed `[[asymmetric]]`";
    let tables = document::array("asymmetric", expected, value, problems).unwrap_or_default();
    let reach = Reach::of(networks);
    let mut declarations = Vec::with_capacity(tables.len());
    for table in tables {
        let Some(section) = Section::new("[[asymmetric]]".to_owned(), table, problems) else {
            continue;
        };
        let declared = declaration(&section, known, totals, problems);
        let reason = "a connection belongs here by its ends";
        let help = "name the prefixes behind the interfaces";
        let why = (reason, help);
        let listed = &declared.networks;
        deny_interfaces("networks", listed, &section, networks, &reach, why, problems);
        declarations.push(declared);
    }
    declarations
}

fn declaration(
    section: &Section<'_, '_>,
    networks: &KnownNames<'_>,
    totals: &mut PrefixTotals,
    problems: &mut Problems,
) -> Asymmetric {
    let everywhere = "for any address write `prefixes = [\"0.0.0.0/0\", \"::/0\"]`";
    section.deny_unknown_keys(&["prefixes", "networks"], problems);
    let listed = section.value("prefixes");
    if listed.is_none() && section.value("networks").is_none() {
        let kind = ProblemKind::MissingKey { section: section.title.clone(), key: "prefixes" };
        let help = "it needs `prefixes`, `networks` with names of networks, or both";
        problems.add(section.span.clone(), kind, Some(help.to_owned()));
    }
    if let Some(value) = listed
        && value.get_ref().as_array().is_some_and(|items| items.is_empty())
    {
        let kind = ProblemKind::EmptyList { key: "prefixes" };
        problems.add(value.span(), kind, Some(everywhere.to_owned()));
    }
    Asymmetric {
        prefixes: prefixes(listed, totals, problems),
        networks: networks.listed("networks", everywhere, section, problems),
    }
}
