//! By what an address is in a network, or what comes in by an interface.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
};

use crate::policy::{Network, Policy, error::quote};

/// An end of a flow is in a network.
pub(super) struct Membership<'a> {
    /// The network that was asked about, and those that lead from it to the one that has the reason itself.
    networks: Vec<&'a str>,
    /// The prefix or the interface.
    reason: String,
}

impl fmt::Display for Membership<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.networks.iter().copied().map(quote);
        write!(f, "in network {}", names.next().unwrap_or_default())?;
        names.try_for_each(|name| write!(f, ", by {name}"))?;
        write!(f, ", by {}", self.reason)
    }
}

/// By what `address`, which comes in by `interface` if that is known, is in network `of`; by the fewest other networks.
pub(super) fn membership<'a>(
    policy: &'a Policy,
    of: usize,
    address: IpAddr,
    interface: Option<&str>,
) -> Option<Membership<'a>> {
    let reason = |network: &Network| {
        let prefix = network.prefixes.iter().find(|prefix| prefix.contains(&address));
        let by_interface =
            || network.interfaces.iter().find(|name| Some(name.as_str()) == interface);
        match prefix {
            Some(prefix) => Some(prefix.to_string()),
            None => by_interface().map(|name| format!("interface {}", quote(name))),
        }
    };
    // By which network each was come to. None is part of itself, so the way back ends.
    let mut come_from: HashMap<usize, Option<usize>> = HashMap::from([(of, None)]);
    let mut open = VecDeque::from([of]);
    while let Some(index) = open.pop_front() {
        let network = policy.networks.get(index)?;
        if let Some(reason) = reason(network) {
            let mut way = vec![index];
            way.extend(std::iter::successors(come_from[&index], |index| come_from[index]));
            let networks =
                way.iter().rev().map(|index| policy.networks[*index].name.as_str()).collect();
            return Some(Membership { networks, reason });
        }
        for member in &network.networks {
            if !come_from.contains_key(member) {
                come_from.insert(*member, Some(index));
                open.push_back(*member);
            }
        }
    }
    None
}
