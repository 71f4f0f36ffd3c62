//! From the TOML document to the [`Policy`]: each table and key, what it may hold and what it means.

use std::{collections::HashMap, path::Path, sync::Arc};

use firewall_common::{
    essential::Essential,
    filter::FilterId,
    layout::INTERFACES_MAX,
    policy::{Action, Mode, NewFlow, PROTOCOLS_MAX, Profile},
};
use toml::de::DeTable;

use super::{
    FilterSettings, Live, Policy, PolicyError, Protocol, Sources,
    anti_spoofing::anti_spoofing,
    asymmetric::asymmetric,
    builtin,
    document::{self, Section, Span},
    error::{ProblemKind, Problems, quote},
    exports::{Events, events},
    include, merge,
    model::{ITSELF, action_name},
    network::{PrefixTotals, networks},
    ports::{Claims, protocol},
    references::{KnownNames, Scope},
    rules::rules,
    source::PolicySource,
    tracker,
    value::{self, Refusal},
};

/// The tables that a policy may have, and what it includes.
const KEYS: [&str; 13] = [
    include::KEY,
    "gateway",
    "tables",
    "timeouts",
    "limits",
    "network",
    "protocol",
    "filter",
    "asymmetric",
    "anti_spoofing",
    "rule",
    "events",
    "export",
];
const INTERFACES_HELP: &str =
    "a policy has at least `[gateway]` with `interfaces = [\"lan0\", \"wan0\"]`";

/// See [`Sources::parse`].
pub(super) fn parse(sources: &Sources) -> Result<Policy, PolicyError> {
    let mut problems = Problems::new(Arc::new(PolicySource::of(sources.files())));
    let Some(document) = document(sources, &mut problems) else {
        return Err(problems.into_error());
    };
    let policy = policy(&Section::root(&document), &mut problems);
    problems.none_or_error(policy)
}

/// What all files say. `None`, with what is wrong added to `problems`, if one of them is not TOML.
pub(super) fn document<'a>(sources: &'a Sources, problems: &mut Problems) -> Option<DeTable<'a>> {
    let is_empty = |text: &str| text.trim_start_matches('\u{feff}').trim().is_empty();
    if sources.files().iter().all(|file| is_empty(&file.text)) {
        problems.add_for_file(ProblemKind::Empty, Some(INTERFACES_HELP.to_owned()));
        return None;
    }
    let mut documents = Vec::new();
    for (index, file) in sources.files().iter().enumerate() {
        let document = document::parse(&file.text, problems.start_of(index), problems);
        if let Some(document) = &document {
            check_included(sources, &file.path, &Section::root(document), problems);
        }
        documents.push(document);
    }
    // What one file lacks others may miss, so nothing is said of the rest before all of them are TOML.
    let mut documents = documents.into_iter().collect::<Option<Vec<_>>>()?.into_iter();
    let mut root = documents.next()?;
    documents.for_each(|included| merge::add(&mut root, included, problems));
    Some(root)
}

/// Reports what the file at `path` includes by name and is not among the files.
fn check_included(sources: &Sources, path: &Path, root: &Section<'_, '_>, problems: &mut Problems) {
    for (entry, span) in include::listed(root, problems) {
        let wanted = include::named(path, &entry);
        if !include::is_pattern(&entry) && !sources.files().iter().any(|it| it.path == wanted) {
            let reason = "it is not among the files of this policy".to_owned();
            problems.add(span, ProblemKind::Include { file: quote(&entry), reason }, None);
        }
    }
}

/// Reads section after section. What is wrong goes to `problems`, and the reading goes on with
/// something in its place, which [`parse`] lets nobody see.
pub(super) fn policy(root: &Section<'_, '_>, problems: &mut Problems) -> Policy {
    root.deny_unknown_keys(&KEYS, problems);
    let Gateway { interfaces, default_action, new_flow, shortcut, essential, live } =
        gateway(root, problems);
    let tables = tracker::tables(root, problems);
    let timeouts = tracker::timeouts(root, problems);
    let limits = tracker::limits(root, problems);
    let mut totals = PrefixTotals::default();
    let networks = networks(root, &interfaces, &mut totals, problems);
    let filters = filters(root, problems);
    let protocols = protocols(root, problems);
    let scope = Scope {
        networks: KnownNames::new("network", networks.iter().map(|network| network.name.as_str())),
        protocols: KnownNames::new(
            "protocol",
            protocols.iter().map(|protocol| protocol.name.as_str()),
        ),
        interfaces: KnownNames::from(
            "interface",
            "of [gateway], and the gateway itself",
            interfaces.iter().map(String::as_str).chain([ITSELF]),
        ),
    };
    let asymmetric = asymmetric(root, &scope.networks, &networks, &mut totals, problems);
    let anti_spoofing = anti_spoofing(root, &interfaces, &scope.networks, &networks, problems);
    let rules = rules(root, &scope, &networks, problems);
    let Events { settings: events, exports } =
        events(root, &interfaces, &protocols, &rules, problems);
    Policy {
        interfaces,
        default_action,
        new_flow,
        shortcut,
        essential,
        live,
        tables,
        timeouts,
        limits,
        networks,
        protocols,
        filters,
        asymmetric,
        anti_spoofing,
        rules,
        events,
        exports,
    }
}

