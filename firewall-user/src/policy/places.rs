//! Where in the text of a sound policy its parts stand, by their indices in the [`Policy`](super::Policy).

use toml::de::DeValue;

use super::document::{Section, Span, Value};

/// The places of a policy's parts.
pub(super) struct Places<'a, 'i> {
    root: &'a Section<'a, 'i>,
    networks: Vec<Span>,
    protocols: Vec<Span>,
    rules: Vec<&'a Value<'i>>,
}

impl<'a, 'i> Places<'a, 'i> {
    /// Of a document without problems: then each table stands for one part, in the same order.
    pub(super) fn new(root: &'a Section<'a, 'i>) -> Self {
        Self {
            root,
            networks: named(root, "network"),
            protocols: named(root, "protocol"),
            rules: root
                .value("rule")
                .and_then(|it| it.get_ref().as_array())
                .into_iter()
                .flat_map(|it| it.iter())
                .collect(),
        }
    }

    /// The name of a network, in its header.
    pub(super) fn network(&self, index: usize) -> Span {
        self.networks.get(index).cloned().unwrap_or_default()
    }

    /// The name of a protocol, in its header.
    pub(super) fn protocol(&self, index: usize) -> Span {
        self.protocols.get(index).cloned().unwrap_or_default()
    }

    /// The header of a rule.
    pub(super) fn rule(&self, index: usize) -> Span {
        self.rules.get(index).map(|rule| rule.span()).unwrap_or_default()
    }

    /// The value of a key of a rule, or else its header.
    pub(super) fn of_rule(&self, index: usize, key: &str) -> Span {
        let value = self.rules.get(index).and_then(|rule| rule.get_ref().as_table()?.get(key));
        value.map_or_else(|| self.rule(index), |value| value.span())
    }

    /// The value at this path of tables and keys, if the policy has it.
    pub(super) fn value(&self, path: &[&str]) -> Option<Span> {
        let (first, rest) = path.split_first()?;
        let mut value = self.root.value(first)?;
        for key in rest {
            let DeValue::Table(table) = value.get_ref() else { return None };
            value = table.get(*key)?;
        }
        Some(value.span())
    }

    /// The name in the header of a table such as `[filter.NAME]`, if the policy has it.
    pub(super) fn name(&self, of: &str, name: &str) -> Option<Span> {
        let table = self.root.value(of)?.get_ref().as_table()?;
        table.get_key_value(name).map(|(key, _)| key.span())
    }
}

fn named(root: &Section<'_, '_>, of: &str) -> Vec<Span> {
    let table = root.value(of).and_then(|value| value.get_ref().as_table());
    let mut spans: Vec<_> =
        table.into_iter().flat_map(|table| table.keys()).map(|it| it.span()).collect();
    spans.sort_by_key(|span| span.start);
    spans
}
