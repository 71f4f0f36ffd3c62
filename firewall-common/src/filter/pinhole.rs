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
    words::clear,
};

const SECOND: u64 = 1_000_000_000;

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

    /// What it comes to.
    #[inline(always)]
    pub const fn opens(&self, scene: &Scene) -> Opens {
        Opens {
            by_originator: self.begins & Self::BY_ORIGINATOR != 0,
            // What the kernel calls a flow that begins at the other side nobody can tell beforehand.
            by_responder: self.begins & Self::BY_RESPONDER != 0 && scene.translated == 0,
            // Behind the last port there is none.
            two: self.ports > 1 && self.original_port != u16::MAX && self.reply_port != u16::MAX,
        }
    }

    /// Lays out one of its pinholes: for flows that this end begins, to the first port or to the one after it.
    /// `direction` is that of the message.
    #[inline(always)]
    pub fn lay_out(
        &self,
        scene: &Scene,
        direction: Direction,
        opened: Opened,
        key: &mut PinholeKey,
        pinhole: &mut Pinhole,
    ) {
        let ([speaker_here, speaker_there], [listener_here, listener_there]) =
            (&scene.speaker, &scene.listener);
        // The originator's flows begin at its side of the machine; the message came from the other one, or there is
        // no translation and the names are the same.
        let (speaker, listener) = match opened.by {
            Begins::Originator => (speaker_there, listener_there),
            Begins::Responder => (speaker_here, listener_here),
        };
        let speaks = matches!(
            (opened.by, direction),
            (Begins::Originator, Direction::Original) | (Begins::Responder, Direction::Reply)
        );
        let (source, destination) = if speaks { (speaker, listener) } else { (listener, speaker) };
        let (from, to) = match opened.by {
            Begins::Originator => (self.original_port, self.reply_port),
            Begins::Responder => (self.reply_port, self.original_port),
        };
        key.source = *source;
        key.destination = *destination;
        key.port = if opened.second { next(to) } else { to };
        key.transport = self.transport;
        key.version = scene.version as u8;
        pinhole.source_port = if opened.second { next(from) } else { from };
        pinhole.once = self.once;
    }
}

/// The port after this one; any port is followed by any.
#[inline(always)]
const fn next(port: u16) -> u16 {
    if port == 0 { 0 } else { port.wrapping_add(1) }
}

/// What a wish comes to: a pinhole for each end that may begin a flow, or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opens {
    /// The originator may.
    pub by_originator: bool,
    /// The responder may.
    pub by_responder: bool,
    /// To two ports in a row.
    pub two: bool,
}

impl Opens {
    /// How many pinholes that is.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        let ends = self.by_originator as u32 + self.by_responder as u32;
        if self.two { 2 * ends } else { ends }
    }
}

/// One pinhole of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who may begin the flow.
    pub by: Begins,
    /// Whether it leads to the second port.
    pub second: bool,
}

