//! Putting another policy in force while the firewall runs, and what has to be written down for it.
//!
//! [`plan`] has the steps of `fwx apply`: what differs ([`diff`]), what that means for live flows ([`live`]) and for the
//! administrator's own connection ([`own_connection`]), the way back that is taken unless somebody says that all is
//! well ([`confirm`], [`watcher`]), and what was in force before ([`history`]).

mod came_in;
pub mod confirm;
pub mod diff;
pub mod history;
pub mod live;
pub mod own_connection;
pub mod plan;
pub mod watcher;

use std::path::PathBuf;

use anyhow::Result;
use firewall_common::{
    flow::Timeout,
    policy::{Binding, PROTOCOLS_MAX},
};

use crate::{
    events::EventSettings,
    export::Export,
    flows::FlowTable,
    generation::Over,
    instance::{ControllerLock, Instance, ProtocolState, State},
    policy::{Compiled, Numbers, Policy, PolicyText, TableSizes, action_name},
    renumber::{self, InUse, Numbering, keep_numbers},
    rule_counters::AllCounters,
    tables::Tables,
};

pub use confirm::Pending;
pub use history::History;
pub(crate) use history::state_directory;
pub use plan::{Plan, Wish};

/// Holds what is in force as it was written.
const IN_FORCE: &str = "policy.json";

/// A policy that is about to be put in force.
#[derive(Debug)]
pub struct Change {
    policy_file: Option<PathBuf>,
    text: Option<PolicyText>,
    digest: u64,
    rules: Numbering,
    protocols: Numbering,
    /// Of those the list of names is all there is to keep.
    interfaces: Numbering,
    /// Those of the policy.
    interfaces_wanted: Vec<String>,
    /// By number, those that are gone included.
    protocol_states: Vec<ProtocolState>,
    /// What the rules do, in the order of the policy, and the default.
    actions: (Vec<String>, String),
    compiled: Compiled,
    shortcut: bool,
    events: EventSettings,
    exports: Vec<Export>,
    over: Over,
}

impl Change {
    /// From what was written down when the last policy was put in force, if the firewall is up, to `policy`.
    ///
    /// # Errors
    ///
    /// There is no number for a rule or a protocol that is new.
    pub fn new(
        policy: &Policy,
        policy_file: Option<PathBuf>,
        before: Option<&State>,
        tables: &Tables,
        is_up: bool,
    ) -> Result<Self> {
        let nothing = State::default();
        let known = before.unwrap_or(&nothing);
        let rules = renumber::of_rules(policy, known, tables)?;
        let names: Vec<_> = known.protocols.iter().map(|known| known.name.clone()).collect();
        let in_force: Vec<u16> =
            (1..).zip(&known.protocols).filter(|(_, it)| !it.gone).map(|(it, _)| it).collect();
        let protocols = keep_numbers(
            policy.protocols().iter().map(|protocol| protocol.name.as_str()),
            &names,
            &in_force,
            PROTOCOLS_MAX,
            || Ok(InUse::of(tables)?.protocols),
        )?;
        let interfaces = renumber::of_interfaces(policy, known)?;
        let numbers = Numbers {
            rules: rules.numbers.clone(),
            protocols: protocols.numbers.clone(),
            interfaces: interfaces.numbers.clone(),
        };
        let digest = policy.digest();
        let over = match before {
            _ if !is_up => Over::Nothing,
            // A filter that was switched by hand stays so until the policy says something new.
            Some(before) if before.policy_digest == digest => Over::PolicyKeepingBindings,
            _ => Over::Policy,
        };
        Ok(Self {
            policy_file,
            text: None,
            digest,
            protocol_states: protocol_states(policy, &protocols, &known.protocols),
            rules,
            protocols,
            interfaces,
            interfaces_wanted: policy.interfaces().to_vec(),
            actions: (
                policy.rules().iter().map(|rule| action_name(rule.action).to_owned()).collect(),
                action_name(policy.default_action()).to_owned(),
            ),
            compiled: policy.compile_with(&numbers),
            shortcut: policy.shortcut(),
            events: policy.events().clone(),
            exports: policy.exports().to_vec(),
            over,
        })
    }

    /// The change to a policy that was written so.
    #[must_use]
    pub fn text(self, text: &PolicyText) -> Self {
        Self { text: Some(text.clone()), ..self }
    }

    /// Binds filters as they were bound by hand, where that is not what the policy says: by the protocol's name, filter,
    /// mode and profile as numbers. A protocol that the policy does not have is passed over.
    fn bind(&mut self, bindings: &[(String, [u8; 3])]) {
        self.over = Over::Policy;
        for (number, binding) in &mut self.compiled.bindings {
            let name = &self.protocols.names[usize::from(*number) - 1];
            if let Some((_, [filter, mode, profile])) = bindings.iter().find(|it| it.0 == *name) {
                let (filter, mode, profile) = (*filter, *mode, *profile);
                *binding = Binding { filter, mode, profile, ..Binding::default() };
            }
        }
    }

    /// What rules are called; that of number n stands at n - 1.
    pub fn rule_names(&self) -> &[String] {
        &self.rules.names
    }

    /// The number by which policies know the interface `name`; 0: the policy does not name it.
    pub fn interface_number(&self, name: &str) -> u16 {
        let named = self.interfaces.names.iter().position(|known| known == name);
        named.and_then(|index| u16::try_from(index + 1).ok()).unwrap_or(0)
    }

