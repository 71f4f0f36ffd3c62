//! What is legal and surely not meant: one test for each sort, with what is near it and fine.

use super::*;

const GATEWAY: &str = "[gateway]\ninterfaces = ['lan0']\n";
const NAMES: &str = "[network.ten]\nprefixes = ['10.0.0.0/8', 'fd00::/8']\n\
                     [network.lab]\nprefixes = ['10.1.0.0/16', '10.1.2.0/24']\n\
                     [network.low]\nprefixes = ['10.1.0.0/17']\n\
                     [network.high]\nprefixes = ['10.1.128.0/17']\n\
                     [protocol.web]\ntransport = 'tcp'\nports = [80, 443]\n\
                     [protocol.rest]\ntransport = 'tcp'\nports = ['1-79', '81-442', '444-65535']\n";

/// Each warning as line, column, text, code and message.
fn told(text: &str) -> Vec<(usize, usize, String, &'static str, String)> {
    let entries = checked(text).warnings.entries().into_iter();
    entries
        .map(|entry| {
            assert_eq!(entry.file, "policy.toml");
            assert!(entry.help.is_some_and(|help| !help.is_empty()));
            let (line, column) = (entry.line.expect("a line"), entry.column.expect("a column"));
            (line, column, entry.text, entry.code.expect("a code"), entry.message)
        })
        .collect()
}

fn rule(name: &str, action: &str, rest: &str) -> String {
    format!("[[rule]]\nname = '{name}'\naction = '{action}'\n{rest}\n")
}

/// The rules that are said never to match, and why, if these are all the rules.
#[track_caller]
fn dead(rules: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let rules: String = rules
        .iter()
        .enumerate()
        .map(|(index, (action, rest))| rule(&format!("r{index}"), action, rest))
        .collect();
    let told = told(&format!("{GATEWAY}{NAMES}{rules}")).into_iter();
    told.filter(|(.., code, _)| code.ends_with("-rule"))
        .map(|(.., code, message)| (code, message))
        .collect()
}

#[test]
fn what_is_meant_is_not_warned_of() {
    for example in [
        include_str!("../../../../examples/cameras.toml"),
        include_str!("../../../../examples/office.toml"),
        include_str!("../../../../examples/branch.toml"),
        include_str!("../../../../examples/dmz.toml"),
    ] {
        assert_eq!(told(example), [], "{example}");
    }
    assert!(told(GATEWAY).is_empty());
}

#[test]
fn a_rule_that_one_before_it_covers() {
    let message = "rule `r1` can never match: rule `r0` before it matches all of it, and decides \
                   the same";
    // By sets, not by names: the prefixes lie in the other network's.
    let told = dead(&[("allow", "from = ['ten']"), ("allow", "from = ['lab']\nto = ['ten']")]);
    assert_eq!(told, [("redundant-rule", message.to_owned())]);
    let message = "rule `r1` can never match: rule `r0` before it matches all of it, and decides \
                   otherwise: deny, not allow";
    let told = dead(&[("deny", "from = ['lab']"), ("allow", "from = ['low', 'high']")]);
    assert_eq!(told, [("contradicted-rule", message.to_owned())]);
    for fine in [
        [("allow", "from = ['lab']"), ("allow", "from = ['ten']")],
        [("allow", "from = ['ten']"), ("allow", "to = ['ten']")],
        [("allow", "from = ['ten']\nprotocols = ['web']"), ("allow", "from = ['ten']")],
        [("allow", "from = ['lab']"), ("allow", "from = ['lab', 'ten']")],
        // Both protocols are all of TCP, but not ICMP and the like.
        [("allow", "protocols = ['web', 'rest']"), ("allow", "")],
    ] {
        assert_eq!(dead(&fine), [], "{fine:?}");
    }
}

