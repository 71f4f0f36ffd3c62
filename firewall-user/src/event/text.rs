//! An event as a line of text.

use std::net::IpAddr;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Event;

impl Event {
    /// The event as one line for people.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", self.timestamp, self.event);
        if let (Some(code), Some(reason)) = (&self.code, &self.reason) {
            line += &format!(" {code} {reason}");
        }
        let endpoint = |address: &Option<IpAddr>, port: &Option<u16>| match (address, port) {
            (Some(IpAddr::V6(address)), Some(port)) => format!("[{address}]:{port}"),
            (Some(address), Some(port)) => format!("{address}:{port}"),
            (Some(address), None) => address.to_string(),
            (None, _) => "?".to_owned(),
        };
        if let Some(transport) = &self.transport {
            line += &format!(
                " {transport} {} -> {}",
                endpoint(&self.src_ip, &self.src_port),
                endpoint(&self.dst_ip, &self.dst_port)
            );
        }
        if let Some(tcp) = &self.tcp {
            line += &format!(" [{}]", tcp.flags);
            if let Some([low, high]) = tcp.expected {
                line += &format!(" seq {} expected {low} to {high}", tcp.seq);
            }
            if let Some([low, high]) = tcp.expected_ack {
                line += &format!(" ack {} expected {low} to {high}", tcp.ack);
            }
        }
        if let Some(interface) = &self.interface {
            line += &format!(" on {interface}");
        }
        if let Some(filter) = &self.filter {
            line += &format!(
                " filter {} {} ({}): {} at byte {}: {:?}",
                filter.name,
                filter.mode,
                filter.profile,
                filter.finding,
                filter.offset,
                filter.excerpt
            );
        }
        if let Some(parent) = self.parent {
            line += &format!(" announced by flow {parent}");
        }
        if let Some(rule) = &self.rule {
            line += &format!(" rule {rule:?}");
        }
        if let Some(cause) = self.caused_by {
            line += &format!(" because of event {cause}");
        }
        if let Some(count @ 1..) = self.suppressed {
            line += &format!(" ({count} more before it)");
        }
        if let Some(message) = &self.message {
            line += &format!(" {message}");
        }
        line
    }
}

/// RFC 3339 with nanoseconds, in UTC. A time that no calendar holds, which only a capture can claim, is
/// told as the number it is.
pub fn rfc3339(epoch_ns: i128) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(epoch_ns)
        .ok()
        .and_then(|time| {
            let text = time.format(&Rfc3339).ok()?;
            // Rfc3339 leaves trailing zeros out; columns like it better with all nine digits.
            let (seconds, fraction) = text
                .trim_end_matches('Z')
                .split_once('.')
                .unwrap_or((text.trim_end_matches('Z'), ""));
            Some(format!("{seconds}.{fraction:0<9}Z"))
        })
        .unwrap_or_else(|| format!("@{epoch_ns}"))
}
