//! What a rule matches: a set of points in each dimension. All that a rule may ask for is here, as a dimension.

use std::{collections::HashMap, rc::Rc};

use firewall_common::classifier::service;
use ipnet::IpNet;

use super::set::{Range, Set};
use crate::policy::{Policy, PolicyRule};

/// Source, destination, service.
pub(super) const DIMENSIONS: usize = 3;
/// IPv4 and IPv6: no packet is of both.
pub(super) const FAMILIES: [u8; 2] = [4, 6];

/// A set of points for each dimension: the packets of which each lies in its set. Those of addresses are of one family.
pub(super) type Part = [Rc<Set>; DIMENSIONS];
/// What a rule matches, of each of the [`FAMILIES`].
pub(super) type Region = [Part; 2];

/// The regions of a policy's rules, in their order. Equal lists have one set.
pub(super) fn regions(policy: &Policy) -> Vec<Region> {
    let mut addresses: HashMap<&[usize], [Rc<Set>; 2]> = HashMap::new();
    let mut services: HashMap<&[usize], Rc<Set>> = HashMap::new();
    let mut region = |rule| {
        let PolicyRule { from, to, protocols, .. }: &PolicyRule = rule;
        let mut in_networks = |wanted| {
            let by_family = || {
                let set = networks(policy, wanted);
                FAMILIES.map(|family| Rc::new(set.of_family(family)))
            };
            addresses.entry(wanted).or_insert_with(by_family).clone()
        };
        let ([source4, source6], [destination4, destination6]) =
            (in_networks(from), in_networks(to));
        let service =
            services.entry(protocols).or_insert_with(|| Rc::new(of_protocols(policy, protocols)));
        [[source4, destination4, service.clone()], [source6, destination6, service.clone()]]
    };
    policy.rules().iter().map(&mut region).collect()
}

/// Whether no packet is in it.
pub(super) fn is_empty(part: &Part) -> bool {
    part.iter().any(|set| set.is_empty())
}

/// The addresses in any of these networks; of an empty list: all.
pub(super) fn networks(policy: &Policy, wanted: &[usize]) -> Set {
    if wanted.is_empty() {
        return Set::of(vec![((4, 0), (4, u32::MAX.into())), ((6, 0), (6, u128::MAX))]);
    }
    let prefixes = wanted.iter().flat_map(|index| &policy.networks()[*index].prefixes);
    Set::of(prefixes.map(range).collect())
}

fn range(prefix: &IpNet) -> Range {
    match prefix {
        IpNet::V4(net) => {
            let number = |address: std::net::Ipv4Addr| (4, address.to_bits().into());
            (number(net.network()), number(net.broadcast()))
        }
        IpNet::V6(net) => ((6, net.network().to_bits()), (6, net.broadcast().to_bits())),
    }
}

/// The services of any of these protocols, as the classifier numbers them; of an empty list: all.
fn of_protocols(policy: &Policy, wanted: &[usize]) -> Set {
    if wanted.is_empty() {
        return Set::of(vec![((0, 0), (0, service(u8::MAX, u16::MAX).into()))]);
    }
    let protocols = wanted.iter().map(|index| &policy.protocols()[*index]);
    let ranges = protocols.flat_map(|protocol| {
        let number = |port| (0, service(protocol.transport.number(), port).into());
        protocol.ports.iter().map(move |ports| (number(*ports.start()), number(*ports.end())))
    });
    Set::of(ranges.collect())
}