#[test]
fn a_rule_that_several_before_it_cover() {
    let told = dead(&[
        ("allow", "from = ['low']"),
        ("deny", "from = ['high']\nprotocols = ['rest']"),
        ("allow", "to = ['lab']"),
        ("deny", "from = ['high']\nprotocols = ['web']"),
        ("allow", "from = ['lab']\nprotocols = ['web', 'rest']"),
    ]);
    let message = "rule `r4` can never match: rules `r0`, `r1` and `r3` before it match all of it \
                   together";
    assert_eq!(told, [("unreachable-rule", message.to_owned())]);
    let told = dead(&[
        ("allow", "from = ['low']"),
        ("deny", "from = ['high']\nprotocols = ['rest']"),
        ("allow", "from = ['lab']\nprotocols = ['web', 'rest']"),
    ]);
    assert_eq!(told, [], "pages for the upper half are left");
}

const PLACES: &str = "[network.guests]\ninterfaces = ['lan0']\n\
                      [network.inside]\nnetworks = ['guests', 'lab']\n\
                      [protocol.ping]\ntransport = 'icmp'\ntypes = ['echo-request']\n\
                      [protocol.zero]\ntransport = 'icmp'\ntypes = ['redirect/0', 'redirect/1']\n\
                      [protocol.gre]\ntransport = 'gre'\n";

/// As [`dead`], of rules that also speak about [`PLACES`]: the last one's sort, if it can never match.
#[track_caller]
fn last_dead(rules: &[&str]) -> Option<&'static str> {
    let last = format!("rule `r{}`", rules.len() - 1);
    let rules = rules.iter().enumerate();
    let rules: String =
        rules.map(|(index, rest)| rule(&format!("r{index}"), "allow", rest)).collect();
    let told = told(&format!("{GATEWAY}{NAMES}{PLACES}{rules}")).into_iter();
    told.filter(|(.., message)| message.starts_with(&last)).map(|(.., code, _)| code).next()
}

#[test]
fn interfaces_types_and_nested_networks_are_compared() {
    for (rules, expected) in [
        // One of two ways into a network is not all of it.
        (&["from = ['lab']", "from = ['inside']"][..], None),
        (&["interface = ['lan0']", "from = ['inside']"], None),
        (
            &["from = ['lab']", "interface = ['lan0']", "from = ['inside']"],
            Some("unreachable-rule"),
        ),
        (&["from = ['inside']", "from = ['low']"], Some("redundant-rule")),
        (&["from = ['inside']", "from = ['ten']\ninterface = ['lan0']"], Some("redundant-rule")),
        (&["from = ['inside']", "from = ['ten']\ninterface = ['self', 'lan0']"], None),
        (&["interface = ['lan0', 'self']", "interface = ['self']"], Some("redundant-rule")),
        (&["interface = ['lan0', 'self']", "from = ['ten']"], None),
        (
            &["interface = ['self']", "from = ['inside']\ninterface = ['self']"],
            Some("redundant-rule"),
        ),
        (&["from = ['guests']\ninterface = ['self']"], Some("no-interface")),
        (&["from = ['inside']\ninterface = ['self']"], None),
        (&["protocols = ['ping', 'zero']", "protocols = ['zero']"], Some("redundant-rule")),
        (&["protocols = ['ping']", "protocols = ['zero', 'ping']"], None),
        (&["protocols = ['gre']", "protocols = ['gre']"], Some("redundant-rule")),
        (&["protocols = ['gre']", ""], None),
    ] {
        assert_eq!(last_dead(rules), expected, "{rules:?}");
    }
}

#[test]
fn what_networks_and_lists_of_sources_name_is_used() {
    let text = format!(
        "{GATEWAY}[network.a]\nprefixes = ['10.0.0.0/8']\n[network.b]\nnetworks = ['a']\n\
         [network.c]\ninterfaces = ['lan0']\n[anti_spoofing.sources]\nlan0 = ['b']\n{}",
        rule("a", "allow", "from = ['c']\nlog = false")
    );
    assert_eq!(told(&text), []);
    let message = "nothing refers to network `b`".to_owned();
    let unlisted = text.replace("[anti_spoofing.sources]\nlan0 = ['b']\n", "");
    assert_eq!(told(&unlisted), [(5, 10, "b".to_owned(), "unused-network", message)]);
}

