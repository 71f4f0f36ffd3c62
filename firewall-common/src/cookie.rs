//! The cookie that a sender has to give back to show that its address is its own.
//!
//! While a SYN attack is on, a SYN is answered with a SYN and an ACK that acknowledges a cookie instead of the
//! SYN's own number. An end that sent the SYN answers that by a RST whose sequence number is the cookie
//! (RFC 9293 §3.10.7.3), and repeats its SYN. One that lent its address to an attacker answers with a RST too,
//! but of another number; one that does not exist answers not at all.

use bytemuck::{Pod, Zeroable};

use crate::wire::Packet;

/// The secret that cookies are made with. Random, of this machine alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Secret(pub [u64; 2]);

/// For how long a cookie is good, nanoseconds: for one such period and the one after it.
pub const PERIOD: u64 = 8_000_000_000;

/// The cookie for the sender of `packet`, a SYN, in the period number `period`.
///
/// Apart from its callers, for the sake of their stack in the kernel.
#[inline(never)]
pub fn cookie(secret: &Secret, packet: &Packet, period: u64) -> u32 {
    let [a, b, c, d] = packet.source;
    let [w, x, y, z] = packet.destination;
    let ports = u64::from(packet.source_port) << 16 | u64::from(packet.destination_port);
    siphash(secret, [pair(a, b), pair(c, d), pair(w, x), pair(y, z), ports, period]) as u32
}

/// Whether `packet`, a RST, gives back a cookie that is still good at `now`.
#[inline(always)]
pub fn gives_back(secret: &Secret, packet: &Packet, now: u64) -> bool {
    let period = now / PERIOD;
    packet.seq == cookie(secret, packet, period)
        || packet.seq == cookie(secret, packet, period.wrapping_sub(1))
}

/// A number for these words that nobody can foresee who does not know the secret.
///
/// Apart from its callers, for the sake of their stack in the kernel.
#[inline(never)]
pub fn keyed(secret: &Secret, words: &[u64; 6]) -> u64 {
    siphash(secret, *words)
}

#[inline(always)]
pub(crate) const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012) of six words. Written out,
/// because a hasher over bytes is more than the verifier likes to walk.
#[inline(always)]
const fn siphash(secret: &Secret, words: [u64; 6]) -> u64 {
    let Secret([k0, k1]) = *secret;
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let [a, b, c, d, e, f] = words;
    // The last word holds the length in bytes, in its highest byte.
    const LAST: u64 = (6 * 8) << 56;
    v = absorb(v, a);
    v = absorb(v, b);
    v = absorb(v, c);
    v = absorb(v, d);
    v = absorb(v, e);
    v = absorb(v, f);
    v = absorb(v, LAST);
    v[2] ^= 0xff;
    v = round(round(round(round(v))));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline(always)]
const fn absorb(mut v: [u64; 4], word: u64) -> [u64; 4] {
    v[3] ^= word;
    v = round(round(v));
    v[0] ^= word;
    v
}

#[inline(always)]
const fn round([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;
    use std::hash::Hasher as _;

    proptest! {
        #[test]
        fn it_is_siphash(secret: [u64; 2], words: [u64; 6]) {
            let mut hasher = SipHasher24::new_with_keys(secret[0], secret[1]);
            words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
            prop_assert_eq!(siphash(&Secret(secret), words), hasher.finish());
        }
    }

    #[test]
    fn a_cookie_is_good_for_two_periods_and_for_its_sender() {
        let secret = Secret([1, 2]);
        let syn = Packet { source_port: 4000, destination_port: 554, ..Packet::default() };
        let now = 100 * PERIOD + PERIOD / 2;
        let rst = Packet { seq: cookie(&secret, &syn, now / PERIOD), ..syn };
        assert!(gives_back(&secret, &rst, now));
        assert!(gives_back(&secret, &rst, now + PERIOD));
        assert!(!gives_back(&secret, &rst, now + 2 * PERIOD));
        assert!(!gives_back(&secret, &rst, now - PERIOD));
        for other in [Packet { source: [1, 0, 0, 0], ..rst }, Packet { source_port: 4001, ..rst }] {
            assert!(!gives_back(&secret, &other, now));
        }
    }
}
