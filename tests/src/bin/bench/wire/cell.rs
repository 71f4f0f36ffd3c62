//! Figures as they stand in tables.

use super::{site::Site, turns::Series};

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
        first.clone_from(why);
    }
    row
}

/// A figure.
pub(super) fn cell(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or(NONE.to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// Headings.
pub(super) fn columns(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

/// Why a goal has no figure: the first of the `series` that has none.
pub(super) fn trouble<T>(series: &[&Series<T>]) -> String {
    series.iter().find_map(|series| series.trouble.clone()).unwrap_or_default()
}
