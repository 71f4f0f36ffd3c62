//! How fast flows are: the difference of what they had counted at two looks, over the time between.

use std::collections::HashMap;

use firewall_common::flow::Flow;
use serde::Serialize;

/// Flows that are remembered from one look to the next, at most: some 50 MB. Of those beyond it, the ones that were
/// there at the look before have no rate.
const REMEMBERED_MAX: usize = 1 << 20;
const NS_PER_MS: u64 = 1_000_000;

/// What flows had counted when they were last looked at, by their numbers.
#[derive(Debug)]
pub struct Rates {
    counted: HashMap<u64, Counted>,
    room: usize,
    /// When the look before this one began, and this one; nanoseconds of the monotonic clock.
    before: Option<u64>,
    began: u64,
    unrated: u64,
}

/// Both directions together.
#[derive(Clone, Copy, Debug)]
struct Counted {
    bytes: u64,
    /// The low half of the packets: between two looks there are fewer.
    packets: u32,
    /// The low half of milliseconds of the monotonic clock.
    at_ms: u32,
}

/// How fast a flow is, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Bits of its IP packets in a second.
    pub bits_per_s: u64,
    /// Packets in a second.
    pub packets_per_s: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self::with_room(REMEMBERED_MAX)
    }
}

impl Rates {
    fn with_room(room: usize) -> Self {
        Self { counted: HashMap::new(), room, before: None, began: 0, unrated: 0 }
    }

    /// A look begins at `now`, nanoseconds of the monotonic clock.
    pub fn begin(&mut self, now: u64) {
        self.before = (self.began != 0).then_some(self.began);
        self.began = now;
        self.unrated = 0;
    }

    /// How fast the flow was since the last look at it, or since it began. `now`: when it was read.
    pub fn of(&mut self, flow: &Flow, now: u64) -> Rate {
        let [original, reply] = &flow.tallies;
        let current = Counted {
            bytes: original.bytes.wrapping_add(reply.bytes),
            packets: original.packets.wrapping_add(reply.packets) as u32,
            at_ms: milliseconds(now),
        };
        let known = if self.counted.len() < self.room || self.counted.contains_key(&flow.id) {
            self.counted.insert(flow.id, current)
        } else {
            None
        };
        match known {
            // It began anew under its number: what it counted is younger than the look before.
            Some(known) if current.bytes < known.bytes => current.rate(0, 0, current.since(&known)),
            Some(known) => current.rate(known.bytes, known.packets, current.since(&known)),
            None if self.before.is_some_and(|before| flow.created >= before) => {
                let age = now.saturating_sub(flow.created) / NS_PER_MS;
                let period = self.began.saturating_sub(self.before.unwrap_or(0)) / NS_PER_MS;
                // A flow of one packet, a moment ago, is not a fast one.
                current.rate(0, 0, age.max(period))
            }
            None => {
                self.unrated += 1;
                Rate::default()
            }
        }
    }

    /// The look is over: what was not met in it is gone. Returns of how many flows no rate is known yet.
    pub fn end(&mut self) -> u64 {
        let began = milliseconds(self.began);
        self.counted.retain(|_, counted| counted.at_ms.wrapping_sub(began) < u32::MAX / 2);
        if self.counted.capacity() / 4 > self.counted.len() {
            self.counted.shrink_to(self.counted.len() * 2);
        }
        self.unrated
    }
}

impl Counted {
    /// Milliseconds since `before`.
    fn since(&self, before: &Self) -> u64 {
        u64::from(self.at_ms.wrapping_sub(before.at_ms))
    }

    /// How fast it was in `milliseconds`, when it had counted so much before.
    fn rate(&self, bytes: u64, packets: u32, milliseconds: u64) -> Rate {
        if milliseconds == 0 {
            return Rate::default();
        }
        let bits = u128::from(self.bytes - bytes) * 8 * 1000 / u128::from(milliseconds);
        let packets = u64::from(self.packets.wrapping_sub(packets)) * 1000 / milliseconds;
        Rate { bits_per_s: u64::try_from(bits).unwrap_or(u64::MAX), packets_per_s: packets }
    }
}

