//! What else events, counters and the policy say about a cause: evidence, and how things stand now.

use firewall_common::reason::Reason;

use super::{
    Context,
    group::{Group, Key},
    index::Index,
    remedy,
    tell::{self, Who, count},
};
use crate::{event::Event, policy::Probe};

/// What events say about `group`, in sentences.
pub(super) fn clues(group: &Group<'_>, index: &Index<'_>) -> Vec<String> {
    let mut clues = Vec::new();
    clues.extend(attempts(group));
    if group.reason() == Some(Reason::TcpNotSyn) && matches!(group.key, Key::Dropped { .. }) {
        clues.extend(why_not_known(group, index));
    }
    if let Key::Noted { .. } = group.key {
        clues.extend(would_do(group.newest()));
    }
    clues
}

/// How things stand now, by bindings, policy and counters.
pub(super) fn now(group: &Group<'_>, context: &Context) -> Vec<String> {
    let newest = group.newest();
    let mut now = Vec::new();
    if let Key::Objection { .. } = group.key {
        now.extend(remedy::settled(newest, context));
    }
    if group.reason() == Some(Reason::PolicyRulesDenied) {
        now.extend(policy_now(newest, context));
    }
    now.extend(counters(group, context));
    now
}

/// How many segments of a group are answers to a SYN.
pub(super) fn answers(group: &Group<'_>) -> u64 {
    let is_answer = |event: &&&Event| {
        let flags = event.tcp.as_ref().map(|tcp| tcp.flags.as_str());
        flags.is_some_and(|flags| flags.starts_with('S') && flags.contains('A'))
    };
    group.events.iter().filter(is_answer).count() as u64
}

/// A client that gets no answer tries again.
fn attempts(group: &Group<'_>) -> Option<String> {
    let Key::Dropped { .. } = group.key else { return None };
    let is_syn = |event: &&&Event| event.tcp.as_ref().is_some_and(|tcp| tcp.flags == "S");
    let syns = group.events.iter().filter(is_syn).count() as u64;
    let attempts = Who::of(group).connections;
    (syns > attempts && syns == group.events.len() as u64).then(|| {
        format!(
            "{} of {}: a client that gets no answer repeats its SYN.",
            count(syns, "SYN", "SYNs"),
            count(attempts, "attempt", "attempts")
        )
    })
}

/// What events say about why the connection of a segment is not known.
fn why_not_known(group: &Group<'_>, index: &Index<'_>) -> Vec<String> {
    let mut clues = Vec::new();
    let answers = answers(group);
    if answers > 0 {
        clues.push(format!(
            "{} among them {} to a SYN that did not come by here: the two directions go different ways.",
            count(answers, "packet", "packets"),
            if answers == 1 { "is the answer" } else { "are answers" }
        ));
    }
    let last_words =
        |event: &&&Event| event.tcp.as_ref().is_some_and(|tcp| tcp.flags.contains(['F', 'R']));
    if group.events.iter().all(|event| last_words(&event)) {
        clues.push(
            "All of them end a connection (FIN or RST), so nobody waits for more.".to_owned(),
        );
    }
    let first = group.events[0];
    let ended = index
        .between(first)
        .iter()
        .rev()
        .find(|event| event.event == "connection_closed" && event.timestamp <= first.timestamp);
    if let Some(ended) = ended {
        let why = ended.reason().map_or("it ended", |reason| super::advice::of(reason).short);
        clues.push(format!(
            "The connection between these ends was over at {}: {why}.",
            ended.timestamp
        ));
    }
    let begins = |message: &str| message.starts_with("controller started: attached");
    let started = index.controls.iter().rev().find(|event| {
        event.timestamp <= first.timestamp && event.message.as_deref().is_some_and(begins)
    });
    if let Some(started) = started.filter(|_| answers == 0) {
        clues.push(format!(
            "The firewall was attached at {}: a connection that is older and that the kernel's connection tracking \
             did not know is not known here.",
            started.timestamp
        ));
    }
    clues
}

/// What a finding that was noted would lead to, were the filter to enforce.
fn would_do(event: &Event) -> Option<String> {
    use firewall_common::{filter::finding::Effect, policy::Profile};
    let finding = remedy::finding(event)?;
    let effect = |profile| match finding.effect(profile) {
        Effect::Note => "notes it",
        Effect::Kill => "kills the connection",
    };
    Some(format!(
        "In mode enforce the profile standard {}, the profile strict {}.",
        effect(Profile::Standard),
        effect(Profile::Strict)
    ))
}

/// What the policy in force says of what was refused, which may have been by another one.
fn policy_now(event: &Event, context: &Context) -> Option<String> {
    let policy = context.policy.as_ref()?;
    let [source, destination] = tell::ends(event)?;
    let transport = event.transport.as_deref()?;
    let on = event.interface.as_ref().map_or_else(String::new, |name| format!(" on {name}"));
    let text = format!("{transport} {} -> {}{on}", tell::end(source), tell::end(destination));
    let probe: Probe = text.parse().ok()?;
    let word = policy.explain(&probe, &[]);
    let file = remedy::quoted(context.policy_file.as_deref().unwrap_or("POLICY"));
    let by =
        word.rule.as_ref().map_or_else(String::new, |rule| format!(" by rule {:?}", rule.name));
    Some(format!(
        "The policy in force decides about {text}: {}{by}; {}. `fwx check {file} --explain '{text}'` says which rules \
         it passes over and why.",
        word.decision,
        word.why.join("; ")
    ))
}

/// What is counted exactly, whatever became of events.
fn counters(group: &Group<'_>, context: &Context) -> Vec<String> {
    let mut clues = Vec::new();
    let Key::Dropped { reason, rule, .. } = &group.key else { return clues };
    let of_rule = rule.as_ref().and_then(|name| {
        context.rules.as_ref()?.iter().find(|known| known.name.as_ref() == Some(name))
    });
    if let Some(counted) = of_rule.filter(|counted| counted.refused_packets > 0) {
        clues.push(format!(
            "Rule {:?} refused {} in all (exact).",
            counted.name.as_deref().unwrap_or_default(),
            count(counted.refused_packets, "packet", "packets")
        ));
    }
    let of_reason = reason.as_ref().and_then(|name| context.counters.as_ref()?.get(name));
    if let Some(counted) = of_reason {
        clues.push(format!(
            "{} dropped for this reason in all, of whomever (exact, since the firewall was brought up).",
            match counted {
                1 => "1 packet was".to_owned(),
                more => format!("{more} packets were"),
            }
        ));
    }
    clues
}
