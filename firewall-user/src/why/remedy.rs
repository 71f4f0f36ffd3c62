//! What would end it, as somebody can type or paste it, and what is lost by it.

use firewall_common::{
    filter::{
        FilterId,
        finding::{Effect, FindingInfo},
    },
    policy::Profile,
};
use serde::Serialize;

use super::{
    Context, admit,
    advice::{self, Cure, How},
    clues,
    group::{Group, Key},
    tell,
};
use crate::{event::Event, status::FilterStatus};

/// Something that ends it: one of a command, lines of the policy, or something elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// A command, as it is typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Lines to be put into the policy, which then has to be applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What is to be done elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<String>,
    /// What it does.
    pub does: String,
    /// What is lost by it.
    pub gives_up: String,
}

/// What ends that which `group` is about, what gives up least first.
pub(super) fn remedies(group: &Group<'_>, context: &Context) -> Vec<Remedy> {
    // What passed needs no end.
    if let Key::Noted { .. } | Key::Passed { .. } = group.key {
        return Vec::new();
    }
    let Some(reason) = group.reason() else { return Vec::new() };
    // A SYN's answer is of no connection that is older than the firewall.
    let is_new = clues::answers(group) > 0;
    let cures = advice::of(reason).cures.iter();
    let cures = cures.filter(|cure| !(is_new && matches!(cure.how, How::Command(_))));
    cures.flat_map(|cure| of(cure, group.newest(), context)).collect()
}

fn of(cure: &Cure, event: &Event, context: &Context) -> Vec<Remedy> {
    let remedy = Remedy {
        does: cure.does.to_owned(),
        gives_up: cure.gives_up.to_owned(),
        ..Remedy::default()
    };
    let remedy = match cure.how {
        How::Filter => return of_filter(event, context),
        How::Command(text) => filled(text, event, context)
            .map(|text| Remedy { command: Some(command(context, &text)), ..remedy }),
        How::Policy(text) => {
            filled(text, event, context).map(|text| Remedy { policy: Some(text), ..remedy })
        }
        How::AllowingRule => admit::rule(event, context.policy.as_ref())
            .map(|lines| Remedy { policy: Some(lines), ..remedy }),
        How::Elsewhere(text) => Some(Remedy { elsewhere: Some(text.to_owned()), ..remedy }),
    };
    remedy.into_iter().collect()
}

/// `fwx …` as it is typed for the instance that is meant.
fn command(context: &Context, text: &str) -> String {
    match context.instance.as_deref().filter(|name| admit::is_name(name)) {
        Some(instance) => format!("fwx --instance {instance} {text}"),
        None => format!("fwx {text}"),
    }
}

/// `text` with what it leaves open put in. `None`: something of that is not known.
fn filled(text: &str, event: &Event, context: &Context) -> Option<String> {
    let mut filled = text.to_owned();
    let ends = tell::ends(event);
    let policy = context.policy_file.clone().unwrap_or_else(|| "POLICY".to_owned());
    for (open, value) in [
        ("{source}", ends.map(|[(source, _), _]| admit::prefix(source))),
        ("{destination}", ends.map(|[_, (destination, _)]| admit::prefix(destination))),
        ("{interface}", event.interface.clone().filter(|name| is_bare_key(name))),
        ("{policy}", Some(quoted(&policy))),
    ] {
        if filled.contains(open) {
            filled = filled.replace(open, &value?);
        }
    }
    Some(filled)
}

