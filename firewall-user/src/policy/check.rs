//! A policy with what is told about it besides what it says: what in it is hardly meant, and where its rules stand.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{
    Policy, PolicyError, Sources, Warnings, document::Section, error::Problems, lint, parse,
    places::Places, source::PolicySource,
};

/// A place in the files of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A sound policy, and what is told about it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The policy.
    pub policy: Policy,
    /// What is legal and surely not meant.
    pub warnings: Warnings,
    /// Where each of its rules stands.
    pub rule_places: Vec<Place>,
}

impl Sources {
    /// As [`Sources::parse`], with a look at what is hardly meant.
    ///
    /// # Errors
    /// As [`Sources::parse`].
    pub fn check(&self) -> Result<Checked, PolicyError> {
        let source = Arc::new(PolicySource::of(self.files()));
        let mut problems = Problems::new(source.clone());
        let Some(document) = parse::document(self, &mut problems) else {
            return Err(problems.into_error());
        };
        let root = Section::root(&document);
        let policy = parse::policy(&root, &mut problems);
        let policy = problems.none_or_error(policy)?;
        let places = Places::new(&root);
        let mut warnings = Problems::new(source.clone());
        lint::lint(&policy, &places, &mut warnings);
        let rules = 0..policy.rules().len();
        let rule_places = rules.map(|rule| source.place(places.rule(rule).start)).collect();
        Ok(Checked { policy, warnings: warnings.into_warnings(), rule_places })
    }
}
