//! `where`: which events an export is sent.

use super::{refuse, texts};
use crate::{
    events::Criteria,
    policy::{PolicyRule, Protocol, document::Section, error::Problems, transport},
};

/// The names that there are.
pub(super) struct Named<'p> {
    pub(super) interfaces: &'p [String],
    pub(super) protocols: &'p [Protocol],
    pub(super) rules: &'p [PolicyRule],
}

impl Named<'_> {
    /// Whether events can have `name` by this `key`.
    fn know(&self, key: &str, name: &str) -> bool {
        match key {
            "interface" => name.starts_with('#') || self.interfaces.iter().any(|it| it == name),
            "rule" => name == "default" || self.rules.iter().any(|rule| rule.name == name),
            "protocol" => {
                self.protocols.iter().any(|protocol| protocol.name == name)
                    || transport::NAMES.iter().any(|(known, _)| *known == name)
                    || name.parse::<u8>().is_ok()
            }
            _ => true,
        }
    }
}

/// What `section` selects.
pub(super) fn selected(
    section: &Section<'_, '_>,
    named: &Named<'_>,
    problems: &mut Problems,
) -> Criteria {
    // Not by time nor by flow: what is to come is not known.
    let keys: Vec<_> = Criteria::LISTS.into_iter().filter(|key| *key != "flow").collect();
    section.deny_unknown_keys(&keys, problems);
    let mut criteria = Criteria::default();
    for key in keys {
        let Some(value) = section.value(key) else { continue };
        let texts = texts(key, value, problems);
        for (text, value) in &texts {
            let name = text.strip_prefix('!').unwrap_or(text);
            if !named.know(key, name) {
                refuse(key, name, &format!("the policy has no such {key}"), value, problems);
            }
        }
        let mut this = Criteria::default();
        let (Some(all), Some(own)) = (criteria.list_mut(key), this.list_mut(key)) else { continue };
        own.extend(texts.iter().map(|(text, _)| text.clone()));
        all.clone_from(own);
        if let Err(refusal) = this.understood(0)
            && let Some((text, value)) = texts.get(refusal.index)
        {
            refuse(key, text, &refusal.reason, value, problems);
        }
    }
    criteria
}
