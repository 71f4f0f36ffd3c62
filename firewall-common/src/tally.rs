//! What each rule let in and refused: exact, and at no cost to a packet of an established connection.
//!
//! A flow with an answer counts its own packets. So what a rule let pass is what stands here and what its flows in
//! the tables of those with an answer have counted, together. Whatever enters such a table takes what it has counted
//! off its rule's entry here, and whatever leaves it adds it: the sum stays. Packets that no such flow counts are
//! counted here at once: those of flows without an answer, which may be pushed out of their table at any time, and
//! those that a rule refuses.
//!
//! Where two CPUs work on one flow in the same moment, what one of them counts while the other takes the flow out of
//! its table may be missed, as what flows count may be.

use bytemuck::{Pod, Zeroable};

use crate::flow::Flow;

/// What a rule, or the default, did. All fields are changed by atomic additions, which wrap: what flows have counted
/// may be taken off before it is added.
///
/// A cache line each, so that two rules do not share one. All CPUs together have one entry for a rule: one for each
/// CPU would take 128 MiB on a machine with 32 of them, and a new flow, which is what pays for the additions, costs
/// far more than they do.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RuleCounters {
    /// Flows let in.
    pub flows: u64,
    /// Packets that passed, of flows that it let in; without those that flows with an answer count.
    pub packets: u64,
    /// Bytes of these with their IP headers.
    pub bytes: u64,
    /// Packets that it refused.
    pub refused_packets: u64,
    /// Bytes of these with their IP headers.
    pub refused_bytes: u64,
    /// When it last let a flow in, let a packet of one without an answer pass, or refused one; at least when the last
    /// of its flows that are gone was last seen. Nanoseconds of the kernel's coarse monotonic clock; 0: never. No
    /// addition: of two CPUs the later one stays.
    pub last_hit: u64,
    /// How often what a flow has counted was added or taken off. Where it is the same before and after the flows are
    /// read, the sum is exact.
    pub moves: u64,
    /// Must be 0.
    pub reserved: u64,
}

impl RuleCounters {
    /// Its fields as words, in their order.
    pub const WORDS: usize = size_of::<Self>() / size_of::<u64>();
}

/// What a flow with an answer has counted for its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The rule's number.
    pub rule: u16,
    /// Packets, both directions together.
    pub packets: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// When the last of them came.
    pub last_seen: u64,
}

impl Counted {
    /// What a flow has counted. Not for an [`Alias`](crate::flow::Alias), which counts nothing.
    #[inline(always)]
    pub const fn by(flow: &Flow) -> Self {
        let [original, reply] = &flow.tallies;
        Self {
            rule: flow.rule,
            packets: original.packets.wrapping_add(reply.packets),
            bytes: original.bytes.wrapping_add(reply.bytes),
            last_seen: flow.last_seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Tally;

    #[test]
    fn a_flow_counts_both_directions() {
        let tallies = [Tally { packets: 3, bytes: 300 }, Tally { packets: 2, bytes: 3000 }];
        let flow = Flow { rule: 7, last_seen: 5, tallies, ..Flow::default() };
        let counted = Counted { rule: 7, packets: 5, bytes: 3300, last_seen: 5 };
        assert_eq!(Counted::by(&flow), counted);
    }

    #[test]
    fn an_entry_is_a_cache_line_of_words() {
        assert_eq!((size_of::<RuleCounters>(), align_of::<RuleCounters>()), (64, 64));
        assert_eq!(RuleCounters::WORDS, 8);
    }
}
