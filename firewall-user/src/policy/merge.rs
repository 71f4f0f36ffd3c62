//! Several documents as one: what the files of a policy say together.

use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::{
    document::{Span, Value},
    error::{ProblemKind, Problems, quote},
    include,
};

/// The tables that hold named tables, of which each file may bring some.
const OF_NAMES: [&str; 4] = ["network", "protocol", "filter", "export"];

/// The same document with all places moved by `by` bytes.
pub(super) fn moved(document: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = document.into_iter().map(|(key, value)| {
        (Spanned::new(moved_span(key.span(), by), key.into_inner()), moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Value<'_>, by: usize) -> Value<'_> {
    let span = moved_span(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        DeValue::Array(items) => {
            let mut array = DeArray::new();
            items.into_iter().for_each(|item| array.push(moved_value(item, by)));
            DeValue::Array(array)
        }
        value => value,
    };
    Spanned::new(span, value)
}

fn moved_span(span: Span, by: usize) -> Span {
    span.start + by..span.end + by
}

/// Adds to `root` what a file that is included says. Lists go on, named tables come beside those that are there, and
/// whatever else is said twice is a problem.
pub(super) fn add<'i>(root: &mut DeTable<'i>, included: DeTable<'i>, problems: &mut Problems) {
    for (key, value) in included {
        let name = key.get_ref().as_ref();
        if name == include::KEY {
            continue;
        }
        let title = format!("[{}]", quote(name).trim_matches('`'));
        let Some(known) = root.get_mut(name) else {
            root.insert(key, value);
            continue;
        };
        let known_span = known.span();
        match (known.get_mut(), value.get_ref()) {
            (DeValue::Array(known), DeValue::Array(_)) => {
                let DeValue::Array(more) = value.into_inner() else { continue };
                more.into_iter().for_each(|item| known.push(item));
            }
            (DeValue::Table(known), DeValue::Table(_)) if OF_NAMES.contains(&name) => {
                let DeValue::Table(more) = value.into_inner() else { continue };
                let title = title.trim_matches(['[', ']']).to_owned();
                add_named(&title, known, more, problems);
            }
            _ => given_twice(title, value.span(), known_span, problems),
        }
    }
}

fn add_named<'i>(kind: &str, known: &mut DeTable<'i>, more: DeTable<'i>, problems: &mut Problems) {
    for (name, value) in more {
        if let Some((first, _)) = known.get_key_value(name.get_ref().as_ref()) {
            let title = format!("[{kind}.{}]", quote(name.get_ref()).trim_matches('`'));
            given_twice(title, name.span(), first.span(), problems);
        } else {
            known.insert(name, value);
        }
    }
}

fn given_twice(section: String, span: Span, first: Span, problems: &mut Problems) {
    let kind = ProblemKind::GivenTwice { section };
    let help = "a policy says it once, in one of its files";
    problems.add_with(span, kind, (first, "first given here"), Some(help.to_owned()));
}