#[test]
fn a_rule_from_one_family_to_the_other() {
    let network = "[network.six]\nprefixes = ['fd00::/8']\n";
    let rules = rule("a", "allow", "from = ['six']\nto = ['low']")
        + &rule("b", "allow", "from = ['six']\nto = ['ten']");
    let told = told(&format!("{GATEWAY}{NAMES}{network}{rules}")).into_iter();
    let told: Vec<_> = told.filter(|(.., code, _)| *code == "no-family").collect();
    let message = "rule `a` can never match: all of its sources are IPv6, and all of its \
                   destinations IPv4";
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].4, message);
}

#[test]
fn both_rules_are_shown() {
    let rules =
        rule("first", "deny", "from = ['ten']") + &rule("second", "allow", "from = ['lab']");
    let text = format!("{GATEWAY}{NAMES}{rules}");
    let rendered = checked(&text).warnings.render(false);
    for shown in ["⚠ rule `second` can never match", "this rule matches all of it", "help: put it"]
    {
        assert!(rendered.contains(shown), "{shown}: {rendered}");
    }
    let at = text.lines().position(|line| line == "name = 'second'").expect("it is there");
    let covered = told(&text).into_iter().find(|(.., code, _)| *code == "contradicted-rule");
    let (line, column, shown, ..) = covered.expect("it is covered");
    assert_eq!((line, column, shown.as_str()), (at, 1, "[[rule]]"));
}

/// 10,000 rules of which the last is covered by the others together, by none alone; and one that covers much.
#[test]
fn many_rules_are_compared() {
    let mut text = GATEWAY.to_owned();
    for n in 0..4000 {
        let (high, low) = (n / 256, n % 256);
        text +=
            &format!("[network.n{n}]\nprefixes = ['10.{high}.{low}.0/24', 'fd00:{n:x}::/32']\n");
    }
    text += "[network.two]\nprefixes = ['10.0.0.0/23']\n[network.all]\nprefixes = ['10.0.0.0/8']\n";
    text += "[protocol.web]\ntransport = 'tcp'\nports = [80]\n";
    for n in 0..9990 {
        let (from, to) = (n % 4000, n / 4000);
        text += &format!(
            "[[rule]]\nname = 'r{n}'\naction = 'allow'\nfrom = ['n{from}']\nto = ['n{to}']\n"
        );
    }
    text += &rule("together", "allow", "from = ['two']\nto = ['n1']");
    text += &rule("last", "deny", "from = ['n7']\nto = ['n2']\nprotocols = ['web']");
    text += &rule("alive", "deny", "from = ['all']\nto = ['all']");
    let told: Vec<_> = told(&text).into_iter().map(|(.., message)| message).collect();
    let expected = [
        "rule `together` can never match: rules `r4000` and `r4001` before it match all of it \
         together",
        "rule `last` can never match: rule `r8007` before it matches all of it, and decides \
         otherwise: allow, not deny",
    ];
    assert_eq!(told, expected);
}

#[test]
fn rules_that_list_too_much_are_not_compared_and_that_is_told() {
    let mut text = GATEWAY.to_owned();
    let prefixes: Vec<_> =
        (0..16_000).map(|n| format!("10.{}.{}.0/28", n / 256, n % 256)).collect();
    for (index, prefixes) in prefixes.chunks(4000).enumerate() {
        text += &format!("[network.n{index}]\nprefixes = {prefixes:?}\n");
    }
    for n in 0..4000 {
        text += &rule(&format!("r{n}"), "allow", "from = ['n0', 'n1', 'n2', 'n3']");
    }
    let told = told(&text);
    assert_eq!(told[0].3, "rules-not-compared", "{told:?}");
}

