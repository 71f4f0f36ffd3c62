//! Lines on their way to a subscriber.

use std::io;

use anyhow::{Context as _, Result};
use firewall_common::reason::Reason;
use serde::Serialize;
use tokio::{io::AsyncWriteExt as _, net::unix::OwnedWriteHalf, time::timeout};

use super::protocol::STALLED_TIMEOUT;
use crate::event::Event;

/// Bytes that are written at a time.
const BATCH: usize = 64 << 10;

/// Lines on their way to a subscriber, some at a time.
#[derive(Debug)]
pub(super) struct Writer {
    stream: OwnedWriteHalf,
    lines: String,
}

impl Writer {
    pub(super) fn new(stream: OwnedWriteHalf) -> Self {
        Self { stream, lines: String::new() }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, line: &str) {
        self.lines += line;
        self.lines.push('\n');
    }

    /// Adds what the controller has to say to this subscriber alone.
    pub(super) fn add_control(&mut self, message: String) -> Result<()> {
        let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
        let event = Event::control(0, None, now, Reason::None, message);
        self.add_json(&event)
    }

    /// Adds anything as a line of JSON.
    pub(super) fn add_json(&mut self, line: &impl Serialize) -> Result<()> {
        self.add(&serde_json::to_string(line)?);
        Ok(())
    }

    /// Whether there is enough to be written.
    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= BATCH
    }

    /// Writes what was added.
    ///
    /// # Errors
    ///
    /// The subscriber is gone, or takes nothing for longer than [`STALLED_TIMEOUT`].
    pub(super) async fn flush(&mut self) -> Result<()> {
        let mut left = self.lines.as_bytes();
        while !left.is_empty() {
            let written = timeout(STALLED_TIMEOUT, self.stream.write(left));
            let written = written.await.context("it takes nothing any more")??;
            left = &left[written..];
        }
        self.lines.clear();
        Ok(())
    }

    /// Whether the other end is gone; not, if it only will say no more.
    pub(super) fn is_gone(&self) -> bool {
        // Writing nothing fails too when nobody can read it (unix_stream_sendmsg in net/unix/af_unix.c).
        let gone = |error: io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        self.stream.try_write(&[]).is_err_and(gone)
    }
}
