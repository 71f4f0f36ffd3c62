//! What a rule matches: a set of points in each dimension. All that a rule may ask for is here, as a dimension.

use std::{collections::HashMap, rc::Rc};

use firewall_common::classifier::service;
use ipnet::IpNet;

use super::set::{Point, Range, Set};
use crate::policy::{
    Policy,
    image::rows::{Row, rows},
    network::Reach,
};

/// Source, destination, service, interface.
pub(super) const DIMENSIONS: usize = 4;
/// IPv4 and IPv6: no packet is of both.
const FAMILIES: [u8; 2] = [4, 6];

/// A set of points for each dimension: the packets of which each lies in its set. Those of addresses are of one family.
pub(super) type Part = [Rc<Set>; DIMENSIONS];

/// What a rule matches.
#[derive(Default)]
pub(super) struct Region {
    /// All that is in one of these, none of which is empty.
    pub(super) parts: Vec<Part>,
    /// For each family a part that holds all parts of it.
    pub(super) hulls: Vec<Part>,
    /// How many rows the classifier makes of the rule; with one row the hulls are the parts.
    pub(super) rows: usize,
}

impl Region {
    /// Adds a row of the rule, which has a part of each family.
    fn add(&mut self, row: [Part; 2]) {
        if self.rows == 0 {
            self.hulls = row.to_vec();
        } else {
            for (hull, part) in self.hulls.iter_mut().zip(&row) {
                for (hull, set) in hull.iter_mut().zip(part) {
                    // Of the rows of a rule one asks for any source, and for interfaces that the other asks for too.
                    if set.covers(hull) {
                        hull.clone_from(set);
                    }
                }
            }
        }
        self.rows += 1;
        let is_empty = |part: &Part| part.iter().any(|set| set.is_empty());
        self.parts.extend(row.into_iter().filter(|part| !is_empty(part)));
    }

    /// Whether the rule matches nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// A part that a packet is in.
    pub(super) fn part_of(&self, packet: &[Point; DIMENSIONS]) -> Option<&Part> {
        let holds = |part: &&Part| part.iter().zip(packet).all(|(set, point)| set.contains(*point));
        self.parts.iter().find(holds)
    }

    /// Whether all that is in `other` is in it. Where two parts of it hold a part of `other` together, one of them
    /// does: they are of two rows, see [`Region::add`].
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covers =
            |part: &Part, other: &Part| part.iter().zip(other).all(|(set, it)| set.covers(it));
        other.parts.iter().all(|other| self.parts.iter().any(|part| covers(part, other)))
    }
}

/// The regions of a policy's rules, in their order. Equal lists have one set.
pub(super) fn regions(policy: &Policy) -> Vec<Region> {
    let rows = rows(policy, &Reach::of(policy.networks()));
    let mut sets = Sets::default();
    let mut regions = Vec::new();
    regions.resize_with(policy.rules().len(), Region::default);
    for row in &rows {
        let parts = sets.parts(policy, row);
        regions[row.rule].add(parts);
    }
    regions
}

/// The sets of lists that rules have, each made once.
#[derive(Default)]
struct Sets<'a> {
    /// Of networks, by family.
    addresses: HashMap<&'a [usize], [Rc<Set>; 2]>,
    services: HashMap<&'a [usize], Rc<Set>>,
    interfaces: HashMap<&'a [usize], Rc<Set>>,
}

impl<'a> Sets<'a> {
    fn parts(&mut self, policy: &Policy, row: &'a Row<'_>) -> [Part; 2] {
        let mut in_networks = |wanted| {
            let by_family = || {
                let set = networks(policy, wanted);
                FAMILIES.map(|family| Rc::new(set.of_family(family)))
            };
            self.addresses.entry(wanted).or_insert_with(by_family).clone()
        };
        let ([source4, source6], [destination4, destination6]) =
            (in_networks(row.from), in_networks(row.to));
        let service = self.services.entry(row.protocols);
        let service = service.or_insert_with(|| Rc::new(of_protocols(policy, row.protocols)));
        let interface = self.interfaces.entry(&row.interfaces);
        let interface = interface.or_insert_with(|| Rc::new(by(policy, &row.interfaces)));
        [(source4, destination4), (source6, destination6)]
            .map(|(from, to)| [from, to, service.clone(), interface.clone()])
    }
}

/// The addresses in any of these networks; of an empty list: all.
pub(super) fn networks(policy: &Policy, wanted: &[usize]) -> Set {
    if wanted.is_empty() {
        return Set::of(vec![((4, 0), (4, u32::MAX.into())), ((6, 0), (6, u128::MAX))]);
    }
    Set::of(policy.prefixes_of(wanted).map(range).collect())
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
        let number = |asked| (0, service(protocol.transport.number(), asked).into());
        let services = protocol.services().into_iter();
        services.map(move |asked| (number(*asked.start()), number(*asked.end())))
    });
    Set::of(ranges.collect())
}

/// The interfaces at these places, as a row has them; of an empty list: all, and what the policy does not name.
fn by(policy: &Policy, wanted: &[usize]) -> Set {
    if wanted.is_empty() {
        let (itself, unnamed) = (policy.interfaces().len(), 1);
        return Set::of(vec![((0, 0), (0, (itself + unnamed) as u128))]);
    }
    Set::of(wanted.iter().map(|place| ((0, *place as u128), (0, *place as u128))).collect())
}