fn milliseconds(nanoseconds: u64) -> u32 {
    (nanoseconds / NS_PER_MS) as u32
}

#[cfg(test)]
mod tests {
    use firewall_common::flow::Tally;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn flow(id: u64, created: u64, packets: u64, bytes: u64) -> Flow {
        let tallies = [Tally { packets, bytes }, Tally { packets: 1, bytes: 1000 }];
        Flow { id, created, tallies, ..Flow::default() }
    }

    fn rate(bits_per_s: u64, packets_per_s: u64) -> Rate {
        Rate { bits_per_s, packets_per_s }
    }

    #[test]
    fn a_rate_is_what_came_between_two_looks() {
        let mut rates = Rates::default();
        rates.begin(10 * SECOND);
        assert_eq!(rates.of(&flow(1, SECOND, 100, 50_000), 10 * SECOND), rate(0, 0));
        assert_eq!(rates.end(), 1, "what it did before is not known");
        rates.begin(12 * SECOND);
        let now = 12 * SECOND + SECOND / 2;
        assert_eq!(rates.of(&flow(1, SECOND, 200, 75_000), now), rate(80_000, 40));
        assert_eq!(rates.end(), 0);
        rates.begin(14 * SECOND);
        assert_eq!(rates.of(&flow(1, SECOND, 200, 75_000), now + SECOND), rate(0, 0), "silent");
    }

    #[test]
    fn a_flow_that_began_since_the_last_look_has_a_rate_at_once() {
        let mut rates = Rates::default();
        rates.begin(10 * SECOND);
        rates.end();
        rates.begin(12 * SECOND);
        assert_eq!(rates.of(&flow(1, 11 * SECOND, 19, 4_000), 12 * SECOND), rate(20_000, 10));
        assert_eq!(rates.end(), 0);
    }

    #[test]
    fn a_flow_that_reopens_counts_anew() {
        let mut rates = Rates::default();
        rates.begin(10 * SECOND);
        rates.of(&flow(1, SECOND, 100, 50_000), 10 * SECOND);
        rates.end();
        rates.begin(11 * SECOND);
        assert_eq!(rates.of(&flow(1, SECOND, 9, 1_000), 11 * SECOND), rate(16_000, 10));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_what_finds_no_room_has_no_rate() {
        let mut rates = Rates::with_room(2);
        rates.begin(10 * SECOND);
        for id in 1..=3 {
            rates.of(&flow(id, SECOND, 1, 0), 10 * SECOND);
        }
        rates.end();
        rates.begin(11 * SECOND);
        assert_eq!(rates.of(&flow(1, SECOND, 2, 1_000), 11 * SECOND), rate(8_000, 1));
        assert_eq!(rates.of(&flow(3, SECOND, 2, 1_000), 11 * SECOND), rate(0, 0), "no room");
        assert_eq!(rates.end(), 1);
        assert_eq!(rates.counted.len(), 1, "flow 2 is gone");
        rates.begin(12 * SECOND);
        rates.of(&flow(3, SECOND, 3, 2_000), 12 * SECOND);
        rates.end();
        rates.begin(13 * SECOND);
        assert_eq!(rates.of(&flow(3, SECOND, 4, 3_000), 13 * SECOND), rate(8_000, 1));
    }

    proptest! {
        #[test]
        fn no_numbers_are_too_odd(
            looks in prop::collection::vec((any::<u64>(), any::<u64>(), any::<[u64; 4]>()), 1..6)
        ) {
            let mut rates = Rates::with_room(3);
            for (now, created, [a, b, c, d]) in looks {
                rates.begin(now);
                let tallies = [Tally { packets: a, bytes: b }, Tally { packets: c, bytes: d }];
                rates.of(&Flow { id: a % 5, created, tallies, ..Flow::default() }, now);
                rates.end();
                prop_assert!(rates.counted.len() <= 3);
            }
        }
    }
}
