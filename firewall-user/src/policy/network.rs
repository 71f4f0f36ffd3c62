//! `[network.NAME]`: prefixes, other networks and interfaces, and what they come to together.

use std::collections::BTreeSet;

use firewall_common::policy::{NETWORKS_MAX, PREFIXES_MAX};
use ipnet::IpNet;

use super::{
    ITSELF, Network,
    document::{self, Section, Span, Value},
    error::{ProblemKind, Problems, quote},
    parse::{check_count, report},
    references::KnownNames,
    value,
};

/// Most names of a cycle that a message shows.
const SHOWN_MAX: usize = 16;
const ITSELF_HELP: &str = "what the gateway itself sends comes in by no interface: say `interface = [\"self\"]` in the rule";

/// The networks in the order of the file. `interfaces` are those of the gateway.
pub(super) fn networks(
    root: &Section<'_, '_>,
    interfaces: &[String],
    totals: &mut PrefixTotals,
    problems: &mut Problems,
) -> Vec<Network> {
    let sections = root.named_sections("network", problems);
    check_count("networks", NETWORKS_MAX, sections.iter().map(|(name, _)| name.span()), problems);
    let names = sections.iter().map(|(name, _)| name.get_ref().as_ref());
    let known = Known {
        networks: KnownNames::new("network", names),
        interfaces: KnownNames::from(
            "interface",
            "of [gateway]",
            interfaces.iter().map(String::as_str),
        )
        .with_help(ITSELF, ITSELF_HELP),
    };
    let mut networks = Vec::new();
    for (name, section) in &sections {
        report(value::check_section_name("network", name.get_ref()), &name.span(), problems);
        networks.push(Network {
            name: name.get_ref().to_string(),
            ..network(section, &known, interfaces, totals, problems)
        });
    }
    report_cycles(&networks, &sections, problems);
    networks
}

struct Known<'a> {
    networks: KnownNames<'a>,
    interfaces: KnownNames<'a>,
}

fn network(
    section: &Section<'_, '_>,
    known: &Known<'_>,
    interfaces: &[String],
    totals: &mut PrefixTotals,
    problems: &mut Problems,
) -> Network {
    const KEYS: [&str; 3] = ["prefixes", "networks", "interfaces"];
    section.deny_unknown_keys(&KEYS, problems);
    if KEYS.iter().all(|key| section.value(key).is_none()) {
        let kind = ProblemKind::MissingKey { section: section.title.clone(), key: "prefixes" };
        let help = "it needs `prefixes`, `networks` with names of other networks, or `interfaces`";
        problems.add(section.span.clone(), kind, Some(help.to_owned()));
    }
    let leave_out = |key| format!("leave `{key}` out, or name some");
    let listed = known.interfaces.listed("interfaces", &leave_out("interfaces"), section, problems);
    Network {
        name: String::new(),
        prefixes: prefixes(section.value("prefixes"), totals, problems),
        networks: known.networks.listed("networks", &leave_out("networks"), section, problems),
        interfaces: listed.into_iter().map(|index| interfaces[index].clone()).collect(),
    }
}

/// How many prefixes of IPv4 and of IPv6 were read so far.
#[derive(Default)]
pub(super) struct PrefixTotals([usize; 2]);

/// The prefixes that `listed` holds, which may be none.
pub(super) fn prefixes(
    listed: Option<&Value<'_>>,
    totals: &mut PrefixTotals,
    problems: &mut Problems,
) -> Vec<IpNet> {
    let items = listed.and_then(|value| document::strings("prefixes", value, problems));
    let mut prefixes = Vec::new();
    for (text, span) in items.unwrap_or_default() {
        let Some(prefix) = report(value::prefix(text), &span, problems) else { continue };
        prefixes.push(prefix);
        let (family, what) = match prefix {
            IpNet::V4(_) => (0, "IPv4 prefixes"),
            IpNet::V6(_) => (1, "IPv6 prefixes"),
        };
        let count = &mut totals.0[family];
        *count += 1;
        // Said once, at the first prefix that is too many.
        if *count == PREFIXES_MAX + 1 {
            let kind = ProblemKind::TooMany { what, count: *count, max: PREFIXES_MAX };
            problems.add(span, kind, None);
        }
    }
    prefixes
}

