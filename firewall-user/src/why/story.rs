//! The answer.

use std::net::IpAddr;

use firewall_common::filter::finding::Effect;
use serde::Serialize;

use super::{
    Context, HeldBack, Origin, Question, Remedy, Way, advice,
    clean::clean,
    clues,
    group::{Effect as Caused, Group, Key, groups},
    index::Index,
    join::join,
    remedy, tell,
};
use crate::{
    conn::Row,
    event::Event,
    events::{printable, sentence},
    hub,
    policy::Explanation,
};

/// Causes of one story.
const CAUSES: usize = 1_000;
/// Addresses that a cause lists.
const LISTED: usize = 100;

/// What is known about what was asked. In JSON a field that does not apply is left out.
#[derive(Debug, Serialize)]
pub struct Story {
    /// The question.
    pub asked: String,
    /// Whether anything is known: an event, or a connection that lives.
    pub known: bool,
    /// The events that this is told by.
    pub events: Seen,
    /// What happened, what matters most first.
    pub causes: Vec<Cause>,
    /// Connections that live and are asked about, as `fwx conn list` has them.
    pub flows: Vec<Row>,
    /// What the policy in force says of such a flow, where the question names one in full and nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Explanation>,
    /// What is not known, in sentences.
    pub not_known: Vec<String>,
}

/// Which events a story is told by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// How many were looked at.
    pub looked_at: u64,
    /// How many of them are asked about.
    pub asked_about: u64,
    /// How many the story is made of: these, and what belongs to them.
    pub told: u64,
    /// When the first of those that were looked at happened, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// When the last did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Something that happened once or often, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In one sentence.
    pub headline: String,
    /// Name of the result code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<&'static str>,
    /// What usually causes it, the most frequent first.
    pub usually: Vec<&'static str>,
    /// When it first happened, RFC 3339.
    pub first: String,
    /// When it last did.
    pub last: String,
    /// Events that tell of it, without those of what it caused.
    pub events: u64,
    /// Connections, or attempts at one, that it happened to.
    pub connections: u64,
    /// Packets of which no event tells, and that had the same reason meanwhile, of whomever.
    pub held_back: HeldBack,
    /// Addresses that began, the first 100.
    pub clients: Vec<IpAddr>,
    /// Protocol by the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Rule that let it in or refused it; left out: the default, or none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What a filter objected to, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objection: Option<Objection>,
    /// What it caused.
    pub caused: Vec<Consequence>,
    /// What the controller told of the filter's binding: the last change before, and those since.
    pub changes: Vec<String>,
    /// What else events say about it.
    pub clues: Vec<String>,
    /// How things stand now, by bindings, policy and counters.
    pub now: Vec<String>,
    /// The way of one of the connections, the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<Way>,
    /// What would end it, what gives up least first.
    pub remedies: Vec<Remedy>,
    /// Number of the last event that tells of it.
    pub event_id: u64,
    /// Each event as a line, with what it caused; only if asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// What a filter objected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Objection {
    /// The filter.
    pub filter: String,
    /// Its mode at that moment.
    pub mode: String,
    /// Its profile at that moment.
    pub profile: String,
    /// The name of what it found.
    pub finding: String,
    /// What that means; left out: this version of fwx does not know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<&'static str>,
    /// The document and section that it departs from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'static str>,
    /// What it leads to in the profile standard where the filter enforces: `note` or `kill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard: Option<&'static str>,
    /// In the profile strict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<&'static str>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_by: Option<String>,
    /// Where in what that end sent.
    pub offset: u64,
    /// What stood there, escaped.
    pub excerpt: String,
}

/// Packets that were dropped because of a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Consequence {
    /// Name of their reason.
    pub reason: String,
    /// Its number.
    pub code: String,
    /// How many, that events tell of.
    pub packets: u64,
    /// Packets of which no event tells, and that had the same reason meanwhile, of whomever.
    pub held_back: HeldBack,
    /// Connections that they were of: that which was killed, and what it had announced.
    pub connections: u64,
    /// When the first was.
    pub first: String,
    /// When the last was.
    pub last: String,
    /// The firewall had forgotten the kill: what they are of is told by their two ends alone.
    pub is_late: bool,
}

