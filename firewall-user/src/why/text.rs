//! A story for people.

use std::collections::HashSet;

use firewall_common::reason::Reason;

use super::{Cause, Consequence, HeldBack, Objection, Remedy, Seen, Step, Story, Way, tell::count};
use crate::{conn::Row, events::printable};

/// Columns that sentences are broken at. Commands, lines of a policy and what devices sent are not broken.
const WIDTH: usize = 100;
/// Width of the names before sentences, with what is before and behind them.
const MARGIN: usize = 14;
/// Causes that are told in full unless each event is asked for.
const TOLD: usize = 5;
/// Causes of which there is one line.
const NAMED: usize = 20;
/// Steps of a connection's way that are shown, half of them from its beginning.
const STEPS: usize = 12;
/// Connections that live that are shown.
const FLOWS: usize = 20;

impl Story {
    /// The story for people. `all`: every cause in full, and what else is shortened otherwise.
    pub fn text(&self, all: bool) -> String {
        let mut page = Page::default();
        self.causes(&mut page, if all { usize::MAX } else { TOLD });
        self.flows(&mut page, if all { usize::MAX } else { FLOWS });
        self.nothing(&mut page);
        self.end(&mut page);
        page.text
    }

    fn causes(&self, page: &mut Page, told: usize) {
        let mut shown = HashSet::new();
        for cause in self.causes.iter().take(told) {
            cause.tell(&mut shown, page);
            page.empty();
        }
        let others = self.causes.get(told..).unwrap_or_default();
        if others.is_empty() {
            return;
        }
        page.line("Besides:");
        for cause in others.iter().take(NAMED) {
            page.line(&format!("  {}", cause.headline));
        }
        if let Some(more @ 1..) = others.len().checked_sub(NAMED) {
            page.line(&format!("  and {}", count(more as u64, "other matter", "other matters")));
        }
        page.line("`--all` tells each of them in full.");
        page.empty();
    }

    fn flows(&self, page: &mut Page, shown: usize) {
        if self.flows.is_empty() {
            return;
        }
        page.line("In the flow table now (`fwx conn show FLOW` has more):");
        for row in self.flows.iter().take(shown) {
            flow(row, page);
        }
        if let Some(more @ 1..) = self.flows.len().checked_sub(shown) {
            page.line(&format!("  and {}", count(more as u64, "other", "others")));
        }
        page.empty();
    }

    fn nothing(&self, page: &mut Page) {
        if self.known {
            return;
        }
        page.paragraph(
            "",
            &format!(
                "Nothing is known about {}: no event, and no connection that lives.",
                self.asked
            ),
        );
        if let Some(policy) = &self.policy {
            page.line("What the policy in force says of such a flow:");
            for line in policy.text().lines() {
                page.line(&format!("  {line}"));
            }
        }
        page.empty();
    }

    fn end(&self, page: &mut Page) {
        let Seen { looked_at, asked_about, told, from, until } = &self.events;
        let span = match (from, until) {
            (Some(from), Some(until)) => {
                format!(", from {} to {}", date_and_time(from), date_and_time(until))
            }
            _ => String::new(),
        };
        let told = if told == asked_about {
            String::new()
        } else {
            format!(", told with {} that belong to them", told - asked_about)
        };
        page.paragraph(
            "",
            &format!(
                "Told by {} that are known{span} (UTC): {asked_about} about {}{told}.",
                count(*looked_at, "event", "events"),
                self.asked
            ),
        );
        for unknown in &self.not_known {
            page.paragraph("Not known: ", unknown);
        }
    }
}

impl Cause {
    /// `shown`: the connections whose ways were told already.
    fn tell(&self, shown: &mut HashSet<u64>, page: &mut Page) {
        page.paragraph("", &self.headline);
        page.empty();
        self.what(page);
        if let Some(objection) = &self.objection {
            objection.tell(self.protocol.as_deref(), page);
        }
        for line in &self.changes {
            page.item("switched", &shortened(line));
        }
        for consequence in &self.caused {
            consequence.tell(page);
        }
        if let Some(means) = self.means {
            page.item("means", means);
        }
        for (index, cause) in self.usually.iter().enumerate() {
            page.item(if index == 0 { "usually" } else { "or" }, cause);
        }
        for clue in &self.clues {
            page.item("seen", clue);
        }
        for now in &self.now {
            page.item("now", now);
        }
        match &self.way {
            Some(Way { flow_id: Some(flow), .. }) if !shown.insert(*flow) => {
                page.empty();
                page.line(&format!("  The way of flow {flow} is told above."));
            }
            Some(way) => way.tell(self.connections > 1, page),
            None => {}
        }
        remedies(&self.remedies, page);
        if !self.lines.is_empty() {
            page.empty();
            page.line("  Each event:");
            self.lines.iter().for_each(|line| page.line(&format!("    {line}")));
        }
    }

