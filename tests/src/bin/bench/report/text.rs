//! The report for a terminal.

use std::io::{self, Write};

use super::{Report, goal_row};
use crate::section::{Goal, Section, Table};

/// Columns that running text has.
const WIDTH: usize = 110;

pub(super) fn write(report: &Report, to: &mut impl Write) -> io::Result<()> {
    let Report { date, mode, machine, note, sections } = report;
    writeln!(to, "{machine}\n{date}, {mode}\n{note}")?;
    for (index, goal) in report.goals().enumerate() {
        if index == 0 {
            writeln!(to, "\nGOALS")?;
        }
        self::goal(goal, to)?;
    }
    sections.iter().try_for_each(|section| self::section(section, to))
}

/// A goal, whose remark may be long.
fn goal(goal: &Goal, to: &mut impl Write) -> io::Result<()> {
    const INDENT: usize = 4;
    let [what, wanted, figure, met, remark] = goal_row(goal);
    let met = match met.as_str() {
        "yes" => "met",
        "no" => "missed",
        other => other,
    };
    writeln!(to, "\n  {what}")?;
    writeln!(to, "    {met}: {figure}, wanted {wanted}")?;
    for line in wrapped(&remark, WIDTH - INDENT).iter().filter(|line| !line.is_empty()) {
        writeln!(to, "    {line}")?;
    }
    Ok(())
}

fn section(section: &Section, to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "\n{}\n", section.title.to_uppercase())?;
    for line in wrapped(&section.method, WIDTH) {
        writeln!(to, "{line}")?;
    }
    for Table { title, columns, rows: figures } in &section.tables {
        writeln!(to, "\n{title}")?;
        rows(columns, figures, to)?;
    }
    Ok(())
}

/// Names to the left; figures to the right, but where they are words.
fn rows(columns: &[String], rows: &[Vec<String>], to: &mut impl Write) -> io::Result<()> {
    let all = || std::iter::once(columns).chain(rows.iter().map(Vec::as_slice));
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let layout: Vec<_> = (0..columns.len())
        .map(|column| {
            let width = all().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
            (width, column > 0 && rows.iter().all(|row| is_figure(&cell(row, column))))
        })
        .collect();
    for row in all() {
        let mut line = String::new();
        for (column, (width, right)) in layout.iter().enumerate() {
            let cell = cell(row, column);
            line += &if *right { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
        }
        writeln!(to, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Whether a cell holds a number, or nothing.
pub(super) fn is_figure(cell: &str) -> bool {
    cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || "+-?".contains(c))
}

/// `text` in lines of at most `width` characters, broken between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let owned = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let (columns, lines) =
            (owned(&["what", "ns"]), [owned(&["parse", "7.1"]), owned(&["all of it", "148"])]);
        let mut text = Vec::new();
        rows(&columns, &lines, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "  what        ns\n  parse      7.1\n  all of it  148\n");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three\n\nfour", 7), ["one two", "three", "", "four"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
    }
}
