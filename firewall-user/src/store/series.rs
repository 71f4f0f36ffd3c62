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

/// The files of one sort.
#[derive(Debug)]
pub(super) struct Series {
    segments: Segments,
    sort: Sort,
    /// The file that is written to.
    open: Option<(File, Segment)>,
    /// The others, the oldest first.
    older: VecDeque<Segment>,
}

impl Series {
    /// The files that are there. None is open.
    pub(super) fn new(segments: &Segments, sort: Sort) -> io::Result<Self> {
        let older = segments.list_of(sort)?.into();
        Ok(Self { segments: segments.clone(), sort, open: None, older })
    }

    /// The number of the newest file. 0: there is none.
    pub(super) fn newest(&self) -> u64 {
        let newest = self.open.as_ref().map(|(_, segment)| segment).or(self.older.back());
        newest.map_or(0, |segment| segment.number)
    }

    /// Bytes of the file that is open.
    pub(super) fn len(&self) -> u64 {
        self.open.as_ref().map_or(0, |(_, segment)| segment.len)
    }

    /// Opens the file with this number, which is that of the newest or a higher one.
    pub(super) fn go_to(&mut self, number: u64) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(_, segment)| segment.number == number) {
            return Ok(());
        }
        self.older.extend(self.open.take().map(|(_, segment)| segment));
        self.open = Some(match self.older.pop_back() {
            Some(newest) if newest.number == number => reopen(newest)?,
            older => {
                self.older.extend(older);
                self.create(number)?
            }
        });
        Ok(())
    }

    fn create(&self, number: u64) -> io::Result<(File, Segment)> {
        let path = self.segments.path(self.sort, number);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let segment = Segment::new(self.sort, number, path, &file.metadata()?);
        Ok((file, segment))
    }

    /// Whether the open file is still under its name: somebody may have cleared the directory.
    pub(super) fn is_there(&self) -> bool {
        let Some((file, segment)) = &self.open else { return true };
        let same = |there: fs::Metadata| Ok(there.ino() == file.metadata()?.ino());
        fs::metadata(&segment.path).and_then(same).unwrap_or(false)
    }

    /// Removes the oldest files but the open one until all of them take at most `limit` bytes of the disk with `len`
    /// more in that.
    pub(super) fn make_room(&mut self, len: usize, limit: u64) -> io::Result<()> {
        let taken = |len: u64| len.next_multiple_of(BLOCK);
        let mut total = taken(self.len() + len as u64);
        total += self.older.iter().map(|older| taken(older.len)).sum::<u64>();
        while total > limit
            && let Some(oldest) = self.older.front()
        {
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            total -= taken(oldest.len);
            self.older.pop_front();
        }
        Ok(())
    }

    /// Appends whole lines to the file that is open.
    ///
    /// # Errors
    ///
    /// None of the lines is there then: half of them would be worse, since they are tried again. If to undo it fails
    /// too, the line that is cut off is found when the file is opened again.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some((file, segment)) = &mut self.open else { return Ok(()) };
        let written = file.write_all(lines);
        if written.is_err() {
            let _ = file.set_len(segment.len);
        } else {
            segment.len += lines.len() as u64;
        }
        written
    }

    /// Cuts the open file to `len` bytes, as far as the disk lets it.
    pub(super) fn cut(&mut self, len: u64) {
        if let Some((file, segment)) = &mut self.open
            && file.set_len(len).is_ok()
        {
            segment.len = len;
        }
    }
}

/// Opens a file to append to it. What a crash cut off ends there, and readers pass over it.
fn reopen(mut segment: Segment) -> io::Result<(File, Segment)> {
    let mut file = OpenOptions::new().read(true).append(true).open(&segment.path)?;
    segment.len = file.metadata()?.len();
    if segment.len > 0 && !ends_a_line(&mut file)? {
        file.write_all(b"\n")?;
        segment.len += 1;
    }
    Ok((file, segment))
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
impl Series {
    /// Has what is appended from here on written to `file`.
    pub(super) fn write_to(&mut self, file: File) {
        if let Some(open) = &mut self.open {
            open.0 = file;
        }
    }
}
