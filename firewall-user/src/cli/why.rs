//! `fwx why`: gathers what is known, and tells it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use firewall_common::{event::EventKind, reason::Reason};
use firewall_user::{
    apply,
    conn::{self, Row, Sort, Viewer},
    error::BadInput,
    event::{CONTROL, Event, Names},
    events::Criteria,
    instance::{Instance, State},
    ring::monotonic_ns,
    rules, status,
    subscribe::Request,
    tables::Tables,
    why::{self, Context, Origin, Question, Story},
};
use nix::unistd::geteuid;

use super::{OutputOption, names::warn_of_unknown, told::Told};

/// Connections that live and are looked at, those with the newest activity first.
const FLOWS: usize = 10_000;
/// Events that are looked at, the last of those that are kept: some 300 MB. Kills and what the controller said have a
/// share of their own, which no flood of drops takes from them.
const KILLS: usize = 50_000;
const OTHERS: usize = 150_000;

#[derive(Debug, clap::Args)]
pub(super) struct Why {
    /// An address, a prefix, an end such as 10.2.0.2:554, or both ends, with the protocol before them or without
    #[arg(value_name = "WHOM")]
    words: Vec<String>,
    #[command(flatten)]
    criteria: Criteria,
    /// Read events from this file, one JSON object a line, instead of asking the controller; `-`: standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Tell every cause in full, and each event
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) const EXAMPLES: &str = "--event takes the number of an event, too.\n\nExamples:
  fwx why 10.2.0.2
  fwx why --dst 10.2.0.2 --port 554
  fwx why tcp 10.1.0.2:40000 10.2.0.2:554
  fwx why --flow 2049
  fwx why --event 5120
  fwx why --since 1h --reason policy_rules_denied
  fwx events -o json > events.json; fwx why --from events.json 10.2.0.2

Exit codes: 0, something is known; 1, nothing is known about it; 2, wrong usage or bad input.";

