//! What is legal in a policy and surely not meant.
//!
//! Each file looks for one sort of it. What a person may well have wanted is not told: a warning that is wrong
//! once is read no more.

mod effect;
mod exports;
mod index;
mod kind;
mod region;
mod set;
mod shadow;
mod unused;

pub use kind::WarningKind;

use super::{
    Policy,
    document::Span,
    error::{ProblemKind, Problems},
    places::Places,
};

/// A policy under the eyes of the lints.
struct Lints<'a, 'i> {
    policy: &'a Policy,
    places: &'a Places<'a, 'i>,
    warnings: &'a mut Problems,
}

/// Adds to `warnings` what is hardly meant in `policy`, whose parts stand at `places`.
pub(super) fn lint(policy: &Policy, places: &Places<'_, '_>, warnings: &mut Problems) {
    let mut lints = Lints { policy, places, warnings };
    let dead = shadow::rules_that_never_match(&mut lints);
    unused::networks(&mut lints);
    unused::protocols(&mut lints);
    unused::filters(&mut lints, &dead);
    effect::refusals(&mut lints);
    effect::limits(&mut lints);
    effect::syn_authentication(&mut lints);
    exports::receivers(&mut lints);
}

impl Lints<'_, '_> {
    fn warn(&mut self, span: Span, kind: WarningKind, help: &str) {
        self.warnings.add(span, ProblemKind::Warning(kind.into()), Some(help.to_owned()));
    }

    fn warn_with(&mut self, span: Span, kind: WarningKind, elsewhere: (Span, &str), help: &str) {
        let help = Some(help.to_owned());
        self.warnings.add_with(span, ProblemKind::Warning(kind.into()), elsewhere, help);
    }
}
