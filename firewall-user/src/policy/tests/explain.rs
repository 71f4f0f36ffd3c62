//! Why a flow gets what it gets.

use super::*;

fn explain(text: &str, flow: &str) -> Explanation {
    let checked = checked(text);
    let probe = flow.parse().unwrap_or_else(|error| panic!("{error}"));
    checked.policy.explain(&probe, &checked.rule_places)
}

#[test]
fn the_rule_that_decides_is_named_with_its_place() {
    let explanation = explain(EXAMPLE, "tcp 10.1.0.2:4000 -> 10.2.0.2:554 on lan0");
    let expected = "\
tcp 10.1.0.2:4000 -> 10.2.0.2:554 on lan0: allow, by rule `cameras` (policy.toml:45:1)
  source 10.1.0.2 is in network `inside`, by 10.1.0.0/24
  destination 10.2.0.2 is in network `branch`, by 10.2.0.0/16
  tcp port 554 is of protocol `rtsp`
  protocol `rtsp`: filter rtsp reads it, mode enforce, profile strict
  the rule lets in 50 flows without an answer at a time at most
  the rule lets in 20 new flows a second at most
";
    assert_eq!(explanation.text(), expected);
    let json = serde_json::to_value(&explanation).expect("it is plain data");
    assert_eq!(json["rule"]["name"], "cameras");
    assert_eq!((&json["rule"]["file"], &json["rule"]["line"]), (&"policy.toml".into(), &45.into()));
    let filter = serde_json::json!({"name": "rtsp", "mode": "enforce", "profile": "strict"});
    assert_eq!(json["filter"], filter);
}

#[test]
fn what_does_not_match_is_told_of_each_rule() {
    let explanation = explain(EXAMPLE, "udp [fd00:1::2]:4000 -> [fd00:2::2]:53");
    let expected = "\
udp [fd00:1::2]:4000 -> [fd00:2::2]:53: reject, by rule `the rest` (policy.toml:54:1)
  the rule asks for nothing, so it matches every flow
  protocol `dns`: no filter reads it
rules tried before, which do not match; the nearest first:
  `cameras` (policy.toml:45:1), allow
    to: destination fd00:2::2 is not in `branch` (10.2.0.0/16)
    protocols: udp port 53 is not of `rtsp` (tcp 554, 8000-8010, 8554)
";
    assert_eq!(explanation.text(), expected);
}

#[test]
fn the_nearest_misses_are_shown_and_all_are_data() {
    let mut text = "[gateway]\ninterfaces = ['lan0']\n\
                    [network.far]\nprefixes = []\n\
                    [network.near]\nprefixes = ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16', \
                    '10.4.0.0/16', '10.5.0.0/16', '10.6.0.0/16']\n"
        .to_owned();
    for n in 0..20 {
        let from = if n == 15 { "near" } else { "far" };
        text += &format!(
            "[[rule]]\nname = 'r{n}'\naction = 'allow'\nfrom = ['{from}']\nto = ['far']\n"
        );
    }
    let explanation = explain(&text, "gre 10.1.0.1 -> 10.7.0.1");
    assert_eq!(explanation.decision, "deny");
    assert_eq!(explanation.passed_over.len(), 20);
    let shown = explanation.text();
    let rules: Vec<_> = shown.lines().filter(|line| line.starts_with("  `r")).collect();
    assert_eq!(rules.len(), 8);
    assert!(rules[0].starts_with("  `r15`") && rules[1].starts_with("  `r0`"), "{shown}");
    assert!(shown.ends_with("  and 12 more: `-o json` has all of them\n"), "{shown}");
    let explanation = explain(&text, "gre 10.7.0.1 -> 10.7.0.1");
    assert_eq!(explanation.decision, "drop");
    let prefixes = "(10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16, 2 more)";
    let shown = explain(&text.replace("20", "1"), "gre 10.7.0.1 -> 10.8.0.1").text();
    let from = "source 10.7.0.1 is not in `far` (no prefix)";
    assert!(shown.contains(from), "{shown}");
    let near = explain(&text, "gre 10.7.0.1 -> 10.8.0.1").passed_over[15].because[0].clone();
    assert!(near.message.ends_with(prefixes), "{}", near.message);
}

