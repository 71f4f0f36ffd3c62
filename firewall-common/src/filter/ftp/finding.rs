//! What the FTP filter can object to.

use super::super::finding::{Effect, FindingInfo, Findings};

use Effect::{Kill, Note};

/// The findings of the FTP filter. The numbers are codes in events: append only.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What should be a command or a reply is none, nor anything like it.
    NotFtp = 0,
    /// A line longer than the limit.
    LineTooLong = 1,
    /// A command that the policy does not allow.
    CommandNotAllowed = 2,
    /// A command that no standard defines.
    UnknownCommand = 3,
    /// A command line that is not as the grammar has it.
    MalformedCommand = 4,
    /// A line that ends with LF alone, or a reply with a CR in it.
    BareLineEnd = 5,
    /// A command line with a CR in it.
    BareCr = 6,
    /// Control characters in a line.
    ControlByte = 7,
    /// A line where a reply should begin and none does.
    MalformedReply = 8,
    /// A line within a reply that some clients take for its end.
    AmbiguousReply = 9,
    /// A reply to no command.
    UnaskedReply = 10,
    /// An address for a data connection that was not asked for.
    UnaskedPassive = 11,
    /// An address for a data connection that is not as the grammar has it.
    MalformedPort = 12,
    /// A data connection to somebody else.
    ForeignAddress = 13,
    /// A data connection to a system port.
    LowPort = 14,
    /// A data connection that the responder is to begin, through address translation.
    BehindNat = 15,
    /// More before the reply that begins TLS.
    PipelinedAfterAuth = 16,
    /// What should be TLS is not.
    NotTls = 17,
    /// A segment repeats bytes and they are not the same.
    SegmentsDisagree = 18,
}

impl Finding {
    /// The set of this finding alone.
    #[inline(always)]
    pub const fn bit(self) -> Findings {
        Findings::of(self as u16)
    }
}

/// All findings, in the order of codes.
///
/// The standard profile kills what is not FTP, what abuses resources and what is said only to be understood
/// differently by two readers. What servers and clients are seen to do is noted, and where a data connection
/// is in doubt nothing is opened for it. The strict profile kills on any departure.
pub const FINDINGS: [FindingInfo; 19] = [
    info(
        Finding::NotFtp,
        "not-ftp",
        "neither a command nor a reply begins here, but another protocol or binary data",
        "RFC 959 §4.2, §5.3",
        [Kill, Kill],
    ),
    info(
        Finding::LineTooLong,
        "line-too-long",
        "the line is longer than a command with the longest path",
        "RFC 959 §5.3; RFC 2640 §2",
        [Kill, Kill],
    ),
    info(
        Finding::CommandNotAllowed,
        "command-not-allowed",
        "the policy does not allow this command",
        "RFC 959 §4.1",
        [Kill, Kill],
    ),
    info(
        Finding::UnknownCommand,
        "unknown-command",
        "the command is not one of the standards'",
        "RFC 959 §4.1; RFC 5797 §3",
        [Note, Kill],
    ),
    info(
        Finding::MalformedCommand,
        "malformed-command",
        "the command is not made of letters, or blanks stand before it",
        "RFC 959 §5.3",
        [Note, Kill],
    ),
    info(
        Finding::BareLineEnd,
        "bare-line-end",
        "the line ends with LF alone, or a reply has a CR in it",
        "RFC 959 §4.2, §5.3.1",
        [Note, Kill],
    ),
    info(
        Finding::BareCr,
        "bare-cr",
        "a CR stands in a command, which some servers take for its end",
        "RFC 959 §5.3.1; RFC 2640 §3.1",
        [Kill, Kill],
    ),
    info(
        Finding::ControlByte,
        "control-byte",
        "control characters stand in the line",
        "RFC 959 §5.3.2",
        [Note, Kill],
    ),
    info(
        Finding::MalformedReply,
        "malformed-reply",
        "the line begins with no reply code, or nothing follows the code",
        "RFC 959 §4.2",
        [Note, Kill],
    ),
    info(
        Finding::AmbiguousReply,
        "ambiguous-reply",
        "a line within a reply begins with another code, which some clients take for the reply's end",
        "RFC 959 §4.2",
        [Note, Kill],
    ),
    info(
        Finding::UnaskedReply,
        "unasked-reply",
        "a reply comes although all commands have theirs",
        "RFC 959 §5.4",
        [Note, Kill],
    ),
    info(
        Finding::UnaskedPassive,
        "unasked-passive",
        "an address for a data connection comes although it was not asked for: nothing is opened",
        "RFC 959 §4.1.2; RFC 2428 §3",
        [Note, Kill],
    ),
    info(
        Finding::MalformedPort,
        "malformed-port",
        "the address for a data connection is not as the grammar has it: nothing is opened",
        "RFC 959 §4.1.2; RFC 2428 §2, §3",
        [Note, Kill],
    ),
    info(
        Finding::ForeignAddress,
        "foreign-address",
        "the data connection would lead to somebody else: nothing is opened",
        "RFC 2577 §2, §3",
        [Note, Kill],
    ),
    info(
        Finding::LowPort,
        "low-port",
        "the data connection would lead to a port of the system: nothing is opened",
        "RFC 2577 §3",
        [Note, Kill],
    ),
    info(
        Finding::BehindNat,
        "behind-nat",
        "the server cannot begin a data connection through this machine's address translation",
        "RFC 1579 §2",
        [Note, Note],
    ),
    info(
        Finding::PipelinedAfterAuth,
        "pipelined-after-auth",
        "the client goes on before TLS begins: servers may take that for a part of what TLS protects",
        "RFC 4217 §15.1",
        [Kill, Kill],
    ),
    info(
        Finding::NotTls,
        "not-tls",
        "what follows the reply that begins TLS is not TLS",
        "RFC 4217 §4",
        [Kill, Kill],
    ),
    info(
        Finding::SegmentsDisagree,
        "segments-disagree",
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4",
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
