//! The TOML document: tables whose keys and values know their place, read one key at a time.
//!
//! The document is walked by hand rather than through serde, which stops at the first value that it
//! does not like: here every problem of a file is found in one go.

use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::{
    error::{ProblemKind, Problems, quote},
    include, merge,
};

/// Longest text, in bytes, of which all syntax errors are collected; of a longer one the first is
/// told. A parser that goes on after errors can find one in each byte.
const RECOVERABLE_BYTES_MAX: usize = 64 << 10;
/// Longest name for which a similar one is looked for, in bytes.
const SIMILAR_BYTES_MAX: usize = 64;
const INCLUDE_HELP: &str = "`include` stands at the top of the file, above its first table";
/// Most choices that a help text lists.
const LISTED_MAX: usize = 16;

/// Place of something in the text, in bytes.
pub(super) type Span = Range<usize>;
pub(super) type Key<'i> = Spanned<DeString<'i>>;
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// The document in `text`, whose first byte is at `start` of the policy; `None`, with what is wrong added to
/// `problems`, if it is not TOML.
pub(super) fn parse<'i>(
    text: &'i str,
    start: usize,
    problems: &mut Problems,
) -> Option<DeTable<'i>> {
    let first_error = match DeTable::parse(text) {
        Ok(document) if start == 0 => return Some(document.into_inner()),
        Ok(document) => return Some(merge::moved(document.into_inner(), start)),
        Err(error) => error,
    };
    let mut errors = if text.len() <= RECOVERABLE_BYTES_MAX {
        DeTable::parse_recoverable(text).1
    } else {
        vec![first_error]
    };
    // One unclosed bracket is reported once for each level that it leaves open.
    errors.dedup_by(|a, b| (a.span(), a.message()) == (b.span(), b.message()));
    for error in errors {
        let span = error.span().unwrap_or_default();
        let message = error.message().to_owned();
        problems.add(start + span.start..start + span.end, ProblemKind::Syntax { message }, None);
    }
    None
}

/// A table of the document and what it is called in messages.
pub(super) struct Section<'a, 'i> {
    /// The name as it stands in the file, such as `[network.inside]`.
    pub(super) title: String,
    /// The table's header, or the key that holds it.
    pub(super) span: Span,
    table: &'a DeTable<'i>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The table at the root of the document.
    pub(super) fn root(table: &'a DeTable<'i>) -> Self {
        Self { title: "the policy".to_owned(), span: 0..0, table }
    }

    /// `value` as the table that messages call `title`.
    pub(super) fn new(
        title: String,
        value: &'a Value<'i>,
        problems: &mut Problems,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self { title, span: value.span(), table }),
            _ => {
                wrong_type(&title, "a table", value, problems);
                None
            }
        }
    }

    /// Reports every key that is not in `known`.
    pub(super) fn deny_unknown_keys(&self, known: &[&str], problems: &mut Problems) {
        #[cfg(test)]
        asked::note_keys(&self.title, known);
        for (key, _) in self.entries() {
            if !known.contains(&key.get_ref().as_ref()) {
                let kind = ProblemKind::UnknownKey {
                    section: self.title.clone(),
                    key: quote(key.get_ref()),
                };
                let help = match key.get_ref().as_ref() {
                    include::KEY => Some(INCLUDE_HELP.to_owned()),
                    key => help_for_name(key, known, "known keys"),
                };
                problems.add(key.span(), kind, help);
            }
        }
    }

    /// Every key and its value, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// The value of `key`, if the table has it.
    pub(super) fn value(&self, key: &str) -> Option<&'a Value<'i>> {
        self.table.get(key)
    }

    /// The value of `key`; reported if the table lacks it.
    pub(super) fn required(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<&'a Value<'i>> {
        let value = self.value(key);
        if value.is_none() {
            let section = self.title.clone();
            problems.add(self.span.clone(), ProblemKind::MissingKey { section, key }, None);
        }
        value
    }

    /// The table that is the value of `key`: `[key]`.
    pub(super) fn section(&self, key: &'static str, problems: &mut Problems) -> Option<Self> {
        Self::new(format!("[{key}]"), self.value(key)?, problems)
    }

    /// The tables below `key`, each with its own name: `[key.NAME]`, in the order of the file.
    pub(super) fn named_sections(
        &self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(&'a Key<'i>, Self)> {
        let Some(parent) = self.section(key, problems) else { return Vec::new() };
        parent
            .entries()
            .into_iter()
            .filter_map(|(name, value)| {
                let title = format!("[{key}.{}]", quote(name.get_ref()).trim_matches('`'));
                let section = Self::new(title, value, problems)?;
                Some((name, section))
            })
            .collect()
    }
}

/// The string that is the value of `key`.
pub(super) fn string<'a>(
    key: &str,
    value: &'a Value<'_>,
    problems: &mut Problems,
) -> Option<&'a str> {
    let string = value.get_ref().as_str();
    if string.is_none() {
        wrong_type(&format!("`{key}`"), "a string", value, problems);
    }
    string
}

