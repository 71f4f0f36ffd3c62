//! What the RTSP filter can object to.

use super::super::finding::{Effect, FindingInfo, Findings};
use crate::policy::Profile;

use Effect::{Kill, Note};

/// The findings of the RTSP filter. The numbers are codes in events: append only.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A message without the CSeq header.
    MissingCseq = 0,
    /// A CSeq header whose value is not a number.
    MalformedCseq = 1,
    /// What should be a message is none.
    NotRtsp = 2,
    /// A start line or header longer than the limit.
    LineTooLong = 3,
    /// More headers than the limit.
    TooManyHeaders = 4,
    /// A Content-Length that does not say how long the body is.
    BadContentLength = 5,
    /// A body longer than the limit.
    BodyTooLong = 6,
    /// A request with a method that neither RTSP 1.0 nor 2.0 defines.
    UnknownMethod = 7,
    /// Blanks where the grammar has none.
    OddSpacing = 8,
    /// A line that ends with CR or LF alone.
    BareLineEnd = 9,
    /// A header line without colon, without name or with control characters.
    MalformedHeader = 10,
    /// A version other than RTSP/1.0 and RTSP/2.0.
    UnknownVersion = 11,
    /// The beginning of an RTSP-over-HTTP tunnel.
    HttpTunnel = 12,
    /// HTTP that does not tunnel RTSP.
    HttpWithoutTunnel = 13,
    /// An HTTP response other than success, as a server gives that refuses a tunnel.
    HttpRefused = 14,
    /// Much interleaved data in a direction that never took part in a SETUP.
    InterleavedBeforeSetup = 15,
    /// A URL or status code that is not as the grammar has it.
    MalformedStartLine = 16,
    /// A segment repeats bytes and they are not the same.
    SegmentsDisagree = 17,
    /// More requests without a reply than the limit.
    TooManyRequests = 18,
    /// A Transport header that is not as the grammar has it.
    MalformedTransport = 19,
    /// A Transport header that names the address of neither end.
    ForeignAddress = 20,
    /// A Transport header with a port of the system's.
    LowPort = 21,
    /// A reply to SETUP that names a port the requester did not ask for.
    UnaskedPort = 22,
    /// Media that could only begin from the far side of an address translation.
    BehindNat = 23,
    /// More pinholes of one session than the limit.
    TooManyPinholes = 24,
    /// A head of a message that takes longer than the limit.
    HeadTooSlow = 25,
    /// A segment with urgent data.
    UrgentData = 26,
}

impl Finding {
    /// The set of this finding alone.
    #[inline(always)]
    pub const fn bit(self) -> Findings {
        Findings::of(self as u16)
    }
}

/// The findings that kill in the standard profile.
pub const KILL_STANDARD: Findings = Findings::killing(&FINDINGS, Profile::Standard);
/// The findings that kill in the strict profile.
pub const KILL_STRICT: Findings = Findings::killing(&FINDINGS, Profile::Strict);

