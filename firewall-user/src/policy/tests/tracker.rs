//! What is said about bad sizes, timeouts, limits and networks with asymmetric routes: what the tracker goes by.

use super::{
    told::{GATEWAY, assert_told, assert_told_in},
    *,
};

const TIMEOUT_HELP: &str = "a timeout is a whole number of seconds, \
     or a string such as \"90s\", \"2m\", \"12h\" or \"5d\"";
const LIMIT_HELP: &str = "for no limit write 0, or leave it out";

#[test]
fn unknown_key_of_the_tracker() {
    for (text, shown, section, help) in [
        (
            "[tables]\nhalfopen = 1024",
            "halfopen",
            "[tables]",
            "did you mean `half_open`?".to_owned(),
        ),
        (
            "[limits]\nsyn_atack = 1",
            "syn_atack",
            "[limits]",
            "did you mean `syn_attack`?".to_owned(),
        ),
        (
            "[timeouts]\nestablish = 1",
            "establish",
            "[timeouts]",
            "did you mean `established`?".to_owned(),
        ),
        (
            "[timeouts]\nquic = 1",
            "quic",
            "[timeouts]",
            format!("known keys: {}", Timeout::ALL.map(|(_, name)| format!("`{name}`")).join(", ")),
        ),
    ] {
        let message = format!("unknown key `{shown}` in {section}");
        assert_told(text, (2, 1), shown, &message, &help);
    }
    let message = "unknown key `new_flows` in [gateway]";
    let text = "[gateway]\ninterfaces = ['lan0']\nnew_flows = 'enforce'";
    assert_told_in(text, (3, 1), "new_flows", message, "did you mean `new_flow`?");
    let message = "unknown key `halfopen` in [[rule]]";
    let text = "[[rule]]\nname = 'a'\naction = 'allow'\nhalfopen = 1";
    assert_told(text, (4, 1), "halfopen", message, "did you mean `half_open`?");
}

#[test]
fn wrong_type_of_the_tracker() {
    let message = "[limits] must be a table, not an integer";
    assert_told_in(&format!("limits = 1\n{GATEWAY}"), (1, 10), "1", message, "");
    let message = "`completed` must be an integer, not a string";
    let help = "flows with an answer, of each address family; 1048576 if left out";
    assert_told("[tables]\ncompleted = '2048'", (2, 13), "'2048'", message, help);
    let message = "`half_open_per_source` must be an integer, not a boolean";
    let text = "[limits]\nhalf_open_per_source = false";
    assert_told(text, (2, 24), "false", message, LIMIT_HELP);
    let message = "`new_per_second` must be an integer, not a float";
    let text = "[[rule]]\nname = 'a'\naction = 'allow'\nnew_per_second = 0.5";
    assert_told(text, (4, 18), "0.5", message, LIMIT_HELP);
    let message = "`established` must be an integer or a string, not a float";
    assert_told("[timeouts]\nestablished = 1.5", (2, 15), "1.5", message, TIMEOUT_HELP);
    let message = "`syn_authentication` must be a string, not a boolean";
    let help = "it is one of: `off`, `auto`, `on`";
    assert_told("[limits]\nsyn_authentication = true", (2, 22), "true", message, help);
}

#[test]
fn bad_timeout() {
    for (value, reason, help) in [
        (
            "'5 days'",
            "what follows the number is none of the units `s`, `m`, `h` and `d`",
            TIMEOUT_HELP,
        ),
        (
            "'1h30m'",
            "what follows the number is none of the units `s`, `m`, `h` and `d`",
            TIMEOUT_HELP,
        ),
        ("'soon'", "it does not begin with a whole number", TIMEOUT_HELP),
        ("''", "it does not begin with a whole number", TIMEOUT_HELP),
        ("'90'", "it has no unit", "for seconds write `90s`"),
        ("'31d'", "it is longer than 30 days", "a timeout is from 1 second to 30 days"),
        ("2592001", "it is longer than 30 days", "a timeout is from 1 second to 30 days"),
        ("'0m'", "it is shorter than a second", "a timeout is from 1 second to 30 days"),
        ("0", "it is shorter than a second", "a timeout is from 1 second to 30 days"),
        ("-60", "it is shorter than a second", "a timeout is from 1 second to 30 days"),
    ] {
        let message = format!("`{}` is not a timeout: {reason}", value.trim_matches('\''));
        assert_told(&format!("[timeouts]\nudp = {value}"), (2, 7), value, &message, help);
    }
}