    fn what(&self, page: &mut Page) {
        let code = match (&self.code, &self.reason) {
            (Some(code), Some(reason)) => format!("{code} {reason}"),
            _ => "no result code".to_owned(),
        };
        let when = span(&self.first, &self.last);
        let last = if self.events > 1 { "the last event" } else { "event" };
        page.item("what", &format!("{code}, {when}, {last} {}", self.event_id));
        held_back(self.held_back, page);
        if let Some(rule) = &self.rule {
            let is_refusal = self.reason.as_deref() == Some(Reason::PolicyRulesDenied.name());
            let what = if is_refusal { "refused by" } else { "let in by" };
            page.item(what, &format!("rule {rule:?}"));
        }
        if self.clients.len() > 3 {
            let clients: Vec<_> = self.clients.iter().map(ToString::to_string).collect();
            page.item("clients", &clients.join(", "));
        }
    }
}

impl Objection {
    fn tell(&self, protocol: Option<&str>, page: &mut Page) {
        let Self { filter, mode, profile, finding, offset, excerpt, .. } = self;
        let of = protocol.map_or_else(String::new, |name| format!(", of protocol {name}"));
        page.item("filter", &format!("{filter}, mode {mode}, profile {profile}{of}"));
        let means = self.means.unwrap_or("this version of fwx does not know this finding");
        let reference = self.reference.map_or_else(String::new, |it| format!(" ({it})"));
        page.item("finding", &format!("{finding}: {means}{reference}"));
        if let (Some(standard), Some(strict)) = (self.standard, self.strict) {
            page.item(
                "profiles",
                &format!("standard: {standard}, strict: {strict}, in mode enforce"),
            );
        }
        let by =
            self.sent_by.as_ref().map_or_else(String::new, |end| format!(" of what {end} sent"));
        page.verbatim("bytes", &format!("at byte {offset}{by}: \"{excerpt}\""));
    }
}

impl Consequence {
    fn tell(&self, page: &mut Page) {
        let Self { code, reason, packets, connections, .. } = self;
        let of = match connections {
            1 => "the connection".to_owned(),
            more => format!("{more} connections"),
        };
        let packets = count(*packets, "packet", "packets");
        let when = span(&self.first, &self.last);
        let late = if self.is_late {
            ", after the firewall had forgotten the kill (timeout `killed`)"
        } else {
            ""
        };
        page.item("caused", &format!("{packets} of {of} dropped{late}, {when}: {code} {reason}"));
        held_back(self.held_back, page);
    }
}

fn held_back(held_back: HeldBack, page: &mut Page) {
    if let Some(packets) = held_back.text() {
        page.item(
            "",
            &format!("besides: {packets} with this reason in that time, of whomever, of which no event tells"),
        );
    }
}

impl Way {
    fn tell(&self, is_one_of_several: bool, page: &mut Page) {
        page.empty();
        let number = self.flow_id.map_or_else(String::new, |id| format!(", flow {id}"));
        let which = if is_one_of_several { "The last of them" } else { "Its way" };
        page.paragraph("  ", &format!("{which}: {}{number}", self.connection));
        if let Some(parent) = self.parent {
            page.line(&format!("    announced by flow {parent}"));
        }
        match &self.began {
            Some(began) => page.step(began, "the first packet, by what is told at the end"),
            None if !self.beginning_is_known && self.flow_id.is_some() => {
                page.line("    its beginning is not among the events that are known");
            }
            None => {}
        }
        let hidden = self.steps.len().saturating_sub(STEPS);
        let (first, last) = if hidden == 0 {
            (&self.steps[..], &[][..])
        } else {
            let last = self.steps.len() - STEPS / 2;
            (&self.steps[..STEPS / 2], &self.steps[last..])
        };
        first.iter().for_each(|step| step.tell(page));
        if hidden > 0 {
            page.line(&format!(
                "    {:12}  … {}",
                "",
                count(hidden as u64, "step more", "steps more")
            ));
        }
        last.iter().for_each(|step| step.tell(page));
    }
}

impl Step {
    fn tell(&self, page: &mut Page) {
        let repeated = match (&self.until, self.times) {
            (Some(until), times @ 2..) => format!(" ({times} times, until {})", clock(until)),
            _ => String::new(),
        };
        page.step(&self.time, &format!("{}{repeated}", self.what));
    }
}

