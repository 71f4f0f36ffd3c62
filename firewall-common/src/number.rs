//! Numbers of flows and of events: each is given once, and who gives it asks nobody.
//!
//! Everybody counts for himself. The lowest bits tell who that is: a CPU, the controller or a command.

/// Bits that tell who gave a number. What is left keeps it exact in JSON (below 2^53) up to a count of 2^43.
const CPU_BITS: u32 = 10;
/// In the place of the CPU, of which no machine has so many: the controller.
pub const CONTROLLER_CPU: u64 = (1 << CPU_BITS) - 1;
/// In the place of the CPU, likewise: a command, of which one at a time gives numbers.
pub const COMMAND_CPU: u64 = CONTROLLER_CPU - 1;

/// The number that `cpu` gives at its `count`.
#[inline(always)]
pub const fn numbered(count: u64, cpu: u64) -> u64 {
    count << CPU_BITS | giver_of(cpu)
}

/// At which count a number was given.
pub const fn count_of(number: u64) -> u64 {
    number >> CPU_BITS
}

/// Who gave a number: a CPU, [`CONTROLLER_CPU`] or [`COMMAND_CPU`].
#[inline(always)]
pub const fn giver_of(number: u64) -> u64 {
    number & ((1 << CPU_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_who_gave_it_and_stays_exact() {
        for cpu in [0, 1, COMMAND_CPU, CONTROLLER_CPU] {
            for count in [1, 2, (1 << 43) - 1] {
                let number = numbered(count, cpu);
                assert_eq!((count_of(number), giver_of(number)), (count, cpu));
                assert!(number < 1 << 53, "exact in JSON");
            }
        }
    }
}
