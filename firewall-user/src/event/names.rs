//! The names behind the numbers of a record.

use crate::instance::{Instance, State};

/// The names behind the numbers of a record.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The instance.
    pub instance: Option<String>,
    /// Protocol n at n - 1, also those that are gone.
    pub protocols: Vec<String>,
    /// Rule n at n - 1, also those that are gone.
    pub rules: Vec<String>,
    /// Interface indices and names.
    pub interfaces: Vec<(u32, String)>,
}
impl Names {
    /// The names of an instance that is up.
    pub fn of(instance: &Instance, state: &State) -> Self {
        Self {
            instance: Some(instance.name().to_owned()),
            protocols: state.protocols.iter().map(|protocol| protocol.name.clone()).collect(),
            rules: state.rules.clone(),
            interfaces: state
                .interfaces
                .iter()
                .map(|interface| (interface.index, interface.name.clone()))
                .collect(),
        }
    }

    /// The name of interface `index`, `#N` if there is none; `None` for 0.
    pub fn interface(&self, index: u32) -> Option<String> {
        if index == 0 {
            return None;
        }
        let known = self.interfaces.iter().find(|(known, _)| *known == index);
        Some(known.map_or_else(|| format!("#{index}"), |(_, name)| name.clone()))
    }
}

/// What `number`, counted from 1, is called in `list`; `None` if it has no name.
pub fn named(list: &[String], number: usize) -> Option<String> {
    let name = number.checked_sub(1).and_then(|index| list.get(index));
    name.filter(|name| !name.is_empty()).cloned()
}
