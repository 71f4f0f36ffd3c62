//! RTSP tunnelled through HTTP, as Apple's QuickTime does it: a GET whose response is the stream of the server,
//! and on a connection of its own a POST whose body is the stream of the client, in base64 (RFC 4648 §4).
//!
//! The two connections know nothing of each other here. So what is said in a tunnel is read, but replies are
//! not matched to requests, and nothing is opened.

use super::Parser;

/// What [`Parser::decode`] returns for a byte that completes none.
pub(super) const NOTHING: u32 = 256;
/// What it returns for a byte that no base64 has in it.
pub(super) const NOT_BASE64: u32 = 257;

/// In [`SEXTETS`]: a line end or a blank, which devices put between requests.
const BLANK: u8 = 64;
/// In [`SEXTETS`]: the padding that ends a request.
const PADDING: u8 = 65;
const BAD: u8 = 66;

/// The number that each byte stands for.
static SEXTETS: [u8; 256] = {
    let mut sextets = [BAD; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        sextets[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    let blanks = b"\r\n \t";
    i = 0;
    while i < blanks.len() {
        sextets[blanks[i] as usize] = BLANK;
        i += 1;
    }
    sextets[b'=' as usize] = PADDING;
    sextets
};

impl Parser {
    /// Takes a byte of base64. Returns the byte that it completes, or one of [`NOTHING`] and [`NOT_BASE64`].
    ///
    /// Each request is encoded for itself, so padding may stand anywhere, and what follows begins anew.
    #[inline(never)]
    pub(super) fn decode(&mut self, byte: u8) -> u32 {
        let sextet = SEXTETS[usize::from(byte)];
        match sextet {
            0..BLANK => {}
            BLANK => return NOTHING,
            PADDING => {
                self.sextets = 0;
                return NOTHING;
            }
            _ => return NOT_BASE64,
        }
        let bits = u32::from(self.sextet) << 6 | u32::from(sextet);
        let before = u32::from(self.sextets) & 3;
        self.sextet = sextet;
        self.sextets = (before as u8).wrapping_add(1) & 3;
        if before == 0 { NOTHING } else { bits >> (6 - 2 * before) & 0xff }
    }
}
