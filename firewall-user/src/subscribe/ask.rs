//! Asking the controller how its exports are doing.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::{Answer, Request, connect};
use crate::{export::ExportStatus, instance::Instance};

const SILENT: &str = "the controller does not answer";

/// How the exports of `instance` are doing, in the order of the policy. `None`: no controller runs.
///
/// # Errors
///
/// The controller takes no more readers, or does not answer.
pub fn exports(instance: &Instance) -> Result<Option<Vec<ExportStatus>>> {
    exports_by(&instance.socket())
}

fn exports_by(socket: &Path) -> Result<Option<Vec<ExportStatus>>> {
    let mut stream = match connect(socket) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(SILENT),
        Err(_) => return Ok(None),
    };
    let request = Request { exports: true, ..Request::default() };
    let line = serde_json::to_string(&request)? + "\n";
    // A controller that takes no more readers may say so and leave before it has read this.
    match stream.write_all(line.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(error).context("the controller takes no question");
        }
        _ => {}
    }
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(SILENT),
        read => read.context("the controller went away")?,
    };
    match serde_json::from_str(&answer).context("the controller gave no answer")? {
        Answer::Exports { exports } => Ok(Some(exports)),
        Answer::Refused { error } => bail!("the controller says: {error}"),
        Answer::Published { .. } => bail!("the controller answers another question"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::{UnixListener, UnixStream},
        thread,
    };

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    fn listener(directory: &Path) -> (UnixListener, std::path::PathBuf) {
        let path = directory.join("socket");
        (UnixListener::bind(&path).unwrap(), path)
    }

    #[test]
    fn a_controller_that_is_full_is_heard_though_it_leaves_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (listener, path) = listener(directory.path());
        let controller = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"error\":\"too many\"}\n").unwrap();
        });
        let error = exports_by(&path).unwrap_err();
        assert_eq!(error.to_string(), "the controller says: too many");
        controller.join().unwrap();
        assert!(exports_by(&path).unwrap().is_none(), "nobody listens any more");
    }

    #[test]
    fn a_controller_that_does_not_look_keeps_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let (listener, path) = listener(directory.path());
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        let error = exports_by(&path).unwrap_err();
        assert_eq!(error.to_string(), "the controller does not answer");
        drop(waiting);
    }
}
