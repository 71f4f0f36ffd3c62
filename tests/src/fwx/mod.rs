//! The firewall under test: the `fwx` binary on one of the lab's machines, driven as an administrator
//! drives it, by its commands.

mod output;
mod publish;

use std::{env, fmt, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

pub use self::output::{
    Binding, Connection, Controller, Event, ExportStatus, FamilyFlows, Finding, Flows,
    InterfaceStatus, Packets, Pending, Pinhole, Pinholes, Status,
};
use crate::{
    cleanup::{self, Leftover},
    host::Host,
    process::Process,
    wait,
};

/// How long a command of fwx may take, in seconds.
const COMMAND_LIMIT_SECONDS: &str = "120";
/// What coreutils' `timeout` exits with when the limit is reached.
const TIMED_OUT: i32 = 124;
/// Names the directory where fwx keeps what a reboot leaves.
const STATE_DIRECTORY: &str = "FWX_STATE_DIRECTORY";
/// Events that [`Fwx::diagnostics`] shows.
const EVENTS_SHOWN: usize = 30;

/// Where the ingress program is attached: `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The best that works.
    Auto,
    /// XDP in the driver.
    Native,
    /// XDP in the kernel's generic path.
    Generic,
    /// TC ingress.
    Tc,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Auto, Mode::Native, Mode::Generic, Mode::Tc];
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Auto => "auto",
            Mode::Native => "native",
            Mode::Generic => "generic",
            Mode::Tc => "tc",
        })
    }
}

/// How a command of fwx ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was typed, for messages.
    pub line: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Outcome {
    /// What it printed, or an error when its exit code is not 0.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.code == Some(0),
            "`{}` failed with exit code {:?}: {}",
            self.line,
            self.code,
            self.stderr.trim()
        );
        Ok(self.stdout)
    }
}

/// An instance of fwx on a machine. Dropping it takes the instance down.
#[derive(Debug)]
pub struct Fwx<'lab> {
    host: &'lab Host,
    instance: String,
    binary: PathBuf,
    controller: Option<Process>,
    /// The end of the log of the controller before, for messages.
    former_log: String,
    /// Set by the first command that may attach or pin something.
    leftover: Option<Leftover>,
    /// The options of the last `run` or `up`.
    options: Vec<String>,
    /// Options of every `run` and `up` besides policy and mode.
    further: Vec<String>,
}

impl<'lab> Fwx<'lab> {
    /// An instance called `instance` on `host`; nothing is started yet.
    ///
    /// The binary is the one that the environment variable `FWX` names, else the one built beside
    /// this program.
    pub fn new(host: &'lab Host, instance: String) -> Result<Self> {
        Ok(Self {
            host,
            binary: find_binary()?,
            instance,
            controller: None,
            former_log: "(no controller)".to_owned(),
            leftover: None,
            options: Vec::new(),
            further: Vec::new(),
        })
    }

    /// Gives `run` and `up` further options from now on, e.g. `["--adopt", "60"]`.
    pub fn set_further_options(&mut self, options: &[&str]) {
        self.further = options.iter().map(|&option| option.to_owned()).collect();
    }

    /// The name given with `--instance`.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Starts the controller (`fwx run`) with the text of a policy and waits until it runs.
    pub fn run(&mut self, policy: &str, mode: Mode) -> Result<()> {
        self.set_options(policy, mode)?;
        self.run_again()
    }

    /// Starts the controller as the last time, e.g. after [`Fwx::kill_controller`].
    pub fn run_again(&mut self) -> Result<()> {
        ensure!(self.controller.is_none(), "the controller of {} runs already", self.instance);
        self.remember()?;
        let mut command = self.host.command(&self.binary);
        command.args(["--instance", &self.instance, "run"]).args(&self.options);
        command.env(STATE_DIRECTORY, self.state_directory());
        let controller = self.controller.insert(self.host.start("fwx", command)?);

        let pid = controller.pid();
        wait::until("the controller of fwx runs", || {
            // The borrow ends with each call: status() needs all of self.
            self.controller.as_mut().context("was just started")?.check_alive()?;
            let running = self.status()?.controller;
            ensure!(
                running.running && running.pid.is_none_or(|its| its == pid),
                "status says {running:?}, we started {pid}"
            );
            Ok(())
        })
        .with_context(|| format!("fwx said:\n{}", self.log_tail()))
    }

