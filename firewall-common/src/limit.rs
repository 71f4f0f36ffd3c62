//! Limits on new flows, each one word that is changed by one compare-exchange.
//!
//! The generic cell rate algorithm (ITU-T I.371 annex A): a bucket's level is kept as the time at which it will
//! have run empty, so that it drains by itself.

/// A bucket that drains by itself. All zeros is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be empty. Nanoseconds.
    pub empty_at: u64,
}

impl Bucket {
    /// The bucket after one more unit at `now`, if `max` units fit in and a full bucket takes `drain`
    /// nanoseconds to run empty. `None`: it is full.
    #[inline(always)]
    pub const fn fill(self, now: u64, max: u32, drain: u64) -> Option<Self> {
        let unit = unit(max, drain);
        let level = self.level(now);
        if level + unit > drain {
            return None;
        }
        Some(Self { empty_at: now.wrapping_add(level + unit) })
    }

    /// The bucket after one unit is taken out.
    #[inline(always)]
    #[must_use]
    pub const fn take(self, now: u64, max: u32, drain: u64) -> Self {
        let level = self.level(now).saturating_sub(unit(max, drain));
        Self { empty_at: now.wrapping_add(level) }
    }

    /// How long it will take to run empty, nanoseconds.
    #[inline(always)]
    pub const fn level(self, now: u64) -> u64 {
        self.empty_at.saturating_sub(now)
    }
}

#[inline(always)]
const fn unit(max: u32, drain: u64) -> u64 {
    let max = if max == 0 { 1 } else { max };
    drain / max as u64
}

/// Nanoseconds of a second: a bucket of so many units that drains in it is a limit a second.
pub const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_burst_pass_and_then_so_many_a_second() {
        let mut bucket = Bucket::default();
        let mut admit = |now| match bucket.fill(now, 10, SECOND) {
            Some(next) => {
                bucket = next;
                true
            }
            None => false,
        };
        let now = 77 * SECOND;
        assert_eq!((0..100).filter(|_| admit(now)).count(), 10);
        assert_eq!((0..1000).filter(|ms| admit(now + ms * SECOND / 1000)).count(), 9);
        assert_eq!((0..100).filter(|_| admit(now + 3 * SECOND)).count(), 10);
    }

    #[test]
    fn what_is_taken_out_makes_room() {
        let (now, drain) = (SECOND, 120 * SECOND);
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket = bucket.fill(now, 3, drain).unwrap();
        }
        assert_eq!(bucket.fill(now, 3, drain), None);
        bucket = bucket.take(now, 3, drain);
        bucket = bucket.fill(now, 3, drain).unwrap();
        assert_eq!(bucket.fill(now + drain / 3 - 1, 3, drain), None);
        assert!(bucket.fill(now + drain / 3, 3, drain).is_some(), "what never got an answer");
        for _ in 0..10 {
            bucket = bucket.take(now, 3, drain);
        }
        assert_eq!(bucket.level(now), 0);
    }

    #[test]
    fn no_limit_and_no_time_do_no_harm() {
        assert!(Bucket::default().fill(0, 0, 0).is_some());
        assert!(Bucket { empty_at: u64::MAX }.fill(0, u32::MAX, SECOND).is_none());
    }
}
