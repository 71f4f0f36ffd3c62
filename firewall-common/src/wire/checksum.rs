//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A ones' complement sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds a 16-bit word in host order.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit number in host order as its two words.
    #[inline(always)]
    #[must_use]
    pub const fn number(self, number: u32) -> Self {
        self.word((number >> 16) as u16).word(number as u16)
    }

    /// Adds an address in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, address: [u32; 4]) -> Self {
        let [a, b, c, d] = address;
        self.number(u32::from_be(a))
            .number(u32::from_be(b))
            .number(u32::from_be(c))
            .number(u32::from_be(d))
    }

    /// Adds a sum over words as they lie in memory, such as the kernel makes: turned around in the end, it is the
    /// same (RFC 1071 §2 (B)).
    #[inline(always)]
    #[must_use]
    pub const fn in_memory(self, sum: u32) -> Self {
        self.word(u16::from_be(Self(sum as u64).folded()))
    }

    /// The sum folded to 16 bits, not complemented: what a sender leaves in the checksum field for its
    /// network card to finish (`CHECKSUM_PARTIAL` in the kernel's `skbuff.h`).
    #[inline(always)]
    pub const fn folded(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        let twice = (once & 0xffff) + (once >> 16);
        ((twice & 0xffff) + (twice >> 16)) as u16
    }

    /// The checksum.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        !self.folded()
    }
}

/// The checksum after one word of what it covers changed from `old` to `new` (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(0).word(!checksum).word(!old).word(new).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §3, the worked example.
    #[test]
    fn worked_example_of_rfc_1071() {
        let sum = Sum::default().word(0x0001).word(0xf203).word(0xf4f5).word(0xf6f7);
        assert_eq!(sum.folded(), 0xddf2);
        assert_eq!(sum.checksum(), !0xddf2);
    }

    proptest! {
        #[test]
        fn the_order_of_bytes_does_not_matter(words: [u32; 8]) {
            let as_it_lies = words.iter().fold(0_u64, |sum, word| sum + u64::from(*word));
            let folded = (as_it_lies as u32 as u64) + (as_it_lies >> 32);
            let folded = (folded as u32).wrapping_add((folded >> 32) as u32);
            let in_order = words.iter().fold(Sum::default(), |sum, word| sum.number(u32::from_be(*word)));
            let sum = Sum::default().in_memory(folded).folded();
            // 0 has two forms.
            prop_assert_eq!(sum % 0xffff, in_order.folded() % 0xffff);
        }

        #[test]
        fn an_update_equals_a_new_sum(words: [u16; 10], at in 0usize..10, new: u16) {
            let sum = |words: &[u16]| {
                words.iter().fold(Sum::default(), |sum, word| sum.word(*word)).checksum()
            };
            // All zeros has two ones' complement sums, 0 and 0xffff; no IP header is all zeros.
            prop_assume!(words.iter().enumerate().any(|(i, word)| i != at && *word != 0));
            let before = sum(&words);
            let mut changed = words;
            let old = words[at];
            changed[at] = new;
            prop_assert_eq!(updated(before, old, new), sum(&changed));
        }
    }
}
