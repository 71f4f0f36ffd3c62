//! `fwx conn`.

use std::io::{BufWriter, Write as _};

use anyhow::{Result, bail};
use aya::maps::Array;
use clap::{Args, Subcommand};
use firewall_common::flow::Timeouts;
use firewall_user::{
    bad_input,
    conn::{self, Criteria, Holder, Listing, Relations, Row, Sort, Target, Viewer},
    event::Names,
    instance::Instance,
    ring::monotonic_ns,
    status,
    tables::Tables,
};
use serde::Serialize;

use super::{Output, OutputOption, out};

/// Connections that are shown to people unless they say otherwise.
const TEXT_LIMIT: usize = 1000;

#[derive(Debug, Subcommand)]
pub(super) enum Conn {
    /// Connections, those with the newest activity first
    #[command(
        after_help = "Examples:\n  fwx conn list --network 10.1.0.0/24 --protocol rtsp\n  fwx conn list \
                      --state CLOSE_WAIT --idle 60 --sort idle\n  fwx conn list --half-open --top 10\n  \
                      fwx conn list --limit 0 -o json"
    )]
    List {
        #[command(flatten)]
        filter: Filter,
        /// What comes first
        #[arg(long, value_enum, default_value_t = Sort::Activity)]
        sort: Sort,
        /// No more than so many, 0: all; 1000 if left out, and all for programs
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// Instead of connections, the N source addresses that hold most of them
        #[arg(long, value_name = "N", conflicts_with_all = ["sort", "limit"])]
        top: Option<usize>,
        #[command(flatten)]
        output: OutputOption,
    },
    /// One connection in full
    #[command(
        after_help = "Examples:\n  fwx conn show 4097\n  fwx conn show 10.1.0.2:40000 10.2.0.2:554\n  fwx \
                      conn show 'tcp [fd00:1::2]:40000 -> [fd00:2::2]:554' -o json"
    )]
    Show {
        /// Its number, or its two ends with or without the protocol before them
        #[arg(value_name = "ID|TUPLE", required = true, num_args = 1..)]
        target: Vec<String>,
        #[command(flatten)]
        output: OutputOption,
    },
    /// End connections: both ends get a RST at once, and later packets are refused
    #[command(
        after_help = "Examples:\n  fwx conn kill 4097\n  fwx conn kill 10.1.0.2:40000 10.2.0.2:554\n  fwx \
                      conn kill --network 10.1.0.77 --protocol rtsp"
    )]
    Kill {
        /// Its number, or its two ends with or without the protocol before them
        #[arg(value_name = "ID|TUPLE", num_args = 0..)]
        target: Vec<String>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Forget all connections without telling their ends: what they still send is refused
    #[command(after_help = "Example:\n  fwx conn flush --half-open --yes")]
    Flush {
        /// Also those without an answer
        #[arg(long)]
        half_open: bool,
        /// Yes, all of them
        #[arg(long)]
        yes: bool,
    },
}

/// Which connections are meant; all of it has to hold.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Either end is in this prefix, or is this address; may be repeated
    #[arg(long = "network", value_name = "PREFIX")]
    networks: Vec<String>,
    /// Either end has this port
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Protocol of the policy, or tcp, udp, icmp, or the number of an IP protocol
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// State, such as ESTABLISHED; may be repeated
    #[arg(long = "state", value_name = "NAME")]
    states: Vec<String>,
    /// Silent for at least so long
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Also connections without an answer
    #[arg(long)]
    half_open: bool,
}

impl Filter {
    fn criteria(self) -> Criteria {
        let Self { networks, port, protocol, states, idle, half_open } = self;
        Criteria { networks, port, protocol, states, idle, half_open }
    }
}

/// Runs a command on an instance that is up.
pub(super) fn run(instance: &Instance, command: Conn) -> Result<()> {
    // What is wrong with the command is wrong whether the instance is up or not.
    let target = match &command {
        Conn::Show { target, .. } => Some(Target::parse(target)?),
        Conn::Kill { target, filter } => kill_target(target, filter)?,
        Conn::Flush { yes: false, .. } => {
            bad_input!("this forgets every connection and breaks them: say so with --yes");
        }
        Conn::List { .. } | Conn::Flush { .. } => None,
    };
    let (state, tables) = status::open(instance)?;
    let names = Names::of(instance, &state);
    match command {
        Conn::List { filter, sort, limit, top, output } => {
            let criteria = filter.criteria();
            if let Some(wanted) = top {
                return print_top(&tables, &names, &criteria, wanted, output);
            }
            let limit = limit.unwrap_or(if output.is_json() { 0 } else { TEXT_LIMIT });
            let viewer = viewer(&tables, names)?;
            let selection = criteria.selection(&viewer.names)?;
            let listing = conn::list(&tables, &selection, sort, limit, viewer.now)?;
            print_list(&viewer, &listing, output)
        }
        Conn::Show { output, .. } => {
            let Some(target) = target else { bail!("no connection was named") };
            let entry = conn::find(&tables, &target)?;
            let viewer = viewer(&tables, names)?;
            let relations = Relations::of(&tables, &[entry])?;
            let children = conn::children(&tables, entry.flow.id)?;
            let details = viewer.details(&entry, &relations, children);
            output.print(&details, || details.text())
        }
        Conn::Kill { filter, .. } => kill(instance, &tables, &names, target.as_ref(), filter),
        Conn::Flush { half_open, .. } => {
            let flushed = conn::flush(instance, &tables, half_open)?;
            eprintln!("fwx: {} forgotten", connections(flushed.removed));
            if let Some(why) = flushed.unheard {
                eprintln!("fwx: no event tells of it: {why}");
            }
            Ok(())
        }
    }
}

