//! What people are told about a policy agrees with what the kernel's classifier does: which rule decides, and which
//! can never match. Random policies over so few addresses and services that every packet can be tried.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use firewall_common::{classifier::UNNAMED, wire::ip_protocol};
use ipnet::IpNet;
use proptest::{prelude::*, sample::subsequence};

use super::*;

const NETWORKS: usize = 5;
/// Networks from this one on have no interfaces.
const WITH_INTERFACES: usize = 2;
const INTERFACES: [&str; 2] = ["lan0", "wan0"];
/// Protocols with ports.
const PROTOCOLS: usize = 4;
/// Protocols without.
const OTHERS: [&str; 4] = [
    "transport = 'icmp'\ntypes = ['echo-request', 'timestamp-request/3']",
    "transport = 'icmp'\ntypes = ['redirect', 'timestamp-request/0']",
    "transport = 'icmpv6'",
    "transport = 'gre'",
];
/// Addresses of each family from which prefixes are made, and behind them one that stands for all others.
const ADDRESSES: u8 = 4;
/// Ports of TCP and UDP of which protocols are made, and behind them one that stands for all others.
const PORTS: u16 = 3;

fn address(is_v4: bool, number: u8) -> IpAddr {
    match (is_v4, number < ADDRESSES) {
        (true, true) => Ipv4Addr::new(10, 0, 0, number).into(),
        (true, false) => Ipv4Addr::new(192, 0, 2, 1).into(),
        (false, true) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into(),
        (false, false) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// All of the family, or up to all four addresses.
fn prefix() -> impl Strategy<Value = IpNet> {
    (any::<bool>(), 0..ADDRESSES, 0..=3u8).prop_map(|(is_v4, number, host_bits)| {
        let address = address(is_v4, number);
        let all_bits = if is_v4 { 32 } else { 128 };
        let length = if host_bits == 3 { 0 } else { all_bits - host_bits };
        IpNet::new(address, length).expect("the length is in range").trunc()
    })
}

/// Which protocol each port of TCP and UDP belongs to; the last: none.
fn owners() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=PROTOCOLS, 2 * usize::from(PORTS))
}

#[derive(Clone, Debug)]
struct Network {
    prefixes: Vec<IpNet>,
    /// Places of networks before this one.
    networks: Vec<usize>,
    interfaces: Vec<usize>,
}

fn network() -> impl Strategy<Value = Network> {
    let prefixes = prop::collection::vec(prefix(), 0..4);
    let networks = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(vec![0, 1, 2, 3], 1..=2)];
    let interfaces = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(vec![0, 1], 1..=2)];
    (prefixes, networks, interfaces).prop_map(|(prefixes, networks, interfaces)| Network {
        prefixes,
        networks,
        interfaces,
    })
}

/// Networks that name others before them alone, of which the last ones have no interfaces: those may stand in `to`.
fn networks() -> impl Strategy<Value = Vec<Network>> {
    prop::collection::vec(network(), NETWORKS).prop_map(|mut networks| {
        for (index, network) in networks.iter_mut().enumerate() {
            network.networks.retain(|named| *named < index);
            if index >= WITH_INTERFACES {
                network.interfaces.clear();
                network.networks.retain(|named| *named >= WITH_INTERFACES);
            }
        }
        networks
    })
}

#[derive(Clone, Debug)]
struct Rule {
    action: &'static str,
    from: Vec<usize>,
    to: Vec<usize>,
    protocols: Vec<usize>,
    interfaces: Vec<usize>,
}

fn rule() -> impl Strategy<Value = Rule> {
    let some = |from: usize, count: usize| {
        prop_oneof![Just(Vec::new()), subsequence((from..count).collect::<Vec<_>>(), 1..=2)]
    };
    let action = prop::sample::select(vec!["allow", "deny", "reject"]);
    let interfaces = prop_oneof![
        2 => Just(Vec::new()),
        1 => subsequence((0..=INTERFACES.len()).collect::<Vec<_>>(), 1..=3)
    ];
    let protocols = some(0, PROTOCOLS + OTHERS.len());
    (action, some(0, NETWORKS), some(WITH_INTERFACES, NETWORKS), protocols, interfaces).prop_map(
        |(action, from, to, protocols, interfaces)| Rule {
            action,
            from,
            to,
            protocols,
            interfaces,
        },
    )
}