/// An end of the connection that announces a flow, as the one that begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The end that began the connection.
    Originator,
    /// The other one.
    Responder,
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
            return flow_id | Self::OF_FLOW;
        }
        let ([_, speaker], [_, listener]) = (&scene.speaker, &scene.listener);
        let (originator, responder) = match direction {
            Direction::Original => (speaker, listener),
            Direction::Reply => (listener, speaker),
        };
        let ([a, b, c, d], [w, x, y, z]) = (*originator, *responder);
        let words = [wish.session, pair(a, b), pair(c, d), pair(w, x), pair(y, z), 0];
        keyed(secret, &words) | Self::NAMED
    }

    /// Marks the key of a session that a server named.
    const NAMED: u64 = 1 << 63;
    /// Marks that of the one session of a connection whose protocol names none.
    const OF_FLOW: u64 = 1 << 62;

    /// Whether `kin` ([`Flow::kin`](crate::flow::Flow::kin)) is the key of a session, and not the number of a kill: numbers
    /// of events stay below 2^53.
    #[inline(always)]
    pub const fn is_key(kin: u64) -> bool {
        kin & (Self::NAMED | Self::OF_FLOW) != 0
    }

    /// Makes it the session that `wish` begins, of the connection `parent`.
    #[inline(always)]
    pub fn begin(&mut self, wish: &Wish, parent: u64, protocol: u16, now: u64) {
        clear(self);
        self.parent = parent;
        self.created = now;
        self.protocol = u32::from(protocol);
        self.timeout = u64::from(TIMEOUT_DEFAULT) * SECOND;
        self.renew(wish, now);
    }

    /// A sign of life, by a message that may say for how long the next one can be waited for.
    #[inline(always)]
    pub const fn renew(&mut self, wish: &Wish, now: u64) {
        self.last_seen = now;
        if wish.timeout != 0 {
            self.timeout = wish.timeout as u64 * SECOND;
        }
    }

    /// It belongs to the connection `parent` from here on, which has not ended.
    #[inline(always)]
    pub const fn belongs_to(&mut self, parent: u64) {
        self.parent = parent;
        self.ends_at = 0;
    }

    /// Its connection has ended: by itself, and it ends after a while, or by the kill whose number it has by now, and it
    /// ends at once.
    #[inline(always)]
    pub const fn parent_ended(&mut self, now: u64, is_killed: bool) {
        if is_killed {
            self.ends_at = now;
        } else if self.ends_at == 0 {
            self.ends_at = now.wrapping_add(GRACE_NS);
        }
    }

    /// Takes so many pinholes more. `false`: it has enough, and takes none.
    #[inline(always)]
    pub const fn take(&mut self, wanted: u32) -> bool {
        // Each port counts from both ends.
        let fits = self.pinholes.saturating_add(wanted) <= 2 * PINHOLES_MAX;
        if fits {
            self.pinholes += wanted;
        }
        fits
    }

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

