//! Text from outside on its way to a terminal, a log or a column.

use std::borrow::Cow;

/// `text` with all that is not seen as it stands there written as an escape of Rust's: control characters (`\n`, `\t`,
/// `\u{1b}`, DEL, and U+0080 to U+009F, which terminals obey as well), what reverses the direction of writing, what has
/// no width, line separators, blanks that are no space, and what Unicode has not assigned. So it is one line, and one
/// character of the answer is one that is seen.
///
/// A backslash stays one: what is in events may have been escaped before.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_seen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_seen(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_debug());
        }
    }
    Cow::Owned(shown)
}

/// The same for a line of JSON, whose strings alone can hold such characters: with escapes of JSON's, so that it says what
/// it said.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_seen) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_seen(character) {
            shown.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                shown += &format!("\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(shown)
}

/// Whether the standard library, which knows Unicode's tables, would print it as it is. It escapes quotes and the
/// backslash for the sake of syntax alone.
fn is_seen(character: char) -> bool {
    matches!(character, ' '..='~') || !character.is_ascii() && character.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["", "FWX_E_TCP_NOT_SYN", r#"a "quoted" \x1b's name"#, "caméra, Straße, 摄像机"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        for (text, shown) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J\0\x7f", r"\u{1b}[2J\0\u{7f}"),
            ("\u{9b}2J\u{80}\u{9f}", r"\u{9b}2J\u{80}\u{9f}"),
            ("\u{202a}\u{202e}\u{2066}\u{2069}", r"\u{202a}\u{202e}\u{2066}\u{2069}"),
            ("\u{200b}\u{200d}\u{200f}\u{feff}\u{ad}", r"\u{200b}\u{200d}\u{200f}\u{feff}\u{ad}"),
            ("\u{2028}\u{2029}\u{85}\u{a0}", r"\u{2028}\u{2029}\u{85}\u{a0}"),
            ("\u{e0041}\u{61c}\u{2060}", r"\u{e0041}\u{61c}\u{2060}"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_that_a_terminal_obeys(text in any::<String>()) {
            let shown = printable(&text);
            let obeyed = |character: char| {
                character.is_control()
                    || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
                    || matches!(character, '\u{ad}' | '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
            };
            prop_assert!(!shown.chars().any(obeyed), "{shown:?}");
            prop_assert_eq!(printable(&shown), shown.as_ref());
        }

        #[test]
        fn json_says_what_it_said(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = printable_json(&json);
            prop_assert!(shown.chars().all(is_seen), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
