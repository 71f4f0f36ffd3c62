//! The policies that were in force, kept so that one of them can be put in force again.
//!
//! Each is a directory, named by a number that rises, with its files as they were and `entry.json` beside them. They
//! lie where a reboot leaves them, and `fwx down` too.

use std::{
    env, fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    event::rfc3339,
    instance::Instance,
    policy::{PolicyFile, PolicyText},
};

/// How many are kept.
pub const KEPT: usize = 20;
/// Names the directory that takes the place of [`DIRECTORY`].
const VARIABLE: &str = "FWX_STATE_DIRECTORY";
const DIRECTORY: &str = "/var/lib/fwx";
const ENTRY: &str = "entry.json";
/// Longest part of a file's name that the name of its copy has, in bytes.
const NAME_MAX: usize = 64;

/// The policies that were in force of an instance.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
}

/// A policy that was in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one from entry to entry.
    pub number: u64,
    /// When it came in force for good, RFC 3339.
    pub time: String,
    /// [`PolicyText::sha256`].
    pub sha256: String,
    /// Its files; none: the built-in policy.
    pub files: Vec<Copy>,
    /// Interfaces that took the place of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<String>,
}

/// A file of a policy, and where its copy lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copy {
    /// Its path, as it was given.
    pub name: String,
    /// The name of the copy, in the entry's directory.
    pub copy: String,
    /// SHA-256 of the text, in hexadecimal digits.
    pub sha256: String,
}

impl History {
    /// That of an instance, which may be empty.
    pub fn of(instance: &Instance) -> Self {
        Self { directory: state_directory(instance).join("policies") }
    }

    /// Its entries, the newest first.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for number in self.numbers()? {
            let path = self.path(number).join(ENTRY);
            let entry: Result<Entry> =
                fs::read(&path).map_err(Into::into).and_then(|it| Ok(serde_json::from_slice(&it)?));
            entries.push(entry.with_context(|| format!("cannot read {}", path.display()))?);
        }
        Ok(entries)
    }

    /// Notes that `text` is in force, unless it is what was noted last. The oldest entries beyond [`KEPT`] go.
    pub fn add(&self, text: &PolicyText) -> Result<()> {
        self.enter(text).with_context(|| format!("cannot keep it in {}", self.directory.display()))
    }

    /// The policy of an entry, as it was written.
    ///
    /// # Errors
    ///
    /// A file is gone, or was changed since.
    pub fn text(&self, entry: &Entry) -> Result<PolicyText> {
        let mut files = Vec::new();
        for file in &entry.files {
            let path = self.path(entry.number).join(&file.copy);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let read = PolicyFile { name: file.name.clone(), text };
            if read.sha256() != file.sha256 {
                bail!("{} is not what was in force: it was changed since", path.display());
            }
            files.push(read);
        }
        Ok(PolicyText { files, interfaces: entry.interfaces.clone() })
    }

    /// The entry that was in force `back` policies before `now`, which is in force.
    ///
    /// # Errors
    ///
    /// There are not so many.
    pub fn before(&self, now: &PolicyText, back: usize) -> Result<Entry> {
        let entries = self.entries()?;
        let is_newest = entries.first().is_some_and(|newest| is(newest, now));
        let at = if is_newest { back } else { back.saturating_sub(1) };
        let count = entries.len();
        match entries.into_iter().nth(at) {
            Some(entry) => Ok(entry),
            None => bail!(
                "no policy is kept that was in force {back} before: {count} are kept, `fwx rollback --list` \
                 shows them"
            ),
        }
    }

    fn enter(&self, text: &PolicyText) -> Result<()> {
        let numbers = self.numbers()?;
        if let Some(newest) = self.entries()?.first()
            && is(newest, text)
        {
            return Ok(());
        }
        let number = numbers.first().map_or(1, |last| last + 1);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let new = self.directory.join("new");
        remove(&new)?;
        fs::DirBuilder::new().mode(0o700).create(&new)?;
        let entry = Entry {
            number,
            time: rfc3339(time::OffsetDateTime::now_utc().unix_timestamp_nanos()),
            sha256: text.sha256(),
            files: (1..).zip(&text.files).map(|(at, file)| copy(at, file)).collect(),
            interfaces: text.interfaces.clone(),
        };
        for (file, copy) in text.files.iter().zip(&entry.files) {
            write(&new.join(&copy.copy), file.text.as_bytes())?;
        }
        write(&new.join(ENTRY), &serde_json::to_vec_pretty(&entry)?)?;
        // From here on it is there, and as a whole.
        fs::rename(&new, self.path(number))?;
        for old in numbers.iter().skip(KEPT - 1) {
            remove(&self.path(*old))?;
        }
        Ok(())
    }

    /// The numbers of the entries, the newest first. What is no entry is not looked at.
    fn numbers(&self) -> Result<Vec<u64>> {
        let there = match fs::read_dir(&self.directory) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read {}", self.directory.display()));
            }
        };
        let mut numbers = Vec::new();
        for entry in there {
            let name = entry?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:08}"))
    }
}

