//! `fwx filter`: which filters are bound to which protocols, and how; changes take effect on live connections.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use firewall_common::{
    filter::FilterId,
    policy::{Binding, Mode, Profile},
};
use firewall_user::{
    bad_input,
    binding::{self, Bindings},
    event::Names,
    instance::Instance,
    pinholes,
    ring::monotonic_ns,
    status,
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
        Filter::Bind { protocol, filter, mode, profile } => {
            let filter = filter_named(&filter)?;
            change(instance, &protocol, |bindings, protocol| {
                bindings.bind(protocol, filter, mode.into(), profile.into())
            })
        }
        Filter::Unbind { protocol } => change(instance, &protocol, Bindings::unbind),
        Filter::Mode { protocol, mode, profile } => {
            change(instance, &protocol, |bindings, protocol| {
                bindings.set_mode(protocol, mode.into(), profile.map(Profile::from))
            })
        }
    }
}

/// Changes the binding of a protocol, and says what it is now.
fn change(
    instance: &Instance,
    protocol: &str,
    change: impl FnOnce(&Bindings, &str) -> Result<Binding>,
) -> Result<()> {
    let now = change(&Bindings::of(instance)?, protocol)?;
    eprintln!("fwx: {protocol}: {}", binding::told(&now));
    Ok(())
}

fn filter_named(name: &str) -> Result<FilterId> {
    let Some(filter) = FilterId::from_name(name) else {
        let known: Vec<_> = FilterId::ALL.iter().map(|filter| filter.name()).collect();
        bad_input!("there is no filter {name:?}; there are: {}", known.join(", "));
    };
    Ok(filter)
}
