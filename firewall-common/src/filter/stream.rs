//! In-order delivery: which bytes of a TCP segment a filter's parser is to see, and whether the segment
//! may pass at all before the bytes that are missing in front of it have come.
//!
//! A parser reads each byte of the stream once and in order. What the sender repeats has been read and
//! passes unread. What comes too early is a matter of what stands where bytes are missing, see
//! [`deliver`].

use bytemuck::{Pod, Zeroable};

use crate::policy::{Mode, Profile};

/// How far one direction of a connection has been read.
///
/// All-zero stands for a stream whose position is not known yet: the first segment sets it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Cursor {
    /// Sequence number of the next byte to read; means nothing before the position is known.
    next: u32,
    /// 1 once the position is known.
    positioned: u32,
}

impl Cursor {
    /// A cursor that expects the byte with sequence number `next`: one more than that of the SYN.
    #[inline(always)]
    pub const fn starting_at(next: u32) -> Self {
        Self { next, positioned: 1 }
    }

    /// Sequence number of the next byte to read, once the position is known.
    #[inline(always)]
    pub const fn next(&self) -> Option<u32> {
        if self.positioned != 0 { Some(self.next) } else { None }
    }

    /// Where `len` payload bytes that begin at `seq` lie relative to what has been read.
    ///
    /// Numbers are compared in the circle of RFC 9293 §3.4: half of it lies behind, half ahead. A
    /// segment without payload is always [`Placement::Old`]; a SYN or FIN is not payload.
    #[inline(always)]
    pub const fn place(&self, seq: u32, len: u32) -> Placement {
        if len == 0 {
            return Placement::Old;
        }
        if self.positioned == 0 {
            return Placement::New { skip_front: 0 };
        }
        let ahead = seq.wrapping_sub(self.next);
        if ahead != 0 && ahead < 1 << 31 {
            return Placement::Gap { missing: ahead };
        }
        let behind = ahead.wrapping_neg();
        if behind >= len { Placement::Old } else { Placement::New { skip_front: behind } }
    }

    /// How many bytes that were not seen lie before `seq`, as [`place`](Self::place) counts them.
    #[inline(always)]
    pub const fn missing_before(&self, seq: u32) -> u32 {
        let ahead = seq.wrapping_sub(self.next);
        if self.positioned != 0 && ahead < 1 << 31 { ahead } else { 0 }
    }

    /// Marks the `len` payload bytes from `seq` as read. The position never moves back.
    #[inline(always)]
    pub const fn advance(&mut self, seq: u32, len: u32) {
        if !matches!(self.place(seq, len), Placement::Old) {
            *self = Self::starting_at(seq.wrapping_add(len));
        }
    }

    /// Whether the receiver, who acknowledges all bytes before `ack`, has bytes that were not read
    /// here. The sender will not repeat them: to wait for them would stall the connection.
    #[inline(always)]
    pub const fn is_behind(&self, ack: u32) -> bool {
        let ahead = ack.wrapping_sub(self.next);
        self.positioned != 0 && ahead != 0 && ahead < 1 << 31
    }
}

/// Where a segment lies in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Every byte of it has been read before.
    Old,
    /// It continues the stream.
    New {
        /// How many bytes at its front have been read before.
        skip_front: u32,
    },
    /// Bytes between the cursor and the segment have not been seen.
    Gap {
        /// How many.
        missing: u32,
    },
}

/// What is known when a segment arrives, besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Mode of the binding.
    pub mode: Mode,
    /// Profile of the binding.
    pub profile: Profile,
    /// How many of the next bytes the parser would not look at; `u32::MAX` if it reads no more, or
    /// none before it finds a place to begin.
    pub skippable: u32,
    /// Whether the parser stands among media frames, where it may be at a frame's edge and
    /// `skippable` be 0.
    pub in_media: bool,
    /// Whether the receiver already has what is missing here, see [`Cursor::is_behind`].
    pub acknowledged: bool,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// It passes, there is nothing in it to read.
    Skip,
    /// The parser reads it, except for `skip_front` bytes.
    Feed {
        /// How many bytes at its front have been read before.
        skip_front: u32,
    },
    /// The parser skips `missing` bytes, which it would not have looked at, and reads the segment.
    FeedAfterLoss {
        /// How many bytes were not seen.
        missing: u32,
    },
    /// The parser forgets what it was in the middle of, skips `missing` bytes and looks for a place to
    /// begin again in this segment.
    Resync {
        /// How many bytes were not seen.
        missing: u32,
    },
    /// It is dropped, so that the sender repeats it after what is missing.
    Hold,
}

