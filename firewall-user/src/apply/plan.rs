//! What `fwx apply` does, step by step: what would change is told first, then done.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::{
    Change, History,
    confirm::{self, Pending, called},
    diff::Diff,
    in_force, left_for_bring_up,
    live::{self, Impact},
    own_connection::OwnConnection,
    remember, watcher,
};
use crate::{
    binding::told_briefly,
    conn::Killed,
    event::named,
    generation::Over,
    instance::{ControllerLock, Instance, State},
    policy::{Live, Policy, PolicyText},
    shortcut::Shortcut,
    status,
    tables::Tables,
};

/// What is to be put in force, and how.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The policy as it was written.
    pub text: PolicyText,
    /// The policy.
    pub policy: Policy,
    /// The file that it came from; none: the built-in policy.
    pub file: Option<PathBuf>,
    /// What becomes of live flows that it would not let in; none: what it says itself.
    pub live: Option<Live>,
    /// To go back after so many seconds unless somebody says that it is good.
    pub confirm: Option<u64>,
    /// To take the place of one that waits for that word.
    pub replace: bool,
    /// To do it though it cuts the administrator's own connection.
    pub force: bool,
    /// Only to tell.
    pub dry_run: bool,
}

impl Wish {
    /// To put `text` in force, which came from `file`, as a policy is without further options.
    pub fn of(text: PolicyText, policy: Policy, file: Option<PathBuf>) -> Self {
        let (live, confirm) = (None, None);
        Self { text, policy, file, live, confirm, replace: false, force: false, dry_run: false }
    }
}

/// A change that nothing else can come between: the instance's change lock is held.
#[derive(Debug)]
pub struct Plan {
    instance: Instance,
    _lock: ControllerLock,
    wish: Wish,
    before: State,
    tables: Tables,
    change: Change,
    replaced: Option<Pending>,
    report: Report,
}

/// What changes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What the policies say and do not both say; `null`: what is in force was not written down.
    pub changes: Option<Diff>,
    /// Filters that are bound otherwise, by this policy or by hand before it.
    pub bindings: Vec<BindingChange>,
    /// What it means for the live flows.
    pub live_flows: LiveFlows,
    /// What becomes of those that it would not let in.
    pub live: &'static str,
    /// What of it takes effect when the firewall is brought up again.
    pub left_for_bring_up: Vec<String>,
    /// The administrator's own connection, if it would not be let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_connection: Option<OwnConnection>,
}

/// A filter that is bound otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct BindingChange {
    /// The protocol.
    pub protocol: String,
    /// The filter, its mode and its profile, as they are.
    pub before: String,
    /// As they will be.
    pub after: String,
}

/// What a policy means for the live flows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LiveFlows {
    /// All of them.
    pub flows: u64,
    /// Those that it would not let in.
    pub not_admitted: u64,
    /// By the rule that let them in, where some would not be let in.
    pub by_rule: Vec<RuleFlows>,
}

/// The live flows of a rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleFlows {
    /// The rule; left out: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// All of them.
    pub flows: u64,
    /// Those that the new policy would not let in.
    pub not_admitted: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Live flows that go on under another rule or protocol.
    pub reassigned: u64,
    /// Those that were ended.
    pub ended: Killed,
    /// What waits for a word now.
    pub pending: Option<Pending>,
}

impl Plan {
    /// Looks at what `wish` would change. Nothing is changed yet, and nobody else can change anything until this is
    /// dropped.
    ///
    /// # Errors
    ///
    /// The instance is not up, or another policy waits for `fwx confirm`.
    pub fn make(instance: &Instance, wish: Wish) -> Result<Self> {
        // Else the lock would be made for an instance that there is not.
        status::open(instance)?;
        let lock = instance.lock_for_change()?;
        if !wish.dry_run {
            confirm::go_back_if_due(instance, &lock)?;
        }
        let replaced = Pending::of(instance)?;
        if let Some(pending) = &replaced
            && !wish.dry_run
            && !(wish.replace && wish.confirm.is_some())
        {
            bail!(
                "{} waits for `fwx confirm`, {} s are left: say that or `fwx rollback` first; or let this one \
                 wait in its place, by --confirm SECONDS --replace",
                pending.policy,
                pending.seconds_left()
            );
        }
        let (before, tables) = status::open(instance)?;
        let change = Change::new(&wish.policy, wish.file.clone(), Some(&before), &tables, true)?
            .text(&wish.text);
        let report = Report::of(instance, &wish, &before, &tables, &change)?;
        let instance = instance.clone();
        Ok(Self { instance, _lock: lock, wish, before, tables, change, replaced, report })
    }

