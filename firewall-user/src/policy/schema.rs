//! The form of a policy's document as types, and the JSON Schema made of them, by which editors complete keys and
//! mark what is wrong while it is written.
//!
//! Nothing is read into these types: the parser walks the document itself, to tell all that is wrong with it. A test
//! compares the keys and words that both know, another validates every good policy of the tests. What a schema
//! cannot say, such as that names are known, only the parser finds.

mod exports;
pub mod filter;
mod protocol;

use std::{borrow::Cow, collections::BTreeMap};

use firewall_common::{classifier::INTERFACES_LISTED_MAX, essential as known, flow::Timeout};
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    json_schema,
    transform::{RecursiveTransform, Transform as _},
};

use super::{
    ITSELF, Limits, TableSizes,
    duration::{NANOSECONDS_PER_SECOND, SECONDS_MAX},
    ports::ITEMS_MAX,
    tracker::{
        COMPLETED, HALF_OPEN, HALF_OPEN_PER_SOURCE, NEW_PER_SECOND_PER_SOURCE, REJECT_PER_SECOND,
        RULE_HALF_OPEN, RULE_NEW_PER_SECOND, SYN_ATTACK,
    },
};
use crate::schema::{without_format, without_null};

/// The JSON Schema (draft 2020-12) of a policy file.
pub fn schema() -> Schema {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Document>();
    RecursiveTransform(without_format).transform(&mut schema);
    // TOML knows no null.
    RecursiveTransform(without_null).transform(&mut schema);
    schema
}

/// A policy of fwx. docs/policy.md describes it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "fwx policy")]
pub struct Document {
    /// Files that belong to the policy, relative to this one. `*`, `?` and `[a-z]` are as in a shell. Their rules
    /// come after those of this file, in the order of the list.
    pub include: Option<Vec<String>>,
    /// Where the firewall sits and what a new flow gets that no rule speaks about. In one file of the policy.
    pub gateway: Option<Gateway>,
    /// How much room there is for flows. The kernel takes the memory when the tables are made.
    pub tables: Option<Tables>,
    /// How long a flow may be silent before it is forgotten.
    pub timeouts: Option<TimeoutTable>,
    /// What may begin, beside what rules allow.
    pub limits: Option<LimitTable>,
    /// Named sets of addresses and interfaces, for rules.
    #[schemars(extend("propertyNames" = {"pattern": NAME}))]
    pub network: Option<BTreeMap<String, Network>>,
    /// Named sets of services, for rules and filters.
    #[schemars(extend("propertyNames" = {"pattern": NAME}))]
    pub protocol: Option<BTreeMap<String, Protocol>>,
    /// How filters behave wherever they are bound.
    pub filter: Option<filter::Filters>,
    /// Addresses of whose connections only one direction may come by this gateway.
    pub asymmetric: Option<Vec<Asymmetric>>,
    /// Which sources may come in by which interface.
    pub anti_spoofing: Option<AntiSpoofing>,
    /// What new flows get: the first rule that matches decides.
    pub rule: Option<Vec<Rule>>,
    /// Who may read events, and which are kept on disk.
    pub events: Option<exports::Events>,
    /// Who is sent events and metrics.
    #[schemars(extend("propertyNames" = {"pattern": NAME}))]
    pub export: Option<BTreeMap<String, exports::Export>>,
}

/// Names of networks and protocols.
const NAME: &str = "^[A-Za-z0-9._-]{1,64}$";

/// `[gateway]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Gateway {
    /// The interfaces that the firewall sits on; `--interface` on the command line takes their place.
    #[schemars(length(min = 1))]
    pub interfaces: Vec<OwnInterface>,
    /// What a new flow gets when no rule matches.
    #[schemars(extend("default" = "deny"))]
    pub default: Option<DefaultAction>,
    /// What a TCP segment of no known connection gets that is not a SYN.
    #[schemars(extend("default" = "enforce"))]
    pub new_flow: Option<NewFlow>,
    /// Whether packets of established flows may go past the kernel's stack.
    #[schemars(extend("default" = false))]
    pub shortcut: Option<bool>,
    /// What a host needs to stay on its network, and passes whatever the rules say; none of it: `[]`.
    #[schemars(extend("default" = essential_by_default()))]
    pub essential: Option<Vec<Essential>>,
    /// What becomes of live flows that this policy would not let in, when it comes in force.
    #[schemars(extend("default" = "keep"))]
    pub live: Option<Live>,
}

fn essential_by_default() -> Vec<&'static str> {
    let all = known::Essential::ALL.into_iter();
    all.filter(|(_, it)| it.is_in(known::Essential::DEFAULT)).map(|(name, _)| name).collect()
}

