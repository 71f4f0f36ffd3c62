//! What was read of a stream lately, so that a repetition that says something else is noticed.
//!
//! A filter reads a byte once. Were its segment lost behind the firewall, what the receiver gets is the
//! repetition, which nobody reads; a sender who knows that says one thing to the filter and another to the
//! receiver (Ptacek and Newsham, "Insertion, Evasion, and Denial of Service", 1998, §5). Only what was read
//! can mislead a filter, so only that is kept: media and bodies, which are skipped, are not.

use bytemuck::{Pod, Zeroable};

/// Bytes that are kept of each direction, at most: fewer where stretches that were skipped lie between.
pub const RECENT_MAX: u32 = (BLOCKS * BLOCK) as u32;
/// Blocks. A power of two.
const BLOCKS: usize = 256;
/// Bytes of a block. A power of two.
const BLOCK: usize = 8;

/// Eight bytes of the stream that lie together, by sequence number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Block {
    /// Sequence number of its bytes, without its lowest three bits.
    number: u32,
    /// Which of the bytes were read, a bit each.
    known: u32,
    bytes: u64,
}

/// The last bytes that were read of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Recent {
    blocks: [Block; BLOCKS],
}

impl Recent {
    /// Remembers the byte with sequence number `seq`.
    #[inline(always)]
    pub fn note(&mut self, seq: u32, byte: u8) {
        let (number, place) = parts(seq);
        let block = &mut self.blocks[slot(seq)];
        let difference = block.number ^ number;
        let kept = if difference == 0 { block.known } else { 0 };
        block.number = number;
        block.known = kept | 1 << place;
        block.bytes = block.bytes & !(0xff << (place * 8)) | (byte as u64) << (place * 8);
    }

    /// How many bytes from `seq` on were certainly not read lately: most of what is repeated of media.
    #[inline(always)]
    pub fn unknown_from(&self, seq: u32) -> u32 {
        let (number, place) = parts(seq);
        if self.blocks[slot(seq)].number == number { 0 } else { BLOCK as u32 - place }
    }

    /// Whether the byte with sequence number `seq` was read lately and was not `byte`.
    #[inline(always)]
    pub fn contradicts(&self, seq: u32, byte: u8) -> bool {
        let (number, place) = parts(seq);
        let block = &self.blocks[slot(seq)];
        let known = block.known >> place & 1;
        let there = (block.bytes >> (place * 8)) as u8;
        block.number == number && known != 0 && there != byte
    }
}

#[inline(always)]
const fn parts(seq: u32) -> (u32, u32) {
    (seq & !(BLOCK as u32 - 1), seq & (BLOCK as u32 - 1))
}

#[inline(always)]
const fn slot(seq: u32) -> usize {
    (seq as usize / BLOCK) & (BLOCKS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_and_nothing_else() {
        let mut recent = Recent::zeroed();
        assert!(!recent.contradicts(0, 1), "nothing was read");
        for seq in 0..100u32 {
            recent.note(seq.wrapping_sub(20), seq as u8);
        }
        for seq in 0..100u32 {
            let at = seq.wrapping_sub(20);
            assert!(!recent.contradicts(at, seq as u8));
            assert!(recent.contradicts(at, seq as u8 ^ 1));
        }
        assert!(!recent.contradicts(80, 0xff), "it was not read yet");
        assert!(!recent.contradicts(u32::MAX - 20, 0xff), "nor was it before");
    }

    #[test]
    fn the_oldest_is_forgotten_and_not_mistaken() {
        let mut recent = Recent::zeroed();
        (0..3 * RECENT_MAX).for_each(|seq| recent.note(seq, seq as u8));
        for seq in 0..3 * RECENT_MAX {
            let known = seq >= 2 * RECENT_MAX;
            assert_eq!(recent.contradicts(seq, seq as u8 ^ 1), known, "{seq}");
            assert!(!recent.contradicts(seq, seq as u8));
        }
        assert_eq!(recent.unknown_from(3), 5);
        assert_eq!(recent.unknown_from(2 * RECENT_MAX), 0);
        // A place that is skipped is not taken for what lay in its block before.
        recent.note(5 * RECENT_MAX + 3, 1);
        assert!(!recent.contradicts(5 * RECENT_MAX + 2, 77));
        assert!(recent.contradicts(5 * RECENT_MAX + 3, 77));
    }
}
