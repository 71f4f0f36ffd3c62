//! What a policy says about a new flow, by looking at each rule; and policies and flows to ask it about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{
    policy::Action,
    wire::{Packet, ip_protocol},
};
use firewall_user::policy::{Policy, PolicyRule};
use ipnet::IpNet;

use crate::differential::Random;

/// The first packet of a flow, as far as rules look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes, of the same family.
    pub destination: IpAddr,
    /// Its IP protocol.
    pub protocol: u8,
    /// Its destination port, if it has one.
    pub port: u16,
}

/// What `policy` does with a flow; then, each counted from 1 and 0 for none, the rule that says so and the protocol
/// that the flow belongs to.
pub fn judge(policy: &Policy, asked: &Asked) -> (Action, usize, usize) {
    let around = |address| {
        let networks = policy.networks().iter();
        let around = networks.map(|it| it.prefixes.iter().any(|it| it.contains(&address)));
        around.collect::<Vec<bool>>()
    };
    let (from, to) = (around(asked.source), around(asked.destination));
    let protocol = policy.protocols().iter().position(|it| {
        it.transport.number() == asked.protocol
            && it.ports.iter().any(|it| it.contains(&asked.port))
    });
    let any =
        |wanted: &[usize], there: &[bool]| wanted.is_empty() || wanted.iter().any(|it| there[*it]);
    let speaks = |rule: &PolicyRule| {
        let of_protocol = rule.protocols.is_empty()
            || protocol.is_some_and(|protocol| rule.protocols.contains(&protocol));
        of_protocol && any(&rule.from, &from) && any(&rule.to, &to)
    };
    let rule = policy.rules().iter().position(speaks);
    let action = rule.map_or(policy.default_action(), |rule| policy.rules()[rule].action);
    (action, rule.map_or(0, |rule| rule + 1), protocol.map_or(0, |protocol| protocol + 1))
}

/// How large a random policy is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Networks, of each of which the prefixes are of both families.
    pub networks: usize,
    /// Prefixes of each family of a network.
    pub prefixes: usize,
    /// Protocols, of a range of ports each.
    pub protocols: usize,
    /// Rules.
    pub rules: usize,
}

impl Asked {
    /// The packet as the kernel's programs see it after parsing.
    pub fn packet(&self) -> Packet {
        let words = |address| match address {
            IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()), 0, 0, 0],
            IpAddr::V6(address) => bytemuck::cast(address.octets()),
        };
        Packet {
            version: if self.source.is_ipv4() { 4 } else { 6 },
            source: words(self.source),
            destination: words(self.destination),
            protocol: self.protocol,
            destination_port: self.port,
            ..Packet::default()
        }
    }

    /// A flow that rules of `policy` may speak about: of a rule's networks and protocol, or next to them.
    pub fn random(random: &mut Random, policy: &Policy) -> Self {
        let v4 = random.chance(50);
        let rules = policy.rules();
        let rule = (!rules.is_empty()).then(|| &rules[random.index(rules.len())]);
        let source = address(random, policy, rule.map(|rule| &rule.from), v4);
        let destination = address(random, policy, rule.map(|rule| &rule.to), v4);
        let wanted = rule.and_then(|rule| rule.protocols.first());
        let known = policy.protocols();
        let index = wanted.copied().filter(|_| random.chance(80));
        let index = index.or_else(|| (!known.is_empty()).then(|| random.index(known.len())));
        let (protocol, port) = match index.map(|index| &known[index]) {
            Some(it) if random.chance(95) => {
                let range = &it.ports[random.index(it.ports.len())];
                let near = [*range.start(), *range.end(), range.end().saturating_add(1)];
                (it.transport.number(), random.pick(&near))
            }
            _ => (
                random.pick(&[ip_protocol::TCP, ip_protocol::UDP]),
                random.between(1, 65_535) as u16,
            ),
        };
        Self { source, destination, protocol, port }
    }
}

