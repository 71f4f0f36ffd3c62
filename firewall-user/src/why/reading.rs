//! Events out of lines of JSON: what `fwx events -o json`, `fwx replay --events` and exports to a file write.

use std::io::BufRead;

use anyhow::{Context as _, Result};

use crate::{bad_input, event::Event};

/// The events of `from`, one a line. Empty lines are passed over. `name` is what messages call it.
///
/// # Errors
///
/// It cannot be read; a line is no event: bad input.
pub fn read(name: &str, from: impl BufRead) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for (index, line) in from.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&line) {
            Ok(event) => events.push(event),
            Err(error) => {
                bad_input!("{name}, line {}: no event of `fwx events -o json`: {error}", index + 1)
            }
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"{"timestamp":"2026-01-02T03:04:05.000000000Z","event":"control","event_id":1}"#;

    #[test]
    fn each_line_is_an_event_and_empty_ones_are_none() {
        let text = format!("{LINE}\n\n{LINE}\r\n");
        assert_eq!(read("it", text.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_event_is_bad_input_and_its_line_is_named() {
        let text = format!("{LINE}\nno event\n");
        let error = read("story.json", text.as_bytes()).unwrap_err();
        assert!(error.is::<crate::error::BadInput>());
        assert!(error.to_string().starts_with("story.json, line 2: "), "{error}");
    }
}
