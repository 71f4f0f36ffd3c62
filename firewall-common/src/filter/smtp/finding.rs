//! What the SMTP filter can object to.

use super::super::finding::{Effect, FindingInfo, Findings};

use Effect::{Kill, Note};

/// The findings of the SMTP filter. The numbers are codes in events: append only.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// What is spoken is another protocol.
    NotSmtp = 0,
    /// A command that the policy does not allow.
    CommandNotAllowed = 1,
    /// A line longer than any server or client accepts.
    LineTooLong = 2,
    /// What some servers take for the end of the message, and others for text.
    SmuggledEndOfData = 3,
    /// A BDAT that does not say how long its chunk is.
    MalformedBdat = 4,
    /// BDAT to a server that did not say that it knows it.
    BdatUnannounced = 5,
    /// Commands behind STARTTLS, before the server answered it.
    PipelinedAfterStarttls = 6,
    /// Message text that the server did not take for one, or more unanswered than can be followed.
    RunsAhead = 7,
    /// A segment repeats bytes and they are not the same.
    SegmentsDisagree = 8,
    /// The client spoke before the greeting.
    EarlyTalker = 9,
    /// Message text before the server asked for it.
    DataBeforeReply = 10,
    /// A command before the reply to one that must be waited for.
    OutOfTurn = 11,
    /// A command that no standard defines.
    UnknownCommand = 12,
    /// A command that begins with `X`.
    PrivateCommand = 13,
    /// A command that lacks an argument or has one too many, or an empty line.
    MalformedCommand = 14,
    /// A path that is not as the grammar has it.
    MalformedPath = 15,
    /// A path longer than the limit.
    LongPath = 16,
    /// A line longer than the standard's limit.
    LongLine = 17,
    /// Blanks where the grammar has none, or tabs.
    OddSpacing = 18,
    /// A line that ends with LF alone, or a CR inside of one.
    BareLineEnd = 19,
    /// A control character in a command or reply.
    ControlCharacter = 20,
    /// Bytes that are not ASCII in a command, without SMTPUTF8.
    NonAsciiCommand = 21,
    /// A line of a message longer than the limit.
    LongTextLine = 22,
    /// A NUL in a message.
    NulInText = 23,
    /// A line of a reply without code, or with another code than the line before.
    MalformedReply = 24,
    /// A reply code out of the standard's range.
    OddReplyCode = 25,
    /// A reply to nothing.
    UnexpectedReply = 26,
    /// Client and server change their roles.
    TurnedAround = 27,
    /// A reply that asks for more, to a command that is not known to be asked for it.
    UnexpectedRequest = 28,
    /// A segment with urgent data.
    UrgentData = 29,
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
/// The standard profile kills what is not SMTP, what abuses resources, and what two readers would read
/// differently: smuggled messages and commands. What the RFCs allow and what real servers and clients send is at
/// most noted. The strict profile kills on any departure.
pub const FINDINGS: [FindingInfo; 30] = [
    info(
        Finding::NotSmtp,
        "not-smtp",
        "this is another protocol: HTTP, TLS or SSH, or a greeting without a reply code",
        "RFC 5321 §2.3.7, §3.1, §4.2",
        [Kill, Kill],
    ),
    info(
        Finding::CommandNotAllowed,
        "command-not-allowed",
        "the policy does not allow this command",
        "RFC 5321 §4.1.1, §7.3",
        [Kill, Kill],
    ),
    info(
        Finding::LineTooLong,
        "line-too-long",
        "the command or reply is longer than servers and clients accept",
        "RFC 5321 §4.5.3.1.4, §4.5.3.1.5",
        [Kill, Kill],
    ),
    info(
        Finding::SmuggledEndOfData,
        "smuggled-end-of-data",
        "a dot between line ends that are not all CRLF: some servers would take it for the message's end",
        "RFC 5321 §2.3.8, §4.1.1.4",
        [Kill, Kill],
    ),
    info(
        Finding::MalformedBdat,
        "malformed-bdat",
        "BDAT does not say how long its chunk is, so nobody knows where the next command begins",
        "RFC 3030 §2",
        [Kill, Kill],
    ),
    info(
        Finding::BdatUnannounced,
        "bdat-unannounced",
        "BDAT to a server that did not announce CHUNKING and would take the chunk for commands",
        "RFC 3030 §2; RFC 5321 §2.2.1",
        [Kill, Kill],
    ),
    info(
        Finding::PipelinedAfterStarttls,
        "pipelined-after-starttls",
        "the client went on in plain text behind STARTTLS, without waiting for the reply",
        "RFC 3207 §4, §6",
        [Kill, Kill],
    ),
    info(
        Finding::RunsAhead,
        "runs-ahead",
        "the client sent a message that the server refused, or went on and on without waiting for replies",
        "RFC 2920 §3.1; RFC 5321 §4.1.1.4",
        [Kill, Kill],
    ),
    info(
        Finding::SegmentsDisagree,
        "segments-disagree",
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4",
        [Kill, Kill],
    ),
    info(
        Finding::EarlyTalker,
        "early-talker",
        "the client spoke before the server's greeting",
        "RFC 5321 §3.1, §4.3.1",
        [Note, Kill],
    ),
    info(
        Finding::DataBeforeReply,
        "data-before-reply",
        "the message began before the server answered DATA",
        "RFC 2920 §3.1; RFC 5321 §4.1.1.4",
        [Kill, Kill],
    ),
    info(
        Finding::OutOfTurn,
        "out-of-turn",
        "a command before the reply to one that must be the last of its group",
        "RFC 2920 §3.1; RFC 4954 §4",
        [Note, Kill],
    ),
    info(
        Finding::UnknownCommand,
        "unknown-command",
        "no standard defines the command",
        "RFC 5321 §4.1.1",
        [Note, Kill],
    ),
    info(
        Finding::PrivateCommand,
        "private-command",
        "a command that only some implementations know",
        "RFC 5321 §4.1.5",
        [Note, Kill],
    ),
    info(
        Finding::MalformedCommand,
        "malformed-command",
        "the command lacks an argument or has one that it does not take, or the line is empty",
        "RFC 5321 §4.1.1",
        [Note, Kill],
    ),
    info(
        Finding::MalformedPath,
        "malformed-path",
        "MAIL or RCPT has no proper path between angle brackets",
        "RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2",
        [Note, Kill],
    ),
    info(
        Finding::LongPath,
        "long-path",
        "the path of MAIL or RCPT is longer than the standard allows",
        "RFC 5321 §4.5.3.1.3",
        [Note, Kill],
    ),
    info(
        Finding::LongLine,
        "long-line",
        "the command or reply is longer than the standard allows",
        "RFC 5321 §4.5.3.1.4, §4.5.3.1.5; RFC 4954 §4",
        [Note, Kill],
    ),
    info(
        Finding::OddSpacing,
        "odd-spacing",
        "blanks stand where the grammar has none, or tabs",
        "RFC 5321 §3.3, §4.1.1",
        [Note, Kill],
    ),
    info(
        Finding::BareLineEnd,
        "bare-line-end",
        "a line ends with LF alone, or CR stands inside of one",
        "RFC 5321 §2.3.8",
        [Note, Kill],
    ),
    info(
        Finding::ControlCharacter,
        "control-character",
        "a control character in a command or reply",
        "RFC 5321 §4.1.2, §4.2",
        [Note, Kill],
    ),
    info(
        Finding::NonAsciiCommand,
        "non-ascii-command",
        "bytes that are not ASCII in a command, without SMTPUTF8",
        "RFC 5321 §2.3.1; RFC 6531 §3.4",
        [Note, Kill],
    ),
    info(
        Finding::LongTextLine,
        "long-text-line",
        "a line of the message is longer than the standard allows",
        "RFC 5321 §4.5.3.1.6",
        [Note, Kill],
    ),
    info(
        Finding::NulInText,
        "nul-in-text",
        "the message has a NUL in it",
        "RFC 5321 §2.3.1; RFC 5322 §2.2",
        [Note, Kill],
    ),
    info(
        Finding::MalformedReply,
        "malformed-reply",
        "a line of a reply has no code, or not the code of the line before",
        "RFC 5321 §4.2, §4.2.1",
        [Note, Kill],
    ),
    info(
        Finding::OddReplyCode,
        "odd-reply-code",
        "the reply code is out of the standard's range",
        "RFC 5321 §4.2",
        [Note, Kill],
    ),
    info(
        Finding::UnexpectedReply,
        "unexpected-reply",
        "the server replied although it was not asked",
        "RFC 5321 §3.8, §4.3.1",
        [Note, Kill],
    ),
    info(
        Finding::TurnedAround,
        "turned-around",
        "client and server change their roles: what follows is not looked at",
        "RFC 2645 §5; RFC 5321 §F.1",
        [Kill, Kill],
    ),
    info(
        Finding::UnexpectedRequest,
        "unexpected-request",
        "the server asks for a message or credentials, and no command was read that it could be to",
        "RFC 5321 §4.2.1, §4.3.2",
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
