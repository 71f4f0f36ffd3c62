//! The subscriber's end of the socket.

use std::{io, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::{Gid, Group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{Answer, Request};
use crate::{event::Event, instance::Instance};

/// Events of a controller, as they come.
#[derive(Debug)]
pub struct Events {
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// The controller ends with its subscriber: this end stays open.
    _writer: OwnedWriteHalf,
}

impl Events {
    /// Asks the controller of `instance`.
    ///
    /// # Errors
    ///
    /// No controller runs; or the user may not read events, and who may is said.
    pub async fn ask(instance: &Instance, request: &Request) -> Result<Self> {
        let path = instance.socket();
        let stream =
            UnixStream::connect(&path).await.map_err(|error| refused(error, instance, &path))?;
        let (reader, mut writer) = stream.into_split();
        let line = serde_json::to_string(request)? + "\n";
        // A controller that takes no more subscribers may say so and leave before it has read this.
        match writer.write_all(line.as_bytes()).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        Ok(Self { lines: BufReader::new(reader).lines(), _writer: writer })
    }

    /// The next event. `None`: there are no more, or the controller ended.
    ///
    /// May be cancelled without losing one.
    ///
    /// # Errors
    ///
    /// What the controller says is wrong with the request; a line that is no event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        let line = self.lines.next_line().await.context("the controller went away")?;
        line.map(|line| parse(&line)).transpose()
    }
}

fn parse(line: &str) -> Result<Event> {
    serde_json::from_str(line).or_else(|error| match serde_json::from_str(line) {
        Ok(Answer::Refused { error }) => bail!("the controller says: {error}"),
        _ => Err(error).with_context(|| format!("not an event: {line}")),
    })
}

/// Why there is no connection, and what to do about it.
fn refused(error: io::Error, instance: &Instance, path: &Path) -> anyhow::Error {
    let name = instance.name();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow!(
            "no controller runs for the instance {name:?}: start one with `fwx --instance {name} run`"
        ),
        io::ErrorKind::PermissionDenied => match group_of(path) {
            Some(group) => anyhow!(
                "the events of the instance {name:?} are for root and the group {group:?}: try it with sudo, or as a \
                 member of that group"
            ),
            None => {
                anyhow!("the events of the instance {name:?} are root's to read: try it with sudo")
            }
        },
        // As many wait already as may.
        io::ErrorKind::WouldBlock => {
            anyhow!("the controller of the instance {name:?} does not answer: try it again")
        }
        _ => anyhow::Error::new(error).context(format!("cannot connect to {}", path.display())),
    }
}

/// The group that may use the socket besides root.
fn group_of(path: &Path) -> Option<String> {
    let socket = std::fs::metadata(path).ok()?;
    let is_for_group = socket.mode() & 0o060 != 0;
    let group = Group::from_gid(Gid::from_raw(socket.gid())).ok().flatten();
    is_for_group.then(|| group.map_or_else(|| socket.gid().to_string(), |group| group.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_as_the_controller_words_it() {
        let error = parse(r#"{"error":"--port x: not a number"}"#).unwrap_err();
        assert_eq!(error.to_string(), "the controller says: --port x: not a number");
        let error = parse("{}").unwrap_err();
        assert_eq!(error.to_string(), "not an event: {}");
    }

    #[test]
    fn an_event_may_have_fields_that_are_not_known() {
        let line = r#"{"timestamp":"2026-01-02T03:04:05.000000000Z","event":"control","event_id":1,"new":{}}"#;
        assert_eq!(parse(line).unwrap().event_id, 1);
    }
}
