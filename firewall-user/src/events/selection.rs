//! Which events are meant: what the options of `fwx events` say, and what a subscriber asks for.

use std::net::IpAddr;

use anyhow::Result;
use firewall_common::{event::EventKind, filter::FilterId, reason::Reason};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    Moment,
    words::{short_kind, short_reason},
};
use crate::{
    error::BadInput,
    event::{CONTROL, Event},
};

/// What is asked of an event, as it was given. All of it has to hold. Of several values of one criterion one has to,
/// and none that begins with `!` may.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    clap::Args,
    schemars::JsonSchema,
)]
#[serde(deny_unknown_fields, default)]
pub struct Criteria {
    /// Not before this time: 10m, 2h, 1d (ago), 14:30, 2026-01-02, 2026-01-02T03:04:05Z; UTC
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// packet_dropped, connection_killed, connection_opened, connection_closed, filter_finding, control
    #[arg(long, value_name = "KIND")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event: Vec<String>,
    /// Name or number of the result code: TCP_NOT_SYN_PACKET_DROPPED, 0xc0040017
    #[arg(long, value_name = "CODE")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reason: Vec<String>,
    /// Prefix or address of either end
    #[arg(long, value_name = "NETWORK")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<String>,
    /// Prefix or address of the source
    #[arg(long, value_name = "NETWORK")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub src: Vec<String>,
    /// Prefix or address of the destination
    #[arg(long, value_name = "NETWORK")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dst: Vec<String>,
    /// Port of either end
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port: Vec<String>,
    /// Protocol of the policy, or tcp, udp, icmp, icmpv6, the number of an IP protocol
    #[arg(long, value_name = "PROTOCOL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protocol: Vec<String>,
    /// Interface where the packet was caught
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interface: Vec<String>,
    /// Rule that let the flow in or refused it; `default`: none matched
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<String>,
    /// Filter, or one of its findings: rtsp, rtsp/missing-cseq
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<String>,
    /// Number of the flow, or of the one that announced it
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flow: Vec<String>,
}

/// The same, understood.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    since: Option<Moment>,
    until: Option<Moment>,
    events: Choice<String>,
    reasons: Choice<&'static str>,
    networks: Choice<IpNet>,
    sources: Choice<IpNet>,
    destinations: Choice<IpNet>,
    ports: Choice<u16>,
    protocols: Choice<String>,
    interfaces: Choice<String>,
    rules: Choice<String>,
    filters: Choice<(FilterId, Option<&'static str>)>,
    flows: Choice<u64>,
}

/// Values of which one has to apply, and values of which none may.
#[derive(Clone, Debug)]
struct Choice<T> {
    wanted: Vec<T>,
    unwanted: Vec<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self { wanted: Vec::new(), unwanted: Vec::new() }
    }
}

impl<T> Choice<T> {
    fn of(
        criterion: &'static str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Self, Refusal> {
        let mut choice = Self::default();
        for (index, text) in texts.iter().enumerate() {
            let (list, value) = match text.strip_prefix('!') {
                Some(value) => (&mut choice.unwanted, value),
                None => (&mut choice.wanted, text.as_str()),
            };
            let refused = |reason| Refusal { criterion, index, value: value.to_owned(), reason };
            list.push(parse(value).map_err(refused)?);
        }
        Ok(choice)
    }

    fn holds(&self, applies: impl Fn(&T) -> bool) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(&applies))
            && !self.unwanted.iter().any(&applies)
    }
}

/// A value that is none of its criterion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{criterion} {value}: {reason}")]
pub struct Refusal {
    /// The criterion, as its option is called.
    pub criterion: &'static str,
    /// Which of its values, from 0.
    pub index: usize,
    /// The value, without the `!`.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Criteria {
    /// The criteria that are lists, as their options are called.
    pub const LISTS: [&'static str; 11] = [
        "event",
        "reason",
        "network",
        "src",
        "dst",
        "port",
        "protocol",
        "interface",
        "rule",
        "filter",
        "flow",
    ];

