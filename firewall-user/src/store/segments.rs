//! The files in which events lie.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{apply::state_directory, event::rfc3339, events::Moment, instance::Instance};

/// The directory in which events lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    directory: PathBuf,
}

/// Which events a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// All of its time.
    All,
    /// Those of the file of the same number that do not come in masses ([`is_routine`](crate::hub::is_routine)): it
    /// stays when that one has made room.
    Weighty,
}

/// The files of a directory at one moment, those of each sort the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    all: Vec<Segment>,
    weighty: Vec<Segment>,
}

/// A file with events, as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sort: Sort,
    /// It rises from file to file.
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

    /// The file of a sort with this number.
    pub(super) fn path(&self, sort: Sort, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010}.{}", sort.suffix()))
    }

    /// The files that are there.
    pub(super) fn list(&self) -> io::Result<Listing> {
        // In this order: one that makes room meanwhile leaves the weighty events, and none is in both.
        let all = self.list_of(Sort::All)?;
        Ok(Listing { all, weighty: self.list_of(Sort::Weighty)? })
    }

    /// The files of a sort that are there, the oldest first. What else lies there is not looked at.
    pub(super) fn list_of(&self, sort: Sort) -> io::Result<Vec<Segment>> {
        let there = match fs::read_dir(&self.directory) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for entry in there {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| sort.number(name));
            // One that vanishes meanwhile was the oldest.
            if let (Some(number), Ok(metadata)) = (number, entry.metadata()) {
                segments.push(Segment::new(sort, number, entry.path(), &metadata));
            }
        }
        segments.sort_unstable_by_key(|segment| segment.number);
        Ok(segments)
    }
}

impl Listing {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.weighty.is_empty()
    }

    /// Those that together have all that is kept, and nothing twice, the oldest first: those with all events, and before
    /// them those with the weighty ones of earlier times.
    pub(super) fn of_all(mut self) -> Vec<Segment> {
        if let Some(first) = self.all.first() {
            self.weighty.retain(|weighty| weighty.number < first.number);
        }
        self.weighty.extend(self.all);
        self.weighty
    }

    /// Those that together have all weighty events that are kept, and nothing twice, the oldest first. A file with all
    /// events is among them only if it is older than the first with the weighty ones alone; a newer one that lacks its
    /// like has none.
    pub(super) fn of_weighty(mut self) -> Vec<Segment> {
        if let Some(first) = self.weighty.first() {
            self.all.retain(|all| all.number < first.number);
        }
        self.all.extend(self.weighty);
        self.all
    }
}

impl Sort {
    fn suffix(self) -> &'static str {
        match self {
            Self::All => "jsonl",
            Self::Weighty => "weighty.jsonl",
        }
    }

    /// The number in the name of a file of this sort.
    fn number(self, name: &str) -> Option<u64> {
        name.strip_suffix(self.suffix())?.strip_suffix('.')?.parse().ok()
    }
}

impl Segment {
    pub(super) fn new(sort: Sort, number: u64, path: PathBuf, metadata: &fs::Metadata) -> Self {
        let written =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { sort, number, path, len: metadata.len(), written }
    }

    /// Whether it may have events of `since` or later: none is written before its time.
    pub(super) fn may_reach(&self, since: &Moment) -> bool {
        since.is_reached_by(&rfc3339(self.written + COARSENESS_NS))
    }

    /// The time of its first event, by the first line that has one: a machine that lost power may have left anything
    /// before it. `None`: it has none, or is gone.
    pub(super) fn begin(&self) -> io::Result<Option<String>> {
        let Some((_, mut file)) = self.open()? else { return Ok(None) };
        let mut line = Vec::new();
        while next_line(&mut file, &mut line)? > 0 {
            if let Some(time) = timestamp(&line) {
                return Ok(Some(time.to_owned()));
            }
        }
        Ok(None)
    }

    /// What it had when it was listed. Of one that made room meanwhile the weighty events are left. `None`: not even
    /// these.
    pub(super) fn open(&self) -> io::Result<Option<(Sort, io::Take<BufReader<fs::File>>)>> {
        let open = |path: &Path| match fs::File::open(path) {
            Ok(file) => Ok(Some(BufReader::new(file).take(self.len))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        if let Some(file) = open(&self.path)? {
            return Ok(Some((self.sort, file)));
        }
        let left = match self.sort {
            Sort::All => open(&self.path.with_extension(Sort::Weighty.suffix()))?,
            Sort::Weighty => None,
        };
        Ok(left.map(|file| (Sort::Weighty, file)))
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