/// Whether TOML takes the name for a key as it is.
fn is_bare_key(name: &str) -> bool {
    admit::is_name(name) && !name.contains('.')
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What there is to switch at the filter that acted. None, if it was switched since.
fn of_filter(event: &Event, context: &Context) -> Vec<Remedy> {
    let Some(protocol) = event.protocol.as_deref().filter(|name| admit::is_name(name)) else {
        return Vec::new();
    };
    let now = binding(context, protocol);
    let filter = match (&event.filter, now) {
        (Some(filter), _) => FilterId::from_name(&filter.name),
        (None, Some(FilterStatus { filter: Some(name), .. })) => FilterId::from_name(name),
        (None, _) => None,
    };
    let Some(filter) = filter else { return Vec::new() };
    if settled(event, context).is_some() || now.is_some_and(|now| now.mode != "enforce") {
        return Vec::new();
    }
    let switch = |text: String, does: String, gives_up: String| Remedy {
        command: Some(command(context, &text)),
        does,
        gives_up,
        ..Remedy::default()
    };
    let name = filter.name().to_uppercase();
    let finding = finding(event);
    let milder = finding.filter(|_| is_strict(event)).filter(|it| only_strict_kills(it));
    let mut remedies = Vec::new();
    if let Some(finding) = milder {
        let others = filter.findings().iter().filter(|it| only_strict_kills(it)).count() - 1;
        remedies.push(switch(
            format!("filter mode {protocol} enforce --profile standard"),
            format!("The profile standard only notes {}; the filter goes on killing what is no {name}.", finding.name),
            format!("{others} other departures from the grammar that strict kills for are only noted, too."),
        ));
    }
    remedies.push(switch(
        format!("filter mode {protocol} monitor"),
        "The filter goes on reading and only tells what it finds; from the next packet on it kills nothing.".to_owned(),
        format!(
            "What it would end gets through, on every connection of protocol {protocol}: also what is no {name} at all."
        ),
    ));
    remedies.push(switch(
        format!("filter unbind {protocol}"),
        format!("Connections of protocol {protocol} pass unread."),
        unbound(filter),
    ));
    remedies
}

/// What is lost where a filter does not read.
fn unbound(filter: FilterId) -> String {
    let opens = match filter {
        FilterId::Rtsp => {
            ", and no pinholes: where the default denies, UDP streams that are announced need a rule of their own"
        }
        FilterId::Ftp => {
            ", and no pinholes: where the default denies, data connections need a rule of their own"
        }
        // The others announce nothing.
        _ => "",
    };
    format!("No findings any more{opens}.")
}

/// Why what a filter did once would not happen any more.
pub(super) fn settled(event: &Event, context: &Context) -> Option<String> {
    let filter = event.filter.as_ref()?;
    let protocol = event.protocol.as_deref()?;
    let Some(bindings) = &context.bindings else { return None };
    let Some(now) = bindings.iter().find(|known| known.protocol == protocol) else {
        return Some(format!("The policy in force has no protocol {protocol} any more."));
    };
    let known = finding(event);
    match (&now.filter, now.mode.as_str()) {
        (None, _) => {
            Some(format!("No filter is bound to {protocol} any more: it passes unread now."))
        }
        (Some(bound), _) if *bound != filter.name => {
            Some(format!("Another filter is bound to {protocol} now: {bound}."))
        }
        (Some(_), mode) if mode != "enforce" => Some(format!(
            "The filter of {protocol} is in mode {mode} now: it kills nothing any more."
        )),
        (Some(_), _)
            if now.profile == "standard"
                && is_strict(event)
                && known.is_some_and(only_strict_kills) =>
        {
            Some(format!(
                "The profile of {protocol} is standard now, which only notes this finding."
            ))
        }
        _ => None,
    }
}

fn binding<'a>(context: &'a Context, protocol: &str) -> Option<&'a FilterStatus> {
    context.bindings.as_ref()?.iter().find(|known| known.protocol == protocol)
}

/// What is known of the finding that the event names.
pub(super) fn finding(event: &Event) -> Option<&'static FindingInfo> {
    let filter = event.filter.as_ref()?;
    let findings = FilterId::from_name(&filter.name)?.findings();
    findings.iter().find(|known| known.name == filter.finding)
}

fn is_strict(event: &Event) -> bool {
    event.filter.as_ref().is_some_and(|filter| filter.profile == Profile::Strict.name())
}

fn only_strict_kills(finding: &FindingInfo) -> bool {
    finding.standard == Effect::Note && finding.strict == Effect::Kill
}