struct Gateway {
    interfaces: Vec<String>,
    default_action: Action,
    new_flow: NewFlow,
    shortcut: bool,
    essential: u32,
    live: Live,
}

fn gateway(root: &Section<'_, '_>, problems: &mut Problems) -> Gateway {
    // A policy that does not say denies: what was forgotten must not stand open.
    let nothing = Gateway {
        interfaces: Vec::new(),
        default_action: Action::Deny,
        new_flow: NewFlow::Enforce,
        shortcut: false,
        essential: Essential::DEFAULT,
        live: Live::Keep,
    };
    let Some(table) = root.value("gateway") else {
        problems.add(0..0, ProblemKind::NoInterfaces, Some(INTERFACES_HELP.to_owned()));
        return nothing;
    };
    let Some(section) = Section::new("[gateway]".to_owned(), table, problems) else {
        return nothing;
    };
    let known = ["interfaces", "default", "new_flow", "shortcut", "essential", "live"];
    section.deny_unknown_keys(&known, problems);
    let interfaces = interfaces(&section, problems);
    let choices = [Action::Deny, Action::Allow].map(|action| (action_name(action), action));
    let default_action = section
        .value("default")
        .and_then(|value| document::choice("default", &choices, value, problems))
        .unwrap_or(nothing.default_action);
    let choices = [NewFlow::Enforce, NewFlow::Monitor].map(|choice| (choice.name(), choice));
    let new_flow = section
        .value("new_flow")
        .and_then(|value| document::choice("new_flow", &choices, value, problems))
        .unwrap_or(nothing.new_flow);
    let shortcut = section
        .value("shortcut")
        .and_then(|value| document::boolean("shortcut", value, problems))
        .unwrap_or(nothing.shortcut);
    let choices = [Live::Keep, Live::Reevaluate, Live::Kill].map(|choice| (choice.name(), choice));
    let live = section
        .value("live")
        .and_then(|value| document::choice("live", &choices, value, problems))
        .unwrap_or(nothing.live);
    let essential = essential(&section, problems).unwrap_or(nothing.essential);
    Gateway { interfaces, default_action, new_flow, shortcut, essential, live }
}

/// What `gateway` lists as essential, which may be nothing; `None`: it does not say.
fn essential(gateway: &Section<'_, '_>, problems: &mut Problems) -> Option<u32> {
    const KEY: &str = "essential";
    let value = gateway.value(KEY)?;
    if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
        return Some(0);
    }
    let names = Essential::ALL.iter().map(|(name, _)| *name);
    let known = KnownNames::from("essential traffic", "that there is", names);
    let all = "list all that you mean";
    let listed = known.listed(KEY, all, gateway, problems);
    Some(listed.into_iter().fold(0, |set, index| set | Essential::ALL[index].1 as u32))
}

fn interfaces(gateway: &Section<'_, '_>, problems: &mut Problems) -> Vec<String> {
    let value = gateway.value("interfaces");
    let Some(value) = value else {
        let help = Some(INTERFACES_HELP.to_owned());
        problems.add(gateway.span.clone(), ProblemKind::NoInterfaces, help);
        return Vec::new();
    };
    let Some(items) = document::strings("interfaces", value, problems) else {
        return Vec::new();
    };
    if value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
        let help = Some(INTERFACES_HELP.to_owned());
        problems.add(value.span(), ProblemKind::NoInterfaces, help);
    }
    let spans = items.iter().map(|(_, span)| span.clone());
    check_count("interfaces", INTERFACES_MAX, spans, problems);
    let mut seen: HashMap<&str, Span> = HashMap::new();
    let mut interfaces = Vec::new();
    for (name, span) in items {
        report(value::check_interface_name(name), &span, problems);
        if name == ITSELF {
            let reason = "in rules it stands for the gateway itself";
            let kind = ProblemKind::BadName { what: "interface", name: quote(name), reason };
            let help = "give it another name: `ip link set self name lan0`";
            problems.add(span, kind, Some(help.to_owned()));
            continue;
        }
        match seen.get(name) {
            Some(first) => {
                let kind = ProblemKind::DuplicateInterface { name: quote(name) };
                problems.add_with(span, kind, (first.clone(), "first listed here"), None);
            }
            None => {
                seen.insert(name, span);
                interfaces.push(name.to_owned());
            }
        }
    }
    interfaces
}

