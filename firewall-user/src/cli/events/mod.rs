//! `fwx events`.

mod sink;
mod source;

use std::{io, path::PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use firewall_user::{
    bad_input,
    events::{Compact, Criteria, Fields, Isa, Printer, schema},
    instance::Instance,
    subscribe::Request,
};

use self::{sink::Sink, source::Source};
use super::{names::warn_of_unknown, out};

pub(super) const EXAMPLES: &str = "\
Of several values of one option one has to apply; one that begins with `!` must not. Times are UTC.
A drop that a kill explains says so: `← kill 5120`; `fwx events | grep 'kill 5120'` has both.

Examples:
  fwx events --follow
  fwx events --last 20 -o json
  fwx events --since 10m --event drop --network 10.2.0.0/24
  fwx events -f --rule default --port '!137'
  fwx events -f --fields time,src,dst,reason,rule
  fwx events --since 1h --event kill --write kills.pcapng
  fwx events --schema
  fwx events -f --event drop --write - | tshark -i - -T fields -e ip.src -e frame.comment";

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Go on with events as they come, also with those of the next controller when this one ends
    #[arg(long, short)]
    follow: bool,
    /// Only the last N of those that are remembered
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    #[command(flatten)]
    criteria: Criteria,
    /// How to print [default: text, or nothing with --write]
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    /// Print these fields, with tabs in between: those of -o json (tcp.flags, filter.finding, …), and time, src, dst
    #[arg(long, value_name = "FIELD,…", conflicts_with = "output")]
    fields: Option<String>,
    /// Print the names of the fields first; -o isa does so always
    #[arg(long, requires = "fields")]
    header: bool,
    /// Whether to use colours; NO_COLOR and CLICOLOR are heeded
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Write the packets behind the events to this pcapng file, in place of one that is there; `-`: to standard
    /// output. What was refused and why is each packet's comment. It may hold passwords, so it is yours alone to read
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print the JSON Schema of events and of the socket's requests and answers, and nothing else
    #[arg(long)]
    schema: bool,
    /// End when the file has so many megabytes
    #[arg(long, value_name = "MB", requires = "write", value_parser = clap::value_parser!(u64).range(1..))]
    write_limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people: one line an event
    Text,
    /// For programs: one object a line
    Json,
    /// As ISA Server's log viewer has it
    Isa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    Always,
    Never,
}

/// Prints events, or writes the packets behind them, until there are no more or somebody has enough.
pub(super) async fn run(instance: &Instance, events: Events) -> Result<()> {
    if events.schema {
        let text = serde_json::to_string_pretty(&schema())? + "\n";
        return out::write(&mut io::stdout().lock(), &text);
    }
    // What is wrong is said before anybody is asked, and before a file is written.
    events.criteria.selection(time::OffsetDateTime::now_utc().unix_timestamp_nanos())?;
    warn_of_unknown(instance, &events.criteria);
    let fields = events.fields.as_deref().map(Fields::parse).transpose()?;
    let packets = events.write.is_some() || fields.as_ref().is_some_and(Fields::need_packets);
    let printer = events.printer(fields)?;
    let header = events.header || events.output == Some(Form::Isa);
    let request = Request {
        follow: events.follow,
        last: events.last,
        criteria: events.criteria,
        packets,
        ..Request::default()
    };
    let source = Source::ask(instance, request).await?;
    let limit = events.write_limit.map(|megabytes| megabytes.saturating_mul(1_000_000));
    let mut sink = Sink::new(printer, events.color.into(), events.write.as_deref(), limit)?;
    sink.take_all(source, header).await
}

impl Events {
    /// How events are printed, if they are.
    fn printer(&self, fields: Option<Fields>) -> Result<Option<Printer>> {
        let asked = self.output.is_some() || fields.is_some();
        match self.write.as_deref() {
            Some(path) if asked && path.as_os_str() == "-" => {
                bad_input!("--write -: standard output takes packets or lines, not both")
            }
            Some(_) if !asked => return Ok(None),
            _ => {}
        }
        Ok(Some(match (fields, self.output.unwrap_or(Form::Text)) {
            (Some(fields), _) => Printer::Fields(fields),
            (None, Form::Text) => Printer::Compact(Compact::default()),
            (None, Form::Json) => Printer::Json,
            (None, Form::Isa) => Printer::Isa(Isa::default()),
        }))
    }
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}
