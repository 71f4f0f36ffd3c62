//! A flow's second name, where the kernel translates addresses (NAT).
//!
//! A translated flow has one pair of endpoints on one side of the gateway and another on the other side. The
//! flow lies in its table under the pair that its first packet had when it was judged; under the other lies an
//! alias that leads there. So it is tracked once, whichever way its packets come.

use bytemuck::{Pod, Zeroable};

use super::{Direction, Flow, KeyV4, KeyV6, State};

/// An entry of a flow table that is no flow but leads to one. Its first fields are those of [`Flow`], its size is
/// the same.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Alias {
    /// When it was made, or renewed.
    pub last_seen: u64,
    /// Number of the flow that it leads to. A flow of another number under that key is not meant.
    pub id: u64,
    /// [`State::Alias`].
    pub state: u8,
    /// 1: packets of the flow's original direction have the second endpoint of this key as their source.
    pub originator_is_second: u8,
    /// Must be 0.
    pub reserved: [u8; 2],
    /// 1: it lies among the flows without an answer, and follows its flow once that has one.
    pub unsettled: u32,
    /// The flow's key, if it is IPv4.
    pub target_v4: KeyV4,
    /// The flow's key, if it is IPv6.
    pub target_v6: KeyV6,
    /// Must be 0.
    pub reserved2: [u64; 6],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Alias>() == size_of::<Flow>());
    assert!(offset_of!(Alias, last_seen) == offset_of!(Flow, last_seen));
    assert!(offset_of!(Alias, id) == offset_of!(Flow, id));
    assert!(offset_of!(Alias, state) == offset_of!(Flow, state));
    assert!(offset_of!(Alias, originator_is_second) == offset_of!(Flow, originator_is_second));
};

impl Alias {
    /// The alias in `entry`; `None` if that is a flow.
    #[inline(always)]
    pub fn of(entry: &Flow) -> Option<&Self> {
        if entry.state == State::Alias as u8 { Some(bytemuck::cast_ref(entry)) } else { None }
    }

    /// The direction in the flow of a packet whose source is this key's second endpoint or not.
    #[inline(always)]
    pub const fn direction(&self, source_is_second: bool) -> Direction {
        if (self.originator_is_second != 0) == source_is_second {
            Direction::Original
        } else {
            Direction::Reply
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_or_the_other() {
        let alias =
            Alias { id: 7, state: State::Alias as u8, originator_is_second: 1, ..Alias::zeroed() };
        let entry: Flow = bytemuck::cast(alias);
        assert_eq!((entry.id, entry.state()), (7, State::Alias));
        assert_eq!(Alias::of(&entry), Some(&alias));
        assert_eq!(Alias::of(&Flow::default()), None);
        assert_eq!(alias.direction(true), Direction::Original);
        assert_eq!(alias.direction(false), Direction::Reply);
    }
}