/// The name of an interface of the gateway.
#[derive(JsonSchema)]
#[schemars(extend("not" = {"const": ITSELF}))]
pub struct OwnInterface(#[schemars(length(min = 1, max = 15))] pub String);

/// The same where a network or a rule asks for it.
#[derive(JsonSchema)]
pub struct Interface(#[schemars(length(min = 1, max = 15))] pub String);

/// The name of something that a host needs to stay on its network.
pub struct Essential;

impl JsonSchema for Essential {
    fn schema_name() -> Cow<'static, str> {
        "Essential".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": known::Essential::ALL.map(|(name, _)| name)})
    }
}

/// What becomes of live flows that a policy would not let in, when it comes in force.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Live {
    /// They go on.
    Keep,
    /// They end in silence; the others go on under the rule that lets them in now.
    Reevaluate,
    /// They end, and both ends of a TCP connection are told.
    Kill,
}

/// What a new flow gets when no rule matches.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum DefaultAction {
    /// It is dropped in silence.
    Deny,
    /// It begins.
    Allow,
}

/// What a TCP segment of no known connection gets that is not a SYN.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum NewFlow {
    /// It is dropped.
    Enforce,
    /// It is reported and let through, so that connections that are older than the firewall live on.
    Monitor,
}

/// `[tables]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tables {
    /// Room for flows with an answer, of each address family.
    #[schemars(range(min = *COMPLETED.range.start(), max = *COMPLETED.range.end()))]
    #[schemars(extend("default" = TableSizes::default().completed))]
    pub completed: Option<u32>,
    /// Room for flows without an answer, of each address family.
    #[schemars(range(min = *HALF_OPEN.range.start(), max = *HALF_OPEN.range.end()))]
    #[schemars(extend("default" = TableSizes::default().half_open))]
    pub half_open: Option<u32>,
}

/// `[timeouts]`: a key for each state.
pub struct TimeoutTable;

impl JsonSchema for TimeoutTable {
    fn schema_name() -> Cow<'static, str> {
        "TimeoutTable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let defaults = firewall_common::flow::Timeouts::default();
        let properties = Timeout::ALL.map(|(timeout, name)| {
            let seconds = defaults.get(timeout) / NANOSECONDS_PER_SECOND;
            let schema = serde_json::json!({
                "description": "A whole number of seconds, or of s, m, h or d: \"90s\", \"5d\".",
                "default": seconds,
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": SECONDS_MAX},
                    {"type": "string", "pattern": "^[0-9]+[smhd]$"},
                ],
            });
            (name.to_owned(), schema)
        });
        let properties: serde_json::Map<_, _> = properties.into_iter().collect();
        json_schema!({"type": "object", "additionalProperties": false, "properties": properties})
    }
}

/// `[limits]`: 0 is no limit.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct LimitTable {
    /// Flows without an answer at a time of one source address; 0: no limit.
    #[schemars(range(max = *HALF_OPEN_PER_SOURCE.range.end()))]
    #[schemars(extend("default" = Limits::default().half_open_per_source))]
    pub half_open_per_source: Option<u32>,
    /// New flows a second of one source address; 0: no limit.
    #[schemars(range(max = *NEW_PER_SECOND_PER_SOURCE.range.end()))]
    #[schemars(extend("default" = Limits::default().new_per_second_per_source))]
    pub new_per_second_per_source: Option<u32>,
    /// Unanswered new TCP flows a second, in all, that are a SYN attack; 0: none ever is.
    #[schemars(range(max = *SYN_ATTACK.range.end()))]
    #[schemars(extend("default" = Limits::default().syn_attack_per_second))]
    pub syn_attack: Option<u32>,
    /// When the sender of a SYN has to show that its address is its own.
    #[schemars(extend("default" = "off"))]
    pub syn_authentication: Option<SynAuthentication>,
    /// ICMP errors a second, in all, that answer rejects.
    #[schemars(range(min = *REJECT_PER_SECOND.range.start(), max = *REJECT_PER_SECOND.range.end()))]
    #[schemars(extend("default" = Limits::default().reject_per_second))]
    pub reject_per_second: Option<u32>,
}

/// When the sender of a SYN has to show that its address is its own.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum SynAuthentication {
    /// Never.
    Off,
    /// While a SYN attack is on.
    Auto,
    /// Always.
    On,
}

