//! What one end asked of the other, so that replies can be told apart (RFC 2326 §12.17).
//!
//! Each direction writes down its own requests and counts its own replies. The other one reads them: the end
//! that replies looks up what it was asked, the end that asks looks up how much was answered.

use bytemuck::{Pod, Zeroable};

use super::super::finding::Findings;
use super::super::parser::Scene;
use super::words::Method;
use super::{Finding, Flags, Parser, State};

/// Most requests within [`WINDOW_NS`] that may be without a reply.
pub const UNANSWERED_MAX: u32 = 64;
/// After this time unanswered requests are forgotten, nanoseconds: there are servers that leave every
/// keep-alive without a reply, and links that lose replies on the way to the filter.
pub const WINDOW_NS: u64 = 30_000_000_000;

/// SETUPs that are kept. A power of two.
const SETUPS: usize = 16;

/// The requests of one direction.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Requests {
    /// When the window began, nanoseconds.
    window: u64,
    /// How many there were by then.
    before_window: u32,
    /// How many there were so far.
    pub(super) count: u32,
    /// CSeq of the last one.
    pub(super) last_cseq: u32,
    /// How many of them were TEARDOWNs.
    pub(super) teardowns: u32,
    /// The last SETUPs, each at the place that its number says.
    setups: [Setup; SETUPS],
    /// Their numbers, each at the place that its CSeq says.
    by_cseq: [u32; SETUPS],
}

/// A SETUP.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Setup {
    /// The how-manieth request it is, from 1.
    number: u32,
    cseq: u32,
    /// The port that the requester wants UDP on, 0 if none or none that may be; above it, how many in a row.
    wanted: u32,
}

/// What one direction answered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Replies {
    /// The session that [`Replies::ports`] is about.
    pub(super) session: u64,
    /// How many final replies there were.
    pub(super) count: u32,
    /// Number of the last SETUP that was granted.
    pub(super) granted: u32,
    /// How many ports were opened for the session.
    pub(super) ports: u32,
    /// The other end's TEARDOWNs when they were.
    pub(super) teardowns: u32,
    /// The port that the requester of that SETUP wants UDP on; 0: none.
    pub(super) port: u16,
    /// How many in a row.
    pub(super) port_count: u8,
    reserved: [u8; 5],
}

impl Parser {
    /// Writes down the request whose head has ended.
    #[inline(never)]
    pub(super) fn note_request(&mut self, scene: &Scene, peer: &Self) -> Findings {
        let number = self.requests.count.wrapping_add(1);
        if self.method == Method::SETUP {
            self.note_setup(number);
        }
        if self.method == Method::TEARDOWN {
            self.requests.teardowns = self.requests.teardowns.wrapping_add(1);
        }
        self.requests.last_cseq = self.cseq;
        self.requests.count = number;
        if scene.now.saturating_sub(self.requests.window) > WINDOW_NS {
            self.requests.window = scene.now;
            self.requests.before_window = number.wrapping_sub(1);
        }
        let lately = number.wrapping_sub(self.requests.before_window);
        let unanswered = number.saturating_sub(peer.replies.count);
        // Where the other direction is not read, nobody counts the replies.
        if lately.min(unanswered) > UNANSWERED_MAX && !peer.is_deaf() {
            return Finding::TooManyRequests.bit();
        }
        Findings::EMPTY
    }

    #[inline(always)]
    fn note_setup(&mut self, number: u32) {
        let wanted = self.transport.chosen;
        let wanted = if wanted.is_usable() { wanted.client.packed() } else { 0 };
        if let Some(setup) = self.requests.setups.get_mut(place(number)) {
            setup.number = number;
            setup.cseq = self.cseq;
            setup.wanted = wanted;
        }
        if let Some(named) = self.requests.by_cseq.get_mut(place(self.cseq)) {
            *named = number;
        }
    }

    /// Counts the reply whose head has ended. Replies come in order (RFC 2326 §9.1), so the one to the last
    /// request says that nothing is left to answer, even if some were lost on the way.
    #[inline(always)]
    pub(super) fn note_reply(&mut self, peer: &Self) {
        let next = self.replies.count.wrapping_add(1);
        let last = self.has(Flags::KNOWS_CSEQ) && self.cseq == peer.requests.last_cseq;
        self.replies.count = if last { peer.requests.count } else { next };
    }

    /// Looks up the SETUP that this reply grants, and puts its ports into [`Replies`]. Returns whether there
    /// is one. To be called before [`Parser::note_reply`].
    ///
    /// It is the one that the reply names by CSeq. If several have that CSeq, or none because a device counts
    /// in its own way, it is the one whose turn it is. None is granted twice.
    #[inline(always)]
    pub(super) fn find_setup(&mut self, peer: &Self) -> bool {
        let turn = self.replies.count.wrapping_add(1);
        let asked = &peer.requests;
        let in_turn = self.is_asked(asked, turn);
        let named = asked.by_cseq.get(place(self.cseq)).copied().unwrap_or(0);
        let number = if in_turn && self.names(asked, turn) || !self.names(asked, named) {
            turn
        } else {
            named
        };
        if !self.is_asked(asked, number) {
            return false;
        }
        let Some(setup) = asked.setups.get(place(number)) else {
            return false;
        };
        self.replies.granted = number;
        self.replies.port = setup.wanted as u16;
        self.replies.port_count = (setup.wanted >> 16) as u8;
        true
    }

    /// Whether the SETUP with this number is still known and not granted yet.
    #[inline(always)]
    fn is_asked(&self, asked: &Requests, number: u32) -> bool {
        let known = asked.setups.get(place(number)).is_some_and(|setup| setup.number == number);
        let granted = self.replies.granted.wrapping_sub(number) < 1 << 31;
        number != 0 && known && !granted
    }

    /// Whether the reply names by CSeq the SETUP with this number, which can still be granted.
    #[inline(always)]
    fn names(&self, asked: &Requests, number: u32) -> bool {
        let same = asked.setups.get(place(number)).is_some_and(|setup| setup.cseq == self.cseq);
        self.has(Flags::KNOWS_CSEQ) && same && self.is_asked(asked, number)
    }

    /// Whether what is said in this direction is not read, or not yet.
    #[inline(always)]
    fn is_deaf(&self) -> bool {
        self.has(Flags::JOINING) || self.state == State::OPAQUE
    }
}

/// The place of a request with this number, or CSeq.
#[inline(always)]
const fn place(number: u32) -> usize {
    number as usize & (SETUPS - 1)
}