/// An address of one of the networks at these indices or of any, or one beside it.
fn address(
    random: &mut Random,
    policy: &Policy,
    networks: Option<&Vec<usize>>,
    v4: bool,
) -> IpAddr {
    let wanted = networks.filter(|it| !it.is_empty() && random.chance(80));
    let index = match wanted {
        Some(wanted) => random.pick(wanted),
        None if policy.networks().is_empty() => return random_address(random, v4),
        None => random.index(policy.networks().len()),
    };
    let prefixes = policy.networks()[index].prefixes.iter();
    let prefixes: Vec<&IpNet> = prefixes.filter(|it| matches!(it, IpNet::V4(_)) == v4).collect();
    if prefixes.is_empty() || random.chance(5) {
        return random_address(random, v4);
    }
    let prefix = random.pick(&prefixes);
    let edge = if random.chance(50) { prefix.network() } else { prefix.broadcast() };
    let step = random.pick(&[0, 0, 1, u128::MAX]);
    match edge {
        IpAddr::V4(edge) => Ipv4Addr::from_bits(edge.to_bits().wrapping_add(step as u32)).into(),
        IpAddr::V6(edge) => Ipv6Addr::from_bits(edge.to_bits().wrapping_add(step)).into(),
    }
}

fn random_address(random: &mut Random, v4: bool) -> IpAddr {
    if v4 {
        Ipv4Addr::from_bits(random.any() as u32).into()
    } else {
        Ipv6Addr::from_bits(u128::from(random.any()) << 64 | u128::from(random.any())).into()
    }
}

/// The text of a policy, other for each seed. Rules are called `r1` and so on.
pub fn policy(seed: u64, size: Size) -> String {
    let mut random = Random::new(seed);
    let default = random.pick(&["deny", "allow"]);
    let mut text = format!("[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"{default}\"\n");
    for network in 0..size.networks {
        let prefixes = (0..size.prefixes)
            .flat_map(|_| [prefix(&mut random, true), prefix(&mut random, false)]);
        let prefixes: Vec<String> = prefixes.map(|it| format!("\"{it}\"")).collect();
        text += &format!("[network.n{network}]\nprefixes = [{}]\n", prefixes.join(", "));
    }
    // Every protocol has ports of its own, some of them next to another's.
    let room = 65_000 / size.protocols.max(1);
    for protocol in 0..size.protocols {
        let transport = random.pick(&["tcp", "udp"]);
        let first = 1 + protocol * room;
        let last = first + random.index(room);
        text += &format!(
            "[protocol.p{protocol}]\ntransport = \"{transport}\"\nports = [\"{first}-{last}\"]\n"
        );
    }
    for rule in 1..=size.rules {
        let action = random.pick(&["allow", "deny", "reject"]);
        text += &format!("[[rule]]\nname = \"r{rule}\"\naction = \"{action}\"\n");
        for (key, letter, count) in [
            ("from", 'n', size.networks),
            ("to", 'n', size.networks),
            ("protocols", 'p', size.protocols),
        ] {
            if count == 0 || random.chance(25) {
                continue;
            }
            let listed: Vec<String> = (0..random.between(1, 2))
                .map(|_| format!("\"{letter}{}\"", random.index(count)))
                .collect();
            text += &format!("{key} = [{}]\n", listed.join(", "));
        }
    }
    text
}

/// A prefix. Few bits of addresses differ, so that prefixes lie in each other and next to each other.
fn prefix(random: &mut Random, v4: bool) -> IpNet {
    if v4 {
        let bits = 10 << 24 | (random.any() as u32 & 0x00ff_ff03);
        let length = random.pick(&[8, 12, 16, 20, 24, 24, 24, 30, 31, 32]);
        IpNet::new(Ipv4Addr::from_bits(bits).into(), length)
    } else {
        let bits = u128::from(random.any()) << 64 & !(0xff00 << 112) | 0xfd << 120;
        let bits = bits | u128::from(random.any() & 3);
        let length = random.pick(&[8, 16, 32, 48, 64, 64, 64, 96, 127, 128]);
        IpNet::new(Ipv6Addr::from_bits(bits).into(), length)
    }
    .expect("the length is one of the family")
    .trunc()
}
