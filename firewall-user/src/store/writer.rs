//! Writing events to disk.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _};

use super::{
    Segments,
    segments::{Segment, Sort},
    series::Series,
};

/// Weighty events alone have this share of all bytes, in files that stay when those with all events make room.
const WEIGHTY_SHARE: u64 = 4;
/// A file with all events has this share of the bytes of all of its sort, so that what is removed at a time is no more.
const SHARE: u64 = 8;
/// Largest file, in bytes.
const SEGMENT_MAX: u64 = 64 << 20;

/// Lines to be appended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    all: Vec<u8>,
    /// Those of them that stay longest.
    weighty: Vec<u8>,
}

/// Appends lines to the files of a store.
#[derive(Debug)]
pub(super) struct Writer {
    segments: Segments,
    open: Option<Open>,
}

/// The files that are written to. Both have the same number.
#[derive(Debug)]
struct Open {
    all: Series,
    weighty: Series,
}

impl Lines {
    /// Adds a line, without its newline.
    pub(super) fn push(&mut self, line: &str, is_routine: bool) {
        let begin = self.all.len();
        self.all.extend_from_slice(line.as_bytes());
        self.all.push(b'\n');
        if !is_routine {
            self.weighty.extend_from_slice(&self.all[begin..]);
        }
    }

    /// Bytes of all lines.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl Writer {
    pub(super) fn new(segments: Segments) -> Self {
        Self { segments, open: None }
    }

    /// Appends lines. All files together take no more than `limit` bytes of the disk afterwards, unless the lines alone
    /// do.
    ///
    /// # Errors
    ///
    /// None of the lines is there then; but a crash may leave the first part of them.
    pub(super) fn append(&mut self, lines: &Lines, limit: u64) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) if open.all.is_there() && open.weighty.is_there() => open,
            _ => Open::new(&self.segments)?,
        };
        open.append(lines, limit)?;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    /// The newest files, or the first ones.
    fn new(segments: &Segments) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(segments.directory())?;
        let there = segments.list()?;
        let [all, weighty] =
            [Sort::All, Sort::Weighty].map(|sort| Series::new(segments, sort, &there));
        let mut open = Self { all, weighty };
        open.go_to(match there.last() {
            Some(newest) if is_whole(newest) => newest.number,
            Some(newest) => newest.number + 1,
            None => 1,
        })?;
        Ok(open)
    }

    /// Opens the files with this number. A segment may lack the second, which repeats some of the first.
    fn go_to(&mut self, number: u64) -> io::Result<()> {
        self.all.go_to(number)?;
        self.weighty.go_to(number)
    }

    fn append(&mut self, lines: &Lines, limit: u64) -> io::Result<()> {
        let weighty_limit = limit / WEIGHTY_SHARE;
        let all_limit = limit - weighty_limit;
        let len = self.all.len();
        if len > 0 && len + lines.len() as u64 > (all_limit / SHARE).min(SEGMENT_MAX) {
            self.go_to(self.all.number() + 1)?;
        }
        // Both before anything is written: a disk that is full may have room then.
        self.all.make_room(lines.all.len(), all_limit, 0)?;
        self.weighty.make_room(lines.weighty.len(), weighty_limit, self.all.oldest())?;
        self.weighty.remove_empty_before(self.all.oldest())?;
        let before = self.weighty.len();
        self.weighty.append(&lines.weighty)?;
        self.all.append(&lines.all).inspect_err(|_| self.weighty.cut(before))
    }
}

/// Whether what is appended to both files of a segment is in both. Not if a version began it that knew no weighty ones,
/// or somebody removed one of them.
fn is_whole(segment: &Segment) -> bool {
    match (segment.len(Sort::All), segment.len(Sort::Weighty)) {
        (Some(_), Some(_)) | (Some(0), None) => true,
        (Some(_), None) | (None, _) => false,
    }
}

