//! Protocols that have no ports: ICMP by its types, others as a whole.

use firewall_common::wire::ip_protocol;

use super::{
    told::{TRANSPORT_HELP, assert_told},
    *,
};

const TYPES_HELP: &str = "types are names or numbers from 0 to 255, with a code or without: \
     \"echo-request\", 13 or \"destination-unreachable/4\"";

/// The protocol that a packet of `protocol`, with this ICMP type and code, belongs to.
fn protocol(compiled: &Compiled, protocol: u8, icmp_type: u8, icmp_code: u8) -> u16 {
    let packet = Packet { version: 4, protocol, icmp_type, icmp_code, ..Packet::default() };
    classifier::protocol(&compiled.image[..], &packet)
}

#[test]
fn icmp_has_types_and_codes_and_others_are_one_service_each() {
    let policy = parsed(
        "[gateway]\ninterfaces = ['lan0']\n\
         [protocol.ping]\ntransport = 'icmp'\ntypes = ['echo-request', 13, '13/0', 'redirect/1']\n\
         [protocol.ping6]\ntransport = 58\ntypes = ['echo-request']\n\
         [protocol.tunnel]\ntransport = 'gre'\n\
         [protocol.odd]\ntransport = 0\n\
         [protocol.last]\ntransport = 255\n",
    );
    let compiled = policy.compile();
    let (icmp, icmpv6) = (ip_protocol::ICMP, ip_protocol::ICMPV6);
    for (ip, kind, code, expected) in [
        (icmp, 8, 0, 1),
        (icmp, 8, 255, 1),
        (icmp, 7, 255, 0),
        (icmp, 9, 0, 0),
        (icmp, 13, 0, 1),
        (icmp, 13, 9, 1),
        (icmp, 5, 0, 0),
        (icmp, 5, 1, 1),
        (icmp, 5, 2, 0),
        (icmpv6, 128, 0, 2),
        (icmpv6, 8, 0, 0),
        (47, 0, 0, 3),
        (46, 255, 255, 0),
        (48, 0, 0, 0),
        (0, 0, 0, 4),
        (255, 0, 0, 5),
        (254, 0, 0, 0),
    ] {
        assert_eq!(protocol(&compiled, ip, kind, code), expected, "{ip} {kind}/{code}");
    }
    let transports: Vec<_> = policy.protocols().iter().map(|it| it.transport).collect();
    let other = [47, 0, 255].map(Transport::Other);
    assert_eq!(transports, [&[Transport::Icmp, Transport::Icmpv6][..], &other].concat());
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    let types = serde_json::json!([
        "redirect/1",
        "echo-request",
        "timestamp-request",
        "timestamp-request/0"
    ]);
    assert_eq!(summary["protocols"][0]["types"], types);
    assert_eq!(summary["protocols"][1]["transport"], "icmpv6", "a number that has a name");
    assert_eq!(summary["protocols"][2], serde_json::json!({"name": "tunnel", "transport": "gre"}));
    assert_eq!(summary["protocols"][3]["transport"], 0);
    assert_eq!(policy.protocols()[0].listed().len(), 4);
}

#[test]
fn icmp_without_types_is_all_of_it() {
    let compiled =
        parsed("[gateway]\ninterfaces = ['lan0']\n[protocol.icmp]\ntransport = 'icmp'\n").compile();
    for kind in 0..=255 {
        assert_eq!(protocol(&compiled, ip_protocol::ICMP, kind, 255 - kind), 1);
    }
    assert_eq!(protocol(&compiled, ip_protocol::ICMPV6, 8, 0), 0);
    assert_eq!(protocol(&compiled, 2, 0, 0), 0);
}

#[test]
fn a_transport_is_a_known_name_or_a_number() {
    let message = "`transport` must be from 0 to 255, not `256`";
    assert_told("[protocol.a]\ntransport = 256", (2, 13), "256", message, TRANSPORT_HELP);
    let message = "`transport` must be a string or an integer, not a boolean";
    assert_told("[protocol.a]\ntransport = true", (2, 13), "true", message, TRANSPORT_HELP);
    let (message, help) = ("`icmp6` is no transport", "did you mean `icmpv6`?");
    assert_told("[protocol.a]\ntransport = 'icmp6'", (2, 13), "'icmp6'", message, help);
}

#[test]
fn ports_and_types_belong_to_their_transports() {
    let (message, help) = (
        "a protocol of transport icmp has no `ports`",
        "it has `types`, such as [\"echo-request\"], or all of them if that is left out",
    );
    let text = "[protocol.a]\ntransport = 'icmp'\nports = [8]";
    assert_told(text, (3, 9), "[8]", message, help);
    let text = "[protocol.a]\ntransport = 'tcp'\nports = [8]\ntypes = [8]";
    let message = "a protocol of transport tcp has no `types`";
    assert_told(text, (4, 9), "[8]", message, "it has `ports`");
    let text = "[protocol.a]\ntransport = 200\ntypes = [8]";
    let message = "a protocol of transport 200 has no `types`";
    let help = "it has neither ports nor types: leave the key out";
    assert_told(text, (3, 9), "[8]", message, help);
    let text = "[protocol.a]\ntransport = 'esp'\nfilter = 'ftp'";
    let message = "filter `ftp` reads tcp, and protocol `a` is esp";
    let help = "leave `filter` out, or say `transport = \"tcp\"`";
    assert_told(text, (3, 10), "'ftp'", message, help);
}

