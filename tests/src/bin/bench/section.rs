//! What the benchmark is made of: sections, each an answer to one question, in a form that the report can print,
//! plot and hold against the goals.

use serde::Serialize;

/// What came of one question.
#[derive(Default, Serialize)]
pub(crate) struct Section {
    /// One or two words; the heading in the report.
    pub(crate) title: &'static str,
    /// How it was measured, in whole sentences, for who wants to judge or repeat it.
    pub(crate) method: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) charts: Vec<Chart>,
    pub(crate) goals: Vec<Goal>,
}

/// Figures in rows and columns. The first column names the row; a figure that could not be taken says why in its
/// place.
#[derive(Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A plot.
#[derive(Serialize)]
pub(crate) struct Chart {
    /// Name of its file, without the suffix: letters, digits and dashes.
    pub(crate) name: String,
    pub(crate) title: String,
    /// What the vertical axis shows, with its unit.
    pub(crate) value: String,
    pub(crate) kind: ChartKind,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChartKind {
    /// One bar for each name.
    Bars(Vec<(String, f64)>),
    /// Lines over a logarithmic horizontal axis.
    Lines { over: String, lines: Vec<Line> },
}

/// A line of a plot: points with ascending abscissae.
#[derive(Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What was aimed at, and what it came to.
#[derive(Serialize)]
pub(crate) struct Goal {
    /// A sentence without a full stop.
    pub(crate) what: String,
    pub(crate) wanted: Bound,
    /// `None`: it could not be measured, for the reason in `remark`.
    pub(crate) figure: Option<f64>,
    /// What the figure is, such as "times" or "instructions".
    pub(crate) unit: &'static str,
    /// Why it is missed, where it is, and whatever else is to be known.
    pub(crate) remark: String,
}

/// Where a figure has to lie.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    /// Whether `figure` lies there.
    pub(crate) fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }
}

impl Goal {
    /// Whether the figure lies where it has to.
    pub(crate) fn is_met(&self) -> bool {
        self.figure.is_some_and(|figure| self.wanted.holds(figure))
    }
}
