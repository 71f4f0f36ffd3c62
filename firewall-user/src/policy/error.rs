//! What can be wrong with a policy, and how it is told: to a person at a terminal, or as data.

use std::{fmt, ops::Range, sync::Arc};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode,
};
use serde::Serialize;
use thiserror::Error;

use super::{Place, lint::WarningKind, source::PolicySource};

/// Most problems that are kept. More would help nobody, and a file of noise has one in every byte.
const PROBLEMS_MAX: usize = 64;
/// Width to which messages for a terminal are wrapped, in columns.
const TERMINAL_COLUMNS: usize = 100;

/// Everything that is wrong with a policy; at least one problem, in the order of the file.
#[derive(Clone, Debug)]
pub struct PolicyError {
    problems: Vec<Problem>,
    omitted: usize,
}

impl PolicyError {
    /// The problems, 64 at most.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All that is told by several; `None` if there is none.
    pub(super) fn joined(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let mut joined = errors.next()?;
        for error in errors {
            joined.problems.extend(error.problems);
            joined.omitted += error.omitted;
        }
        joined.omitted += joined.problems.len().saturating_sub(PROBLEMS_MAX);
        joined.problems.truncate(PROBLEMS_MAX);
        Some(joined)
    }

    /// How many more there are.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// The problems as data.
    pub fn entries(&self) -> Vec<ProblemEntry> {
        self.problems.iter().map(ProblemEntry::from).collect()
    }

    /// The problems for a person at a terminal, with colour escape sequences if `color`.
    pub fn render(&self, color: bool) -> String {
        render(&self.problems, self.omitted, "problems", color)
    }
}

/// What is legal in a policy and surely not meant; maybe nothing. In the order of the file.
#[derive(Clone, Debug)]
pub struct Warnings {
    warnings: Vec<Problem>,
    omitted: usize,
}

impl Warnings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty()
    }

    /// The warnings, 64 at most.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// How many there are, also those that are not kept.
    pub fn count(&self) -> usize {
        self.warnings.len() + self.omitted
    }

    /// The warnings as data.
    pub fn entries(&self) -> Vec<ProblemEntry> {
        self.warnings.iter().map(ProblemEntry::from).collect()
    }

    /// The warnings for a person at a terminal, with colour escape sequences if `color`.
    pub fn render(&self, color: bool) -> String {
        render(&self.warnings, self.omitted, "warnings", color)
    }
}

fn render(problems: &[Problem], omitted: usize, what: &str, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler =
        GraphicalReportHandler::new_themed(theme).with_links(false).with_width(TERMINAL_COLUMNS);
    let mut rendered = String::new();
    for problem in problems {
        if handler.render_report(&mut rendered, problem).is_err() {
            rendered.push_str(&format!("{problem}\n"));
        }
    }
    if omitted > 0 {
        rendered.push_str(&format!("… and {omitted} more {what}\n"));
    }
    rendered
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.problems.first() {
            if let (Some(line), Some(column)) = (first.line(), first.column()) {
                write!(f, "{}:{line}:{column}: ", first.file())?;
            }
            write!(f, "{first}")?;
        }
        match self.problems.len().saturating_sub(1) + self.omitted {
            0 => Ok(()),
            1 => write!(f, " (and 1 more problem)"),
            more => write!(f, " (and {more} more problems)"),
        }
    }
}

impl std::error::Error for PolicyError {}

impl Diagnostic for PolicyError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// One problem and its place in the file.
#[derive(Clone, Debug)]
pub struct Problem {
    source_text: Arc<PolicySource>,
    kind: ProblemKind,
    /// Where it is, in bytes; `None` if it concerns the file as a whole.
    span: Option<Range<usize>>,
    /// A second place that helps to understand the first, and what is there.
    elsewhere: Option<(Range<usize>, String)>,
    help: Option<String>,
}

impl Problem {
    /// What is wrong.
    pub fn kind(&self) -> &ProblemKind {
        &self.kind
    }

    /// The file, by the name that the caller gave it, or by which it is included.
    pub fn file(&self) -> &str {
        self.source_text.name(self.span.as_ref().map_or(0, |span| span.start))
    }

    /// The line, from 1; `None` if the problem concerns the file as a whole.
    pub fn line(&self) -> Option<usize> {
        self.span.as_ref().map(|span| self.source_text.position(span.start).0)
    }

