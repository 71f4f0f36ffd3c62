//! Rows in columns: those columns that there is room for, as wide as what stands in them where that fits.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::{text, theme::Theme};

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers stand at the right end.
    pub(super) right: bool,
    /// With so many characters nearly all stands there.
    pub(super) good: u16,
    /// The larger one goes first where there is no room for all; 0: it stays, and gets narrower.
    pub(super) rank: u8,
}

/// Below so many characters a column says nothing.
const LEAST: u16 = 5;

/// A row: what stands in each column, and how.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) cells: Vec<String>,
    pub(super) style: Style,
}

impl Column {
    pub(super) const fn left(title: &'static str, good: u16, rank: u8) -> Self {
        Self { title, right: false, good, rank }
    }

    pub(super) const fn right(title: &'static str, good: u16, rank: u8) -> Self {
        Self { title, right: true, good, rank }
    }
}

/// Draws a heading and those of `lines` around the chosen one that fit. `marked`: the chosen one is shown.
/// Returns what is left at the right end of each row that was drawn, and which line stands there.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    lines: &[Line],
    chosen: Option<usize>,
    marked: bool,
    theme: Theme,
) -> Vec<(usize, Rect)> {
    let widths = widths(columns, lines, area.width);
    let mut rows = area.rows();
    if let Some(row) = rows.next() {
        let titles: Vec<_> = columns.iter().map(|column| column.title.to_owned()).collect();
        put(buffer, row, columns, &widths, &titles, theme.faint(), theme);
    }
    let used: u16 = widths.iter().map(|width| width + u16::from(*width > 0)).sum();
    let first = first_shown(lines.len(), usize::from(area.height.saturating_sub(1)), chosen);
    let mut shown = Vec::new();
    for ((index, line), row) in lines.iter().enumerate().skip(first).zip(rows) {
        let style = if marked && chosen == Some(index) {
            buffer.set_style(row, Style::new().add_modifier(Modifier::REVERSED));
            line.style.add_modifier(Modifier::REVERSED)
        } else {
            line.style
        };
        put(buffer, row, columns, &widths, &line.cells, style, theme);
        let left = used.min(row.width);
        shown.push((index, Rect { x: row.x + left, width: row.width - left, ..row }));
    }
    shown
}

/// The first of `length` rows that is shown where `room` are, so that the chosen one stands in the middle of them.
pub(super) fn first_shown(length: usize, room: usize, chosen: Option<usize>) -> usize {
    chosen.unwrap_or(0).saturating_sub(room / 2).min(length.saturating_sub(room))
}

fn put(
    buffer: &mut Buffer,
    row: Rect,
    columns: &[Column],
    widths: &[u16],
    cells: &[String],
    style: Style,
    theme: Theme,
) {
    let mut x = row.x;
    for ((column, width), cell) in columns.iter().zip(widths).zip(cells) {
        if *width > 0 {
            let area = Rect { x, width: *width, ..row };
            text::put(buffer, area.intersection(row), cell, column.right, style, theme);
            x = x.saturating_add(width + 1);
        }
    }
}

/// How wide each column is; 0: there is no room for it.
fn widths(columns: &[Column], lines: &[Line], room: u16) -> Vec<u16> {
    let wanted: Vec<u16> = (0..columns.len()).map(|index| wanted(columns, lines, index)).collect();
    let mut widths: Vec<u16> =
        columns.iter().zip(&wanted).map(|(column, wanted)| column.good.min(*wanted)).collect();
    while used(&widths) > room {
        let there = columns.iter().enumerate().filter(|(index, _)| widths[*index] > 0);
        match there.max_by_key(|(_, column)| column.rank) {
            Some((index, column)) if column.rank > 0 => widths[index] = 0,
            _ => break,
        }
    }
    if used(&widths) > room {
        widths.iter_mut().for_each(|width| *width = LEAST.min(*width));
    }
    // What is left is for those that want more, each a character in its turn.
    while used(&widths) < room {
        let wants = |index: &usize| widths[*index] > 0 && widths[*index] < wanted[*index];
        let Some(narrowest) =
            (0..widths.len()).filter(wants).min_by_key(|index| lacks(columns, &widths, *index))
        else {
            break;
        };
        widths[narrowest] += 1;
    }
    widths
}

/// How much of what it needs the column has, in percent.
fn lacks(columns: &[Column], widths: &[u16], index: usize) -> u32 {
    u32::from(widths[index]) * 100 / u32::from(columns[index].good.max(1))
}

/// Characters that all of it takes, with a blank between columns.
fn used(widths: &[u16]) -> u16 {
    let used = widths.iter().filter(|width| **width > 0).map(|width| u32::from(*width) + 1);
    u16::try_from(used.sum::<u32>().saturating_sub(1)).unwrap_or(u16::MAX)
}

/// Characters that column `index` would take with all that stands in it.
fn wanted(columns: &[Column], lines: &[Line], index: usize) -> u16 {
    let cells = lines.iter().filter_map(|line| line.cells.get(index));
    let widths = cells.map(|cell| text::width(cell)).chain([text::width(columns[index].title)]);
    widths.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] =
        [Column::left("NAME", 8, 0), Column::right("COUNT", 5, 1), Column::left("WHY", 6, 2)];

    fn line(cells: [&str; 3]) -> Line {
        Line { cells: cells.map(str::to_owned).to_vec(), style: Style::new() }
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them_and_go_where_there_is_no_room() {
        let lines = [line(["a long name", "1", "because of it"])];
        assert_eq!(widths(&COLUMNS, &lines, 80), [11, 5, 13]);
        assert_eq!(widths(&COLUMNS, &lines, 25), [10, 5, 8]);
        assert_eq!(widths(&COLUMNS, &lines, 21), [8, 5, 6]);
        assert_eq!(widths(&COLUMNS, &lines, 20), [11, 5, 0]);
        assert_eq!(widths(&COLUMNS, &lines, 8), [8, 0, 0]);
        assert_eq!(widths(&COLUMNS, &lines, 6), [6, 0, 0]);
        let short = [line(["a", "1", "b"])];
        assert_eq!(widths(&COLUMNS, &short, 14), [4, 5, 3], "nothing more is wanted");
    }

    #[test]
    fn the_chosen_row_is_always_shown() {
        assert_eq!(first_shown(3, 5, Some(2)), 0);
        assert_eq!(first_shown(100, 10, Some(0)), 0);
        assert_eq!(first_shown(100, 10, Some(50)), 45);
        assert_eq!(first_shown(100, 10, Some(99)), 90);
        for chosen in 0..100 {
            let first = first_shown(100, 10, Some(chosen));
            assert!((first..first + 10).contains(&chosen));
        }
    }

    proptest! {
        #[test]
        fn columns_never_take_more_room_than_there_is(
            room in 5_u16..200,
            cells in prop::collection::vec(any::<[String; 3]>(), 0..5)
        ) {
            let lines: Vec<_> = cells
                .into_iter()
                .map(|cells| Line { cells: cells.to_vec(), style: Style::new() })
                .collect();
            let widths = widths(&COLUMNS, &lines, room);
            let parts = widths.iter().filter(|width| **width > 0).count() as u16;
            prop_assert!(widths.iter().sum::<u16>() + parts - 1 <= room);
        }
    }
}
