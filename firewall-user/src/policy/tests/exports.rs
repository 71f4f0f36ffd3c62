//! Who may read events, which are kept, and who is sent them.

use super::{
    told::{GATEWAY, assert_told, told_all},
    *,
};
use crate::export::{Export, Facility, Target};

const EXPORTS: &str = r#"
[events]
group = "adm"
keep = "64MiB"

[export.prometheus]
kind = "prometheus"

[export.archive]
kind = "json"
file = "/var/log/fwx/events.json"

[export.siem]
kind = "syslog"
to = "tcp://[2001:db8::7]:601"
facility = "auth"
where = { event = ["!connection_opened"], reason = ["0xc0040017"], rule = ["default"], port = [554, "!80"] }

[export.near]
kind = "otlp"
to = "http://127.0.0.1:4318/"
interval = "1m"

[export.flows]
kind = "ipfix"
to = "udp://collector.example.net:4739"
domain = 7
"#;

fn exports() -> Vec<Export> {
    parsed(&format!("{GATEWAY}{EXPORTS}")).exports().to_vec()
}

#[test]
fn exports_are_read_as_they_are_written() {
    let exports = exports();
    let names: Vec<_> = exports.iter().map(|it| (it.name.as_str(), it.target.kind())).collect();
    let expected = [
        ("prometheus", "prometheus"),
        ("archive", "json"),
        ("siem", "syslog"),
        ("near", "otlp"),
        ("flows", "ipfix"),
    ];
    assert_eq!(names, expected);
    let [prometheus, archive, siem, near, flows] = &exports[..] else { panic!("there are five") };
    let listen = "127.0.0.1:9469".parse().expect("an address");
    assert_eq!(prometheus.target, Target::Prometheus { listen }, "loopback unless told otherwise");
    assert!(archive.criteria.is_empty());
    let to = "tcp://[2001:db8::7]:601".parse().expect("an endpoint");
    assert_eq!(siem.target, Target::Syslog { to, facility: Facility::Auth });
    assert_eq!(siem.criteria.event, ["!connection_opened"]);
    assert_eq!(siem.criteria.port, ["554", "!80"]);
    let to = "http://127.0.0.1:4318".to_owned();
    assert_eq!(near.target, Target::Otlp { to, interval_s: 60 });
    assert!(matches!(flows.target, Target::Ipfix { domain: 7, .. }));
}

#[test]
fn what_becomes_of_events() {
    let events = parsed(&format!("{GATEWAY}{EXPORTS}")).events().clone();
    assert_eq!((events.group.as_deref(), events.keep_bytes), (Some("adm"), 64 << 20));
    let events = parsed(GATEWAY).events().clone();
    assert_eq!((events.group, events.keep_bytes), (None, 0), "safe unless told otherwise");
}

#[test]
fn they_outlive_being_written_down() {
    let exports = exports();
    let json = serde_json::to_string(&exports).expect("it is plain data");
    assert_eq!(serde_json::from_str::<Vec<Export>>(&json).expect("what was written"), exports);
    assert!(!json.contains("\"since\""), "what is not asked for is left out: {json}");
}

