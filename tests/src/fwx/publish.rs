//! Events of a test's own making, published by the controller as if they had happened.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Fwx;

impl Fwx<'_> {
    /// Has the controller publish `events`, which are in the form of docs/events.md.
    pub fn publish(&self, events: impl Iterator<Item = Value>) -> Result<()> {
        let path = format!("/run/fwx/{}/socket", self.instance);
        let mut stream =
            UnixStream::connect(&path).with_context(|| format!("cannot connect to {path}"))?;
        let mut lines = json!({ "publish": true }).to_string();
        let mut count = 0_u64;
        for event in events {
            lines += &format!("\n{event}");
            count += 1;
        }
        stream.write_all(lines.as_bytes())?;
        stream.write_all(b"\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer == json!({ "published": count }), "the controller answers {answer}");
        Ok(())
    }
}