impl Story {
    /// What `events`, in any order, and `context` say about the question.
    pub fn of(events: Vec<Event>, question: &Question, mut context: Context) -> Self {
        let mut events: Vec<Event> = events.into_iter().map(clean).collect();
        events.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
        let looked_at = context.flows.is_some();
        let mut flows = context.flows.take().unwrap_or_default();
        flows.retain(|row| question.has_flow(row));
        let joined = join(&events, question, &flows);
        let groups = groups(&joined.events);
        let index = Index::new(&events);
        if let Some(more @ 1..) = groups.len().checked_sub(CAUSES) {
            let more = tell::count(more as u64, "other matter", "other matters");
            context
                .missing
                .push(format!("What there is to say of {more}: ask for less at a time."));
        }
        let causes: Vec<_> =
            groups.iter().take(CAUSES).map(|group| cause(group, &index, &context)).collect();
        let known = !causes.is_empty() || !flows.is_empty();
        let policy = context.policy.as_ref().filter(|_| !known);
        let policy = policy.and_then(|it| Some(it.explain(&question.probe()?, &[])));
        Self {
            asked: printable(question.asked()).into_owned(),
            known,
            events: Seen {
                looked_at: events.len() as u64,
                asked_about: joined.asked_about as u64,
                told: joined.events.len() as u64,
                from: events.first().map(|event| event.timestamp.clone()),
                until: events.last().map(|event| event.timestamp.clone()),
            },
            not_known: not_known(&events, &joined.events, &index, looked_at, &context),
            causes,
            flows,
            policy,
        }
    }
}

fn cause(group: &Group<'_>, index: &Index<'_>, context: &Context) -> Cause {
    let newest = group.newest();
    let who = tell::Who::of(group);
    let advice = group.reason().map(advice::of);
    let is_drop = matches!(group.key, Key::Dropped { .. } | Key::UnknownKill);
    Cause {
        headline: tell::headline(group),
        reason: newest.reason.clone(),
        code: newest.code.clone(),
        means: advice.map(|advice| advice.means),
        usually: if newest.filter.is_some() || is_normal(group) {
            Vec::new()
        } else {
            advice.map_or_else(Vec::new, |advice| advice.usually.to_vec())
        },
        first: group.events[0].timestamp.clone(),
        last: newest.timestamp.clone(),
        events: group.events.len() as u64,
        connections: who.connections,
        held_back: if is_drop { index.limits.held_back(&group.events) } else { HeldBack::NONE },
        clients: who.clients.iter().take(LISTED).copied().collect(),
        protocol: newest.protocol.clone(),
        rule: newest.rule.clone(),
        objection: objection(newest),
        caused: consequences(&group.effects, index),
        changes: changes(group, index),
        clues: clues::clues(group, index),
        now: clues::now(group, context),
        way: Way::of(newest, index),
        remedies: remedy::remedies(group, context),
        event_id: newest.event_id,
        lines: if context.all { lines(group) } else { Vec::new() },
    }
}

fn is_normal(group: &Group<'_>) -> bool {
    group.reason().is_none_or(|reason| advice::of(reason).gravity == advice::Gravity::Normal)
}

fn objection(event: &Event) -> Option<Objection> {
    let filter = event.filter.as_ref()?;
    let known = remedy::finding(event);
    let effect = |effect| match effect {
        Effect::Note => "note",
        Effect::Kill => "kill",
    };
    Some(Objection {
        filter: filter.name.clone(),
        mode: filter.mode.clone(),
        profile: filter.profile.clone(),
        finding: filter.finding.clone(),
        means: known.map(|known| known.summary),
        reference: known.map(|known| known.reference),
        standard: known.map(|known| effect(known.standard)),
        strict: known.map(|known| effect(known.strict)),
        sent_by: event.src_ip.map(|address| tell::end((address, event.src_port))),
        offset: filter.offset,
        excerpt: filter.excerpt.clone(),
    })
}

/// What a kill caused, by reason.
fn consequences(effects: &[Caused<'_>], index: &Index<'_>) -> Vec<Consequence> {
    let mut kinds: Vec<((&str, bool), Vec<&Event>)> = Vec::new();
    for Caused { event, is_late } in effects {
        let kind = (event.reason.as_deref().unwrap_or("?"), *is_late);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, events)) => events.push(event),
            None => kinds.push((kind, vec![event])),
        }
    }
    let mut list: Vec<_> = kinds
        .into_iter()
        .map(|((reason, is_late), events)| Consequence {
            reason: reason.to_owned(),
            code: events[0].code.clone().unwrap_or_default(),
            packets: events.len() as u64,
            held_back: index.limits.held_back(&events),
            connections: events
                .iter()
                .map(|event| {
                    (event.flow_id, event.flow_id.is_none().then(|| tell::connection(event)))
                })
                .collect::<std::collections::BTreeSet<_>>()
                .len() as u64,
            first: events[0].timestamp.clone(),
            last: events[events.len() - 1].timestamp.clone(),
            is_late,
        })
        .collect();
    list.sort_by_key(|consequence| std::cmp::Reverse(consequence.packets));
    list
}

