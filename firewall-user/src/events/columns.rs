//! Lines in columns, for a stream of which nobody knows how wide it will become.

use anstyle::Style;

use super::printable;

/// A column does not become wider than this: what is longer moves the rest of its own line alone.
const WIDTH_MAX: usize = 30;

/// Columns that are as wide as the widest text so far: once one had to grow, the lines behind are aligned with it.
#[derive(Clone, Debug)]
pub(super) struct Columns<const N: usize> {
    widths: [usize; N],
}

/// What stands in a column, or behind all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// `text`, made printable.
    pub(super) fn new(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: printable(text.as_ref()).into_owned(), style }
    }

    pub(super) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Style::new())
    }
}

impl<const N: usize> Columns<N> {
    /// With columns as wide as this at least, in characters.
    pub(super) const fn new(widths: [usize; N]) -> Self {
        Self { widths }
    }

    /// A line, without the newline: a cell for each column, and behind them `rest`, each two blanks from the next.
    pub(super) fn line(&mut self, cells: [Cell; N], rest: &[Cell]) -> String {
        let mut line = String::new();
        let mut blanks = 0;
        for (cell, width) in cells.iter().zip(&mut self.widths) {
            let len = cell.text.chars().count();
            *width = (*width).max(len.min(WIDTH_MAX));
            push(&mut line, &mut blanks, cell);
            blanks += width.saturating_sub(len) + 1;
        }
        blanks += 1;
        for cell in rest {
            push(&mut line, &mut blanks, cell);
            blanks = 2;
        }
        line
    }
}

/// Adds a cell behind as many `blanks`. Those at the end of a line are never written.
fn push(line: &mut String, blanks: &mut usize, cell: &Cell) {
    if cell.text.is_empty() {
        return;
    }
    line.extend(std::iter::repeat_n(' ', std::mem::take(blanks)));
    let Cell { text, style } = cell;
    *line += &format!("{style}{text}{style:#}");
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    #[test]
    fn a_column_grows_and_stays() {
        let mut columns = Columns::new([3, 1]);
        let mut line =
            |a: &str, b: &str| columns.line([a, b].map(Cell::plain), &[Cell::plain("e")]);
        assert_eq!(line("a", "b"), "a   b  e");
        assert_eq!(line("abcdef", ""), "abcdef    e");
        assert_eq!(line("a", "b"), "a      b  e");
        assert_eq!(line(&"x".repeat(99), "b"), format!("{} b  e", "x".repeat(99)));
        assert_eq!(line("", "b").len(), WIDTH_MAX + " b  e".len());
    }

    #[test]
    fn colour_takes_no_room_and_nothing_hides_in_a_cell() {
        let mut columns = Columns::new([2]);
        let red = AnsiColor::Red.on_default();
        assert_eq!(
            columns.line([Cell::new("a", red)], &[Cell::plain("b")]),
            "\x1b[31ma\x1b[0m   b"
        );
        assert_eq!(columns.line([Cell::plain("\x1b\n")], &[]), "\\u{1b}\\n");
    }
}