#[test]
fn a_limit_on_a_rule_that_lets_nothing_in() {
    for (action, key) in [("deny", "half_open"), ("reject", "new_per_second")] {
        let text = format!("[[rule]]\nname = 'a'\naction = '{action}'\n{key} = 5");
        let message =
            format!("`{key}` limits what a rule allows, and the action of this rule is `{action}`");
        let help = format!("leave `{key}` out, or say `action = \"allow\"`");
        assert_told(&text, (4, key.len() + 4), "5", &message, &help);
        // 0 is no limit, wherever it stands.
        parsed(&format!("{GATEWAY}{}", text.replace("= 5", "= 0")));
    }
    // An action that nobody knows may be meant to allow.
    let text = "[[rule]]\nname = 'a'\naction = 'alow'\nhalf_open = 5";
    let help = "it is one of: `allow`, `deny`, `reject`";
    assert_told(text, (3, 10), "'alow'", "`alow` is no action", help);
}

#[test]
fn asymmetric() {
    let everywhere = "for any address write `prefixes = [\"0.0.0.0/0\", \"::/0\"]`";
    assert_told(
        "[network.branch]\nprefixes = []\n[[asymmetric]]\nnetworks = ['brnch']",
        (4, 13),
        "'brnch'",
        "there is no network `brnch`",
        "did you mean `branch`?",
    );
    assert_told(
        "[[asymmetric]]\nnetworks = ['branch']",
        (2, 13),
        "'branch'",
        "there is no network `branch`",
        "this policy has no `[network.NAME]`",
    );
    let message = "there is no network `any`";
    assert_told("[[asymmetric]]\nnetworks = ['any']", (2, 13), "'any'", message, everywhere);
    for key in ["prefixes", "networks"] {
        let message = format!("`{key}` is an empty list, which would match nothing");
        assert_told(&format!("[[asymmetric]]\n{key} = []"), (2, 12), "[]", &message, everywhere);
    }
    assert_told(
        "[[asymmetric]]\nprefixes = ['10.9.0.1/16']",
        (2, 13),
        "'10.9.0.1/16'",
        "`10.9.0.1/16` has bits set beyond its prefix length",
        "for the whole network write `10.9.0.0/16`, for this one address `10.9.0.1/32`",
    );
    assert_told(
        "[[asymmetric]]",
        (1, 1),
        "[[asymmetric]]",
        "[[asymmetric]] lacks the key `prefixes`",
        "it needs `prefixes`, `networks` with names of networks, or both",
    );
    assert_told(
        "[[asymmetric]]\nprefixes = ['10.9.0.0/16']\nnetwork = ['branch']",
        (3, 1),
        "network",
        "unknown key `network` in [[asymmetric]]",
        "did you mean `networks`?",
    );
    assert_told(
        "[asymmetric]\nprefixes = ['10.9.0.0/16']",
        (1, 1),
        "[asymmetric]",
        "`asymmetric` must be a list of tables, each headed `[[asymmetric]]`, not a table",
        "",
    );
    let message = "`networks` must be a list of strings, not a string";
    assert_told("[[asymmetric]]\nnetworks = 'a'", (2, 12), "'a'", message, "");
}

#[test]
fn out_of_range() {
    for (text, place, shown, range, help) in [
        (
            "[tables]\ncompleted = 1023",
            (2, 13),
            "1023",
            "`completed` must be from 1024 to 16777216",
            "flows with an answer, of each address family; 1048576 if left out",
        ),
        (
            "[tables]\nhalf_open = 4_194_305",
            (2, 13),
            "4_194_305",
            "`half_open` must be from 1024 to 4194304",
            "flows without an answer, of each address family; 262144 if left out",
        ),
        (
            "[limits]\nhalf_open_per_source = -1",
            (2, 24),
            "-1",
            "`half_open_per_source` must be from 0 to 4194304",
            LIMIT_HELP,
        ),
        (
            "[limits]\nnew_per_second_per_source = 99999999999999999999",
            (2, 29),
            "99999999999999999999",
            "`new_per_second_per_source` must be from 0 to 10000000",
            LIMIT_HELP,
        ),
        (
            "[limits]\nsyn_attack = -99999999999999999999",
            (2, 14),
            "-99999999999999999999",
            "`syn_attack` must be from 0 to 10000000",
            "unanswered new TCP flows a second; 2000 if left out, and with 0 no attack is ever on",
        ),
        (
            "[[rule]]\nname = 'a'\naction = 'allow'\nhalf_open = 4294967297",
            (4, 13),
            "4294967297",
            "`half_open` must be from 0 to 4194304",
            LIMIT_HELP,
        ),
    ] {
        let message = format!("{range}, not `{}`", shown.replace('_', ""));
        assert_told(text, place, shown, &message, help);
    }
}