/// What the controller told of the binding that a filter acted by.
fn changes(group: &Group<'_>, index: &Index<'_>) -> Vec<String> {
    const SINCE: usize = 3;
    let (Key::Objection { protocol: Some(protocol), .. }
    | Key::Noted { protocol: Some(protocol), .. }) = &group.key
    else {
        return Vec::new();
    };
    let begins = format!("filter of protocol {protocol}: ");
    let is = |event: &&&Event| event.message.as_ref().is_some_and(|it| it.starts_with(&begins));
    let of_it = || index.controls.iter().filter(is).copied();
    let first = &group.events[0].timestamp;
    let before = of_it().take_while(|event| event.timestamp <= *first).last();
    let since = of_it().skip_while(|event| event.timestamp <= *first).take(SINCE);
    let line = |event: &Event| {
        format!("{} {}", event.timestamp, event.message.as_deref().unwrap_or_default())
    };
    before.into_iter().chain(since).map(line).collect()
}

fn lines(group: &Group<'_>) -> Vec<String> {
    let mut events: Vec<&Event> = group.events.clone();
    events.extend(group.effects.iter().map(|effect| effect.event));
    events.sort_by(|a, b| a.timestamp.cmp(&b.timestamp));
    let line = |event: &&Event| {
        let flow = event.flow_id.map_or_else(String::new, |id| format!(", flow {id}"));
        format!("{} event {}{flow}: {}", event.timestamp, event.event_id, sentence(event))
    };
    events.iter().map(line).collect()
}

/// What is not known, and why.
fn not_known(
    all: &[Event],
    told: &[&Event],
    index: &Index<'_>,
    looked_at: bool,
    context: &Context,
) -> Vec<String> {
    let mut list = Vec::new();
    let kills: std::collections::HashSet<u64> = all
        .iter()
        .filter(|event| super::join::is_kill(event))
        .map(|event| event.event_id)
        .collect();
    let unknown =
        told.iter().filter_map(|event| event.caused_by).find(|kill| !kills.contains(kill));
    if let Some(kill) = unknown {
        list.push(format!(
            "Who killed and why: event {kill}, which drops name as their cause, is not among the events that are known."
        ));
    }
    let unnamed = told.iter().find(|event| event.reason.is_some() && event.reason().is_none());
    if let Some(event) = unnamed {
        list.push(format!(
            "What {} means: this version of fwx does not know it.",
            event.reason.as_deref().unwrap_or_default()
        ));
    }
    match context.origin {
        Origin::Controller => list.extend(forgotten(all)),
        Origin::Disk => list.push(
            "What happened since the controller ended, and what it had not brought to disk: no controller runs.".to_owned(),
        ),
        Origin::File(_) => {}
    }
    list.extend(losses(index));
    let quiet = context.policy.iter().flat_map(|policy| policy.rules()).filter(|rule| !rule.log);
    let quiet: Vec<_> = quiet.map(|rule| format!("{:?}", rule.name)).collect();
    if !quiet.is_empty() {
        list.push(format!(
            "What rules with `log = false` refused or let in: {}. `fwx rules` counts it.",
            quiet.join(", ")
        ));
    }
    if !looked_at && !matches!(context.origin, Origin::File(_)) {
        list.push("Which connections live now: they were not looked at.".to_owned());
    }
    list.extend(context.missing.iter().cloned());
    list
}

/// What gave way to what came later, of each sort that the controller has room of its own for, where there are so many
/// that it may have been full.
fn forgotten(all: &[Event]) -> Vec<String> {
    let sorts = [
        (true, "Drops, findings, and connections opened and closed"),
        (false, "Kills and what the controller said"),
    ];
    let before = |(is_routine, what): (bool, &str)| {
        let mut sort = all.iter().filter(|event| hub::is_routine(event) == is_routine);
        let oldest = sort.next()?;
        (sort.count() + 1 >= hub::ROOM).then(|| {
            let time = &oldest.timestamp;
            format!("{what} before {time}, if there were any: they are not remembered any more.")
        })
    };
    sorts.into_iter().filter_map(before).collect()
}

/// What the controller said of events that were lost.
fn losses(index: &Index<'_>) -> Vec<String> {
    const WORDS: [&str; 3] = ["lost", "missing", "found no room"];
    let speaks_of_loss = |message: &str| WORDS.iter().any(|word| message.contains(word));
    let is_loss = |event: &&&Event| event.message.as_deref().is_some_and(speaks_of_loss);
    let lost: Vec<_> = index.controls.iter().filter(is_loss).collect();
    let Some(last) = lost.last() else { return Vec::new() };
    vec![format!(
        "What was in events that were lost, told {}, the last time at {}: {}.",
        tell::times(lost.len()),
        last.timestamp,
        last.message.as_deref().unwrap_or_default()
    )]
}
