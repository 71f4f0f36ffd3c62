//! From the [`Policy`] to what the kernel's tables hold.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use firewall_common::{
    flow::Timeouts,
    policy::{ASYMMETRIC, Binding, NetworkSet, PROTOCOLS_MAX, PolicyHead, Rule},
    shortcut::{FOR_TCP, FOR_UDP},
};
use ipnet::IpNet;

use super::{Policy, PolicyRule, TableSizes};

/// The numbers of a policy's protocols, in their order; 0 is "none of them".
const PROTOCOL_NUMBERS: RangeInclusive<u8> = 1..=u8::MAX;

/// A policy as plain data for the kernel's tables, and the names to read them back by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// How many rules there are, what applies if none does, and what applies whatever they say.
    /// `adopt_until` is 0: it is no part of a policy.
    pub head: PolicyHead,
    /// How long a flow may be silent.
    pub timeouts: Timeouts,
    /// How much room there is for flows.
    pub tables: TableSizes,
    /// The rules in their order.
    pub rules: Vec<Rule>,
    /// One entry for each port that belongs to a protocol.
    pub protocol_by_port: Vec<PortEntry>,
    /// For each protocol, by its number (from 1), the filter bound to it. Where none is bound the
    /// entry is all zeros. Every generation is 0.
    pub bindings: Vec<(u8, Binding)>,
    /// The commands that each filter allows, by its number.
    pub commands: Vec<(u8, u64)>,
    /// The IPv4 prefixes of all networks, and those that are asymmetric.
    pub prefixes_v4: Vec<Prefix<4>>,
    /// The IPv6 prefixes of all networks, and those that are asymmetric.
    pub prefixes_v6: Vec<Prefix<16>>,
    /// What the numbers in the tables are called.
    pub names: Names,
}

/// A port that belongs to a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// 6 for TCP, 17 for UDP.
    pub transport: u8,
    /// Destination port, 1 to 65535, in host order.
    pub port: u16,
    /// Number of the protocol, from 1.
    pub protocol: u8,
}

/// A prefix and every network that holds it: those that list it and those that list a shorter prefix
/// around it, so that one longest-prefix lookup finds all networks of an address. [`ASYMMETRIC`] is
/// one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<const N: usize> {
    /// Length of the prefix in bits, 0 to `8 * N`.
    pub prefix_len: u32,
    /// The address in network order; bits beyond the prefix are 0.
    pub address: [u8; N],
    /// The networks.
    pub networks: NetworkSet,
}

/// What the numbers in the tables are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    rules: Vec<String>,
    protocols: Vec<String>,
    networks: Vec<String>,
}

impl Names {
    /// The name of rule `index`, from 0.
    pub fn rule(&self, index: usize) -> Option<&str> {
        self.rules.get(index).map(String::as_str)
    }

    /// The name of protocol `number`, from 1; protocol 0 is none.
    pub fn protocol(&self, number: u8) -> Option<&str> {
        let index = usize::from(number).checked_sub(1)?;
        self.protocols.get(index).map(String::as_str)
    }

    /// The name of the network that bit `bit` of a [`NetworkSet`] stands for.
    pub fn network(&self, bit: usize) -> Option<&str> {
        self.networks.get(bit).map(String::as_str)
    }

    /// The names of all rules, by index.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// The names of all protocols; the first has number 1.
    pub fn protocols(&self) -> &[String] {
        &self.protocols
    }

    /// The names of all networks, by bit.
    pub fn networks(&self) -> &[String] {
        &self.networks
    }
}

impl Policy {
    /// The tables of this policy.
    pub fn compile(&self) -> Compiled {
        let (prefixes_v4, prefixes_v6) = self.compile_prefixes();
        Compiled {
            head: self.compile_head(),
            timeouts: self.timeouts,
            tables: self.tables,
            rules: self.rules.iter().map(compile_rule).collect(),
            protocol_by_port: self.compile_ports(),
            bindings: self.compile_bindings(),
            commands: self.filters.iter().map(|of| (of.filter as u8, of.commands)).collect(),
            prefixes_v4,
            prefixes_v6,
            names: Names {
                rules: self.rules.iter().map(|rule| rule.name.clone()).collect(),
                protocols: self.protocols.iter().map(|protocol| protocol.name.clone()).collect(),
                networks: self.networks.iter().map(|network| network.name.clone()).collect(),
            },
        }
    }

