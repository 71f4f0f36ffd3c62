//! The files in which events lie.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{apply::state_directory, event::rfc3339, events::Moment, instance::Instance};

/// The directory in which events lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segments {
    directory: PathBuf,
}

/// The events of a time, as they lay there at one moment: in a file with all of them, in one with the weighty ones, or
/// in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// It rises from one to the next, and the first is 1.
    pub(super) number: u64,
    all: Option<Listed>,
    weighty: Option<Listed>,
}

/// Which events a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// All of its time.
    All,
    /// Those that do not come in masses ([`is_routine`](crate::hub::is_routine)): the file stays when the one with all
    /// has made room. It is there before an event is in either; where it is missing it had to go, or a version wrote the
    /// other that knew none.
    Weighty,
}

/// A file, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    /// Its bytes.
    len: u64,
    /// When it was written to last, nanoseconds since 1970.
    written: i128,
}

/// A file that is read, up to where it ended when it was listed.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sort: Sort,
    len: u64,
    file: io::Take<BufReader<fs::File>>,
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

    /// The path of a segment's file of a sort.
    pub(super) fn path(&self, sort: Sort, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010}.{}", sort.suffix()))
    }

    /// Those that are there, the oldest first. What else lies there is not looked at.
    pub(super) fn list(&self) -> io::Result<Vec<Segment>> {
        let there = match fs::read_dir(&self.directory) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = BTreeMap::new();
        for entry in there {
            let entry = entry?;
            let name = entry.file_name();
            let Some((sort, number)) = name.to_str().and_then(Sort::and_number) else { continue };
            if self.path(sort, number) != entry.path() {
                continue;
            }
            // One that vanishes meanwhile made room.
            let Ok(metadata) = entry.metadata() else { continue };
            let segment =
                segments.entry(number).or_insert(Segment { number, all: None, weighty: None });
            *segment.listed_mut(sort) = Some(Listed::new(&metadata));
        }
        Ok(segments.into_values().collect())
    }
}

impl Sort {
    fn suffix(self) -> &'static str {
        match self {
            Self::All => "jsonl",
            Self::Weighty => "weighty.jsonl",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::All => Self::Weighty,
            Self::Weighty => Self::All,
        }
    }

    /// What the name of a file says.
    fn and_number(name: &str) -> Option<(Self, u64)> {
        let (number, suffix) = name.split_once('.')?;
        let sort = [Self::All, Self::Weighty].into_iter().find(|sort| sort.suffix() == suffix)?;
        Some((sort, number.parse().ok()?))
    }
}

impl Segment {
    fn listed(&self, sort: Sort) -> Option<Listed> {
        match sort {
            Sort::All => self.all,
            Sort::Weighty => self.weighty,
        }
    }

    fn listed_mut(&mut self, sort: Sort) -> &mut Option<Listed> {
        match sort {
            Sort::All => &mut self.all,
            Sort::Weighty => &mut self.weighty,
        }
    }

    /// Bytes of its file of a sort. `None`: there is none.
    pub(super) fn len(&self, sort: Sort) -> Option<u64> {
        self.listed(sort).map(|listed| listed.len)
    }

    /// Whether it may have events of `since` or later: none is written before its time.
    pub(super) fn may_reach(&self, since: &Moment) -> bool {
        let written = [self.all, self.weighty].into_iter().flatten().map(|listed| listed.written);
        written.max().is_some_and(|written| since.is_reached_by(&rfc3339(written + COARSENESS_NS)))
    }

    /// The file of the sort that is wanted, or if it is not there, or made room meanwhile, the other one. `None`: nor is
    /// that.
    pub(super) fn open(&self, segments: &Segments, wanted: Sort) -> io::Result<Option<Opened>> {
        for sort in [wanted, wanted.other()] {
            let Some(Listed { len, .. }) = self.listed(sort) else { continue };
            match fs::File::open(segments.path(sort, self.number)) {
                Ok(file) => {
                    return Ok(Some(Opened { sort, len, file: BufReader::new(file).take(len) }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Listed {
    fn new(metadata: &fs::Metadata) -> Self {
        let written =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self { len: metadata.len(), written }
    }
}

/// Longest line that is read, in bytes: more than fwx writes.
const LINE_MAX: u64 = 256 << 10;

impl Opened {
    /// The next line, with its newline, and how many bytes it has; one that is too long comes in pieces, none of which is
    /// an event. 0: there is no more.
    pub(super) fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<usize> {
        line.clear();
        (&mut self.file).take(LINE_MAX).read_until(b'\n', line)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.get_mut().rewind()?;
        self.file.set_limit(self.len);
        Ok(())
    }

    /// The time of its first event, by the first line that has one: a machine that lost power may have left anything
    /// before it. `None`: it has none. What is read next is the beginning.
    pub(super) fn begin(&mut self) -> io::Result<Option<String>> {
        self.rewind()?;
        let mut line = Vec::new();
        let begin = loop {
            if self.next_line(&mut line)? == 0 {
                break None;
            }
            if let Some(time) = timestamp(&line) {
                break Some(time.to_owned());
            }
        };
        self.rewind()?;
        Ok(begin)
    }
}

/// The time of the event that `line` tells, without reading the rest of it: it always comes first.
pub(super) fn timestamp(line: &[u8]) -> Option<&str> {
    let text = line.strip_prefix(br#"{"timestamp":""#)?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&text[..end]).ok()
}

#[cfg(test)]
impl Segments {
    /// The files of a sort, the oldest first.
    pub(super) fn files(&self, sort: Sort) -> Vec<PathBuf> {
        let there = self.list().unwrap().into_iter();
        let there = there.filter(|segment| segment.len(sort).is_some());
        there.map(|segment| self.path(sort, segment.number)).collect()
    }

    /// The lines that are there, of each segment those of the file with all of them, if there is one.
    pub(super) fn text(&self) -> String {
        let there = self.list().unwrap().into_iter();
        let read =
            |segment: Segment, sort| fs::read_to_string(self.path(sort, segment.number)).unwrap();
        there
            .map(|segment| match segment.all {
                Some(_) => read(segment, Sort::All),
                None => read(segment, Sort::Weighty),
            })
            .collect()
    }
}