#[test]
fn types_are_names_or_numbers() {
    for (item, message, help) in [
        ("'echo-reqest'", "there is no ICMP type `echo-reqest`", "did you mean `echo-request`?"),
        ("256", "`256` is no ICMP type: its number is not one from 0 to 255", TYPES_HELP),
        ("-1", "`-1` is no ICMP type: its number is not one from 0 to 255", TYPES_HELP),
        ("'256'", "`256` is no ICMP type: its number is larger than 255", TYPES_HELP),
        ("'8/256'", "`8/256` is no ICMP type: its code is larger than 255", TYPES_HELP),
        ("'8/x'", "`8/x` is no ICMP type: its code is no number", TYPES_HELP),
        (
            "1.5",
            "an item of `types` must be a number or a name such as \"echo-request\", not a float",
            "",
        ),
    ] {
        let text = format!("[protocol.a]\ntransport = 'icmp'\ntypes = [13, {item}]");
        assert_told(&text, (3, 14), item, message, help);
    }
    let text = "[protocol.a]\ntransport = 'icmpv6'\ntypes = []";
    let message = "`types` is an empty list, which would match nothing";
    assert_told(text, (3, 9), "[]", message, "for all types leave `types` out");
}

#[test]
fn a_service_belongs_to_one_protocol() {
    let text = "[protocol.a]\ntransport = 'icmp'\ntypes = ['destination-unreachable/4']\n\
                [protocol.b]\ntransport = 'icmpv6'\ntypes = ['3/4']\n\
                [protocol.c]\ntransport = 'icmp'\ntypes = [8, 'destination-unreachable']";
    let message =
        "icmp type destination-unreachable/4 belongs to protocol `a` already, so not to `c`";
    assert_told(text, (9, 13), "'destination-unreachable'", message, "");
    let text = "[protocol.a]\ntransport = 'icmp'\n[protocol.b]\ntransport = 'icmp'\ntypes = [8]";
    let message = "icmp type echo-request belongs to protocol `a` already, so not to `b`";
    assert_told(text, (5, 10), "8", message, "");
    let text = "[protocol.a]\ntransport = 'gre'\n[protocol.b]\ntransport = 47";
    let message = "IP protocol gre belongs to protocol `a` already, so not to `b`";
    assert_told(text, (3, 1), "[protocol.b]", message, "");
}

#[test]
fn a_filter_behaves_as_its_binding_says_or_else_as_it_does_everywhere() {
    let policy = parsed(
        "[gateway]\ninterfaces = ['lan0']\n\
         [filter.rtsp]\nmode = 'enforce'\n\
         [protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = 'rtsp'\n\
         [protocol.b]\ntransport = 'tcp'\nports = [2]\nfilter = { name = 'rtsp', mode = 'off' }\n\
         [protocol.c]\ntransport = 'tcp'\nports = [3]\n\
         [protocol.c.filter]\nname = 'rtsp'\nprofile = 'strict'\n\
         [protocol.d]\ntransport = 'tcp'\nports = [4]\nfilter = { name = 'ftp' }\n",
    );
    let rtsp = FilterId::Rtsp;
    let bound =
        |filter: FilterId, mode: Mode, profile: Profile| (filter as u8, mode as u8, profile as u8);
    let bindings = policy.compile().bindings;
    let bindings: Vec<_> =
        bindings.iter().map(|(_, it)| (it.filter, it.mode, it.profile)).collect();
    assert_eq!(
        bindings,
        [
            bound(rtsp, Mode::Enforce, Profile::Standard),
            bound(rtsp, Mode::Off, Profile::Standard),
            bound(rtsp, Mode::Enforce, Profile::Strict),
            bound(FilterId::Ftp, Mode::Monitor, Profile::Standard),
        ]
    );
    let summary = serde_json::to_value(policy.summary()).expect("it is plain data");
    let filter = |index: usize| summary["protocols"][index]["filter"].clone();
    assert_eq!(filter(0), "rtsp");
    assert_eq!(filter(1), serde_json::json!({"name": "rtsp", "mode": "off"}));
    assert_eq!(filter(2), serde_json::json!({"name": "rtsp", "profile": "strict"}));
    assert_eq!(filter(3), "ftp");
}

#[test]
fn a_binding_is_a_name_or_a_table() {
    let protocol = "[protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = ";
    for (filter, column, shown, message, help) in [
        ("{ name = 'rtps' }", 19, "'rtps'", "there is no filter `rtps`", "did you mean `rtsp`?"),
        (
            "{ mode = 'off' }",
            10,
            "{ mode = 'off' }",
            "`filter` of [protocol.a] lacks the key `name`",
            "",
        ),
        (
            "{ name = 'rtsp', modus = 'off' }",
            27,
            "modus",
            "unknown key `modus` in `filter` of [protocol.a]",
            "known keys: `name`, `mode`, `profile`",
        ),
        (
            "{ name = 'rtsp', mode = 'on' }",
            34,
            "'on'",
            "`on` is no mode",
            "it is one of: `off`, `monitor`, `enforce`",
        ),
        (
            "['rtsp']",
            10,
            "['rtsp']",
            "`filter` must be a string or a table, not a list",
            "a filter's name such as \"rtsp\", or { name = \"rtsp\", mode = \"enforce\" }",
        ),
    ] {
        assert_told(&format!("{protocol}{filter}"), (4, column), shown, message, help);
    }
}
