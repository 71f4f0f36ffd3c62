//! What one sees while a long command runs whose own output is of no interest.

use std::{
    io::{BufRead as _, BufReader, IsTerminal as _, pipe, stderr},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::process;

/// Runs the command behind a line that says `what` is going on and for how long. Where standard
/// error is not a terminal there are plain lines instead: one at the start, one every now and then,
/// one at the end. What the command printed is shown only if it fails.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    let shown = process::shown(command);
    let started = Instant::now();
    let display = Display::new(what);

    let (reader, writer) = pipe().context("could not make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("could not start `{shown}`"))?;
    // The command holds the writing ends of the pipe: the reader would never see its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (sender, lines) = channel();
    let reading = thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let output = display.follow(&lines, started);
    reading.join().expect("reading lines does not panic");

    let status = child.wait().with_context(|| format!("lost sight of `{shown}`"))?;
    display.finish(status.success(), started.elapsed());
    if status.success() { Ok(()) } else { Err(process::failure(&shown, status, &output)) }
}

/// `1.2 s` or `3 min 04 s`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

enum Display<'a> {
    Spinner { what: &'a str, bar: ProgressBar },
    Plain { what: &'a str },
}

impl<'a> Display<'a> {
    fn new(what: &'a str) -> Self {
        if !stderr().is_terminal() {
            eprintln!("{what} …");
            return Self::Plain { what };
        }
        let style = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg:.dim}")
            .expect("the template is a constant");
        let bar = ProgressBar::new_spinner().with_style(style).with_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self::Spinner { what, bar }
    }

    /// Shows lines as they come until there are no more, and returns them all.
    fn follow(&self, lines: &Receiver<String>, started: Instant) -> String {
        const SAY_SOMETHING_EVERY: Duration = Duration::from_secs(15);
        let mut output = String::new();
        let mut last = String::new();
        let mut said = started;
        loop {
            match lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    output.push_str(&line);
                    output.push('\n');
                    // A program that redraws its line separates the versions with '\r'.
                    last = line.rsplit('\r').next().unwrap_or_default().trim().to_owned();
                    if let Self::Spinner { bar, .. } = self {
                        bar.set_message(last.clone());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return output,
            }
            if let Self::Plain { what } = self
                && said.elapsed() >= SAY_SOMETHING_EVERY
            {
                said = Instant::now();
                eprintln!("{what} … {}: {last}", human(started.elapsed()));
            }
        }
    }

    fn finish(&self, succeeded: bool, took: Duration) {
        let verdict = if succeeded { "done" } else { "FAILED" };
        match self {
            Self::Spinner { what, bar } => {
                bar.finish_and_clear();
                eprintln!("{what}: {verdict} after {}", human(took));
            }
            Self::Plain { what } => eprintln!("{what}: {verdict} after {}", human(took)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(human(Duration::from_secs(184)), "3 min 04 s");
    }

    #[test]
    fn both_streams_of_a_failing_command_are_in_its_error() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 7"]);
        let message = run("testing", &mut command).unwrap_err().to_string();
        assert!(message.contains("exit status: 7"), "{message}");
        assert!(message.contains("\n    out") && message.contains("\n    err"), "{message}");
    }
}