    /// What it would change.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What is said against it, though it can be done.
    ///
    /// # Errors
    ///
    /// It cuts the administrator's own connection, and nobody said that it may.
    pub fn check(&self) -> Result<Option<String>> {
        let Some(own) = &self.report.own_connection else { return Ok(None) };
        let text = own.text();
        if self.wish.force {
            return Ok(Some(text));
        }
        match self.wish.confirm {
            Some(seconds) if !own.ends => Ok(Some(format!(
                "{text}; without `fwx confirm` the policy before is back in {seconds} s"
            ))),
            _ => bail!(
                "nothing was changed, for {text}. Let it in by a rule, give --force, or try it with --confirm \
                 SECONDS{}",
                if own.ends { " and --live keep" } else { "" }
            ),
        }
    }

    /// Puts it in force, at once and as a whole, and does to the live flows what was wished.
    ///
    /// # Errors
    ///
    /// The policy before stays in force, unless the message says otherwise.
    pub fn put_in_force(self) -> Result<Done> {
        let Self { instance, wish, before, tables, change, .. } = &self;
        let pending = self.begin_waiting()?;
        if let Err(error) = change.put_in_force(instance, Some(before), tables) {
            match &self.replaced {
                Some(replaced) => confirm::begin(instance, replaced, None)?,
                None if pending.is_some() => {
                    confirm::forget(instance);
                    watcher::end(instance)?;
                }
                None => {}
            }
            return Err(error);
        }
        if pending.is_none() {
            remember(instance, &wish.text);
        }
        // A controller that runs does so again, as often as what can be had of it changes.
        Shortcut::look(wish.policy.shortcut())?
            .put_into_force(tables, &before.interfaces)
            .context("the policy is in force, but the shortcut cannot be set up")?;
        let judge = live::judge(&change.compiled().image, tables, &before.interfaces)?;
        let enforced = live::enforce(instance, tables, &judge, self.live())
            .context("the policy is in force, but not all live flows could be judged by it")?;
        let live::Enforced { reassigned, ended } = enforced;
        Ok(Done { reassigned, ended, pending })
    }

    fn live(&self) -> Live {
        self.wish.live.unwrap_or(self.wish.policy.live())
    }

    /// Writes down the way back, if one is wished for. Of one that waits already the way back stays what it is.
    fn begin_waiting(&self) -> Result<Option<Pending>> {
        let Some(seconds) = self.wish.confirm else { return Ok(None) };
        let policy = called(self.wish.file.as_ref(), &self.wish.text);
        if let Some(replaced) = &self.replaced {
            let pending = Pending::beginning(seconds, policy, replaced.before.clone());
            confirm::begin(&self.instance, &pending, None)?;
            return Ok(Some(pending));
        }
        let there = confirm::before(&self.instance, &self.before, &self.tables)?;
        let pending = Pending::beginning(seconds, policy, there.called());
        confirm::begin(&self.instance, &pending, Some(&there))?;
        Ok(Some(pending))
    }
}