#[test]
fn names_that_nothing_refers_to() {
    let text = format!("{GATEWAY}{NAMES}{}", rule("a", "allow", "from = ['lab']\nto = ['low']"));
    let expected = [
        (3, 10, "ten", "unused-network", "nothing refers to network `ten`"),
        (9, 10, "high", "unused-network", "nothing refers to network `high`"),
        (
            11,
            11,
            "web",
            "unused-protocol",
            "no rule names protocol `web`, and no filter is bound to it",
        ),
        (
            14,
            11,
            "rest",
            "unused-protocol",
            "no rule names protocol `rest`, and no filter is bound to it",
        ),
    ];
    let expected = expected.map(|(line, column, text, code, message)| {
        (line, column, text.to_owned(), code, message.to_owned())
    });
    assert_eq!(told(&text), expected);
    let asymmetric = "[network.a]\nprefixes = ['10.0.0.0/8']\n[[asymmetric]]\nnetworks = ['a']\n";
    assert_eq!(told(&format!("{GATEWAY}{asymmetric}")), []);
}

#[test]
fn a_network_without_a_prefix() {
    let text = "[network.blocked]\nprefixes = []\n".to_owned()
        + &rule("a", "deny", "from = ['blocked']")
        + &rule("b", "deny", "from = ['blocked']");
    let message = "network `blocked` has no prefix, so no address is in it".to_owned();
    assert_eq!(
        told(&format!("{GATEWAY}{text}")),
        [(3, 10, "blocked".to_owned(), "empty-network", message)]
    );
}

#[test]
fn a_filter_with_nothing_to_read() {
    let protocol = "[protocol.media]\ntransport = 'tcp'\nports = [554]\nfilter = 'rtsp'\n";
    let message = "filter `rtsp` has nothing to read of protocol `media`: no rule allows it, and \
                   the default denies";
    let expected = [(3, 11, "media".to_owned(), "unread-protocol", message.to_owned())];
    for rules in [
        String::new(),
        rule("a", "deny", "protocols = ['media']"),
        rule("a", "deny", "") + &rule("b", "allow", "protocols = ['media']"),
    ] {
        let told = told(&format!("{GATEWAY}{protocol}{rules}"));
        let unread: Vec<_> = told.into_iter().filter(|it| !it.3.ends_with("-rule")).collect();
        assert_eq!(unread, expected, "{rules}");
    }
    for fine in [
        format!("{GATEWAY}default = 'allow'\n{protocol}"),
        format!("{GATEWAY}{protocol}{}", rule("a", "allow", "")),
        format!("{GATEWAY}{protocol}{}", rule("a", "allow", "protocols = ['media']")),
    ] {
        assert_eq!(told(&fine), [], "{fine}");
    }
}

#[test]
fn settings_of_a_filter_that_reads_nothing() {
    let message = "[filter.smtp] has no effect: no protocol has this filter".to_owned();
    assert_eq!(
        told(&format!("{GATEWAY}[filter.smtp]\nmode = 'enforce'\n")),
        [(3, 9, "smtp".to_owned(), "unbound-filter", message)]
    );
    let text = format!(
        "{GATEWAY}default = 'allow'\n[protocol.p]\ntransport = 'tcp'\nports = [21]\nfilter = 'ftp'\n\
         [filter.ftp]\nmode = 'off'\ncommands = ['USER']\n"
    );
    let message = "`commands` has no effect: the mode of filter `ftp` is `off`".to_owned();
    assert_eq!(told(&text), [(10, 12, "['USER']".to_owned(), "filter-off", message)]);
    assert_eq!(told(&text.replace("commands = ['USER']\n", "")), []);
    assert_eq!(told(&text.replace("'off'", "'monitor'")), []);
    let elsewhere = "filter = { name = 'ftp', mode = 'monitor' }";
    let message =
        "`mode` of [filter.ftp] has no effect: every protocol that has this filter says its own";
    let overridden = text.replace("filter = 'ftp'", elsewhere);
    let expected = (9, 8, "'off'".to_owned(), "filter-overridden", message.to_owned());
    assert_eq!(told(&overridden), [expected]);
    let second = "[protocol.q]\ntransport = 'tcp'\nports = [22]\nfilter = 'ftp'\n";
    assert_eq!(told(&format!("{overridden}{second}")), [], "there it is off");
    let own = "filter = { name = 'ftp', mode = 'off', profile = 'strict' }\n";
    let text =
        format!("{GATEWAY}default = 'allow'\n[protocol.p]\ntransport = 'tcp'\nports = [21]\n{own}");
    let message = "`profile` has no effect: the mode of filter `ftp` is `off`".to_owned();
    assert_eq!(told(&text), [(7, 50, "'strict'".to_owned(), "filter-off", message)]);
}

