//! Writing events to disk.

use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
};

use super::{Segments, segments::Segment};

/// A file has this share of all bytes, so that what is removed at a time is no more.
const SHARE: u64 = 8;
/// Largest file, in bytes.
const SEGMENT_MAX: u64 = 64 << 20;

/// Appends lines to the files of a store.
#[derive(Debug)]
pub(super) struct Writer {
    segments: Segments,
    open: Option<Open>,
}

/// The file that is written to.
#[derive(Debug)]
struct Open {
    file: File,
    segment: Segment,
    /// The files before it, the oldest first.
    older: VecDeque<Segment>,
}

impl Writer {
    pub(super) fn new(segments: Segments) -> Self {
        Self { segments, open: None }
    }

    /// Appends whole lines. The files together have no more than `limit` bytes afterwards, unless the lines alone do.
    ///
    /// # Errors
    ///
    /// None of the lines is there then; but a crash may leave the first part of them.
    pub(super) fn append(&mut self, lines: &[u8], limit: u64) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.is_there() => open,
            _ => self.open()?,
        };
        let len = lines.len() as u64;
        if open.segment.len > 0 && open.segment.len + len > (limit / SHARE).min(SEGMENT_MAX) {
            open = self.next(open)?;
        }
        open.make_room(len, limit)?;
        if let Err(error) = open.file.write_all(lines) {
            // Half of them would be worse than none: they are tried again. If this fails too, the line that is cut
            // off is found when the file is opened again.
            let _ = open.file.set_len(open.segment.len);
            return Err(error);
        }
        open.segment.len += len;
        self.open = Some(open);
        Ok(())
    }

    /// The newest file, or the first one.
    fn open(&self) -> io::Result<Open> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.segments.directory())?;
        let mut older = VecDeque::from(self.segments.list()?);
        let Some(mut segment) = older.pop_back() else { return self.create(1, older) };
        let mut file = OpenOptions::new().read(true).append(true).open(&segment.path)?;
        segment.len = file.metadata()?.len();
        if segment.len > 0 && !ends_a_line(&mut file)? {
            // What a crash cut off: it ends here, and readers pass over it.
            file.write_all(b"\n")?;
            segment.len += 1;
        }
        Ok(Open { file, segment, older })
    }

    fn next(&self, last: Open) -> io::Result<Open> {
        let mut older = last.older;
        let number = last.segment.number + 1;
        older.push_back(last.segment);
        self.create(number, older)
    }

    fn create(&self, number: u64, older: VecDeque<Segment>) -> io::Result<Open> {
        let path = self.segments.path(number);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        let segment = Segment::new(number, path, &file.metadata()?);
        Ok(Open { file, segment, older })
    }
}

impl Open {
    /// Whether its file is still under its name: somebody may have cleared the directory.
    fn is_there(&self) -> bool {
        let same = |there: fs::Metadata| Ok(there.ino() == self.file.metadata()?.ino());
        fs::metadata(&self.segment.path).and_then(same).unwrap_or(false)
    }

    /// Removes the oldest files until `len` more bytes are within `limit`.
    fn make_room(&mut self, len: u64, limit: u64) -> io::Result<()> {
        let mut total = self.segment.len + self.older.iter().map(|older| older.len).sum::<u64>();
        while total + len > limit
            && let Some(oldest) = self.older.front()
        {
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            total -= oldest.len;
            self.older.pop_front();
        }
        Ok(())
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Segments) {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().join("a/events"));
        (directory, segments)
    }

    fn text(segments: &Segments) -> String {
        let all = segments.list().unwrap();
        all.iter().map(|segment| fs::read_to_string(&segment.path).unwrap()).collect()
    }

    #[test]
    fn the_oldest_go_and_the_limit_holds() {
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        for number in 0..1_000 {
            writer.append(format!("{number:09}\n").as_bytes(), 800).unwrap();
            let total: u64 = segments.list().unwrap().iter().map(|segment| segment.len).sum();
            assert!(total <= 800, "{total}");
        }
        let lines: Vec<_> =
            text(&segments).lines().map(|line| line.parse::<u32>().unwrap()).collect();
        assert!(lines.len() > 60, "{}", lines.len());
        assert_eq!(lines, (1_000 - lines.len() as u32..1_000).collect::<Vec<_>>());
        // A smaller limit takes effect with the next line, and a new writer goes on where the last one was.
        let mut writer = Writer::new(segments.clone());
        writer.append(b"last\n", 200).unwrap();
        assert!(text(&segments).len() <= 200 && text(&segments).ends_with("000000999\nlast\n"));
    }

    #[test]
    fn only_root_reads_them() {
        let (directory, segments) = store();
        Writer::new(segments.clone()).append(b"a\n", 100).unwrap();
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&segments.path(1)), 0o600);
        assert_eq!(mode(&directory.path().join("a/events")), 0o700);
    }

    #[test]
    fn what_a_crash_cut_off_is_a_line_of_its_own() {
        let (_directory, segments) = store();
        Writer::new(segments.clone()).append(b"a\nhal", 1_000).unwrap();
        Writer::new(segments.clone()).append(b"b\n", 1_000).unwrap();
        assert_eq!(text(&segments), "a\nhal\nb\n");
    }

    #[test]
    fn a_directory_that_was_cleared_is_written_anew() {
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        writer.append(b"a\n", 1_000).unwrap();
        fs::remove_dir_all(segments.directory()).unwrap();
        writer.append(b"b\n", 1_000).unwrap();
        assert_eq!(text(&segments), "b\n");
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_half() {
        // Every write to it fails, as on a full disk (full(4)).
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let segment = Segment::new(1, "/dev/full".into(), &file.metadata().unwrap());
        let open = Open { file, segment, older: VecDeque::new() };
        let (_directory, segments) = store();
        let mut writer = Writer { segments: segments.clone(), open: Some(open) };
        let error = writer.append(b"a\n", 1_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        writer.append(b"a\n", 1_000).unwrap();
        assert_eq!(text(&segments), "a\n");
    }
}