    /// `fwx run` that is expected to fail at once: returns how it ended, or an error when it runs on.
    pub fn run_expecting_failure(&mut self, policy: &str, mode: Mode) -> Result<Outcome> {
        self.set_options(policy, mode)?;
        self.remember()?;
        let options: Vec<_> = self.options.clone();
        let arguments: Vec<_> =
            std::iter::once("run").chain(options.iter().map(String::as_str)).collect();
        self.call(&arguments)
    }

    /// `fwx up` with the text of a policy: attached, and no controller. Returns what it said.
    pub fn up(&mut self, policy: &str, mode: Mode) -> Result<String> {
        self.set_options(policy, mode)?;
        self.remember()?;
        let options: Vec<_> = self.options.clone();
        let arguments: Vec<_> =
            std::iter::once("up").chain(options.iter().map(String::as_str)).collect();
        let outcome = self.call(&arguments)?;
        let said = outcome.stderr.clone();
        outcome.success().map(|_| said)
    }

    /// What the controller said last.
    pub fn controller_log(&self) -> String {
        self.log_tail()
    }

    /// `fwx down`, and the end of the controller.
    pub fn down(&mut self) -> Result<()> {
        let down = match self.leftover.take() {
            Some(leftover) => cleanup::remove(&leftover),
            None => Ok(()),
        };
        down.and(self.stop_controller())
    }

    /// SIGKILL to the controller. What is attached goes on.
    pub fn kill_controller(&mut self) -> Result<()> {
        let mut controller = self.controller.take().context("no controller runs")?;
        controller.signal(Signal::SIGKILL)?;
        self.former_log = controller.tail();
        controller.wait().map(drop)
    }

    /// SIGTERM to the controller, and to one that does not heed it, SIGKILL.
    pub fn stop_controller(&mut self) -> Result<()> {
        let Some(mut controller) = self.controller.take() else { return Ok(()) };
        if controller.exit_status()?.is_none() {
            controller.signal(Signal::SIGTERM)?;
            controller.wait().context("after SIGTERM")?;
        }
        self.former_log = controller.tail();
        Ok(())
    }

