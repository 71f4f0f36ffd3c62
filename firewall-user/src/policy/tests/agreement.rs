//! What people are told about a policy agrees with what the kernel's classifier does: which rule decides, and which
//! can never match. Random policies over so few addresses and services that every packet can be tried.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use firewall_common::wire::ip_protocol;
use ipnet::IpNet;
use proptest::{prelude::*, sample::subsequence};

use super::*;

const NETWORKS: usize = 5;
const PROTOCOLS: usize = 4;
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
struct Rule {
    action: &'static str,
    from: Vec<usize>,
    to: Vec<usize>,
    protocols: Vec<usize>,
}

fn rule() -> impl Strategy<Value = Rule> {
    let some = |count: usize| {
        prop_oneof![Just(Vec::new()), subsequence((0..count).collect::<Vec<_>>(), 1..=2)]
    };
    let action = prop::sample::select(vec!["allow", "deny", "reject"]);
    (action, some(NETWORKS), some(NETWORKS), some(PROTOCOLS))
        .prop_map(|(action, from, to, protocols)| Rule { action, from, to, protocols })
}

fn text(networks: &[Vec<IpNet>], owners: &[usize], rules: &[Rule], default: &str) -> String {
    let mut text = format!("[gateway]\ninterfaces = ['lan0']\ndefault = '{default}'\n");
    for (index, prefixes) in networks.iter().enumerate() {
        let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        text += &format!("[network.n{index}]\nprefixes = {prefixes:?}\n");
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
    for (index, rule) in rules.iter().enumerate() {
        text += &format!("[[rule]]\nname = 'r{index}'\naction = '{}'\n", rule.action);
        for (key, letter, wanted) in
            [("from", 'n', &rule.from), ("to", 'n', &rule.to), ("protocols", 'p', &rule.protocols)]
        {
            let names: Vec<_> = wanted.iter().map(|it| format!("{letter}{it}")).collect();
            if !names.is_empty() {
                text += &format!("{key} = {names:?}\n");
            }
        }
    }
    text
}

/// Every packet that a policy could tell from another, but for those to themselves.
fn probes() -> impl Iterator<Item = Probe> {
    let families = [true, false].into_iter();
    let ends = families.flat_map(|is_v4| {
        let sources = (0..=ADDRESSES).map(move |number| address(is_v4, number));
        sources.flat_map(move |source| {
            (0..=ADDRESSES).map(move |number| (source, address(is_v4, number)))
        })
    });
    ends.flat_map(|(source, destination)| {
        let (icmp, icmp_type) =
            if source.is_ipv4() { (ip_protocol::ICMP, 8) } else { (ip_protocol::ICMPV6, 128) };
        let ports = (1..=PORTS + 1).chain(50_000..50_000 + PROTOCOLS as u16);
        let with_ports =
            ports.flat_map(|port| [(ip_protocol::TCP, port), (ip_protocol::UDP, port)]);
        with_ports.chain([(icmp, 0), (47, 0)]).map(move |(protocol, destination_port)| Probe {
            source,
            destination,
            protocol,
            source_port: None,
            destination_port,
            icmp_type: if protocol == icmp { icmp_type } else { 0 },
            interface: None,
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
        | WarningKind::NoFamily { rule, .. } => Some(rule.trim_matches('`').to_owned()),
        _ => None,
    });
    dead.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn explanations_and_warnings_agree_with_the_classifier(
        networks in prop::collection::vec(prop::collection::vec(prefix(), 0..5), NETWORKS),
        owners in owners(),
        rules in prop::collection::vec(rule(), 0..9),
        default in prop::sample::select(vec!["allow", "deny"]),
    ) {
        let checked = checked(&text(&networks, &owners, &rules, default));
        let policy = &checked.policy;
        let image = policy.compile().image;
        let mut never: BTreeSet<_> = policy.rules().iter().map(|rule| rule.name.clone()).collect();
        for probe in probes() {
            let judged = classifier::judge(&image[..], &probe.packet(), 0).expect("a whole image");
            if let Some(rule) = usize::from(judged.rule).checked_sub(1) {
                never.remove(&policy.rules()[rule].name);
            }
            if probe.source != probe.destination {
                let expected =
                    (judged.rule, judged.protocol, model::action_name(judged.action));
                prop_assert_eq!(explained(policy, &probe), expected, "{}", probe);
            }
        }
        // Of a rule that asks for a network without prefixes that is told of the network.
        let is_empty = |wanted: &[usize]| {
            !wanted.is_empty() && wanted.iter().all(|network| networks[*network].is_empty())
        };
        for (index, rule) in rules.iter().enumerate() {
            if is_empty(&rule.from) || is_empty(&rule.to) {
                never.remove(&format!("r{index}"));
            }
        }
        prop_assert_eq!(said_dead(&checked), never);
    }
}
