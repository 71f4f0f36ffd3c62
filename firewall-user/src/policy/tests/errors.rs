//! One test for each kind of problem: where it is said to be, what text is shown, what help is given.

use super::{
    told::{GATEWAY, TRANSPORT_HELP, assert_told, assert_told_in, told_all},
    *,
};

const PORTS_HELP: &str =
    "ports are numbers from 1 to 65535, such as 554, or ranges, such as \"8000-8010\"";
const INTERFACES_HELP: &str =
    "a policy has at least `[gateway]` with `interfaces = [\"lan0\", \"wan0\"]`";

#[test]
fn unknown_key() {
    assert_told(
        "[protocol.a]\ntransprot = 'tcp'\ntransport = 'tcp'\nports = [1]",
        (2, 1),
        "transprot",
        "unknown key `transprot` in [protocol.a]",
        "did you mean `transport`?",
    );
    assert_told(
        "[networks.a]\nprefixes = []",
        (1, 2),
        "networks",
        "unknown key `networks` in the policy",
        "did you mean `network`?",
    );
    assert_told(
        "[filter.rtsp]\ncolour = 'red'",
        (2, 1),
        "colour",
        "unknown key `colour` in [filter.rtsp]",
        "known keys: `mode`, `profile`",
    );
}

#[test]
fn missing_key() {
    let message = "[protocol.a] lacks the key `transport`";
    assert_told("[protocol.a]\nports = [1]", (1, 1), "[protocol.a]", message, "");
    let message = "[[rule]] lacks the key `name`";
    assert_told("[[rule]]\naction = 'deny'", (1, 1), "[[rule]]", message, "");
}

#[test]
fn wrong_type() {
    let message = "`prefixes` must be a list of strings, not a string";
    assert_told("[network.a]\nprefixes = 'x'", (2, 12), "'x'", message, "");
    let message = "[network.a] must be a table, not an integer";
    assert_told("[network]\na = 1", (2, 5), "1", message, "");
    let message = "`rule` must be a list of tables, each headed `[[rule]]`, not a table";
    assert_told("[rule]\nname = 'a'", (1, 1), "[rule]", message, "");
    let message =
        "an item of `ports` must be a number or a range such as \"8000-8010\", not a float";
    assert_told("[protocol.a]\ntransport = 'tcp'\nports = [1.5]", (3, 10), "1.5", message, "");
}

#[test]
fn not_one_of() {
    assert_told(
        "[filter.rtsp]\nmode = 'enforced'",
        (2, 8),
        "'enforced'",
        "`enforced` is no mode",
        "it is one of: `off`, `monitor`, `enforce`",
    );
    assert_told(
        "[filter.rtsp]\nprofile = 'loose'",
        (2, 11),
        "'loose'",
        "`loose` is no profile",
        "it is one of: `standard`, `strict`",
    );
    assert_told(
        "[protocol.a]\ntransport = 'rtsp'\nports = [1]",
        (2, 13),
        "'rtsp'",
        "`rtsp` is no transport",
        TRANSPORT_HELP,
    );
    assert_told(
        "[[rule]]\nname = 'a'\naction = 'drop'",
        (3, 10),
        "'drop'",
        "`drop` is no action",
        "it is one of: `allow`, `deny`, `reject`",
    );
    assert_told_in(
        "[gateway]\ndefault = 'reject'\ninterfaces = ['lan0']",
        (2, 11),
        "'reject'",
        "`reject` is no default",
        "it is one of: `deny`, `allow`",
    );
    assert_told_in(
        "[gateway]\nnew_flow = 'allow'\ninterfaces = ['lan0']",
        (2, 12),
        "'allow'",
        "`allow` is no new_flow",
        "it is one of: `enforce`, `monitor`",
    );
    assert_told_in(
        "[gateway]\nlive = 'end'\ninterfaces = ['lan0']",
        (2, 8),
        "'end'",
        "`end` is no live",
        "it is one of: `keep`, `reevaluate`, `kill`",
    );
    for value in ["'on'", "1"] {
        let found = if value == "1" { "an integer" } else { "a string" };
        assert_told_in(
            &format!("[gateway]\nshortcut = {value}\ninterfaces = ['lan0']"),
            (2, 12),
            value,
            &format!("`shortcut` must be a boolean, not {found}"),
            "it is `true` or `false`, without quotes",
        );
    }
    assert_told(
        "[limits]\nsyn_authentication = 'always'",
        (2, 22),
        "'always'",
        "`always` is no syn_authentication",
        "it is one of: `off`, `auto`, `on`",
    );
}