/// `[network.NAME]`: all of what it lists.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("anyOf" = [
    {"required": ["prefixes"]}, {"required": ["networks"]}, {"required": ["interfaces"]}
]))]
pub struct Network {
    /// IPv4 and IPv6 prefixes, such as "10.1.0.0/24"; no bits beyond the length. One address has its full length.
    pub prefixes: Option<Vec<Prefix>>,
    /// Names of other networks, all of which is part of this one.
    #[schemars(length(min = 1))]
    pub networks: Option<Vec<String>>,
    /// Names of interfaces of the gateway: whatever comes in by them. Such a network is for `from` alone.
    #[schemars(length(min = 1))]
    pub interfaces: Option<Vec<Interface>>,
}

/// An IPv4 or IPv6 prefix.
#[derive(JsonSchema)]
pub struct Prefix(#[schemars(regex(pattern = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$"))] pub String);

/// `[protocol.NAME]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("allOf" = protocol::by_transport()))]
pub struct Protocol {
    /// The IP protocol: by its name, or its number.
    pub transport: protocol::Transport,
    /// TCP and UDP: destination ports, as numbers, or ranges such as "8000-8010".
    #[schemars(length(min = 1, max = ITEMS_MAX))]
    pub ports: Option<Vec<Ports>>,
    /// ICMP: types of messages, by names or numbers, such as "echo-request", 13 or "redirect/1", with a code behind
    /// the `/`; left out: all.
    #[schemars(length(min = 1))]
    pub types: Option<Vec<protocol::Type>>,
    /// The filter to bind, and maybe how it behaves here.
    pub filter: Option<filter::Binding>,
}

/// A port or a range of ports.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Ports {
    /// One port.
    One(#[schemars(range(min = 1))] u16),
    /// From the first to the last.
    Range(#[schemars(regex(pattern = "^[0-9]+(-[0-9]+)?$"))] String),
}

/// `[[asymmetric]]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = [{"required": ["prefixes"]}, {"required": ["networks"]}]))]
pub struct Asymmetric {
    /// IPv4 and IPv6 prefixes.
    #[schemars(length(min = 1))]
    pub prefixes: Option<Vec<Prefix>>,
    /// Names of networks, all prefixes of which are meant.
    #[schemars(length(min = 1))]
    pub networks: Option<Vec<String>>,
}

/// `[anti_spoofing]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AntiSpoofing {
    /// What the routing table is asked about interfaces without a list.
    #[schemars(extend("default" = "off"))]
    pub mode: Option<AntiSpoofingMode>,
    /// For an interface the names of the networks whose addresses may come in there, and no others.
    #[schemars(extend("maxProperties" = INTERFACES_LISTED_MAX))]
    pub sources: Option<BTreeMap<String, Listed>>,
}

/// Names of networks, at least one.
#[derive(JsonSchema)]
pub struct Listed(#[schemars(length(min = 1))] pub Vec<String>);

/// What the routing table is asked about a source.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum AntiSpoofingMode {
    /// Nothing.
    Off,
    /// Whether there is a way back, by any interface.
    Loose,
    /// Whether the way back is the interface that the packet came in by.
    Strict,
}

/// `[[rule]]`
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rule {
    /// Free text of one line; each rule needs its own, because events name it.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// What a flow gets that the rule matches.
    pub action: Action,
    /// Names of networks of which the source must be in one; left out: any source.
    #[schemars(length(min = 1))]
    pub from: Option<Vec<String>>,
    /// Names of networks of which the destination must be in one; left out: any destination.
    #[schemars(length(min = 1))]
    pub to: Option<Vec<String>>,
    /// Names of protocols of which the flow must be one; left out: any, also ICMP and the like.
    #[schemars(length(min = 1))]
    pub protocols: Option<Vec<String>>,
    /// Names of interfaces by one of which the first packet must come in, besides what `from` says, and "self" for what
    /// the gateway itself sends; left out: any.
    #[schemars(length(min = 1))]
    pub interface: Option<Vec<Interface>>,
    /// `false`: what the rule decides and lets in is counted and makes no events.
    #[schemars(extend("default" = true))]
    pub log: Option<bool>,
    /// Flows without an answer at a time that the rule lets in; 0: no limit.
    #[schemars(range(max = *RULE_HALF_OPEN.range.end()), extend("default" = 0))]
    pub half_open: Option<u32>,
    /// New flows a second that the rule lets in; 0: no limit.
    #[schemars(range(max = *RULE_NEW_PER_SECOND.range.end()), extend("default" = 0))]
    pub new_per_second: Option<u32>,
}

/// What a flow gets that a rule matches.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Action {
    /// It begins.
    Allow,
    /// It is dropped in silence.
    Deny,
    /// It is dropped, and its sender is told: by a RST of TCP, or else by an ICMP error.
    Reject,
}
