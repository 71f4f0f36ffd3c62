//! A terminal that nobody sits at: a program on one of the lab's machines in a pane of tmux, keys sent to it, and what
//! stands on its screen.
//!
//! tmux has a socket and a server of its own here, which runs in the foreground on the machine and ends with this.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::{host::Host, process::Process, wait};

/// How often the screen is looked at: what is drawn may wait for a walk through very many flows.
const ATTEMPTS: u32 = 3_000;
/// The one session that there is.
const SESSION: &str = "lab";
/// What a program writes that leaves the other screen (xterm's control sequences, DECRST 1049).
const LEAVES: &[u8] = b"\x1b[?1049l";

/// A terminal with a program in it.
#[derive(Debug)]
pub struct Terminal<'lab> {
    host: &'lab Host,
    socket: PathBuf,
    /// tmux. Ends with its panes.
    server: Process,
    /// Everything that the program wrote to it.
    transcript: PathBuf,
}

/// What became of a terminal's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Whether it left the terminal on the other screen, which programs take for themselves.
    pub on_other_screen: bool,
}

impl<'lab> Terminal<'lab> {
    /// Starts `program` with `columns` and `rows`, as the command's line says: its environment is the terminal's.
    pub fn start(
        host: &'lab Host,
        name: &str,
        [columns, rows]: [u16; 2],
        program: &Command,
    ) -> Result<Self> {
        let socket = host.path(&format!("{name}.tmux"));
        let mut server = host.command("tmux");
        server.arg("-S").arg(&socket).args(["-f", "/dev/null", "-D"]).env("LC_ALL", "C.UTF-8");
        let server = host.start(name, server)?;
        let transcript = host.path(&format!("{name}.transcript"));
        let terminal = Self { host, socket, server, transcript };
        wait::until("tmux listens", || {
            ensure!(terminal.socket.exists(), "there is no socket");
            Ok(())
        })?;
        // The pane stays when its program has ended, to be looked at.
        terminal.call(&["set-option", "-g", "remain-on-exit", "on"])?;
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = terminal.command();
        start.args(["new-session", "-d", "-s", SESSION, "-x", &columns, "-y", &rows, "--"]);
        start.arg(program.get_program()).args(program.get_args());
        let copy = format!("cat >'{}'", terminal.transcript.display());
        start.args([";", "pipe-pane", "-t", SESSION, &copy]);
        host.output(&mut start)?;
        Ok(terminal)
    }

    /// Sends keys, as tmux(1) calls them: `Tab`, `Enter`, `m`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.call(&[&["send-keys", "-t", SESSION, "--"], keys].concat()).map(drop)
    }

    /// Sends text, character by character.
    pub fn write(&self, text: &str) -> Result<()> {
        self.call(&["send-keys", "-t", SESSION, "-l", "--", text]).map(drop)
    }

    /// Makes it another size.
    pub fn resize(&self, [columns, rows]: [u16; 2]) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.call(&["resize-window", "-t", SESSION, "-x", &columns, "-y", &rows]).map(drop)
    }

    /// What stands on the screen, without colours.
    pub fn screen(&self) -> Result<String> {
        self.call(&["capture-pane", "-p", "-t", SESSION])
    }

    /// Waits until every one of `wanted` stands on the screen, which is returned.
    pub fn wait_for(&self, what: &str, wanted: &[&str]) -> Result<String> {
        self.wait_until(what, |screen| {
            let missing: Vec<_> = wanted.iter().filter(|text| !screen.contains(**text)).collect();
            ensure!(missing.is_empty(), "{missing:?} is not there");
            Ok(())
        })
    }

    /// Waits until the screen is as `probe` wants it, and returns it.
    pub fn wait_until(&self, what: &str, probe: impl Fn(&str) -> Result<()>) -> Result<String> {
        wait::until_within(ATTEMPTS, &format!("the screen shows {what}"), || {
            let screen = self.screen()?;
            probe(&screen).with_context(|| format!("on the screen:\n{screen}"))?;
            Ok(screen)
        })
    }

    /// How often the program gave the terminal's own screen back, which it took for itself.
    pub fn given_back(&self) -> Result<usize> {
        let transcript = fs::read(&self.transcript)?;
        Ok(transcript.windows(LEAVES.len()).filter(|it| it == &LEAVES).count())
    }

    /// The process id of the program.
    pub fn pid(&self) -> Result<i32> {
        Ok(self.format("#{pane_pid}")?.parse()?)
    }

    /// Waits for the program's end.
    pub fn wait_for_end(&self) -> Result<Ended> {
        wait::until("the program in the terminal ends", || {
            let dead = self.format("#{pane_dead}")?;
            ensure!(dead == "1", "it goes on:\n{}", self.screen()?);
            let status = self.format("#{pane_dead_status}")?;
            let signal = self.format("#{pane_dead_signal}")?;
            if status.is_empty() && signal.is_empty() {
                // The child's signal came while tmux took the terminal out of utmp. libutempter waits for a program of
                // its own then, with another handler of this signal. tmux asks for all children at the next one.
                self.server.signal(Signal::SIGCHLD)?;
            }
            let code = status.parse().with_context(|| {
                format!("tmux says no exit code but {status:?} and the signal {signal:?}")
            })?;
            Ok(Ended { code, on_other_screen: self.format("#{alternate_on}")? == "1" })
        })
    }

    fn format(&self, format: &str) -> Result<String> {
        let text = self.call(&["display-message", "-p", "-t", SESSION, format])?;
        Ok(text.trim_end().to_owned())
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        self.host.output(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut command = self.host.command("tmux");
        command.arg("-S").arg(&self.socket).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // The server ends next, and with it whatever is left.
        let _ = self.call(&["kill-session", "-t", SESSION]);
    }
}
