//! Words of the grammar: which bytes they are made of, and a register that recognises them.

use bytemuck::{Pod, Zeroable};

pub(in crate::filter) const CR: u8 = b'\r';
pub(in crate::filter) const LF: u8 = b'\n';
pub(in crate::filter) const SP: u8 = b' ';
pub(in crate::filter) const HT: u8 = b'\t';

/// Whether `byte` can be part of a token: RFC 2326 §15.1, any CHAR except CTLs and tspecials.
#[inline(always)]
pub(in crate::filter) const fn is_token(byte: u8) -> bool {
    const SET: [u64; 2] = token_bytes();
    let [low, high] = SET;
    match byte >> 6 {
        0 => low >> byte & 1 == 1,
        1 => high >> (byte & 63) & 1 == 1,
        _ => false,
    }
}

const fn token_bytes() -> [u64; 2] {
    // 0x21 to 0x7e, of which the tspecials are taken out.
    let mut set = [u64::MAX << 0x21, u64::MAX >> 1];
    let specials = b"()<>@,;:\\\"/[]?={}";
    let mut i = 0;
    while i < specials.len() {
        set[(specials[i] >> 6) as usize] &= !(1 << (specials[i] & 63));
        i += 1;
    }
    set
}

/// The last 24 bytes of a word, as a shift register: the newest byte is the lowest.
///
/// A register instead of a buffer, because to push and to compare then take a few instructions without
/// branch or index. Zeros fill what a shorter word leaves; no word has a NUL in it, so equal registers
/// mean equal words as long as the known one is shorter than the register.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable, Pod)]
pub(in crate::filter) struct Token([u64; 3]);

impl Token {
    pub(in crate::filter) const EMPTY: Self = Self([0; 3]);

    /// The register after `text`, for constants.
    pub(in crate::filter) const fn of(text: &str) -> Self {
        let text = text.as_bytes();
        let mut token = Self::EMPTY;
        let mut i = 0;
        while i < text.len() {
            token.push(text[i]);
            i += 1;
        }
        token
    }

    #[inline(always)]
    pub(in crate::filter) const fn push(&mut self, byte: u8) {
        let [high, middle, low] = self.0;
        self.0 = [high << 8 | middle >> 56, middle << 8 | low >> 56, low << 8 | byte as u64];
    }

    /// Equality, which `==` is not in a constant function.
    #[inline(always)]
    pub(in crate::filter) const fn is(self, other: Self) -> bool {
        self.difference(other) == 0
    }

    /// Whether the word is `lower`, in any case. Bytes of the word must be visible ASCII.
    #[inline(always)]
    pub(in crate::filter) const fn is_ignoring_case(self, lower: u32) -> bool {
        let [high, middle, low] = self.0;
        high == 0 && middle == 0 && low | 0x2020_2020 == lower as u64
    }

    /// Whether the word ends in `://`.
    #[inline(always)]
    pub(in crate::filter) const fn ends_a_scheme(self) -> bool {
        let [_, _, low] = self.0;
        low & 0xff_ffff == 0x3a_2f2f
    }

    /// Whether the last four bytes of the word are `end`.
    #[inline(always)]
    pub(in crate::filter) const fn ends_in(self, end: [u8; 4]) -> bool {
        let [_, _, low] = self.0;
        low as u32 == u32::from_be_bytes(end)
    }

    /// 0 if the words are the same. The least of several differences says whether the word is one of
    /// several without a branch for each, of which the verifier would try every combination.
    #[inline(always)]
    pub(in crate::filter) const fn difference(self, other: Self) -> u64 {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z)
    }

    /// The register's words, the oldest bytes first.
    #[inline(always)]
    pub(in crate::filter) const fn words(self) -> [u64; 3] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_of_what_the_grammar_says() {
        for byte in 0..=255u8 {
            let special = b"()<>@,;:\\\"/[]?={} \t".contains(&byte);
            assert_eq!(is_token(byte), (0x20..0x7f).contains(&byte) && !special, "{byte:#x}");
        }
    }
}
