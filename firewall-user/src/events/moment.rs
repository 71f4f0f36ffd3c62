//! Points of time as people write them.

use time::{
    Date, OffsetDateTime, PrimitiveDateTime, Time, format_description::well_known::Rfc3339,
    macros::format_description,
};

use crate::event::rfc3339;

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// A point of time, in the form that events have it: such texts sort as times do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(String);

impl Moment {
    /// What `text` says at `now`, in nanoseconds since 1970: RFC 3339 (`2026-01-02T03:04:05Z`), a day or a minute or
    /// second or a part of one in UTC (`2026-01-02`, `2026-01-02 03:04`), a time of today's in UTC (`03:04`, `03:04:05`),
    /// or how long ago (`90s`, `10m`, `2h`, `1d`). `None`: none of these.
    pub fn parse(text: &str, now: i128) -> Option<Self> {
        let text = text.trim();
        let at = ago(text).map_or_else(|| absolute(text, now), |ago| Some(now - ago))?;
        Some(Self(rfc3339(at)))
    }

    /// Whether `timestamp`, as events have it, is at or behind it.
    pub fn is_reached_by(&self, timestamp: &str) -> bool {
        self.0.as_str() <= timestamp
    }

    /// Whether `timestamp` is behind it.
    pub fn is_passed_by(&self, timestamp: &str) -> bool {
        self.0.as_str() < timestamp
    }
}

/// `10m` and the like, in nanoseconds.
fn ago(text: &str) -> Option<i128> {
    let seconds: i128 = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(i128::from(count) * seconds * NANOSECONDS_PER_SECOND)
}

fn absolute(text: &str, now: i128) -> Option<i128> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(time.unix_timestamp_nanos());
    }
    let minute = format_description!("[hour]:[minute]");
    let second = format_description!("[hour]:[minute]:[second]");
    // As `fwx events` prints it.
    let fraction = format_description!("[hour]:[minute]:[second].[subsecond]");
    let time = |text: &str| {
        let parsed = Time::parse(text, &minute).or_else(|_| Time::parse(text, &second));
        parsed.or_else(|_| Time::parse(text, &fraction)).ok()
    };
    let day = |text: &str| Date::parse(text, &format_description!("[year]-[month]-[day]")).ok();
    let at = match text.split_once([' ', 'T']) {
        Some((date, clock)) => PrimitiveDateTime::new(day(date)?, time(clock)?),
        None => match day(text) {
            Some(date) => date.midnight(),
            None => {
                let today = OffsetDateTime::from_unix_timestamp_nanos(now).ok()?.date();
                PrimitiveDateTime::new(today, time(text)?)
            }
        },
    };
    Some(at.assume_utc().unix_timestamp_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05Z.
    const NOW: i128 = 1_767_323_045 * NANOSECONDS_PER_SECOND;

    #[test]
    fn a_moment_is_written_in_many_ways() {
        for (text, moment) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000000Z"),
            ("2026-01-02T05:04:05.25+02:00", "2026-01-02T03:04:05.250000000Z"),
            ("2026-01-01", "2026-01-01T00:00:00.000000000Z"),
            ("2026-01-01 23:59", "2026-01-01T23:59:00.000000000Z"),
            ("2026-01-01T23:59:58", "2026-01-01T23:59:58.000000000Z"),
            ("2026-01-01 23:59:58.120", "2026-01-01T23:59:58.120000000Z"),
            ("02:30", "2026-01-02T02:30:00.000000000Z"),
            ("02:30:01", "2026-01-02T02:30:01.000000000Z"),
            ("5s", "2026-01-02T03:04:00.000000000Z"),
            ("4m", "2026-01-02T03:00:05.000000000Z"),
            ("3h", "2026-01-02T00:04:05.000000000Z"),
            ("1d", "2026-01-01T03:04:05.000000000Z"),
        ] {
            assert_eq!(Moment::parse(text, NOW), Some(Moment(moment.to_owned())), "{text}");
        }
        for none in ["", "m", "-1m", "1w", "25:00", "2026-13-01", "yesterday", "1ö", "2026-01-02Z"]
        {
            assert_eq!(Moment::parse(none, NOW), None, "{none}");
        }
    }

    #[test]
    fn moments_are_compared_with_the_times_of_events() {
        let moment = Moment::parse("2026-01-02", NOW).unwrap();
        assert!(moment.is_reached_by("2026-01-02T00:00:00.000000000Z"));
        assert!(moment.is_reached_by("2026-10-01T00:00:00.000000000Z"));
        assert!(!moment.is_reached_by("2026-01-01T23:59:59.999999999Z"));
    }
}
