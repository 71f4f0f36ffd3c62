//! Pinholes: flows that a connection announces, and that are let in although no rule speaks for them.
//!
//! A parser says what it read in a [`Wish`]. A wish is always about the two ends of the connection itself: an
//! address that a message names may only confirm them. What is opened belongs to a [`Session`], which outlives
//! the connection for a while, and ends with it all.

use bytemuck::{Pod, Zeroable};

use super::parser::Scene;
use crate::{
    cookie::{Secret, keyed, pair},
    flow::Direction,
};

/// The lowest port that a pinhole may lead to: below it are the system's ports (RFC 6335 §6), which no media
/// and no file transfer uses at the end that is called.
pub const PORT_MIN: u16 = 1024;
/// Most ports that one session may have open at a time.
pub const PINHOLES_MAX: u32 = 32;
/// Most sessions of one connection that go on at a time.
pub const SESSIONS_MAX: usize = 8;
/// How long a session outlives the connection that announced it, nanoseconds: its client may go on over another
/// one (RFC 2326 §12.37).
pub const GRACE_NS: u64 = 30_000_000_000;
/// How long a session may be silent whose messages do not say so, seconds (RFC 2326 §12.37).
pub const TIMEOUT_DEFAULT: u32 = 60;

/// What a connection announces.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Wish {
    /// The session that it belongs to, a hash of its name; 0: the connection itself.
    pub session: u64,
    /// For how long the session may be silent, seconds; 0: [`TIMEOUT_DEFAULT`].
    pub timeout: u32,
    /// Port at the end that began the connection; 0: any.
    pub original_port: u16,
    /// Port at the other end; 0: any.
    pub reply_port: u16,
    /// How many ports in a row, 1 or 2: RTP and RTCP (RFC 3550 §11).
    pub ports: u8,
    /// IP protocol.
    pub transport: u8,
    /// Who may begin: bit set of [`Wish::BY_ORIGINATOR`] and [`Wish::BY_RESPONDER`].
    pub begins: u8,
    /// 1: it is for one flow, and closed once that has begun.
    pub once: u8,
    /// Must be 0.
    pub reserved: u32,
}

impl Wish {
    /// The end that began the connection may begin the flow: from any port, if `original_port` is 0.
    pub const BY_ORIGINATOR: u8 = 1;
    /// The other end may begin it.
    pub const BY_RESPONDER: u8 = 2;
}

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

/// Under which a pinhole lies: the first packet of the flow it is for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct PinholeKey {
    /// Source address, in network byte order; IPv4 takes the first word.
    pub source: [u32; 4],
    /// Destination address.
    pub destination: [u32; 4],
    /// Destination port.
    pub port: u16,
    /// IP protocol.
    pub transport: u8,
    /// 4 or 6.
    pub version: u8,
}

/// A flow that may begin.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pinhole {
    /// The [`Session`] it belongs to.
    pub session: u64,
    /// When it was opened, nanoseconds.
    pub opened: u64,
    /// Port that the first packet must come from; 0: any.
    pub source_port: u16,
    /// 1: for one flow.
    pub once: u8,
    /// Must be 0.
    pub reserved: u8,
    /// Rule of the connection that announced it.
    pub rule: u32,
}

/// What pinholes and the flows they let in belong to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Session {
    /// Number of the flow that announced it, or that took it up last.
    pub parent: u64,
    /// Time of the last sign of life, nanoseconds.
    pub last_seen: u64,
    /// For how long it may be silent, nanoseconds.
    pub timeout: u64,
    /// When it ends whatever comes; 0: that is not known yet.
    pub ends_at: u64,
    /// Number of the event that reported the kill of its connection; 0: it was not killed.
    pub killed_by: u64,
    /// Pinholes opened so far, without those that were for one flow, which has begun.
    pub pinholes: u32,
    /// Protocol of the connection, by the policy.
    pub protocol: u32,
    /// When it began, nanoseconds: what was opened before belonged to another of the same name.
    pub created: u64,
    /// The last pinhole for one flow, of which there is one at a time.
    pub once: PinholeKey,
    /// Must be 0.
    pub reserved: u32,
}

impl Session {
    /// Whether something that came about at `time` belongs to it.
    #[inline(always)]
    pub const fn has(&self, time: u64) -> bool {
        // Another CPU's clock may be a little behind: the coarse one moves every few milliseconds.
        const CLOCKS_DIFFER: u64 = 10_000_000;
        time.saturating_add(CLOCKS_DIFFER) >= self.created
    }

    /// Whether it has ended.
    #[inline(always)]
    pub const fn is_over(&self, now: u64) -> bool {
        self.ends_at != 0 && now >= self.ends_at
            || now.saturating_sub(self.last_seen) > self.timeout
    }
}

/// The sessions of one connection; what lies unused is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Family {
    /// Keys of [`Session`]s.
    pub sessions: [u64; SESSIONS_MAX],
}

impl Session {
    /// The key under which the session lies that `wish` is about: of a connection between these two hosts, or of
    /// the connection `flow_id` alone. `direction` is that of the message.
    ///
    /// A name is chosen by a server, so the key is made with a secret: nobody can aim at another's.
    #[inline(always)]
    pub fn key(
        secret: &Secret,
        wish: &Wish,
        scene: &Scene,
        direction: Direction,
        flow_id: u64,
    ) -> u64 {
        if wish.session == 0 {
            return flow_id;
        }
        let ([_, speaker], [_, listener]) = (&scene.speaker, &scene.listener);
        let (originator, responder) = match direction {
            Direction::Original => (speaker, listener),
            Direction::Reply => (listener, speaker),
        };
        let ([a, b, c, d], [w, x, y, z]) = (*originator, *responder);
        let words = [wish.session, pair(a, b), pair(c, d), pair(w, x), pair(y, z), 0];
        // Numbers of flows have their highest bit clear.
        keyed(secret, &words) | 1 << 63
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

    #[test]
    fn a_session_ends_by_its_end_or_by_silence() {
        let session = Session { last_seen: 100, timeout: 10, ..Session::default() };
        assert!(!session.is_over(110) && session.is_over(111) && !session.is_over(50));
        let ending = Session { ends_at: 105, ..session };
        assert!(!ending.is_over(104) && ending.is_over(105));
    }
}