impl Report {
    fn of(
        instance: &Instance,
        wish: &Wish,
        before: &State,
        tables: &Tables,
        change: &Change,
    ) -> Result<Self> {
        let live = wish.live.unwrap_or(wish.policy.live());
        let there = in_force(instance)?.map(|text| text.policy()).transpose();
        let there = there.context("what is in force cannot be read any more")?;
        let mut changes = there.map(|there| Diff::between(&there, &wish.policy)).transpose()?;
        let judge = live::judge(&change.compiled().image, tables, &before.interfaces)?;
        let impact = Impact::of(&judge, tables)?;
        let names = change.rule_names();
        if let Some(changes) = &mut changes {
            count_flows(changes, &impact, names);
        }
        let mut own_connection = OwnConnection::refused(&judge, tables, live)?;
        if let Some(own) = &mut own_connection {
            own.rule = named(names, usize::from(own.rule_number));
        }
        Ok(Self {
            changes,
            bindings: binding_changes(before, tables, change)?,
            live_flows: LiveFlows::of(&impact, names),
            live: live.name(),
            left_for_bring_up: left_for_bring_up(
                &wish.policy,
                before,
                tables,
                instance.controller().is_some(),
            )?,
            own_connection,
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = match &self.changes {
            None => "what is in force was not written down: no comparison with it\n".to_owned(),
            Some(changes) if changes.is_empty() && self.bindings.is_empty() => {
                "the policy says what the one in force says\n".to_owned()
            }
            Some(changes) => changes.text(),
        };
        for BindingChange { protocol, before, after } in &self.bindings {
            text += &format!("  filter of protocol {protocol}: {before} -> {after}\n");
        }
        let LiveFlows { flows, not_admitted, by_rule } = &self.live_flows;
        text += &format!("live flows: {flows}; the new policy would not let in {not_admitted}");
        text += match (not_admitted, self.live) {
            (0, _) => "\n",
            (_, "keep") => " of them, which go on (--live keep)\n",
            (_, "kill") => {
                " of them, which end with a RST to both ends of each TCP connection (--live kill)\n"
            }
            _ => " of them, which end (--live reevaluate)\n",
        };
        for RuleFlows { rule, flows, not_admitted } in by_rule {
            let of =
                rule.as_ref().map_or("the default".to_owned(), |rule| format!("rule {rule:?}"));
            text += &format!("  let in by {of}: {not_admitted} of {flows}\n");
        }
        text
    }
}

impl LiveFlows {
    fn of(impact: &Impact, names: &[String]) -> Self {
        let touched = impact.by_rule.iter().filter(|(_, (_, not_admitted))| *not_admitted > 0);
        Self {
            flows: impact.flows,
            not_admitted: impact.not_admitted,
            by_rule: touched
                .map(|(number, (flows, not_admitted))| RuleFlows {
                    rule: named(names, usize::from(*number)),
                    flows: *flows,
                    not_admitted: *not_admitted,
                })
                .collect(),
        }
    }
}

/// Writes to each rule that is not as it was how many live flows that concerns.
fn count_flows(changes: &mut Diff, impact: &Impact, names: &[String]) {
    let numbers: HashMap<&str, u16> = names.iter().map(String::as_str).zip(1..=u16::MAX).collect();
    for change in &mut changes.rules {
        let Some(number) = numbers.get(change.rule.as_str()).copied() else { continue };
        (change.flows, change.not_admitted) =
            impact.by_rule.get(&number).copied().unwrap_or_default();
        change.gains = impact.gains.get(&number).copied().unwrap_or_default();
    }
}

fn binding_changes(before: &State, tables: &Tables, change: &Change) -> Result<Vec<BindingChange>> {
    let mut changes = Vec::new();
    if change.over == Over::PolicyKeepingBindings {
        return Ok(changes);
    }
    for (number, after) in &change.compiled().bindings {
        let index = usize::from(*number) - 1;
        let Some(known) = before.protocols.get(index).filter(|known| !known.gone) else { continue };
        let (before, after) = (told_briefly(&tables.binding(*number)?), told_briefly(after));
        if before != after {
            changes.push(BindingChange { protocol: known.name.clone(), before, after });
        }
    }
    Ok(changes)
}

/// What `fwx rollback` puts in force: the policy that was in force `back` policies before.
///
/// # Errors
///
/// There are not so many, or its copy was changed since.
pub fn from_history(instance: &Instance, back: usize) -> Result<Wish> {
    status::open(instance)?;
    let history = History::of(instance);
    let now = in_force(instance)?.unwrap_or_default();
    let entry = history.before(&now, back)?;
    let text = history.text(&entry)?;
    let policy = text.policy()?;
    let file = entry.files.first().map(|file| PathBuf::from(&file.name));
    Ok(Wish::of(text, policy, file))
}
