//! What the RTSP filter can object to.

use super::super::finding::{Findings, findings};
use crate::policy::Profile;

findings! {
    /// The findings of the RTSP filter. The numbers are codes in events: append only.
    ///
    /// The standard profile kills what is not RTSP and what abuses resources; what RFC 2326 allows and what
    /// devices are seen to send is at most noted. The strict profile kills on any departure.
    pub enum Finding;

    MissingCseq = 0, "missing-cseq", [Note, Kill]:
        "the message has no CSeq header, so replies cannot be matched to requests",
        "RFC 2326 §12.17";

    MalformedCseq = 1, "malformed-cseq", [Note, Kill]:
        "the value of CSeq is not a number",
        "RFC 2326 §12.17";

    NotRtsp = 2, "not-rtsp", [Kill, Kill]:
        "neither a request, nor a response, nor an interleaved frame begins here",
        "RFC 2326 §4, §6.1, §7.1, §10.12";

    LineTooLong = 3, "line-too-long", [Kill, Kill]:
        "the method, start line or header is longer than servers accept",
        "RFC 2326 §6.1; RFC 7826 §21.1";

    TooManyHeaders = 4, "too-many-headers", [Kill, Kill]:
        "the message has more headers than servers accept",
        "RFC 2326 §5; RFC 7826 §21.1";

    BadContentLength = 5, "bad-content-length", [Kill, Kill]:
        "Content-Length is no number, out of range, or differs from the one before",
        "RFC 2326 §12.14";

    BodyTooLong = 6, "body-too-long", [Note, Kill]:
        "the body is longer than servers accept",
        "RFC 2326 §12.14; RFC 7826 §21.1";

    UnknownMethod = 7, "unknown-method", [Note, Kill]:
        "the request's method is not one of the standards'",
        "RFC 2326 §10; RFC 7826 §13";

    OddSpacing = 8, "odd-spacing", [Note, Kill]:
        "blanks stand where the grammar has none, or one is missing",
        "RFC 2326 §6.1, §7.1, §15.1";

    BareLineEnd = 9, "bare-line-end", [Note, Kill]:
        "a line ends with CR or LF alone, not with both",
        "RFC 2326 §4";

    MalformedHeader = 10, "malformed-header", [Note, Kill]:
        "a header line has no colon, no proper name, or control characters in it",
        "RFC 2326 §15.1";

    UnknownVersion = 11, "unknown-version", [Note, Kill]:
        "the version is neither RTSP/1.0 nor RTSP/2.0",
        "RFC 2326 §3.1";

    HttpTunnel = 12, "http-tunnel", [Note, Kill]:
        "RTSP tunnelled through HTTP: it is read, but what it announces opens nothing",
        "RFC 2326 §4; Apple, Tunnelling RTSP and RTP over HTTP";

    HttpWithoutTunnel = 13, "http-without-tunnel", [Kill, Kill]:
        "HTTP that does not say that it tunnels RTSP",
        "RFC 2326 §3.1";

    HttpRefused = 14, "http-refused", [Note, Kill]:
        "an HTTP response that reports no success, as from a server that refuses a tunnel",
        "RFC 2326 §3.1";

    InterleavedBeforeSetup = 15, "interleaved-before-setup", [Kill, Kill]:
        "much interleaved data although this side neither asked for a SETUP nor answered one",
        "RFC 2326 §10.12";

    MalformedStartLine = 16, "malformed-start-line", [Note, Kill]:
        "the URL is not absolute or has forbidden bytes, or the status is not three digits",
        "RFC 2326 §6.1, §7.1.1";

    SegmentsDisagree = 17, "segments-disagree", [Kill, Kill]:
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4";

    TooManyRequests = 18, "too-many-requests", [Kill, Kill]:
        "many requests in a short time, and none of them was answered",
        "RFC 2326 §9.1";

    MalformedTransport = 19, "malformed-transport", [Note, Kill]:
        "a port is no number, out of range or missing, or a quotation has no end",
        "RFC 2326 §12.39; RFC 7826 §18.54";

    ForeignAddress = 20, "foreign-address", [Note, Kill]:
        "media would go to, or come from, a third host: nothing is opened for it",
        "RFC 2326 §12.39, §16; RFC 7826 §21.2.1";

    LowPort = 21, "low-port", [Note, Kill]:
        "a port below 1024, where no media is: nothing is opened for it",
        "RFC 2326 §12.39; RFC 6335 §6";

    UnaskedPort = 22, "unasked-port", [Note, Kill]:
        "the reply names a port that the request did not: nothing is opened for it",
        "RFC 2326 §12.39";

    BehindNat = 23, "behind-nat", [Note, Note]:
        "only the far side of an address translation could begin: nothing can be opened",
        "RFC 2326 §12.39; RFC 7825 §1";

    TooManyPinholes = 24, "too-many-pinholes", [Kill, Kill]:
        "one session has more ports opened than any presentation has streams",
        "RFC 2326 §10.4";

    HeadTooSlow = 25, "head-too-slow", [Kill, Kill]:
        "the head of the message is dripped in for longer than servers wait",
        "RFC 2326 §4; RFC 7826 §21.1";

    UrgentData = 26, "urgent-data", [Kill, Kill]:
        "a segment has urgent data, of which receivers take a byte out of the stream",
        "RFC 6093 §2";
}

/// The findings that kill in the standard profile.
pub(super) const KILL_STANDARD: Findings = Findings::killing(&FINDINGS, Profile::Standard);
