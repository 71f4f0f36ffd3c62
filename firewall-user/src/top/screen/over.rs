//! What lies over the screen for a while: help, a question, an event in full.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
    symbols::border,
    text::{Line, Text},
    widgets::{Block, Clear, Paragraph, Widget as _, Wrap},
};

use super::{
    super::{change::Change, keys},
    theme::Theme,
};
use crate::{
    event::Event,
    events::{printable, sentence},
};

/// Columns that sentences take, at most.
const WIDTH_MAX: u16 = 92;
/// A frame of characters that every terminal has.
const ASCII: border::Set<'_> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

pub(super) fn help(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let lines = keys::HELP.iter().map(|[key, does]| Line::from(format!("{key:<20}{does}")));
    over(buffer, area, " Keys ", lines.collect(), theme);
}

pub(super) fn question(buffer: &mut Buffer, area: Rect, change: &Change, theme: Theme) {
    let [changes, does, gives_up, same] =
        change.question().map(|line| printable(&line).into_owned());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut lines = vec![Line::styled(changes, bold)];
    lines.extend([does, gives_up, same].map(Line::from));
    lines.push(Line::styled("Do it? y yes  n no", bold));
    over(buffer, area, " Filter ", lines, theme);
}

pub(super) fn event(buffer: &mut Buffer, area: Rect, event: &Event, fwx: &str, theme: Theme) {
    let at = printable(&event.timestamp);
    let mut lines = vec![Line::from(format!("{at} {}", sentence(event)))];
    lines.push(Line::from(format!("Its story: {fwx} why --event {}", event.event_id)));
    over(buffer, area, " Event ", lines, theme);
}

/// A frame in the middle of `area` with `lines` in it, which are broken where they have to be.
fn over(buffer: &mut Buffer, area: Rect, title: &str, lines: Vec<Line<'_>>, theme: Theme) {
    let width = area.width.saturating_sub(4).min(WIDTH_MAX);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    let height: usize = lines.iter().map(|line| rows(line, inner)).sum::<usize>() + 2;
    let height = u16::try_from(height).unwrap_or(u16::MAX).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let border = if theme.unicode { border::PLAIN } else { ASCII };
    let block = Block::bordered().border_set(border).title(title.to_owned());
    let padded = block.padding(ratatui::widgets::Padding::horizontal(1));
    Clear.render(place, buffer);
    Paragraph::new(Text::from(lines))
        .wrap(Wrap { trim: false })
        .block(padded)
        .render(place, buffer);
}

/// How many rows a line takes at most when it is broken between words.
fn rows(line: &Line<'_>, width: usize) -> usize {
    let (mut rows, mut used) = (1, 0);
    for word in line.to_string().split(' ') {
        let length = Line::from(word).width();
        if used > 0 && used + 1 + length > width {
            rows += 1;
            used = 0;
        }
        used += length + usize::from(used > 0);
        rows += used.saturating_sub(1) / width;
        used = if used > width { used % width } else { used };
    }
    rows
}
