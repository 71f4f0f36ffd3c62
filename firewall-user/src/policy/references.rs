//! The names by which one part of a policy refers to another.

use std::collections::HashMap;

use super::{
    document::{self, Section, Value},
    error::{ProblemKind, Problems, quote},
};

/// What rules can refer to.
pub(super) struct Scope<'a> {
    pub(super) networks: KnownNames<'a>,
    pub(super) protocols: KnownNames<'a>,
    pub(super) interfaces: KnownNames<'a>,
}

/// The names of one kind of thing, each with its index.
pub(super) struct KnownNames<'a> {
    /// What it is that has the names, such as "network".
    what: &'static str,
    /// Where they come from, such as "of this policy".
    origin: &'static str,
    indices: HashMap<&'a str, usize>,
    /// A name that is none of these and is taken for one, and what is told about it.
    help_for: Option<(&'static str, &'static str)>,
}

impl<'a> KnownNames<'a> {
    /// Names that the policy gives.
    pub(super) fn new(what: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        Self::from(what, "of this policy", names)
    }

    /// Names that stand fast, of what `origin` says.
    pub(super) fn from(
        what: &'static str,
        origin: &'static str,
        names: impl Iterator<Item = &'a str>,
    ) -> Self {
        let indices = names.enumerate().map(|(index, name)| (name, index)).collect();
        Self { what, origin, indices, help_for: None }
    }

    /// What may be meant by one name that is none of these.
    pub(super) fn with_help(mut self, name: &'static str, help: &'static str) -> Self {
        self.help_for = Some((name, help));
        self
    }

    /// The indices of what the list `key` of `section` names; none if there is no such key, which
    /// stands for "any".
    pub(super) fn listed_or_any(
        &self,
        key: &'static str,
        section: &Section<'_, '_>,
        problems: &mut Problems,
    ) -> Vec<usize> {
        let help_for_any = format!("for any {} leave `{key}` out", self.what);
        self.listed(key, &help_for_any, section, problems)
    }

    /// The names that the list `key` of `section` holds, as [`KnownNames::listed_or_any`].
    pub(super) fn names_or_any(
        &self,
        key: &'static str,
        section: &Section<'_, '_>,
        problems: &mut Problems,
    ) -> Vec<String> {
        let listed = self.listed_or_any(key, section, problems);
        let mut names: Vec<(usize, &str)> =
            self.indices.iter().map(|(name, index)| (*index, *name)).collect();
        names.sort_unstable();
        listed.into_iter().map(|index| names[index].1.to_owned()).collect()
    }

    /// Like [`KnownNames::listed_or_any`], where `help_for_any` says how to write "any".
    pub(super) fn listed(
        &self,
        key: &'static str,
        help_for_any: &str,
        section: &Section<'_, '_>,
        problems: &mut Problems,
    ) -> Vec<usize> {
        let Some(value) = section.value(key) else { return Vec::new() };
        self.listed_in(key, help_for_any, value, problems)
    }

    /// Like [`KnownNames::listed`], of the list `value` that messages call `key`.
    pub(super) fn listed_in(
        &self,
        key: &'static str,
        help_for_any: &str,
        value: &Value<'_>,
        problems: &mut Problems,
    ) -> Vec<usize> {
        let Some(names) = document::strings(key, value, problems) else { return Vec::new() };
        // In the kernel's tables a rule's empty set stands for "any", the opposite of what is
        // written here.
        if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
            let help = Some(help_for_any.to_owned());
            problems.add(value.span(), ProblemKind::EmptyList { key }, help);
        }
        let mut indices = Vec::with_capacity(names.len());
        for (name, span) in names {
            match self.indices.get(name) {
                Some(&index) => indices.push(index),
                None => {
                    let kind = ProblemKind::UnknownName { what: self.what, name: quote(name) };
                    problems.add(span, kind, Some(self.help(name, help_for_any)));
                }
            }
        }
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    /// What may be meant by `name`, which is unknown.
    fn help(&self, name: &str, help_for_any: &str) -> String {
        if matches!(name, "any" | "all" | "*") {
            return help_for_any.to_owned();
        }
        if let Some((_, help)) = self.help_for.filter(|(of, _)| *of == name) {
            return help.to_owned();
        }
        let mut known: Vec<&str> = self.indices.keys().copied().collect();
        known.sort_unstable();
        document::help_for_name(name, &known, &format!("each {} {}", self.what, self.origin))
            .unwrap_or_else(|| format!("this policy has no `[{}.NAME]`", self.what))
    }
}
