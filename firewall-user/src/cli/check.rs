//! `fwx check`: whether a policy is good, what in it is hardly meant, and what it decides about a flow.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use firewall_user::policy::{
    Checked, Policy, PolicyError, PolicyText, Probe, ProblemEntry, Sources, Summary, Warnings,
    schema,
};
use serde::Serialize;

use super::{OutputOption, out};

/// What there is to know about a policy.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The policy
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    file: Option<PathBuf>,
    /// Say which rule decides about a flow, and why: PROTOCOL SOURCE -> DESTINATION, as in the examples below
    #[arg(long, value_name = "FLOW")]
    explain: Option<Probe>,
    /// Let warnings be a failure: exit code 1
    #[arg(long)]
    strict: bool,
    /// Print the JSON Schema of policies, for editors, instead
    #[arg(long, conflicts_with_all = ["file", "explain", "strict"])]
    schema: bool,
    #[command(flatten)]
    output: OutputOption,
}

pub(super) const EXAMPLES: &str = "Examples:
  fwx check /etc/fwx/policy.toml
  fwx check --strict /etc/fwx/policy.toml
  fwx check policy.toml --explain 'tcp 10.1.0.2:4000 -> 10.2.0.2:554'
  fwx check policy.toml --explain 'udp [fd00:1::2]:4000 -> [fd00:2::2]:53 on lan0'
  fwx check policy.toml --explain 'udp 10.2.0.1 -> 192.0.2.53:53 on self'
  fwx check policy.toml --explain 'icmp echo-request 10.1.0.2 -> 10.2.0.2'
  fwx check policy.toml --explain '47 10.1.0.2 -> 10.2.0.2'
  fwx check --schema > policy.schema.json

Exit codes: 0, the policy is good; 1, there are warnings, and --strict was given; 2, it is bad.";

/// A good policy, as JSON.
#[derive(Serialize)]
struct Good<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    warnings: Vec<ProblemEntry>,
}

/// Checks, explains or describes.
pub(super) fn run(check: &Check) -> Result<ExitCode> {
    // Without a file it is the schema that is wanted.
    let Some(file) = &check.file else {
        let schema = serde_json::to_string_pretty(&schema::schema())? + "\n";
        out::write(&mut std::io::stdout().lock(), &schema)?;
        return Ok(ExitCode::SUCCESS);
    };
    let checked = match read(file) {
        Ok(checked) => checked,
        Err(error) if check.output.is_json() => {
            check.output.print(&error.entries(), String::new)?;
            return Ok(ExitCode::from(2));
        }
        Err(error) => return Err(error.into()),
    };
    let Checked { policy, warnings, rule_places } = checked;
    if let Some(probe) = &check.explain {
        let explanation = policy.explain(probe, &rule_places);
        check.output.print(&explanation, || explanation.text())?;
    } else {
        let good = Good { summary: policy.summary(), warnings: warnings.entries() };
        check.output.print(&good, || text(file, &warnings))?;
        if !check.output.is_json() {
            print(&warnings);
        }
    }
    let fails = check.strict && !warnings.is_empty();
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn text(file: &Path, warnings: &Warnings) -> String {
    let told = match warnings.count() {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        count => format!(", with {count} warnings"),
    };
    format!("{}: good{told}\n", file.display())
}

/// The policy that a command is to put in force. What is hardly meant in it is told.
pub(super) fn checked(text: &PolicyText) -> Result<Policy> {
    let (policy, warnings) = text.check()?;
    warnings.iter().for_each(print);
    Ok(policy)
}

fn read(file: &Path) -> Result<Checked, PolicyError> {
    Sources::load(file)?.check()
}

fn print(warnings: &Warnings) {
    if !warnings.is_empty() {
        eprint!("{}", warnings.render(std::io::stderr().is_terminal()));
    }
}
