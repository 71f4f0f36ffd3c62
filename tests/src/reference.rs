//! What a policy says about a new flow, by looking at each rule; and policies and flows to ask it about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::{
    policy::Action,
    wire::{Packet, ip_protocol},
};
use firewall_user::policy::{IcmpType, Network, Policy, PolicyRule, Protocol, Transport};
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
    /// Its ICMP type and code, if it is ICMP.
    pub icmp: [u8; 2],
    /// The interface that it comes in by: its place in the policy, from 1; 0: none, as what the gateway itself sends;
    /// beyond the last: one that the policy does not name.
    pub interface: u16,
}

/// What `policy` does with a flow; then, each counted from 1 and 0 for none, the rule that says so and the protocol
/// that the flow belongs to.
pub fn judge(policy: &Policy, asked: &Asked) -> (Action, usize, usize) {
    let around = |address| {
        members(policy, |network| network.prefixes.iter().any(|it| it.contains(&address)))
    };
    let interface =
        usize::from(asked.interface).checked_sub(1).and_then(|at| policy.interfaces().get(at));
    let comes_by = |listed: &[String]| interface.is_some_and(|name| listed.contains(name));
    let behind = members(policy, |network| comes_by(&network.interfaces));
    let (from, to) = (around(asked.source), around(asked.destination));
    let from: Vec<bool> =
        from.iter().zip(&behind).map(|(around, behind)| *around || *behind).collect();
    let protocol = policy.protocols().iter().position(|it| is_of(it, asked));
    let any =
        |wanted: &[usize], there: &[bool]| wanted.is_empty() || wanted.iter().any(|it| there[*it]);
    let speaks = |rule: &PolicyRule| {
        let of_protocol = rule.protocols.is_empty()
            || protocol.is_some_and(|protocol| rule.protocols.contains(&protocol));
        let by_interface = rule.is_of_any_interface()
            || comes_by(&rule.interfaces)
            || rule.itself && asked.interface == 0;
        of_protocol && by_interface && any(&rule.from, &from) && any(&rule.to, &to)
    };
    let rule = policy.rules().iter().position(speaks);
    let action = rule.map_or(policy.default_action(), |rule| policy.rules()[rule].action);
    (action, rule.map_or(0, |rule| rule + 1), protocol.map_or(0, |protocol| protocol + 1))
}

/// Of each network whether `holds` says so of it, or of one that it names, or of one that that names, and so on.
fn members(policy: &Policy, holds: impl Fn(&Network) -> bool) -> Vec<bool> {
    let networks = policy.networks();
    let mut members: Vec<bool> = networks.iter().map(holds).collect();
    loop {
        let before = members.clone();
        for (index, network) in networks.iter().enumerate() {
            members[index] |= network.networks.iter().any(|named| members[*named]);
        }
        if members == before {
            return members;
        }
    }
}

fn is_of(protocol: &Protocol, asked: &Asked) -> bool {
    let [kind, code] = asked.icmp;
    protocol.transport.number() == asked.protocol
        && match protocol.transport {
            Transport::Tcp | Transport::Udp => {
                protocol.ports.iter().any(|it| it.contains(&asked.port))
            }
            Transport::Icmp | Transport::Icmpv6 => {
                let is = |it: &IcmpType| it.kind == kind && it.code.is_none_or(|it| it == code);
                protocol.types.is_empty() || protocol.types.iter().any(is)
            }
            Transport::Other(_) => true,
        }
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
            icmp_type: self.icmp[0],
            icmp_code: self.icmp[1],
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
        let mut asked = Self {
            source,
            destination,
            protocol: 0,
            port: 0,
            icmp: [0; 2],
            interface: random.index(policy.interfaces().len() + 1) as u16,
        };
        let wanted = rule.and_then(|rule| rule.protocols.first());
        let known = policy.protocols();
        let index = wanted.copied().filter(|_| random.chance(80));
        let index = index.or_else(|| (!known.is_empty()).then(|| random.index(known.len())));
        match index.map(|index| &known[index]) {
            Some(it) if random.chance(90) => asked.ask_for(it, random),
            _ => asked.ask_for_any(random),
        }
        asked
    }

    /// Something of `protocol`, or next to it.
    fn ask_for(&mut self, protocol: &Protocol, random: &mut Random) {
        self.protocol = protocol.transport.number();
        if let Some(range) = pick(&protocol.ports, random) {
            let near = [*range.start(), *range.end(), range.end().saturating_add(1)];
            self.port = random.pick(&near);
        }
        if let Some(icmp) = pick(&protocol.types, random) {
            let code = icmp.code.filter(|_| random.chance(80)).unwrap_or(random.any() as u8);
            self.icmp = [icmp.kind.wrapping_add(u8::from(random.chance(10))), code];
        }
    }

    fn ask_for_any(&mut self, random: &mut Random) {
        const { assert!(ip_protocol::TCP == 6 && ip_protocol::ICMPV6 == 58) };
        let any = random.any() as u8;
        self.protocol = random.pick(&[6, 6, 17, 17, 1, 58, 47, 50, 0, 255, any]);
        match self.protocol {
            ip_protocol::TCP | ip_protocol::UDP => self.port = random.between(1, 65_535) as u16,
            ip_protocol::ICMP | ip_protocol::ICMPV6 => {
                self.icmp = [random.any() as u8, random.any() as u8];
            }
            _ => {}
        }
    }
}

