//! `[events]` and `[export.NAME]`: who may read events, which are kept, and who is sent them.

mod selected;
mod targets;

use std::path::PathBuf;

use serde_spanned::Spanned;
use toml::de::DeValue;

use self::selected::{Named, selected};
pub(super) use self::targets::{DOMAIN_DEFAULT, INTERVAL_S, kinds};
use super::{
    PolicyRule, Protocol,
    document::{self, Section, Span, Value},
    error::{ProblemKind, Problems, quote},
    parse::{check_count, report},
    value::{self, decimal},
};
use crate::{
    events::EventSettings,
    export::{Export, Target},
    hub,
};

/// Most exports of a policy.
const EXPORTS_MAX: usize = 16;
/// Least and most bytes of events on disk: 1 MiB, so that it is worth it, and 1 TiB.
pub(super) const KEEP_BYTES: [u64; 2] = [1 << 20, 1 << 40];
const KEEP_HELP: &str = "a size is a whole number and a unit: \"64MiB\", \"2GiB\"; from 1MiB to 1024GiB. To keep none \
                         leave `keep` out";

/// What becomes of events besides.
pub(super) struct Events {
    pub(super) settings: EventSettings,
    pub(super) exports: Vec<Export>,
}

/// Reads both. The names that a selection of events may speak of are given.
pub(super) fn events(
    root: &Section<'_, '_>,
    interfaces: &[String],
    protocols: &[Protocol],
    rules: &[PolicyRule],
    problems: &mut Problems,
) -> Events {
    let named = Named { interfaces, protocols, rules };
    Events { settings: settings(root, problems), exports: exports(root, &named, problems) }
}

fn settings(root: &Section<'_, '_>, problems: &mut Problems) -> EventSettings {
    let Some(section) = root.section("events", problems) else { return EventSettings::default() };
    section.deny_unknown_keys(&["group", "keep"], problems);
    let group = section.value("group").and_then(|value| {
        let name = document::string("group", value, problems)?;
        report(value::check_group_name(name), &value.span(), problems)?;
        Some(name.to_owned())
    });
    let keep = section.value("keep").and_then(|value| {
        let text = document::string("keep", value, problems)?;
        let bytes = size(text).filter(|bytes| (KEEP_BYTES[0]..=KEEP_BYTES[1]).contains(bytes));
        if bytes.is_none() {
            refuse("keep", text, KEEP_HELP, value, problems);
        }
        bytes
    });
    EventSettings { group, keep_bytes: keep.unwrap_or(0) }
}

/// The bytes that `64MiB` stands for.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    decimal(digits)?.checked_mul(unit)
}

/// The exports in the order of the file.
fn exports(root: &Section<'_, '_>, named: &Named<'_>, problems: &mut Problems) -> Vec<Export> {
    let sections = root.named_sections("export", problems);
    let headers = sections.iter().map(|(name, _)| name.span());
    check_count("exports", EXPORTS_MAX, headers, problems);
    let mut exports = Vec::with_capacity(sections.len());
    let mut places: Vec<(String, Span)> = Vec::new();
    for (name, section) in sections {
        report(value::check_section_name("export", name.get_ref()), &name.span(), problems);
        if hub::NAMES.contains(&name.get_ref().as_ref()) {
            let reason = "losses of other readers are counted under it";
            let kind = ProblemKind::BadName { what: "export", name: quote(name.get_ref()), reason };
            problems.add(name.span(), kind, None);
        }
        let Some(target) = targets::target(&section, problems) else { continue };
        if let Some((key, place)) = own_place(&target) {
            let span = section.value(key).map_or(section.span.clone(), Spanned::span);
            match places.iter().find(|(known, _)| *known == place) {
                Some((_, first)) => {
                    let kind = ProblemKind::PlaceTaken { key, place: quote(&place) };
                    problems.add_with(span, kind, (first.clone(), "first given here"), None);
                }
                None => places.push((place, span)),
            }
        }
        let criteria = section.value("where").map(|value| {
            let title = format!("[{}.where]", section.title.trim_matches(['[', ']']));
            Section::new(title, value, problems)
                .map(|section| selected(&section, named, problems))
                .unwrap_or_default()
        });
        exports.push(Export {
            name: name.get_ref().as_ref().to_owned(),
            target,
            criteria: criteria.unwrap_or_default(),
        });
    }
    exports
}

/// What only one export can have: the key, and what it holds.
fn own_place(target: &Target) -> Option<(&'static str, String)> {
    match target {
        Target::Prometheus { listen } => Some(("listen", listen.to_string())),
        Target::Json { file } => Some(("file", file.display().to_string())),
        Target::Syslog { .. } | Target::Otlp { .. } | Target::Ipfix { .. } => None,
    }
}

/// Says that `key` cannot be `text`, which is its value or part of it.
fn refuse(key: &'static str, text: &str, reason: &str, value: &Value<'_>, problems: &mut Problems) {
    let kind = ProblemKind::BadValue { key, value: quote(text), reason: reason.to_owned() };
    problems.add(value.span(), kind, None);
}

/// The absolute path that is the value of `key`.
fn path(key: &'static str, value: &Value<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let text = document::string(key, value, problems)?;
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        refuse(key, text, "it is the absolute path of a file", value, problems);
        return None;
    }
    Some(PathBuf::from(text))
}

/// The texts of a list, each with its value; whole numbers too.
fn texts<'a, 'i>(
    key: &'static str,
    value: &'a Value<'i>,
    problems: &mut Problems,
) -> Vec<(String, &'a Value<'i>)> {
    let expected = "a list of strings";
    let items = document::array(key, expected, value, problems).unwrap_or_default();
    if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
        problems.add(value.span(), ProblemKind::EmptyList { key }, None);
    }
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref() {
            DeValue::String(text) => texts.push((text.as_ref().to_owned(), item)),
            DeValue::Integer(number) => texts.push((number.to_string(), item)),
            _ => document::wrong_type(&format!("an item of `{key}`"), "a string", item, problems),
        }
    }
    texts
}
