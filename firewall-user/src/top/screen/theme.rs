//! Colours and characters that the terminal has.

use ratatui::{
    style::{Color, Modifier, Style},
    symbols::bar,
};

/// Bars of characters that every terminal has.
const ASCII_BARS: bar::Set<'_> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "=",
    five_eighths: "=",
    half: "-",
    three_eighths: "-",
    one_quarter: ".",
    one_eighth: ".",
    empty: " ",
};

/// Colours and characters that the terminal has.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// It shows colours.
    pub coloured: bool,
    /// It shows more than ASCII.
    pub unicode: bool,
}

impl Theme {
    /// As the environment says: `NO_COLOR` (no-color.org), and the character set of the locale, locale(7).
    pub fn of_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        Self::of(set("NO_COLOR").is_some(), &locale.unwrap_or_default())
    }

    fn of(no_colour: bool, locale: &str) -> Self {
        let set = locale.to_ascii_lowercase();
        Self { coloured: !no_colour, unicode: set.contains("utf-8") || set.contains("utf8") }
    }

    pub(super) fn coloured(self, colour: Color) -> Style {
        if self.coloured { Style::new().fg(colour) } else { Style::new() }
    }

    /// What asks for attention.
    pub(super) fn alert(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What stands in the background.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) const fn bars(self) -> bar::Set<'static> {
        if self.unicode { bar::NINE_LEVELS } else { ASCII_BARS }
    }

    /// A horizontal line.
    pub(super) const fn rule(self) -> &'static str {
        if self.unicode { "─" } else { "-" }
    }

    /// What stands where text was cut off.
    pub(super) const fn cut(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// From one end to the other.
    pub(super) const fn arrow(self) -> &'static str {
        if self.unicode { "→" } else { "->" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_says_which_characters_there_are() {
        for (locale, unicode) in
            [("de_DE.UTF-8", true), ("C.utf8", true), ("C", false), ("", false), ("POSIX", false)]
        {
            assert_eq!(Theme::of(false, locale).unicode, unicode, "{locale}");
        }
        assert!(!Theme::of(true, "").coloured);
        assert_eq!(Theme::of(true, "").coloured(Color::Red), Style::new());
    }
}