#[test]
fn some_packets_are_not_for_the_rules() {
    let allow = "[gateway]\ninterfaces = ['lan0']\ndefault = 'allow'\n";
    for (flow, decision, why) in [
        ("tcp 10.1.0.2 -> 10.2.0.2:1 on wan0", "pass", "the policy does not name the interface"),
        (
            "icmpv6 neighbor-solicitation fe80::1 -> ff02::1",
            "pass",
            "`neighbour-discovery` is essential",
        ),
        ("icmpv6 143 fe80::1 -> ff02::16", "pass", "`neighbour-discovery` is essential"),
        ("udp 10.1.0.2 -> 10.1.0.2:53", "drop", "LAND_ATTACK"),
        ("icmp time-exceeded 10.1.0.2 -> 10.2.0.2", "drop", "quotes a packet of a known flow"),
        ("icmpv6 packet-too-big fd00::1 -> fd00::2", "drop", "quotes a packet"),
        ("icmp echo-reply 10.1.0.2 -> 10.2.0.2", "drop", "answers a request"),
        ("icmpv6 echo-reply fd00::1 -> fd00::2", "drop", "answers a request"),
        ("icmp redirect 10.1.0.2 -> 10.2.0.2", "allow", "the policy has no rules"),
        ("icmp 10.1.0.2 -> 10.2.0.2 on lan0", "allow", "the policy has no rules"),
        ("tcp 10.1.0.2 -> 10.2.0.2:554", "allow", "tcp port 554 belongs to no protocol"),
    ] {
        let explanation = explain(allow, flow);
        assert_eq!(explanation.decision, decision, "{flow}");
        assert!(explanation.why.iter().any(|it| it.contains(why)), "{flow}: {explanation:?}");
    }
}

#[test]
fn a_filter_that_is_off_reads_nothing() {
    let text = EXAMPLE.replace("mode = \"enforce\"", "mode = \"off\"");
    let shown = explain(&text, "tcp 10.1.0.2 -> 10.2.0.2:554").text();
    assert!(shown.contains("  protocol `rtsp`: filter rtsp is bound to it and off\n"), "{shown}");
}

/// What is told of an example, without places and the rules that do not match.
#[track_caller]
fn shown(text: &str, flow: &str) -> String {
    let probe = flow.parse().unwrap_or_else(|error| panic!("{error}"));
    let shown = parsed(text).explain(&probe, &[]).text();
    shown.split("rules tried before").next().unwrap_or_default().to_owned()
}

const OFFICE: &str = include_str!("../../../../examples/office.toml");
const BRANCH: &str = include_str!("../../../../examples/branch.toml");
const DMZ: &str = include_str!("../../../../examples/dmz.toml");

#[test]
fn networks_in_networks_and_the_binding_are_told() {
    let expected = "\
tcp 10.1.0.9 -> 10.2.0.7:80 on vpn0: reject, by rule `no web for guards`
  source 10.1.0.9 may come in by `vpn0`: it is in network `headquarters`, by `guards`, by 10.1.0.0/24
  source 10.1.0.9 is in network `headquarters`, by `guards`, by 10.1.0.0/24
  destination 10.2.0.7 is in network `cameras`, by 10.2.0.0/24
  protocol `web`: no filter reads it
";
    assert_eq!(shown(BRANCH, "tcp 10.1.0.9 -> 10.2.0.7:80 on vpn0"), expected);
    let watches = shown(BRANCH, "tcp 10.1.0.9 -> 10.2.0.7:554 on vpn0");
    let reader = "  protocol `rtsp`: filter rtsp reads it, mode monitor, profile standard\n";
    assert!(watches.contains(reader), "{watches}");
}

