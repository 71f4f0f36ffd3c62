//! The files in which events lie.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{apply::state_directory, event::rfc3339, events::Moment, instance::Instance};

/// The suffix of their names; the rest is a number that rises.
const SUFFIX: &str = "jsonl";

/// The directory in which events lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    directory: PathBuf,
}

/// A file with events, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Its bytes.
    pub(super) len: u64,
    /// When it was written to last, nanoseconds since 1970.
    written: i128,
}

/// The kernel's time for files is behind the clock by less than that.
const COARSENESS_NS: i128 = 1_000_000_000;

impl Segments {
    /// That of an instance, which need not be there.
    pub fn of(instance: &Instance) -> Self {
        Self::at(state_directory(instance).join("events"))
    }

    /// Those in a directory.
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Its path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with this number.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010}.{SUFFIX}"))
    }

    /// The files that are there, the oldest first. What else lies there is not looked at.
    pub(super) fn list(&self) -> io::Result<Vec<Segment>> {
        let there = match fs::read_dir(&self.directory) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in there {
            let entry = entry?;
            let path = entry.path();
            let is_one = path.extension().is_some_and(|suffix| suffix == SUFFIX);
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            // One that vanishes meanwhile was the oldest.
            if let (true, Some(number), Ok(metadata)) = (is_one, number, entry.metadata()) {
                segments.push(Segment::new(number, path, &metadata));
            }
        }
        segments.sort_unstable_by_key(|segment| segment.number);
        Ok(segments)
    }
}

impl Segment {
    pub(super) fn new(number: u64, path: PathBuf, metadata: &fs::Metadata) -> Self {
        let written =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { number, path, len: metadata.len(), written }
    }

    /// Whether it may have events of `since` or later: none is written before its time.
    pub(super) fn may_reach(&self, since: &Moment) -> bool {
        since.is_reached_by(&rfc3339(self.written + COARSENESS_NS))
    }

    /// The time of its first event, by the first line that has one: a machine that lost power may have left anything
    /// before it. `None`: it has none, or is gone.
    pub(super) fn begin(&self) -> io::Result<Option<String>> {
        let Some(mut file) = self.open()? else { return Ok(None) };
        let mut line = Vec::new();
        while next_line(&mut file, &mut line)? > 0 {
            if let Some(time) = timestamp(&line) {
                return Ok(Some(time.to_owned()));
            }
        }
        Ok(None)
    }

    /// What it had when it was listed. `None`: it was the oldest and made room meanwhile.
    pub(super) fn open(&self) -> io::Result<Option<io::Take<BufReader<fs::File>>>> {
        match fs::File::open(&self.path) {
            Ok(file) => Ok(Some(BufReader::new(file).take(self.len))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Longest line that is read, in bytes: more than fwx writes.
const LINE_MAX: u64 = 256 << 10;

/// The next line, with its newline; one that is too long comes in pieces, none of which is an event.
pub(super) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    file.take(LINE_MAX).read_until(b'\n', line)
}

/// The time of the event that `line` tells, without reading the rest of it: it always comes first.
pub(super) fn timestamp(line: &[u8]) -> Option<&str> {
    let text = line.strip_prefix(br#"{"timestamp":""#)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&text[..end]).ok()
}
