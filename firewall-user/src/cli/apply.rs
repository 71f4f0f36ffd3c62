//! `fwx apply`, `fwx confirm` and `fwx rollback`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use firewall_user::{
    apply::{
        History, Pending, Plan, Wish, confirm, in_force,
        plan::{Done, Report, from_history},
    },
    bad_input,
    instance::Instance,
    policy::{Live, PolicyText},
};
use serde::Serialize;

use super::{OutputOption, check, out, shadow};

/// Another policy.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not put it in force: ask it about new flows too, and tell by `fwx shadow diff` where it differs
    #[arg(long, conflicts_with_all = ["live", "confirm", "force", "dry_run"])]
    shadow: bool,
    #[command(flatten)]
    how: How,
}

/// An earlier policy.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// How many policies back; left out: 1, or, while a policy waits for `fwx confirm`, to the one before at once
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    back: Option<u16>,
    /// Only show which there are
    #[arg(long, conflicts_with_all = ["back", "live", "confirm", "force", "dry_run"])]
    list: bool,
    #[command(flatten)]
    how: How,
}

/// How a policy is put in force.
#[derive(Debug, Args)]
struct How {
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// What becomes of live flows that the policy would not let in; left out: what its `[gateway] live` says
    #[arg(long, value_enum, value_name = "HOW")]
    live: Option<Live>,
    /// Go back by itself after so many seconds, unless `fwx confirm` comes
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    confirm: Option<u64>,
    /// Take the place of a policy that waits for `fwx confirm`; the way back is the same
    #[arg(long, requires = "confirm")]
    replace: bool,
    /// Even if that cuts the connection by which this command is given
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// What is shown to programs.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Whether it is in force now.
    applied: bool,
    /// Live flows that go on under another rule or protocol.
    reassigned: u64,
    /// Live flows that were ended.
    ended: u64,
    /// RSTs that were sent to their ends.
    resets: u64,
    /// Seconds until it is taken back, unless `fwx confirm` comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_within_s: Option<u64>,
}

pub(super) fn apply(instance: &Instance, apply: Apply) -> Result<()> {
    let text = PolicyText::load(&apply.file)?;
    let policy = check::checked(&text)?;
    super::need_root()?;
    if apply.shadow {
        return shadow::begin(instance, &policy, &apply.file);
    }
    put_in_force(instance, Wish::of(text, policy, Some(apply.file)), &apply.how)
}

pub(super) fn rollback(instance: &Instance, rollback: Rollback) -> Result<()> {
    let Rollback { back, list, how } = rollback;
    if list {
        return self::list(instance, how.output);
    }
    if back.is_none() && !how.dry_run && Pending::of(instance)?.is_some() {
        return give_up(instance, &how);
    }
    let wish = from_history(instance, usize::from(back.unwrap_or(1)))?;
    put_in_force(instance, wish, &how)
}

/// Goes back to the policy before the one that waits.
fn give_up(instance: &Instance, how: &How) -> Result<()> {
    if how.live.is_some() || how.confirm.is_some() || how.force {
        bad_input!(
            "a policy waits for `fwx confirm`, and `fwx rollback` alone takes it back: leave --live, --confirm and \
             --force out"
        );
    }
    let Some(before) = confirm::give_up(instance)? else {
        bail!("it does not wait any more: `fwx status` shows what is in force");
    };
    eprintln!("fwx: instance {}: back to {before}", instance.name());
    how.output.print(&serde_json::json!({ "applied": true, "policy": before }), String::new)
}

pub(super) fn confirm(instance: &Instance) -> Result<()> {
    let confirmed = confirm::confirm(instance)?;
    eprintln!("fwx: instance {}: {} stays in force", instance.name(), confirmed.policy);
    Ok(())
}