#[test]
fn a_policy_that_refuses_nothing() {
    let text = format!("{GATEWAY}default = 'allow'\n{}", rule("a", "allow", "half_open = 0"));
    let message = "nothing is ever refused: the default allows, and so does every rule".to_owned();
    assert_eq!(told(&text), [(3, 11, "'allow'".to_owned(), "nothing-refused", message)]);
    for (from, to) in [
        ("half_open = 0", "half_open = 5"),
        ("default = 'allow'", "default = 'deny'"),
        ("action = 'allow'", "action = 'deny'"),
    ] {
        assert_eq!(told(&text.replace(from, to)), [], "{to}");
    }
}

#[test]
fn a_limit_that_sources_never_reach() {
    let limits = "[limits]\nnew_per_second_per_source = 10\nhalf_open_per_source = 100\n\
                  [network.few]\nprefixes = ['10.0.0.0/30', '10.0.0.2/32']\n";
    let text = |limit| format!("{GATEWAY}{limits}{}", rule("a", "allow", limit));
    let limited = text("from = ['few']\nnew_per_second = 40\nhalf_open = 399");
    let message = "`new_per_second` of rule `a` has no effect: [limits] keeps its 4 source \
                   addresses at 40 already";
    assert_eq!(
        told(&limited),
        [(12, 18, "40".to_owned(), "limit-without-effect", message.to_owned())]
    );
    assert_eq!(told(&limited.replace("= 40", "= 39")), []);
    assert_eq!(told(&limited.replace("new_per_second_per_source = 10\n", "")), []);
    assert_eq!(told(&text("to = ['few']\nnew_per_second = 40")), [], "from anywhere");
}

/// The exports that are said to be barred, and by what, if these are the gateway, its rules and where an export of this
/// kind sends.
fn barred(kind: &str, to: &str, gateway: &str, rules: &str) -> Vec<String> {
    let (networks, _) = NAMES.split_once("[protocol").expect("protocols behind the networks");
    let text = format!(
        "{GATEWAY}{gateway}\n[export.siem]\nkind = '{kind}'\nto = '{to}'\n{networks}{rules}\n{}",
        rule("names", "allow", "interface = ['lan0']\nto = ['ten', 'lab', 'low', 'high']")
    );
    let told = told(&text).into_iter().filter(|(.., code, _)| *code == "barred-export");
    told.map(|(line, column, place, _, message)| {
        assert_eq!((line, column, place), (6, 6, format!("'{to}'")));
        let ends = (
            "export `siem` cannot reach its receiver: ",
            " refuses what the gateway itself sends there",
        );
        let by = message.strip_prefix(ends.0).and_then(|rest| rest.strip_suffix(ends.1));
        by.unwrap_or_else(|| panic!("{message}")).to_owned()
    })
    .collect()
}

#[test]
fn exports_that_nothing_lets_out() {
    for (kind, to) in [
        ("syslog", "udp://10.1.2.7:514"),
        ("syslog", "tcp://[fd00::7]:601"),
        ("syslog", "tcp://log.example.net:601"),
        ("otlp", "http://10.1.2.7"),
        ("otlp", "http://[fd00::7]:4319"),
        ("ipfix", "udp://10.1.2.7:4739"),
    ] {
        assert_eq!(barred(kind, to, "", ""), ["the default"], "{to}");
        assert_eq!(barred(kind, to, "default = 'allow'", ""), [""; 0], "{to}");
        let own = rule("own", "allow", "interface = ['self']");
        assert_eq!(barred(kind, to, "", &own), [""; 0], "{to}");
        let denied = rule("none", "deny", "interface = ['self']");
        assert_eq!(barred(kind, to, "", &format!("{denied}{own}")), ["rule `none`"], "{to}");
        assert_eq!(barred(kind, to, "default = 'allow'", &denied), ["rule `none`"], "{to}");
        let through = rule("through", "allow", "interface = ['lan0']");
        assert_eq!(barred(kind, to, "", &through), ["the default"], "{to}");
    }
}