/// Every filter, as the policy wants it or as it is by default.
fn filters(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<FilterSettings> {
    let mut all_settings = builtin::default_settings();
    for (name, section) in root.named_sections("filter", problems) {
        let mode = mode(&section, problems);
        let profile = profile(&section, problems);
        let filter = filter_named(name.get_ref(), &name.span(), problems);
        // A filter that is not known may have commands; one that is may have none.
        let has_commands = filter.is_none_or(|filter| !filter.commands().is_empty());
        let known: &[_] =
            if has_commands { &["mode", "profile", "commands"] } else { &["mode", "profile"] };
        section.deny_unknown_keys(known, problems);
        let settings = all_settings.iter_mut().find(|known| Some(known.filter) == filter);
        if let Some(settings) = settings {
            settings.mode = mode.unwrap_or(settings.mode);
            settings.profile = profile.unwrap_or(settings.profile);
            settings.commands = commands(&section, settings.filter, problems);
        }
    }
    all_settings
}

/// The mode of a filter that `section` says, if it does.
pub(super) fn mode(section: &Section<'_, '_>, problems: &mut Problems) -> Option<Mode> {
    let modes = Mode::ALL.map(|mode| (mode.name(), mode));
    section.value("mode").and_then(|value| document::choice("mode", &modes, value, problems))
}

/// The profile of a filter that `section` says, if it does.
pub(super) fn profile(section: &Section<'_, '_>, problems: &mut Problems) -> Option<Profile> {
    let profiles = Profile::ALL.map(|profile| (profile.name(), profile));
    let value = section.value("profile");
    value.and_then(|value| document::choice("profile", &profiles, value, problems))
}

/// The commands that `filter` allows, a bit each.
fn commands(section: &Section<'_, '_>, filter: FilterId, problems: &mut Problems) -> u64 {
    let names = filter.commands();
    // Of a filter without commands the key itself is reported.
    if section.value("commands").is_none() || names.is_empty() {
        return u64::MAX;
    }
    let known = KnownNames::from("command", "that the filter knows", names.iter().copied());
    let listed =
        known.listed("commands", "to allow every command leave `commands` out", section, problems);
    listed.into_iter().fold(0, |allowed, bit| allowed | 1 << bit)
}

/// The filter that `name`, at `span`, stands for.
pub(super) fn filter_named(name: &str, span: &Span, problems: &mut Problems) -> Option<FilterId> {
    let filter = FilterId::from_name(name);
    if filter.is_none() {
        let known = FilterId::ALL.map(FilterId::name);
        let kind = ProblemKind::UnknownName { what: "filter", name: quote(name) };
        let help = document::help_for_name(name, &known, "the filters there are");
        problems.add(span.clone(), kind, help);
    }
    filter
}

fn protocols(root: &Section<'_, '_>, problems: &mut Problems) -> Vec<Protocol> {
    let sections = root.named_sections("protocol", problems);
    // Protocol 0 is "none of them" in the kernel's tables.
    let headers = sections.iter().map(|(name, _)| name.span());
    check_count("protocols", PROTOCOLS_MAX - 1, headers, problems);
    let mut claims = Claims::default();
    sections
        .iter()
        .map(|(name, section)| {
            report(value::check_section_name("protocol", name.get_ref()), &name.span(), problems);
            protocol(name.get_ref(), section, &mut claims, problems)
        })
        .collect()
}

/// Reports, at the first that is too many, that there are more than `max`.
pub(super) fn check_count(
    what: &'static str,
    max: usize,
    mut spans: impl ExactSizeIterator<Item = Span>,
    problems: &mut Problems,
) {
    let count = spans.len();
    if let Some(span) = spans.nth(max) {
        problems.add(span, ProblemKind::TooMany { what, count, max }, None);
    }
}

/// What `checked` holds; what is wrong with it is reported for `span`.
pub(super) fn report<T>(
    checked: Result<T, Refusal>,
    span: &Span,
    problems: &mut Problems,
) -> Option<T> {
    checked.map_err(|(kind, help)| problems.add(span.clone(), kind, help)).ok()
}