#[test]
fn unknown_name() {
    assert_told(
        "[network.inside]\nprefixes = []\n[[rule]]\nname = 'a'\naction = 'deny'\nfrom = ['insde']",
        (6, 9),
        "'insde'",
        "there is no network `insde`",
        "did you mean `inside`?",
    );
    assert_told(
        "[[rule]]\nname = 'a'\naction = 'deny'\nprotocols = ['rtsp']",
        (4, 14),
        "'rtsp'",
        "there is no protocol `rtsp`",
        "this policy has no `[protocol.NAME]`",
    );
    assert_told(
        "[[rule]]\nname = 'a'\naction = 'deny'\nto = ['any']",
        (4, 7),
        "'any'",
        "there is no network `any`",
        "for any network leave `to` out",
    );
    assert_told(
        "[protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = 'rstp'",
        (4, 10),
        "'rstp'",
        "there is no filter `rstp`",
        "did you mean `rtsp`?",
    );
    assert_told(
        "[filter.rtps]\nmode = 'off'",
        (1, 9),
        "rtps",
        "there is no filter `rtps`",
        "did you mean `rtsp`?",
    );
}

#[test]
fn bad_prefix() {
    assert_told(
        "[network.a]\nprefixes = ['10.0.0.0/8', '10.1.0/24']",
        (2, 27),
        "'10.1.0/24'",
        "`10.1.0/24` is not a prefix: what stands before `/` is no IPv4 or IPv6 address",
        "a prefix looks like `10.1.0.0/24` or `fd00:1::/64`",
    );
    assert_told(
        "[network.a]\nprefixes = ['10.0.0.0/33']",
        (2, 13),
        "'10.0.0.0/33'",
        "`10.0.0.0/33` is not a prefix: its length is out of range",
        "the length of this prefix is a number from 0 to 32",
    );
    assert_told(
        "[network.a]\nprefixes = ['fd00::1']",
        (2, 13),
        "'fd00::1'",
        "`fd00::1` is not a prefix: it has no prefix length",
        "for this one address write `fd00::1/128`",
    );
}

#[test]
fn prefix_with_host_bits() {
    assert_told(
        "[network.a]\nprefixes = ['10.1.0.5/24']",
        (2, 13),
        "'10.1.0.5/24'",
        "`10.1.0.5/24` has bits set beyond its prefix length",
        "for the whole network write `10.1.0.0/24`, for this one address `10.1.0.5/32`",
    );
}

#[test]
fn bad_port() {
    for (item, reason) in [
        ("0", "0 is reserved"),
        ("65536", "it is larger than 65535"),
        ("0x1_0000", "it is larger than 65535"),
        ("'0-5'", "0 is reserved"),
        ("'1-65536'", "it is larger than 65535"),
        ("'http'", "it is no number"),
    ] {
        let text = format!("[protocol.a]\ntransport = 'tcp'\nports = [80, {item}]");
        let shown = if item == "0x1_0000" { "0x10000" } else { item.trim_matches('\'') };
        let message = format!("`{shown}` is not a port: {reason}");
        assert_told(&text, (3, 14), item, &message, PORTS_HELP);
    }
}

#[test]
fn reversed_range() {
    assert_told(
        "[protocol.a]\ntransport = 'tcp'\nports = ['8010-8000']",
        (3, 10),
        "'8010-8000'",
        "the port range `8010-8000` runs backwards",
        "write `8000-8010`",
    );
}

#[test]
fn port_of_two_protocols() {
    let text = "[protocol.a]\ntransport = 'tcp'\nports = ['8000-8010']\n\
                [protocol.b]\ntransport = 'udp'\nports = [8005]\n\
                [protocol.c]\ntransport = 'tcp'\nports = [1, '8004-9000']";
    let message = "tcp port 8004 belongs to protocol `a` already, so not to `c`";
    assert_told(text, (9, 13), "'8004-9000'", message, "");
    let text = "[protocol.a]\ntransport = 'tcp'\nports = [554, '500-600', 554]";
    parsed(&format!("{GATEWAY}{text}"));
}

#[test]
fn filter_on_the_wrong_transport() {
    assert_told(
        "[protocol.a]\ntransport = 'udp'\nports = [554]\nfilter = 'rtsp'",
        (4, 10),
        "'rtsp'",
        "filter `rtsp` reads tcp, and protocol `a` is udp",
        "leave `filter` out, or say `transport = \"tcp\"`",
    );
}

#[test]
fn duplicate_rule_name() {
    assert_told(
        "[[rule]]\nname = 'a'\naction = 'deny'\n[[rule]]\nname = 'a'\naction = 'allow'",
        (5, 8),
        "'a'",
        "two rules are named `a`",
        "events name the rule that let a flow in, so each needs its own name",
    );
}

#[test]
fn bad_names() {
    assert_told(
        "[network.'a b']\nprefixes = []",
        (1, 10),
        "'a b'",
        "bad network name `a b`: \
         it has a character that is not an ASCII letter, a digit, `-`, `_` or `.`",
        "",
    );
    let message = "bad rule name ``: it is empty";
    assert_told("[[rule]]\nname = ''\naction = 'deny'", (2, 8), "''", message, "");
}

#[test]
fn empty_list() {
    let rule = "[[rule]]\nname = 'a'\naction = 'deny'\n";
    let message = "`from` is an empty list, which would match nothing";
    let help = "for any network leave `from` out";
    assert_told(&format!("{rule}from = []"), (4, 8), "[]", message, help);
    let message = "`ports` is an empty list, which would match nothing";
    assert_told("[protocol.a]\ntransport = 'tcp'\nports = []", (3, 9), "[]", message, "");
}