    /// `fwx status`.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status", "-o", "json"])
    }

    /// `fwx filter list`.
    pub fn bindings(&self) -> Result<Vec<Binding>> {
        self.json(&["filter", "list", "-o", "json"])
    }

    /// What `fwx filter list` says of `protocol`.
    pub fn binding(&self, protocol: &str) -> Result<Binding> {
        let bindings = self.bindings()?;
        let seen = format!("{bindings:?}");
        bindings
            .into_iter()
            .find(|binding| binding.protocol == protocol)
            .with_context(|| format!("`fwx filter list` has no {protocol}: {seen}"))
    }

    /// `fwx conn list`.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        self.json(&["conn", "list", "--limit", "0", "-o", "json"])
    }

    /// `fwx filter pinholes`.
    pub fn pinholes(&self) -> Result<Vec<Pinhole>> {
        self.json(&["filter", "pinholes", "-o", "json"])
    }

    /// Where events and metrics go, and how that is doing.
    pub fn exports(&self) -> Result<Vec<ExportStatus>> {
        Ok(self.status()?.exports)
    }

    /// `fwx filter …` with `arguments`, e.g. `["mode", "rtsp", "monitor"]`.
    pub fn filter(&self, arguments: &[&str]) -> Result<()> {
        self.call(&[&["filter"], arguments].concat())?.success().map(drop)
    }

    /// `fwx events`: what the controller remembers, the oldest first.
    pub fn events(&self) -> Result<Vec<Event>> {
        Event::parse_lines(&self.call(&["events", "-o", "json"])?.success()?)
    }

    /// Waits for an event that `wanted` accepts; `what` says which.
    pub fn wait_for_event(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        wait::until(&format!("fwx reports {what}"), || {
            self.events()?.into_iter().find(&wanted).context("no such event")
        })
        .with_context(|| self.diagnostics())
    }

    /// Puts the text of another policy in force (`fwx apply`).
    pub fn apply(&self, policy: &str) -> Result<Outcome> {
        self.call(&["apply", &self.write_policy(policy)?])
    }

    /// Where the instance keeps the policies that were in force.
    pub fn state_directory(&self) -> PathBuf {
        self.host.path(&format!("{}-state", self.instance))
    }

    /// A command of fwx for this instance, which is not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command: Command = self.host.command(&self.binary);
        command.args(["--instance", &self.instance]).args(arguments);
        command.env(STATE_DIRECTORY, self.state_directory());
        command
    }

    /// Runs any command of fwx for this instance to its end.
    pub fn call(&self, arguments: &[&str]) -> Result<Outcome> {
        self.call_in(&[], arguments)
    }

    /// Runs any command of fwx for this instance to its end, with further variables in its environment.
    pub fn call_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Outcome> {
        let mut command: Command = self.host.command("timeout");
        command.args(["--kill-after=1", COMMAND_LIMIT_SECONDS]).arg(&self.binary);
        command.args(["--instance", &self.instance]).args(arguments);
        command.env(STATE_DIRECTORY, self.state_directory()).envs(environment.iter().copied());
        let line = format!("fwx --instance {} {}", self.instance, arguments.join(" "));
        let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
        let outcome = Outcome {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        if outcome.code == Some(TIMED_OUT) {
            bail!(
                "`{}` went on for {COMMAND_LIMIT_SECONDS} seconds: {}",
                outcome.line,
                outcome.stderr
            );
        }
        Ok(outcome)
    }

    /// The last events and the end of the controller's log, for messages.
    pub fn diagnostics(&self) -> String {
        let events = match self.events() {
            Ok(events) => {
                let shown = &events[events.len().saturating_sub(EVENTS_SHOWN)..];
                shown.iter().map(|event| format!("  {}\n", event.line)).collect()
            }
            Err(error) => format!("  {error:#}\n"),
        };
        format!("events of {}:\n{events}its log:\n{}", self.instance, self.log_tail())
    }

    fn log_tail(&self) -> String {
        match &self.controller {
            Some(controller) => controller.tail(),
            None => self.former_log.clone(),
        }
    }

    fn set_options(&mut self, policy: &str, mode: Mode) -> Result<()> {
        let path = self.write_policy(policy)?;
        self.options = vec!["--policy".into(), path, "--mode".into(), mode.to_string()];
        self.options.extend_from_slice(&self.further);
        Ok(())
    }

    fn write_policy(&self, policy: &str) -> Result<String> {
        let path = self.host.write_file(&format!("{}.toml", self.instance), policy)?;
        let path = path.into_os_string().into_string();
        path.map_err(|path| anyhow!("{} is not UTF-8", path.display()))
    }

    /// From now on, the end of this process takes the instance down.
    fn remember(&mut self) -> Result<()> {
        if self.leftover.is_none() {
            let leftover = Leftover::Instance {
                binary: self.binary.clone(),
                namespace: self.host.namespace().to_owned(),
                instance: self.instance.clone(),
            };
            cleanup::remember(&leftover, || Ok(()))?;
            self.leftover = Some(leftover);
        }
        Ok(())
    }

    fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let text = self.call(arguments)?.success()?;
        serde_json::from_str(&text)
            .with_context(|| format!("`fwx {}` printed:\n{text}", arguments.join(" ")))
    }
}

impl Drop for Fwx<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.diagnostics());
        }
        if let Err(error) = self.down() {
            eprintln!("lab: cannot take {} down: {error:#}", self.instance);
        }
    }
}

/// The `fwx` under test: `$FWX`, else `fwx` beside this program or in a build directory above it.
pub fn find_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("FWX") {
        let path = PathBuf::from(path);
        return path
            .canonicalize()
            .with_context(|| format!("FWX names {}, which is not there", path.display()));
    }
    let program = env::current_exe().context("cannot find out where this program is")?;
    // target/release/demo, or target/debug/deps/lab_plays-0123456789abcdef.
    program
        .ancestors()
        .skip(1)
        .take(3)
        .flat_map(|above| ["fwx", "release/fwx", "debug/fwx"].map(|name| above.join(name)))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "there is no fwx beside {}: `cargo xtask build` makes it, or FWX names another",
                program.display()
            )
        })
}
