//! Times as receivers want them: numbers since 1970.

use time::OffsetDateTime;

use crate::event::epoch_ns;

/// The time that an event's text means, nanoseconds since 1970. `None`: none that a receiver's format can hold, as only a
/// capture can claim.
pub(super) fn nanoseconds(timestamp: &str) -> Option<u64> {
    epoch_ns(timestamp)?.try_into().ok()
}

/// The time, nanoseconds since 1970; 0 before that.
pub(super) fn now_ns() -> u64 {
    OffsetDateTime::now_utc().unix_timestamp_nanos().try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::rfc3339;

    #[test]
    fn the_time_of_an_event_is_a_number_to_the_nanosecond() {
        let time = 1_795_435_567_036_023_777;
        assert_eq!(nanoseconds(&rfc3339(i128::from(time))), Some(time));
    }

    #[test]
    fn what_no_calendar_holds_is_no_number() {
        assert_eq!(nanoseconds(&rfc3339(i128::MAX)), None);
        assert_eq!(nanoseconds(&rfc3339(-1)), None);
        assert_eq!(nanoseconds(""), None);
    }
}