#[test]
fn interfaces() {
    let message = "the policy names no interfaces";
    assert_told_in("[network.a]\nprefixes = []", (1, 1), "", message, INTERFACES_HELP);
    assert_told_in("[gateway]\n", (1, 1), "[gateway]", message, INTERFACES_HELP);
    assert_told_in("[gateway]\ninterfaces = []", (2, 14), "[]", message, INTERFACES_HELP);
    assert_told_in(
        "[gateway]\ninterfaces = ['lan0', 'a-name-too-long0']",
        (2, 23),
        "'a-name-too-long0'",
        "bad interface name `a-name-too-long0`: \
         it is longer than 15 bytes, the most that Linux allows",
        "",
    );
    let message = "interface `lan0` is listed twice";
    assert_told_in("[gateway]\ninterfaces = ['lan0', 'lan0']", (2, 23), "'lan0'", message, "");
}

#[test]
fn too_many() {
    let networks: String = (0..4097).map(|n| format!("[network.n{n}]\nprefixes = []\n")).collect();
    let message = "too many networks: 4097, and 4096 is the most";
    assert_told(&networks, (8193, 10), "n4096", message, "");

    let rules: String =
        (0..16_385).map(|n| format!("[[rule]]\nname = 'r{n}'\naction = 'deny'\n")).collect();
    let message = "too many rules: 16385, and 16384 is the most";
    assert_told(&rules, (49_153, 1), "[[rule]]", message, "");

    let protocols: String =
        (1..4097).map(|n| format!("[protocol.p{n}]\ntransport = 'tcp'\nports = [{n}]\n")).collect();
    let message = "too many protocols: 4096, and 4095 is the most";
    assert_told(&protocols, (12_286, 11), "p4096", message, "");

    let prefixes: String =
        (0..16_385).map(|n| format!("'10.{}.{}.0/24',\n", n / 256, n % 256)).collect();
    let message = "too many IPv4 prefixes: 16385, and 16384 is the most";
    let text = format!("[network.a]\nprefixes = [\n{prefixes}]");
    assert_told(&text, (16_387, 1), "'10.64.0.0/24'", message, "");
    // Those that are asymmetric lie in the same tables.
    let (last_at, _) = prefixes.match_indices('\n').nth(16_383).expect("there are as many");
    let (listed, last) = prefixes.split_at(last_at + 1);
    let text =
        format!("[network.a]\nprefixes = [\n{listed}]\n[[asymmetric]]\nprefixes = [\n{last}]");
    assert_told(&text, (16_390, 1), "'10.64.0.0/24'", message, "");
}

#[test]
fn not_toml() {
    let message = "not TOML: string values must be quoted, expected literal string";
    assert_told("[network.a]\nprefixes = oops", (2, 12), "oops", message, "");
    let message = "not TOML: duplicate key";
    assert_told("[network.a]\nprefixes = []\n[network.a]", (3, 10), "a", message, "");
}

#[test]
fn all_problems_are_told_in_the_order_of_the_file() {
    let told = told_all(
        "[[rule]]\nname = 'a'\naction = 'dney'\nfrom = ['x']\n\
         [gateway]\ninterfaces = []\n[filter.none]\n[protocol.p]\nports = [0]\n",
    );
    let lines: Vec<usize> = told.iter().map(|told| told.line).collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 9]);
}

#[test]
fn a_flood_of_problems_is_bounded() {
    let text: String = (0..1000).map(|n| format!("k{n} = 1\n")).collect();
    let error = Policy::parse("policy.toml", &text).expect_err("the keys are unknown");
    assert_eq!(error.problems().len(), 64);
    assert_eq!(error.omitted(), 1001 - 64, "1,000 keys and no interfaces");
    assert!(error.render(false).ends_with("… and 937 more problems\n"));
}

#[test]
fn a_terminal_shows_place_text_and_help() {
    let text = format!("{GATEWAY}[network.a]\nprefixes = ['10.1.0.5/24']\n");
    let error = Policy::parse("policy.toml", &text).expect_err("it has host bits");
    let rendered = error.render(false);
    for part in ["policy.toml:4:13", "prefixes = ['10.1.0.5/24']", "help: for the whole network"] {
        assert!(rendered.contains(part), "{part} is not in\n{rendered}");
    }
    assert!(!rendered.contains('\u{1b}'), "no colour unless asked for");
    assert!(error.render(true).contains('\u{1b}'));
    assert_eq!(
        error.to_string(),
        "policy.toml:4:13: `10.1.0.5/24` has bits set beyond its prefix length"
    );
}

#[test]
fn the_other_place_is_shown_too() {
    let text = format!(
        "{GATEWAY}[protocol.a]\ntransport = 'tcp'\nports = [80]\n{}[protocol.b]\n\
                        transport = 'tcp'\nports = [80]\n",
        "# far away\n".repeat(50)
    );
    let error = Policy::parse("policy.toml", &text).expect_err("80 is given away twice");
    let rendered = error.render(false);
    for part in ["policy.toml:58:10", "given away here", " 5 │ ports = [80]"] {
        assert!(rendered.contains(part), "{part} is not in\n{rendered}");
    }
}
