//! The command line.

mod apply;
mod check;
mod conn;
mod events;
mod filter;
mod findings;
mod names;
mod out;
mod replay;
mod rules;
mod shadow;
mod told;
mod top;
mod why;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use firewall_user::{
    apply::watcher,
    attach,
    bring_up::{Wanted, bring_up, take_down},
    controller,
    instance::Instance,
    policy::{PolicyError, PolicyText},
    preflight::preflight,
    status,
};
use nix::unistd::geteuid;

/// A stateful firewall for Linux gateways: tracks every connection at the network card, runs application
/// filters in the kernel, and says exactly why it drops or kills.
#[derive(Debug, Parser)]
#[command(name = "fwx", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "In a network namespace: nsenter --net=/run/netns/NAME fwx --instance NAME …"
)]
pub(crate) struct Cli {
    /// Which firewall of this machine: one for each network namespace
    #[arg(
        long,
        global = true,
        default_value = Instance::DEFAULT,
        env = "FWX_INSTANCE",
        value_name = "NAME"
    )]
    instance: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Attach or adopt, then read events and serve them: the service in the foreground
    #[command(after_help = "Examples:\n  fwx run --policy /etc/fwx/policy.toml\n  fwx run \
                            --interface lan0 --interface wan0\n\nThe firewall goes on when the \
                            controller ends; `fwx down` takes it down.")]
    Run {
        #[command(flatten)]
        bring: Bring,
        /// Let the kernel programs log every decision, for those who work on them; slow
        #[arg(long)]
        log_kernel: bool,
    },
    /// Attach or adopt, and leave: nobody hears events, nobody sweeps expired flows out of the tables
    #[command(after_help = "Example:\n  fwx up --policy /etc/fwx/policy.toml --mode native")]
    Up(Bring),
    /// Put another policy in force at once and as a whole; flows and the controller go on
    #[command(
        after_help = "Examples:\n  fwx apply --dry-run new.toml\n  fwx apply --confirm 60 new.toml\n  fwx \
                      confirm\n  fwx apply --live reevaluate new.toml\n  fwx \
                      apply --shadow new.toml\n\nInterfaces that are new are \
                      attached to by a controller that runs. Otherwise interfaces and the size of the flow \
                      tables change with `fwx up` and `fwx run` only."
    )]
    Apply(apply::Apply),
    /// The policy that was applied with --confirm is good: it stays in force
    #[command(after_help = "Example:\n  fwx confirm")]
    Confirm,
    /// Put a policy in force that was in force before
    #[command(
        after_help = "Examples:\n  fwx rollback --list\n  fwx rollback\n  fwx rollback 3 --confirm 60"
    )]
    Rollback(apply::Rollback),
    /// Goes back to the policy before when no confirmation comes: `fwx apply --confirm` starts it
    #[command(hide = true, name = watcher::COMMAND)]
    WatchForConfirm,
    /// Take everything down: controller, programs, tables
    #[command(after_help = "Example:\n  fwx --instance branch down")]
    Down,
    /// What is attached, what passed, what was dropped and why
    #[command(after_help = "Examples:\n  fwx status\n  fwx status -o json")]
    Status {
        #[command(flatten)]
        output: OutputOption,
    },
    /// Whether fwx can work on an interface; changes nothing
    #[command(after_help = "Example:\n  fwx preflight eth0")]
    Preflight {
        /// The interface
        #[arg(value_name = "IFACE")]
        interface: String,
        #[command(flatten)]
        output: OutputOption,
    },
    /// Whether a policy is good, and what it decides about a flow; needs no kernel and no root
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    /// Application filters: which are bound to which protocol; takes effect on live connections
    #[command(subcommand)]
    Filter(filter::Filter),
    /// A policy beside the one in force, which tells what it would do and does nothing
    #[command(subcommand)]
    Shadow(shadow::Shadow),
    /// What each rule of the policy let in and refused, when it was last hit, and its live connections
    #[command(
        after_help = "Examples:\n  fwx rules\n  fwx rules --unused\n  fwx rules --sort bytes -o json\n\nCounters \
                            begin when the firewall is brought up, or with the policy that brought the rule."
    )]
    Rules(rules::Rules),
    /// Connections: list them, look at one, kill some, forget all
    #[command(subcommand)]
    Conn(conn::Conn),
    /// Events of the controller's: what it remembers, and with --follow what comes
    #[command(after_help = events::EXAMPLES)]
    Events(Box<events::Events>),
    /// What was decided about an address, a connection or an event, by what, and which command would change it
    #[command(after_help = why::EXAMPLES)]
    Why(Box<why::Why>),
    /// A screen: flows by rate, drops over time, filters to toggle, and the log
    #[command(after_help = top::EXAMPLES)]
    Top(top::Top),
    /// What the firewall would do with the packets of a capture (pcap or pcapng), in the capture's time
    #[command(
        after_help = "Examples:\n  fwx replay camera.pcap -o json\n  fwx replay camera.pcap \
                            --policy strict.toml --events events.json\n  fwx replay camera.pcap --policy \
                            strict.toml --write refused.pcapng"
    )]
    Replay(replay::Replay),
}

