//! The same rules for fwx, for nftables as a chain, and for nftables as a verdict map. Of as many as there are only the
//! last one speaks about the flows that begin.

use std::{fmt::Write as _, net::Ipv4Addr};

use firewall_common::policy::RULES_MAX;
use lab::flood;

use super::rules::{COUNTER, FORWARDED_PORT, TABLE};

/// How many rules there are, one ruleset after the other.
pub(super) const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];
const _: () = assert!(COUNTS[COUNTS.len() - 1] <= RULES_MAX);
/// Networks that rules name, each with every port.
const NETWORKS: usize = 50;
const FIRST_PORT: u16 = 20_000;

/// A rule: what comes from a network to a TCP port.
struct Rule {
    network: String,
    port: u16,
    allows: bool,
}

/// Rules of which the last one allows a flood, and nothing else speaks about it.
fn rules(count: usize) -> impl Iterator<Item = Rule> {
    let others = (0..count - 1).map(|number| Rule {
        network: format!("{}/24", Ipv4Addr::new(172, 16, (number % NETWORKS) as u8, 0)),
        port: FIRST_PORT + (number / NETWORKS) as u16,
        allows: false,
    });
    let last =
        Rule { network: flood::SOURCE_NETWORK.to_owned(), port: FORWARDED_PORT, allows: true };
    others.chain([last])
}

/// In place of all rules so far: a chain that a packet goes through until a rule speaks about it.
pub(super) fn chain(count: usize) -> String {
    let lines = rules(count).map(|Rule { network, port, allows }| {
        format!("ip saddr {network} tcp dport {port} {}\n", verdict(allows))
    });
    nftables("", &lines.collect::<String>())
}

/// In place of all rules so far: one look into a map.
pub(super) fn verdict_map(count: usize) -> String {
    let elements = rules(count)
        .map(|Rule { network, port, allows }| format!("{network} . {port} : {}", verdict(allows)));
    let elements: Vec<_> = elements.collect();
    let map = format!(
        "map verdicts {{
            type ipv4_addr . inet_service : verdict; flags interval;
            elements = {{ {} }}
        }}",
        elements.join(",\n")
    );
    nftables(&map, "ip saddr . tcp dport vmap @verdicts\n")
}

fn verdict(allows: bool) -> &'static str {
    if allows { "accept" } else { "drop" }
}

/// What decides about the first packet of a connection, with what every such ruleset has before and behind it.
fn nftables(map: &str, decides: &str) -> String {
    format!(
        "flush ruleset
        table inet {TABLE} {{
            counter {COUNTER} {{}}
            {map}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                tcp flags & (fin | syn | rst | ack) != syn drop
                ct state != new drop
                {decides}
                counter name {COUNTER} drop
            }}
        }}"
    )
}

/// A policy for `interfaces`, with flow tables of these sizes.
pub(super) fn policy(
    count: usize,
    interfaces: &[&str],
    [completed, half_open]: [u32; 2],
) -> String {
    let mut text = format!(
        "[gateway]\ninterfaces = {interfaces:?}\ndefault = \"deny\"\n\
         [tables]\ncompleted = {completed}\nhalf_open = {half_open}\n"
    );
    let (mut networks, mut ports) = (Vec::new(), Vec::new());
    let mut lines = String::new();
    for (number, Rule { network, port, allows }) in rules(count).enumerate() {
        let from = position(&mut networks, network);
        let to = position(&mut ports, port);
        let action = if allows { "allow" } else { "deny" };
        let _ = writeln!(
            lines,
            "[[rule]]\nname = \"r{number}\"\naction = \"{action}\"\nfrom = [\"n{from}\"]\nprotocols = [\"p{to}\"]"
        );
    }
    for (number, network) in networks.iter().enumerate() {
        let _ = writeln!(text, "[network.n{number}]\nprefixes = [\"{network}\"]");
    }
    for (number, port) in ports.iter().enumerate() {
        let _ = writeln!(text, "[protocol.p{number}]\ntransport = \"tcp\"\nports = [{port}]");
    }
    text + &lines
}

/// Where `item` stands among `all`, where it is put if need be.
fn position<T: PartialEq>(all: &mut Vec<T>, item: T) -> usize {
    all.iter().position(|known| *known == item).unwrap_or_else(|| {
        all.push(item);
        all.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use firewall_user::policy::Policy;

    use super::*;

    #[test]
    fn every_policy_has_as_many_rules_as_asked_for() {
        for count in COUNTS {
            let text = policy(count, &["lan0", "wan0"], [1_024, 1_024]);
            let policy = Policy::parse("rules", &text).unwrap();
            assert_eq!(policy.rules().len(), count);
        }
    }

    #[test]
    fn nftables_has_the_same_rules_either_way() {
        assert_eq!(chain(1_000).matches("tcp dport").count(), 1_000);
        assert_eq!(verdict_map(1_000).matches(" : drop").count(), 999);
        for text in [chain(10), verdict_map(10)] {
            assert_eq!(text.matches("11.0.0.0/8").count(), 1);
        }
        assert!(chain(10).contains("ip saddr 11.0.0.0/8 tcp dport 9000 accept"));
        assert!(verdict_map(10).contains("11.0.0.0/8 . 9000 : accept"));
    }

    #[test]
    fn no_two_rules_are_the_same() {
        let all: Vec<_> = rules(10_000).map(|rule| (rule.network, rule.port)).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(all.iter().all(|(_, port)| *port == FORWARDED_PORT || *port >= FIRST_PORT));
    }
}