#[cfg(test)]
impl Lines {
    /// Lines, or parts of them, as they come in masses.
    pub(super) fn routine(all: impl Into<Vec<u8>>) -> Self {
        Self { all: all.into(), weighty: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File},
        os::unix::fs::MetadataExt as _,
        path::Path,
    };

    fn store() -> (tempfile::TempDir, Segments) {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::at(directory.path().join("a/events"));
        (directory, segments)
    }

    fn numbers(segments: &Segments) -> Vec<u32> {
        segments.text().lines().map(|line| line.parse().unwrap()).collect()
    }

    /// What the files take on the disk, as the file system counts it.
    fn taken(segments: &Segments) -> u64 {
        let files = fs::read_dir(segments.directory()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
    }

    fn line(number: u32, is_routine: bool) -> Lines {
        let mut lines = Lines::default();
        lines.push(&format!("{number:099}"), is_routine);
        lines
    }

    #[test]
    fn the_oldest_go_and_the_limit_holds() {
        const LIMIT: u64 = 256 << 10;
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        for number in 0..5_000 {
            writer.append(&line(number, true), LIMIT).unwrap();
            assert!(number % 100 > 0 || taken(&segments) <= LIMIT, "{}", taken(&segments));
        }
        let kept = numbers(&segments);
        assert!(kept.len() > 1_600, "{}", kept.len());
        assert_eq!(kept, (5_000 - kept.len() as u32..5_000).collect::<Vec<_>>());
        // A smaller limit takes effect with the next line, and a new writer goes on where the last one was.
        let mut writer = Writer::new(segments.clone());
        writer.append(&line(5_000, true), LIMIT / 4).unwrap();
        assert!(taken(&segments) <= LIMIT / 4);
        assert!(numbers(&segments).ends_with(&[4_999, 5_000]));
    }

    /// The first event that is there with all its like: from it on there is none missing.
    fn first_of_all(kept: &[u32]) -> u32 {
        let last = *kept.last().unwrap();
        let whole = kept.iter().rev().zip((0..=last).rev()).take_while(|(kept, all)| *kept == all);
        *whole.last().unwrap().0
    }

    #[test]
    fn what_comes_in_masses_does_not_crowd_out_what_does_not() {
        const LIMIT: u64 = 256 << 10;
        const EVERY: u32 = 1_000;
        // By one writer, and by one for each event: a controller that begins anew.
        for is_lasting in [true, false] {
            let (_directory, segments) = store();
            let mut writer = Writer::new(segments.clone());
            for number in 0..15_000 {
                if !is_lasting {
                    writer = Writer::new(segments.clone());
                }
                writer.append(&line(number, !number.is_multiple_of(EVERY)), LIMIT).unwrap();
                if number % 500 == 499 {
                    let kept = numbers(&segments);
                    assert_eq!(*kept.last().unwrap(), number);
                    let first = first_of_all(&kept);
                    assert!(number - first > 1_500.min(number - 1), "{number}, {first}");
                    let weighty = (0..first).step_by(EVERY as usize);
                    assert!(kept.iter().copied().eq(weighty.chain(first..=number)), "{number}");
                    assert!(taken(&segments) <= LIMIT, "{}", taken(&segments));
                }
            }
            // No file is left in which nothing is, but beside one with all events.
            let all = segments.files(Sort::All).len();
            assert!(segments.files(Sort::Weighty).len() <= all + 15);
            // Nor do those crowd out the others: they have their share.
            for number in 15_000..20_000 {
                writer.append(&line(number, false), LIMIT).unwrap();
            }
            assert!(taken(&segments) <= LIMIT, "{}", taken(&segments));
            let kept = numbers(&segments);
            let first = first_of_all(&kept);
            assert!((15_001..18_400).contains(&first) && kept[0] == first, "{first}");
        }
    }

    /// What a smaller limit asks for does not wait for a kill.
    #[test]
    fn a_limit_that_shrinks_holds_for_both() {
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        for number in 0..20_000 {
            writer.append(&line(number, false), 64 << 20).unwrap();
        }
        for number in 20_000..25_000 {
            writer.append(&line(number, true), 1 << 20).unwrap();
            assert!(number < 20_001 || taken(&segments) <= 1 << 20, "{number}");
        }
    }

    #[test]
    fn files_of_weighty_events_are_bounded_in_number() {
        const LIMIT: u64 = 128 << 20;
        let (_directory, segments) = store();
        let mut weighty = Series::new(&segments, Sort::Weighty, &[]);
        fs::create_dir_all(segments.directory()).unwrap();
        for number in 1..6_000 {
            weighty.go_to(number).unwrap();
            weighty.append(b"x\n").unwrap();
            // Those that are not alone count by their bytes only.
            weighty.make_room(0, LIMIT, 5_000).unwrap();
        }
        let alone = segments.files(Sort::Weighty).len() - 1_000;
        assert!((3_900..=4_096).contains(&alone), "{alone}");
    }

    #[test]
    fn a_number_is_not_used_again() {
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        for number in 0..500 {
            writer.append(&line(number, false), 64 << 10).unwrap();
        }
        for all in segments.files(Sort::All) {
            fs::remove_file(all).unwrap();
        }
        writer.append(&line(500, true), 64 << 10).unwrap();
        let kept = numbers(&segments);
        assert!(kept.len() > 50, "{}", kept.len());
        assert_eq!(kept, (501 - kept.len() as u32..501).collect::<Vec<_>>());
    }

    #[test]
    fn only_root_reads_them() {
        let (directory, segments) = store();
        Writer::new(segments.clone()).append(&line(1, false), 64 << 10).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&segments.path(Sort::All, 1)), 0o600);
        assert_eq!(mode(&segments.path(Sort::Weighty, 1)), 0o600);
        assert_eq!(mode(&directory.path().join("a/events")), 0o700);
    }

    #[test]
    fn what_a_crash_cut_off_is_a_line_of_its_own() {
        let (_directory, segments) = store();
        Writer::new(segments.clone()).append(&Lines::routine("a\nhal"), 1_000).unwrap();
        Writer::new(segments.clone()).append(&Lines::routine("b\n"), 1_000).unwrap();
        assert_eq!(segments.text(), "a\nhal\nb\n");
    }

    #[test]
    fn a_directory_that_was_cleared_is_written_anew() {
        let (_directory, segments) = store();
        let mut writer = Writer::new(segments.clone());
        writer.append(&line(1, false), 64 << 10).unwrap();
        fs::remove_dir_all(segments.directory()).unwrap();
        writer.append(&line(2, false), 64 << 10).unwrap();
        // Of one that lacks its like nothing is known.
        fs::remove_file(segments.path(Sort::Weighty, 1)).unwrap();
        writer.append(&line(3, false), 64 << 10).unwrap();
        assert_eq!(numbers(&segments), [2, 3]);
        let weighty = fs::read(segments.path(Sort::Weighty, 2)).unwrap();
        assert_eq!(weighty, line(3, false).all);
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_half() {
        let (_directory, segments) = store();
        Writer::new(segments.clone()).append(&line(1, false), 64 << 10).unwrap();
        for sort in [Sort::All, Sort::Weighty] {
            let mut open = Open::new(&segments).unwrap();
            // Every write to it fails, as on a full disk (full(4)).
            let full = File::options().append(true).open("/dev/full").unwrap();
            match sort {
                Sort::All => open.all.write_to(full),
                Sort::Weighty => {
                    open.weighty.go_to(1).unwrap();
                    open.weighty.write_to(full);
                }
            }
            let error = open.append(&line(2, false), 64 << 10).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            for sort in [Sort::All, Sort::Weighty] {
                let there = fs::read(segments.path(sort, 1)).unwrap();
                assert_eq!(there, line(1, false).all);
            }
        }
    }
}
