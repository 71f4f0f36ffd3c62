//! Events out of lines of JSON: what `fwx events -o json`, `fwx replay --events` and exports to a file write.

use std::io::BufRead;

use anyhow::Result;

use crate::{bad_input, error::BadInput, event::Event};

/// What was read.
#[derive(Debug, Default)]
pub struct Lines {
    /// The events, one a line.
    pub events: Vec<Event>,
    /// Number of the last line, from 1, if it is the beginning of one: whoever writes it has not written the rest, or
    /// was killed meanwhile.
    pub cut_off: Option<usize>,
}

/// The events of `from`, one a line. Empty lines are passed over. `name` is what messages call it.
///
/// # Errors
///
/// It cannot be read, as a directory cannot; a line with an end is no event, or no text: bad input.
pub fn read(name: &str, mut from: impl BufRead) -> Result<Lines> {
    let mut lines = Lines::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let len = from.read_until(b'\n', &mut line);
        if len.map_err(|error| BadInput(format!("cannot read {name}: {error}")))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => lines.events.push(event),
            Err(_) if !line.ends_with(b"\n") && number > 1 => lines.cut_off = Some(number),
            Err(error) => {
                bad_input!("{name}, line {number}: no event of `fwx events -o json`: {error}")
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"{"timestamp":"2026-01-02T03:04:05.000000000Z","event":"control","event_id":1}"#;

    #[test]
    fn each_line_is_an_event_and_empty_ones_are_none() {
        let text = format!("{LINE}\n\n{LINE}\r\n{LINE}");
        let lines = read("it", text.as_bytes()).unwrap();
        assert_eq!((lines.events.len(), lines.cut_off), (3, None));
    }

    #[test]
    fn the_last_line_may_be_cut_off() {
        let text = format!("{LINE}\n{LINE}\n{}", &LINE[..30]);
        let lines = read("it", text.as_bytes()).unwrap();
        assert_eq!((lines.events.len(), lines.cut_off), (2, Some(3)));
    }

    #[test]
    fn what_is_no_event_is_bad_input_and_its_line_is_named() {
        for (text, line) in [
            (format!("{LINE}\nno event\n"), 2),
            (format!("{LINE}\n{}\n{LINE}\n", &LINE[..30]), 2),
            ("no file of lines at all".to_owned(), 1),
        ] {
            let error = read("story.json", text.as_bytes()).unwrap_err();
            assert!(error.is::<BadInput>(), "{text}");
            let begin = format!("story.json, line {line}: ");
            assert!(error.to_string().starts_with(&begin), "{error}");
        }
        assert!(read("a", &b"\xff\xfe\n"[..]).unwrap_err().is::<BadInput>());
    }

    #[test]
    fn what_cannot_be_read_is_bad_input() {
        let directory = std::fs::File::open("/").unwrap();
        let error = read("/", std::io::BufReader::new(directory)).unwrap_err();
        assert!(
            error.is::<BadInput>() && error.to_string().starts_with("cannot read /: "),
            "{error}"
        );
    }
}