fn remedies(remedies: &[Remedy], page: &mut Page) {
    if remedies.is_empty() {
        return;
    }
    page.empty();
    page.line(if remedies.len() == 1 {
        "  What ends it:"
    } else {
        "  What ends it, what gives up least first:"
    });
    for remedy in remedies {
        page.empty();
        if let Some(command) = &remedy.command {
            page.line(&format!("    {command}"));
        }
        for line in remedy.policy.iter().flat_map(|lines| lines.lines()) {
            page.line(&format!("    {line}"));
        }
        if let Some(elsewhere) = &remedy.elsewhere {
            page.paragraph("    ", elsewhere);
        }
        page.paragraph("      ", &remedy.does);
        page.paragraph("      ", &format!("Gives up: {}", behind_colon(&remedy.gives_up)));
    }
    page.empty();
    if remedies.iter().any(|it| it.command.as_ref().is_some_and(|it| it.contains(" filter "))) {
        page.paragraph(
            "  ",
            "A command takes effect at once, on live connections too, until a policy is loaded that says something else; \
             a connection that was killed does not come back, its client has to begin another.",
        );
    }
    if remedies.iter().any(|remedy| remedy.policy.is_some()) {
        page.paragraph(
            "  ",
            "Lines of a policy go into its file; then `fwx check FILE` and `fwx apply FILE`. A table that the file has \
             already is not to be written again: put the keys there.",
        );
    }
}

fn flow(row: &Row, page: &mut Page) {
    let end = |address, port| super::tell::end((address, port));
    let source = end(row.ends.src_ip, row.ends.src_port);
    let destination = end(row.ends.dst_ip, row.ends.dst_port);
    page.line(&format!(
        "  {} {source} -> {destination}, flow {}, {}",
        row.transport, row.flow_id, row.state
    ));
    let mut said = vec![match &row.rule {
        Some(rule) => format!("let in by rule {rule:?}"),
        None => "let in by the default".to_owned(),
    }];
    said.extend(row.protocol.as_ref().map(|name| format!("protocol {name}")));
    said.extend(row.interface.as_ref().map(|name| format!("began at {name}")));
    said.extend(row.parent.map(|parent| format!("announced by flow {parent}")));
    said.extend(row.adopted.then(|| "taken over in its midst".to_owned()));
    said.extend(row.translated.map(|ends| {
        format!(
            "behind the translation {} -> {}",
            end(ends.src_ip, ends.src_port),
            end(ends.dst_ip, ends.dst_port)
        )
    }));
    said.push(format!(
        "{} packets there and {} back, {} s old, silent for {} s",
        row.packets.original, row.packets.reply, row.age_s, row.idle_s
    ));
    page.paragraph("    ", &said.join(", "));
}

/// When something happened, once or several times.
fn span(first: &str, last: &str) -> String {
    if clock(first) == clock(last) {
        return date_and_time(last);
    }
    let is_one_day = first.split('T').next() == last.split('T').next();
    let last = if is_one_day { clock(last) } else { date_and_time(last) };
    format!("{} to {last}", date_and_time(first))
}

/// A sentence behind a colon.
fn behind_colon(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first =
        characters.next().map_or_else(String::new, |first| first.to_lowercase().to_string());
    first + characters.as_str()
}

/// A line that begins with a time, with the time shortened.
fn shortened(line: &str) -> String {
    match line.split_once(' ') {
        Some((time, said)) => format!("{} {said}", clock(time)),
        None => line.to_owned(),
    }
}

/// `2026-11-22T21:12:52.160324862Z` as `2026-11-22 21:12:52.160`; what is no such time stays.
fn date_and_time(time: &str) -> String {
    match parts(time) {
        Some((date, clock)) => format!("{date} {clock}"),
        None => time.to_owned(),
    }
}

/// The same as `21:12:52.160`.
fn clock(time: &str) -> String {
    parts(time).map_or_else(|| time.to_owned(), |(_, clock)| clock.to_owned())
}

/// The date, and the time of the day to the millisecond.
fn parts(time: &str) -> Option<(&str, &str)> {
    const MILLISECONDS: usize = "21:12:52.160".len();
    let (date, rest) = time.strip_suffix('Z')?.split_once('T')?;
    Some((date, rest.get(..MILLISECONDS)?))
}

/// Lines as they are written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// A line as it is, made printable whatever it holds.
    fn line(&mut self, line: &str) {
        self.text += printable(line).trim_end();
        self.text.push('\n');
    }

    fn empty(&mut self) {
        self.line("");
    }

    /// Sentences, with `before` in front of each line, or of blanks in its place from the second on.
    fn paragraph(&mut self, before: &str, text: &str) {
        let blanks = " ".repeat(before.len());
        let mut line = before.to_owned();
        let mut is_begun = false;
        for word in text.split(' ') {
            if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(&line);
                line.clone_from(&blanks);
                is_begun = false;
            }
            if is_begun {
                line.push(' ');
            }
            line += word;
            is_begun = true;
        }
        self.line(&line);
    }

    /// A name and what there is to say.
    fn item(&mut self, name: &str, text: &str) {
        let name = format!("  {name}");
        self.paragraph(&format!("{name:<MARGIN$}"), text);
    }

    fn verbatim(&mut self, name: &str, text: &str) {
        self.line(&format!("{:<MARGIN$}{text}", format!("  {name}")));
    }

    fn step(&mut self, time: &str, said: &str) {
        self.paragraph(&format!("    {:<12}  ", clock(time)), said);
    }
}
