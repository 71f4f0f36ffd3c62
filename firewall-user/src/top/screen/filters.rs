//! The pane of filters: which are bound, and what they did.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
};

use super::{
    super::model::{Model, Pane},
    instead,
    table::{self, Column, Line},
    text::short,
    theme::Theme,
};
use crate::{
    events::printable,
    status::{FilterStatus, Port},
};

const COLUMNS: [Column; 9] = [
    Column::left("PROTOCOL", 8, 0),
    Column::left("PORTS", 6, 3),
    Column::left("FILTER", 6, 0),
    Column::left("MODE", 7, 0),
    Column::left("PROFILE", 8, 0),
    Column::right("SEGMENTS", 8, 2),
    Column::right("FINDINGS", 8, 0),
    Column::right("KILLS", 5, 0),
    Column::right("HELD", 5, 4),
];

pub(super) fn about(model: &Model) -> String {
    let kills: u64 = model.filters().iter().map(|filter| filter.kills).sum();
    if kills > 0 { format!("{} killed", short(kills)) } else { String::new() }
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, focused: bool, theme: Theme) {
    let filters = model.filters();
    if filters.is_empty() {
        instead(buffer, area, "the policy names no protocol", theme);
        return;
    }
    let lines: Vec<_> = filters.iter().map(|filter| line(filter, theme)).collect();
    table::draw(buffer, area, &COLUMNS, &lines, model.chosen(Pane::Filters), focused, theme);
}

fn line(filter: &FilterStatus, theme: Theme) -> Line {
    let bound = filter.filter.as_deref();
    let of_filter = |text: &str| if bound.is_some() { text.to_owned() } else { "-".to_owned() };
    let cells = vec![
        printable(&filter.protocol).into_owned(),
        ports(filter),
        of_filter(bound.unwrap_or_default()),
        bound.map_or_else(|| "unbound".to_owned(), |_| filter.mode.clone()),
        of_filter(&filter.profile),
        short(filter.segments),
        short(filter.findings),
        short(filter.kills),
        short(filter.held),
    ];
    let style = match (bound, filter.mode.as_str()) {
        (None, _) | (_, "off") => theme.faint(),
        (_, "enforce") => theme.coloured(Color::Green),
        (_, "monitor") => theme.coloured(Color::Yellow),
        _ => Style::new(),
    };
    Line { cells, style }
}

fn ports(filter: &FilterStatus) -> String {
    let ports = filter.ports.iter().map(|port| match port {
        Port::One(number) => number.to_string(),
        Port::Range(range) => range.clone(),
    });
    ports.collect::<Vec<_>>().join(",")
}
