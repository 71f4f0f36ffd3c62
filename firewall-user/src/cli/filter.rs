//! `fwx filter`: which filters are bound to which protocols, and how; changes take effect on live connections.

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use firewall_common::{
    filter::FilterId,
    policy::{Binding, Mode, Profile},
};
use firewall_user::{
    bad_input,
    event::Names,
    instance::{ControllerLock, Instance, ProtocolState, State},
    pinholes,
    ring::monotonic_ns,
    status,
    tables::Tables,
};

use super::{OutputOption, findings};

#[derive(Debug, Subcommand)]
pub(super) enum Filter {
    /// Protocols, their filters, modes, profiles and counters
    #[command(after_help = "Example:\n  fwx filter list -o json")]
    List {
        #[command(flatten)]
        output: OutputOption,
    },
    /// What a filter can object to, and what it does about it in each profile
    #[command(
        after_help = "Examples:\n  fwx filter findings rtsp\n  fwx filter findings smtp -o json"
    )]
    Findings {
        /// The filter
        filter: String,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Flows that connections announced and that are let in although no rule speaks for them
    #[command(after_help = "Example:\n  fwx filter pinholes -o json")]
    Pinholes {
        #[command(flatten)]
        output: OutputOption,
    },
    /// Bind a filter to a protocol
    #[command(after_help = "Example:\n  fwx filter bind rtsp rtsp --mode enforce")]
    Bind {
        /// Protocol of the policy
        protocol: String,
        /// The filter
        filter: String,
        /// What it does with what it finds
        #[arg(long, value_enum, default_value_t = ModeName::Monitor)]
        mode: ModeName,
        /// How much departure from the grammar it lives with
        #[arg(long, value_enum, default_value_t = ProfileName::Standard)]
        profile: ProfileName,
    },
    /// Unbind the filter from a protocol: its traffic passes unread, live connections live on
    #[command(after_help = "Example:\n  fwx filter unbind rtsp")]
    Unbind {
        /// Protocol of the policy
        protocol: String,
    },
    /// Change what a bound filter does, from the next packet on
    #[command(
        after_help = "Examples:\n  fwx filter mode rtsp monitor\n  fwx filter mode rtsp enforce \
                            --profile strict"
    )]
    Mode {
        /// Protocol of the policy
        protocol: String,
        /// What it does with what it finds
        mode: ModeName,
        /// Change the profile too
        #[arg(long, value_enum)]
        profile: Option<ProfileName>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ModeName {
    /// Kill what the profile forbids
    Enforce,
    /// Report only
    Monitor,
    /// Do not read
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ProfileName {
    /// What the RFC allows and what real devices send lives
    Standard,
    /// Any departure from the grammar kills
    Strict,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Enforce => Self::Enforce,
            ModeName::Monitor => Self::Monitor,
            ModeName::Off => Self::Off,
        }
    }
}

impl From<ProfileName> for Profile {
    fn from(name: ProfileName) -> Self {
        match name {
            ProfileName::Standard => Self::Standard,
            ProfileName::Strict => Self::Strict,
        }
    }
}

/// Runs `fwx filter …`.
pub(super) fn run(instance: &Instance, command: Filter) -> Result<()> {
    if let Filter::Findings { filter, output } = command {
        // What a filter is like is known without an instance.
        return findings::print(filter_named(&filter)?, output);
    }
    match command {
        Filter::Findings { .. } => Ok(()),
        Filter::List { output } => {
            let filters = status::bindings(instance)?;
            output.print(&filters, || status::filter_table(&filters))
        }
        Filter::Pinholes { output } => {
            let (state, tables) = status::open(instance)?;
            let names = Names::of(instance, &state);
            let open = pinholes::open(&tables, &names, monotonic_ns())?;
            output.print(&open, || pinholes::table(&open))
        }
        Filter::Bind { protocol, filter, mode, profile } => Bound::of(instance)?.bind(
            &protocol,
            filter_named(&filter)?,
            mode.into(),
            profile.into(),
        ),
        Filter::Unbind { protocol } => {
            Bound::of(instance)?.change(&protocol, |_| Binding::default())
        }
        Filter::Mode { protocol, mode, profile } => {
            Bound::of(instance)?.set_mode(&protocol, mode.into(), profile.map(Profile::from))
        }
    }
}

/// The bindings of an instance that is up. Nobody else changes them, nor the policy, until this is dropped.
struct Bound {
    state: State,
    tables: Tables,
    _change: ControllerLock,
}

impl Bound {
    fn of(instance: &Instance) -> Result<Self> {
        // Else the lock would be made for an instance that there is not.
        status::open(instance)?;
        let change = instance.lock_for_change()?;
        let (state, tables) = status::open(instance)?;
        Ok(Self { state, tables, _change: change })
    }

    fn bind(&self, protocol: &str, filter: FilterId, mode: Mode, profile: Profile) -> Result<()> {
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

    fn set_mode(&self, protocol: &str, mode: Mode, profile: Option<Profile>) -> Result<()> {
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

    /// Changes the binding of a protocol, and says what it is now.
    fn change(&self, protocol: &str, change: impl FnOnce(Binding) -> Binding) -> Result<()> {
        let now = self.tables.bind(self.number(protocol)?, change)?;
        let told = match FilterId::from_raw(now.filter) {
            None => "no filter".to_owned(),
            Some(filter) => format!(
                "filter {}, mode {}, profile {}",
                filter.name(),
                Mode::from_raw(now.mode).name(),
                Profile::from_raw(now.profile).name()
            ),
        };
        eprintln!("fwx: {protocol}: {told}");
        Ok(())
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

fn filter_named(name: &str) -> Result<FilterId> {
    let Some(filter) = FilterId::from_name(name) else {
        let known: Vec<_> = FilterId::ALL.iter().map(|filter| filter.name()).collect();
        bad_input!("there is no filter {name:?}; there are: {}", known.join(", "));
    };
    Ok(filter)
}
