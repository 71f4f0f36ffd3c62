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

    /// Whether the word is `RTSP/1.0` or `RTSP/2.0`.
    #[inline(always)]
    pub(in crate::filter) const fn is_known_version(self) -> bool {
        self.is(const { Self::of("RTSP/1.0") }) || self.is(const { Self::of("RTSP/2.0") })
    }

    /// Whether the word is a method of RFC 2326 §10 or RFC 7826 §13.
    #[inline(never)]
    pub(in crate::filter) fn is_known_method(&self) -> bool {
        const METHODS: [Token; 12] = [
            Token::of("OPTIONS"),
            Token::of("DESCRIBE"),
            Token::of("ANNOUNCE"),
            Token::of("SETUP"),
            Token::of("PLAY"),
            Token::of("PAUSE"),
            Token::of("RECORD"),
            Token::of("REDIRECT"),
            Token::of("GET_PARAMETER"),
            Token::of("SET_PARAMETER"),
            Token::of("TEARDOWN"),
            Token::of("PLAY_NOTIFY"),
        ];
        METHODS.iter().fold(u64::MAX, |least, method| least.min(self.difference(*method))) == 0
    }

    /// 0 if the words are the same. The least of several differences says whether the word is one of
    /// several without a branch for each, of which the verifier would try every combination.
    #[inline(always)]
    const fn difference(self, other: Self) -> u64 {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z)
    }

    /// Whether the word, of `len` bytes, is the beginning of a known method or version.
    #[inline(never)]
    pub(in crate::filter) fn begins_a_message(&self, len: u16) -> bool {
        const WORDS: [[u64; 2]; 13] = [
            head(b"RTSP/1.0"),
            head(b"RTSP/2.0"),
            head(b"OPTIONS"),
            head(b"DESCRIBE"),
            head(b"ANNOUNCE"),
            head(b"SETUP"),
            head(b"PLAY_NOTIFY"),
            head(b"PAUSE"),
            head(b"RECORD"),
            head(b"REDIRECT"),
            head(b"GET_PARAMETER"),
            head(b"SET_PARAMETER"),
            head(b"TEARDOWN"),
        ];
        let Some(prefix) = Prefix::new(*self, len) else {
            return false;
        };
        WORDS.iter().fold(u64::MAX, |least, word| least.min(prefix.difference(*word))) == 0
    }

    /// The first digit of a status code (RFC 2326 §7.1.1), if the word is three digits.
    #[inline(always)]
    pub(in crate::filter) const fn status_class(self) -> Option<u8> {
        let [high, middle, low] = self.0;
        let (class, tens, ones) = ((low >> 16) as u8, (low >> 8) as u8, low as u8);
        let three = high == 0 && middle == 0 && low >> 24 == 0;
        if three && class.is_ascii_digit() && tens.is_ascii_digit() && ones.is_ascii_digit() {
            Some(class)
        } else {
            None
        }
    }
}

/// The first bytes of a word with the first byte on top, and which of them there are.
struct Prefix {
    bytes: [u64; 2],
    mask: [u64; 2],
}

impl Prefix {
    /// The `len` bytes of `token`; none if there are none or more than any known word has.
    #[inline(always)]
    const fn new(token: Token, len: u16) -> Option<Self> {
        let [_, middle, low] = token.0;
        let bits = (len as u32).wrapping_mul(8);
        let missing = 64u32.wrapping_sub(bits & 63) & 63;
        match len {
            1..8 => Some(Self {
                bytes: [low.wrapping_shl(missing), 0],
                mask: [u64::MAX.wrapping_shl(missing), 0],
            }),
            8 => Some(Self { bytes: [low, 0], mask: [u64::MAX, 0] }),
            9..14 => Some(Self {
                bytes: [
                    middle.wrapping_shl(missing) | low.wrapping_shr(bits & 63),
                    low.wrapping_shl(missing),
                ],
                mask: [u64::MAX, u64::MAX.wrapping_shl(missing)],
            }),
            _ => None,
        }
    }

    /// 0 if `word` begins with these bytes.
    #[inline(always)]
    const fn difference(&self, word: [u64; 2]) -> u64 {
        let ([a, b], [x, y], [m, n]) = (self.bytes, word, self.mask);
        (a ^ x) & m | (b ^ y) & n
    }
}

/// The first 16 bytes of `text`, zeros after it, first byte on top.
const fn head(text: &[u8]) -> [u64; 2] {
    let mut words = [0; 2];
    let mut i = 0;
    while i < 16 {
        let byte = if i < text.len() { text[i] } else { 0 };
        words[i / 8] = words[i / 8] << 8 | byte as u64;
        i += 1;
    }
    words
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

    #[test]
    fn only_whole_words_are_known() {
        for (word, known) in [("PLAY", true), ("PLAYX", false), ("XPLAY", false), ("play", false)] {
            assert_eq!(Token::of(word).is_known_method(), known, "{word}");
        }
        assert!(!Token::of("012345678901234567890PLAY").is_known_method());
        assert!(Token::of("RTSP/1.0").is_known_version());
        assert!(!Token::of("RTSP/1.01").is_known_version());
    }

    #[test]
    fn every_prefix_of_a_known_word_is_recognised() {
        for word in ["GET_PARAMETER", "PLAY_NOTIFY", "RTSP/2.0", "REDIRECT", "SETUP", "OPTIONS"] {
            for end in 1..=word.len() {
                let part = &word[..end];
                assert!(Token::of(part).begins_a_message(end as u16), "{part}");
                let wrong = format!("{}~", &part[..end - 1]);
                assert!(!Token::of(&wrong).begins_a_message(end as u16), "{wrong}");
            }
        }
        assert!(!Token::EMPTY.begins_a_message(0));
        assert!(!Token::of("GET_PARAMETERS").begins_a_message(14));
        assert!(!Token::of("OPTIONSX").begins_a_message(8));
    }

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(Token::of("200").status_class(), Some(b'2'));
        for word in ["", "20", "2000", "2x0", "-20", "000000200200"] {
            assert_eq!(Token::of(word).status_class(), None, "{word}");
        }
    }
}
