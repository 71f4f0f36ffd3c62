//! `fwx filter findings`.

use anyhow::Result;
use firewall_common::{
    filter::{
        FilterId,
        finding::{Effect, FindingInfo},
    },
    policy::Profile,
};
use serde::Serialize;

use super::OutputOption;

/// What a filter can object to.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    /// What it means.
    summary: &'static str,
    /// The document and section that it departs from.
    reference: &'static str,
    /// What it leads to in each profile, where the filter enforces.
    standard: &'static str,
    strict: &'static str,
}

impl Row {
    fn of(finding: &FindingInfo) -> Self {
        let effect = |profile| match finding.effect(profile) {
            Effect::Note => "note",
            Effect::Kill => "kill",
        };
        Self {
            name: finding.name,
            summary: finding.summary,
            reference: finding.reference,
            standard: effect(Profile::Standard),
            strict: effect(Profile::Strict),
        }
    }
}

/// Prints all that `filter` can object to.
pub(super) fn print(filter: FilterId, output: OutputOption) -> Result<()> {
    let rows: Vec<_> = filter.findings().iter().map(Row::of).collect();
    output.print(&rows, || text(&rows))
}

fn text(rows: &[Row]) -> String {
    let longest = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).len()).max().unwrap_or(0);
    let (name, summary) = (longest(|row| row.name), longest(|row| row.summary));
    let line = |[finding, standard, strict, means, reference]: [&str; 5]| {
        format!("{finding:<name$}  {standard:<8} {strict:<6} {means:<summary$}  {reference}\n")
    };
    let heading = line(["FINDING", "STANDARD", "STRICT", "MEANS", "REFERENCE"]);
    let lines = rows
        .iter()
        .map(|row| line([row.name, row.standard, row.strict, row.summary, row.reference]));
    heading + &lines.collect::<String>()
}
