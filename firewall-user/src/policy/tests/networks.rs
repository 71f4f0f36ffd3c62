//! Networks of prefixes, of other networks and of interfaces, and what is said about bad ones.

use std::net::IpAddr;

use firewall_common::policy::RULES_MAX;

use super::{
    told::{assert_told, assert_told_in},
    *,
};

const GATEWAY: &str = "[gateway]\ninterfaces = ['lan0', 'lan1', 'wan0']\n";
const TO_REASON: &str = "where a packet leaves is not known when it is judged";
const TO_HELP: &str =
    "name the prefixes behind the interfaces in a network of their own, and that in `to`";

/// The rule for a flow from an address, which comes in by the interface with this number.
fn rule(compiled: &Compiled, source: &str, interface: u16) -> u16 {
    let source: IpAddr = source.parse().expect("an address");
    let (version, source) = match source {
        IpAddr::V4(it) => (4, [u32::from_ne_bytes(it.octets()), 0, 0, 0]),
        IpAddr::V6(it) => (6, bytemuck::cast(it.octets())),
    };
    let packet = Packet { version, source, ..Packet::default() };
    classifier::judge(&compiled.image[..], &packet, interface).expect("a whole image").rule
}

#[test]
fn a_network_is_all_that_it_names() {
    let policy = parsed(&format!(
        "{GATEWAY}\
         [network.site]\nnetworks = ['offices', 'lab']\n\
         [network.offices]\nnetworks = ['berlin', 'lab']\nprefixes = ['10.3.0.0/16']\n\
         [network.berlin]\nprefixes = ['10.1.0.0/16']\n\
         [network.lab]\nprefixes = ['10.2.0.0/16', 'fd00:2::/64']\n\
         [[asymmetric]]\nnetworks = ['offices']\n\
         [[rule]]\nname = 'lab'\naction = 'allow'\nfrom = ['lab']\n\
         [[rule]]\nname = 'offices'\naction = 'allow'\nfrom = ['offices']\n\
         [[rule]]\nname = 'site'\naction = 'allow'\nfrom = ['site']\n"
    ));
    let compiled = policy.compile();
    for (source, expected) in
        [("10.1.2.3", 2), ("10.2.2.3", 1), ("10.3.2.3", 2), ("fd00:2::1", 1), ("10.4.0.0", 0)]
    {
        assert_eq!(rule(&compiled, source, 0), expected, "{source}");
    }
    let mut asymmetric: Vec<String> =
        policy.asymmetric_prefixes().map(ToString::to_string).collect();
    asymmetric.sort();
    assert_eq!(asymmetric, ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "fd00:2::/64"]);
}

#[test]
fn networks_name_each_other_as_deep_as_they_like() {
    let mut text = format!("{GATEWAY}[network.n0]\nprefixes = ['10.0.0.0/8']\n");
    for depth in 1..4096 {
        text += &format!("[network.n{depth}]\nnetworks = ['n{}']\n", depth - 1);
    }
    text += "[[rule]]\nname = 'deep'\naction = 'allow'\nfrom = ['n4095']\n";
    let compiled = parsed(&text).compile();
    assert_eq!([rule(&compiled, "10.9.9.9", 0), rule(&compiled, "11.0.0.0", 0)], [1, 0]);
}

#[test]
fn an_interface_is_a_source_and_a_condition() {
    let policy = parsed(&format!(
        "{GATEWAY}\
         [network.lans]\ninterfaces = ['lan1', 'lan0']\n\
         [network.guests]\nprefixes = ['10.9.0.0/16']\n\
         [network.inside]\nnetworks = ['lans', 'guests']\n\
         [[rule]]\nname = 'by wan'\naction = 'allow'\nfrom = ['inside']\ninterface = ['wan0']\n\
         [[rule]]\nname = 'by lan0'\naction = 'allow'\nfrom = ['lans']\ninterface = ['lan0']\n\
         [[rule]]\nname = 'inside'\naction = 'allow'\nfrom = ['inside']\n\
         [[rule]]\nname = 'not anywhere'\naction = 'allow'\nfrom = ['lans']\ninterface = ['wan0']\n\
         [[rule]]\nname = 'the rest of wan'\naction = 'allow'\ninterface = ['wan0']\n"
    ));
    let numbers = Numbers { interfaces: vec![7, 256, 3], ..Numbers::fresh(&policy) };
    let compiled = policy.compile_with(&numbers);
    let (lan0, lan1, wan0, none, unknown) = (7, 256, 3, 0, 9);
    for (source, interface, expected) in [
        ("10.9.0.1", wan0, 1),
        ("10.8.0.1", wan0, 5),
        ("10.8.0.1", lan0, 2),
        ("fd00::1", lan1, 3),
        ("10.9.0.1", lan1, 3),
        ("10.9.0.1", none, 3),
        ("10.9.0.1", unknown, 3),
        ("10.8.0.1", none, 0),
        ("10.8.0.1", unknown, 0),
    ] {
        assert_eq!(rule(&compiled, source, interface), expected, "{source} by {interface}");
    }
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    let lans = serde_json::json!({"name": "lans", "prefixes": [], "interfaces": ["lan0", "lan1"]});
    assert_eq!(summary["networks"][0], lans);
    assert_eq!(summary["networks"][2]["networks"], serde_json::json!(["lans", "guests"]));
    assert_eq!(summary["rules"][0]["interface"], serde_json::json!(["wan0"]));
}

