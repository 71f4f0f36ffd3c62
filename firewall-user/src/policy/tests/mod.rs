//! What policies mean, what is said about bad ones, and that nothing in a file can cause a panic.

mod compile;
mod errors;
mod files;
mod properties;

use firewall_common::{
    filter::FilterId,
    policy::{Action, Mode, Profile},
};

use super::*;

/// The policy of the documentation.
const EXAMPLE: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"

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

[[rule]]
name = "cameras"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["rtsp"]

[[rule]]
name = "the rest"
action = "reject"
"#;

fn parsed(text: &str) -> Policy {
    Policy::parse("policy.toml", text).unwrap_or_else(|error| panic!("{}", error.render(false)))
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
    assert_eq!((rules[1].action, rules[1].from.len()), (Action::Reject, 0));
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
}

#[test]
fn a_network_may_have_no_prefixes_yet() {
    let policy = parsed("[gateway]\ninterfaces = [\"lan0\"]\n[network.blocked]\nprefixes = []\n");
    assert!(policy.compile().prefixes_v4.is_empty());
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    parsed(&format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n")));
}

#[test]
fn the_builtin_policy_allows_and_monitors() {
    let policy = Policy::builtin().with_interfaces(vec!["lan0".to_owned()]);
    assert_eq!(policy.interfaces(), ["lan0"]);
    let compiled = policy.compile();
    assert_eq!(compiled.head.default_action, Action::Allow as u32);
    assert_eq!(compiled.head.rule_count, 0);
    assert_eq!(compiled.bindings.len(), FilterId::ALL.len());
    for (filter, (number, binding)) in FilterId::ALL.into_iter().zip(&compiled.bindings) {
        assert_eq!(binding.filter, filter as u8);
        assert_eq!((binding.mode, binding.profile), (Mode::Monitor as u8, Profile::Standard as u8));
        for &port in filter.usual_ports() {
            let entry = PortEntry { transport: 6, port, protocol: *number };
            assert!(compiled.protocol_by_port.contains(&entry), "{entry:?}");
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
        "networks": [
            {"name": "inside", "prefixes": ["10.1.0.0/24", "fd00:1::/64"]},
            {"name": "branch", "prefixes": ["10.2.0.0/16"]},
        ],
        "protocols": [
            {"name": "rtsp", "transport": "tcp", "ports": [554, "8000-8010", 8554], "filter": "rtsp"},
            {"name": "dns", "transport": "udp", "ports": [53]},
        ],
        "filters": summary["filters"],
        "rules": [
            {
                "name": "cameras", "action": "allow",
                "from": ["inside"], "to": ["branch"], "protocols": ["rtsp"],
            },
            {"name": "the rest", "action": "reject"},
        ],
    });
    assert_eq!(summary, expected);
    let rtsp = serde_json::json!({"name": "rtsp", "mode": "enforce", "profile": "strict"});
    assert!(summary["filters"].as_array().is_some_and(|filters| filters.contains(&rtsp)));
}
