//! The time of an event as text, and back.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

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

/// The time, in nanoseconds since 1970, that [`rfc3339`] wrote. `None`: it did not write this.
pub fn epoch_ns(text: &str) -> Option<i128> {
    match text.strip_prefix('@') {
        Some(number) => number.parse().ok(),
        None => Some(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back() {
        for epoch_ns in [0, 1, 1_767_323_045_678_901_234, -1, i128::from(u64::MAX), i128::MAX] {
            assert_eq!(super::epoch_ns(&rfc3339(epoch_ns)), Some(epoch_ns));
        }
        assert_eq!(epoch_ns("yesterday"), None);
    }
}
