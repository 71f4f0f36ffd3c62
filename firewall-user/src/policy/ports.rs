//! One `[protocol.NAME]`: its transport, its ports and its filter.

use std::ops::RangeInclusive;

use firewall_common::filter::FilterId;
use toml::de::DeValue;

use super::{
    Protocol, Transport,
    document::{self, Section, Span, Value},
    error::{ProblemKind, Problems},
    parse::{filter_named, report},
    value,
};

/// Most items in the list of one protocol's ports.
const ITEMS_MAX: usize = 1024;

/// The protocol `name` that `section` describes.
pub(super) fn protocol(
    name: &str,
    section: &Section<'_, '_>,
    claims: &mut PortClaims,
    problems: &mut Problems,
) -> Protocol {
    section.deny_unknown_keys(&["transport", "ports", "filter"], problems);
    let transports = Transport::ALL.map(|transport| (transport.name(), transport));
    let transport = section
        .required("transport", problems)
        .and_then(|value| document::choice("transport", &transports, value, problems));
    let ranges = ports(section, problems);
    if let Some(transport) = transport {
        claims.claim(name, transport, &ranges, problems);
    }
    let filter = section.value("filter").and_then(|value| {
        let filter =
            filter_named(document::string("filter", value, problems)?, &value.span(), problems)?;
        check_transport(name, transport?, filter, value, problems);
        Some(filter)
    });
    Protocol {
        name: name.to_owned(),
        transport: transport.unwrap_or(Transport::Tcp),
        ports: merge(ranges.into_iter().map(|(range, _)| range).collect()),
        filter,
    }
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
    let needed = Transport::OF_FILTERS.name();
    if transport.name() != needed {
        let (filter, protocol) = (filter.name(), protocol.to_owned());
        let transport = transport.name();
        let kind = ProblemKind::FilterTransport { filter, needed, protocol, transport };
        let help = format!("leave `filter` out, or say `transport = \"{needed}\"`");
        problems.add(value.span(), kind, Some(help));
    }
}

/// Sorts `ranges` and joins those that overlap or touch.
fn merge(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
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

/// Which protocol has which port, to find one given away twice.
#[derive(Default)]
pub(super) struct PortClaims {
    claims: Vec<Claim>,
    /// For each transport and port the index of its claim plus one; 0: free.
    owners: [Vec<usize>; 2],
}

struct Claim {
    protocol: String,
    span: Span,
}

impl PortClaims {
    /// Gives `ranges` to `protocol`, and reports the first port in each that another one has.
    fn claim(
        &mut self,
        protocol: &str,
        transport: Transport,
        ranges: &[PlacedRange],
        problems: &mut Problems,
    ) {
        let owners = match transport {
            Transport::Tcp => &mut self.owners[0],
            Transport::Udp => &mut self.owners[1],
        };
        owners.resize(usize::from(u16::MAX) + 1, 0);
        for (range, span) in ranges {
            self.claims.push(Claim { protocol: protocol.to_owned(), span: span.clone() });
            let claim_number = self.claims.len();
            for port in range.clone() {
                let owner = &mut owners[usize::from(port)];
                let other = owner.checked_sub(1).and_then(|index| self.claims.get(index));
                match other.filter(|other| other.protocol != protocol) {
                    None => *owner = claim_number,
                    Some(other) => {
                        let kind = ProblemKind::PortTaken {
                            transport: transport.name(),
                            port,
                            protocol: protocol.to_owned(),
                            other: other.protocol.clone(),
                        };
                        let elsewhere = (other.span.clone(), "given away here");
                        problems.add_with(span.clone(), kind, elsewhere, None);
                        break;
                    }
                }
            }
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
