//! The pane of drops: by reason, and over time.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
    widgets::{RenderDirection, Sparkline, Widget as _},
};

use super::{
    super::{
        drops::DropRow,
        model::{Model, Pane},
    },
    instead,
    table::{self, Column, Line},
    text::short,
    theme::Theme,
};
use crate::{conn::duration, events::short_reason};

const COLUMNS: [Column; 4] = [
    Column::left("REASON", 20, 0),
    Column::right("PKT/S", 5, 0),
    Column::right("LATELY", 6, 0),
    Column::right("TOTAL", 5, 0),
];
/// Columns of the course of time below which it says nothing.
const COURSE_MIN: u16 = 8;

pub(super) fn about(model: &Model) -> String {
    match model.shown().drops.seconds() {
        0 => String::new(),
        seconds => format!("in the last {}, the newest at the right", duration(seconds)),
    }
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, focused: bool, theme: Theme) {
    let drops = model.drops();
    if drops.is_empty() {
        instead(buffer, area, "nothing was dropped", theme);
        return;
    }
    let lines: Vec<_> = drops.iter().map(line).collect();
    // Beside what the reasons need there is the course of time.
    let longest = drops.iter().map(|drop| name(drop).len()).max().unwrap_or(0) as u16;
    let needed = (longest.max(20) + 20).min(area.width);
    let course = area.width.saturating_sub(needed);
    let rows = Rect { width: area.width - if course < COURSE_MIN { 0 } else { course }, ..area };
    for (index, row) in
        table::draw(buffer, rows, &COLUMNS, &lines, model.chosen(Pane::Drops), focused, theme)
    {
        let end = area.right();
        let area = Rect { x: rows.right(), width: end - rows.right(), ..row };
        // The newest stands at the right end.
        Sparkline::default()
            .data(&drops[index].history)
            .direction(RenderDirection::RightToLeft)
            .bar_set(theme.bars())
            .style(theme.coloured(Color::Yellow))
            .render(area, buffer);
    }
}

fn line(drop: &DropRow) -> Line {
    let cells =
        vec![name(drop).to_owned(), short(drop.per_s), short(drop.lately), short(drop.total)];
    Line { cells, style: Style::new() }
}

fn name(drop: &DropRow) -> &'static str {
    short_reason(drop.reason)
}