    /// The column in characters, from 1; `None` if the problem concerns the file as a whole.
    pub fn column(&self) -> Option<usize> {
        self.span.as_ref().map(|span| self.source_text.position(span.start).1)
    }

    /// The offending text, as it stands in the file; empty where something is missing.
    pub fn text(&self) -> &str {
        self.span.as_ref().map_or("", |span| self.source_text.text(span))
    }

    /// What may cure it.
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Problem {
    /// What is wrong; with the file if no line of it is at fault and could be shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.span {
            Some(_) => write!(f, "{}", self.kind),
            None => write!(f, "{}: {}", self.file(), self.kind),
        }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        matches!(self.kind, ProblemKind::Warning(_)).then_some(Severity::Warning)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &*self.source_text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let here = self.span.clone()?;
        let elsewhere = self
            .elsewhere
            .clone()
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label), span));
        let here = LabeledSpan::new_primary_with_span(Some("here".to_owned()), here);
        Some(Box::new(std::iter::once(here).chain(elsewhere)))
    }
}

/// A [`Problem`] as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemEntry {
    /// The file, by the name that the caller gave it.
    pub file: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Of a warning: which sort it is, by a name that does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// The offending text.
    pub text: String,
    /// What may cure it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// A second place that helps to understand the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
}

/// A place and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// The place.
    #[serde(flatten)]
    pub place: Place,
    /// What is there.
    pub what: String,
}

impl From<&Problem> for ProblemEntry {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file().to_owned(),
            line: problem.line(),
            column: problem.column(),
            code: match &problem.kind {
                ProblemKind::Warning(kind) => Some(kind.code()),
                _ => None,
            },
            message: problem.kind.to_string(),
            text: problem.text().to_owned(),
            help: problem.help.clone(),
            elsewhere: problem.elsewhere.as_ref().map(|(span, what)| Elsewhere {
                place: problem.source_text.place(span.start),
                what: what.clone(),
            }),
        }
    }
}

/// What is wrong. Text taken from the file is quoted in backquotes and shortened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the message of each variant says what it is and what its fields hold"
)]
pub enum ProblemKind {
    #[error("cannot read the policy: {reason}")]
    Unreadable { reason: String },
    #[error("the file is larger than {bytes_max} bytes, the most that a policy may have")]
    FileTooLarge { bytes_max: usize },
    #[error("the file is not UTF-8: byte 0x{byte:02x} is out of place")]
    NotUtf8 { byte: u8 },
    #[error("the policy is empty")]
    Empty,
    #[error("not TOML: {message}")]
    Syntax { message: String },

    #[error("cannot include {file}: {reason}")]
    Include { file: String, reason: String },
    #[error("{section} is given twice")]
    GivenTwice { section: String },

