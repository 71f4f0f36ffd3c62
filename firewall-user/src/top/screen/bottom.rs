//! The lower end of the screen: what is to be said, the filter line while it is written, and the keys.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{
    super::{
        keys,
        model::{Mode, Model},
    },
    text,
    theme::Theme,
};
use crate::events::printable;

pub(super) fn height(model: &Model) -> u16 {
    let says = model.notice.is_some() || model.fault.is_some();
    1 + u16::from(says) + u16::from(model.mode == Mode::Line)
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model, theme: Theme) {
    let mut rows = area.rows();
    if let Some(fault) = &model.fault {
        say(buffer, rows.next(), fault, true, theme);
    } else if let Some(notice) = &model.notice {
        say(buffer, rows.next(), &notice.text, notice.bad, theme);
    }
    if model.mode == Mode::Line
        && let Some(row) = rows.next()
    {
        write_line(buffer, row, &model.draft, theme);
    }
    if let Some(row) = rows.next() {
        let line = keys::line(&model.mode, model.pane);
        buffer.set_style(row, Style::new().add_modifier(Modifier::REVERSED));
        let style = Style::new().add_modifier(Modifier::REVERSED);
        text::put(buffer, row, line, false, style, theme);
    }
}

fn say(buffer: &mut Buffer, row: Option<Rect>, text: &str, bad: bool, theme: Theme) {
    let style = if bad { theme.alert() } else { Style::new().add_modifier(Modifier::BOLD) };
    if let Some(row) = row {
        text::put(buffer, row, &printable(text), false, style, theme);
    }
}

/// The end of the line is where one writes: it is what is shown of a long one.
fn write_line(buffer: &mut Buffer, row: Rect, draft: &str, theme: Theme) {
    const PROMPT: &str = "filter: ";
    let shown = format!("{}_", printable(draft));
    let room = row.width.saturating_sub(text::width(PROMPT));
    let mut rest = shown.as_str();
    while text::width(rest) > room {
        rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]);
    }
    text::put(buffer, row, &format!("{PROMPT}{rest}"), false, Style::new(), theme);
}
