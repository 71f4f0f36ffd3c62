//! What becomes of events: lines on standard output, packets in a file.

use std::{
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, Result};
use firewall_user::{
    event::Event,
    events::{PacketFile, Printer, create_capture, printable},
};
use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use super::source::Source;

/// So long nothing comes before people are told that this is no fault.
const SILENCE: Duration = Duration::from_secs(1);

/// Where events go.
pub(super) struct Sink {
    printer: Option<Printer>,
    to: BufWriter<AutoStream<Stdout>>,
    packets: Option<Packets>,
    /// Events that came.
    events: u64,
}

struct Packets {
    file: PacketFile<BufWriter<Box<dyn Write>>>,
    path: PathBuf,
    /// Bytes behind which it ends.
    limit: Option<u64>,
    /// Events that have no packet.
    without: u64,
}

impl Sink {
    /// # Errors
    ///
    /// The file cannot be written.
    pub(super) fn new(
        printer: Option<Printer>,
        color: ColorChoice,
        write: Option<&Path>,
        limit: Option<u64>,
    ) -> Result<Self> {
        let stdout = AutoStream::new(io::stdout(), color);
        let packets = write.map(|path| Packets::open(path, limit)).transpose()?;
        Ok(Self { printer, to: BufWriter::new(stdout), packets, events: 0 })
    }

    /// Takes events until there are no more, or somebody has enough: who pressed Ctrl-C, the reader of a pipe, or
    /// `--write-limit`.
    pub(super) async fn take_all(&mut self, mut source: Source<'_>, header: bool) -> Result<()> {
        let taken = self.until_enough(&mut source, header).await;
        let ended = taken.and_then(|()| Ok(self.flush()?));
        let ended = ended.or_else(|error| {
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            // As when `head` has enough.
            if kind == Some(io::ErrorKind::BrokenPipe) { Ok(()) } else { Err(error) }
        });
        self.summarize(source.follows());
        ended
    }

    async fn until_enough(&mut self, source: &mut Source<'_>, header: bool) -> Result<()> {
        if header && let Some(header) = self.printer.as_mut().and_then(Printer::header) {
            writeln!(self.to, "{header}")?;
        }
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let mut may_be_silent = !source.follows() || !io::stderr().is_terminal();
        while !self.is_full() {
            let event = match source.next().now_or_never() {
                Some(event) => event?,
                None => {
                    self.flush()?;
                    tokio::select! {
                        biased;
                        _ = interrupted.recv() => None,
                        _ = terminated.recv() => None,
                        event = source.next() => event?,
                        () = tokio::time::sleep(SILENCE), if !may_be_silent => {
                            eprintln!("fwx: nothing yet; waiting for events (Ctrl-C ends)");
                            may_be_silent = true;
                            continue;
                        }
                    }
                }
            };
            let Some(event) = event else { return Ok(()) };
            may_be_silent = true;
            self.take(&event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<()> {
        self.events += 1;
        if let Some(packets) = &mut self.packets
            && !packets.file.add(event)?
        {
            packets.without += 1;
        }
        match &mut self.printer {
            // What the controller says to this reader alone, such as that it is too slow, has no number.
            None if event.event_id == 0 => {
                eprintln!("fwx: {}", printable(event.message.as_deref().unwrap_or_default()))
            }
            None => {}
            Some(printer) => writeln!(self.to, "{}", printer.line(event)?)?,
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(packets) = &mut self.packets {
            packets.file.flush()?;
        }
        self.to.flush()
    }

    fn is_full(&self) -> bool {
        self.packets.as_ref().is_some_and(Packets::is_full)
    }

    /// What people cannot see from the output.
    fn summarize(&self, followed: bool) {
        if let Some(packets) = &self.packets {
            packets.summarize();
        } else if self.events == 0 && !followed && io::stderr().is_terminal() {
            eprintln!("fwx: none of the events that are remembered is meant");
        }
    }
}

impl Packets {
    fn open(path: &Path, limit: Option<u64>) -> Result<Self> {
        let to: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            let cannot = || format!("cannot write {}", path.display());
            Box::new(create_capture(path).with_context(cannot)?)
        };
        let file = PacketFile::new(BufWriter::new(to))?;
        Ok(Self { file, path: path.to_owned(), limit, without: 0 })
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.file.bytes() >= limit)
    }

    fn summarize(&self) {
        let count =
            |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let packets = count(self.file.packets(), "packet");
        let whereto = match self.path.to_str() {
            Some("-") => String::new(),
            _ => format!(" to {}", self.path.display()),
        };
        let full = if self.is_full() { ", its limit" } else { "" };
        let bytes = self.file.bytes();
        let without = match self.without {
            0 => String::new(),
            without => format!("; {} without a packet", count(without, "event")),
        };
        eprintln!("fwx: {packets} written{whereto} ({bytes} bytes{full}){without}");
    }
}