/// Tells what is known.
pub(super) async fn run(instance: &Instance, command: Why) -> Result<ExitCode> {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    if command.from.is_none() {
        warn_of_unknown(instance, &command.criteria);
    }
    let question = Question::new(&command.words, command.criteria, now)?;
    let name = (instance.name() != Instance::DEFAULT).then(|| instance.name().to_owned());
    let mut context = Context { instance: name, all: command.all, ..Context::default() };
    let events = match &command.from {
        Some(path) => {
            context.origin = Origin::File(path.display().to_string());
            read(path)?
        }
        None => {
            context.origin = Origin::Controller;
            look(instance, &question, &mut context);
            ask(instance, &mut context).await?
        }
    };
    if matches!(context.origin, Origin::File(_)) {
        context.miss(
            "What lives now, how filters are bound now, and the policy in force: only events were read.".to_owned(),
        );
    }
    let story = Story::of(events, &question, context);
    command.output.print(&story, || story.text(command.all))?;
    Ok(if story.known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> Result<Vec<Event>> {
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    };
    let lines = if path.as_os_str() == "-" {
        why::read(&name, io::stdin().lock())?
    } else {
        let file =
            File::open(path).map_err(|error| BadInput(format!("cannot read {name}: {error}")))?;
        why::read(&name, BufReader::new(file))?
    };
    if let Some(number) = lines.cut_off {
        eprintln!("fwx: {name}, line {number}: it is cut off and passed over");
    }
    Ok(lines.events)
}

/// All that the controller knows, or without one the disk: what belongs to a question is more than what it names.
async fn ask(instance: &Instance, context: &mut Context) -> Result<Vec<Event>> {
    let kinds = [EventKind::ConnectionKilled.name(), CONTROL].map(str::to_owned);
    let but = kinds.clone().map(|kind| format!("!{kind}"));
    // In this order: a kill is told before what it caused, so none is missing of the drops that are known.
    let others = ask_for(instance, but.to_vec(), OTHERS, context).await?;
    let mut known = ask_for(instance, kinds.to_vec(), KILLS, context).await?;
    for (events, most, what) in [
        (&known, KILLS, "Kills and what the controller said"),
        (&others, OTHERS, "Drops, findings, and connections opened and closed"),
    ] {
        if let Some(first) = events.first().filter(|_| events.len() >= most) {
            let time = &first.timestamp;
            context.miss(format!(
                "{what} before {time}, if more are kept: the last {most} were read."
            ));
        }
    }
    known.extend(others);
    Ok(known)
}

/// The last `most` events of some kinds.
async fn ask_for(
    instance: &Instance,
    kinds: Vec<String>,
    most: usize,
    context: &mut Context,
) -> Result<Vec<Event>> {
    let criteria = Criteria { event: kinds, ..Criteria::default() };
    let request = Request { criteria, last: Some(most), ..Request::default() };
    let mut known = Vec::new();
    match hear(instance, &request, &mut known, context).await {
        // Without events there is still what the kernel has.
        Err(error) if context.flows.is_some() => {
            context.miss(format!("What events tell, or some of them: {error:#}."));
        }
        heard => heard?,
    }
    Ok(known)
}

async fn hear(
    instance: &Instance,
    request: &Request,
    known: &mut Vec<Event>,
    context: &mut Context,
) -> Result<()> {
    let mut events = Told::ask(instance, request).await?;
    if let Some(notice) = events.notice()
        && !matches!(context.origin, Origin::Disk)
    {
        eprintln!("fwx: {notice}");
        context.origin = Origin::Disk;
    }
    while let Some(event) = events.next().await? {
        match event.message {
            // Not what happened, but what this reader misses of it.
            Some(message) if event.event_id == 0 => {
                context.miss(format!("Some of the past: {message}."));
            }
            _ => known.push(event),
        }
    }
    Ok(())
}

/// Looks at what an instance that is up has beside events.
fn look(instance: &Instance, question: &Question, context: &mut Context) {
    if !geteuid().is_root() {
        context.miss(
            "What lives now, how filters are bound now, and the policy in force: that is root's to see, try it with \
             sudo."
                .to_owned(),
        );
        return;
    }
    let looked = status::open(instance).and_then(|(state, tables)| {
        context.policy_file = state.policy_file.as_ref().map(|path| path.display().to_string());
        let names = Names::of(instance, &state);
        look_at(instance, &state, &tables, names, question, context)
    });
    if let Err(error) = looked {
        context.miss(format!("What could not be read beside events: {error:#}."));
    }
}

fn look_at(
    instance: &Instance,
    state: &State,
    tables: &Tables,
    names: Names,
    question: &Question,
    context: &mut Context,
) -> Result<()> {
    context.bindings = Some(status::bindings(instance)?);
    context.counters = Some(counters(tables)?);
    context.rules = Some(rules::rules(state, tables)?);
    context.flows = Some(flows(tables, names, question, context)?);
    match apply::in_force(instance)? {
        Some(text) => {
            let policy = text.policy().context("the policy in force")?;
            context.policy = Some(policy);
        }
        None => context.miss("What the policy in force says: its text was not kept.".to_owned()),
    }
    Ok(())
}

fn counters(tables: &Tables) -> Result<BTreeMap<String, u64>> {
    let named = |reason: &Reason| Ok((reason.name().to_owned(), tables.reason_count(*reason)?));
    let drops = Reason::ALL.iter().filter(|reason| reason.is_drop());
    drops
        .map(named)
        .filter(|counted| counted.as_ref().map_or(true, |(_, count)| *count > 0))
        .collect()
}

/// Connections that live, those among them that the question may be about.
fn flows(
    tables: &Tables,
    names: Names,
    question: &Question,
    context: &mut Context,
) -> Result<Vec<Row>> {
    let Some((networks, port)) = question.of_flows() else { return Ok(Vec::new()) };
    let criteria = conn::Criteria { networks, port, half_open: true, ..conn::Criteria::default() };
    let selection = criteria.selection(&names)?;
    let viewer = Viewer { names, timeouts: tables.timeouts()?, now: monotonic_ns() };
    let listing = conn::list(tables, &selection, Sort::Activity, FLOWS, viewer.now)?;
    if listing.matched > listing.entries.len() as u64 {
        context.miss(format!(
            "Which connections live, beyond the {FLOWS} with the newest activity of {} that may be meant.",
            listing.matched
        ));
    }
    Ok(listing.entries.iter().map(|entry| viewer.row(entry, &listing.relations)).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    const DOCUMENTED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/why.md"));

    #[test]
    fn what_the_documentation_asks_can_be_asked() {
        let page = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("    fwx why "));
        let help = EXAMPLES.lines().filter_map(|line| line.strip_prefix("  fwx why "));
        // Behind two blanks it says what the command does.
        let asked: Vec<_> = page.chain(help).filter_map(|line| line.split("  ").next()).collect();
        assert!(asked.len() >= 12, "{asked:?}");
        for words in asked {
            let cli = Cli::try_parse_from(["fwx", "why"].into_iter().chain(words.split(' ')));
            let Command::Why(why) = cli.unwrap_or_else(|error| panic!("{words}: {error}")).command
            else {
                panic!("{words}")
            };
            Question::new(&why.words, why.criteria, 0)
                .unwrap_or_else(|error| panic!("{words}: {error}"));
        }
    }
}
