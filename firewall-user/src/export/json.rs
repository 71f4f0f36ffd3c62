//! A file of JSON lines that may be rotated at any time.
//!
//! The file is opened for each batch, and not held between: so whoever moves or removes it need not tell anybody, and the
//! next batch makes it anew. A batch is one write at the file's end, which two instances can do to one file. A disk that
//! fills up cuts a write; what is left of a line is taken back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::Health;
use crate::hub::{Feed, Told};

/// Most bytes of a batch, but for its last line.
const BATCH_BYTES: usize = 256 * 1024;
/// How long a batch waits for a file that can be written. What comes meanwhile stays in the feed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a write of another instance may stand still in the midst of a line.
const OTHERS_WRITE: Duration = Duration::from_millis(50);
/// The file is for its owner to write and for its group to read: events quote what people send.
const MODE: u32 = 0o640;

/// Writes each event of the feed to `file`, until the feed ends.
pub(super) async fn run(file: PathBuf, feed: &mut Feed, health: Arc<Health>) {
    let path: Arc<Path> = file.into();
    while let Some(first) = feed.next().await {
        let mut batch = Batch::default();
        batch.add(&first);
        while batch.bytes.len() < BATCH_BYTES
            && let Some(Some(told)) = feed.next().now_or_never()
        {
            batch.add(&told);
        }
        write(&path, batch, &health).await;
    }
}

/// Lines on their way to the file.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    fn add(&mut self, told: &Told) {
        self.bytes.extend_from_slice(told.line.as_bytes());
        self.bytes.push(b'\n');
    }

    fn lines(&self) -> u64 {
        lines(&self.bytes)
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes a batch, or as much of it as there is room for within [`PATIENCE`].
async fn write(path: &Arc<Path>, mut batch: Batch, health: &Health) {
    let deadline = Instant::now() + PATIENCE;
    while !batch.bytes.is_empty() {
        let waiting = batch.lines();
        let failure = match append(path, batch).await {
            (rest, Ok(())) => {
                batch = rest;
                health.sent(waiting - batch.lines());
                continue;
            }
            (rest, Err(error)) => {
                batch = rest;
                format!("cannot write {}: {error}", path.display())
            }
        };
        if Instant::now() >= deadline {
            health.failed(batch.lines(), failure);
            return;
        }
        health.failed(0, failure);
        sleep(PAUSE).await;
    }
}

/// Appends at least one line, in a thread that may wait for the disk. Returns what is left to append.
async fn append(path: &Arc<Path>, mut batch: Batch) -> (Batch, io::Result<()>) {
    let path = Arc::clone(path);
    let attempt = move || {
        let result = open(&path).and_then(|file| append_lines(&file, &batch.bytes));
        let result = result.map(|length| drop(batch.bytes.drain(..length)));
        (batch, result)
    };
    match tokio::task::spawn_blocking(attempt).await {
        Ok(result) => result,
        // Nothing there panics, and the runtime that ends asks for nothing any more.
        Err(error) => (Batch::default(), Err(error.into())),
    }
}

/// Opens the file at its end, and makes it if there is none.
///
/// # Errors
///
/// Those of open(2); and it is no file: to follow a link would let whoever may write in the directory have lines written to
/// any file of the machine, and a pipe would let its reader hold up the writer. Links to directories are followed.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(MODE).custom_flags(flags);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => {
            io::Error::other("it is a symbolic link: name the file that it leads to")
        }
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(file)
}

