//! Words of RTSP: methods, versions and status codes.

use bytemuck::{Pod, Zeroable};

use super::super::token::Token;

/// What a method means to the filter.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Method(u8);

impl Method {
    /// None that the standards define.
    pub(super) const UNKNOWN: Self = Self(0);
    /// One that needs no care.
    pub(super) const OTHER: Self = Self(1);
    pub(super) const SETUP: Self = Self(2);
    pub(super) const TEARDOWN: Self = Self(3);
    /// OPTIONS, GET_PARAMETER or SET_PARAMETER, which keep sessions alive (RFC 2326 §A.1.2, RFC 7826 §10.5).
    pub(super) const KEEP_ALIVE: Self = Self(4);

    /// The method of RFC 2326 §10 or RFC 7826 §13 that `word` is.
    #[inline(never)]
    pub(super) fn of(word: &Token) -> Self {
        const KEEP_ALIVE: [Token; 3] =
            [Token::of("OPTIONS"), Token::of("GET_PARAMETER"), Token::of("SET_PARAMETER")];
        const OTHER: [Token; 7] = [
            Token::of("DESCRIBE"),
            Token::of("ANNOUNCE"),
            Token::of("PLAY"),
            Token::of("PAUSE"),
            Token::of("RECORD"),
            Token::of("REDIRECT"),
            Token::of("PLAY_NOTIFY"),
        ];
        if word.is(const { Token::of("SETUP") }) {
            Self::SETUP
        } else if word.is(const { Token::of("TEARDOWN") }) {
            Self::TEARDOWN
        } else if is_one_of(*word, &KEEP_ALIVE) {
            Self::KEEP_ALIVE
        } else if is_one_of(*word, &OTHER) {
            Self::OTHER
        } else {
            Self::UNKNOWN
        }
    }
}

#[inline(always)]
fn is_one_of<const N: usize>(word: Token, known: &[Token; N]) -> bool {
    known.iter().fold(u64::MAX, |least, known| least.min(word.difference(*known))) == 0
}

/// Whether `word` is `RTSP/1.0` or `RTSP/2.0`.
#[inline(always)]
pub(super) const fn is_known_version(word: Token) -> bool {
    word.is(const { Token::of("RTSP/1.0") }) || word.is(const { Token::of("RTSP/2.0") })
}

/// The first digit of a status code (RFC 2326 §7.1.1), if `word` is three digits; 0 if it is not.
#[inline(always)]
pub(super) const fn status_class(word: Token) -> u8 {
    let [high, middle, low] = word.words();
    let (class, tens, ones) = ((low >> 16) as u8, (low >> 8) as u8, low as u8);
    let three = high == 0 && middle == 0 && low >> 24 == 0;
    if three && class.is_ascii_digit() && tens.is_ascii_digit() && ones.is_ascii_digit() {
        class
    } else {
        0
    }
}

/// Whether `word`, of `len` bytes, is the beginning of a known method or version.
#[inline(never)]
pub(super) fn begins_a_message(word: &Token, len: u16) -> bool {
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
    let Some(prefix) = Prefix::new(*word, len) else {
        return false;
    };
    WORDS.iter().fold(u64::MAX, |least, word| least.min(prefix.difference(*word))) == 0
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
        let [_, middle, low] = token.words();
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
    fn only_whole_words_are_known() {
        for (word, known) in [("PLAY", true), ("PLAYX", false), ("XPLAY", false), ("play", false)] {
            assert_eq!(Method::of(&Token::of(word)) != Method::UNKNOWN, known, "{word}");
        }
        assert_eq!(Method::of(&Token::of("SETUP")), Method::SETUP);
        assert_eq!(Method::of(&Token::of("TEARDOWN")), Method::TEARDOWN);
        assert_eq!(Method::of(&Token::of("SET_PARAMETER")), Method::KEEP_ALIVE);
        assert_eq!(Method::of(&Token::of("012345678901234567890PLAY")), Method::UNKNOWN);
        assert!(is_known_version(Token::of("RTSP/1.0")));
        assert!(!is_known_version(Token::of("RTSP/1.01")));
    }

    #[test]
    fn every_prefix_of_a_known_word_is_recognised() {
        for word in ["GET_PARAMETER", "PLAY_NOTIFY", "RTSP/2.0", "REDIRECT", "SETUP", "OPTIONS"] {
            for end in 1..=word.len() {
                let part = &word[..end];
                assert!(begins_a_message(&Token::of(part), end as u16), "{part}");
                let wrong = format!("{}~", &part[..end - 1]);
                assert!(!begins_a_message(&Token::of(&wrong), end as u16), "{wrong}");
            }
        }
        assert!(!begins_a_message(&Token::EMPTY, 0));
        assert!(!begins_a_message(&Token::of("GET_PARAMETERS"), 14));
        assert!(!begins_a_message(&Token::of("OPTIONSX"), 8));
    }

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(status_class(Token::of("200")), b'2');
        for word in ["", "20", "2000", "2x0", "-20", "000000200200"] {
            assert_eq!(status_class(Token::of(word)), 0, "{word}");
        }
    }
}
