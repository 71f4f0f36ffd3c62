//! The upper end of the screen: who and when, what passes, how full the tables are, and what asks for attention.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{
    super::{data::Passing, model::Model},
    text::{self, grouped, short},
    theme::Theme,
};
use crate::events::printable;

/// From so many columns on there is room for each table.
const WIDE: u16 = 120;
/// Warnings that are shown at once, at most.
const WARNINGS_MAX: usize = 3;

pub(super) fn height(model: &Model) -> u16 {
    2 + warnings(model).len() as u16
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let mut rows = area.rows();
    if let Some(row) = rows.next() {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        text::put(buffer, row, &time(model), true, Style::new(), theme);
        let row = Rect { width: row.width.saturating_sub(text::width(&time(model)) + 1), ..row };
        text::put(buffer, row, &who(model), false, bold, theme);
    }
    if let Some(row) = rows.next() {
        let passes = passes(model, row.width >= WIDE);
        text::put(buffer, row, &passes, false, Style::new(), theme);
    }
    for (warning, row) in warnings(model).iter().zip(rows) {
        text::put(buffer, row, warning, false, theme.alert(), theme);
    }
}

fn who(model: &Model) -> String {
    let Some(figures) = &model.shown().figures else { return "fwx top".to_owned() };
    let controller = match (figures.controller.running, figures.controller.pid) {
        (true, Some(pid)) => format!("controller {pid}"),
        (true, None) => "controller runs".to_owned(),
        (false, _) => "no controller".to_owned(),
    };
    let policy = figures.policy.as_deref().unwrap_or("built in");
    let policy = policy.rsplit('/').next().unwrap_or(policy);
    format!("fwx top  {}  {controller}  policy {}", figures.instance, printable(policy))
}

/// The time of day of the last look, UTC.
fn time(model: &Model) -> String {
    let paused = if model.is_paused() { "PAUSED  " } else { "" };
    let figures = model.shown().figures.as_ref();
    let time = figures.and_then(|figures| figures.timestamp.get(11..19)).unwrap_or("--:--:--");
    format!("{paused}{time} UTC")
}

/// What passes, and how full the tables are: the fullest, and where there is room each.
fn passes(model: &Model, wide: bool) -> String {
    let data = model.shown();
    let passing = |Passing { packets_per_s, bits_per_s }| {
        format!("{} pkt/s {} bit/s", short(packets_per_s), short(bits_per_s))
    };
    let mut text = match data.traffic {
        Some([ingress, egress]) => format!("in {}  out {}", passing(ingress), passing(egress)),
        None => "in -  out -".to_owned(),
    };
    if let Some(walked) = &data.walked {
        text += &format!("  {} flows", grouped(walked.flows_met));
        let fills: Vec<_> = walked.tables.iter().map(|table| table.percent).collect();
        match fills[..] {
            [half_v4, half_v6, v4, v6] if wide => {
                text += &format!(
                    "  full: IPv4 {v4} %, {half_v4} % half-open; IPv6 {v6} %, {half_v6} %"
                );
            }
            _ => {
                let fullest = fills.iter().max().unwrap_or(&0);
                text += &format!("  tables {fullest} % full");
            }
        }
    }
    text
}

/// What asks for attention, the worst first.
fn warnings(model: &Model) -> Vec<String> {
    let data = model.shown();
    let mut warnings: Vec<_> = data.problem.iter().map(|why| printable(why).into_owned()).collect();
    if let Some(figures) = &data.figures {
        if let Some(since) = &figures.syn_attack_since {
            warnings.push(format!(
                "SYN attack since {} UTC: sources have to answer a challenge first",
                since.get(11..19).unwrap_or(since)
            ));
        }
        let full = data.walked.iter().flat_map(|walked| &walked.tables);
        let full: Vec<_> = full
            .filter(|table| table.percent >= 80)
            .map(|table| format!("{} {} %", table.name, table.percent))
            .collect();
        if figures.timeouts_shortened || !full.is_empty() {
            let so = if figures.timeouts_shortened { ", timeouts are shortened" } else { "" };
            warnings.push(format!("tables fill: {}{so}", full.join(", ")));
        }
        if let Some(pending) = &figures.pending {
            warnings.push(format!(
                "{} is on trial: in {} s {} comes back unless `{} confirm` is said",
                printable(&pending.policy),
                pending.seconds_left,
                printable(&pending.before),
                figures.fwx()
            ));
        }
        if !figures.controller.running {
            let fwx = figures.fwx();
            warnings.push(format!(
                "no controller: the firewall works, nobody tells of it; `{fwx} run` does"
            ));
        }
    }
    warnings.truncate(WARNINGS_MAX);
    warnings
}
