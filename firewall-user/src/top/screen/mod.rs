//! Drawing the state of the screen.

mod bottom;
mod drops;
mod filters;
mod flows;
mod header;
mod log;
mod over;
mod table;
mod text;
mod theme;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
};

pub use self::theme::Theme;
use super::model::{Mode, Model, Pane};

/// Below this nothing is to be recognised any more.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 16;
/// From here on drops and filters stand side by side.
const WIDE: u16 = 110;
/// Rows of a pane that say something: title, heading, and one more.
const PANE_MIN: u16 = 3;

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        too_small(buffer, area, theme);
        return;
    }
    let (header, bottom) = (header::height(model), bottom::height(model));
    let parts = [Constraint::Length(header), Constraint::Fill(1), Constraint::Length(bottom)];
    let [top, middle, below] = Layout::vertical(parts).areas(area);
    header::draw(buffer, top, model, theme);
    for (pane, area) in panes(middle, model) {
        draw_pane(buffer, area, model, pane, theme);
    }
    bottom::draw(buffer, below, model, theme);
    match &model.mode {
        Mode::Browse | Mode::Line => {}
        Mode::Help => over::help(buffer, middle, theme),
        Mode::Question(change) => over::question(buffer, middle, change, theme),
        Mode::Event(event) => over::event(buffer, middle, event, &model.fwx(), theme),
    }
}

fn too_small(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let lines = [
        format!("{} x {} is too small:", area.width, area.height),
        format!("fwx top needs {WIDTH_MIN} x {HEIGHT_MIN}"),
        "q quits".to_owned(),
    ];
    for (line, row) in lines.iter().zip(area.rows()) {
        text::put(buffer, row, line, false, Style::new(), theme);
    }
}

/// Which panes are shown, and where.
fn panes(area: Rect, model: &Model) -> Vec<(Pane, Rect)> {
    if model.zoomed {
        return vec![(model.pane, area)];
    }
    let bands: &[&[Pane]] = if area.width >= WIDE {
        &[&[Pane::Flows], &[Pane::Drops, Pane::Filters], &[Pane::Log]]
    } else {
        &[&[Pane::Flows], &[Pane::Drops], &[Pane::Filters], &[Pane::Log]]
    };
    let heights = heights(bands, area.height, model);
    let rows = Layout::vertical(heights.into_iter().map(Constraint::Length)).split(area);
    let mut placed = Vec::new();
    for (band, row) in bands.iter().zip(rows.iter()) {
        let cells = Layout::horizontal(band.iter().map(|_| Constraint::Fill(1))).spacing(1);
        placed.extend(band.iter().copied().zip(cells.split(*row).iter().copied()));
    }
    placed
}

/// How high each band is. Drops and filters get no more than they need; the others do not change with what they
/// show, so that the picture stands still. The pane where the keys act gets more.
fn heights(bands: &[&[Pane]], height: u16, model: &Model) -> Vec<u16> {
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(2);
    let needs = |pane: &Pane| match pane {
        Pane::Flows | Pane::Log => u16::MAX,
        Pane::Drops => rows(model.shown().drops.len().max(2)),
        Pane::Filters => rows(model.filters().len().max(2)),
    };
    let wants: Vec<u16> =
        bands.iter().map(|band| band.iter().map(needs).max().unwrap_or(0)).collect();
    let mut heights = vec![PANE_MIN; bands.len()];
    let mut left = height.saturating_sub(PANE_MIN * bands.len() as u16);
    let of = |pane: Pane| bands.iter().position(|band| band.contains(&pane)).unwrap_or(0);
    let turns = [model.pane, Pane::Flows, Pane::Log, Pane::Filters, Pane::Drops].map(of);
    for turn in turns.into_iter().cycle() {
        if left == 0 {
            break;
        }
        if heights[turn] < wants[turn] {
            heights[turn] += 1;
            left -= 1;
        }
    }
    heights
}

fn draw_pane(buffer: &mut Buffer, area: Rect, model: &Model, pane: Pane, theme: Theme) {
    let Some(row) = area.rows().next() else { return };
    let focused = model.pane == pane;
    let about = match pane {
        Pane::Flows => flows::about(model),
        Pane::Drops => drops::about(model),
        Pane::Filters => filters::about(model),
        Pane::Log => log::about(model),
    };
    title(buffer, row, pane, &about, focused, theme);
    let inner = Rect { y: area.y + 1, height: area.height - 1, ..area };
    match pane {
        Pane::Flows => flows::draw(buffer, inner, model, focused, theme),
        Pane::Drops => drops::draw(buffer, inner, model, focused, theme),
        Pane::Filters => filters::draw(buffer, inner, model, focused, theme),
        Pane::Log => log::draw(buffer, inner, model, focused, theme),
    }
}

fn title(buffer: &mut Buffer, row: Rect, pane: Pane, about: &str, focused: bool, theme: Theme) {
    let line = theme.rule().repeat(usize::from(row.width));
    text::put(buffer, row, &line, false, theme.faint(), theme);
    let (name, style) = if focused {
        (format!("[{}]", pane.title()), Style::new().add_modifier(Modifier::BOLD))
    } else {
        (format!(" {} ", pane.title()), Style::new())
    };
    let named = Rect { x: row.x + 1, width: row.width.saturating_sub(2), ..row };
    text::put(buffer, named, &name, false, style, theme);
    let used = text::width(&name) + 1;
    if !about.is_empty() {
        let told = Rect { x: named.x + used, width: named.width.saturating_sub(used), ..row };
        text::put(buffer, told, &format!(" {about} "), false, Style::new(), theme);
    }
}

/// A sentence where rows would be.
fn instead(buffer: &mut Buffer, area: Rect, sentence: &str, theme: Theme) {
    if let Some(row) = area.rows().next() {
        let row = Rect { x: row.x + 1, width: row.width.saturating_sub(1), ..row };
        text::put(buffer, row, sentence, false, theme.faint(), theme);
    }
}

#[cfg(test)]
mod tests;
