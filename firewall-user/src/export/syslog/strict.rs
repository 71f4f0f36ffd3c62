//! A reader of RFC 5424 that takes nothing but what its grammar (section 6) says, for the tests.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A message, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) priority: u8,
    pub(super) timestamp: &'a str,
    pub(super) hostname: &'a str,
    pub(super) app_name: &'a str,
    pub(super) process: &'a str,
    pub(super) id: &'a str,
    /// Name, parameters.
    pub(super) structured: Vec<(&'a str, Vec<(&'a str, String)>)>,
    pub(super) text: Option<&'a str>,
}

/// Reads a message. `None`: it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Message<'_>> {
    let text = str::from_utf8(bytes).ok()?;
    let (priority, rest) = text.strip_prefix('<')?.split_once(">1 ")?;
    let no_zero_before = priority == "0" || !priority.starts_with('0');
    let priority = priority.parse().ok().filter(|priority| no_zero_before && *priority <= 191)?;
    let (timestamp, rest) = rest.split_once(' ')?;
    let (hostname, rest) = word(rest, 255)?;
    let (app_name, rest) = word(rest, 48)?;
    let (process, rest) = word(rest, 128)?;
    let (id, rest) = word(rest, 32)?;
    let (structured, rest) = structured(rest)?;
    let text = match rest {
        "" => None,
        rest => Some(rest.strip_prefix(' ')?),
    };
    is_timestamp(timestamp).then_some(Message {
        priority,
        timestamp,
        hostname,
        app_name,
        process,
        id,
        structured,
        text,
    })
}

/// Reads the messages of a stream (RFC 6587, section 3.4.1).
pub(super) fn counted(mut stream: &[u8]) -> Option<Vec<&[u8]>> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        let space = stream.iter().position(|byte| *byte == b' ')?;
        let count = str::from_utf8(&stream[..space]).ok()?;
        let count: usize = count.parse().ok().filter(|_| !count.starts_with(['0', '+']))?;
        let rest = &stream[space + 1..];
        messages.push(rest.get(..count)?);
        stream = &rest[count..];
    }
    Some(messages)
}

fn is_timestamp(text: &str) -> bool {
    let fraction = text.trim_end_matches('Z').split_once('.').map_or("0", |(_, digits)| digits);
    text == "-"
        || OffsetDateTime::parse(text, &Rfc3339).is_ok() && (1..=6).contains(&fraction.len())
}

fn word(text: &str, longest: usize) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(' ')?;
    let is_one =
        (1..=longest).contains(&word.len()) && word.bytes().all(|it| it.is_ascii_graphic());
    is_one.then_some((word, rest))
}

fn name<'a>(text: &'a str, ends: &[char]) -> Option<(&'a str, &'a str)> {
    let (name, rest) = text.split_at(text.find(ends)?);
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"=]\"".contains(&byte);
    ((1..=32).contains(&name.len()) && name.bytes().all(allowed)).then_some((name, rest))
}

type Elements<'a> = Vec<(&'a str, Vec<(&'a str, String)>)>;

fn structured(text: &str) -> Option<(Elements<'_>, &str)> {
    if let Some(rest) = text.strip_prefix('-') {
        return Some((Vec::new(), rest));
    }
    let mut elements = Vec::new();
    let mut rest = text;
    while let Some(element) = rest.strip_prefix('[') {
        let (id, mut inner) = name(element, &[' ', ']'])?;
        let mut parameters = Vec::new();
        while let Some(parameter) = inner.strip_prefix(' ') {
            let (name, value) = name(parameter, &['='])?;
            let (value, behind) = quoted(value.strip_prefix("=\"")?)?;
            parameters.push((name, value));
            inner = behind;
        }
        elements.push((id, parameters));
        rest = inner.strip_prefix(']')?;
    }
    (!elements.is_empty()).then_some((elements, rest))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            ']' => return None,
            '\\' => {
                // A backslash before anything else would be one that is written as it is; a strict sender escapes it.
                value.push(
                    letters.next().map(|(_, next)| next).filter(|it| r#""\]"#.contains(*it))?,
                );
            }
            other => value.push(other),
        }
    }
    None
}
