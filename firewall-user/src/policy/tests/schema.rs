//! The schema for editors knows what the parser knows: neither more nor less.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use jsonschema::Validator;
use serde_json::Value;

use super::*;
use crate::policy::{document::asked, schema::schema};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema().to_value());
static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&SCHEMA).expect("it is a schema"));

/// A policy with every table that there is, so that the parser asks for every key and word.
const EVERYTHING: &str = "\
include = []
[gateway]
interfaces = ['lan0']
default = 'deny'
new_flow = 'enforce'
live = 'keep'
[tables]
[timeouts]
[limits]
syn_authentication = 'off'
[network.a]
prefixes = []
[protocol.a]
transport = 'tcp'
ports = [1]
filter = { name = 'rtsp' }
[filter.rtsp]
mode = 'off'
profile = 'strict'
[filter.ftp]
[filter.smtp]
[[asymmetric]]
networks = ['a']
[anti_spoofing]
mode = 'off'
[[rule]]
name = 'a'
action = 'deny'
[events]
[export.a]
kind = 'syslog'
to = 'udp://a:1'
where = { event = ['control'] }
";

fn to_json(text: &str) -> Value {
    let document: toml::Table = toml::from_str(text.trim_start_matches('\u{feff}'))
        .unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(document).expect("TOML is JSON")
}

/// Panics unless the schema accepts what the parser does. The largest policies are left to the parser.
pub(super) fn check_valid(text: &str) {
    if text.len() < 64 << 10
        && let Err(error) = VALIDATOR.validate(&to_json(text))
    {
        panic!("the schema refuses it: {error} at {}\n{text}", error.instance_path());
    }
}

fn is_valid(text: &str) -> bool {
    VALIDATOR.is_valid(&to_json(text))
}

/// The schema of the table with this title: `[network.a]`, `[[rule]]`, or `the policy`.
fn section(title: &str) -> &'static Value {
    if let Some(protocol) = title.strip_prefix("`filter` of ") {
        let forms = section(protocol)["properties"]["filter"]["anyOf"].as_array();
        let table = forms.into_iter().flatten().find(|form| form["type"] == "object");
        return table.expect("a filter may be a table");
    }
    let path = title.trim_matches(['[', ']']);
    if path == "the policy" {
        return &SCHEMA;
    }
    let mut schema = &*SCHEMA;
    for part in path.split('.') {
        let named = &schema["properties"][part];
        schema = if named.is_null() { &schema["additionalProperties"] } else { named };
        if schema["type"] == "array" {
            schema = &schema["items"];
        }
        assert!(schema.is_object(), "the schema knows no {title}: describe it in policy/schema.rs");
    }
    schema
}

fn keys(schema: &Value) -> BTreeSet<String> {
    let properties = schema["properties"].as_object();
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

/// All words that each key may hold, wherever it stands.
fn words(schema: &Value, words: &mut BTreeMap<String, BTreeSet<String>>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let listed = value["enum"].as_array().into_iter().flatten();
        let described = value["oneOf"].as_array().into_iter().flatten().map(|it| &it["const"]);
        let known = listed.chain(described).filter_map(Value::as_str).map(str::to_owned);
        words.entry(key.clone()).or_default().extend(known);
    }
    match schema {
        Value::Object(object) => object.values().for_each(|inner| self::words(inner, words)),
        Value::Array(array) => array.iter().for_each(|inner| self::words(inner, words)),
        _ => {}
    }
}

#[test]
fn both_know_the_same_keys() {
    parsed(EVERYTHING);
    let (known, _) = asked::all();
    for table in &known["the policy"] {
        let is_used = *table == "include" || EVERYTHING.contains(&format!("[{table}"));
        assert!(is_used, "give EVERYTHING, in this test, a [{table}]");
    }
    for filter in FilterId::ALL {
        section(&format!("[filter.{}]", filter.name()));
    }
    for (title, known) in known {
        let described = keys(section(&title));
        let lacking: Vec<_> = known.difference(&described).collect();
        assert!(lacking.is_empty(), "{title} has {lacking:?}: describe them in policy/schema.rs");
        let unknown: Vec<_> = described.difference(&known).collect();
        assert!(unknown.is_empty(), "{title} has no {unknown:?}, which policy/schema.rs describes");
        assert_eq!(section(&title)["additionalProperties"], false, "{title}");
    }
}

#[test]
fn both_know_the_same_words() {
    parsed(EVERYTHING);
    let (_, known) = asked::all();
    let mut described = BTreeMap::new();
    words(&SCHEMA, &mut described);
    assert!(known.len() >= 7, "{known:?}");
    for (key, known) in known {
        assert_eq!(described.get(&key), Some(&known), "the words of `{key}` in policy/schema.rs");
    }
}

#[test]
fn both_know_the_same_transports_types_and_essentials() {
    let gateway = "[gateway]\ninterfaces = ['lan0']\n";
    for number in 0..=u8::MAX {
        let transport = Transport::from_number(number);
        let ports = if transport.has_ports() { "ports = [1]\n" } else { "" };
        parsed(&format!("{gateway}[protocol.a]\ntransport = {number}\n{ports}"));
        if let Some(name) = transport.name() {
            parsed(&format!("{gateway}[protocol.a]\ntransport = '{name}'\n{ports}"));
        }
        for transport in [Transport::Icmp, Transport::Icmpv6] {
            let kind = IcmpType { kind: number, code: None }.shown(transport);
            let types = format!("types = ['{kind}', '{kind}/4']");
            parsed(&format!("{gateway}[protocol.a]\ntransport = '{transport}'\n{types}\n"));
        }
    }
    for (name, _) in Essential::ALL {
        parsed(&format!("{gateway}essential = ['{name}']\n"));
    }
}

