//! How the frames of a measurement differ from run to run.
//!
//! The kernel's test-run gives a program the same memory each time: a frame stays what the run before made of it. So a
//! program for measurements (`firewall-ebpf/src/bench/step.rs`) can make it the next segment of a stream, a packet of
//! the next flow, or a fragment of the next datagram. What is next stands where the frame has its Ethernet addresses,
//! which nothing in fwx reads.

use bytemuck::{Pod, Zeroable};

/// What a frame is to become.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Step {
    /// Number of the flow, or of the datagram, that the next run's frame belongs to.
    next: u32,
    /// From one number to the next, less than how many there are.
    stride: u32,
    /// How many numbers there are, and above these bits a [`Change`].
    count_and_change: u32,
}

/// What differs.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The TCP sequence number goes on by the payload's length.
    Stream = 0,
    /// The client's address and port are those of the flow with the next number.
    Flow = 1,
    /// The identification is the next number.
    Datagram = 2,
}

impl Step {
    /// A flow's number, and how many of them there are, is below this: so many addresses the clients have.
    pub const COUNT_END: u32 = 1 << 24;

    /// The next segment of a stream each time.
    pub const STREAM: Self = Self { next: 0, stride: 0, count_and_change: 0 };

    /// All numbers below `count`, one after the other, and again.
    ///
    /// # Panics
    ///
    /// For no numbers at all, and for too many.
    pub const fn through(change: Change, count: u32) -> Self {
        Self::striding(change, count, 1 % count)
    }

    /// All flows below `count` in an order that no cache foresees, and again: from each to the one that lies the golden
    /// section of them all away, so that neighbours come far from each other (Knuth, The Art of Computer Programming,
    /// volume 3, §6.4, on multiplicative hashing).
    ///
    /// # Panics
    ///
    /// As [`Step::through`].
    pub const fn scattered(count: u32) -> Self {
        let mut stride = (count as u64 * 618_034 / 1_000_000) as u32;
        while greatest_common_divisor(stride, count) != 1 {
            stride += 1;
        }
        Self::striding(Change::Flow, count, stride % count)
    }

    const fn striding(change: Change, count: u32, stride: u32) -> Self {
        assert!(count > 0 && count < Self::COUNT_END, "numbers have 24 bits");
        Self { next: 0, stride, count_and_change: (change as u32) << 24 | count }
    }

    /// The same, beginning with number `first`.
    ///
    /// # Panics
    ///
    /// For a number that is none of them.
    #[must_use]
    pub const fn from(self, first: u32) -> Self {
        assert!(first < self.count(), "no such number");
        Self { next: first, ..self }
    }

    /// What differs. Anything unknown is a stream.
    #[inline(always)]
    pub const fn change(&self) -> Change {
        match self.count_and_change >> 24 {
            1 => Change::Flow,
            2 => Change::Datagram,
            _ => Change::Stream,
        }
    }

    /// The number of this run.
    #[inline(always)]
    pub const fn number(&self) -> u32 {
        self.next
    }

    /// What is next after this run.
    #[inline(always)]
    #[must_use]
    pub const fn after(self) -> Self {
        let next = self.next.wrapping_add(self.stride);
        let count = self.count();
        Self { next: if next < count { next } else { next.wrapping_sub(count) }, ..self }
    }

    #[inline(always)]
    const fn count(&self) -> u32 {
        self.count_and_change & (Self::COUNT_END - 1)
    }
}

/// The port of the client of flow `number`: one of those that Linux deals out (`ip_local_port_range`).
#[inline(always)]
pub const fn client_port(number: u32) -> u16 {
    (CLIENT_PORTS_FROM as u32 + number % CLIENT_PORTS) as u16
}

/// The least port of a client: servers have lower ones.
pub const CLIENT_PORTS_FROM: u16 = 32_768;
const CLIENT_PORTS: u32 = 28_232;

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn numbers(mut step: Step, count: u32) -> Vec<u32> {
        (0..count)
            .map(|_| {
                let number = step.number();
                step = step.after();
                number
            })
            .collect()
    }

    #[test]
    fn every_number_has_its_turn_before_one_comes_again() {
        for count in [1, 2, 3, 10, 1_000, 4_096, 99_991, 100_000] {
            for step in [Step::through(Change::Datagram, count), Step::scattered(count)] {
                let seen: HashSet<_> = numbers(step, count).into_iter().collect();
                assert_eq!(seen.len(), count as usize);
                assert!(seen.iter().all(|number| *number < count));
                assert_eq!(numbers(step, count + 1).last(), Some(&0), "and again");
            }
        }
    }

    #[test]
    fn scattered_neighbours_are_far_apart() {
        let numbers = numbers(Step::scattered(1_000_000), 1_000_000);
        assert!(numbers.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 300_000));
    }

    #[test]
    fn a_walk_begins_where_it_is_told() {
        assert_eq!(numbers(Step::through(Change::Flow, 10).from(8), 4), [8, 9, 0, 1]);
    }

    #[test]
    fn what_changes_survives_the_steps() {
        for change in [Change::Flow, Change::Datagram] {
            assert_eq!(Step::through(change, 7).after().change(), change);
        }
        assert_eq!(Step::STREAM.after().change(), Change::Stream);
    }

    #[test]
    fn clients_have_ports_of_clients() {
        for number in [0, 1, CLIENT_PORTS - 1, CLIENT_PORTS, Step::COUNT_END - 1] {
            assert!((CLIENT_PORTS_FROM..=60_999).contains(&client_port(number)));
        }
    }
}
