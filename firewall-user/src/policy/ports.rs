//! One `[protocol.NAME]`: its transport, its ports or ICMP types, and its filter.

use std::{collections::HashMap, ops::RangeInclusive};

use firewall_common::filter::FilterId;
use toml::de::DeValue;

use super::{
    IcmpType, Protocol, Transport,
    document::{self, Section, Span, Value},
    error::{ProblemKind, Problems},
    icmp,
    number::saturating,
    parse::{filter_named, mode, profile, report},
    transport::transport,
    value,
};

/// Most items in the list of one protocol's ports.
pub(super) const ITEMS_MAX: usize = 1024;

/// The protocol `name` that `section` describes.
pub(super) fn protocol(
    name: &str,
    section: &Section<'_, '_>,
    claims: &mut Claims,
    problems: &mut Problems,
) -> Protocol {
    section.deny_unknown_keys(&["transport", "ports", "types", "filter"], problems);
    let transport =
        section.required("transport", problems).and_then(|value| transport(value, problems));
    let mut protocol = Protocol {
        name: name.to_owned(),
        transport: transport.unwrap_or(Transport::Tcp),
        ports: Vec::new(),
        types: Vec::new(),
        filter: None,
        mode: None,
        profile: None,
    };
    match transport {
        Some(_) => services(&mut protocol, section, claims, problems),
        // Of what they are is not known, but ports can be read.
        None if section.value("ports").is_some() => {
            ports(section, problems);
        }
        None => {}
    }
    if let Some(value) = section.value("filter") {
        filter(&mut protocol, section, value, problems);
        if let (Some(filter), Some(transport)) = (protocol.filter, transport) {
            check_transport(name, transport, filter, value, problems);
        }
    }
    protocol
}

/// Reads what `protocol` has of its transport: ports, ICMP types, or all of it.
fn services(
    protocol: &mut Protocol,
    section: &Section<'_, '_>,
    claims: &mut Claims,
    problems: &mut Problems,
) {
    let transport = protocol.transport;
    if !transport.has_ports() {
        deny(section, "ports", transport, problems);
    }
    if !transport.is_icmp() {
        deny(section, "types", transport, problems);
    }
    if transport.has_ports() {
        let ranges = ports(section, problems);
        claims.claim(protocol, &ranges, problems);
        protocol.ports = merge(ranges.into_iter().map(|(range, _)| range).collect());
    } else if transport.is_icmp() && section.value("types").is_some() {
        let types = types(section, transport, problems);
        let ranges: Vec<_> =
            types.iter().map(|(icmp, span)| (icmp.range(), span.clone())).collect();
        claims.claim(protocol, &ranges, problems);
        protocol.types = types.into_iter().map(|(icmp, _)| icmp).collect();
        protocol.types.sort_unstable();
        protocol.types.dedup();
    } else {
        claims.claim(protocol, &[(0..=u16::MAX, section.span.clone())], problems);
    }
}

/// The filter that `value` binds to `protocol`: its name, or a table that says how it behaves there.
fn filter(
    protocol: &mut Protocol,
    of: &Section<'_, '_>,
    value: &Value<'_>,
    problems: &mut Problems,
) {
    let name = match value.get_ref() {
        DeValue::String(_) => value,
        DeValue::Table(_) => {
            let title = format!("`filter` of {}", of.title);
            let Some(section) = Section::new(title, value, problems) else { return };
            section.deny_unknown_keys(&["name", "mode", "profile"], problems);
            protocol.mode = mode(&section, problems);
            protocol.profile = profile(&section, problems);
            let Some(name) = section.required("name", problems) else { return };
            name
        }
        _ => {
            let help =
                "a filter's name such as \"rtsp\", or { name = \"rtsp\", mode = \"enforce\" }";
            let expected = "a string or a table";
            document::wrong_type_with("`filter`", expected, value, help.to_owned(), problems);
            return;
        }
    };
    if let Some(text) = document::string("name", name, problems) {
        protocol.filter = filter_named(text, &name.span(), problems);
    }
}

/// Reports `key`, which protocols of this transport do not have.
fn deny(
    section: &Section<'_, '_>,
    key: &'static str,
    transport: Transport,
    problems: &mut Problems,
) {
    let Some(value) = section.value(key) else { return };
    let help = match transport {
        Transport::Tcp | Transport::Udp => "it has `ports`",
        Transport::Icmp | Transport::Icmpv6 => {
            "it has `types`, such as [\"echo-request\"], or all of them if that is left out"
        }
        Transport::Other(_) => "it has neither ports nor types: leave the key out",
    };
    let kind = ProblemKind::NotOfTransport { transport: transport.to_string(), key };
    problems.add(value.span(), kind, Some(help.to_owned()));
}

/// The ICMP types that `section` lists; none: all.
fn types(
    section: &Section<'_, '_>,
    transport: Transport,
    problems: &mut Problems,
) -> Vec<(IcmpType, Span)> {
    let Some(value) = section.value("types") else { return Vec::new() };
    let Some(items) = document::array("types", "a list of ICMP types", value, problems) else {
        return Vec::new();
    };
    if items.is_empty() {
        let help = Some("for all types leave `types` out".to_owned());
        problems.add(value.span(), ProblemKind::EmptyList { key: "types" }, help);
    }
    let items = items.iter();
    items.filter_map(|item| Some((type_item(item, transport, problems)?, item.span()))).collect()
}