    fn compile_head(&self) -> PolicyHead {
        PolicyHead {
            rule_count: self.rules.len() as u32,
            default_action: self.default_action as u32,
            adopt_until: 0,
            relaxed_until: 0,
            source_half_open_max: self.limits.half_open_per_source,
            source_new_per_second: self.limits.new_per_second_per_source,
            syn_attack_per_second: self.limits.syn_attack_per_second,
            syn_authentication: self.limits.syn_authentication as u8,
            new_flow: self.new_flow as u8,
            has_asymmetric: self.asymmetric_prefixes().next().is_some().into(),
            shortcut: if self.shortcut { FOR_UDP | FOR_TCP } else { 0 },
        }
    }

    fn compile_ports(&self) -> Vec<PortEntry> {
        let mut entries = Vec::new();
        for (number, protocol) in PROTOCOL_NUMBERS.zip(&self.protocols) {
            let transport = protocol.transport.number();
            let ports = protocol.ports.iter().cloned().flatten();
            entries.extend(ports.map(|port| PortEntry { transport, port, protocol: number }));
        }
        entries
    }

    fn compile_bindings(&self) -> Vec<(u8, Binding)> {
        let bindings = self.protocols.iter().map(|protocol| {
            let settings = protocol.filter.and_then(|filter| self.filter_settings(filter));
            let Some(settings) = settings else {
                return Binding::default();
            };
            Binding {
                filter: settings.filter as u8,
                mode: settings.mode as u8,
                profile: settings.profile as u8,
                ..Binding::default()
            }
        });
        PROTOCOL_NUMBERS.zip(bindings).collect()
    }

    fn compile_prefixes(&self) -> (Vec<Prefix<4>>, Vec<Prefix<16>>) {
        let (mut v4, mut v6) = (PrefixSets::new(), PrefixSets::new());
        let networks = self.networks.iter().enumerate();
        let listed = networks.flat_map(|(bit, network)| {
            network.prefixes.iter().map(move |prefix| (prefix, 1 << bit))
        });
        // One network more, without a name, whose bit is the last.
        let asymmetric = self.asymmetric_prefixes().map(|prefix| (prefix, ASYMMETRIC));
        for (prefix, set) in listed.chain(asymmetric) {
            let (sets, key) = match prefix {
                IpNet::V4(net) => {
                    // To the left, so that prefixes of both families compare alike.
                    let bits = u128::from(net.network().to_bits()) << 96;
                    (&mut v4, (bits, net.prefix_len()))
                }
                IpNet::V6(net) => (&mut v6, (net.network().to_bits(), net.prefix_len())),
            };
            *sets.entry(key).or_default() |= set;
        }
        let v4_address = |bits: u128| Ipv4Addr::from_bits((bits >> 96) as u32).octets();
        let v6_address = |bits| Ipv6Addr::from_bits(bits).octets();
        (flatten(v4, v4_address), flatten(v6, v6_address))
    }
}

fn compile_rule(rule: &PolicyRule) -> Rule {
    let mut protocols = [0; PROTOCOLS_MAX / 64];
    for index in &rule.protocols {
        let number = index + 1;
        protocols[number / 64] |= 1 << (number % 64);
    }
    let set = |indices: &[usize]| indices.iter().fold(0, |set: NetworkSet, index| set | 1 << index);
    Rule {
        from: set(&rule.from),
        to: set(&rule.to),
        protocols,
        action: rule.action as u32,
        half_open_max: rule.half_open_max,
        new_per_second: rule.new_per_second,
        reserved: 0,
    }
}

/// The networks that list a prefix, by its address (aligned to the left of the 128 bits) and length.
/// In the order of this key a prefix comes after every prefix that covers it.
type PrefixSets = BTreeMap<(u128, u8), NetworkSet>;

/// Adds to each prefix the networks of those that cover it.
fn flatten<const N: usize>(
    sets: PrefixSets,
    address_of: impl Fn(u128) -> [u8; N],
) -> Vec<Prefix<N>> {
    let mut flattened = Vec::with_capacity(sets.len());
    // The prefixes around the current one, the longest last, each with the networks of those before.
    let mut around: Vec<((u128, u8), NetworkSet)> = Vec::new();
    for (key, listed) in sets {
        while around.last().is_some_and(|(outer, _)| !covers(*outer, key)) {
            around.pop();
        }
        let networks = listed | around.last().map_or(0, |(_, networks)| *networks);
        around.push((key, networks));
        let (bits, length) = key;
        flattened.push(Prefix { prefix_len: length.into(), address: address_of(bits), networks });
    }
    flattened
}

/// Whether `inner`, whose key is not the smaller one, lies in `outer`.
fn covers(outer: (u128, u8), inner: (u128, u8)) -> bool {
    let host_bits = 128 - u32::from(outer.1);
    // A shift by all 128 bits is what a prefix of length 0 would need: it covers everything.
    outer.1 <= inner.1 && (outer.0 ^ inner.0).checked_shr(host_bits).unwrap_or(0) == 0
}
