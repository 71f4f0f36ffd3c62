//! One message of syslog (RFC 5424, section 6).

use std::{borrow::Cow, process};

use time::{
    OffsetDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

use super::super::{Facility, Severity, fields::fields};
use crate::{
    event::Event,
    events::{printable, sentence},
};

/// The structured data's name. A name of one's own needs a registered number behind the `@`, and this project has none.
/// 32473 is nobody's: it is kept for examples (RFC 5612), so the name says no more than what stands before it.
const SD_ID: &str = "fwx@32473";
const APP_NAME: &str = "fwx";
/// What stands where nothing can be said.
const NIL: &str = "-";
/// Longest HOSTNAME, in bytes.
const HOSTNAME_MAX: usize = 255;
/// Longest MSGID and PARAM-NAME, in bytes.
const NAME_MAX: usize = 32;
/// With microseconds: more digits are forbidden.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
/// Longest values that are tried one after the other until the structured data fits, in bytes as they are written.
/// Addresses, times and numbers fit into the last.
const VALUE_LIMITS: [usize; 5] = [usize::MAX, 1_024, 256, 96, 40];
/// What a text ends with that was cut.
const CUT: &str = "…";

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    hostname: String,
    process: u32,
}

impl Sender {
    /// This process on this machine.
    pub(super) fn here() -> Self {
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        Self::new(&hostname.to_string_lossy(), process::id())
    }

    pub(super) fn new(hostname: &str, process: u32) -> Self {
        Self { hostname: name(hostname, HOSTNAME_MAX), process }
    }
}

/// An event as a message of at most `limit` bytes, which have to be 1,024 at least: all its fields as structured data,
/// then the line for people. Nothing in it is a control character. Of what is too long the line gives way first, then the
/// ends of the longest values do, and at last whole fields.
pub(super) fn message(event: &Event, facility: Facility, sender: &Sender, limit: usize) -> String {
    let priority = facility as u32 * 8 + u32::from(Severity::of(event).number());
    let mut message = format!(
        "<{priority}>1 {} {} {APP_NAME} {} {} ",
        timestamp(&event.timestamp),
        sender.hostname,
        sender.process,
        name(&event.event, NAME_MAX),
    );
    let structured = structured_data(event, limit - message.len());
    message += &structured;
    let line = sentence(event);
    // A line of which almost nothing is left says nothing that the fields do not.
    if message.len() + 1 + line.len() <= limit || message.len() + NAME_MAX < limit {
        let room = limit - message.len() - 1;
        message.push(' ');
        message += &cut(&line, room);
    }
    message
}

/// The time with microseconds, [`NIL`] if it is no time of the calendar.
fn timestamp(rfc3339: &str) -> String {
    let time = OffsetDateTime::parse(rfc3339, &Rfc3339).ok();
    time.and_then(|time| time.checked_to_offset(UtcOffset::UTC))
        .filter(|time| (0..=9_999).contains(&time.year()))
        .and_then(|time| time.format(TIMESTAMP).ok())
        .unwrap_or_else(|| NIL.to_owned())
}

/// `text` as a name of visible ASCII.
fn name(text: &str, longest: usize) -> String {
    let allowed = |letter: char| if letter.is_ascii_graphic() { letter } else { '_' };
    let name: String = text.chars().take(longest).map(allowed).collect();
    if name.is_empty() { NIL.to_owned() } else { name }
}

/// The event's fields, in at most `limit` bytes.
fn structured_data(event: &Event, limit: usize) -> String {
    let fields: Vec<_> =
        fields(event).into_iter().map(|(name, value)| (name, escaped(&value))).collect();
    let written = |longest| element(&fields, longest, usize::MAX);
    let fitting = VALUE_LIMITS.into_iter().map(written).find(|element| element.len() <= limit);
    fitting.unwrap_or_else(|| element(&fields, VALUE_LIMITS[VALUE_LIMITS.len() - 1], limit))
}

/// The element with those fields that have room, each value cut to `longest` bytes.
fn element(fields: &[(String, String)], longest: usize, limit: usize) -> String {
    let mut element = format!("[{SD_ID}");
    for (name, value) in fields {
        let before = element.len();
        element += &format!(" {name}=\"{}\"", cut(value, longest));
        // The bracket has to follow.
        if element.len() >= limit {
            element.truncate(before);
        }
    }
    element.push(']');
    element
}