    /// Whether they ask for nothing, and select all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many values they have together.
    pub fn values(&self) -> usize {
        let Self { since, until, event, reason, network, src, dst, .. } = self;
        let Self { port, protocol, interface, rule, filter, flow, .. } = self;
        let lists =
            [event, reason, network, src, dst, port, protocol, interface, rule, filter, flow];
        let times = [since, until].into_iter().flatten().count();
        times + lists.iter().map(|list| list.len()).sum::<usize>()
    }

    /// The values of the criterion `name`, one of [`Criteria::LISTS`]. `None`: it is none of these.
    pub fn list_mut(&mut self, name: &str) -> Option<&mut Vec<String>> {
        Some(match name {
            "event" => &mut self.event,
            "reason" => &mut self.reason,
            "network" => &mut self.network,
            "src" => &mut self.src,
            "dst" => &mut self.dst,
            "port" => &mut self.port,
            "protocol" => &mut self.protocol,
            "interface" => &mut self.interface,
            "rule" => &mut self.rule,
            "filter" => &mut self.filter,
            "flow" => &mut self.flow,
            _ => return None,
        })
    }

    /// What they select, where `now` is the present in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// A value that is none of its criterion: bad input.
    pub fn selection(&self, now: i128) -> Result<Selection> {
        self.understood(now).map_err(|refusal| BadInput(refusal.to_string()).into())
    }

    /// The same, with an error for who knows the values by another name.
    pub fn understood(&self, now: i128) -> Result<Selection, Refusal> {
        let text = |text: &str| Ok(text.to_owned());
        Ok(Selection {
            since: moment("since", self.since.as_deref(), now)?,
            until: moment("until", self.until.as_deref(), now)?,
            events: Choice::of("event", &self.event, kind)?,
            reasons: Choice::of("reason", &self.reason, reason)?,
            networks: Choice::of("network", &self.network, network)?,
            sources: Choice::of("src", &self.src, network)?,
            destinations: Choice::of("dst", &self.dst, network)?,
            ports: Choice::of("port", &self.port, number)?,
            protocols: Choice::of("protocol", &self.protocol, text)?,
            interfaces: Choice::of("interface", &self.interface, text)?,
            rules: Choice::of("rule", &self.rule, text)?,
            filters: Choice::of("filter", &self.filter, filter)?,
            flows: Choice::of("flow", &self.flow, number)?,
        })
    }
}

impl Selection {
    /// Whether `event` is meant.
    pub fn has(&self, event: &Event) -> bool {
        let is = |value: &Option<String>, wanted: &String| value.as_ref() == Some(wanted);
        let within = |address: Option<IpAddr>, network: &IpNet| {
            address.is_some_and(|address| network.contains(&address))
        };
        let filter = event.filter.as_ref();
        self.since.as_ref().is_none_or(|since| since.is_reached_by(&event.timestamp))
            && self.until.as_ref().is_none_or(|until| !until.is_passed_by(&event.timestamp))
            && self.events.holds(|kind| event.event == *kind)
            && self.reasons.holds(|reason| event.reason.as_deref() == Some(reason))
            && self.networks.holds(|net| within(event.src_ip, net) || within(event.dst_ip, net))
            && self.sources.holds(|net| within(event.src_ip, net))
            && self.destinations.holds(|net| within(event.dst_ip, net))
            && self.ports.holds(|port| [event.src_port, event.dst_port].contains(&Some(*port)))
            && self.protocols.holds(|name| is(&event.protocol, name) || is(&event.transport, name))
            && self.interfaces.holds(|name| is(&event.interface, name))
            && self.rules.holds(|name| is_of_rule(event, name))
            && self.filters.holds(|(id, finding)| {
                filter.is_some_and(|filter| {
                    filter.name == id.name() && finding.is_none_or(|it| filter.finding == it)
                })
            })
            && self.flows.holds(|flow| [event.flow_id, event.parent].contains(&Some(*flow)))
    }

    /// Whether some events of `kind` may be meant.
    pub(crate) fn means(&self, kind: EventKind) -> bool {
        self.events.holds(|wanted| wanted == kind.name())
    }
}

/// Whether the rule `name` decided about what the event is about. What has no addresses no rule was asked about.
fn is_of_rule(event: &Event, name: &str) -> bool {
    match &event.rule {
        Some(rule) => rule == name,
        None => name == "default" && event.src_ip.is_some(),
    }
}

