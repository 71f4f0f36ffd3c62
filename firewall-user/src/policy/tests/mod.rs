//! What policies mean, what is said about bad ones, and that nothing in a file can cause a panic.

mod agreement;
mod compile;
mod errors;
mod essential;
mod explain;
mod exports;
mod files;
mod includes;
mod lints;
mod networks;
mod properties;
mod protocols;
mod quiet;
mod schema;
mod sources;
mod told;
mod tracker;

use firewall_common::{
    classifier,
    essential::Essential,
    filter::FilterId,
    flow::{Timeout, Timeouts},
    policy::{Action, Mode, NewFlow, Profile, SynAuthentication},
    wire::Packet,
};

use super::*;

/// The policy of the documentation.
const EXAMPLE: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"
new_flow = "monitor"
shortcut = true
live = "reevaluate"

[tables]
completed = 65536

[timeouts]
established = "12h"
udp = 20

[limits]
half_open_per_source = 100
syn_attack = 0
syn_authentication = "auto"
reject_per_second = 7

[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/16"]

[protocol.rtsp]
transport = "tcp"
ports = [554, 8554, "8000-8010"]
filter = "rtsp"

[protocol.dns]
transport = "udp"
ports = [53]

[filter.rtsp]
mode = "enforce"
profile = "strict"

[[asymmetric]]
prefixes = ["10.9.0.0/16"]
networks = ["branch"]

[[rule]]
name = "cameras"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["rtsp"]
half_open = 50
new_per_second = 20

[[rule]]
name = "the rest"
action = "reject"
"#;

/// A policy of one file, which is good. The schema thinks so, too.
fn parsed(text: &str) -> Policy {
    schema::check_valid(text);
    Policy::parse("policy.toml", text).unwrap_or_else(|error| panic!("{}", error.render(false)))
}

/// A policy of one file, and what is told about it.
fn checked(text: &str) -> Checked {
    schema::check_valid(text);
    let main = SourceFile { path: "policy.toml".into(), text: text.to_owned() };
    let checked = Sources::new(main, Vec::new()).check();
    checked.unwrap_or_else(|error| panic!("{}", error.render(false)))
}

#[test]
fn the_example_is_understood() {
    let policy = parsed(EXAMPLE);
    assert_eq!(policy.interfaces(), ["lan0", "wan0"]);
    assert_eq!(policy.default_action(), Action::Deny);
    let names: Vec<&str> = policy.networks().iter().map(|network| network.name.as_str()).collect();
    assert_eq!(names, ["inside", "branch"], "in the order of the file");
    assert_eq!(policy.protocols()[0].ports, [554..=554, 8000..=8010, 8554..=8554]);
    assert_eq!(policy.protocols()[0].filter, Some(FilterId::Rtsp));
    assert_eq!(policy.protocols()[1].transport, Transport::Udp);
    let rtsp = policy.filter_settings(FilterId::Rtsp).expect("it is known");
    assert_eq!((rtsp.mode, rtsp.profile), (Mode::Enforce, Profile::Strict));
    let rules = policy.rules();
    assert_eq!(
        (&rules[0].from[..], &rules[0].to[..], &rules[0].protocols[..]),
        (&[0][..], &[1][..], &[0][..])
    );
    assert_eq!((rules[0].half_open_max, rules[0].new_per_second), (50, 20));
    assert_eq!((rules[1].action, rules[1].from.len()), (Action::Reject, 0));
    assert_eq!((rules[1].half_open_max, rules[1].new_per_second), (0, 0));
}

#[test]
fn what_the_example_says_of_tracking_is_understood() {
    let policy = parsed(EXAMPLE);
    assert_eq!(policy.new_flow(), NewFlow::Monitor);
    assert!(policy.shortcut());
    assert_eq!(policy.live(), Live::Reevaluate);
    assert_eq!(policy.tables(), TableSizes { completed: 65_536, half_open: 262_144 });
    let mut timeouts = Timeouts::default();
    timeouts.set(Timeout::Established, 43_200_000_000_000);
    timeouts.set(Timeout::Udp, 20_000_000_000);
    assert_eq!(policy.timeouts(), &timeouts);
    let limits = Limits {
        half_open_per_source: 100,
        new_per_second_per_source: 0,
        syn_attack_per_second: 0,
        syn_authentication: SynAuthentication::Auto,
        reject_per_second: 7,
    };
    assert_eq!(policy.limits(), &limits);
    let prefixes = vec!["10.9.0.0/16".parse().expect("a prefix")];
    assert_eq!(policy.asymmetric(), [Asymmetric { prefixes, networks: vec![1] }]);
}

#[test]
fn the_ends_of_each_range_are_in_it() {
    for (table, key, least, most) in [
        ("tables", "completed", 1_024, 16_777_216),
        ("tables", "half_open", 1_024, 4_194_304),
        ("timeouts", "syn_sent", 1, 2_592_000),
        ("limits", "half_open_per_source", 0, 4_194_304),
        ("limits", "new_per_second_per_source", 0, 10_000_000),
        ("limits", "syn_attack", 0, 10_000_000),
        ("limits", "reject_per_second", 1, 10_000_000),
    ] {
        for (number, is_good) in
            [(least - 1, false), (least, true), (most, true), (most + 1, false)]
        {
            let text = format!("[gateway]\ninterfaces = ['lan0']\n[{table}]\n{key} = {number}");
            assert_eq!(Policy::parse("policy.toml", &text).is_ok(), is_good, "{text}");
        }
    }
}

#[test]
fn every_timeout_can_be_set() {
    for (timeout, name) in Timeout::ALL {
        let mut expected = Timeouts::default();
        expected.set(timeout, 7_000_000_000);
        for seven in ["7", "0x7", "'7s'"] {
            let text = format!("[gateway]\ninterfaces = ['lan0']\n[timeouts]\n{name} = {seven}");
            assert_eq!(parsed(&text).timeouts(), &expected, "{text}");
        }
    }
}

#[test]
fn what_is_left_out_takes_the_safe_default() {
    let policy = parsed(
        "[gateway]\ninterfaces = [\"lan0\"]\n\
         [protocol.rtsp]\ntransport = \"tcp\"\nports = [554]\nfilter = \"rtsp\"\n",
    );
    assert_eq!(policy.default_action(), Action::Deny);
    let rtsp = policy.filter_settings(FilterId::Rtsp).expect("it is known");
    assert_eq!((rtsp.mode, rtsp.profile), (Mode::Monitor, Profile::Standard));
    assert_default_tracking(&policy);
}

/// Asserts that `policy` tracks connections as one does that says nothing about it.
fn assert_default_tracking(policy: &Policy) {
    assert_eq!(policy.new_flow(), NewFlow::Enforce);
    assert!(!policy.shortcut());
    assert_eq!(policy.essential(), Essential::DEFAULT);
    assert_eq!(policy.live(), Live::Keep);
    assert_eq!(policy.timeouts(), &Timeouts::default());
    assert_eq!(policy.tables(), TableSizes { completed: 1_048_576, half_open: 262_144 });
    let limits = Limits {
        half_open_per_source: 0,
        new_per_second_per_source: 0,
        syn_attack_per_second: 2_000,
        syn_authentication: SynAuthentication::Off,
        reject_per_second: 100,
    };
    assert_eq!(policy.limits(), &limits);
    assert!(policy.asymmetric().is_empty());
}

#[test]
fn a_network_may_have_no_prefixes_yet() {
    let policy = parsed("[gateway]\ninterfaces = [\"lan0\"]\n[network.blocked]\nprefixes = []\n");
    assert!(policy.networks()[0].prefixes.is_empty());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    parsed(&format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n")));
}

#[test]
fn the_builtin_policy_allows_and_monitors() {
    let policy = Policy::builtin().with_interfaces(vec!["lan0".to_owned()]).expect("it names none");
    assert_eq!(policy.interfaces(), ["lan0"]);
    assert_default_tracking(&policy);
    let compiled = policy.compile();
    let allows = |packet: &Packet| {
        let judged = classifier::judge(&compiled.image[..], packet, 0).expect("a whole image");
        assert_eq!((judged.action, judged.rule), (Action::Allow, 0));
        judged.protocol
    };
    assert_eq!(allows(&Packet { version: 4, ..Packet::default() }), 0);
    assert_eq!(compiled.bindings.len(), FilterId::ALL.len());
    for (filter, (number, binding)) in FilterId::ALL.into_iter().zip(&compiled.bindings) {
        assert_eq!(binding.filter, filter as u8);
        assert_eq!((binding.mode, binding.profile), (Mode::Monitor as u8, Profile::Standard as u8));
        for &port in filter.usual_ports() {
            let packet =
                Packet { version: 6, protocol: 6, destination_port: port, ..Packet::default() };
            assert_eq!(allows(&packet), *number);
        }
    }
}

#[test]
fn the_summary_shows_names_and_defaults() {
    let policy = parsed(EXAMPLE);
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    let expected = serde_json::json!({
        "interfaces": ["lan0", "wan0"],
        "default": "deny",
        "new_flow": "monitor",
        "shortcut": true,
        "essential": ["arp", "neighbour-discovery", "dhcp-client"],
        "live": "reevaluate",
        "tables": {"completed": 65_536, "half_open": 262_144},
        "timeouts": {
            "syn_sent": 120, "syn_received": 60, "established": 43_200, "fin_wait": 120,
            "close_wait": 60, "last_ack": 30, "time_wait": 120, "close": 10, "killed": 120,
            "udp": 20, "udp_stream": 120, "midstream": 300, "unacknowledged": 300, "icmp": 30,
            "generic": 600,
        },
        "limits": {
            "half_open_per_source": 100, "new_per_second_per_source": 0,
            "syn_attack": 0, "syn_authentication": "auto", "reject_per_second": 7,
        },
        "networks": [
            {"name": "inside", "prefixes": ["10.1.0.0/24", "fd00:1::/64"]},
            {"name": "branch", "prefixes": ["10.2.0.0/16"]},
        ],
        "protocols": [
            {"name": "rtsp", "transport": "tcp", "ports": [554, "8000-8010", 8554], "filter": "rtsp"},
            {"name": "dns", "transport": "udp", "ports": [53]},
        ],
        "filters": summary["filters"],
        "asymmetric": [{"prefixes": ["10.9.0.0/16"], "networks": ["branch"]}],
        "anti_spoofing": {"mode": "off", "sources": {}},
        "events": {"keep_bytes": 0},
        "exports": [],
        "rules": [
            {
                "name": "cameras", "action": "allow",
                "from": ["inside"], "to": ["branch"], "protocols": ["rtsp"],
                "half_open": 50, "new_per_second": 20,
            },
            {"name": "the rest", "action": "reject"},
        ],
    });
    assert_eq!(summary, expected);
    let rtsp = serde_json::json!({"name": "rtsp", "mode": "enforce", "profile": "strict"});
    assert!(summary["filters"].as_array().is_some_and(|filters| filters.contains(&rtsp)));
}
