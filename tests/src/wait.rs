//! Waiting for a condition: by asking again and again, a bounded number of times, never by a sleep
//! that is hoped to be long enough.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};

/// Pause between two attempts.
const PAUSE_MS: u64 = 20;

/// Attempts of [`until`]: ten seconds when every attempt itself takes no time.
const ATTEMPTS: u32 = 500;

/// Calls `probe` until it succeeds, for about ten seconds, and returns what it returned.
///
/// The error says what was waited for and why the last attempt was not good enough.
pub fn until<T>(what: &str, probe: impl FnMut() -> Result<T>) -> Result<T> {
    until_within(ATTEMPTS, what, probe)
}

/// Like [`until`], for conditions that need another number of `attempts` (50 a second).
pub fn until_within<T>(
    attempts: u32,
    what: &str,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = anyhow::anyhow!("no attempt was made");
    for _ in 0..attempts {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
        thread::sleep(Duration::from_millis(PAUSE_MS));
    }
    Err(last).with_context(|| format!("waited in vain, {attempts} attempts, until {what}"))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn returns_the_value_of_the_first_success() {
        let mut attempts = 0;
        let value = until("the third attempt", || {
            attempts += 1;
            if attempts < 3 {
                bail!("attempt {attempts}");
            }
            Ok(attempts)
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn the_error_names_the_condition_and_the_last_reason() {
        let error = until_within(2, "pigs fly", || -> Result<()> { bail!("no wings") });
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "waited in vain, 2 attempts, until pigs fly: no wings");
    }
}
