//! The shadow: a policy on trial beside the one in force. It is told what it would do, and does nothing.
//!
//! [`firewall_common::shadow`] says what is compared. The counts are always about the two policies that are there: they
//! begin anew when either changes, and while one does nothing is compared.

mod comparison;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use firewall_common::classifier::Line;
use serde::{Deserialize, Serialize};

pub use self::comparison::{Comparison, Differing, Flow, Report, ShadowStatus};
use crate::{
    event::Names,
    instance::{Instance, State},
    policy::{Numbers, Policy},
    renumber::{self, Numbering},
    ring::monotonic_epoch_ns,
    status,
    tables::Tables,
};

/// What is written down about a shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowState {
    /// Its file.
    pub policy_file: PathBuf,
    /// [`Policy::digest`] of it.
    pub policy_digest: u64,
    /// Numbers of its rules, in their order.
    pub rules: Vec<u16>,
    /// Numbers of its interfaces, in their order.
    pub interfaces: Vec<u16>,
}

/// A policy as it can be compared with others: its rules have the numbers that those of the same names have there.
#[derive(Debug)]
pub struct Trial {
    image: Vec<Line>,
    rules: Numbering,
    interfaces: Numbering,
}

impl Trial {
    /// Of `policy`, beside what `known` says about the policy in force.
    ///
    /// # Errors
    ///
    /// No number is left for a rule or an interface.
    pub fn new(policy: &Policy, known: &State, tables: &Tables) -> Result<Self> {
        let rules = renumber::of_rules(policy, known, tables)?;
        let interfaces = renumber::of_interfaces(policy, known)?;
        let numbers = Numbers {
            rules: rules.numbers.clone(),
            interfaces: interfaces.numbers.clone(),
            // Nobody asks which protocol a flow belongs to by this policy.
            ..Numbers::fresh(policy)
        };
        Ok(Self { image: policy.compile_with(&numbers).image, rules, interfaces })
    }

    /// Begins to compare it with the policy in force.
    ///
    /// # Errors
    ///
    /// The kernel has no memory for it, say.
    pub fn begin(&self, tables: &Tables) -> Result<()> {
        tables.begin_shadow(&tables::laid_out(&self.image)?)
    }

    /// What rule numbers are called, those of before included.
    pub fn rule_names(&self) -> &[String] {
        &self.rules.names
    }
}

/// Begins to compare `policy`, which came from `file`, with the one in force, in the place of any other.
///
/// # Errors
///
/// The instance is not up, or the kernel has no memory for it, say: what was compared before still is.
pub fn begin(instance: &Instance, policy: &Policy, file: &Path) -> Result<()> {
    // Else the lock would be made for an instance that there is not.
    status::open(instance)?;
    let _change = instance.lock_for_change()?;
    let (before, tables) = status::open(instance)?;
    let trial = Trial::new(policy, &before, &tables)?;
    let image = tables::laid_out(&trial.image)?;
    // Names first: a rule may be told of at once. Whoever is cut off from here on leaves no shadow.
    let announced = State {
        rules: trial.rules.names.clone(),
        interface_names: trial.interfaces.names.clone(),
        shadow: None,
        ..before
    };
    instance.write_state(&announced)?;
    tables.forget_counts(&trial.rules, &Numbering::default())?;
    tables.begin_shadow(&image)?;
    let shadow = ShadowState {
        policy_file: file.to_owned(),
        policy_digest: policy.digest(),
        rules: trial.rules.numbers,
        interfaces: trial.interfaces.numbers,
    };
    instance.write_state(&State { shadow: Some(shadow), ..announced })
}

/// Ends it, and gives back what it took. Returns its file, if there was one.
///
/// # Errors
///
/// The instance is not up.
pub fn end(instance: &Instance) -> Result<Option<PathBuf>> {
    status::open(instance)?;
    let _change = instance.lock_for_change()?;
    let (before, tables) = status::open(instance)?;
    let shadow = before.shadow.as_ref().map(|shadow| shadow.policy_file.clone());
    tables.end_shadow()?;
    instance.write_state(&State { shadow: None, ..before })?;
    Ok(shadow)
}

/// How the two policies compare, and the newest `flows` of each pair of rules that differ. `None`: there is no shadow.
///
/// # Errors
///
/// The instance is not up.
pub fn report(instance: &Instance, flows: usize) -> Result<Option<Report>> {
    /// How often policies may change while one looks.
    const ATTEMPTS: u32 = 10;
    for _ in 0..ATTEMPTS {
        let (_, tables) = status::open(instance)?;
        let in_force = tables.in_force()?;
        // The names are written down before the kernel has the numbers.
        let (state, tables) = status::open(instance)?;
        let Some(shadow) = ShadowStatus::of(&state, &tables)? else {
            return Ok(None);
        };
        let names = Names::of(instance, &state);
        let comparison = Comparison::read(&tables, &names, monotonic_epoch_ns(), flows)?;
        if tables.in_force()? == in_force {
            return Ok(Some(Report { shadow, comparison }));
        }
    }
    bail!("the policy changes all the time; try again")
}
