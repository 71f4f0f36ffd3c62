//! The end of a message's head, and what comes after it: a body, the next message, or the stream in a tunnel.

use super::super::finding::Findings;
use super::super::parser::{Outcome, Scene};
use super::start_line::Kind;
use super::{About, Finding, Flags, HEAD_MAX_NS, Parser, State};

impl Parser {
    /// The blank line at `byte`, CR or LF, has ended the head.
    #[inline(never)]
    pub(super) fn end_head(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        if self.kind.is_http() {
            return self.end_http_head(peer, byte).into();
        }
        let mut findings = Findings::EMPTY;
        if !self.has(Flags::HAS_CSEQ) {
            findings = self.report(Finding::MissingCseq.bit(), About::Start);
        }
        let findings = findings | self.begin_body(byte);
        self.end_message(scene, peer).with(findings.into())
    }

    /// HTTP may only tunnel, and not where RTSP was spoken. Who answers a tunnel need not say so again: a POST
    /// gets a reply only at its end, if at all, and that says nothing of RTSP.
    #[inline(always)]
    fn end_http_head(&mut self, peer: &Self, byte: u8) -> Findings {
        let is_request = self.kind == Kind::HTTP_REQUEST;
        if !is_request && !self.has(Flags::MAY_TUNNEL) {
            return self.report(Finding::HttpRefused.bit(), About::Start) | self.begin_body(byte);
        }
        let answers = !is_request && peer.has(Flags::TUNNELLED);
        if (self.has(Flags::TUNNEL) || answers) && !self.has(Flags::SPOKEN) {
            self.begin_tunnel(byte)
        } else {
            self.give_up(Finding::HttpWithoutTunnel)
        }
    }

    /// The Content-Length of a tunnel is made up, so that proxies let it through.
    #[inline(always)]
    fn begin_tunnel(&mut self, byte: u8) -> Findings {
        self.set(Flags::TUNNELLED);
        self.state = State::BETWEEN;
        if self.has(Flags::POST) {
            self.set(Flags::BASE64);
            self.sextets = 0;
        }
        self.report(Finding::HttpTunnel.bit(), About::Start) | self.line_end(byte)
    }

    /// A body is as long as Content-Length says (RFC 2326 §4.4). If that cannot be known, no byte that
    /// follows can be told to be body or message.
    #[inline(always)]
    fn begin_body(&mut self, byte: u8) -> Findings {
        self.remaining = self.content_length;
        self.state = if self.has(Flags::BAD_LENGTH) {
            State::OPAQUE
        } else if self.remaining > 0 {
            State::PAYLOAD
        } else {
            State::BETWEEN
        };
        if self.state == State::OPAQUE { Findings::EMPTY } else { self.line_end(byte) }
    }

    /// Objects to a head that takes its time: who drips it in keeps a server waiting, and the filter.
    #[inline(always)]
    pub(super) fn check_time(&mut self, scene: &Scene) -> Findings {
        let late = scene.now.saturating_sub(self.head_began) > HEAD_MAX_NS;
        if !late || !self.state.is_head() || self.has(Flags::JOINING) {
            return Findings::EMPTY;
        }
        self.report(Finding::HeadTooSlow.bit(), About::Start)
    }
}
