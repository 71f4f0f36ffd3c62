//! What single parts of an event are called, wherever people read them.

use std::net::{IpAddr, SocketAddr};

use firewall_common::event::EventKind;

use super::printable;
use crate::event::{self, CONTROL, Event, Tcp};

/// What stands in a column of which an event has nothing to say.
pub(super) const NOTHING: &str = "-";

/// What people read for a kind of event. A kill is what one looks for.
pub fn short_kind(event: &str) -> &str {
    match event::kind(event) {
        Some(EventKind::ConnectionOpened) => "opened",
        Some(EventKind::ConnectionClosed) => "closed",
        Some(EventKind::ConnectionKilled) => "KILL",
        Some(EventKind::PacketDropped) => "drop",
        Some(EventKind::FilterFinding) => "finding",
        None if event == CONTROL => "note",
        None => event,
    }
}

/// The name of a result code without what nearly all of them begin and many end with:
/// `FWX_E_TCP_NOT_SYN_PACKET_DROPPED` is `TCP_NOT_SYN`. No two have the same.
pub fn short_reason(name: &str) -> &str {
    let name = name.strip_prefix("FWX_E_").unwrap_or(name);
    let endings = ["_PACKET_DROPPED", "_DROPPED"];
    endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

/// An address with its port if there is one, as addresses are written: `10.1.0.2:554`, `[fd00:1::2]:554`.
pub fn endpoint(address: Option<IpAddr>, port: Option<u16>) -> String {
    match (address, port) {
        (Some(address), Some(port)) => SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => NOTHING.to_owned(),
    }
}

/// What stood in a TCP header: the flags, and numbers that had to be others.
pub(super) fn segment(tcp: &Tcp) -> String {
    let Tcp { flags, seq, ack, expected, expected_ack, .. } = tcp;
    let mut text = format!("[{flags}]");
    if let Some([low, high]) = expected {
        text += &format!(" seq {seq} expected {low} to {high}");
    }
    if let Some([low, high]) = expected_ack {
        text += &format!(" ack {ack} expected {low} to {high}");
    }
    text
}

/// What the filter found, where, and what stood there.
pub(super) fn finding(event: &Event) -> Option<String> {
    let filter = event.filter.as_ref()?;
    Some(format!(
        "{}/{} at byte {} ({}, {}): \"{}\"",
        filter.name, filter.finding, filter.offset, filter.mode, filter.profile, filter.excerpt
    ))
}

/// The rule that decided, in quotes if its name has blanks.
pub(super) fn rule(event: &Event) -> Option<String> {
    let name = event.rule.as_ref()?;
    let quote = if name.contains(char::is_whitespace) { "\"" } else { "" };
    Some(format!("rule {quote}{name}{quote}"))
}

/// `text`, printable, and cut if it is longer than `max` bytes.
pub(super) fn bounded(text: &str, max: usize) -> String {
    const CUT: &str = "…";
    let mut shown = printable(text).into_owned();
    if shown.len() > max {
        let ends = shown.char_indices().map(|(at, character)| at + character.len_utf8());
        let end = ends.take_while(|end| *end <= max - CUT.len()).last();
        shown.truncate(end.unwrap_or(0));
        shown += CUT;
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use firewall_common::reason::Reason;

    use super::*;

    #[test]
    fn short_names_tell_reasons_apart() {
        let short: HashSet<_> = Reason::ALL.iter().map(|it| short_reason(it.name())).collect();
        assert_eq!(short.len(), Reason::ALL.len());
        assert_eq!(short_reason("FWX_E_TCP_NOT_SYN_PACKET_DROPPED"), "TCP_NOT_SYN");
        assert_eq!(short_reason("FWX_E_LAND_ATTACK_DROPPED"), "LAND_ATTACK");
        assert_eq!(short_reason("FWX_E_CONNECTION_KILLED"), "CONNECTION_KILLED");
        assert_eq!(short_reason("other"), "other");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(bounded("ääää", 8), "ääää");
        assert_eq!(bounded("äääää", 8), "ää…");
        assert_eq!(bounded("a\u{9b}", 8), "a\\u{9b}");
    }
}