fn type_item(item: &Value<'_>, transport: Transport, problems: &mut Problems) -> Option<IcmpType> {
    let icmp = match item.get_ref() {
        DeValue::Integer(integer) => icmp::numbered(&integer.to_string(), saturating(integer)),
        DeValue::String(text) => icmp::written(text, transport),
        _ => {
            let expected = "a number or a name such as \"echo-request\"";
            document::wrong_type("an item of `types`", expected, item, problems);
            return None;
        }
    };
    report(icmp, &item.span(), problems)
}

type PlacedRange = (RangeInclusive<u16>, Span);

fn ports(section: &Section<'_, '_>, problems: &mut Problems) -> Vec<PlacedRange> {
    let Some(value) = section.required("ports", problems) else { return Vec::new() };
    let expected = "a list of ports";
    let Some(items) = document::array("ports", expected, value, problems) else {
        return Vec::new();
    };
    if items.is_empty() {
        problems.add(value.span(), ProblemKind::EmptyList { key: "ports" }, None);
    }
    if let Some(item) = items.get(ITEMS_MAX) {
        let kind = ProblemKind::TooMany { what: "ports", count: items.len(), max: ITEMS_MAX };
        problems.add(item.span(), kind, Some("write them as ranges".to_owned()));
    }
    let items = items.iter().take(ITEMS_MAX);
    items.filter_map(|item| Some((port_item(item, problems)?, item.span()))).collect()
}

fn port_item(item: &Value<'_>, problems: &mut Problems) -> Option<RangeInclusive<u16>> {
    let ports = match item.get_ref() {
        DeValue::Integer(integer) => {
            value::port(&integer.to_string(), integer.as_str(), integer.radix())
                .map(|port| port..=port)
        }
        DeValue::String(text) => value::port_range(text),
        _ => {
            let expected = "a number or a range such as \"8000-8010\"";
            document::wrong_type("an item of `ports`", expected, item, problems);
            return None;
        }
    };
    report(ports, &item.span(), problems)
}

fn check_transport(
    protocol: &str,
    transport: Transport,
    filter: FilterId,
    value: &Value<'_>,
    problems: &mut Problems,
) {
    if transport != Transport::OF_FILTERS {
        let (filter, protocol) = (filter.name(), protocol.to_owned());
        let (needed, transport) = (Transport::OF_FILTERS.to_string(), transport.to_string());
        let help = format!("leave `filter` out, or say `transport = \"{needed}\"`");
        let kind = ProblemKind::FilterTransport { filter, needed, protocol, transport };
        problems.add(value.span(), kind, Some(help));
    }
}

/// Sorts `ranges` and joins those that overlap or touch.
pub(super) fn merge(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ranges.sort_unstable_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if u32::from(*range.start()) <= u32::from(*last.end()) + 1 => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// Which protocol has which service, to find one given away twice.
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<Claim>,
    /// For each IP protocol and what is asked for of it the index of its claim plus one; 0: free.
    owners: HashMap<u8, Vec<usize>>,
}

struct Claim {
    protocol: String,
    span: Span,
}

impl Claims {
    /// Gives `ranges` to `protocol`, and reports the first service in each that another one has.
    fn claim(&mut self, protocol: &Protocol, ranges: &[PlacedRange], problems: &mut Problems) {
        let owners = self.owners.entry(protocol.transport.number()).or_default();
        owners.resize(usize::from(u16::MAX) + 1, 0);
        for (range, span) in ranges {
            self.claims.push(Claim { protocol: protocol.name.clone(), span: span.clone() });
            let claim_number = self.claims.len();
            for what in range.clone() {
                let owner = &mut owners[usize::from(what)];
                let other = owner.checked_sub(1).and_then(|index| self.claims.get(index));
                match other.filter(|other| other.protocol != protocol.name) {
                    None => *owner = claim_number,
                    Some(other) => {
                        let kind = taken(protocol, what, other.protocol.clone());
                        let elsewhere = (other.span.clone(), "given away here");
                        problems.add_with(span.clone(), kind, elsewhere, None);
                        break;
                    }
                }
            }
        }
    }
}

/// The service `what` that `protocol` wants is another's.
fn taken(protocol: &Protocol, what: u16, other: String) -> ProblemKind {
    let transport = protocol.transport.to_string();
    let protocol_name = protocol.name.clone();
    match protocol.transport {
        Transport::Tcp | Transport::Udp => {
            ProblemKind::PortTaken { transport, port: what, protocol: protocol_name, other }
        }
        Transport::Icmp | Transport::Icmpv6 => {
            let [kind, code] = what.to_be_bytes();
            let icmp_type = IcmpType { kind, code: (code != 0).then_some(code) };
            let icmp_type = icmp_type.shown(protocol.transport).to_string();
            ProblemKind::TypeTaken { transport, icmp_type, protocol: protocol_name, other }
        }
        Transport::Other(_) => {
            ProblemKind::TransportTaken { transport, protocol: protocol_name, other }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        assert_eq!(
            merge(vec![8..=9, 1..=3, 4..=4, 2..=5, 65_535..=65_535]),
            [1..=5, 8..=9, 65_535..=65_535]
        );
        assert_eq!(merge(vec![1..=65_535, 65_535..=65_535, 5..=6]), [1..=65_535]);
    }
}
