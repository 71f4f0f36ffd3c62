//! Files of one sort that are appended to, one after the other.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

use super::{
    Segments,
    segments::{Segment, Sort},
};

/// A file takes so many bytes of the disk, or a multiple of it: the block of Linux' usual file systems.
const BLOCK: u64 = 4096;
/// Most files that are alone in their segment, with its weighty events: readers open each.
const ALONE_MAX: u64 = 4096;

/// The files of one sort.
#[derive(Debug)]
pub(super) struct Series {
    segments: Segments,
    sort: Sort,
    /// The one that is written to.
    open: Option<Open>,
    /// Numbers and bytes of the others, the oldest first.
    older: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    file: File,
    len: u64,
}

impl Series {
    /// The files that are there. None is open.
    pub(super) fn new(segments: &Segments, sort: Sort, there: &[Segment]) -> Self {
        let older =
            there.iter().filter_map(|segment| Some((segment.number, segment.len(sort)?))).collect();
        Self { segments: segments.clone(), sort, open: None, older }
    }

    /// The number of the file that is open. 0: none is.
    pub(super) fn number(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.number)
    }

    /// Bytes of the file that is open.
    pub(super) fn len(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.len)
    }

    /// Opens the file with this number: the newest, or one that is not there yet and will be.
    pub(super) fn go_to(&mut self, number: u64) -> io::Result<()> {
        self.older.extend(self.open.take().map(|open| (open.number, open.len)));
        let path = self.segments.path(self.sort, number);
        let is_there = self.older.back().is_some_and(|(newest, _)| *newest == number);
        if is_there {
            self.older.pop_back();
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create_new(!is_there).mode(0o600);
        let mut open = Open { number, file: options.open(path)?, len: 0 };
        open.len = open.file.metadata()?.len();
        open.end_line()?;
        self.open = Some(open);
        Ok(())
    }

    /// Whether the open file is still under its name: somebody may have cleared the directory.
    pub(super) fn is_there(&self) -> bool {
        let Some(open) = &self.open else { return false };
        let same = |there: fs::Metadata| Ok(there.ino() == open.file.metadata()?.ino());
        fs::metadata(self.segments.path(self.sort, open.number)).and_then(same).unwrap_or(false)
    }

    /// Removes the oldest files but the open one until all of them take at most `limit` bytes of the disk with `len`
    /// more in that. Those with numbers before `alone_before` are alone in their segment: they are not only that small,
    /// but also few.
    pub(super) fn make_room(
        &mut self,
        len: usize,
        limit: u64,
        alone_before: u64,
    ) -> io::Result<()> {
        let taken = |(number, len): (u64, u64)| match len {
            0 => 0,
            len if number < alone_before => len.max(limit / ALONE_MAX).next_multiple_of(BLOCK),
            len => len.next_multiple_of(BLOCK),
        };
        let mut total = taken((self.number(), self.len() + len as u64));
        total += self.older.iter().map(|file| taken(*file)).sum::<u64>();
        while total > limit
            && let Some(oldest) = self.older.front().copied()
        {
            self.remove(oldest.0)?;
            total -= taken(oldest);
        }
        Ok(())
    }

    /// Removes the files older than `number` in which nothing is.
    pub(super) fn remove_empty_before(&mut self, number: u64) -> io::Result<()> {
        let empty = self.older.iter().filter(|(it, len)| *it < number && *len == 0);
        let empty: Vec<_> = empty.map(|(number, _)| *number).collect();
        empty.into_iter().try_for_each(|number| self.remove(number))
    }

    fn remove(&mut self, number: u64) -> io::Result<()> {
        match fs::remove_file(self.segments.path(self.sort, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.older.retain(|(older, _)| *older != number);
        Ok(())
    }

    /// The number of the oldest file.
    pub(super) fn oldest(&self) -> u64 {
        self.older.front().map_or(self.number(), |(number, _)| *number)
    }

    /// Appends whole lines to the file that is open.
    ///
    /// # Errors
    ///
    /// None of the lines is there then: half of them would be worse, since they are tried again. If to undo it fails
    /// too, the line that is cut off is found when the file is opened again.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let written = open.file.write_all(lines);
        if written.is_err() {
            let _ = open.file.set_len(open.len);
        } else {
            open.len += lines.len() as u64;
        }
        written
    }

    /// Cuts the open file to `len` bytes, as far as the disk lets it.
    pub(super) fn cut(&mut self, len: u64) {
        if let Some(open) = &mut self.open
            && open.file.set_len(len).is_ok()
        {
            open.len = len;
        }
    }
}

impl Open {
    /// Ends what a crash cut off; readers pass over it.
    fn end_line(&mut self) -> io::Result<()> {
        let mut last = *b"\n";
        if self.len > 0 {
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
        }
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Series {
    /// Has what is appended from here on written to `file`.
    pub(super) fn write_to(&mut self, file: File) {
        if let Some(open) = &mut self.open {
            open.file = file;
        }
    }
}
