//! From the [`Policy`] to what the kernel's tables hold.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use firewall_common::{classifier::Line, flow::Timeouts, policy::Binding};

use super::{Policy, TableSizes, image::image};

/// The numbers by which the kernel's tables know a policy's rules, protocols and interfaces, in the order of the
/// policy. None is 0, and none is given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Those of the rules.
    pub rules: Vec<u16>,
    /// Those of the protocols, below [`PROTOCOLS_MAX`](firewall_common::policy::PROTOCOLS_MAX).
    pub protocols: Vec<u16>,
    /// Those of the interfaces, at most [`INTERFACES_MAX`](firewall_common::layout::INTERFACES_MAX).
    pub interfaces: Vec<u16>,
}

impl Numbers {
    /// Numbers for a policy before which there was none: from 1, in order.
    pub fn fresh(policy: &Policy) -> Self {
        let count = |count: usize| (1..).take(count).collect();
        Self {
            rules: count(policy.rules.len()),
            protocols: count(policy.protocols.len()),
            interfaces: count(policy.interfaces.len()),
        }
    }
}

/// A policy as plain data for the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What the rules, networks and protocols come to.
    pub image: Vec<Line>,
    /// How long a flow may be silent.
    pub timeouts: Timeouts,
    /// How much room there is for flows.
    pub tables: TableSizes,
    /// The protocols' filters by protocol number. Where none is bound the entry is all zeros. Every generation
    /// is 0.
    pub bindings: Vec<(u16, Binding)>,
    /// The commands that each filter allows, by its number.
    pub commands: Vec<(u8, u64)>,
}

impl Policy {
    /// The tables of this policy, before which there was none.
    pub fn compile(&self) -> Compiled {
        self.compile_with(&Numbers::fresh(self))
    }

    /// The tables of this policy, whose rules and protocols have these numbers.
    pub fn compile_with(&self, numbers: &Numbers) -> Compiled {
        Compiled {
            image: image(self, numbers),
            timeouts: self.timeouts,
            tables: self.tables,
            bindings: self.compile_bindings(numbers),
            commands: self.filters.iter().map(|of| (of.filter as u8, of.commands)).collect(),
        }
    }

    /// A number that another policy hardly has.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn compile_bindings(&self, numbers: &Numbers) -> Vec<(u16, Binding)> {
        let bindings = self.protocols.iter().map(|protocol| {
            let Some(settings) = self.settings_of(protocol) else {
                return Binding::default();
            };
            Binding {
                filter: settings.filter as u8,
                mode: settings.mode as u8,
                profile: settings.profile as u8,
                ..Binding::default()
            }
        });
        numbers.protocols.iter().copied().zip(bindings).collect()
    }
}
