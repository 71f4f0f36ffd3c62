//! How a flow's packets were seen to cross the machine: what a shortcut past the kernel's stack is allowed by.
//!
//! A packet that leaves by the name that it came by was forwarded, and not translated. Who saw that knows by which
//! two interfaces the flow goes, for as long as it takes the kernel's rules to change: [`FRESH_TICKS`].

use bytemuck::{Pod, Zeroable};

use super::{Direction, Flow, State};

/// For how many ticks, of 2^30 ns each, what was seen holds: at most 4.3 s.
pub const FRESH_TICKS: u8 = 4;
/// Of a flow of which nothing was seen lately, one packet of so many is noted. A power of two.
const NOTED_OF: u64 = 16;

/// How packets of one flow were last seen to cross the machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Passage {
    /// When a packet of the original direction, then one of the reply direction, left by the name that it came
    /// by: a tick, never 0; 0: never.
    left_at: [u8; 2],
    /// Index of the interface on the other side: originals leave by it, replies come in by it; 0: not known.
    beyond: u16,
}

impl Flow {
    /// A packet of `direction` that came in by the interface `came_by` leaves by `left_by`, by the name that it
    /// came by.
    #[inline(always)]
    pub const fn note_passage(
        &mut self,
        direction: Direction,
        came_by: u32,
        left_by: u32,
        now: u64,
    ) {
        if self.flags & Self::TRANSLATED != 0 {
            return;
        }
        let [original, reply] = &mut self.passage.left_at;
        match direction {
            Direction::Original => {
                if self.interface == 0 {
                    // It was taken over: nobody knew.
                    self.interface = came_by;
                }
                let beyond = if left_by > u16::MAX as u32 { 0 } else { left_by as u16 };
                if self.passage.beyond != beyond {
                    *reply = 0;
                    self.passage.beyond = beyond;
                }
                *original = if came_by == self.interface { tick(now) } else { 0 };
            }
            Direction::Reply => {
                let is_the_way_back =
                    came_by == self.passage.beyond as u32 && left_by == self.interface;
                *reply = if is_the_way_back { tick(now) } else { 0 };
            }
        }
    }

    /// Index of the interface by which its answers come in, as far as that was seen; 0: not known.
    #[inline(always)]
    pub const fn beyond(&self) -> u32 {
        self.passage.beyond as u32
    }

    /// The interface that a packet of `direction` leaves by which came in by `came_by`, if that was seen lately,
    /// and of the other direction ever.
    #[inline(always)]
    pub const fn proven_way(&self, direction: Direction, came_by: u32, now: u64) -> Option<u32> {
        let [original, reply] = self.passage.left_at;
        let beyond = self.passage.beyond as u32;
        let (mine, other, comes_by, leaves_by) = match direction {
            Direction::Original => (original, reply, self.interface, beyond),
            Direction::Reply => (reply, original, beyond, self.interface),
        };
        let is_proven = mine != 0
            && other != 0
            && tick(now).wrapping_sub(mine) < FRESH_TICKS
            && came_by == comes_by
            && comes_by != leaves_by
            && beyond != 0;
        if is_proven { Some(leaves_by) } else { None }
    }

    /// Whether the packet of `direction` that was just counted is one of those that are noted while there is no
    /// proof.
    #[inline(always)]
    pub const fn is_noted(&self, direction: Direction) -> bool {
        let [original, reply] = &self.tallies;
        let packets = match direction {
            Direction::Original => original.packets,
            Direction::Reply => reply.packets,
        };
        packets % NOTED_OF == 0
    }

    /// Whether a flow in `state` may take the shortcut at all: both ends take part, nobody has begun to close,
    /// and its addresses are not translated.
    #[inline(always)]
    pub const fn may_be_short_cut(&self, state: State) -> bool {
        matches!(state, State::Established | State::Assured) && self.flags & Self::TRANSLATED == 0
    }
}

