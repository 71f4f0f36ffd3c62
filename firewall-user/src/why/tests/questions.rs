//! What can be asked, and of which events and connections it holds.

use serde_json::json;

use super::{NOW, Question, event, question, tcp, with};
use crate::{error::BadInput, events::Criteria};

#[test]
fn a_packet_of_a_reply_is_told_by_the_ends_of_its_connection() {
    let of_flow = |direction| json!({"direction": direction, "flow_id": 1});
    let ends = tcp("10.2.0.2:554", "10.1.0.2:40000", "PA");
    let reply = event(0.0, 1, "packet_dropped", with(ends.clone(), of_flow("reply")));
    let first = event(0.0, 1, "packet_dropped", with(ends.clone(), of_flow("original")));
    let of_none = event(0.0, 1, "packet_dropped", ends);
    let asked = question(&[], &[("dst", "10.2.0.2"), ("port", "554")]);
    assert!(asked.has(&reply) && asked.has(&of_none) && !asked.has(&first));
    let syn = event(0.0, 1, "packet_dropped", tcp("10.2.0.2:554", "10.1.0.2:40000", "S"));
    assert!(!asked.has(&syn), "who sends a SYN begins");
}

#[test]
fn an_address_a_prefix_an_end_or_both() {
    let segment = event(0.0, 7, "packet_dropped", tcp("10.1.0.2:40000", "10.2.0.2:554", "A"));
    for (words, holds) in [
        (&["10.2.0.2"][..], true),
        (&["10.2.0.0/24"], true),
        (&["10.2.0.2:554"], true),
        (&["10.2.0.2:555"], false),
        (&["10.1.0.2:554"], false),
        (&["10.2.0.2:554", "10.1.0.2:40000"], true),
        (&["tcp 10.1.0.2:40000 -> 10.2.0.2:554"], true),
        (&["udp", "10.1.0.2", "10.2.0.2"], false),
        (&["10.1.0.2", "10.1.0.3"], false),
        (&["fd00::1"], false),
        (&[], true),
    ] {
        assert_eq!(question(words, &[]).has(&segment), holds, "{words:?}");
    }
    assert!(question(&[], &[("event", "7")]).has(&segment));
    assert!(!question(&[], &[("event", "8")]).has(&segment));
    assert!(question(&[], &[("event", "packet_dropped")]).has(&segment));
}

#[test]
fn what_is_none_is_bad_input() {
    for (words, said) in [
        (&["2049"][..], "--flow 2049"),
        (&[""], "is empty"),
        (&[" ", ""], "is empty"),
        (&["somewhere"], "not an address"),
        (&["10.1.0.2", "10.1.0.3", "10.1.0.4"], "two ends"),
        (&["10.1.0.2:x"], "not an address"),
        (&["tcp", "10.1.0.2", "there"], "there: not an address"),
    ] {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let error = Question::new(&words, Criteria::default(), NOW).unwrap_err();
        assert!(error.is::<BadInput>() && error.to_string().contains(said), "{words:?}: {error}");
    }
    let criteria =
        Criteria { event: vec!["99999999999999999999".to_owned()], ..Criteria::default() };
    assert!(Question::new(&[], criteria, NOW).unwrap_err().is::<BadInput>());
}

#[test]
fn connections_that_live_are_looked_for_by_what_names_them() {
    let of = |words: &[&str], options: &[(&str, &str)]| question(words, options).of_flows();
    let networks = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    assert_eq!(of(&["10.2.0.2:554"], &[]), Some((networks(&["10.2.0.2/32"]), Some(554))));
    assert_eq!(
        of(&[], &[("dst", "10.2.0.2"), ("port", "554")]),
        Some((networks(&["10.2.0.2"]), Some(554)))
    );
    assert_eq!(of(&[], &[("flow", "7")]), Some((networks(&[]), None)));
    assert_eq!(of(&[], &[("network", "!10.2.0.2")]), Some((networks(&[]), None)));
    // Nothing that a connection could be told by.
    assert_eq!(of(&[], &[("reason", "land_attack_dropped")]), None);
    assert_eq!(of(&[], &[("event", "5120")]), None);
}

#[test]
fn a_flow_that_is_named_in_full_can_be_asked_the_policy_about() {
    for (words, options, probe) in [
        (&["10.1.0.2", "10.2.0.2:554"][..], &[][..], "tcp 10.1.0.2 -> 10.2.0.2:554"),
        (&["udp", "10.1.0.2", "10.2.0.2:53"], &[], "udp 10.1.0.2 -> 10.2.0.2:53"),
        (&[], &[("src", "10.1.0.2"), ("dst", "fd00::2")], ""),
        (
            &[],
            &[("src", "10.1.0.2"), ("dst", "10.2.0.2"), ("port", "80")],
            "tcp 10.1.0.2 -> 10.2.0.2:80",
        ),
        (&["10.2.0.2:80"], &[], ""),
    ] {
        let asked = question(words, options).probe();
        assert_eq!(asked.map(|probe| probe.to_string()).unwrap_or_default(), probe, "{words:?}");
    }
}
