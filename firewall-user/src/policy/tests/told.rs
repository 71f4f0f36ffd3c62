//! What is said about a bad policy: where it is said to be, what text is shown, what help is given.

use super::*;

pub(super) const GATEWAY: &str = "[gateway]\ninterfaces = [\"lan0\"]\n";

/// Where the first problem of `text` is, the text shown, the message and the help.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
    pub(super) message: String,
    pub(super) help: String,
}

pub(super) fn told_all(text: &str) -> Vec<Told> {
    let error = Policy::parse("policy.toml", text).expect_err("the policy is bad");
    let entries = error.entries().into_iter();
    entries
        .map(|entry| {
            assert_eq!(entry.file, "policy.toml");
            Told {
                line: entry.line.expect("it has a place"),
                column: entry.column.expect("it has a place"),
                text: entry.text,
                message: entry.message,
                help: entry.help.unwrap_or_default(),
            }
        })
        .collect()
}

/// Asserts that the gateway's section (two lines) followed by `text` has one problem, as described.
#[track_caller]
pub(super) fn assert_told(
    text: &str,
    place: (usize, usize),
    shown: &str,
    message: &str,
    help: &str,
) {
    assert_told_in(&format!("{GATEWAY}{text}"), (place.0 + 2, place.1), shown, message, help);
}

#[track_caller]
pub(super) fn assert_told_in(
    text: &str,
    place: (usize, usize),
    shown: &str,
    message: &str,
    help: &str,
) {
    let (line, column) = place;
    let told = told_all(text);
    let [text, message, help] = [shown, message, help].map(str::to_owned);
    assert_eq!(told, [Told { line, column, text, message, help }]);
}

pub(super) const TRANSPORT_HELP: &str = "it is `tcp`, `udp`, `icmp`, `icmpv6`, another IP protocol's name such as \
     `gre`, or a number from 0 to 255";
