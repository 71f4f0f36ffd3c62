//! A policy as it was written, so that it can be read again when its files say something else or are gone.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Checked, Policy, PolicyError, SourceFile, Sources, Warnings};

/// What a policy was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    /// Its files, the one that includes the others first; none: the built-in policy.
    pub files: Vec<PolicyFile>,
    /// Interfaces that take the place of its own; none: its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
}

/// A file of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// What messages call it: its path, as it was given.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl PolicyText {
    /// That of the policy in the file at `path`.
    ///
    /// # Errors
    /// As those of [`Policy::load`] that concern the file and not what it says.
    pub fn load(path: &Path) -> std::result::Result<Self, PolicyError> {
        let read = Sources::load(path)?;
        let file = |file: &SourceFile| PolicyFile {
            name: file.path.to_string_lossy().into_owned(),
            text: file.text.clone(),
        };
        Ok(Self { files: read.files().iter().map(file).collect(), interfaces: Vec::new() })
    }

    /// The policy that it describes.
    ///
    /// # Errors
    /// As [`Sources::parse`] and [`Policy::with_interfaces`].
    pub fn policy(&self) -> Result<Policy> {
        let policy = match self.sources() {
            Some(sources) => sources.parse()?,
            None => Policy::builtin(),
        };
        self.on_interfaces(policy)
    }

    /// The same, with what is surely not meant.
    ///
    /// # Errors
    /// As [`PolicyText::policy`].
    pub fn check(&self) -> Result<(Policy, Option<Warnings>)> {
        let Some(sources) = self.sources() else { return Ok((self.policy()?, None)) };
        let Checked { policy, warnings, .. } = sources.check()?;
        Ok((self.on_interfaces(policy)?, Some(warnings)))
    }

    fn sources(&self) -> Option<Sources> {
        let file = |file: &PolicyFile| SourceFile {
            path: file.name.clone().into(),
            text: file.text.clone(),
        };
        let (main, included) = self.files.split_first()?;
        Some(Sources::new(file(main), included.iter().map(file).collect()))
    }

    fn on_interfaces(&self, policy: Policy) -> Result<Policy> {
        Ok(match &self.interfaces[..] {
            [] => policy,
            others => policy.with_interfaces(others.to_vec())?,
        })
    }

    /// SHA-256 in hexadecimal digits: of the file as it is, as `sha256sum` has it; of several, of the lines that
    /// `sha256sum` prints of them.
    pub fn sha256(&self) -> String {
        match &self.files[..] {
            [file] => file.sha256(),
            files => {
                let lines = files.iter().map(|file| format!("{}  {}\n", file.sha256(), file.name));
                sha256(&lines.collect::<String>())
            }
        }
    }
}

impl PolicyFile {
    /// SHA-256 of its text, in hexadecimal digits.
    pub fn sha256(&self) -> String {
        sha256(&self.text)
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> PolicyFile {
        PolicyFile { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn one_file_has_the_sum_that_sha256sum_prints() {
        let one = PolicyText { files: vec![file("a", "abc")], interfaces: Vec::new() };
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(one.sha256(), expected);
        let two = PolicyText { files: vec![file("a", "abc"), file("b", "")], ..one.clone() };
        let other = PolicyText { files: vec![file("a", "abc"), file("c", "")], ..one };
        assert_ne!(two.sha256(), other.sha256());
    }

    #[test]
    fn without_a_file_it_is_the_built_in_policy_on_the_interfaces_given() {
        let text = PolicyText { files: Vec::new(), interfaces: vec!["lan0".to_owned()] };
        let policy = text.policy().unwrap();
        assert_eq!(policy, Policy::builtin().with_interfaces(vec!["lan0".to_owned()]).unwrap());
        let text = PolicyText {
            files: vec![file("p", "[gateway]\ninterfaces = ['wan0']")],
            interfaces: Vec::new(),
        };
        assert_eq!(text.policy().unwrap().interfaces(), ["wan0"]);
    }
}