#[test]
fn what_the_gateway_itself_sends_is_told_from_all_that_comes_in() {
    let policy = parsed(&format!(
        "{GATEWAY}\
         [network.lans]\ninterfaces = ['lan0']\n\
         [network.office]\nprefixes = ['10.1.0.0/16']\nnetworks = ['lans']\n\
         [[rule]]\nname = 'its own or lan1'\naction = 'allow'\nfrom = ['office']\n\
         interface = ['self', 'lan1']\n\
         [[rule]]\nname = 'never'\naction = 'allow'\nfrom = ['lans']\ninterface = ['self']\n\
         [[rule]]\nname = 'itself'\naction = 'allow'\ninterface = ['self']\n"
    ));
    let compiled = policy.compile();
    for (source, interface, expected) in [
        ("10.1.0.1", 0, 1),
        ("10.1.0.1", 2, 1),
        ("10.1.0.1", 1, 0),
        ("10.1.0.1", classifier::UNNAMED, 0),
        ("192.0.2.1", 0, 3),
        ("192.0.2.1", 2, 0),
        ("192.0.2.1", classifier::UNNAMED, 0),
    ] {
        assert_eq!(rule(&compiled, source, interface), expected, "{source} by {interface}");
    }
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    assert_eq!(summary["rules"][0]["interface"], serde_json::json!(["lan1", "self"]));
    assert_eq!(summary["rules"][2]["interface"], serde_json::json!(["self"]));
    let others = policy.with_interfaces(vec!["lan1".to_owned(), "lan0".to_owned()]);
    assert!(others.is_ok(), "the gateway itself is no interface: {others:?}");
}

#[test]
fn no_interface_is_called_as_the_gateway_itself_is() {
    let message = "bad interface name `self`: in rules it stands for the gateway itself";
    let help = "give it another name: `ip link set self name lan0`";
    let text = "[gateway]\ninterfaces = ['lan0', 'self']";
    assert_told_in(text, (2, 23), "'self'", message, help);
    let help = "what the gateway itself sends comes in by no interface: say `interface = [\"self\"]` in the rule";
    let text = "[network.a]\ninterfaces = ['lan0', 'self']";
    assert_told(text, (2, 23), "'self'", "there is no interface `self`", help);
    let text = "[network.a]\nprefixes = []\n[anti_spoofing.sources]\nself = ['a']";
    assert_told(
        text,
        (4, 1),
        "self",
        "there is no interface `self`",
        "those of `[gateway]`: `lan0`",
    );
}

#[test]
fn who_asks_for_no_interface_pays_for_none() {
    let head = |text: &str| {
        let compiled = parsed(&format!("{GATEWAY}{text}")).compile();
        *classifier::Lines::head(&compiled.image[..]).expect("a head")
    };
    let unused = "[network.lan]\ninterfaces = ['lan0']\n";
    assert_eq!(head(unused).interfaces, 0);
    let rule = "[[rule]]\nname = 'a'\naction = 'allow'\nfrom = ['lan']\n";
    assert_ne!(head(&format!("{unused}{rule}")).interfaces, 0);
}

#[test]
fn other_interfaces_must_have_all_that_the_policy_names() {
    let rule = "[[rule]]\nname = 'a'\naction = 'allow'\ninterface = ['lan1']\n";
    let policy = parsed(&format!("{GATEWAY}[network.lan]\ninterfaces = ['lan0']\n{rule}"));
    let with = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        policy.clone().with_interfaces(names).map_err(|error| error.to_string())
    };
    assert!(with(&["x", "lan1", "lan0"]).is_ok());
    let error = with(&["lan1"]).expect_err("a network names the other");
    assert!(error.starts_with("--interface leaves lan0 out, which the network \"lan\""), "{error}");
    let error = with(&["lan0"]).expect_err("a rule names the other");
    assert!(error.starts_with("--interface leaves lan1 out, which the rule \"a\""), "{error}");
}

