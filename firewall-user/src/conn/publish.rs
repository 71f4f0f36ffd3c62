//! Handing events to the controller, which publishes them as its own.

use std::{
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use anyhow::{Context as _, Result};

use crate::{
    event::Event,
    instance::Instance,
    subscribe::{Request, connect},
};

/// The way to a controller that runs.
#[derive(Debug)]
pub(super) struct Publisher {
    writer: BufWriter<UnixStream>,
}

impl Publisher {
    /// The controller of an instance; `None` if none runs.
    pub(super) fn of(instance: &Instance) -> Result<Option<Self>> {
        let stream = match connect(&instance.socket()) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(error).context("the controller does not answer");
            }
            Err(_) => return Ok(None),
        };
        let mut publisher = Self { writer: BufWriter::new(stream) };
        publisher
            .line(&serde_json::to_string(&Request { publish: true, ..Request::default() })?)?;
        Ok(Some(publisher))
    }

    /// Hands over an event.
    pub(super) fn publish(&mut self, event: &Event) -> Result<()> {
        self.line(&serde_json::to_string(event)?)
    }

    /// Waits until all are published.
    pub(super) fn finish(mut self) -> Result<()> {
        self.writer.flush()?;
        let stream = self.writer.get_ref();
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).context("the controller went away")?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).context("the controller gave no answer")?;
        match answer.get("error") {
            Some(error) => anyhow::bail!("the controller says: {error}"),
            None => Ok(()),
        }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.writer.write_all(line.as_bytes())?;
        Ok(self.writer.write_all(b"\n")?)
    }
}
