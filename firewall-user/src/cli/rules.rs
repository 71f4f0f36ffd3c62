//! `fwx rules`.

use anyhow::Result;
use clap::Args;
use firewall_user::{
    instance::Instance,
    ring::monotonic_ns,
    rules::{self, Rule, Sort},
    status,
};

use super::OutputOption;

#[derive(Debug, Args)]
pub(super) struct Rules {
    /// Only rules that no packet ever met
    #[arg(long)]
    unused: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Policy)]
    sort: Sort,
    #[command(flatten)]
    output: OutputOption,
}

/// Prints what the rules of an instance that is up did.
pub(super) fn run(instance: &Instance, Rules { unused, sort, output }: Rules) -> Result<()> {
    let (state, tables) = status::open(instance)?;
    let mut rules = rules::rules(&state, &tables)?;
    if unused {
        rules.retain(Rule::is_unused);
    }
    sort.apply(&mut rules);
    output.print(&rules, || table(&rules))
}

fn table(rules: &[Rule]) -> String {
    let name = |rule: &Rule| match (&rule.name, rule.gone) {
        (None, _) => "(default)".to_owned(),
        (Some(name), false) => name.clone(),
        (Some(name), true) => format!("{name} (gone)"),
    };
    let width = rules.iter().map(|rule| name(rule).chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$} {:<6} {:>10} {:>12} {:>15} {:>10} {:>13}  {:<9} {:>8}\n",
        "RULE",
        "ACTION",
        "FLOWS",
        "PACKETS",
        "BYTES",
        "REFUSED",
        "REFUSED BYTES",
        "LAST HIT",
        "LIVE"
    );
    let now = monotonic_ns();
    for rule in rules {
        text += &format!(
            "{:<width$} {:<6} {:>10} {:>12} {:>15} {:>10} {:>13}  {:<9} {:>8}\n",
            name(rule),
            rule.action.as_deref().unwrap_or("-"),
            rule.flows,
            rule.packets,
            rule.bytes,
            rule.refused_packets,
            rule.refused_bytes,
            last_hit(rule, now),
            rule.live_flows
        );
    }
    text
}

/// How long ago it was.
fn last_hit(rule: &Rule, now: u64) -> String {
    if rule.last_hit_ns == 0 {
        return "never".to_owned();
    }
    let seconds = now.saturating_sub(rule.last_hit_ns) / 1_000_000_000;
    match seconds {
        0..120 => format!("{seconds}s ago"),
        120..7_200 => format!("{}m ago", seconds / 60),
        7_200..172_800 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_what_is_gone_and_the_default() {
        let named = Rule { name: Some("cameras".to_owned()), ..Rule::default() };
        let gone = Rule { gone: true, ..named.clone() };
        let text = table(&[named, Rule::default(), gone]);
        for line in ["cameras ", "(default)", "cameras (gone) -", " never "] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn ages_are_told_in_the_unit_that_fits() {
        let rule = Rule { last_hit_ns: 1, ..Rule::default() };
        for (seconds, text) in [
            (0, "0s ago"),
            (119, "119s ago"),
            (120, "2m ago"),
            (7200, "2h ago"),
            (172_800, "2d ago"),
        ] {
            assert_eq!(last_hit(&rule, 1 + seconds * 1_000_000_000), text);
        }
    }
}
