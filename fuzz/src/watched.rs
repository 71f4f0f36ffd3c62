//! A parser whose every call is checked against what [`Parser`] promises.

use bytemuck::{Pod, Zeroable, bytes_of};
use firewall_common::{
    filter::{
        FilterId,
        excerpt::{EXCERPT_MAX, Excerpt},
        finding::Findings,
        parser::{Outcome, Parser, Scene},
        pinhole::{PINHOLES_MAX, PORT_MIN, Wish},
    },
    flow::Direction,
    wire::ip_protocol,
};

/// A parser that panics where a promise is broken.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Zeroable)]
pub(crate) struct Watched<P>(P);

// SAFETY: it is a P.
unsafe impl<P: Pod> Pod for Watched<P> {}

impl<P: Parser> Parser for Watched<P> {
    const FILTER: FilterId = P::FILTER;
    const SEGMENTS_DISAGREE: u16 = P::SEGMENTS_DISAGREE;
    const URGENT_DATA: u16 = P::URGENT_DATA;
    const FOREIGN_ADDRESS: u16 = P::FOREIGN_ADDRESS;

    fn begin(&mut self, direction: Direction) {
        self.0.begin(direction);
        assert_eq!(self.offset(), 0, "a stream begins at 0");
    }

    fn resync(&mut self) {
        let before = self.offset();
        self.0.resync();
        assert_eq!(self.offset(), before, "resync reads nothing");
        assert_eq!(self.skippable(), u32::MAX, "nothing is read before the next segment");
    }

    fn segment_start(&mut self, scene: &Scene, peer: &Self) {
        let before = self.offset();
        self.0.segment_start(scene, &peer.0);
        assert_eq!(self.offset(), before, "the start of a segment is no byte");
    }

    fn skippable(&self) -> u32 {
        self.0.skippable()
    }

    fn in_media(&self) -> bool {
        self.0.in_media()
    }

    fn may_rejoin(&self) -> bool {
        self.0.may_rejoin()
    }

    fn take_head(&mut self, next: [u8; 4]) -> bool {
        self.0.take_head(next)
    }

    fn skip(&mut self, count: u32) {
        let skippable = self.skippable();
        assert!(count <= skippable, "{count} bytes were skipped where {skippable} may be");
        let before = *self;
        self.0.skip(count);
        assert_eq!(self.offset(), before.offset() + u64::from(count), "what is skipped counts");
        if skippable == u32::MAX {
            assert_eq!(self.skippable(), skippable, "it is not read before the next segment");
        } else if count < skippable {
            // The whole of it may come in any segments.
            assert_eq!(self.skippable(), skippable - count, "the rest may be skipped too");
        } else if count > 0 {
            // The kernel reads the byte behind a stretch without asking again.
            assert_eq!(self.skippable(), 0, "a byte that is read follows a stretch");
        }
        let mut in_parts = before;
        in_parts.0.skip(count / 2);
        in_parts.0.skip(count - count / 2);
        assert_eq!(bytes_of(&in_parts), bytes_of(self), "a stretch may be skipped in parts");
    }

    fn step(&mut self, scene: &Scene, peer: &Self, byte: u8) -> Outcome {
        let before = self.offset();
        let outcome = self.0.step(scene, &peer.0, byte);
        assert_eq!(self.offset(), before + 1, "a byte counts once");
        self.check_findings(outcome.found());
        if outcome.has(Outcome::OPEN) {
            check_wish(self.wish());
        }
        outcome
    }

    fn offset(&self) -> u64 {
        self.0.offset()
    }

    fn finding_offset(&self, code: u16) -> u64 {
        self.0.finding_offset(code)
    }

    fn excerpt(&self, code: u16) -> &Excerpt {
        self.0.excerpt(code)
    }

    fn wish(&self) -> &Wish {
        self.0.wish()
    }
}

impl<P: Parser> Watched<P> {
    fn check_findings(&self, mut findings: Findings) {
        let mut count = 0;
        while let Some(code) = findings.first() {
            findings = findings.without(Findings::of(code));
            count += 1;
            let known = P::FILTER.findings().get(usize::from(code));
            let name = known.unwrap_or_else(|| panic!("nothing is known of finding {code}")).name;
            let (at, now) = (self.finding_offset(code), self.offset());
            assert!(at < now, "{name} is about byte {at}, and {now} were read");
            let (_, len) = self.excerpt(code).view();
            assert!(usize::from(len) <= EXCERPT_MAX, "the excerpt of {name} has {len} bytes");
        }
        assert!(count <= FINDINGS_PER_BYTE, "one byte led to {count} findings");
    }
}

/// What the kernel reports of one byte.
const FINDINGS_PER_BYTE: u32 = 8;

/// Where a pinhole leads to has to be known, and no port of the system's.
fn check_wish(wish: &Wish) {
    assert!((1..=2).contains(&wish.ports), "{wish:?}");
    assert!(matches!(wish.transport, ip_protocol::TCP | ip_protocol::UDP), "{wish:?}");
    assert!(u32::from(wish.ports) <= PINHOLES_MAX && wish.once <= 1, "{wish:?}");
    assert!((1..=3).contains(&wish.begins), "{wish:?}");
    let last = |port: u16| port.checked_add(u16::from(wish.ports) - 1);
    for (who, to) in
        [(Wish::BY_ORIGINATOR, wish.reply_port), (Wish::BY_RESPONDER, wish.original_port)]
    {
        if wish.begins & who != 0 {
            assert!(to >= PORT_MIN && last(to).is_some(), "{wish:?}");
        }
    }
}
