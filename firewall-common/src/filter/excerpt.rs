//! The beginning of a line, kept for the report of a finding in it, without the secrets in it.

use bytemuck::{Pod, Zeroable};

/// How many bytes of a line are kept.
pub use crate::event::EXCERPT_MAX;
use crate::event::Record;

/// The first bytes of a line.
///
/// The userinfo of a URL (RFC 3986 §3.2.1) is replaced by one `*`. It shows itself only by the `@` that
/// ends it, so what follows `://` is taken back when an `@` comes.
// Aligned, so that the kernel copies it by words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
pub struct Excerpt {
    bytes: [u8; EXCERPT_MAX],
    len: u8,
    /// What `len` was when the authority of a URL began; 0 outside of one, for `://` comes before it.
    authority: u8,
    /// How many bytes of `://` the line ends in so far.
    scheme_end: u8,
    reserved: [u8; 5],
}

impl Excerpt {
    /// What is kept. The bytes past the length mean nothing and are not to be shown.
    #[inline(always)]
    pub const fn view(&self) -> (&[u8; EXCERPT_MAX], u8) {
        (&self.bytes, self.len)
    }

    /// Copies what is kept into `record`, by words: a copy that the compiler recognises becomes a loop over bytes
    /// in the kernel.
    #[inline(always)]
    pub fn copy_to(&self, record: &mut Record) {
        const { assert!(core::mem::offset_of!(Record, excerpt) % 8 == 0) };
        let from = self.bytes.as_ptr().cast::<u64>();
        let to = record.excerpt.as_mut_ptr().cast::<u64>();
        for word in 0..EXCERPT_MAX / 8 {
            // SAFETY: both have as many words, and both begin at one.
            unsafe { to.add(word).write_volatile(from.add(word).read()) }
        }
        record.excerpt_len = self.len;
    }

    /// Begins a new line.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.len = 0;
        self.authority = 0;
        self.scheme_end = 0;
    }

    /// Begins a new line that is these four bytes.
    #[inline(always)]
    pub fn begin_with(&mut self, head: [u8; 4]) {
        self.clear();
        // SAFETY: there are more bytes than four.
        unsafe { self.bytes.as_mut_ptr().cast::<[u8; 4]>().write(head) }
        self.len = 4;
    }

    /// Takes the next byte of the line. Not inlined: two in a row become arithmetic on the length in which
    /// the verifier loses sight of its bound.
    #[inline(never)]
    pub fn push(&mut self, byte: u8) {
        if self.authority != 0 {
            match byte {
                // A password may hold an unescaped `@`, so the authority goes on after one.
                b'@' => self.hide_userinfo(),
                b'/' | b'?' | b'#' | b' ' | b'\t' => self.authority = 0,
                _ => {}
            }
        }
        self.append(byte);
        self.scheme_end = match (self.scheme_end, byte) {
            (_, b':') => 1,
            (1, b'/') => 2,
            (2, b'/') => {
                self.authority = self.len;
                0
            }
            _ => 0,
        };
    }

    /// Hides what may turn out to be userinfo, for a report before the end of the authority is seen.
    #[inline(always)]
    pub fn hide_unfinished(&mut self) {
        if self.authority != 0 {
            self.hide_userinfo();
        }
    }

    #[inline(always)]
    fn hide_userinfo(&mut self) {
        self.len = self.authority;
        self.append(b'*');
    }

    #[inline(always)]
    fn append(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
            *slot = byte;
            self.len = self.len.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str) -> String {
        let mut excerpt = Excerpt::zeroed();
        line.bytes().for_each(|byte| excerpt.push(byte));
        let (bytes, len) = excerpt.view();
        String::from_utf8_lossy(&bytes[..usize::from(len)]).into_owned()
    }

    #[test]
    fn userinfo_is_hidden() {
        for (line, expected) in [
            ("PLAY rtsp://h:554/a@b RTSP/1.0", "PLAY rtsp://h:554/a@b RTSP/1.0"),
            ("PLAY rtsp://u:pass@h/ RTSP/1.0", "PLAY rtsp://*@h/ RTSP/1.0"),
            ("PLAY rtsp://u:p@ss:@h/ RTSP/1.0", "PLAY rtsp://*@h/ RTSP/1.0"),
            ("a rtsp://u@h b rtsp://v:w@i c", "a rtsp://*@h b rtsp://*@i c"),
            ("://@:///@", "://*@:///@"),
        ] {
            assert_eq!(kept(line), expected);
        }
    }

    #[test]
    fn userinfo_longer_than_the_excerpt_is_hidden_too() {
        let line = format!("PLAY rtsp://{}@host/ RTSP/1.0", "secret".repeat(30));
        assert_eq!(kept(&line), "PLAY rtsp://*@host/ RTSP/1.0");
    }

    #[test]
    fn an_authority_past_the_end_of_the_excerpt_does_no_harm() {
        let line = format!("{}://u:p@h", "x".repeat(EXCERPT_MAX));
        assert_eq!(kept(&line), "x".repeat(EXCERPT_MAX));
    }
}