/// Decides what becomes of a segment.
///
/// Beyond a gap, in this order:
/// 1. Where nothing would be read (the parser has given up reading, or has not begun) the segment
///    passes in every profile: there is nothing to wait for.
/// 2. In monitor mode nothing is held back, nor is it where the receiver has the missing bytes.
/// 3. In the strict profile it is held back.
/// 4. In the standard profile it passes if the gap begins in a stretch that is not read, such as a
///    media frame or a body, so that a lossy link is no slower with the filter than without. If
///    the gap also ends in that stretch the parser has lost nothing.
/// 5. Inside a message head, and where one would begin, it is held back: a header that is split by a
///    loss must be read as the receiver will read it.
#[inline(always)]
pub const fn deliver(placement: Placement, now: &Situation) -> Deliver {
    let missing = match placement {
        Placement::Old => return Deliver::Skip,
        Placement::New { skip_front } => return Deliver::Feed { skip_front },
        Placement::Gap { missing } => missing,
    };
    let unread = now.skippable == u32::MAX;
    let must_pass = !matches!(now.mode, Mode::Enforce) || now.acknowledged;
    let may_pass = matches!(now.profile, Profile::Standard) && (now.skippable > 0 || now.in_media);
    if !(unread || must_pass || may_pass) {
        Deliver::Hold
    } else if missing <= now.skippable {
        Deliver::FeedAfterLoss { missing }
    } else {
        Deliver::Resync { missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Situation = Situation {
        mode: Mode::Enforce,
        profile: Profile::Standard,
        skippable: 0,
        in_media: false,
        acknowledged: false,
    };

    #[test]
    fn segments_are_placed_across_the_wrap_of_sequence_numbers() {
        for next in [0, 1000, u32::MAX, 1 << 31, u32::MAX - 5] {
            let cursor = Cursor::starting_at(next);
            let place = |from: i32, len| cursor.place(next.wrapping_add_signed(from), len);
            assert_eq!(place(0, 10), Placement::New { skip_front: 0 });
            assert_eq!(place(0, 0), Placement::Old);
            assert_eq!(place(1, 0), Placement::Old);
            assert_eq!(place(-1, 1), Placement::Old);
            assert_eq!(place(-10, 10), Placement::Old);
            assert_eq!(place(-10, 11), Placement::New { skip_front: 10 });
            assert_eq!(place(1, 1), Placement::Gap { missing: 1 });
            assert_eq!(place(70_000, 1), Placement::Gap { missing: 70_000 });
            assert_eq!(place(i32::MIN, 1), Placement::Old);
        }
    }

    #[test]
    fn the_cursor_moves_forward_only() {
        let mut cursor = Cursor::starting_at(u32::MAX);
        cursor.advance(u32::MAX, 3);
        assert_eq!(cursor.next(), Some(2));
        cursor.advance(u32::MAX, 2);
        assert_eq!(cursor.next(), Some(2));
        cursor.advance(10, 5);
        assert_eq!(cursor.next(), Some(15));
    }

    #[test]
    fn a_cursor_without_position_takes_that_of_the_first_payload() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.place(77, 0), Placement::Old);
        cursor.advance(77, 0);
        assert_eq!(cursor.next(), None);
        assert!(!cursor.is_behind(77));
        assert_eq!(cursor.place(77, 3), Placement::New { skip_front: 0 });
        cursor.advance(77, 3);
        assert_eq!(cursor.next(), Some(80));
        assert!(cursor.is_behind(81) && !cursor.is_behind(80) && !cursor.is_behind(79));
    }

    #[test]
    fn what_follows_a_gap_depends_on_where_it_lies() {
        let gap = Placement::Gap { missing: 100 };
        let strict = Situation { profile: Profile::Strict, ..NOW };
        let monitor = Situation { mode: Mode::Monitor, ..strict };
        let pass = Deliver::FeedAfterLoss { missing: 100 };
        let resync = Deliver::Resync { missing: 100 };
        for (shows, now, expected) in [
            ("head", NOW, Deliver::Hold),
            ("inside a body", Situation { skippable: 100, ..NOW }, pass),
            ("beyond a body", Situation { skippable: 99, ..NOW }, resync),
            ("at a frame's edge", Situation { in_media: true, ..NOW }, resync),
            ("opaque", Situation { skippable: u32::MAX, ..NOW }, pass),
            ("strict head", strict, Deliver::Hold),
            ("strict body", Situation { skippable: 100, ..strict }, Deliver::Hold),
            ("strict media", Situation { in_media: true, ..strict }, Deliver::Hold),
            ("strict opaque", Situation { skippable: u32::MAX, ..strict }, pass),
            ("strict, never to come", Situation { acknowledged: true, ..strict }, resync),
            ("monitor head", monitor, resync),
            ("monitor body", Situation { skippable: 100, ..monitor }, pass),
        ] {
            assert_eq!(deliver(gap, &now), expected, "{shows}");
        }
    }

    #[test]
    fn without_a_gap_nothing_is_held() {
        for mode in Mode::ALL {
            for profile in Profile::ALL {
                let now = Situation { mode, profile, ..NOW };
                assert_eq!(deliver(Placement::Old, &now), Deliver::Skip);
                assert_eq!(
                    deliver(Placement::New { skip_front: 3 }, &now),
                    Deliver::Feed { skip_front: 3 }
                );
            }
        }
    }
}
