//! Running a tool of the system (`ip`, `ethtool`) to its end, with an error that says all.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Runs `command` to its end and returns what it printed.
///
/// The error holds the command line, the exit status and what stood on stderr.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    run_with_input(command, "")
}

/// Like [`run`], with `input` on the tool's stdin.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Result<String> {
    let line = command_line(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C reaches the whole foreground process group. The clean-up that it starts needs
        // its tools alive.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run `{line}`: is the tool installed?"))?;

    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // A tool that has failed already does not read its input; its exit status says more than the
    // broken pipe.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);

    let output = child.wait_with_output().with_context(|| format!("cannot wait for `{line}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let input = if input.is_empty() { String::new() } else { format!("\ninput:\n{input}") };
        bail!("`{line}` failed ({}): {}{input}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it, for messages.
pub(crate) fn command_line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_command_status_and_stderr() {
        let error = run(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`sh -c"), "{text}");
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.contains("no luck"), "{text}");
    }

    #[test]
    fn input_reaches_the_tool() {
        assert_eq!(run_with_input(&mut Command::new("cat"), "hello").unwrap(), "hello");
    }
}