#[test]
fn where_a_flow_comes_from_is_told_and_missed() {
    for (flow, says) in [
        (
            "tcp 10.1.0.2 -> 192.0.2.1:443 on lan0",
            "allow, by rule `office to the Internet`\n  \
             source 10.1.0.2 may come in by `lan0`: it is in network `office`, by 10.1.0.0/24\n  \
             source 10.1.0.2 is in network `office`, by 10.1.0.0/24\n  it comes in by `lan0`\n",
        ),
        (
            "udp 198.51.100.7 -> 192.0.2.1:53 on self",
            "allow, by rule `the gateway itself`\n  the gateway itself sends it\n",
        ),
        (
            "icmp 192.0.2.1 -> 198.51.100.7 on wan0",
            "allow, by rule `ping from outside`\n  the routing table, which is not known here, \
             has to say first that 192.0.2.1 may come in by `wan0` ([anti_spoofing], strict)\n",
        ),
        (
            "tcp 192.0.2.1 -> 198.51.100.7:22",
            "deny\n  [anti_spoofing] may refuse its source, by the interface that it comes in by\n  \
             no rule matches, so the default decides: deny\n  \
             but rule `the gateway itself` asks where the flow comes from, which is not said: add \
             `on INTERFACE`, or `on self`\n",
        ),
        (
            "udp 10.1.0.2 -> 10.1.0.255:137 on lan0",
            "the rule is quiet: what it decides is counted and makes no events\n",
        ),
    ] {
        let shown = shown(OFFICE, flow);
        assert!(shown.contains(says), "{flow}: {shown}");
    }
    let text = "[gateway]\ninterfaces = ['lan0', 'wan0']\n[network.guests]\ninterfaces = ['lan0']\n\
                [[rule]]\nname = 'a'\naction = 'allow'\nfrom = ['guests']\n\
                [[rule]]\nname = 'b'\naction = 'allow'\ninterface = ['lan0', 'self']\n";
    let explanation = explain(text, "gre 10.1.0.2 -> 10.2.0.2 on wan0");
    let missed = explanation.passed_over.iter().flat_map(|it| &it.because);
    let missed: Vec<_> = missed.map(|it| (it.key, it.message.as_str())).collect();
    let from = "source 10.1.0.2 is not in `guests` (interface `lan0`)";
    let by = "it comes in by `wan0`, not by `lan0`, from the gateway itself";
    assert_eq!(missed, [("from", from), ("interface", by)]);
    let shown = shown(text, "gre 10.1.0.2 -> 10.2.0.2 on lan0");
    assert!(shown.contains("is in network `guests`, by interface `lan0`\n"), "{shown}");
}

#[test]
fn what_comes_before_the_rules_is_told() {
    for (text, flow, decision, why) in [
        (DMZ, "tcp 10.2.0.2 -> 10.1.0.2:22 on lan0", "drop", "is not in `office` (SPOOFING)"),
        (DMZ, "tcp 127.0.0.1 -> 10.1.0.2:22 on wan0", "drop", "is no host's address (SPOOFING)"),
        (DMZ, "tcp 10.2.0.2 -> 10.1.0.2:22 on dmz0", "deny", "is in network `dmz`"),
        (
            OFFICE,
            "udp 0.0.0.0:68 -> 255.255.255.255:67 on self",
            "pass",
            "`dhcp-client` is essential",
        ),
        (
            OFFICE,
            "udp 0.0.0.0:68 -> 255.255.255.255:67 on lan0",
            "pass",
            "`dhcp-server` is essential",
        ),
        (DMZ, "udp 0.0.0.0:68 -> 255.255.255.255:67 on lan0", "deny", "no rule matches"),
        (
            DMZ,
            "udp 192.0.2.1:67 -> 192.0.2.9:68 on wan0",
            "deny",
            "asks for an address: `dhcp-client`",
        ),
        (DMZ, "icmp timestamp-reply 10.1.0.2 -> 10.2.0.2 on lan0", "drop", "answers a request"),
    ] {
        let explanation = explain(text, flow);
        assert_eq!(explanation.decision, decision, "{flow}: {explanation:?}");
        assert!(explanation.why.iter().any(|it| it.contains(why)), "{flow}: {explanation:?}");
    }
    let quiet = "[gateway]\ninterfaces = ['lan0']\nessential = []\n";
    let explanation = explain(quiet, "icmpv6 neighbor-solicitation fe80::1 -> ff02::1 on lan0");
    assert_eq!(explanation.decision, "deny");
}
