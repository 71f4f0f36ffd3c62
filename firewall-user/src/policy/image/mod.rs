//! From a policy's rules, networks and protocols to the image that the kernel's programs classify by:
//! [`firewall_common::classifier`] says what it is.

mod arrangement;
mod ranges;
pub(super) mod rows;
mod sources;
mod tree;

use std::collections::HashMap;

use firewall_common::classifier::{
    AS_DESTINATION, AS_INTERFACE, AS_SERVICE, AS_SOURCE, ASYMMETRIC, BLOCKS_MAX, Head,
    INTERFACE_NUMBERS, Line, PROTOCOL, Place, TERMS_PER_LINE, Terms, Tree, WORDS, service,
};
use ipnet::IpNet;

use self::{
    arrangement::{Arrangement, RuleSets},
    ranges::{Listed, Lists, Ranges},
    rows::{Row, rows},
};
use super::{Numbers, Policy, network::Reach};

/// An image in the making.
struct Builder {
    lines: Vec<Line>,
    /// Where lines that are referred to lie: equal ones are there once.
    known: HashMap<Line, u32>,
}

impl Builder {
    /// Puts lines at the end and says where they begin.
    fn append(&mut self, lines: impl IntoIterator<Item = Line>) -> u32 {
        let first = self.lines.len() as u32;
        self.lines.extend(lines);
        first
    }

    /// The place of a line that anybody may refer to.
    fn intern(&mut self, line: Line) -> u32 {
        *self.known.entry(line).or_insert_with(|| {
            self.lines.push(line);
            self.lines.len() as u32 - 1
        })
    }

    /// The place of a block; 0 for one without a rule.
    fn block(&mut self, block: Line) -> u32 {
        if block == Line::default() { 0 } else { self.intern(block) }
    }

    /// The block at a place.
    fn block_at(&self, place: u32) -> Line {
        if place == 0 { Line::default() } else { self.lines[place as usize] }
    }

    /// Puts words at the end, in lines of their own, and says which word of the image is the first.
    fn append_words(&mut self, words: &[u32]) -> u32 {
        let lines = words.chunks(WORDS).map(|chunk| {
            let mut line = [0; WORDS];
            line[..chunk.len()].copy_from_slice(chunk);
            Line::of(line)
        });
        self.append(lines.collect::<Vec<_>>()) * WORDS as u32
    }
}

/// The image of a policy whose rules and protocols have these numbers.
pub(super) fn image(policy: &Policy, numbers: &Numbers) -> Vec<Line> {
    let mut builder = Builder { lines: vec![Line::default()], known: HashMap::new() };
    let reach = Reach::of(&policy.networks);
    let rows = rows(policy, &reach);
    let arrangement = Arrangement::of(&rows);
    let addresses = Addresses::new(policy, &rows, &reach, &arrangement, &mut builder);
    let [addresses_v4, addresses_v6] = addresses.trees(policy, &mut builder);
    let mut head = Head {
        default_action: policy.default_action as u32,
        source_half_open_max: policy.limits.half_open_per_source,
        source_new_per_second: policy.limits.new_per_second_per_source,
        syn_attack_per_second: policy.limits.syn_attack_per_second,
        syn_authentication: policy.limits.syn_authentication as u8,
        new_flow: policy.new_flow as u8,
        essential: policy.essential,
        checks_sources: policy.anti_spoofing.is_on().into(),
        reject_per_second: policy.limits.reject_per_second,
        sources: sources::sources(policy, numbers, &mut builder),
        has_asymmetric: policy.asymmetric_prefixes().next().is_some().into(),
        addresses_v4,
        addresses_v6,
        services: services(policy, &rows, numbers, &arrangement, &mut builder),
        interfaces: interfaces(policy, &rows, numbers, &arrangement, &mut builder),
        firsts: [u16::MAX; BLOCKS_MAX],
        ..Head::default()
    };
    for (first, block) in head.firsts.iter_mut().zip(&arrangement.blocks) {
        *first = block.first().map_or(0, |row| rows[*row].rule as u16);
    }
    let rule_of = |row: usize| rows[row].rule;
    let places: Vec<u32> = arrangement.bits().map(|row| place(row.map(rule_of), numbers)).collect();
    head.places = builder.append_words(&places);
    let terms = terms(policy, numbers);
    head.terms_count = terms.len() as u32;
    head.terms = builder.append(lines_of_terms(&terms));
    builder.lines[0] = Line(bytemuck::cast(head));
    builder.lines
}

/// What a bit of the blocks stands for; 0: for nothing.
fn place(rule: Option<usize>, numbers: &Numbers) -> u32 {
    rule.map_or(0, |rule| Place { order: rule as u16, number: numbers.rules[rule] }.to_word())
}

/// What the rules do, by number.
fn terms(policy: &Policy, numbers: &Numbers) -> Vec<Terms> {
    let count = numbers.rules.iter().max().map_or(0, |highest| usize::from(*highest) + 1);
    let mut terms = vec![Terms::default(); count];
    for (rule, number) in policy.rules.iter().zip(&numbers.rules) {
        terms[usize::from(*number)] = Terms {
            action: rule.action as u32,
            half_open_max: rule.half_open_max,
            new_per_second: rule.new_per_second,
            flags: if rule.log { 0 } else { Terms::QUIET },
        };
    }
    terms
}

fn lines_of_terms(terms: &[Terms]) -> Vec<Line> {
    let line = |chunk: &[Terms]| {
        let mut line = [Terms::default(); TERMS_PER_LINE as usize];
        line[..chunk.len()].copy_from_slice(chunk);
        Line(bytemuck::cast(line))
    };
    terms.chunks(TERMS_PER_LINE as usize).map(line).collect()
}