    /// The policy as the kernel gets it.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Puts the policy in force. What its numbers are called is written down before, if the firewall is up: a
    /// packet may be told of at once.
    pub fn put_in_force(
        &self,
        instance: &Instance,
        before: Option<&State>,
        tables: &Tables,
    ) -> Result<()> {
        if let Some(before) = before {
            instance.write_state(&self.announced(before))?;
        }
        tables.forget_counts(&self.rules, &self.protocols)?;
        if before.is_none_or(|before| before.shadow.is_none()) {
            // One that nobody knows the names of, or that was cut off.
            tables.end_shadow()?;
        }
        if before.is_none() {
            // Nobody knows what numbers meant, if they meant anything.
            let counters = AllCounters::open(tables)?;
            (0..=u16::MAX).for_each(|rule| counters.forget(rule));
        }
        tables.write_policy(&self.compiled, self.over)?;
        if let Some(text) = &self.text {
            instance.write_json(IN_FORCE, text)?;
        }
        match before {
            Some(before) => instance.write_state(&self.done(before.clone())),
            None => Ok(()),
        }
    }

    /// What is written down before the policy is in force: that of before, and all names.
    fn announced(&self, before: &State) -> State {
        let mut announced = before.clone();
        announced.rules.clone_from(&self.rules.names);
        announced.interface_names.clone_from(&self.interfaces.names);
        let new = self.protocol_states.iter().enumerate();
        announced.protocols = new
            .map(|(index, new)| match before.protocols.get(index) {
                Some(before) if before.name == new.name => before.clone(),
                _ => ProtocolState { gone: true, ..new.clone() },
            })
            .collect();
        announced
    }

    /// What is written down once the policy is in force on the interfaces that `state` has.
    pub fn done(&self, state: State) -> State {
        State {
            policy_file: self.policy_file.clone(),
            policy_digest: self.digest,
            protocols: self.protocol_states.clone(),
            rules: self.rules.names.clone(),
            interface_names: self.interfaces.names.clone(),
            interfaces_wanted: match state.interfaces_given {
                true => state.interfaces_wanted.clone(),
                false => self.interfaces_wanted.clone(),
            },
            rules_in_force: self.rules.numbers.clone(),
            rule_actions: self.actions.0.clone(),
            default_action: self.actions.1.clone(),
            timeouts_ns: Timeout::ALL
                .iter()
                .map(|(timeout, name)| ((*name).to_owned(), self.compiled.timeouts.get(*timeout)))
                .collect(),
            shortcut: self.shortcut,
            events: self.events.clone(),
            exports: self.exports.clone(),
            ..state
        }
    }
}

/// What is in force as it was written, if that was kept.
pub fn in_force(instance: &Instance) -> Result<Option<PolicyText>> {
    instance.read_json(IN_FORCE)
}

/// Keeps `text`, which is in force for good, for `fwx rollback`.
pub(crate) fn remember(instance: &Instance, text: &PolicyText) {
    if let Err(error) = History::of(instance).add(text) {
        eprintln!("fwx: `fwx rollback` will not know this policy: {error:#}");
    }
}

/// What a bring-up puts in force instead of what it was told, if anything: while a policy waits for `fwx confirm` what
/// is in force stays so, for whoever starts the controller again need not know of it; and if nobody confirmed it in
/// time, what it went back to. The caller has the change lock.
pub(crate) fn kept_at_bring_up(
    instance: &Instance,
    lock: &ControllerLock,
) -> Result<Option<(PolicyText, Option<PathBuf>)>> {
    let went_back = confirm::go_back_if_due(instance, lock)?;
    if !went_back && Pending::of(instance)?.is_none() {
        return Ok(None);
    }
    let file = instance.state()?.and_then(|state| state.policy_file);
    Ok(in_force(instance)?.map(|text| (text, file)))
}

/// What cannot be changed without attaching and loading anew. A controller that runs attaches to interfaces that are
/// new.
fn left_for_bring_up(
    policy: &Policy,
    before: &State,
    tables: &Tables,
    controller_runs: bool,
) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let mut there: Vec<_> = before.interfaces.iter().map(|it| it.name.as_str()).collect();
    let mut wanted: Vec<_> = policy.interfaces().iter().map(String::as_str).collect();
    there.sort_unstable();
    wanted.sort_unstable();
    if controller_runs && !before.interfaces_given {
        there.retain(|name| !wanted.contains(name));
        if !there.is_empty() {
            let names = there.join(", ");
            left.push(format!("programs stay on {names}, which the policy names no more"));
        }
    } else if there != wanted {
        left.push(format!(
            "interfaces stay as they are, {}; the policy has {}",
            there.join(", "),
            wanted.join(", ")
        ));
    }
    let sizes = TableSizes {
        completed: tables.size(FlowTable::CompletedV4)?,
        half_open: tables.size(FlowTable::HalfOpenV4)?,
    };
    if sizes != policy.tables() {
        left.push("the flow tables keep their size".to_owned());
    }
    Ok(left)
}

/// The protocols by number: those of the policy, and those that are gone.
fn protocol_states(
    policy: &Policy,
    numbering: &Numbering,
    known: &[ProtocolState],
) -> Vec<ProtocolState> {
    let gone = |(index, name): (usize, &String)| {
        let known = known.get(index).filter(|known| known.name == *name).cloned();
        ProtocolState { name: name.clone(), gone: true, ..known.unwrap_or_default() }
    };
    let mut states: Vec<_> = numbering.names.iter().enumerate().map(gone).collect();
    for (protocol, number) in policy.protocols().iter().zip(&numbering.numbers) {
        states[usize::from(*number) - 1] = ProtocolState {
            name: protocol.name.clone(),
            transport: protocol.transport.to_string(),
            ports: protocol.listed(),
            gone: false,
        };
    }
    states
}
