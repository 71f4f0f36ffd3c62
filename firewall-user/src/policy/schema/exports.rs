//! What `[events]` and `[export.NAME]` may say in the schema.

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::policy::exports::{DOMAIN_DEFAULT, INTERVAL_S, kinds};

/// `[events]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Events {
    /// The group whose members may read events; left out: root alone may.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,31}$"))]
    pub group: Option<String>,
    /// How much of the disk events may take, such as "64MiB" or "2GiB"; left out: none are kept there.
    #[schemars(regex(pattern = "^[0-9]+(KiB|MiB|GiB)$"))]
    pub keep: Option<String>,
}

/// `[export.NAME]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("allOf" = by_kind()))]
pub struct Export {
    /// What receives.
    pub kind: Kind,
    /// prometheus: where the controller listens, ADDRESS:PORT.
    #[schemars(extend("default" = "127.0.0.1:9469"))]
    pub listen: Option<String>,
    /// json: the file that lines are added to.
    #[schemars(regex(pattern = "^/"))]
    pub file: Option<String>,
    /// syslog: `udp://HOST:PORT`, `tcp://HOST:PORT` or `unix:///PATH`; ipfix: one of the first two; otlp:
    /// `http://HOST:PORT`.
    #[schemars(regex(pattern = "^(udp|tcp|unix|http)://."))]
    pub to: Option<String>,
    /// syslog: the facility of all messages.
    #[schemars(extend("default" = "local0"))]
    pub facility: Option<Facility>,
    /// otlp: how often metrics are sent: a whole number of seconds, or of s, m, h or d.
    #[schemars(extend("default" = INTERVAL_S))]
    pub interval: Option<Interval>,
    /// ipfix: the number of the observation domain.
    #[schemars(extend("default" = DOMAIN_DEFAULT))]
    pub domain: Option<u32>,
    /// Which events are sent, as the options of `fwx events` say it; left out: all.
    pub r#where: Option<Selection>,
}

/// What receives.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Kind {
    /// Prometheus, which comes to fetch metrics.
    Prometheus,
    /// A file of JSON lines.
    Json,
    /// A syslog server (RFC 5424).
    Syslog,
    /// A collector of OpenTelemetry: logs and metrics.
    Otlp,
    /// A collector of flow records (RFC 7011).
    Ipfix,
}

/// A syslog facility.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Facility {
    Daemon,
    Auth,
    Authpriv,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// A time.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Interval {
    /// Seconds.
    Seconds(#[schemars(range(min = 1))] u32),
    /// With a unit.
    Text(#[schemars(regex(pattern = "^[0-9]+[smhd]$"))] String),
}

/// `where`: of several values of a key one has to apply, and none that begins with `!` may.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Selection {
    /// Kinds of events.
    #[schemars(length(min = 1))]
    pub event: Option<Vec<String>>,
    /// Names or numbers of result codes.
    #[schemars(length(min = 1))]
    pub reason: Option<Vec<String>>,
    /// Prefixes or addresses of either end.
    #[schemars(length(min = 1))]
    pub network: Option<Vec<String>>,
    /// Prefixes or addresses of the source.
    #[schemars(length(min = 1))]
    pub src: Option<Vec<String>>,
    /// Prefixes or addresses of the destination.
    #[schemars(length(min = 1))]
    pub dst: Option<Vec<String>>,
    /// Ports of either end.
    #[schemars(length(min = 1))]
    pub port: Option<Vec<NumberOrText>>,
    /// Protocols of the policy, or IP protocols.
    #[schemars(length(min = 1))]
    pub protocol: Option<Vec<NumberOrText>>,
    /// Interfaces where packets were caught.
    #[schemars(length(min = 1))]
    pub interface: Option<Vec<String>>,
    /// Rules; "default": none matched.
    #[schemars(length(min = 1))]
    pub rule: Option<Vec<String>>,
    /// Filters, or single findings of theirs: "rtsp/missing-cseq".
    #[schemars(length(min = 1))]
    pub filter: Option<Vec<String>>,
}

/// A number, which may be written as text to have a `!` before it.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum NumberOrText {
    /// The number.
    Number(u16),
    /// As text.
    Text(String),
}

/// What exports of each kind must say, and must not.
fn by_kind() -> Value {
    let all: Vec<&str> = kinds().flat_map(|(_, keys)| keys.iter().copied()).collect();
    let required = |kind| match kind {
        "prometheus" => json!([]),
        "json" => json!(["file"]),
        _ => json!(["to"]),
    };
    let conditions = kinds().map(|(kind, keys)| {
        let others = all.iter().filter(|key| !keys.contains(key));
        let denied: serde_json::Map<_, _> =
            others.map(|key| ((*key).to_owned(), json!(false))).collect();
        json!({
            "if": {"properties": {"kind": {"const": kind}}},
            "then": {"properties": denied, "required": required(kind)},
        })
    });
    conditions.collect()
}
