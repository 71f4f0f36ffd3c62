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
tcp 10.1.0.2:4000 -> 10.2.0.2:554 on lan0: allow, by rule `cameras` (policy.toml:43:1)
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
    assert_eq!((&json["rule"]["file"], &json["rule"]["line"]), (&"policy.toml".into(), &43.into()));
    let filter = serde_json::json!({"name": "rtsp", "mode": "enforce", "profile": "strict"});
    assert_eq!(json["filter"], filter);
}

#[test]
fn what_does_not_match_is_told_of_each_rule() {
    let explanation = explain(EXAMPLE, "udp [fd00:1::2]:4000 -> [fd00:2::2]:53");
    let expected = "\
udp [fd00:1::2]:4000 -> [fd00:2::2]:53: reject, by rule `the rest` (policy.toml:52:1)
  the rule asks for nothing, so it matches every flow
  protocol `dns`: no filter reads it
rules tried before, which do not match; the nearest first:
  `cameras` (policy.toml:43:1), allow
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
        ("icmpv6 neighbour-solicitation fe80::1 -> ff02::1", "pass", "neighbour"),
        ("icmpv6 143 fe80::1 -> ff02::16", "pass", "multicast listener"),
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