fn moment(
    criterion: &'static str,
    text: Option<&str>,
    now: i128,
) -> Result<Option<Moment>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let moment = Moment::parse(text, now).ok_or_else(|| Refusal {
        criterion,
        index: 0,
        value: text.to_owned(),
        reason: "no time; write 10m, 2h or 1d for how long ago, 14:30, 2026-01-02, \"2026-01-02 \
                 03:04\" or 2026-01-02T03:04:05Z"
            .to_owned(),
    })?;
    Ok(Some(moment))
}

/// By its name, or by what people read for it.
fn kind(text: &str) -> Result<String, String> {
    let names: Vec<_> = EventKind::ALL.iter().map(|kind| kind.name()).chain([CONTROL]).collect();
    let is = |name: &&&str| **name == text || short_kind(name).eq_ignore_ascii_case(text);
    let Some(name) = names.iter().find(is) else {
        return Err(format!("there is no such event; there are {}", names.join(", ")));
    };
    Ok((*name).to_owned())
}

/// By its name, with or without what all names begin with and many end with, or by its number.
fn reason(text: &str) -> Result<&'static str, String> {
    let name = text.to_ascii_uppercase();
    let code = text.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let is = |reason: &&Reason| {
        let known = reason.name();
        known == name
            || known.strip_prefix("FWX_E_") == Some(&name)
            || short_reason(known) == name
            || Some(reason.code()) == code
    };
    if let Some(reason) = Reason::ALL.iter().find(is) {
        return Ok(reason.name());
    }
    let names = Reason::ALL.iter().map(|reason| reason.name());
    let similar: Vec<_> = names.filter(|known| known.contains(&name)).collect();
    let help = match similar.as_slice() {
        [] => "`fwx status` shows those that came".to_owned(),
        similar => format!("did you mean {}?", similar.join(" or ")),
    };
    Err(format!("there is no such result code; {help}"))
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
    let network = text.parse::<IpNet>().ok().or_else(address);
    network.ok_or_else(|| "not a prefix such as 10.1.0.0/24 and not an address".to_owned())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "not a number, or too large a one".to_owned())
}