/// Reports every network that comes to be part of itself, where its way round closes.
fn report_cycles<'i>(
    networks: &[Network],
    sections: &[(&document::Key<'i>, Section<'_, 'i>)],
    problems: &mut Problems,
) {
    in_order(networks, |way, member| {
        let begin = way.iter().position(|on_the_way| *on_the_way == member).unwrap_or(0);
        let (around, closing) = (&way[begin..], &networks[member].name);
        let mut names: Vec<String> =
            around.iter().take(SHOWN_MAX).map(|index| quote(&networks[*index].name)).collect();
        if around.len() > SHOWN_MAX {
            names.push("…".to_owned());
        }
        names.push(quote(closing));
        let kind = ProblemKind::NetworkCycle { name: quote(closing), way: names.join(" → ") };
        let last = way.last().and_then(|index| sections.get(*index));
        let span = last.and_then(|(_, section)| item_span(section, "networks", closing));
        let help = Some("take one of the names out of its `networks`".to_owned());
        problems.add(span.unwrap_or_default(), kind, help);
    });
}

/// Where `name` stands in the list `key` of `section`.
pub(super) fn item_span(section: &Section<'_, '_>, key: &str, name: &str) -> Option<Span> {
    let items = section.value(key)?.get_ref().as_array()?;
    items.iter().find(|item| item.get_ref().as_str() == Some(name)).map(document::Value::span)
}

/// The networks in an order in which each comes after those that it names. Tells `on_cycle` of each way from a network
/// to one that it comes from, and takes it for none.
fn in_order(networks: &[Network], mut on_cycle: impl FnMut(&[usize], usize)) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnTheWay,
        Done,
    }
    let mut seen = vec![Seen::Not; networks.len()];
    let mut order = Vec::with_capacity(networks.len());
    for from in 0..networks.len() {
        if seen[from] != Seen::Not {
            continue;
        }
        // Not by recursion: networks may name each other thousands deep.
        let (mut way, mut next) = (vec![from], vec![0]);
        seen[from] = Seen::OnTheWay;
        while let (Some(network), Some(at)) = (way.last().copied(), next.last_mut()) {
            let Some(member) = networks[network].networks.get(*at).copied() else {
                seen[network] = Seen::Done;
                order.push(network);
                way.pop();
                next.pop();
                continue;
            };
            *at += 1;
            match seen[member] {
                Seen::Not => {
                    seen[member] = Seen::OnTheWay;
                    way.push(member);
                    next.push(0);
                }
                Seen::OnTheWay => on_cycle(&way, member),
                Seen::Done => {}
            }
        }
    }
    order
}

/// What networks come to with all that they name.
pub(super) struct Reach<'a> {
    /// In an order in which each comes after those that it names.
    pub(super) order: Vec<usize>,
    /// Whether each has prefixes, by itself or by what it names.
    pub(super) has_prefixes: Vec<bool>,
    /// The interfaces of each, likewise.
    pub(super) interfaces: Vec<BTreeSet<&'a str>>,
}

impl<'a> Reach<'a> {
    pub(super) fn of(networks: &'a [Network]) -> Self {
        let order = in_order(networks, |_, _| {});
        let mut has_prefixes = vec![false; networks.len()];
        let mut interfaces = vec![BTreeSet::new(); networks.len()];
        for index in &order {
            let network = &networks[*index];
            has_prefixes[*index] = !network.prefixes.is_empty()
                || network.networks.iter().any(|member| has_prefixes[*member]);
            let mut all: BTreeSet<&str> = network.interfaces.iter().map(String::as_str).collect();
            for member in &network.networks {
                all.extend(&interfaces[*member]);
            }
            interfaces[*index] = all;
        }
        Self { order, has_prefixes, interfaces }
    }

    /// How a rule whose sources are `from` has to be asked for.
    pub(super) fn sources(&self, from: &[usize]) -> Sources<'a> {
        let interfaces: BTreeSet<&str> =
            from.iter().flat_map(|index| &self.interfaces[*index]).copied().collect();
        let has_prefixes = from.iter().any(|index| self.has_prefixes[*index]);
        Sources { by_address: has_prefixes || interfaces.is_empty(), interfaces }
    }
}

/// How the sources of a rule are told: by their addresses, by the interfaces that they come in by, or by either.
pub(super) struct Sources<'a> {
    /// By their addresses, or the rule names no source.
    pub(super) by_address: bool,
    pub(super) interfaces: BTreeSet<&'a str>,
}

impl Sources<'_> {
    /// How many rules the classifier makes of the one.
    pub(super) fn rows(&self) -> usize {
        usize::from(self.by_address) + usize::from(!self.interfaces.is_empty())
    }
}

/// Reports each network in the list `key` of `section` that has interfaces, with why it must not and what to do.
pub(super) fn deny_interfaces(
    key: &'static str,
    listed: &[usize],
    section: &Section<'_, '_>,
    networks: &[Network],
    reach: &Reach<'_>,
    (reason, help): (&'static str, &str),
    problems: &mut Problems,
) {
    for index in listed {
        if reach.interfaces[*index].is_empty() {
            continue;
        }
        let name = &networks[*index].name;
        let shown: Vec<String> = reach.interfaces[*index].iter().map(|it| quote(it)).collect();
        let kind = ProblemKind::InterfacesNotAddresses {
            name: quote(name),
            interfaces: shown.join(", "),
            key,
            reason,
        };
        let span = item_span(section, key, name).unwrap_or_else(|| section.span.clone());
        problems.add(span, kind, Some(help.to_owned()));
    }
}

/// The networks at `indices` and all that they name, each once.
pub(super) fn reached(networks: &[Network], indices: &[usize]) -> Vec<usize> {
    let mut seen = vec![false; networks.len()];
    let mut reached = Vec::new();
    let mut open = indices.to_vec();
    while let Some(index) = open.pop() {
        if let Some(network) = networks.get(index)
            && !std::mem::replace(&mut seen[index], true)
        {
            reached.push(index);
            open.extend(&network.networks);
        }
    }
    reached
}
