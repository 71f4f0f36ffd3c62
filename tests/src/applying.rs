//! Putting policies in force, and which one is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::fwx::{Fwx, Outcome};

/// `fwx apply` of the text of a policy in a file of its own, which is gone afterwards.
pub fn apply(fwx: &Fwx<'_>, text: &str, options: &[&str]) -> Outcome {
    apply_in(fwx, &[], text, options)
}

/// [`apply`] with further variables in its environment.
pub fn apply_in(
    fwx: &Fwx<'_>,
    variables: &[(&str, &str)],
    text: &str,
    options: &[&str],
) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    fwx.call_in(variables, &[&["apply", file], options].concat()).unwrap()
}

/// The names of the rules in force, in quotes, by what fwx keeps of its policy.
pub fn rules_in_force(fwx: &Fwx<'_>) -> Result<Vec<String>> {
    let path = format!("/run/fwx/{}/policy.json", fwx.instance());
    let text: Value = serde_json::from_slice(&fs::read(path)?)?;
    let text = text["files"][0]["text"].as_str().context("it has a file")?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("name = ")).map(str::to_owned).collect())
}

/// An error unless the policy in force has just these rules.
pub fn is_in_force(fwx: &Fwx<'_>, rules: &[(&str, &str)]) -> Result<()> {
    let expected: Vec<_> = rules.iter().map(|(name, _)| format!("{name:?}")).collect();
    let there = rules_in_force(fwx)?;
    ensure!(there == expected, "{there:?} are in force");
    Ok(())
}
