//! Which parts of a fragmented datagram have passed.
//!
//! Fragments that overlap let a sender show one thing to a firewall and another to the receiver (RFC 1858,
//! RFC 3128), so none may: RFC 5722 wants it for IPv6, and nothing speaks for it in IPv4.

use bytemuck::{Pod, Zeroable};

/// How many stretches of a datagram are kept apart. Fragments in order, or in the reverse order, make one.
pub const STRETCHES: usize = 8;

/// A stretch of a datagram, in units of 8 bytes, from the first to one past the last. 0, 0: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Stretch {
    from: u16,
    to: u16,
}

/// What is known of a datagram.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Datagram {
    /// When its first fragment that came by did. Nanoseconds.
    pub seen: u64,
    /// An [`Admission`].
    pub admission: u8,
    /// Fragments that passed before the first.
    pub early: u8,
    /// One past its last unit, once its last fragment was seen; 0 before.
    end: u16,
    /// Must be 0.
    pub reserved: u32,
    stretches: [Stretch; STRETCHES],
}

/// What became of a datagram's first fragment.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// It has not come by yet.
    #[default]
    Awaited = 0,
    /// It passed.
    Passed = 1,
    /// It was refused, or fragments overlapped.
    Refused = 2,
}

impl Admission {
    /// What `raw` stands for; anything unknown is refused.
    #[inline(always)]
    pub const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Awaited,
            1 => Self::Passed,
            _ => Self::Refused,
        }
    }
}

/// Where a fragment fits among those that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Beside them.
    New,
    /// Inside one: it was repeated on its way, or somebody wants it to be read twice.
    Repeated,
    /// Partly inside one, or beyond the end: nobody sends that in good faith.
    Overlaps,
    /// Beside them, but there are more gaps than are kept account of.
    TooScattered,
}

/// One past the last unit of a fragment at `offset` (units of 8 bytes) that has `len` bytes.
#[inline(always)]
pub const fn end_of(offset: u16, len: u32) -> u16 {
    offset.wrapping_add(len.div_ceil(8) as u16)
}

impl Datagram {
    /// A datagram of which the first packet, in whatever order, comes at `now` (nanoseconds).
    #[inline(always)]
    pub fn new(now: u64) -> Self {
        Self { seen: now, ..Self::default() }
    }

    /// Enters the fragment with the units `from` to `to`, which must not be empty; `is_last`: no more follow.
    /// Only a [`Fit::New`] one is entered.
    #[inline(always)]
    pub fn enter(&mut self, from: u16, to: u16, is_last: bool) -> Fit {
        if self.end != 0 && (to > self.end || is_last && to != self.end) {
            return Fit::Overlaps;
        }
        let mut free = STRETCHES;
        let mut touching = STRETCHES;
        for (index, stretch) in self.stretches.iter().enumerate() {
            if stretch.to == 0 {
                free = index;
            } else if from < stretch.to && stretch.from < to {
                let inside = stretch.from <= from && to <= stretch.to;
                return if inside { Fit::Repeated } else { Fit::Overlaps };
            } else if is_last && stretch.to > to {
                return Fit::Overlaps;
            } else if stretch.to == from || stretch.from == to {
                touching = index;
            }
        }
        let at = if touching < STRETCHES { touching } else { free };
        let Some(stretch) = self.stretches.get_mut(at) else {
            return Fit::TooScattered;
        };
        if at != touching {
            *stretch = Stretch { from, to };
        } else if stretch.to == from {
            stretch.to = to;
        } else {
            stretch.from = from;
        }
        if is_last {
            self.end = to;
        }
        Fit::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fragments_in_order_and_backwards() {
        let mut datagram = Datagram::default();
        for n in 0..14 {
            assert_eq!(datagram.enter(n * 185, (n + 1) * 185, n == 13), Fit::New);
        }
        assert_eq!(datagram.enter(0, 185, false), Fit::Repeated);
        assert_eq!(datagram.enter(14 * 185, 14 * 185 + 1, false), Fit::Overlaps, "behind the last");

        let mut datagram = Datagram::default();
        for n in (0..14).rev() {
            assert_eq!(datagram.enter(n * 185, (n + 1) * 185, n == 13), Fit::New);
        }
    }

    #[test]
    fn the_attacks_of_rfc_1858_and_3128() {
        // A second fragment over the first one's flags, and one at offset 1.
        let mut datagram = Datagram::default();
        assert_eq!(datagram.enter(0, 5, false), Fit::New);
        assert_eq!(datagram.enter(1, 6, true), Fit::Overlaps);
        assert_eq!(datagram.enter(4, 6, true), Fit::Overlaps);
        // One before the end that is known, and another end.
        let mut datagram = Datagram::default();
        assert_eq!(datagram.enter(10, 12, true), Fit::New);
        assert_eq!(datagram.enter(20, 22, true), Fit::Overlaps);
        assert_eq!(datagram.enter(5, 7, true), Fit::Overlaps);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut datagram = Datagram::default();
        for n in 0..STRETCHES as u16 {
            assert_eq!(datagram.enter(n * 10, n * 10 + 5, false), Fit::New);
        }
        assert_eq!(datagram.enter(1000, 1001, false), Fit::TooScattered);
        assert_eq!(datagram.enter(5, 10, false), Fit::New, "a gap that closes needs no place");
    }

    proptest! {
        /// Whatever comes in whatever order: no unit passes twice, and what is entered is what was free.
        #[test]
        fn no_unit_passes_twice(fragments in prop::collection::vec((0u16..60, 1u16..12, any::<bool>()), 1..40)) {
            let mut datagram = Datagram::default();
            let mut passed = [false; 100];
            for (from, len, last) in fragments {
                let units = usize::from(from)..usize::from(from + len);
                let taken = passed[units.clone()].iter().any(|unit| *unit);
                match datagram.enter(from, from + len, last) {
                    Fit::New => {
                        prop_assert!(!taken);
                        passed[units].fill(true);
                    }
                    Fit::Repeated => prop_assert!(passed[units].iter().all(|unit| *unit)),
                    Fit::Overlaps | Fit::TooScattered => {}
                }
            }
        }
    }
}