    #[error("unknown key {key} in {section}")]
    UnknownKey { section: String, key: String },
    #[error("{section} lacks the key `{key}`")]
    MissingKey { section: String, key: &'static str },
    #[error("{key} must be {expected}, not {found}")]
    WrongType { key: String, expected: &'static str, found: &'static str },
    #[error("`{key}` is an empty list, which would match nothing")]
    EmptyList { key: &'static str },
    #[error("{value} is no {what}")]
    NotOneOf { what: &'static str, value: String },
    #[error("`{key}` must be from {min} to {max}, not {value}")]
    OutOfRange { key: &'static str, value: String, min: u32, max: u32 },
    #[error("{timeout} is not a timeout: {reason}")]
    BadTimeout { timeout: String, reason: &'static str },
    #[error("there is no {what} {name}")]
    UnknownName { what: &'static str, name: String },
    #[error("bad {what} name {name}: {reason}")]
    BadName { what: &'static str, name: String, reason: &'static str },

    #[error("the policy names no interfaces")]
    NoInterfaces,
    #[error("interface {name} is listed twice")]
    DuplicateInterface { name: String },
    #[error("{prefix} is not a prefix: {reason}")]
    BadPrefix { prefix: String, reason: &'static str },
    #[error("{prefix} has bits set beyond its prefix length")]
    HostBits { prefix: String },
    #[error("{port} is not a port: {reason}")]
    BadPort { port: String, reason: &'static str },
    #[error("the port range {range} runs backwards")]
    ReversedRange { range: String },
    #[error("{icmp_type} is no ICMP type: {reason}")]
    BadIcmpType { icmp_type: String, reason: &'static str },
    #[error("a protocol of transport {transport} has no `{key}`")]
    NotOfTransport { transport: String, key: &'static str },
    #[error(
        "{transport} port {port} belongs to protocol `{other}` already, so not to `{protocol}`"
    )]
    PortTaken { transport: String, port: u16, protocol: String, other: String },
    #[error(
        "{transport} type {icmp_type} belongs to protocol `{other}` already, so not to `{protocol}`"
    )]
    TypeTaken { transport: String, icmp_type: String, protocol: String, other: String },
    #[error(
        "IP protocol {transport} belongs to protocol `{other}` already, so not to `{protocol}`"
    )]
    TransportTaken { transport: String, protocol: String, other: String },
    #[error("filter `{filter}` reads {needed}, and protocol `{protocol}` is {transport}")]
    FilterTransport { filter: &'static str, needed: String, protocol: String, transport: String },
    #[error("network {name} is part of itself: {way}")]
    NetworkCycle { name: String, way: String },
    #[error(
        "network {name} has interfaces ({interfaces}), and `{key}` is about addresses: {reason}"
    )]
    InterfacesNotAddresses {
        name: String,
        interfaces: String,
        key: &'static str,
        reason: &'static str,
    },
    #[error("two rules are named {name}")]
    DuplicateRule { name: String },
    #[error("`{key}` limits what a rule allows, and the action of this rule is `{action}`")]
    LimitWithoutAllow { key: &'static str, action: &'static str },
    #[error("`{key}` cannot be {value}: {reason}")]
    BadValue { key: &'static str, value: String, reason: String },
    #[error("an export of kind `{kind}` has no `{key}`")]
    NotOfKind { kind: &'static str, key: &'static str },
    #[error("`{key}` {place} belongs to another export already")]
    PlaceTaken { key: &'static str, place: String },
    #[error("too many {what}: {count}, and {max} is the most")]
    TooMany { what: &'static str, count: usize, max: usize },

    #[error("{0}")]
    Warning(Box<WarningKind>),
}

/// `text` in backquotes, without control characters and not too long for a message.
pub(super) fn quote(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let mut quoted: String =
        text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

/// The problems found so far.
pub(super) struct Problems {
    source: Arc<PolicySource>,
    found: Vec<Problem>,
    omitted: usize,
}

impl Problems {
    pub(super) fn new(source: Arc<PolicySource>) -> Self {
        Self { source, found: Vec::new(), omitted: 0 }
    }

    /// The offset that the file at `index` begins at.
    pub(super) fn start_of(&self, index: usize) -> usize {
        self.source.start_of(index)
    }

    pub(super) fn add(&mut self, span: Range<usize>, kind: ProblemKind, help: Option<String>) {
        self.push(Some(span), kind, None, help);
    }

    /// Like [`Problems::add`], with a second place and what is there.
    pub(super) fn add_with(
        &mut self,
        span: Range<usize>,
        kind: ProblemKind,
        elsewhere: (Range<usize>, &str),
        help: Option<String>,
    ) {
        let (other, label) = elsewhere;
        let elsewhere = Some((self.source.clip(other), label.to_owned()));
        self.push(Some(span), kind, elsewhere, help);
    }

    /// A problem that concerns the file as a whole.
    pub(super) fn add_for_file(&mut self, kind: ProblemKind, help: Option<String>) {
        self.push(None, kind, None, help);
    }

    fn push(
        &mut self,
        span: Option<Range<usize>>,
        kind: ProblemKind,
        elsewhere: Option<(Range<usize>, String)>,
        help: Option<String>,
    ) {
        if self.found.len() == PROBLEMS_MAX {
            self.omitted += 1;
            return;
        }
        let span = span.map(|span| self.source.clip(span));
        self.found.push(Problem { source_text: self.source.clone(), kind, span, elsewhere, help });
    }

    /// `value` if nothing is wrong with the policy.
    pub(super) fn none_or_error<T>(self, value: T) -> Result<T, PolicyError> {
        if self.found.is_empty() { Ok(value) } else { Err(self.into_error()) }
    }

    /// The same as warnings.
    pub(super) fn into_warnings(self) -> Warnings {
        let PolicyError { problems: warnings, omitted } = self.into_error();
        Warnings { warnings, omitted }
    }

    pub(super) fn into_error(mut self) -> PolicyError {
        self.found.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        PolicyError { problems: self.found, omitted: self.omitted }
    }
}