/// A value as it is written between quotes (RFC 5424, section 6.3.3).
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 8);
    for letter in printable(value).chars() {
        if matches!(letter, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// The beginning of `text` that has room in `longest` bytes, with [`CUT`] at its end if that is not all.
fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let room = longest.saturating_sub(CUT.len());
    let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let kept = &text[..end];
    let backslashes = kept.len() - kept.trim_end_matches('\\').len();
    // Of an odd number the last would escape what comes next.
    let kept = if backslashes % 2 == 1 { &kept[..end - 1] } else { kept };
    Cow::Owned(format!("{kept}{CUT}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::strict, *};
    use crate::export::fields::tests::full;

    fn sender() -> Sender {
        Sender::new("gateway.example.net", 4_711)
    }

    #[test]
    fn a_message_says_all_of_an_event() {
        let event = full();
        let text = message(&event, Facility::Local0, &sender(), 2_048);
        let read = strict::read(text.as_bytes()).unwrap();
        assert_eq!(read.priority, 16 * 8 + 4);
        assert_eq!(read.timestamp, "2026-01-02T03:04:05.678901Z");
        assert_eq!(read.hostname, "gateway.example.net");
        assert_eq!((read.app_name, read.process, read.id), ("fwx", "4711", "connection_killed"));
        assert_eq!(read.structured, [(SD_ID, borrowed(&fields(&event)))]);
        assert_eq!(read.text, Some(sentence(&event).as_str()));
    }

    fn borrowed(fields: &[(String, String)]) -> Vec<(&str, String)> {
        fields.iter().map(|(name, value)| (name.as_str(), printable(value).into_owned())).collect()
    }

    #[test]
    fn what_is_no_name_and_no_time_is_told_as_it_may_be() {
        let event = Event { timestamp: "@-5".to_owned(), event: "a b\n".to_owned(), ..full() };
        let text = message(&event, Facility::Local7, &Sender::new("", 1), 2_048);
        let read = strict::read(text.as_bytes()).unwrap();
        assert_eq!((read.timestamp, read.hostname, read.id), ("-", "-", "a_b_"));
        assert_eq!(timestamp("2026-01-02T01:00:00.5+02:00"), "2026-01-01T23:00:00.500000Z");
        assert_eq!(timestamp("9999-12-31T23:59:59-01:00"), "-");
    }

    #[test]
    fn a_text_is_cut_between_letters_and_never_within_an_escape() {
        assert_eq!(cut("caméra", 7), "caméra");
        assert_eq!(cut("caméras", 7), "cam…");
        assert_eq!(cut(r#"a\"bcdef"#, 5), "a…");
        assert_eq!(cut(r#"a\\"bcdef"#, 6), r"a\\…");
        assert_eq!(cut("abcdef", 2), "…");
    }

    #[test]
    fn a_long_message_keeps_the_fields_that_are_short() {
        let long = "]\u{1b}".repeat(5_000);
        let event = Event { message: Some(long), ..full() };
        let text = message(&event, Facility::Local0, &sender(), 2_048);
        assert!(text.len() <= 2_048);
        let read = strict::read(text.as_bytes()).unwrap();
        let [(_, parameters)] = read.structured.as_slice() else { panic!("{read:?}") };
        let all = fields(&event);
        assert_eq!(parameters.len(), all.len());
        for ((name, value), (_, whole)) in parameters.iter().zip(&all) {
            assert!(value == whole || name == &"message" && value.ends_with(CUT), "{name}");
        }
    }

    /// Text of any kind, and such as means something to syslog.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), r#"[\\"\]\[= \n\r\x00\x1b\x7fé摄]{0,40}"#, "[a-z\"]{0,3000}"]
    }

    prop_compose! {
        fn event()(texts in prop::collection::vec(hostile(), 12), numbers in any::<[u64; 4]>()) -> Event {
            let text = |index: usize| texts[index].clone();
            let mut event = full();
            event.timestamp = text(0);
            event.event = text(1);
            event.event_id = numbers[0];
            event.flow_id = Some(numbers[1]);
            event.suppressed = Some(numbers[2]);
            event.reason = Some(text(2));
            event.code = Some(text(3));
            event.interface = Some(text(4));
            event.rule = Some(text(5));
            event.message = Some(text(6));
            event.protocol = Some(text(7));
            event.instance = Some(text(8));
            if let Some(filter) = &mut event.filter {
                filter.excerpt = text(9);
                filter.finding = text(10);
                filter.offset = numbers[3];
            }
            event.community_id = Some(text(11));
            event
        }
    }

    proptest! {
        #[test]
        fn whatever_an_event_says_is_read_as_it_was_meant(
            event in event(), hostname in hostile(), limit in 1_024_usize..20_000
        ) {
            let text = message(&event, Facility::Local0, &Sender::new(&hostname, 1), limit);
            prop_assert!(text.len() <= limit);
            prop_assert!(!text.chars().any(char::is_control));
            let Some(read) = strict::read(text.as_bytes()) else {
                return Err(TestCaseError::fail(format!("not a message: {text}")));
            };
            let [(SD_ID, parameters)] = read.structured.as_slice() else {
                return Err(TestCaseError::fail(format!("not one element: {text}")));
            };
            let meant = fields(&event);
            let meant = borrowed(&meant);
            if limit >= 8_192 && meant.iter().map(|(_, value)| value.len()).sum::<usize>() < 2_000 {
                prop_assert_eq!(parameters, &meant);
                let line = sentence(&event);
                prop_assert_eq!(read.text, Some(line.as_str()));
            }
            for (name, value) in parameters {
                let whole = meant.iter().find(|(known, _)| known == name).map(|(_, value)| value);
                let is_beginning = |whole: &String| {
                    value == whole || value.strip_suffix(CUT).is_some_and(|it| whole.starts_with(it))
                };
                prop_assert!(whole.is_some_and(is_beginning), "{name} is {value:?}");
            }
        }
    }
}