/// `key = ["…", …]`, unless nothing is listed.
fn line(key: &str, names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { String::new() } else { format!("{key} = {names:?}\n") }
}

fn text(networks: &[Network], owners: &[usize], rules: &[Rule], default: &str) -> String {
    let interface = |place: &usize| INTERFACES.get(*place).copied().unwrap_or("self").to_owned();
    let mut text = format!("[gateway]\ninterfaces = {INTERFACES:?}\ndefault = '{default}'\n");
    for (index, network) in networks.iter().enumerate() {
        let prefixes: Vec<_> = network.prefixes.iter().map(ToString::to_string).collect();
        text += &format!("[network.n{index}]\nprefixes = {prefixes:?}\n");
        text += &line("networks", network.networks.iter().map(|it| format!("n{it}")));
        text += &line("interfaces", network.interfaces.iter().map(interface));
    }
    for protocol in 0..PROTOCOLS {
        // Half of the protocols are of TCP, and have ports that nobody asks for.
        let transport = if protocol % 2 == 0 { "tcp" } else { "udp" };
        let mut ports = vec![50_000 + protocol];
        let of = owners.chunks(PORTS.into()).nth(protocol % 2).unwrap_or_default();
        let owned = of.iter().enumerate().filter(|(_, owner)| **owner == protocol);
        ports.extend(owned.map(|(port, _)| port + 1));
        text += &format!("[protocol.p{protocol}]\ntransport = '{transport}'\nports = {ports:?}\n");
    }
    for (index, other) in (PROTOCOLS..).zip(OTHERS) {
        text += &format!("[protocol.p{index}]\n{other}\n");
    }
    for (index, rule) in rules.iter().enumerate() {
        text += &format!("[[rule]]\nname = 'r{index}'\naction = '{}'\n", rule.action);
        text += &line("from", rule.from.iter().map(|it| format!("n{it}")));
        text += &line("to", rule.to.iter().map(|it| format!("n{it}")));
        text += &line("protocols", rule.protocols.iter().map(|it| format!("p{it}")));
        text += &line("interface", rule.interfaces.iter().map(interface));
    }
    text
}

/// What a policy could tell from another service, each of an IP protocol: its port, or its ICMP type and code.
fn services() -> Vec<(u8, u16, [u8; 2])> {
    let ports = (1..=PORTS + 1).chain(50_000..50_000 + PROTOCOLS as u16);
    let with_ports =
        ports.flat_map(|port| [(ip_protocol::TCP, port, [0; 2]), (ip_protocol::UDP, port, [0; 2])]);
    let icmp =
        [[5, 0], [5, 1], [8, 0], [13, 0], [13, 3], [200, 0]].map(|it| (ip_protocol::ICMP, 0, it));
    let icmpv6 = [[128, 0], [139, 0], [200, 9]].map(|it| (ip_protocol::ICMPV6, 0, it));
    let others = [47, 50, 0, 255].map(|it| (it, 0, [0; 2]));
    with_ports.chain(icmp).chain(icmpv6).chain(others).collect()
}

/// Every packet that a policy could tell from another, with the number of where it comes from.
fn probes() -> impl Iterator<Item = (Probe, u16)> {
    let families = [true, false].into_iter();
    let ends = families.flat_map(|is_v4| {
        let sources = (0..=ADDRESSES).map(move |number| address(is_v4, number));
        sources.flat_map(move |source| {
            (0..=ADDRESSES).map(move |number| (source, address(is_v4, number)))
        })
    });
    let origins = || (1..).zip(INTERFACES).chain([(0, ITSELF), (UNNAMED, "unnamed0")]);
    ends.flat_map(move |(source, destination)| {
        let all = services().into_iter().flat_map(move |it| origins().map(move |from| (it, from)));
        all.map(move |((protocol, destination_port, [icmp_type, icmp_code]), (number, name))| {
            let interface = Some(name.to_owned());
            let source_port = None;
            let probe = Probe {
                source,
                destination,
                protocol,
                source_port,
                destination_port,
                icmp_type,
                icmp_code,
                interface,
            };
            (probe, number)
        })
    })
}

