//! `fwx shadow`: where a policy on trial differs from the one in force.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Subcommand;
use firewall_user::{
    instance::Instance,
    policy::Policy,
    shadow::{self, Report},
};

use super::OutputOption;

#[derive(Debug, Subcommand)]
pub(super) enum Shadow {
    /// New flows that the shadow policy would have judged otherwise, by the rules that say so
    #[command(after_help = "Examples:\n  fwx shadow diff\n  fwx shadow diff --flows 100 -o \
                            json\n\nCounted from the last change of either policy on. Who is \
                            refused and tries again is counted again.")]
    Diff {
        /// How many flows to show for each pair of rules, the newest first
        #[arg(long, value_name = "N", default_value_t = 10)]
        flows: usize,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Which policy is the shadow, since when, and how often it was asked
    #[command(after_help = "Example:\n  fwx shadow status -o json")]
    Status {
        #[command(flatten)]
        output: OutputOption,
    },
    /// Let go of the shadow policy; the one in force stays as it is
    #[command(after_help = "Example:\n  fwx shadow off")]
    Off,
}

const NONE: &str = "there is no shadow policy: load one with `fwx apply --shadow FILE`";

/// Runs `fwx shadow …`.
pub(super) fn run(instance: &Instance, command: Shadow) -> Result<()> {
    match command {
        Shadow::Diff { flows, output } => {
            let Some(report) = shadow::report(instance, flows)? else { bail!(NONE) };
            output.print(&report, || report.text())
        }
        Shadow::Status { output } => {
            let report = shadow::report(instance, 0)?;
            output.print(&report, || {
                report.as_ref().map_or_else(|| format!("{NONE}\n"), Report::summary)
            })
        }
        Shadow::Off => {
            match shadow::end(instance)? {
                Some(file) => eprintln!(
                    "fwx: instance {}: {} is compared no more",
                    instance.name(),
                    file.display()
                ),
                None => eprintln!("fwx: instance {}: there was no shadow policy", instance.name()),
            }
            Ok(())
        }
    }
}

/// Does what `fwx apply --shadow` asks for.
pub(super) fn begin(instance: &Instance, policy: &Policy, file: &Path) -> Result<()> {
    shadow::begin(instance, policy, file)?;
    eprintln!(
        "fwx: instance {}: {} is compared with the policy in force, {} rules; `fwx shadow diff` shows where they \
         differ",
        instance.name(),
        file.display(),
        policy.rules().len()
    );
    Ok(())
}