fn kill_target(target: &[String], filter: &Filter) -> Result<Option<Target>> {
    let filtered = !filter.networks.is_empty()
        || filter.port.is_some()
        || filter.protocol.is_some()
        || !filter.states.is_empty()
        || filter.idle.is_some();
    match (target.is_empty(), filtered) {
        (false, false) => Target::parse(target).map(Some),
        (true, true) => Ok(None),
        (false, true) => {
            bad_input!("name one connection, or say by options which ones are meant, not both")
        }
        (true, false) => bad_input!(
            "this would kill every connection: name one, or say by options which ones are meant; `fwx conn \
             flush` forgets them all"
        ),
    }
}

fn kill(
    instance: &Instance,
    tables: &Tables,
    names: &Names,
    target: Option<&Target>,
    filter: Filter,
) -> Result<()> {
    let entries = match target {
        Some(target) => vec![conn::find(tables, target)?],
        None => {
            let selection = filter.criteria().selection(names)?;
            let mut found = conn::list(tables, &selection, Sort::Activity, 0, monotonic_ns())?;
            // Those that ended need no end.
            found.entries.retain(|entry| !entry.flow.state().is_over());
            found.entries
        }
    };
    let killed = conn::kill(instance, tables, &entries)?;
    if killed.killed == 0 {
        bail!("no connection was killed: there is none such, or it has ended");
    }
    eprintln!("fwx: {} killed, RSTs sent: {}", connections(killed.killed), killed.resets);
    if let Some(failure) = killed.reset_failure {
        eprintln!(
            "fwx: an end that got no RST learns of it by the answer to its next packet: {failure}"
        );
    }
    if killed.untold > 0 {
        eprintln!("fwx: {}", untold(killed.untold));
    }
    Ok(())
}

/// What is said of kills that no event tells of.
pub(super) fn untold(count: u64) -> String {
    format!(
        "no event tells of {count} of them: no controller runs, or it does not get to read its ring"
    )
}

fn connections(count: u64) -> String {
    if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") }
}

fn viewer(tables: &Tables, names: Names) -> Result<Viewer> {
    let timeouts: Array<_, Timeouts> = tables.open("TIMEOUTS")?;
    Ok(Viewer { names, timeouts: timeouts.get(&0, 0)?, now: monotonic_ns() })
}

fn print_top(
    tables: &Tables,
    names: &Names,
    criteria: &Criteria,
    wanted: usize,
    output: OutputOption,
) -> Result<()> {
    let selection = criteria.selection(names)?;
    let holders: Vec<_> = conn::top(tables, &selection, wanted, monotonic_ns())?
        .into_iter()
        .map(|(src_ip, connections)| Holder { src_ip, connections })
        .collect();
    output.print(&holders, || {
        let heading = format!("{:<40} {:>11}\n", "SOURCE", "CONNECTIONS");
        let lines = holders.iter().map(|Holder { src_ip, connections }| {
            format!("{:<40} {connections:>11}\n", src_ip.to_string())
        });
        heading + &lines.collect::<String>()
    })
}

/// Prints connection by connection: as one text a million of them would take more memory than they do.
fn print_list(viewer: &Viewer, listing: &Listing, output: OutputOption) -> Result<()> {
    let mut stdout = BufWriter::new(std::io::stdout().lock());
    let rows = listing.entries.iter().map(|entry| viewer.row(entry, &listing.relations));
    if output.output == Output::Json {
        out::write(&mut stdout, "[")?;
        for (index, row) in rows.enumerate() {
            out::write(&mut stdout, if index == 0 { "\n" } else { ",\n" })?;
            out::write(&mut stdout, &json(&row)?)?;
        }
        out::write(&mut stdout, "\n]\n")?;
    } else {
        out::write(&mut stdout, &Row::heading())?;
        for row in rows {
            out::write(&mut stdout, &row.line())?;
        }
    }
    stdout.flush().or_else(out::broken_pipe_is_fine)?;
    let hidden = listing.matched.saturating_sub(listing.entries.len() as u64);
    if hidden > 0 && output.output == Output::Text {
        eprintln!("fwx: {hidden} more; --limit 0 shows all");
    }
    Ok(())
}

fn json(row: &impl Serialize) -> Result<String> {
    Ok(format!("  {}", serde_json::to_string(row)?))
}
