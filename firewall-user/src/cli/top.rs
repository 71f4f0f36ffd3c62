//! `fwx top`.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Result;
use clap::Args;
use firewall_user::{
    instance::Instance,
    top::{Wanted, filter_line, look::Order, once, run},
};

use super::{OutputOption, need_root, out};

/// Columns and rows of a picture that no terminal shows.
const PICTURE: [u16; 2] = [120, 40];

pub(super) const EXAMPLES: &str = "Examples:\n  fwx top\n  fwx top --interval 5 --sort bytes\n  fwx top --log \
    'reason=tcp_not_syn port=554 !event=control'\n  fwx top --once\n  fwx top -o json\n\nKeys stand at the lower end of \
    the screen; ? tells of all. NO_COLOR=1 does without colours.";

#[derive(Debug, Args)]
pub(super) struct Top {
    /// Between two looks. A walk through very many flows takes longer, and is made less often
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// What comes first among the flows
    #[arg(long, value_enum, default_value_t)]
    sort: Order,
    /// In the log only events of which this holds: words of KEY=VALUE, with the options of `fwx events` for keys
    #[arg(long, value_name = "WORDS", default_value = "")]
    log: String,
    /// Print one picture as text, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: OutputOption,
}

/// Shows the screen, or prints one picture.
pub(super) async fn run(instance: &Instance, command: Top) -> Result<()> {
    let Top { interval, sort, log, once, output } = command;
    let wanted = Wanted { period: interval, order: sort, line: log };
    // What is wrong with it is said before anything else.
    filter_line::parse(&wanted.line, time::OffsetDateTime::now_utc().unix_timestamp_nanos())?;
    need_root()?;
    if output.is_json() {
        let snapshot = once::snapshot(once::look_twice(instance, &wanted)?)?;
        return output.print(&snapshot, String::new);
    }
    if once {
        let looks = once::look_twice(instance, &wanted)?;
        let heard = once::remembered(instance, &wanted).await?;
        let picture = once::picture(looks, heard, &wanted, size())?;
        return out::write(&mut std::io::stdout().lock(), &picture);
    }
    run::run(instance, &wanted).await
}

/// As large as the terminal, if there is one.
fn size() -> [u16; 2] {
    if !std::io::stdout().is_terminal() {
        return PICTURE;
    }
    crossterm::terminal::size().map_or(PICTURE, |(width, height)| [width, height])
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.1..=3_600.0).contains(&seconds) {
        return Err("not between 0.1 and 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}
