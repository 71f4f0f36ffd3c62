//! What the classifier makes of each rule: a bit of its blocks, or two.

use crate::policy::{Policy, network::Reach};

/// What one bit of the blocks asks for. A rule whose sources are told by addresses or by interfaces, "this or that",
/// has two: a bit says "this and that".
pub(in crate::policy) struct Row<'a> {
    /// The rule's place in the file.
    pub(in crate::policy) rule: usize,
    /// Networks of which the source must be in one; none: any source.
    pub(in crate::policy) from: &'a [usize],
    /// Networks of which the destination must be in one; none: any destination.
    pub(in crate::policy) to: &'a [usize],
    /// Protocols of which the flow must be one; none: any.
    pub(in crate::policy) protocols: &'a [usize],
    /// Interfaces by one of which it must come in, by their places in the policy, behind the last of which stands this
    /// machine itself; none: any, or this machine itself.
    pub(in crate::policy) interfaces: Vec<usize>,
}

/// The rows of all rules, in the order of the file.
pub(in crate::policy) fn rows<'a>(policy: &'a Policy, reach: &Reach<'_>) -> Vec<Row<'a>> {
    let place = |name: &str| policy.interfaces.iter().position(|interface| interface == name);
    let mut rows = Vec::with_capacity(policy.rules.len());
    for (index, rule) in policy.rules.iter().enumerate() {
        let row = |from, interfaces| Row {
            rule: index,
            from,
            to: &rule.to,
            protocols: &rule.protocols,
            interfaces,
        };
        let itself = rule.itself.then_some(policy.interfaces.len());
        let own = rule.interfaces.iter().filter_map(|name| place(name)).chain(itself);
        let own: Vec<usize> = own.collect();
        let sources = reach.sources(&rule.from);
        if sources.by_address {
            rows.push(row(&rule.from, own.clone()));
        }
        let of_sources = sources.interfaces.iter().filter_map(|name| place(name));
        let of_both: Vec<usize> =
            of_sources.filter(|place| own.is_empty() || own.contains(place)).collect();
        // Where the rule's own interfaces are others than those of its sources, nothing comes in by both.
        if !of_both.is_empty() {
            rows.push(row(&[], of_both));
        }
    }
    rows
}
