//! The clock that the kernel stamps events with.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of that clock.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC) as u64
}

/// The same as flows are stamped: the tick before now.
pub fn monotonic_coarse_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC_COARSE) as u64
}

/// The time, in nanoseconds since 1970, of that clock's zero.
pub fn monotonic_epoch_ns() -> i128 {
    nanoseconds(ClockId::CLOCK_REALTIME) - nanoseconds(ClockId::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: ClockId) -> i128 {
    // These two clocks are there on every kernel that runs BPF.
    clock_gettime(clock)
        .map_or(0, |time| i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec()))
}