#[test]
fn what_an_export_sends_is_told_by_its_address_transport_and_port() {
    let ports = |transport: &str, port: u16| {
        format!("[protocol.log]\ntransport = '{transport}'\nports = [{port}]\n")
    };
    let allowed = |to: &str, transport: &str, port: u16| {
        ports(transport, port)
            + &rule(
                "log",
                "allow",
                &format!("interface = ['self']\nto = ['{to}']\nprotocols = ['log']"),
            )
    };
    let to = "udp://10.1.2.7:514";
    assert_eq!(barred("syslog", to, "", &allowed("low", "udp", 514)), [""; 0]);
    for rules in
        [allowed("high", "udp", 514), allowed("low", "tcp", 514), allowed("low", "udp", 515)]
    {
        assert_eq!(barred("syslog", to, "", &rules), ["the default"], "{rules}");
    }
    assert_eq!(barred("otlp", "http://10.1.2.7", "", &allowed("low", "tcp", 4318)), [""; 0]);
    // A name may stand for any address, and the gateway may have any.
    let name = "tcp://log.example.net:601";
    assert_eq!(barred("syslog", name, "", &allowed("high", "tcp", 601)), [""; 0]);
    assert_eq!(barred("syslog", name, "", &allowed("high", "tcp", 602)), ["the default"]);
    let own = rule("own", "allow", "from = ['lab']") + &rule("none", "deny", "");
    assert_eq!(barred("syslog", to, "", &own), [""; 0]);
    let other = rule("other", "deny", "from = ['lab']") + &rule("own", "allow", "");
    assert_eq!(barred("syslog", to, "", &other), [""; 0]);
}

#[test]
fn what_stays_on_the_gateway_needs_no_rule() {
    for (kind, to) in [
        ("syslog", "unix:///run/log"),
        ("syslog", "udp://127.0.0.7:514"),
        ("syslog", "udp://[::1]:514"),
        ("syslog", "tcp://[::ffff:127.0.0.1]:601"),
        ("ipfix", "udp://localhost:4739"),
        ("otlp", "http://127.0.0.1:4318"),
    ] {
        assert_eq!(barred(kind, to, "", ""), [""; 0], "{to}");
    }
    let text = format!(
        "{GATEWAY}[export.p]\nkind = 'prometheus'\n[export.j]\nkind = 'json'\nfile = '/tmp/x'\n"
    );
    assert_eq!(told(&text), []);
}

#[test]
fn attacks_that_are_never_on() {
    let text = format!("{GATEWAY}[limits]\nsyn_attack = 0\nsyn_authentication = 'auto'\n");
    let message = "`syn_authentication = \"auto\"` has no effect: with `syn_attack = 0` no attack is \
                   ever on";
    assert_eq!(told(&text), [(5, 22, "'auto'".to_owned(), "no-attack", message.to_owned())]);
    assert_eq!(told(&text.replace("'auto'", "'on'")), []);
    assert_eq!(told(&text.replace("= 0", "= 1")), []);
}

#[test]
fn a_warning_names_its_own_file() {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
    let main = file("main.toml", &format!("{GATEWAY}{}", rule("all", "allow", "")));
    let more = file("more.toml", &format!("# more\n{}", rule("none", "deny", "")));
    let checked = Sources::new(main, vec![more]).check().expect("it is good");
    let entry = &checked.warnings.entries()[0];
    assert_eq!((entry.file.as_str(), entry.line, entry.column), ("more.toml", Some(2), Some(1)));
    let elsewhere = entry.elsewhere.as_ref().expect("the rule that covers it");
    assert_eq!(elsewhere.place.to_string(), "main.toml:3:1");
    assert_eq!(elsewhere.what, "this rule matches all of it");
    let rendered = checked.warnings.render(false);
    assert!(rendered.contains("more.toml:2:1") && rendered.contains("main.toml:3:1"), "{rendered}");
    let places: Vec<_> = checked.rule_places.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["main.toml:3:1", "more.toml:2:1"]);
}
