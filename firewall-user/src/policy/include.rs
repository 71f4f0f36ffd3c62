//! `include`: which files a policy takes in.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use glob::{MatchOptions, Pattern};

use super::{
    document::{self, Section},
    error::Problems,
    read::Unread,
};

/// The key, above the first table of a file.
pub(super) const KEY: &str = "include";

/// As a shell has it: `*` is not a `/`, and not a dot that a name begins with, which hides what editors leave.
const AS_IN_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What the file with this root lists, each entry with its place.
pub(super) fn listed(
    root: &Section<'_, '_>,
    problems: &mut Problems,
) -> Vec<(String, Range<usize>)> {
    let Some(value) = root.value(KEY) else { return Vec::new() };
    let entries = document::strings(KEY, value, problems).unwrap_or_default();
    entries.into_iter().map(|(entry, span)| (entry.to_owned(), span)).collect()
}

/// The files that `entry`, in the list of the file at `including`, names, in the order of their names; or what about it
/// is wrong, with the name to tell.
pub(super) fn find(including: &Path, entry: &str) -> Result<Vec<PathBuf>, (String, Unread)> {
    if !is_pattern(entry) {
        return Ok(vec![named(including, entry)]);
    }
    let bad = |reason: &str| (entry.to_owned(), Unread::because(reason));
    if entry.contains("**") {
        return Err(bad("`**` is not supported: name each directory"));
    }
    let directory = including.parent().unwrap_or(Path::new("")).to_str();
    let directory = directory.ok_or_else(|| bad("its directory's name is not UTF-8"))?;
    let pattern = Path::new(&Pattern::escape(directory)).join(entry);
    // Both parts are UTF-8.
    let pattern = pattern.to_string_lossy();
    let found = glob::glob_with(&pattern, AS_IN_A_SHELL).map_err(|error| bad(error.msg))?;
    found.map(|path| path.map_err(|error| bad(&error.to_string()))).collect()
}

/// The file that an entry without wildcards names: relative to the file that includes it.
pub(super) fn named(including: &Path, entry: &str) -> PathBuf {
    including.parent().unwrap_or(Path::new("")).join(entry)
}

/// Whether `entry` may stand for several files, or none.
pub(super) fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '?', '['])
}