#[test]
fn every_key_is_described() {
    fn check(path: &str, schema: &Value) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(value["description"].is_string(), "{path} has no description");
            for inner in [value, &value["items"], &value["additionalProperties"]] {
                check(&path, inner);
            }
        }
    }
    check("", &SCHEMA);
    assert_eq!(SCHEMA["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(!SCHEMA.to_string().contains("null"), "TOML has none");
}

#[test]
fn the_examples_are_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("there are examples") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            check_valid(&fs::read_to_string(&path).expect("it is text"));
            count += 1;
        }
    }
    assert!(count > 0);
    check_valid(EXAMPLE);
}

#[test]
fn a_key_that_is_changed_is_not_valid() {
    let mut changed = 0;
    for (start, line) in EXAMPLE.lines().map(|line| (line.as_ptr(), line)) {
        let at = start as usize - EXAMPLE.as_ptr() as usize;
        // A key, or the name of a table that is not named by the administrator.
        let end = match line.split_once(" =") {
            Some((key, _)) => key.len(),
            None if line.starts_with('[') => line.find(['.', ']']).expect("the header's end"),
            None => continue,
        };
        let text = format!("{}x{}", &EXAMPLE[..at + end], &EXAMPLE[at + end..]);
        assert!(!is_valid(&text), "{line}");
        assert!(Policy::parse("policy.toml", &text).is_err(), "{line}");
        changed += 1;
    }
    assert!(changed > 30, "{changed}");
}

#[test]
fn a_value_that_is_out_of_bounds_is_not_valid() {
    let good = "[gateway]\ninterfaces = ['lan0']\n";
    assert!(is_valid(good));
    for bad in [
        "[gateway]\ninterfaces = []\n",
        "[gateway]\ninterfaces = ['sixteen-bytes-xx']\n",
        "[gateway]\n",
        "gateway = 1\n",
        "include = 'a'\n",
        "[tables]\ncompleted = 1023\n",
        "[tables]\ncompleted = 16777217\n",
        "[timeouts]\nudp = 0\n",
        "[timeouts]\nudp = 2592001\n",
        "[timeouts]\nudp = '5 d'\n",
        "[limits]\nsyn_attack = -1\n",
        "[limits]\nsyn_authentication = 'always'\n",
        "[limits]\nreject_per_second = 0\n",
        "[gateway]\ninterfaces = ['self']\n",
        "[gateway]\ninterfaces = ['lan0']\nessential = ['ssh']\n",
        "[gateway]\ninterfaces = ['lan0']\nlive = 'end'\n",
        "[events]\nkeep = '1MB'\n",
        "[export.a]\nkind = 'snmp'\n",
        "[export.a]\nkind = 'json'\n",
        "[export.a]\nkind = 'json'\nfile = 'a'\n",
        "[export.a]\nkind = 'prometheus'\nto = 'udp://a:1'\n",
        "[export.a]\nkind = 'json'\nfile = '/a'\nwhere = { event = [] }\n",
        "[anti_spoofing]\nmode = 'on'\n",
        "[anti_spoofing]\nsources = { lan0 = [] }\n",
        "[network.'a b']\nprefixes = []\n",
        "[network.a]\nprefixes = ['10.0.0.0']\n",
        "[network.a]\n",
        "[network.a]\nnetworks = []\n",
        "[network.a]\ninterfaces = []\n",
        "[protocol.a]\ntransport = 'tcp'\nports = [0]\n",
        "[protocol.a]\ntransport = 'tcp'\nports = [65536]\n",
        "[protocol.a]\ntransport = 'tcp'\nports = []\n",
        "[protocol.a]\ntransport = 'sctp'\nports = [1]\n",
        "[protocol.a]\ntransport = 'http'\n",
        "[protocol.a]\ntransport = 256\n",
        "[protocol.a]\ntransport = 'tcp'\n",
        "[protocol.a]\ntransport = 6\n",
        "[protocol.a]\ntransport = 'udp'\nports = [1]\ntypes = [8]\n",
        "[protocol.a]\ntransport = 'icmp'\nports = [1]\n",
        "[protocol.a]\ntransport = 'icmp'\ntypes = []\n",
        "[protocol.a]\ntransport = 'icmp'\ntypes = [256]\n",
        "[protocol.a]\ntransport = 'icmp'\ntypes = ['packet-too-big']\n",
        "[protocol.a]\ntransport = 'icmpv6'\ntypes = ['echo-request/x']\n",
        "[protocol.a]\ntransport = 47\ntypes = [8]\n",
        "[protocol.a]\ntransport = 'udp'\nports = [1]\nfilter = 'rtsp'\n",
        "[protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = { mode = 'off' }\n",
        "[protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = { name = 'rtsp', mode = 'on' }\n",
        "[protocol.a]\ntransport = 'tcp'\nports = [1]\nfilter = 'http'\n",
        "[filter.http]\n",
        "[filter.rtsp]\ncommands = ['PLAY']\n",
        "[filter.ftp]\ncommands = ['PLAY']\n",
        "[[asymmetric]]\n",
        "[[rule]]\nname = 'a'\n",
        "[[rule]]\naction = 'deny'\n",
        "[[rule]]\nname = 'a'\naction = 'deny'\nfrom = []\n",
        "[[rule]]\nname = 'a'\naction = 'permit'\n",
        "[[rule]]\nname = 'a'\naction = 'deny'\ninterface = []\n",
        "[[rule]]\nname = 'a'\naction = 'deny'\nlog = 'no'\n",
    ] {
        assert!(!is_valid(bad), "{bad}");
        let text = if bad.contains("gateway") { bad.to_owned() } else { format!("{bad}{good}") };
        assert!(Policy::parse("policy.toml", &text).is_err(), "{bad}");
    }
}