/// The items of the array that is the value of `key`.
pub(super) fn array<'a, 'i>(
    key: &str,
    expected: &'static str,
    value: &'a Value<'i>,
    problems: &mut Problems,
) -> Option<&'a [Value<'i>]> {
    match value.get_ref() {
        DeValue::Array(items) => Some(items),
        _ => {
            wrong_type(&format!("`{key}`"), expected, value, problems);
            None
        }
    }
}

/// The items of the array of strings that is the value of `key`, each with its place. An item that is
/// no string is reported and left out.
pub(super) fn strings<'a>(
    key: &str,
    value: &'a Value<'_>,
    problems: &mut Problems,
) -> Option<Vec<(&'a str, Span)>> {
    let items = array(key, "a list of strings", value, problems)?;
    let mut strings = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref().as_str() {
            Some(string) => strings.push((string, item.span())),
            None => wrong_type(&format!("an item of `{key}`"), "a string", item, problems),
        }
    }
    Some(strings)
}

/// The one of `choices` that the value of `key` names.
pub(super) fn choice<T: Copy>(
    key: &'static str,
    choices: &[(&'static str, T)],
    value: &Value<'_>,
    problems: &mut Problems,
) -> Option<T> {
    let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
    #[cfg(test)]
    asked::note_words(key, &names);
    let help = || list("it is one of", &names);
    let Some(name) = value.get_ref().as_str() else {
        wrong_type_with(&format!("`{key}`"), "a string", value, help(), problems);
        return None;
    };
    let chosen = choices.iter().find(|(choice, _)| *choice == name).map(|&(_, chosen)| chosen);
    if chosen.is_none() {
        let kind = ProblemKind::NotOneOf { what: key, value: quote(name) };
        problems.add(value.span(), kind, Some(help()));
    }
    chosen
}

/// Whether the value of `key` says so.
pub(super) fn boolean(key: &str, value: &Value<'_>, problems: &mut Problems) -> Option<bool> {
    let boolean = value.get_ref().as_bool();
    if boolean.is_none() {
        let help = "it is `true` or `false`, without quotes".to_owned();
        wrong_type_with(&format!("`{key}`"), "a boolean", value, help, problems);
    }
    boolean
}

/// Says that `what` has to be `expected`, unlike `value`.
pub(super) fn wrong_type(
    what: &str,
    expected: &'static str,
    value: &Value<'_>,
    problems: &mut Problems,
) {
    problems.add(value.span(), wrong_type_kind(what, expected, value), None);
}

/// Like [`wrong_type`], with what may cure it.
pub(super) fn wrong_type_with(
    what: &str,
    expected: &'static str,
    value: &Value<'_>,
    help: String,
    problems: &mut Problems,
) {
    problems.add(value.span(), wrong_type_kind(what, expected, value), Some(help));
}

fn wrong_type_kind(what: &str, expected: &'static str, value: &Value<'_>) -> ProblemKind {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    ProblemKind::WrongType { key: what.to_owned(), expected, found }
}

/// The known name most like `name`, or all of them if none is much like it.
pub(super) fn help_for_name(name: &str, known: &[&str], title: &str) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    match nearest(name, known) {
        Some(similar) => Some(format!("did you mean `{similar}`?")),
        None => Some(list(title, known)),
    }
}

pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > SIMILAR_BYTES_MAX {
        return None;
    }
    let name = name.to_lowercase();
    known
        .iter()
        .map(|known| (strsim::osa_distance(&name, &known.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `title: a, b, c`, with the end left out of a long list.
fn list(title: &str, names: &[&str]) -> String {
    let mut listed: Vec<String> = names.iter().take(LISTED_MAX).map(|name| quote(name)).collect();
    if names.len() > LISTED_MAX {
        listed.push("…".to_owned());
    }
    format!("{title}: {}", listed.join(", "))
}

/// What the parser knows, as it asks for it: what a test compares the schema with.
#[cfg(test)]
pub(super) mod asked {
    use std::{
        cell::RefCell,
        collections::{BTreeMap, BTreeSet},
    };

    type Names = BTreeMap<String, BTreeSet<String>>;

    thread_local! {
        static KEYS: RefCell<Names> = RefCell::default();
        static WORDS: RefCell<Names> = RefCell::default();
    }

    pub(super) fn note_keys(section: &str, known: &[&str]) {
        KEYS.with_borrow_mut(|keys| note(keys, section, known));
    }

    pub(super) fn note_words(key: &str, known: &[&str]) {
        WORDS.with_borrow_mut(|words| note(words, key, known));
    }

    fn note(names: &mut Names, of: &str, known: &[&str]) {
        let known = known.iter().map(|name| (*name).to_owned());
        names.entry(of.to_owned()).or_default().extend(known);
    }

    /// The keys of each section, by its title, and the words that each key may hold: of all that this thread read.
    pub(in crate::policy) fn all() -> (Names, Names) {
        (KEYS.with_borrow(Clone::clone), WORDS.with_borrow(Clone::clone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["transport", "ports", "filter"];
        assert_eq!(nearest("transprot", &known), Some("transport"));
        assert_eq!(nearest("Port", &known), Some("ports"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"transport".repeat(1000), &known), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..50).map(|n| format!("name{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let list = list("known", &names);
        assert!(list.ends_with("`name15`, …"), "{list}");
    }
}
