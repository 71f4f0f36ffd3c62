//! Figures as they stand in tables.

use super::{site::Site, turns::Series};
use crate::spread::Spread;

/// What stands where there is no figure.
const NONE: &str = "–";

/// A row: the name, then the figures with so many decimals. Where there are none, the reason stands in place of the
/// first.
pub(super) fn row<T>(
    site: &Site<'_>,
    series: &Series<T>,
    figures: &[(Option<f64>, usize)],
) -> Vec<String> {
    let mut row = vec![site.name().to_owned()];
    row.extend(figures.iter().map(|&(figure, decimals)| cell(figure, decimals)));
    if let (Some(why), Some(first)) = (&series.trouble, row.get_mut(1)) {
        *first = brief(why);
    }
    row
}

/// A figure.
pub(super) fn cell(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or(NONE.to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// Of paired ratios: their median, its 95 % interval, and between what half of them lie. [`ratio_columns`] are the
/// headings.
pub(super) fn ratio(ratios: Vec<f64>) -> [String; 3] {
    Spread::of(ratios).map_or([NONE; 3].map(str::to_owned), |spread| {
        [cell(Some(spread.median), 2), spread.interval_text(), spread.half_text()]
    })
}

pub(super) fn ratio_columns(against: &str) -> [String; 3] {
    [format!("x {against}"), "95 %".to_owned(), "half of all".to_owned()]
}

/// Headings.
pub(super) fn columns(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

/// Why a goal has no figure: the first of the `series` that has none.
pub(super) fn trouble<T>(series: &[&Series<T>]) -> String {
    series.iter().find_map(|series| series.trouble.as_deref()).map(brief).unwrap_or_default()
}

/// What stands in a table or a remark of an error that may have several lines: its beginning, in one.
pub(super) fn brief(error: &str) -> String {
    const MOST: usize = 200;
    let line = error.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_brief_in_a_table() {
        assert_eq!(brief("no:\n  × such\n"), "no: × such");
        let long = brief(&"é".repeat(300));
        assert_eq!(long.chars().count(), 202);
        assert!(long.ends_with("é …"));
    }

    #[test]
    fn a_figure_that_there_is_not_is_a_dash() {
        assert_eq!([cell(Some(1.26), 1), cell(None, 1)], ["1.3", "–"]);
    }
}
