//! Rules that make no events.

use super::{told::assert_told, *};

#[test]
fn a_rule_without_a_log_is_quiet() {
    let policy = parsed(
        "[gateway]\ninterfaces = ['lan0']\n\
         [[rule]]\nname = 'web'\naction = 'allow'\nto = ['ten']\nlog = true\n\
         [[rule]]\nname = 'noise'\naction = 'deny'\nlog = false\n\
         [network.ten]\nprefixes = ['10.0.0.0/8']\n",
    );
    let compiled = policy.compile();
    let quiet = |first_octet| {
        let destination = [u32::from_ne_bytes([first_octet, 0, 0, 1]), 0, 0, 0];
        let packet = Packet { version: 4, destination, ..Packet::default() };
        classifier::judge(&compiled.image[..], &packet, 0).expect("a whole image").quiet
    };
    assert_eq!([quiet(10), quiet(11)], [false, true]);
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    assert_eq!(summary["rules"][1]["log"], false);
    assert!(summary["rules"][0].get("log").is_none(), "as it is by default");
}

#[test]
fn whether_a_rule_makes_events() {
    let message = "`log` must be a boolean, not a string";
    let text = "[[rule]]\nname = 'a'\naction = 'deny'\nlog = 'no'";
    let help = "it is `true` or `false`, without quotes";
    assert_told(text, (4, 7), "'no'", message, help);
}
