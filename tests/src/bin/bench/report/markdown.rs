//! The report as a page, with its plots beside it.

use std::fmt::Write as _;

use super::{GOAL_COLUMNS, PLOTS, Report, goal_row, svg, text};
use crate::section::{Section, Table};

/// Columns that running text has.
const WIDTH: usize = 110;

pub(super) fn page(report: &Report) -> String {
    let Report { date, mode, machine, note, sections } = report;
    let mut page = String::from("# What fwx costs\n\n");
    paragraph(
        &mut page,
        &format!(
            "Written by `cargo xtask bench`; do not edit. Measured on {date}, {mode}, on {machine}. {note}"
        ),
    );
    let goals: Vec<_> = report.goals().map(|goal| goal_row(goal).to_vec()).collect();
    if !goals.is_empty() {
        page += "\n## Goals\n\n";
        rows(&mut page, &GOAL_COLUMNS.map(str::to_owned), &goals);
    }
    for section in sections {
        self::section(&mut page, section);
    }
    page
}

fn section(page: &mut String, section: &Section) {
    let _ = writeln!(page, "\n## {}\n", section.title);
    paragraph(page, &section.method);
    for chart in &section.charts {
        let title = escaped(&chart.title);
        let _ = writeln!(page, "\n![{title}]({PLOTS}/{})", svg::file_name(chart));
    }
    for Table { title, columns, rows: figures } in &section.tables {
        let _ = writeln!(page, "\n### {}\n", escaped(title));
        rows(page, columns, figures);
    }
}

fn paragraph(page: &mut String, text: &str) {
    for line in text::wrapped(text, WIDTH) {
        *page += &line;
        page.push('\n');
    }
}

fn rows(page: &mut String, columns: &[String], rows: &[Vec<String>]) {
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        page.push('|');
        cells.for_each(|cell| {
            let _ = write!(page, " {cell} |");
        });
        page.push('\n');
    };
    line(&mut columns.iter().map(|name| escaped(name)));
    line(&mut (0..columns.len()).map(|column| {
        let is_figure = |row: &Vec<String>| row.get(column).is_none_or(|c| text::is_figure(c));
        let right = column > 0 && rows.iter().all(is_figure);
        if right { "---:" } else { "---" }.to_owned()
    }));
    for row in rows {
        line(&mut row.iter().map(|cell| escaped(cell)));
    }
}

/// Text that means itself, on one line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '`' | '<' | '[' | ']' => escaped.extend(['\\', c]),
            '\n' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_means_itself() {
        assert_eq!(escaped("a|b <c> *d* `e`\n[f]"), "a\\|b \\<c> \\*d\\* \\`e\\` \\[f\\]");
        assert_eq!(escaped("fwx_xdp"), "fwx_xdp");
    }

    #[test]
    fn a_table_aligns_figures_to_the_right() {
        let owned = |row: &[&str]| row.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut page = String::new();
        rows(&mut page, &owned(&["a|b", "ns", "why"]), &[owned(&["x", "1.5", "so"])]);
        assert_eq!(page, "| a\\|b | ns | why |\n| --- | ---: | --- |\n| x | 1.5 | so |\n");
    }
}