fn pick<'a, T>(items: &'a [T], random: &mut Random) -> Option<&'a T> {
    if items.is_empty() { None } else { items.get(random.index(items.len())) }
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
    let mut text = format!(
        "[gateway]\ninterfaces = [\"lan0\", \"lan1\", \"wan0\"]\ndefault = \"{default}\"\n"
    );
    for network in 0..size.networks {
        let prefixes = (0..size.prefixes)
            .flat_map(|_| [prefix(&mut random, true), prefix(&mut random, false)]);
        let prefixes: Vec<String> = prefixes.map(|it| format!("\"{it}\"")).collect();
        text += &format!("[network.n{network}]\nprefixes = [{}]\n", prefixes.join(", "));
        text += &more_of_network(&mut random, network);
    }
    for protocol in 0..size.protocols {
        text += &protocol_text(&mut random, protocol, size.protocols);
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
                .map(|_| random.index(count))
                // Those are about interfaces too.
                .map(|it| if key == "to" && is_mixed(it) { it - 1 } else { it })
                .map(|it| format!("\"{letter}{it}\""))
                .collect();
            text += &format!("{key} = [{}]\n", listed.join(", "));
        }
        if random.chance(20) {
            let with_itself = random.chance(30);
            let lists: &[_] = if with_itself { &ITSELF_LISTS } else { &INTERFACE_LISTS };
            text += &format!("interface = [{}]\n", random.pick(lists));
        }
    }
    text
}

const INTERFACE_LISTS: [&str; 4] = ["\"lan0\"", "\"lan1\"", "\"wan0\"", "\"lan1\", \"lan0\""];
/// What a rule may list besides.
const ITSELF_LISTS: [&str; 2] = ["\"self\"", "\"self\", \"lan1\""];

/// Whether network `index` of a random policy may have interfaces, and name others that do.
const fn is_mixed(index: usize) -> bool {
    index % 4 == 3
}

/// What network `index` has besides prefixes: others, which come before it, and interfaces.
fn more_of_network(random: &mut Random, index: usize) -> String {
    let mut text = String::new();
    if index > 0 && random.chance(30) {
        let mut named = random.index(index);
        if is_mixed(named) && !is_mixed(index) {
            named -= 1;
        }
        // One next to it, often: so they come to be deep.
        let next = index - 1 - usize::from(is_mixed(index - 1));
        let named = if random.chance(50) { next } else { named };
        text += &format!("networks = [\"n{named}\"]\n");
    }
    if is_mixed(index) && random.chance(60) {
        text += &format!("interfaces = [{}]\n", random.pick(&INTERFACE_LISTS));
    }
    text
}

/// Protocol `index` of `count`. Every one has ports, or ICMP types, of its own, some of them next to another's.
fn protocol_text(random: &mut Random, index: usize, count: usize) -> String {
    let head = format!("[protocol.p{index}]\n");
    let byte = index % 256;
    if index < 256 && random.chance(30) {
        let transport = random.pick(&["icmp", "icmpv6"]);
        let codes = format!("\"{byte}/0\", \"{byte}/3\"");
        let types = if random.chance(50) { byte.to_string() } else { codes };
        return format!("{head}transport = \"{transport}\"\ntypes = [{types}]\n");
    }
    if index < 256 && ![1, 6, 17, 58].contains(&byte) && random.chance(20) {
        return format!("{head}transport = {byte}\n");
    }
    let transport = random.pick(&["tcp", "udp"]);
    let room = 65_000 / count;
    let first = 1 + index * room;
    let last = first + random.index(room);
    format!("{head}transport = \"{transport}\"\nports = [\"{first}-{last}\"]\n")
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