#[test]
fn what_is_wrong_with_an_export_is_said_where_it_stands() {
    let kinds = "it is one of: `prometheus`, `json`, `syslog`, `otlp`, `ipfix`";
    assert_told("[export.a]\nkind = 'snmp'", (2, 8), "'snmp'", "`snmp` is no kind", kinds);
    let message = "an export of kind `json` has no `to`";
    let text = "[export.a]\nkind = 'json'\nfile = '/a'\nto = 'udp://a:1'";
    assert_told(text, (4, 6), "'udp://a:1'", message, "");
    for (key, value, reason) in [
        ("kind = 'json'\nfile", "'events.json'", "it is the absolute path of a file"),
        (
            "kind = 'syslog'\nto",
            "'192.0.2.7'",
            "write udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH; an IPv6 address stands in brackets",
        ),
        (
            "kind = 'otlp'\nto",
            "'https://a:4318'",
            "fwx speaks no TLS: send to a collector near by, which does",
        ),
        ("kind = 'otlp'\nto", "'http://me@a:4318'", "write http://HOST:PORT"),
        ("kind = 'otlp'\nto", "'http://a:65536'", "write http://HOST:PORT"),
        ("kind = 'ipfix'\nto", "'unix:///a'", "flow records go by UDP or TCP"),
        (
            "kind = 'prometheus'\nlisten",
            "'localhost:9469'",
            "write ADDRESS:PORT, such as 127.0.0.1:9469 or [::1]:9469",
        ),
    ] {
        let name = key.rsplit('\n').next().expect("a key");
        let told = told_all(&format!("{GATEWAY}[export.a]\n{key} = {value}\n"));
        assert_eq!(told.len(), 1, "{told:?}");
        let shown = value.trim_matches('\'');
        assert_eq!(told[0].message, format!("`{name}` cannot be `{shown}`: {reason}"));
        assert_eq!((told[0].line, told[0].text.as_str()), (5, value));
    }
}

#[test]
fn a_place_is_one_export_s_alone() {
    let message = "`file` `/a` belongs to another export already";
    let text = "[export.a]\nkind = 'json'\nfile = '/a'\n[export.b]\nkind = 'json'\nfile = '/a'";
    assert_told(text, (6, 8), "'/a'", message, "");
    let message = "`listen` `127.0.0.1:9469` belongs to another export already";
    let text = "[export.a]\nkind = 'prometheus'\n[export.b]\nkind = 'prometheus'";
    assert_told(text, (3, 1), "[export.b]", message, "");
}

#[test]
fn a_selection_that_would_select_nothing_is_refused() {
    for (selection, message) in [
        ("event = ['dropped']", "`event` cannot be `dropped`: there is no such event; there are"),
        (
            "reason = ['not_syn']",
            "`reason` cannot be `not_syn`: there is no such result code; did you",
        ),
        ("rule = ['camera']", "`rule` cannot be `camera`: the policy has no such rule"),
        ("protocol = ['!web']", "`protocol` cannot be `web`: the policy has no such protocol"),
        ("interface = ['lan1']", "`interface` cannot be `lan1`: the policy has no such interface"),
        ("port = []", "`port` is an empty list"),
        ("port = [70000]", "`port` cannot be `70000`: not a number, or too large a one"),
        ("since = ['1h']", "unknown key `since`"),
    ] {
        let text =
            format!("{GATEWAY}[export.a]\nkind = 'json'\nfile = '/a'\nwhere = {{ {selection} }}");
        let told = told_all(&text);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].message.starts_with(message), "{}", told[0].message);
    }
}

#[test]
fn how_much_is_kept() {
    for (keep, bytes) in [("1MiB", 1 << 20), ("1024KiB", 1 << 20), ("1024GiB", 1 << 40)] {
        let policy = parsed(&format!("{GATEWAY}[events]\nkeep = '{keep}'"));
        assert_eq!(policy.events().keep_bytes, bytes);
    }
    for keep in ["", "1", "1023KiB", "1025GiB", "1 MiB", "1MB", "-1MiB", "99999999999999999999GiB"]
    {
        let told = told_all(&format!("{GATEWAY}[events]\nkeep = '{keep}'"));
        assert!(told[0].message.starts_with(&format!("`keep` cannot be `{keep}`")), "{told:?}");
    }
}

#[test]
fn the_name_of_a_group() {
    let reason = "bad group name `a b`: it has a character that is not an ASCII letter, a digit, `-`, `_` or `.`, or \
                  begins with `-`";
    assert_told("[events]\ngroup = 'a b'", (2, 9), "'a b'", reason, "");
}

#[test]
fn an_export_has_no_name_that_readers_have() {
    let message = "bad export name `socket`: losses of other readers are counted under it";
    assert_told("[export.socket]\nkind = 'prometheus'", (1, 9), "socket", message, "");
}