#[derive(Debug, clap::Args)]
struct Bring {
    /// The policy; without one new flows are allowed and every filter watches its usual ports
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Attach to this interface instead of those of the policy; may be repeated
    #[arg(long = "interface", short, value_name = "NAME")]
    interfaces: Vec<String>,
    /// Where to catch incoming packets
    #[arg(long, value_enum, default_value_t = attach::Mode::Auto)]
    mode: attach::Mode,
    /// For so long, let TCP connections go on whose beginning nobody saw. Those that the kernel knows are taken
    /// over anyway
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    adopt: Option<u64>,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct OutputOption {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl OutputOption {
    /// Prints `value` as JSON, or `text` for people.
    fn print<T: serde::Serialize>(self, value: &T, text: impl FnOnce() -> String) -> Result<()> {
        let shown = match self.output {
            Output::Json => serde_json::to_string_pretty(value)? + "\n",
            Output::Text => text(),
        };
        out::write(&mut std::io::stdout().lock(), &shown)
    }

    fn is_json(self) -> bool {
        self.output == Output::Json
    }
}

impl Cli {
    /// Whether this is the controller, which serves others.
    pub(crate) fn is_controller(&self) -> bool {
        matches!(self.command, Command::Run { .. })
    }

    /// What is logged unless the environment says otherwise.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self.command {
            Command::Run { log_kernel: true, .. } => "warn,fwx_bpf=debug",
            _ => "warn",
        }
    }
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    let instance = Instance::new(&cli.instance)?;
    match cli.command {
        Command::Run { bring, log_kernel } => {
            let wanted = bring.wanted()?;
            // What was named by hand has to be there: else it is a slip.
            let wanted = Wanted { log_kernel, awaits: !wanted.interfaces_given, ..wanted };
            need_root()?;
            controller::run(&instance, &wanted).await?;
        }
        Command::Up(bring) => {
            let wanted = bring.wanted()?;
            need_root()?;
            up(&instance, &wanted).await?;
        }
        Command::Apply(command) => apply::apply(&instance, command)?,
        Command::Confirm => {
            need_root()?;
            apply::confirm(&instance)?;
        }
        Command::Rollback(command) => {
            need_root()?;
            apply::rollback(&instance, command)?;
        }
        Command::WatchForConfirm => watcher::watch(&instance)?,
        Command::Down => {
            need_root()?;
            let was_up = take_down(&instance)?;
            let told = if was_up { "is down" } else { "was not up" };
            eprintln!("fwx: instance {} {told}", instance.name());
        }
        Command::Status { output } => {
            need_root()?;
            let status = status::status(&instance)?;
            output.print(&status, || status.text())?;
        }
        Command::Preflight { interface, output } => {
            let answer = preflight(&interface).await?;
            output.print(&answer, || answer.text())?;
            if !answer.ready {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Check(command) => return check::run(&command),
        Command::Filter(command) => {
            need_root()?;
            filter::run(&instance, command)?;
        }
        Command::Shadow(command) => {
            need_root()?;
            shadow::run(&instance, command)?;
        }
        Command::Conn(command) => {
            need_root()?;
            conn::run(&instance, command)?;
        }
        Command::Events(command) => events::run(&instance, *command).await?,
        Command::Why(command) => return why::run(&instance, *command).await,
        Command::Top(command) => top::run(&instance, command).await?,
        Command::Rules(command) => {
            need_root()?;
            rules::run(&instance, command)?;
        }
        Command::Replay(command) => replay::run(&command)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Bring {
    fn wanted(self) -> Result<Wanted> {
        let mut text = match &self.policy {
            Some(path) => PolicyText::load(path)?,
            None => PolicyText::default(),
        };
        text.interfaces = self.interfaces;
        let interfaces_given = !text.interfaces.is_empty();
        let policy = check::checked(&text)?;
        Ok(Wanted {
            policy,
            text,
            policy_file: self.policy,
            interfaces_given,
            awaits: false,
            mode: self.mode,
            log_kernel: false,
            adopt: self.adopt.map(Duration::from_secs),
        })
    }
}

async fn up(instance: &Instance, wanted: &Wanted) -> Result<()> {
    if let Some(pid) = instance.controller() {
        let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        bail!("a controller{who} runs for the instance {:?}: end it first", instance.name());
    }
    let up = bring_up(instance, wanted).await?;
    for interface in &up.state.interfaces {
        eprintln!(
            "fwx: {}: ingress {}, egress {} ({})",
            interface.name, interface.ingress, interface.egress, interface.why
        );
    }
    eprintln!(
        "fwx: instance {} is up{}",
        instance.name(),
        if up.adopted { ", adopted what was pinned" } else { "" }
    );
    Ok(())
}

fn need_root() -> Result<()> {
    if !geteuid().is_root() {
        bail!("this needs root, for BPF: try it with sudo");
    }
    Ok(())
}

/// What went wrong, for people.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<PolicyError>() {
        Some(policy) => {
            use std::io::IsTerminal as _;
            policy.render(std::io::stderr().is_terminal())
        }
        None => format!("fwx: {error:#}\n"),
    }
}
