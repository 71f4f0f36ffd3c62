//! What is said at the end: the goals first, then section after section; as text, as JSON, and as pages with plots.

mod markdown;
mod svg;
mod text;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    machine::Machine,
    number,
    section::{Bound, Chart, Goal, Section},
};

/// The page, and the directory of its plots beside it.
const PAGE: &str = "performance.md";
const PLOTS: &str = "performance";

const NOTE: &str =
    "Absolute times drift on shared machines; compare ratios, and only within a run.";

/// The form of what is printed.
#[derive(Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// Tables for people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// All figures of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The system's, when the run began.
    date: String,
    /// What was left out, in words.
    mode: &'static str,
    machine: Machine,
    note: &'static str,
    sections: Vec<Section>,
}

impl Report {
    pub(crate) fn new(
        date: String,
        mode: &'static str,
        machine: Machine,
        sections: Vec<Section>,
    ) -> Self {
        Self { date, mode, machine, note: NOTE, sections }
    }

    /// Prints all of it.
    pub(crate) fn print(&self, output: Output) -> Result<()> {
        let mut to = io::stdout().lock();
        match output {
            Output::Text => text::write(self, &mut to)?,
            Output::Json => {
                serde_json::to_writer_pretty(&mut to, self)?;
                io::Write::write_all(&mut to, b"\n")?;
            }
        }
        Ok(())
    }

    /// Writes the page and its plots into `directory`, in place of those of an earlier run. Returns the page's path.
    pub(crate) fn write_to(&self, directory: &Path) -> Result<PathBuf> {
        let plots = directory.join(PLOTS);
        if plots.exists() {
            fs::remove_dir_all(&plots)
                .with_context(|| format!("cannot clear {}", plots.display()))?;
        }
        fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
        for chart in self.charts() {
            let path = plots.join(svg::file_name(chart));
            write(&path, &svg::plot(chart)?)?;
        }
        let page = directory.join(PAGE);
        write(&page, &markdown::page(self))?;
        Ok(page)
    }

    fn charts(&self) -> impl Iterator<Item = &Chart> {
        self.sections.iter().flat_map(|section| &section.charts)
    }

    /// The goals of all sections, in their order.
    fn goals(&self) -> impl Iterator<Item = &Goal> {
        self.sections.iter().flat_map(|section| &section.goals)
    }
}

/// The columns of the table of goals.
const GOAL_COLUMNS: [&str; 5] = ["goal", "wanted", "figure", "met", "remark"];

/// A goal as a row of that table.
fn goal_row(goal: &Goal) -> [String; 5] {
    let wanted = match goal.wanted {
        Bound::AtMost(most) => format!("at most {}", number::figure(most)),
        Bound::AtLeast(least) => format!("at least {}", number::figure(least)),
    };
    let met = match goal.figure {
        None => "not measured",
        Some(_) if goal.is_met() => "yes",
        Some(_) => "no",
    };
    [
        goal.what.clone(),
        format!("{wanted} {}", goal.unit),
        goal.figure
            .map_or("?".to_owned(), |figure| format!("{} {}", number::figure(figure), goal.unit)),
        met.to_owned(),
        goal.remark.clone(),
    ]
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(wanted: Bound, figure: Option<f64>) -> Goal {
        Goal { what: "it is fast".into(), wanted, figure, unit: "times", remark: String::new() }
    }

    #[test]
    fn a_goal_stands_beside_its_figure() {
        let [what, wanted, figure, met, _] = goal_row(&goal(Bound::AtMost(3.0), Some(2.25)));
        assert_eq!(
            [what, wanted, figure, met],
            ["it is fast", "at most 3 times", "2.25 times", "yes"]
        );
        let [_, wanted, _, met, _] = goal_row(&goal(Bound::AtLeast(200_000.0), Some(199_999.0)));
        assert_eq!([wanted, met], ["at least 200,000 times", "no"]);
    }

    #[test]
    fn a_goal_that_could_not_be_measured_is_not_met() {
        let goal = goal(Bound::AtMost(3.0), None);
        let [_, _, figure, met, _] = goal_row(&goal);
        assert_eq!([figure, met], ["?", "not measured"]);
        assert!(!goal.is_met());
    }
}
