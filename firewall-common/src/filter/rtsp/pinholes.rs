//! What a message announces: pinholes by the reply to a SETUP, life and end of sessions by the others.

use super::super::finding::Findings;
use super::super::parser::{Outcome, Scene};
use super::super::pinhole::{PINHOLES_MAX, Wish};
use super::words::Method;
use super::{About, Finding, Flags, KILL_STANDARD, Parser};
use crate::flow::Direction;
use crate::words::clear;

/// IP protocol of what is opened (RFC 768).
const UDP: u8 = 17;

impl Parser {
    /// The head of a message has ended: what it leads to besides what was found in it.
    ///
    /// What is to be killed acts no more. In a tunnel nothing acts: its other half is another connection's.
    #[inline(always)]
    pub(super) fn end_message(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        if self.has(Flags::TUNNELLED) || !(self.reported & KILL_STANDARD).is_empty() {
            return Outcome::NONE;
        }
        clear(&mut self.wish);
        self.wish.session = self.session.hash;
        self.wish.timeout = self.session.timeout;
        if self.kind.is_request() {
            self.end_request(scene, peer)
        } else {
            self.end_reply(scene, peer)
        }
    }

    #[inline(always)]
    fn end_request(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        let found = self.note_request(scene, peer);
        let found = self.report(found, About::Start);
        let named = self.session.hash != 0;
        // How long a session may be silent is the server's to say.
        self.wish.timeout = 0;
        if !found.is_empty() {
            Outcome::findings(found)
        } else if self.method == Method::TEARDOWN && named {
            Outcome::CLOSE
        } else if self.method == Method::KEEP_ALIVE || named {
            Outcome::ALIVE
        } else {
            Outcome::NONE
        }
    }

    #[inline(always)]
    fn end_reply(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        let mut outcome = Outcome::NONE;
        if self.session.hash != 0 {
            outcome = Outcome::ALIVE;
            if self.status == b'2' {
                outcome = outcome.with(Outcome::TAKE);
            }
        }
        if self.status == b'2' && self.has(Flags::HAS_TRANSPORT) && self.find_setup(peer) {
            outcome = outcome.with(self.grant(scene, peer));
            if !(outcome.found() & KILL_STANDARD).is_empty() {
                return Outcome::findings(outcome.found());
            }
        }
        // An interim reply (RFC 2326 §7.1.1) answers nothing yet.
        if self.status != b'1' {
            self.note_reply(peer);
        }
        outcome
    }

    /// The SETUP that was found is granted.
    #[inline(never)]
    fn grant(&mut self, scene: &Scene, peer: &Self) -> Outcome {
        let chosen = self.transport.chosen;
        let (asked, ports) = (self.replies.port, self.replies.port_count);
        if !chosen.is_usable() {
            return Outcome::NONE;
        }
        // The server may choose among what it was asked for, and its own port. Were the client's port its
        // choice too, whoever is asked for a film could open any port of the one who asks.
        if chosen.client.first != 0 && chosen.client.first != asked {
            return self.objection(Finding::UnaskedPort);
        }
        if asked == 0 {
            return Outcome::NONE;
        }
        self.wish.ports = ports;
        self.wish.transport = UDP;
        self.place_ports(asked, chosen.server.first);
        if scene.translated != 0 {
            self.wish.begins &= !Wish::BY_RESPONDER;
        }
        if self.wish.begins == 0 {
            return self.objection(Finding::BehindNat);
        }
        self.count_pinholes(peer)
    }

    /// Which end has which port, and who may begin: both, if both ports are known (clients send the first
    /// datagram to open the way through a NAT), else only the end whose port is not known, from any.
    #[inline(always)]
    fn place_ports(&mut self, client: u16, server: u16) {
        // The requester is the other end.
        let by_originator = self.direction == Direction::Reply as u8;
        let only_server = if by_originator { Wish::BY_RESPONDER } else { Wish::BY_ORIGINATOR };
        let (original, reply) = if by_originator { (client, server) } else { (server, client) };
        self.wish.original_port = original;
        self.wish.reply_port = reply;
        self.wish.begins = match server {
            0 => only_server,
            _ => Wish::BY_ORIGINATOR | Wish::BY_RESPONDER,
        };
    }

    /// The pinholes of a session are counted until its end.
    #[inline(always)]
    fn count_pinholes(&mut self, peer: &Self) -> Outcome {
        let replies = &mut self.replies;
        let same =
            replies.session == self.wish.session && replies.teardowns == peer.requests.teardowns;
        let before = if same { replies.ports } else { 0 };
        replies.session = self.wish.session;
        replies.teardowns = peer.requests.teardowns;
        replies.ports = before.saturating_add(u32::from(self.wish.ports));
        if replies.ports > PINHOLES_MAX {
            return self.objection(Finding::TooManyPinholes);
        }
        Outcome::OPEN
    }

    #[inline(always)]
    fn objection(&mut self, finding: Finding) -> Outcome {
        let found: Findings = self.report(finding.bit(), About::Start);
        found.into()
    }
}