/// All findings, in the order of codes.
///
/// The standard profile kills what is not RTSP and what abuses resources; what RFC 2326 allows and what
/// devices are seen to send is at most noted. The strict profile kills on any departure.
pub const FINDINGS: [FindingInfo; 27] = [
    info(
        Finding::MissingCseq,
        "missing-cseq",
        "the message has no CSeq header, so replies cannot be matched to requests",
        "RFC 2326 §12.17",
        [Note, Kill],
    ),
    info(
        Finding::MalformedCseq,
        "malformed-cseq",
        "the value of CSeq is not a number",
        "RFC 2326 §12.17",
        [Note, Kill],
    ),
    info(
        Finding::NotRtsp,
        "not-rtsp",
        "neither a request, nor a response, nor an interleaved frame begins here",
        "RFC 2326 §4, §6.1, §7.1, §10.12",
        [Kill, Kill],
    ),
    info(
        Finding::LineTooLong,
        "line-too-long",
        "the method, start line or header is longer than servers accept",
        "RFC 2326 §6.1; RFC 7826 §21.1",
        [Kill, Kill],
    ),
    info(
        Finding::TooManyHeaders,
        "too-many-headers",
        "the message has more headers than servers accept",
        "RFC 2326 §5; RFC 7826 §21.1",
        [Kill, Kill],
    ),
    info(
        Finding::BadContentLength,
        "bad-content-length",
        "Content-Length is no number, out of range, or differs from the one before",
        "RFC 2326 §12.14",
        [Kill, Kill],
    ),
    info(
        Finding::BodyTooLong,
        "body-too-long",
        "the body is longer than servers accept",
        "RFC 2326 §12.14; RFC 7826 §21.1",
        [Note, Kill],
    ),
    info(
        Finding::UnknownMethod,
        "unknown-method",
        "the request's method is not one of the standards'",
        "RFC 2326 §10; RFC 7826 §13",
        [Note, Kill],
    ),
    info(
        Finding::OddSpacing,
        "odd-spacing",
        "blanks stand where the grammar has none, or one is missing",
        "RFC 2326 §6.1, §7.1, §15.1",
        [Note, Kill],
    ),
    info(
        Finding::BareLineEnd,
        "bare-line-end",
        "a line ends with CR or LF alone, not with both",
        "RFC 2326 §4",
        [Note, Kill],
    ),
    info(
        Finding::MalformedHeader,
        "malformed-header",
        "a header line has no colon, no proper name, or control characters in it",
        "RFC 2326 §15.1",
        [Note, Kill],
    ),
    info(
        Finding::UnknownVersion,
        "unknown-version",
        "the version is neither RTSP/1.0 nor RTSP/2.0",
        "RFC 2326 §3.1",
        [Note, Kill],
    ),
    info(
        Finding::HttpTunnel,
        "http-tunnel",
        "RTSP tunnelled through HTTP: it is read, but what it announces opens nothing",
        "RFC 2326 §4; Apple, Tunnelling RTSP and RTP over HTTP",
        [Note, Kill],
    ),
    info(
        Finding::HttpWithoutTunnel,
        "http-without-tunnel",
        "HTTP that does not say that it tunnels RTSP",
        "RFC 2326 §3.1",
        [Kill, Kill],
    ),
    info(
        Finding::HttpRefused,
        "http-refused",
        "an HTTP response that reports no success, as from a server that refuses a tunnel",
        "RFC 2326 §3.1",
        [Note, Kill],
    ),
    info(
        Finding::InterleavedBeforeSetup,
        "interleaved-before-setup",
        "much interleaved data although this side neither asked for a SETUP nor answered one",
        "RFC 2326 §10.12",
        [Kill, Kill],
    ),
    info(
        Finding::MalformedStartLine,
        "malformed-start-line",
        "the URL is not absolute or has forbidden bytes, or the status is not three digits",
        "RFC 2326 §6.1, §7.1.1",
        [Note, Kill],
    ),
    info(
        Finding::SegmentsDisagree,
        "segments-disagree",
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4",
        [Kill, Kill],
    ),
    info(
        Finding::TooManyRequests,
        "too-many-requests",
        "many requests in a short time, and none of them was answered",
        "RFC 2326 §9.1",
        [Kill, Kill],
    ),
    info(
        Finding::MalformedTransport,
        "malformed-transport",
        "a port is no number, out of range or missing, or a quotation has no end",
        "RFC 2326 §12.39; RFC 7826 §18.54",
        [Note, Kill],
    ),
    info(
        Finding::ForeignAddress,
        "foreign-address",
        "media would go to, or come from, a third host: nothing is opened for it",
        "RFC 2326 §12.39, §16; RFC 7826 §21.2.1",
        [Note, Kill],
    ),
    info(
        Finding::LowPort,
        "low-port",
        "a port below 1024, where no media is: nothing is opened for it",
        "RFC 2326 §12.39; RFC 6335 §6",
        [Note, Kill],
    ),
    info(
        Finding::UnaskedPort,
        "unasked-port",
        "the reply names a port that the request did not: nothing is opened for it",
        "RFC 2326 §12.39",
        [Note, Kill],
    ),
    info(
        Finding::BehindNat,
        "behind-nat",
        "only the far side of an address translation could begin: nothing can be opened",
        "RFC 2326 §12.39; RFC 7825 §1",
        [Note, Note],
    ),
    info(
        Finding::TooManyPinholes,
        "too-many-pinholes",
        "one session has more ports opened than any presentation has streams",
        "RFC 2326 §10.4",
        [Kill, Kill],
    ),
    info(
        Finding::HeadTooSlow,
        "head-too-slow",
        "the head of the message is dripped in for longer than servers wait",
        "RFC 2326 §4; RFC 7826 §21.1",
        [Kill, Kill],
    ),
    info(
        Finding::UrgentData,
        "urgent-data",
        "a segment has urgent data, of which receivers take a byte out of the stream",
        "RFC 6093 §2",
        [Kill, Kill],
    ),
];

const fn info(
    finding: Finding,
    name: &'static str,
    summary: &'static str,
    reference: &'static str,
    [standard, strict]: [Effect; 2],
) -> FindingInfo {
    FindingInfo { code: finding as u16, name, summary, reference, standard, strict }
}