/// The present in ticks; never 0, so that the first of 256 is taken for the second.
const fn tick(now: u64) -> u8 {
    const TICK_BITS: u32 = 30;
    let tick = (now >> TICK_BITS) as u8;
    if tick == 0 { 1 } else { tick }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LAN: u32 = 2;
    const WAN: u32 = 3;
    const OTHER: u32 = 4;
    use Direction::{Original, Reply};

    fn flow() -> Flow {
        Flow { interface: LAN, state: State::Established as u8, ..Flow::default() }
    }

    fn proven(now: u64) -> Flow {
        let mut flow = flow();
        flow.note_passage(Original, LAN, WAN, now);
        flow.note_passage(Reply, WAN, LAN, now);
        flow
    }

    #[test]
    fn both_directions_have_to_be_seen() {
        let now = 1000 * SECOND;
        let mut flow = flow();
        assert_eq!(flow.proven_way(Original, LAN, now), None);
        flow.note_passage(Original, LAN, WAN, now);
        assert_eq!(flow.proven_way(Original, LAN, now), None, "one direction");
        assert_eq!(flow.proven_way(Reply, WAN, now), None, "one direction");
        flow.note_passage(Reply, WAN, LAN, now);
        assert_eq!(flow.proven_way(Original, LAN, now), Some(WAN));
        assert_eq!(flow.proven_way(Reply, WAN, now), Some(LAN));
    }

    #[test]
    fn a_proof_is_about_the_interfaces_that_were_seen() {
        let now = 1000 * SECOND;
        let flow = proven(now);
        for wrong in [0, OTHER, WAN] {
            assert_eq!(flow.proven_way(Original, wrong, now), None, "{wrong}");
        }
        for wrong in [0, OTHER, LAN] {
            assert_eq!(flow.proven_way(Reply, wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn both_directions_have_to_go_by_the_same_interfaces() {
        let now = 1000 * SECOND;
        for (came_by, left_by) in [(OTHER, LAN), (WAN, OTHER), (LAN, WAN)] {
            let mut flow = proven(now);
            flow.note_passage(Reply, came_by, left_by, now);
            assert_eq!(flow.proven_way(Original, LAN, now), None, "{came_by} {left_by}");
            assert_eq!(flow.proven_way(Reply, WAN, now), None, "{came_by} {left_by}");
        }
        let mut flow = proven(now);
        flow.note_passage(Original, LAN, OTHER, now);
        assert_eq!(flow.proven_way(Original, LAN, now), None, "the reply was not seen there");
        flow.note_passage(Reply, OTHER, LAN, now);
        assert_eq!(flow.proven_way(Original, LAN, now), Some(OTHER));
        flow.note_passage(Original, OTHER, WAN, now);
        assert_eq!(flow.proven_way(Original, LAN, now), None, "it came in elsewhere");
    }

    #[test]
    fn what_goes_back_where_it_came_from_is_not_proven() {
        let mut flow = flow();
        flow.note_passage(Original, LAN, LAN, SECOND);
        flow.note_passage(Reply, LAN, LAN, SECOND);
        assert_eq!(flow.proven_way(Original, LAN, SECOND), None);
    }

    #[test]
    fn a_proof_holds_for_some_seconds() {
        // From every place of the tick's round.
        for start in (0..300).map(|second| second * SECOND) {
            let flow = proven(start);
            assert_eq!(flow.proven_way(Original, LAN, start + 2 * SECOND), Some(WAN), "{start}");
            for later in [6, 30, 120, 250] {
                let now = start + later * SECOND;
                assert_eq!(flow.proven_way(Original, LAN, now), None, "{start} {later}");
            }
        }
    }

    #[test]
    fn a_translated_flow_is_never_proven() {
        let mut flow = Flow { flags: Flow::TRANSLATED, ..flow() };
        flow.note_passage(Original, LAN, WAN, SECOND);
        flow.note_passage(Reply, WAN, LAN, SECOND);
        assert_eq!(flow.passage, Passage::default());
        assert!(!flow.may_be_short_cut(State::Established));
    }

    #[test]
    fn what_was_taken_over_gets_its_interface() {
        let mut flow = Flow { interface: 0, ..flow() };
        flow.note_passage(Original, LAN, WAN, SECOND);
        flow.note_passage(Reply, WAN, LAN, SECOND);
        assert_eq!((flow.interface, flow.proven_way(Reply, WAN, SECOND)), (LAN, Some(LAN)));
    }

    #[test]
    fn an_interface_of_a_large_number_is_not_remembered() {
        let mut flow = flow();
        flow.note_passage(Original, LAN, 0x1_0003, SECOND);
        flow.note_passage(Reply, 0x1_0003, LAN, SECOND);
        flow.note_passage(Reply, 0, LAN, SECOND);
        assert_eq!(flow.proven_way(Original, LAN, SECOND), None);
    }

    #[test]
    fn only_flows_that_stand_may() {
        for state in (0..=13).map(State::from_raw) {
            let stands = matches!(state, State::Established | State::Assured);
            assert_eq!(flow().may_be_short_cut(state), stands, "{state:?}");
        }
    }

    #[test]
    fn one_packet_of_sixteen_is_noted() {
        let mut flow = flow();
        let noted = (0..160).filter(|_| {
            flow.count(Reply, 60);
            flow.is_noted(Reply)
        });
        assert_eq!(noted.count(), 10);
    }
}
