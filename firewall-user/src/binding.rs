//! Changing which filter is bound to a protocol, and how: what `fwx filter` and `fwx top` do. Live connections obey
//! from their next packet on.

use anyhow::{Result, bail};
use firewall_common::{
    filter::FilterId,
    policy::{Binding, Mode, Profile},
};

use crate::{
    bad_input,
    instance::{ControllerLock, Instance, ProtocolState, State},
    status,
    tables::Tables,
};

/// The bindings of an instance that is up. Nobody else changes them, nor the policy, until this is dropped.
#[derive(Debug)]
pub struct Bindings {
    state: State,
    tables: Tables,
    _change: ControllerLock,
}

impl Bindings {
    /// Waits until nobody else changes them.
    ///
    /// # Errors
    ///
    /// The instance is not up.
    pub fn of(instance: &Instance) -> Result<Self> {
        // Else the lock would be made for an instance that there is not.
        status::open(instance)?;
        let change = instance.lock_for_change()?;
        let (state, tables) = status::open(instance)?;
        Ok(Self { state, tables, _change: change })
    }

    /// Binds a filter to a protocol, in the place of one that is bound. Returns what is bound now.
    ///
    /// # Errors
    ///
    /// The policy has no such protocol, or it is not TCP's: bad input.
    pub fn bind(
        &self,
        protocol: &str,
        filter: FilterId,
        mode: Mode,
        profile: Profile,
    ) -> Result<Binding> {
        let known = self.state.protocols.iter().find(|known| known.name == protocol && !known.gone);
        if known.is_some_and(|known| known.transport != "tcp") {
            bad_input!("the filter {} reads TCP, and {protocol} is not", filter.name());
        }
        let new = Binding {
            filter: filter as u8,
            mode: mode as u8,
            profile: profile as u8,
            ..Binding::default()
        };
        self.change(protocol, |_| new)
    }

    /// Takes the filter away from a protocol. Returns what is bound now.
    ///
    /// # Errors
    ///
    /// The policy has no such protocol: bad input.
    pub fn unbind(&self, protocol: &str) -> Result<Binding> {
        self.change(protocol, |_| Binding::default())
    }

    /// Changes what the bound filter does, and its profile if one is given. Returns what is bound now.
    ///
    /// # Errors
    ///
    /// The policy has no such protocol: bad input. No filter is bound to it.
    pub fn set_mode(
        &self,
        protocol: &str,
        mode: Mode,
        profile: Option<Profile>,
    ) -> Result<Binding> {
        if self.tables.binding(self.number(protocol)?)?.filter == 0 {
            bail!(
                "no filter is bound to {protocol}: bind one with `fwx filter bind {protocol} FILTER`"
            );
        }
        self.change(protocol, |old| Binding {
            mode: mode as u8,
            profile: profile.map_or(old.profile, |profile| profile as u8),
            ..old
        })
    }

    fn change(&self, protocol: &str, change: impl FnOnce(Binding) -> Binding) -> Result<Binding> {
        self.tables.bind(self.number(protocol)?, change)
    }

    /// The number of a protocol of the policy.
    fn number(&self, protocol: &str) -> Result<u16> {
        let protocols = &self.state.protocols;
        let is = |known: &ProtocolState| known.name == protocol && !known.gone;
        let Some(index) = protocols.iter().position(is) else {
            let known = protocols.iter().filter(|known| !known.gone);
            let known: Vec<_> = known.map(|known| known.name.as_str()).collect();
            bad_input!("the policy has no protocol {protocol:?}; it has: {}", known.join(", "));
        };
        Ok(u16::try_from(index + 1)?)
    }
}

/// What is bound, as events and reports of changes say it.
pub(crate) fn told_briefly(binding: &Binding) -> String {
    match FilterId::from_raw(binding.filter) {
        None => "unbound".to_owned(),
        Some(filter) => format!(
            "{} {} ({})",
            filter.name(),
            Mode::from_raw(binding.mode).name(),
            Profile::from_raw(binding.profile).name()
        ),
    }
}

/// What is bound, as the commands that change it say it.
pub fn told(binding: &Binding) -> String {
    match FilterId::from_raw(binding.filter) {
        None => "no filter".to_owned(),
        Some(filter) => format!(
            "filter {}, mode {}, profile {}",
            filter.name(),
            Mode::from_raw(binding.mode).name(),
            Profile::from_raw(binding.profile).name()
        ),
    }
}