/// The numbers of rule and protocol, and the action, as the explanation has them.
fn explained(policy: &Policy, probe: &Probe) -> (u16, u16, &'static str) {
    let explanation = policy.explain(probe, &[]);
    let place = |index: Option<usize>| index.map_or(0, |index| index as u16 + 1);
    let rule = explanation.rule.as_ref().map(|decider| {
        let is = |rule: &PolicyRule| rule.name == decider.name;
        policy.rules().iter().position(is).expect("it is a rule of the policy")
    });
    let passed_over = explanation.passed_over.len();
    assert_eq!(passed_over, rule.unwrap_or(policy.rules().len()), "each rule before it is named");
    assert!(explanation.passed_over.iter().all(|passed| !passed.because.is_empty()));
    let protocol = explanation.protocol.map(|name| {
        policy.protocols().iter().position(|it| it.name == name).expect("it is of the policy")
    });
    (place(rule), place(protocol), explanation.decision)
}

/// Whether nothing is in any of the networks that are wanted.
fn is_nothing(networks: &[Network], wanted: &[usize]) -> bool {
    let is_empty = |index: &usize| {
        let Network { prefixes, networks: named, interfaces } = &networks[*index];
        prefixes.is_empty()
            && interfaces.is_empty()
            && (named.is_empty() || is_nothing(networks, named))
    };
    !wanted.is_empty() && wanted.iter().all(is_empty)
}

/// The rules of which it is said that they can never match.
fn said_dead(checked: &Checked) -> BTreeSet<String> {
    let kinds = checked.warnings.warnings().iter().filter_map(|warning| match warning.kind() {
        ProblemKind::Warning(kind) => Some(&**kind),
        _ => None,
    });
    let dead = kinds.filter_map(|kind| match kind {
        WarningKind::Redundant { rule, .. }
        | WarningKind::Contradicted { rule, .. }
        | WarningKind::CoveredTogether { rule, .. }
        | WarningKind::NoInterface { rule }
        | WarningKind::NoFamily { rule, .. } => Some(rule.trim_matches('`').to_owned()),
        _ => None,
    });
    dead.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn explanations_and_warnings_agree_with_the_classifier(
        networks in networks(),
        owners in owners(),
        rules in prop::collection::vec(rule(), 0..9),
        default in prop::sample::select(vec!["allow", "deny"]),
    ) {
        let checked = checked(&text(&networks, &owners, &rules, default));
        let policy = &checked.policy;
        let image = policy.compile().image;
        let mut never: BTreeSet<_> = policy.rules().iter().map(|rule| rule.name.clone()).collect();
        for (probe, number) in probes() {
            let judged = classifier::judge(&image[..], &probe.packet(), number);
            let judged = judged.expect("a whole image");
            if let Some(rule) = usize::from(judged.rule).checked_sub(1) {
                never.remove(&policy.rules()[rule].name);
            }
            // Not explained by rules are packets to oneself, and what comes in where nobody looks.
            if probe.source != probe.destination && number != UNNAMED {
                let expected =
                    (judged.rule, judged.protocol, model::action_name(judged.action));
                prop_assert_eq!(explained(policy, &probe), expected, "{}", probe);
            }
        }
        // Of a rule that asks for a network of nothing that is told of the network.
        for (index, rule) in rules.iter().enumerate() {
            if is_nothing(&networks, &rule.from) || is_nothing(&networks, &rule.to) {
                never.remove(&format!("r{index}"));
            }
        }
        prop_assert_eq!(said_dead(&checked), never);
    }
}