impl Family {
    /// Where the session with this key has its place, or can have it: instead of one that has ended. `None`: there
    /// is no place.
    #[inline(always)]
    pub fn place_of(&self, key: u64, goes_on: impl Fn(u64) -> bool) -> Option<usize> {
        let mut free = None;
        for (place, known) in self.sessions.iter().enumerate() {
            if *known == key {
                return Some(place);
            }
            if free.is_none() && !goes_on(*known) {
                free = Some(place);
            }
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_its_end_or_by_silence() {
        let session = Session { last_seen: 100, timeout: 10, ..Session::default() };
        assert!(!session.is_over(110) && session.is_over(111) && !session.is_over(50));
        let ending = Session { ends_at: 105, ..session };
        assert!(!ending.is_over(104) && ending.is_over(105));
    }

    #[test]
    fn a_session_outlives_its_connection_but_not_its_kill() {
        let session = Session { last_seen: 100, timeout: u64::MAX, ..Session::default() };
        let (mut ended, mut killed) = (session, session);
        ended.parent_ended(100, false);
        assert_eq!(ended.ends_at, 100 + GRACE_NS);
        ended.parent_ended(200, false);
        assert_eq!(ended.ends_at, 100 + GRACE_NS, "the first end counts");
        killed.parent_ended(100, true);
        assert_eq!(killed.ends_at, 100);
    }

    #[test]
    fn the_key_of_a_session_is_no_number_of_a_kill() {
        let (secret, scene) = (Secret::default(), Scene::default());
        for session in [0, 1, u64::MAX] {
            let wish = Wish { session, ..Wish::default() };
            for flow_id in [1, (1 << 53) - 1] {
                let key = Session::key(&secret, &wish, &scene, Direction::Original, flow_id);
                assert!(Session::is_key(key) && !Session::is_key(flow_id));
            }
        }
    }

    const ENDS: [[u32; 4]; 2] = [[1, 0, 0, 0], [2, 0, 0, 0]];

    /// All pinholes of a wish: source, destination and the ports.
    fn pinholes(wish: &Wish, scene: &Scene, direction: Direction) -> Vec<([u32; 2], [u16; 2])> {
        let opens = wish.opens(scene);
        let mut list = Vec::new();
        for (by, may) in
            [(Begins::Originator, opens.by_originator), (Begins::Responder, opens.by_responder)]
        {
            for second in [false, true].into_iter().filter(|second| may && (opens.two || !second)) {
                let (mut key, mut pinhole) = (PinholeKey::default(), Pinhole::default());
                wish.lay_out(scene, direction, Opened { by, second }, &mut key, &mut pinhole);
                assert_eq!((key.transport, pinhole.once), (wish.transport, wish.once));
                let ends = [key.source[0], key.destination[0]];
                list.push((ends, [pinhole.source_port, key.port]));
            }
        }
        assert_eq!(list.len() as u32, opens.count());
        list
    }

    /// The originator is 1, the responder 2.
    fn scene(direction: Direction) -> Scene {
        let [originator, responder] = ENDS.map(|end| [end; 2]);
        let (speaker, listener) = match direction {
            Direction::Original => (originator, responder),
            Direction::Reply => (responder, originator),
        };
        Scene { version: 4, speaker, listener, ..Scene::default() }
    }

    #[test]
    fn whoever_says_it_flows_go_from_who_begins_to_the_other_end() {
        let both = Wish::BY_ORIGINATOR | Wish::BY_RESPONDER;
        let rtsp = Wish { original_port: 5000, reply_port: 6000, ports: 2, ..Wish::default() };
        for direction in [Direction::Original, Direction::Reply] {
            let scene = scene(direction);
            assert_eq!(
                pinholes(&Wish { begins: both, ..rtsp }, &scene, direction),
                [
                    ([1, 2], [5000, 6000]),
                    ([1, 2], [5001, 6001]),
                    ([2, 1], [6000, 5000]),
                    ([2, 1], [6001, 5001]),
                ]
            );
            let from_any = Wish { begins: Wish::BY_RESPONDER, reply_port: 0, ..rtsp };
            assert_eq!(
                pinholes(&from_any, &scene, direction),
                [([2, 1], [0, 5000]), ([2, 1], [0, 5001])]
            );
            let last = Wish { begins: Wish::BY_RESPONDER, original_port: u16::MAX, ..rtsp };
            assert_eq!(pinholes(&last, &scene, direction), [([2, 1], [6000, u16::MAX])]);
        }
    }

    #[test]
    fn through_translation_only_the_originator_begins_and_by_its_own_names() {
        let wish =
            Wish { begins: 3, original_port: 5000, reply_port: 6000, ports: 1, ..Wish::default() };
        let reply = Scene {
            // On this side the originator is called 9.
            listener: [[9, 0, 0, 0], [1, 0, 0, 0]],
            translated: 1,
            ..scene(Direction::Reply)
        };
        assert_eq!(pinholes(&wish, &reply, Direction::Reply), [([1, 2], [5000, 6000])]);
    }

    #[test]
    fn a_session_begins_lives_and_outlives_its_connection() {
        let mut session = Session::default();
        session.begin(&Wish { timeout: 5, ..Wish::default() }, 7, 2, 100);
        assert_eq!((session.parent, session.protocol, session.created), (7, 2, 100));
        assert!(!session.is_over(100 + 5 * SECOND) && session.is_over(101 + 5 * SECOND));
        session.renew(&Wish::default(), 200);
        assert!(!session.is_over(200 + 5 * SECOND), "what it does not say does not change");
        session.parent_ended(300, false);
        session.parent_ended(400, false);
        assert_eq!(session.ends_at, 300 + GRACE_NS, "it ends once");
        session.belongs_to(8);
        assert_eq!((session.parent, session.ends_at), (8, 0));
        session.parent_ended(500, true);
        assert!(session.is_over(500));
        let mut silent = Session::default();
        silent.begin(&Wish::default(), 7, 2, 0);
        assert_eq!(silent.timeout, u64::from(TIMEOUT_DEFAULT) * SECOND);
    }

    #[test]
    fn a_session_takes_no_more_than_its_share() {
        let mut session = Session::default();
        assert!((0..PINHOLES_MAX / 2).all(|_| session.take(4)));
        assert!(!session.take(1) && session.pinholes == 2 * PINHOLES_MAX);
    }

    #[test]
    fn a_family_has_a_place_for_whom_it_has_or_instead_of_whom_has_ended() {
        let mut family = Family::default();
        let goes_on = |key| key != 0 && key != 3;
        assert_eq!(family.place_of(5, goes_on), Some(0));
        family.sessions = core::array::from_fn(|place| place as u64 + 1);
        assert_eq!(family.place_of(5, goes_on), Some(4));
        assert_eq!(family.place_of(99, goes_on), Some(2), "the one that has ended");
        assert_eq!(family.place_of(99, |_| true), None);
    }
}