/// Where an instance keeps what a reboot leaves, and `fwx down` too.
pub(crate) fn state_directory(instance: &Instance) -> PathBuf {
    let directory = env::var_os(VARIABLE).map_or_else(|| DIRECTORY.into(), PathBuf::from);
    directory.join(instance.name())
}

fn is(entry: &Entry, text: &PolicyText) -> bool {
    entry.sha256 == text.sha256()
        && entry.files.len() == text.files.len()
        && entry.interfaces == text.interfaces
}

/// The copy of the file that is the policy's `at`th.
fn copy(at: usize, file: &PolicyFile) -> Copy {
    let base = Path::new(&file.name).file_name().and_then(|name| name.to_str()).unwrap_or("policy");
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let base: String = base.chars().take(NAME_MAX).map(harmless).collect();
    Copy { name: file.name.clone(), copy: format!("{at}-{base}"), sha256: file.sha256() }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    // A rename that a crash leaves behind must not lead to files without what they say.
    file.sync_all()
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, text: &str) -> PolicyText {
        let file = PolicyFile { name: name.to_owned(), text: text.to_owned() };
        PolicyText { files: vec![file], interfaces: Vec::new() }
    }

    fn history() -> (tempfile::TempDir, History) {
        let directory = tempfile::tempdir().unwrap();
        let history = History { directory: directory.path().join("a/policies") };
        (directory, history)
    }

    #[test]
    fn what_was_in_force_comes_back_as_it_was() {
        let (_directory, history) = history();
        assert!(history.entries().unwrap().is_empty());
        let all = [text("/etc/fwx/a.toml", "a"), text("b", "é\n"), text("", "c")];
        for text in &all {
            history.add(text).unwrap();
            history.add(text).unwrap();
        }
        let entries = history.entries().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [3, 2, 1]);
        for (entry, text) in entries.iter().rev().zip(&all) {
            assert_eq!(history.text(entry).unwrap(), *text);
        }
        assert_eq!(history.before(&all[2], 1).unwrap().number, 2);
        assert_eq!(history.before(&text("x", "never kept"), 1).unwrap().number, 3);
        assert!(history.before(&all[2], 3).is_err());
        assert_eq!(entries[2].files[0].copy, "1-a.toml");
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (_directory, history) = history();
        for number in 0..KEPT + 5 {
            history.add(&text("p", &number.to_string())).unwrap();
        }
        let entries = history.entries().unwrap();
        assert_eq!((entries.len(), entries[KEPT - 1].number), (KEPT, 6));
    }

    #[test]
    fn several_files_and_other_interfaces_are_kept_too() {
        let (_directory, history) = history();
        let mut several = text("a/p.toml", "1");
        several.files.push(PolicyFile { name: "b/p.toml".to_owned(), text: "2".to_owned() });
        several.interfaces.push("lan0".to_owned());
        history.add(&several).unwrap();
        let builtin = PolicyText::default();
        history.add(&builtin).unwrap();
        let entries = history.entries().unwrap();
        assert_eq!(history.text(&entries[1]).unwrap(), several);
        assert_eq!(history.text(&entries[0]).unwrap(), builtin);
    }

    #[test]
    fn a_copy_that_was_changed_is_not_put_in_force() {
        let (_directory, history) = history();
        history.add(&text("p", "a")).unwrap();
        let entry = history.entries().unwrap().remove(0);
        fs::write(history.path(1).join(&entry.files[0].copy), "b").unwrap();
        let error = history.text(&entry).unwrap_err();
        assert!(error.to_string().contains("was changed since"), "{error}");
    }

    #[test]
    fn what_a_crash_left_is_no_entry() {
        let (_directory, history) = history();
        fs::create_dir_all(history.directory.join("new")).unwrap();
        fs::write(history.directory.join("new/1-p"), "half").unwrap();
        history.add(&text("p", "a")).unwrap();
        assert_eq!(history.entries().unwrap().len(), 1);
        assert!(!history.directory.join("new").exists());
    }
}