fn filter(text: &str) -> Result<(FilterId, Option<&'static str>), String> {
    let (name, finding) = match text.split_once('/') {
        Some((name, finding)) => (name, Some(finding)),
        None => (text, None),
    };
    let Some(id) = FilterId::from_name(name) else {
        let known = FilterId::ALL.map(FilterId::name);
        return Err(format!("there is no such filter; there are {}", known.join(", ")));
    };
    let Some(finding) = finding else { return Ok((id, None)) };
    let Some(known) = id.findings().iter().find(|known| known.name == finding) else {
        return Err(format!(
            "the filter has no such finding; `fwx filter findings {name}` lists those that it has"
        ));
    };
    Ok((id, Some(known.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_has_its_name() {
        let mut criteria = Criteria::default();
        for name in Criteria::LISTS {
            criteria.list_mut(name).unwrap().push(name.to_owned());
        }
        let json = serde_json::to_value(&criteria).unwrap();
        let fields = json.as_object().unwrap();
        assert!(fields.iter().all(|(name, values)| *values == serde_json::json!([name])));
        assert_eq!((fields.len(), criteria.values()), (Criteria::LISTS.len(), fields.len()));
        assert_eq!(criteria.list_mut("since"), None);
    }

    fn drop() -> Event {
        let json = r#"{"timestamp":"2026-01-02T03:04:05.000000000Z","event":"packet_dropped","event_id":6144,
            "reason":"FWX_E_TCP_NOT_SYN_PACKET_DROPPED","code":"0xc0040017","flow_id":2049,"interface":"wan0",
            "direction":"reply","protocol":"rtsp","transport":"tcp","src_ip":"10.2.0.2","src_port":554,
            "dst_ip":"fd00:1::2","dst_port":52274,"rule":"cameras","caused_by":5120,"suppressed":0,
            "filter":{"name":"rtsp","mode":"enforce","profile":"strict","finding":"missing-cseq","offset":0,
            "excerpt":""}}"#;
        serde_json::from_str(json).unwrap()
    }

    fn control() -> Event {
        Event::control(1, None, 1_767_323_045_000_000_000, Reason::None, "it began".to_owned())
    }

    /// One criterion, as an option and its value.
    fn criterion(option: &str, values: &[&str]) -> Criteria {
        let mut json = serde_json::json!({});
        json[option] = match option {
            "since" | "until" => serde_json::json!(values[0]),
            _ => serde_json::json!(values),
        };
        serde_json::from_value(json).unwrap()
    }

    fn selects(option: &str, values: &[&str], event: &Event) -> bool {
        criterion(option, values).selection(0).unwrap().has(event)
    }

    #[test]
    fn each_criterion_and_its_opposite() {
        for (option, applies, does_not) in [
            ("event", "packet_dropped", "connection_opened"),
            ("event", "drop", "kill"),
            ("reason", "FWX_E_TCP_NOT_SYN_PACKET_DROPPED", "FWX_E_CONNECTION_KILLED"),
            ("reason", "tcp_not_syn_packet_dropped", "LAND_ATTACK_DROPPED"),
            ("reason", "tcp_not_syn", "ips_detected"),
            ("reason", "0xC0040017", "0x80074e24"),
            ("network", "10.2.0.0/16", "10.1.0.0/16"),
            ("network", "fd00:1::2", "fd00:1::3"),
            ("src", "10.2.0.2", "fd00:1::2"),
            ("dst", "fd00::/8", "10.2.0.2"),
            ("port", "554", "555"),
            ("port", "52274", "0"),
            ("protocol", "rtsp", "web"),
            ("protocol", "tcp", "udp"),
            ("interface", "wan0", "lan0"),
            ("rule", "cameras", "default"),
            ("filter", "rtsp", "smtp"),
            ("filter", "rtsp/missing-cseq", "rtsp/line-too-long"),
            ("flow", "2049", "2048"),
        ] {
            let event = drop();
            if option == "reason" && applies.starts_with("0x") {
                assert!(selects(option, &[&applies.to_lowercase()], &event));
            } else {
                assert!(selects(option, &[applies], &event), "{option} {applies}");
            }
            assert!(!selects(option, &[does_not], &event), "{option} {does_not}");
            assert!(selects(option, &[&format!("!{does_not}")], &event), "{option} !{does_not}");
            assert!(!selects(option, &[&format!("!{applies}").to_lowercase()], &event), "{option}");
            assert!(
                selects(option, &[does_not, &applies.to_lowercase()], &event),
                "{option}: either"
            );
            assert!(!selects(option, &[does_not], &control()), "{option}: what it is not about");
        }
    }

    #[test]
    fn times_include_their_ends() {
        let at = "2026-01-02T03:04:05Z";
        assert!(selects("since", &[at], &drop()) && selects("until", &[at], &drop()));
        assert!(!selects("since", &["2026-01-02T03:04:06Z"], &drop()));
        assert!(!selects("until", &["2026-01-02T03:04:04Z"], &drop()));
    }

    #[test]
    fn the_default_is_a_rule_for_what_rules_are_asked_about() {
        let by_default = Event { rule: None, ..drop() };
        assert!(selects("rule", &["default"], &by_default));
        assert!(!selects("rule", &["default"], &control()));
        assert!(selects("rule", &["!default"], &control()));
    }

    #[test]
    fn what_is_none_is_bad_input() {
        for (option, value, said) in [
            ("since", "yesterday", "no time"),
            ("event", "dropped", "there are connection_opened"),
            ("reason", "not_syn_packet", "did you mean FWX_E_TCP_NOT_SYN_PACKET_DROPPED?"),
            ("reason", "no such thing", "fwx status"),
            ("network", "10.1.0.0/33", "not a prefix"),
            ("port", "65536", "not a number"),
            ("filter", "http", "there are rtsp"),
            ("filter", "rtsp/nothing", "fwx filter findings rtsp"),
            ("flow", "-1", "not a number"),
        ] {
            let error = criterion(option, &[value]).selection(0).unwrap_err();
            assert!(error.is::<crate::error::BadInput>(), "{option} {value}");
            assert!(error.to_string().contains(said), "{option} {value}: {error}");
        }
    }
}
