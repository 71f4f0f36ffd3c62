//! Keys that hold a whole number within bounds.

use std::ops::RangeInclusive;

use toml::de::{DeInteger, DeValue};

use super::{
    document::{Section, wrong_type_with},
    error::{ProblemKind, Problems, quote},
};

/// A key that holds a whole number.
pub(super) struct Number {
    pub(super) key: &'static str,
    /// What it may hold.
    pub(super) range: RangeInclusive<u32>,
    /// What is told to whom wrote something else.
    pub(super) help: &'static str,
}

impl Number {
    /// The number in `section`; `None` if it lacks the key, or holds something else, which is
    /// reported.
    pub(super) fn read(&self, section: &Section<'_, '_>, problems: &mut Problems) -> Option<u32> {
        let value = section.value(self.key)?;
        let DeValue::Integer(integer) = value.get_ref() else {
            let what = format!("`{}`", self.key);
            wrong_type_with(&what, "an integer", value, self.help.to_owned(), problems);
            return None;
        };
        let number =
            u32::try_from(saturating(integer)).ok().filter(|number| self.range.contains(number));
        if number.is_none() {
            let kind = ProblemKind::OutOfRange {
                key: self.key,
                value: quote(&integer.to_string()),
                min: *self.range.start(),
                max: *self.range.end(),
            };
            problems.add(value.span(), kind, Some(self.help.to_owned()));
        }
        number
    }
}

/// What `integer` stands for, or, if that is beyond 64 bits, the end of them that is nearer.
pub(super) fn saturating(integer: &DeInteger<'_>) -> i64 {
    let digits = integer.as_str();
    let nearest = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
    // The parser let nothing through but digits of this base and a sign: what fails is too long.
    i64::from_str_radix(digits, integer.radix()).unwrap_or(nearest)
}
