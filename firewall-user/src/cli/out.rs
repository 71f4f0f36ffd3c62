//! Printing.

use std::io::Write;

use anyhow::Result;

/// Writes all of `text`.
pub(super) fn write(to: &mut impl Write, text: &str) -> Result<()> {
    Ok(to.write_all(text.as_bytes()).or_else(broken_pipe_is_fine)?)
}

/// The reader of a pipe has enough, as `head` does.
pub(super) fn broken_pipe_is_fine(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { std::process::exit(0) } else { Err(error) }
}
