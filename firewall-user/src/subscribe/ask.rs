//! Asking the controller how its exports are doing.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{Answer, Request};
use crate::{export::ExportStatus, instance::Instance};

/// A controller that has not answered by then is at its end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the exports of `instance` are doing, in the order of the policy. `None`: no controller runs.
///
/// # Errors
///
/// The controller takes no more readers, or does not answer.
pub fn exports(instance: &Instance) -> Result<Option<Vec<ExportStatus>>> {
    let Ok(mut stream) = UnixStream::connect(instance.socket()) else { return Ok(None) };
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = Request { exports: true, ..Request::default() };
    let line = serde_json::to_string(&request)? + "\n";
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("the controller does not answer")?;
    match serde_json::from_str(&answer).context("the controller gave no answer")? {
        Answer::Exports { exports } => Ok(Some(exports)),
        Answer::Refused { error } => bail!("the controller says: {error}"),
        Answer::Published { .. } => bail!("the controller answers another question"),
    }
}