/// The two dimensions that are addresses: a class is what an address is as a source and as a destination.
struct Addresses {
    from: RuleSets,
    to: RuleSets,
}

impl Addresses {
    fn new(
        policy: &Policy,
        rows: &[Row<'_>],
        reach: &Reach<'_>,
        arrangement: &Arrangement,
        builder: &mut Builder,
    ) -> Self {
        let count = policy.networks.len();
        let mut from = arrangement.sets(count, |row| rows[row].from, builder);
        let mut to = arrangement.sets(count, |row| rows[row].to, builder);
        // From the networks that name others down, so that each passes all on that it was asked for.
        for whole in reach.order.iter().rev() {
            for part in &policy.networks[*whole].networks {
                from.include(*whole, *part);
                to.include(*whole, *part);
            }
        }
        Self { from, to }
    }

    /// The trees of IPv4 and IPv6.
    fn trees(&self, policy: &Policy, builder: &mut Builder) -> [Tree; 2] {
        let [mut v4, mut v6] = [Listed::default(), Listed::default()];
        let networks = policy.networks.iter().enumerate();
        let of_networks = networks
            .flat_map(|(index, network)| network.prefixes.iter().map(move |it| (it, Some(index))));
        let asymmetric = policy.asymmetric_prefixes().map(|prefix| (prefix, None));
        for (prefix, network) in of_networks.chain(asymmetric) {
            match prefix {
                // To the left, so that prefixes of both families compare alike.
                IpNet::V4(net) => {
                    v4.add(u128::from(net.network().to_bits()) << 96, net.prefix_len(), network);
                }
                IpNet::V6(net) => v6.add(net.network().to_bits(), net.prefix_len(), network),
            }
        }
        let outside = Self::class(self.from.any, self.to.any, builder);
        let v4 = v4.ranges(outside, |around, lists| self.within(around, lists, builder));
        let v6 = v6.ranges(outside, |around, lists| self.within(around, lists, builder));
        let narrow = v4.into_iter().map(|(start, class)| ((start >> 96) as u32, class));
        [tree::build(builder, &narrow.collect::<Vec<_>>()), tree::build(builder, &v6)]
    }

    /// The class of addresses in a prefix, which lies in one whose addresses are of class `around`.
    fn within(&self, around: u32, lists: &Lists, builder: &mut Builder) -> u32 {
        let line = builder.lines[(around & !ASYMMETRIC) as usize];
        let blocks = |at| std::array::from_fn(|block| line.words()[at + block]);
        let from = self.from.with(blocks(AS_SOURCE), &lists.networks, builder);
        let to = self.to.with(blocks(AS_DESTINATION), &lists.networks, builder);
        let asymmetric = if lists.asymmetric { ASYMMETRIC } else { around & ASYMMETRIC };
        Self::class(from, to, builder) | asymmetric
    }

    fn class(from: [u32; BLOCKS_MAX], to: [u32; BLOCKS_MAX], builder: &mut Builder) -> u32 {
        let mut line = [0; WORDS];
        line[AS_SOURCE..AS_SOURCE + BLOCKS_MAX].copy_from_slice(&from);
        line[AS_DESTINATION..AS_DESTINATION + BLOCKS_MAX].copy_from_slice(&to);
        builder.intern(Line::of(line))
    }
}

/// The tree of services.
fn services(
    policy: &Policy,
    rows: &[Row<'_>],
    numbers: &Numbers,
    arrangement: &Arrangement,
    builder: &mut Builder,
) -> Tree {
    let sets = arrangement.sets(policy.protocols.len(), |row| rows[row].protocols, builder);
    let mut class = |protocols: &[usize], number: u16| {
        let mut line = [0; WORDS];
        let blocks = sets.with(sets.any, protocols, builder);
        line[AS_SERVICE..AS_SERVICE + BLOCKS_MAX].copy_from_slice(&blocks);
        line[PROTOCOL] = number.into();
        builder.intern(Line::of(line))
    };
    let none = class(&[], 0);
    let mut listed = Vec::new();
    for (index, (protocol, number)) in policy.protocols.iter().zip(&numbers.protocols).enumerate() {
        let class = class(&[index], *number);
        let of = |what| service(protocol.transport.number(), what);
        let services = protocol.services().into_iter();
        listed.extend(services.map(|it| (of(*it.start()), of(*it.end()), class)));
    }
    listed.sort_unstable();
    let mut ranges = Ranges::new(0, none);
    for (first, last, class) in listed {
        ranges.begin(first, class);
        // A service has 24 bits, so there is always one more number.
        ranges.begin(last + 1, none);
    }
    tree::build(builder, &ranges.finish())
}

/// The table of interfaces by their numbers; 0: no rule asks for one.
fn interfaces(
    policy: &Policy,
    rows: &[Row<'_>],
    numbers: &Numbers,
    arrangement: &Arrangement,
    builder: &mut Builder,
) -> u32 {
    if rows.iter().all(|row| row.interfaces.is_empty()) {
        return 0;
    }
    let of = |row: usize| &rows[row].interfaces[..];
    let itself = policy.interfaces.len();
    let sets = arrangement.sets(itself + 1, of, builder);
    let mut class = |interfaces: &[usize]| {
        let mut line = [0; WORDS];
        let blocks = sets.with(sets.any, interfaces, builder);
        line[AS_INTERFACE..AS_INTERFACE + BLOCKS_MAX].copy_from_slice(&blocks);
        builder.intern(Line::of(line))
    };
    let mut classes = vec![class(&[]); INTERFACE_NUMBERS];
    classes[0] = class(&[itself]);
    for (index, number) in numbers.interfaces.iter().enumerate() {
        classes[usize::from(*number)] = class(&[index]);
    }
    builder.append_words(&classes)
}
