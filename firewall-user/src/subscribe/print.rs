//! Events as lines on standard output.

use std::io::Write as _;

use anyhow::Result;

use super::{Events, Request};
use crate::instance::Instance;

/// Prints events of the controller's.
///
/// # Errors
///
/// Those of [`Events`].
pub async fn print(instance: &Instance, request: Request, json: bool) -> Result<()> {
    let mut events = Events::ask(instance, &request).await?;
    let mut stdout = std::io::stdout();
    while let Some(event) = events.next().await? {
        let shown = if json { serde_json::to_string(&event)? } else { event.line() };
        match writeln!(stdout, "{shown}").and_then(|()| stdout.flush()) {
            // The reader of a pipe has enough, as `head` does.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