/// Appends as many whole lines as there is room for, at least one. Returns their length in bytes.
///
/// # Errors
///
/// Those of write(2); and not even one had room.
fn append_lines(mut file: &File, batch: &[u8]) -> io::Result<usize> {
    // Left by who was cut off and could not take it back: its line ends here, and the next is whole.
    let repair: &[u8] = if ends_in_a_line(file)? { b"\n" } else { b"" };
    let written =
        if repair.is_empty() { file.write(batch)? } else { file.write(&[repair, batch].concat())? };
    let of_batch = &batch[..written.saturating_sub(repair.len())];
    let whole = of_batch.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let torn = (of_batch.len() - whole) as u64;
    if torn > 0 {
        take_back(file, torn)?;
    }
    if whole == 0 {
        // A short write does not say which: the disk, a quota, a limit of the process.
        let text = "there is no room for a whole line";
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    Ok(whole)
}

/// Whether the file's last line has no end. What another instance is writing at this moment gets time to have one.
fn ends_in_a_line(file: &File) -> io::Result<bool> {
    let mut seen = None;
    loop {
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last == *b"\n" || seen == Some(length) {
            return Ok(last != *b"\n");
        }
        seen = Some(length);
        std::thread::sleep(OTHERS_WRITE);
    }
}

/// Removes the last `torn` bytes that were written, unless another instance has gone on behind them.
fn take_back(mut file: &File, torn: u64) -> io::Result<()> {
    use std::io::Seek as _;
    let end = file.stream_position()?;
    if file.metadata()?.len() == end
        && let Err(error) = file.set_len(end - torn)
    {
        // A file that may only grow (chattr +a) keeps it; the next write begins with the end of the line.
        tracing::debug!("cannot take back {torn} bytes: {error}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::{
        event::Event,
        events::Selection,
        export::{Condition, fields::tests::full},
        hub::Hub,
    };

    /// A directory, a file in it, and a hub with an export to that file.
    struct Bench {
        directory: tempfile::TempDir,
        file: PathBuf,
        hub: Hub,
        health: Arc<Health>,
        next: u64,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("events.json");
            Self { directory, file, hub: Hub::default(), health: Arc::default(), next: 1 }
        }

        fn start(&self) -> tokio::task::JoinHandle<()> {
            let mut feed = self.hub.feed(Selection::default());
            let (file, health) = (self.file.clone(), Arc::clone(&self.health));
            tokio::spawn(async move { run(file, &mut feed, health).await })
        }

        /// Publishes `count` events, and waits until so many more were written.
        async fn write(&mut self, count: u64) {
            let wanted = self.health.condition().sent + count;
            self.publish(count);
            while self.health.condition().sent < wanted {
                sleep(Duration::from_millis(5)).await;
            }
        }

        fn publish(&mut self, count: u64) {
            for event_id in self.next..self.next + count {
                self.hub.publish(Event { event_id, ..full() }).unwrap();
            }
            self.next += count;
        }

        async fn failure(&self) -> String {
            loop {
                if let Some(failure) = self.health.condition().failure {
                    return failure;
                }
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    fn numbers(file: &Path) -> Vec<u64> {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.ends_with('\n'));
        let number = |line: &str| serde_json::from_str::<Event>(line).unwrap().event_id;
        text.lines().map(number).collect()
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_or_removed_is_made_anew() {
        let mut bench = Bench::new();
        let _task = bench.start();
        bench.write(2).await;
        assert_eq!(fs::metadata(&bench.file).unwrap().permissions().mode() & 0o777, 0o640);
        let moved = bench.directory.path().join("events.json.1");
        fs::rename(&bench.file, &moved).unwrap();
        bench.write(2).await;
        assert_eq!((numbers(&moved), numbers(&bench.file)), (vec![1, 2], vec![3, 4]));
        fs::remove_file(&bench.file).unwrap();
        bench.write(1).await;
        assert_eq!(numbers(&bench.file), [5]);
    }

    #[tokio::test]
    async fn no_line_is_lost_or_torn_however_often_the_file_is_moved() {
        let mut bench = Bench::new();
        let _task = bench.start();
        let mut found = Vec::new();
        for turn in 0..50 {
            bench.publish(40);
            // Whatever is being written at this moment.
            let moved = bench.directory.path().join(format!("events.json.{turn}"));
            let _ = fs::rename(&bench.file, moved);
            while bench.health.condition().sent + 1_000 < bench.next {
                sleep(Duration::from_millis(1)).await;
            }
            tokio::task::yield_now().await;
        }
        bench.write(1).await;
        while bench.health.condition().sent + 1 < bench.next {
            sleep(Duration::from_millis(1)).await;
        }
        for entry in fs::read_dir(bench.directory.path()).unwrap() {
            found.extend(numbers(&entry.unwrap().path()));
        }
        found.sort_unstable();
        assert_eq!(found, (1..bench.next).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn two_instances_can_write_one_file() {
        let mut bench = Bench::new();
        let tasks = [bench.start(), bench.start()];
        bench.publish(500);
        bench.hub = Hub::default();
        for task in tasks {
            task.await.unwrap();
        }
        let mut found = numbers(&bench.file);
        found.sort_unstable();
        assert_eq!(found, (1..=500).flat_map(|number| [number; 2]).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_directory_that_is_missing_is_told_and_waited_for() {
        let mut bench = Bench::new();
        let later = bench.directory.path().join("later");
        bench.file = later.join("events.json");
        let _task = bench.start();
        bench.publish(1);
        assert!(
            bench.failure().await.ends_with("events.json: No such file or directory (os error 2)")
        );
        fs::create_dir(later).unwrap();
        bench.write(1).await;
        assert_eq!(numbers(&bench.file), [1, 2]);
        assert_eq!(bench.health.condition(), Condition { sent: 2, failed: 0, failure: None });
    }

    #[tokio::test]
    async fn what_is_no_file_is_not_written_to() {
        let mut bench = Bench::new();
        let target = bench.directory.path().join("target");
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &bench.file).unwrap();
        let task = bench.start();
        bench.publish(1);
        assert!(bench.failure().await.ends_with("name the file that it leads to"));
        assert_eq!(fs::read(&target).unwrap(), b"");
        task.abort();

        let pipe = bench.directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open(&pipe).unwrap_err().to_string(), "it is not a file");
    }

    #[test]
    fn a_line_that_was_left_torn_does_not_spoil_the_next() {
        let bench = Bench::new();
        fs::write(&bench.file, "{\"event\":\"pack").unwrap();
        let file = open(&bench.file).unwrap();
        assert_eq!(append_lines(&file, b"{}\n").unwrap(), 3);
        assert_eq!(fs::read_to_string(&bench.file).unwrap(), "{\"event\":\"pack\n{}\n");
    }
}