#[test]
fn a_network_has_something() {
    let message = "[network.a] lacks the key `prefixes`";
    let help = "it needs `prefixes`, `networks` with names of other networks, or `interfaces`";
    assert_told("[network.a]", (1, 1), "[network.a]", message, help);
    let message = "`interfaces` is an empty list, which would match nothing";
    let text = "[network.a]\ninterfaces = []";
    assert_told(text, (2, 14), "[]", message, "leave `interfaces` out, or name some");
}

#[test]
fn names_are_those_that_there_are() {
    let message = "there is no network `offces`";
    let text = "[network.a]\nnetworks = ['offces']\n[network.offices]\nprefixes = []";
    assert_told(text, (2, 13), "'offces'", message, "did you mean `offices`?");
    let message = "there is no interface `lan9`";
    let text = "[network.a]\ninterfaces = ['lan9']";
    assert_told(text, (2, 15), "'lan9'", message, "did you mean `lan0`?");
    let message = "there is no interface `dmz`";
    let text = "[[rule]]\nname = 'a'\naction = 'allow'\ninterface = ['dmz']";
    let help = "each interface of [gateway], and the gateway itself: `lan0`, `self`";
    assert_told(text, (4, 14), "'dmz'", message, help);
    let message = "`interface` must be a list of strings, not a string";
    let text = "[[rule]]\nname = 'a'\naction = 'allow'\ninterface = 'lan0'";
    assert_told(text, (4, 13), "'lan0'", message, "");
}

#[test]
fn a_cycle_is_told_with_its_way_round() {
    let text = "[network.a]\nnetworks = ['b']\n\
                [network.b]\nnetworks = ['x', 'c']\n\
                [network.c]\nprefixes = []\nnetworks = ['a']\n\
                [network.x]\nprefixes = []";
    let message = "network `a` is part of itself: `a` → `b` → `c` → `a`";
    let help = "take one of the names out of its `networks`";
    assert_told(text, (7, 13), "'a'", message, help);
    let message = "network `a` is part of itself: `a` → `a`";
    assert_told("[network.a]\nnetworks = ['a']", (2, 13), "'a'", message, help);
}

#[test]
fn interfaces_are_sources_only() {
    let networks = "[network.lan]\ninterfaces = ['wan0', 'lan0']\n\
                    [network.all]\nnetworks = ['lan']\nprefixes = ['10.0.0.0/8']\n";
    let rule = "[[rule]]\nname = 'a'\naction = 'allow'\nto = ['all']";
    let message = format!(
        "network `all` has interfaces (`lan0`, `wan0`), and `to` is about addresses: {TO_REASON}"
    );
    let text = format!("{GATEWAY}{networks}{rule}");
    assert_told_in(&text, (11, 7), "'all'", &message, TO_HELP);
    let text = format!("{GATEWAY}{networks}[[asymmetric]]\nnetworks = ['lan']");
    let message = "network `lan` has interfaces (`lan0`, `wan0`), and `networks` is about \
                   addresses: a connection belongs here by its ends";
    let help = "name the prefixes behind the interfaces";
    assert_told_in(&text, (9, 13), "'lan'", message, help);
}

#[test]
fn a_rule_of_prefixes_and_interfaces_counts_twice() {
    let rules = |count: usize| -> String {
        let rule =
            |n| format!("[[rule]]\nname = 'r{n}'\naction = 'allow'\nfrom = ['lan', 'ten']\n");
        (0..count).map(rule).collect()
    };
    let networks =
        "[network.lan]\ninterfaces = ['lan0']\n[network.ten]\nprefixes = ['10.0.0.0/8']\n";
    let half = RULES_MAX / 2;
    let largest = parsed(&format!("{GATEWAY}{networks}{}", rules(half))).compile();
    assert_eq!([rule(&largest, "10.0.0.1", 3), rule(&largest, "11.0.0.1", 1)], [1, 1]);
    let message = "too many rules, as far as this one: 16386, and 16384 is the most";
    let help = "a rule counts twice if networks of its `from` have prefixes and others, or the same, have interfaces";
    let text = format!("{GATEWAY}{networks}{}", rules(half + 1));
    assert_told_in(&text, (7 + half * 4, 1), "[[rule]]", message, help);
    let message = "too many rules, as far as this one: 16385, and 16384 is the most";
    let text =
        format!("{GATEWAY}{networks}{}[[rule]]\nname = 'plain'\naction = 'deny'\n", rules(half));
    assert_told_in(&text, (7 + half * 4, 1), "[[rule]]", message, help);
}
