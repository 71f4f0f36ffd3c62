//! How long something may take, as a policy writes it: `90`, `"90s"`, `"2m"`, `"12h"` or `"5d"`.

use toml::de::DeValue;

use super::{
    document::{self, Value},
    error::{ProblemKind, Problems, quote},
    number::saturating,
    parse::report,
    value::{Refusal, decimal},
};

/// From what a policy says to what the kernel's tables hold.
pub(super) const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
/// Longest timeout, in seconds: 30 days.
pub(super) const SECONDS_MAX: u64 = 30 * 24 * 3600;
const HELP: &str = "a timeout is a whole number of seconds, \
     or a string such as \"90s\", \"2m\", \"12h\" or \"5d\"";

/// The timeout that is the value of `key`, in seconds from 1 to 30 days.
pub(super) fn timeout(key: &str, value: &Value<'_>, problems: &mut Problems) -> Option<u64> {
    let seconds = match value.get_ref() {
        DeValue::Integer(integer) => of_number(&integer.to_string(), saturating(integer)),
        DeValue::String(text) => of_text(text),
        _ => {
            let (what, expected) = (format!("`{key}`"), "an integer or a string");
            document::wrong_type_with(&what, expected, value, HELP.to_owned(), problems);
            return None;
        }
    };
    report(seconds, &value.span(), problems)
}

/// `seconds`, which the file writes as `shown`.
fn of_number(shown: &str, seconds: i64) -> Result<u64, Refusal> {
    // Less than nothing is as short as nothing.
    checked(shown, u64::try_from(seconds).unwrap_or(0))
}

/// What a whole number and a unit without anything between them stand for.
fn of_text(text: &str) -> Result<u64, Refusal> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let Some(count) = decimal(digits) else {
        return Err(refusal(text, "it does not begin with a whole number", HELP));
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "" => {
            let help = format!("for seconds write {}", quote(&format!("{digits}s")));
            return Err(refusal(text, "it has no unit", &help));
        }
        _ => {
            let reason = "what follows the number is none of the units `s`, `m`, `h` and `d`";
            return Err(refusal(text, reason, HELP));
        }
    };
    checked(text, count.saturating_mul(seconds))
}

fn checked(shown: &str, seconds: u64) -> Result<u64, Refusal> {
    let help = "a timeout is from 1 second to 30 days";
    match seconds {
        0 => Err(refusal(shown, "it is shorter than a second", help)),
        1..=SECONDS_MAX => Ok(seconds),
        _ => Err(refusal(shown, "it is longer than 30 days", help)),
    }
}

fn refusal(shown: &str, reason: &'static str, help: &str) -> Refusal {
    (ProblemKind::BadTimeout { timeout: quote(shown), reason }, Some(help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_seconds() {
        for (text, seconds) in [
            ("1s", 1),
            ("090s", 90),
            ("2m", 120),
            ("12h", 43_200),
            ("5d", 432_000),
            ("30d", 2_592_000),
            ("2592000s", 2_592_000),
        ] {
            assert_eq!(of_text(text), Ok(seconds), "{text}");
        }
        assert_eq!((of_number("1", 1), of_number("2592000", 2_592_000)), (Ok(1), Ok(2_592_000)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for bad in [
            "",
            "s",
            "5",
            "5 d",
            "5D",
            "5ms",
            "5days",
            "1.5h",
            "1h30m",
            "-5s",
            "+5s",
            "0s",
            "0d",
            "31d",
            "2592001s",
            "99999999999999999999d",
            "٥d",
        ] {
            assert!(matches!(of_text(bad), Err((ProblemKind::BadTimeout { .. }, _))), "{bad}");
        }
        for bad in [i64::MIN, -1, 0, 2_592_001, i64::MAX] {
            assert!(of_number("x", bad).is_err(), "{bad}");
        }
    }
}
