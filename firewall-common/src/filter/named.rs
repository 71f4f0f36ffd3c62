//! Addresses in messages: whom one names. An address may only confirm the ends of the connection that it is said in.

use bytemuck::{Pod, Zeroable};

use super::parser::Scene;
use crate::cookie::pair;

/// An address that a message names, or the lack of one.
// Of words of eight bytes: the compiler joins stores to smaller ones, and the kernel takes none to a place on the
// stack that is not aligned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Named {
    /// 0: none; 4 or 6; [`Named::NO_ADDRESS`].
    pub version: u64,
    /// The bytes as they stand in a packet; IPv4 takes the first half of the first word.
    address: [u64; 2],
}

impl Named {
    /// What stands there is no address but, it may be, a host's name.
    pub const NO_ADDRESS: u64 = u64::MAX;

    /// An address of this version, 4 or 6, in network byte order.
    #[inline(always)]
    pub const fn new(version: u64, [a, b, c, d]: [u32; 4]) -> Self {
        Self::of_words(version, [word(a, b), word(c, d)])
    }

    /// The same, of eight bytes together as they lie in memory.
    #[inline(always)]
    pub(super) const fn of_words(version: u64, address: [u64; 2]) -> Self {
        Self { version, address }
    }

    /// Whether it is the unspecified address.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        let [first, second] = self.address;
        first | second == 0
    }

    /// Whether it is the address of a group (RFC 1112 §4, RFC 4291 §2.7).
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        let [first, _] = self.address;
        let first = if cfg!(target_endian = "little") { first as u8 } else { (first >> 56) as u8 };
        self.version == 4 && first >> 4 == 0xe || self.version == 6 && first == 0xff
    }

    /// Whether it names the one who says it. Nothing, and what is no address, names nobody else; the
    /// unspecified address (`0.0.0.0`, `::`) stands for the speaker.
    #[inline(always)]
    pub fn may_be_speaker(&self, scene: &Scene) -> bool {
        self.may_be(scene.version, &scene.speaker)
    }

    /// Whether it names the one who is spoken to.
    #[inline(always)]
    pub fn may_be_listener(&self, scene: &Scene) -> bool {
        self.may_be(scene.version, &scene.listener)
    }

    #[inline(always)]
    fn may_be(&self, version: u32, known: &[[u32; 4]; 2]) -> bool {
        if self.version == 0 || self.version == Self::NO_ADDRESS {
            return true;
        }
        let [here, there] = known;
        self.is_unspecified() || self.version == version as u64 && (self.is(here) || self.is(there))
    }

    #[inline(always)]
    const fn is(&self, known: &[u32; 4]) -> bool {
        let ([first, second], [a, b, c, d]) = (self.address, *known);
        (first ^ word(a, b)) | (second ^ word(c, d)) == 0
    }
}

/// Two halves as they lie in memory.
#[inline(always)]
const fn word(first: u32, second: u32) -> u64 {
    if cfg!(target_endian = "little") {
        first as u64 | (second as u64) << 32
    } else {
        pair(first, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_confirms_or_contradicts() {
        let scene = Scene {
            version: 4,
            speaker: [[1, 0, 0, 0], [2, 0, 0, 0]],
            listener: [[3, 0, 0, 0], [3, 0, 0, 0]],
            ..Scene::default()
        };
        let named = |version, first| Named::new(version, [first, 0, 0, 0]);
        assert!(Named::default().may_be_speaker(&scene));
        assert!(named(Named::NO_ADDRESS, 0).may_be_listener(&scene));
        assert!(named(4, 1).may_be_speaker(&scene) && named(4, 2).may_be_speaker(&scene));
        assert!(!named(4, 3).may_be_speaker(&scene) && named(4, 3).may_be_listener(&scene));
        assert!(named(4, 0).may_be_speaker(&scene));
        assert!(!named(6, 1).may_be_speaker(&scene));
    }
}
