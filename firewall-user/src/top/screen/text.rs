//! Numbers in few characters, and text in a row's cells.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::theme::Theme;

/// A number in at most five characters: `9999`, `12.3k`, `1.23M`.
pub(super) fn short(number: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    if number < 10_000 {
        return number.to_string();
    }
    let (mut unit, mut thousandths) = (0, u128::from(number) * 1000);
    while thousandths >= 1_000_000 {
        thousandths /= 1000;
        unit += 1;
    }
    let (whole, rest) = (thousandths / 1000, thousandths % 1000);
    match whole {
        0..=9 => format!("{whole}.{:02}{}", rest / 10, UNITS[unit]),
        10..=99 => format!("{whole}.{}{}", rest / 100, UNITS[unit]),
        _ => format!("{whole}{}", UNITS[unit]),
    }
}

/// A number with its thousands parted: `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many columns a terminal needs for `text`.
pub(super) fn width(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// Writes `text` to the left or right end of `cell`, one row; what does not fit is cut off, and shown to be.
pub(super) fn put(
    buffer: &mut Buffer,
    cell: Rect,
    text: &str,
    right: bool,
    style: Style,
    theme: Theme,
) {
    let cell = cell.intersection(buffer.area);
    if cell.is_empty() {
        return;
    }
    let needs = width(text);
    let x = if right { cell.x + cell.width.saturating_sub(needs) } else { cell.x };
    buffer.set_stringn(x, cell.y, text, usize::from(cell.width), style);
    if needs > cell.width {
        let last = cell.x + cell.width - 1;
        buffer.set_stringn(last, cell.y, theme.cut(), 1, style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_five_characters() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (123_456, "123k"),
            (999_999, "999k"),
            (1_234_567, "1.23M"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
        }
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