fn put_in_force(instance: &Instance, wish: Wish, how: &How) -> Result<()> {
    let How { dry_run, live, confirm, replace, force, output } = *how;
    let what = wish.file.as_ref().map(|file| file.display().to_string());
    let what = what.unwrap_or_else(|| "the built-in policy".to_owned());
    let rules = wish.policy.rules().len();
    let plan = Plan::make(instance, Wish { live, confirm, replace, force, dry_run, ..wish })?;
    let report = plan.report().clone();
    if !output.is_json() {
        out::write(&mut std::io::stdout().lock(), &report.text())?;
    }
    if dry_run {
        if let Some(own) = &report.own_connection {
            eprintln!("fwx: {}", own.text());
        }
        return show(&report, None, output);
    }
    if let Some(warning) = plan.check()? {
        eprintln!("fwx: {warning}");
    }
    let done = plan.put_in_force()?;
    for left in &report.left_for_bring_up {
        eprintln!("fwx: until the firewall is brought up again {left}");
    }
    eprintln!("fwx: instance {}: {what} is in force, {rules} rules", instance.name());
    tell_flows(&done);
    if let Some(pending) = &done.pending {
        eprintln!(
            "fwx: say `fwx --instance {} confirm` within {} s, else it goes back to {}",
            instance.name(),
            pending.seconds_left(),
            pending.before
        );
    }
    show(&report, Some(&done), output)
}

fn tell_flows(done: &Done) {
    let Done { reassigned, ended, .. } = done;
    if reassigned + ended.killed > 0 {
        eprintln!(
            "fwx: live flows: {reassigned} go on under another rule or protocol, {} ended, RSTs sent: {}",
            ended.killed, ended.resets
        );
    }
    if let Some(failure) = &ended.reset_failure {
        eprintln!(
            "fwx: an end that got no RST learns of it by the answer to its next packet: {failure}"
        );
    }
    if ended.untold > 0 {
        eprintln!("fwx: {}", super::conn::untold(ended.untold));
    }
}

fn show(report: &Report, done: Option<&Done>, output: OutputOption) -> Result<()> {
    let shown = Shown {
        report,
        applied: done.is_some(),
        reassigned: done.map_or(0, |done| done.reassigned),
        ended: done.map_or(0, |done| done.ended.killed),
        resets: done.map_or(0, |done| done.ended.resets),
        confirm_within_s: done
            .and_then(|done| done.pending.as_ref())
            .map(|pending| pending.seconds_left()),
    };
    // Whoever reads text has read it before it was done.
    output.print(&shown, String::new)
}

/// A policy that was in force, as it is listed.
#[derive(Serialize)]
struct Listed {
    /// How many policies back; 0 is in force.
    back: usize,
    #[serde(flatten)]
    entry: firewall_user::apply::history::Entry,
}

fn list(instance: &Instance, output: OutputOption) -> Result<()> {
    let entries = History::of(instance).entries()?;
    let now = if instance.is_up() { in_force(instance)? } else { None };
    // While another one waits for `fwx confirm`, the newest that is kept is not the one in force.
    let first = match (&now, entries.first()) {
        (Some(now), Some(newest)) if now.sha256() != newest.sha256 => 1,
        (None, _) => 1,
        _ => 0,
    };
    let listed: Vec<_> =
        (first..).zip(entries).map(|(back, entry)| Listed { back, entry }).collect();
    output.print(&listed, || {
        let line = |Listed { back, entry }: &Listed| {
            let files: Vec<_> = entry.files.iter().map(|file| file.name.as_str()).collect();
            let files =
                if files.is_empty() { "the built-in policy".into() } else { files.join(" ") };
            let (time, sum) = (entry.time.get(..19).unwrap_or(&entry.time), &entry.sha256);
            let in_force = if *back == 0 { " (in force)" } else { "" };
            format!("{back:>4}  {time}Z  {}  {files}{in_force}\n", sum.get(..12).unwrap_or(sum))
        };
        let heading = format!("{:>4}  {:<20}  {:<12}  {}\n", "BACK", "SINCE", "SHA-256", "POLICY");
        heading + &listed.iter().map(line).collect::<String>()
    })
}
