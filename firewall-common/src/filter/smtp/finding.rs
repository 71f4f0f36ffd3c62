//! What the SMTP filter can object to.

use super::super::finding::findings;

findings! {
    /// The findings of the SMTP filter. The numbers are codes in events: append only.
    ///
    /// The standard profile kills what is not SMTP, what abuses resources, and what two readers would read
    /// differently: smuggled messages and commands. What the RFCs allow and what real servers and clients send is at
    /// most noted. The strict profile kills on any departure.
    pub enum Finding;

    NotSmtp = 0, "not-smtp", [Kill, Kill]:
        "this is another protocol: HTTP, TLS or SSH, or a greeting without a reply code",
        "RFC 5321 §2.3.7, §3.1, §4.2";

    CommandNotAllowed = 1, "command-not-allowed", [Kill, Kill]:
        "the policy does not allow this command",
        "RFC 5321 §4.1.1, §7.3";

    LineTooLong = 2, "line-too-long", [Kill, Kill]:
        "the command or reply is longer than servers and clients accept",
        "RFC 5321 §4.5.3.1.4, §4.5.3.1.5";

    SmuggledEndOfData = 3, "smuggled-end-of-data", [Kill, Kill]:
        "a dot between line ends that are not all CRLF: some servers would take it for the message's end",
        "RFC 5321 §2.3.8, §4.1.1.4";

    MalformedBdat = 4, "malformed-bdat", [Kill, Kill]:
        "BDAT does not say how long its chunk is, so nobody knows where the next command begins",
        "RFC 3030 §2";

    BdatUnannounced = 5, "bdat-unannounced", [Kill, Kill]:
        "BDAT to a server that did not announce CHUNKING and would take the chunk for commands",
        "RFC 3030 §2; RFC 5321 §2.2.1";

    PipelinedAfterStarttls = 6, "pipelined-after-starttls", [Kill, Kill]:
        "the client went on in plain text behind STARTTLS, without waiting for the reply",
        "RFC 3207 §4, §6";

    RunsAhead = 7, "runs-ahead", [Kill, Kill]:
        "the client sent a message that the server refused, or went on and on without waiting for replies",
        "RFC 2920 §3.1; RFC 5321 §4.1.1.4";

    SegmentsDisagree = 8, "segments-disagree", [Kill, Kill]:
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4";

    EarlyTalker = 9, "early-talker", [Note, Kill]:
        "the client spoke before the server's greeting",
        "RFC 5321 §3.1, §4.3.1";

    DataBeforeReply = 10, "data-before-reply", [Kill, Kill]:
        "the message began before the server answered DATA",
        "RFC 2920 §3.1; RFC 5321 §4.1.1.4";

    OutOfTurn = 11, "out-of-turn", [Note, Kill]:
        "a command before the reply to one that must be the last of its group",
        "RFC 2920 §3.1; RFC 4954 §4";

    UnknownCommand = 12, "unknown-command", [Note, Kill]:
        "no standard defines the command",
        "RFC 5321 §4.1.1";

    PrivateCommand = 13, "private-command", [Note, Kill]:
        "a command that only some implementations know",
        "RFC 5321 §4.1.5";

    MalformedCommand = 14, "malformed-command", [Note, Kill]:
        "the command lacks an argument or has one that it does not take, or the line is empty",
        "RFC 5321 §4.1.1";

    MalformedPath = 15, "malformed-path", [Note, Kill]:
        "MAIL or RCPT has no proper path between angle brackets",
        "RFC 5321 §4.1.1.2, §4.1.1.3, §4.1.2";

    LongPath = 16, "long-path", [Note, Kill]:
        "the path of MAIL or RCPT is longer than the standard allows",
        "RFC 5321 §4.5.3.1.3";

    LongLine = 17, "long-line", [Note, Kill]:
        "the command or reply is longer than the standard allows",
        "RFC 5321 §4.5.3.1.4, §4.5.3.1.5; RFC 4954 §4";

    OddSpacing = 18, "odd-spacing", [Note, Kill]:
        "blanks stand where the grammar has none, or tabs",
        "RFC 5321 §3.3, §4.1.1";

    BareLineEnd = 19, "bare-line-end", [Note, Kill]:
        "a line ends with LF alone, or CR stands inside of one",
        "RFC 5321 §2.3.8";

    ControlCharacter = 20, "control-character", [Note, Kill]:
        "a control character in a command or reply",
        "RFC 5321 §4.1.2, §4.2";

    NonAsciiCommand = 21, "non-ascii-command", [Note, Kill]:
        "bytes that are not ASCII in a command, without SMTPUTF8",
        "RFC 5321 §2.3.1; RFC 6531 §3.4";

    LongTextLine = 22, "long-text-line", [Note, Kill]:
        "a line of the message is longer than the standard allows",
        "RFC 5321 §4.5.3.1.6";

    NulInText = 23, "nul-in-text", [Note, Kill]:
        "the message has a NUL in it",
        "RFC 5321 §2.3.1; RFC 5322 §2.2";

    MalformedReply = 24, "malformed-reply", [Note, Kill]:
        "a line of a reply has no code, or not the code of the line before",
        "RFC 5321 §4.2, §4.2.1";

    OddReplyCode = 25, "odd-reply-code", [Note, Kill]:
        "the reply code is out of the standard's range",
        "RFC 5321 §4.2";

    UnexpectedReply = 26, "unexpected-reply", [Note, Kill]:
        "the server replied although it was not asked",
        "RFC 5321 §3.8, §4.3.1";

    TurnedAround = 27, "turned-around", [Kill, Kill]:
        "client and server change their roles: what follows is not looked at",
        "RFC 2645 §5; RFC 5321 §F.1";

    UnexpectedRequest = 28, "unexpected-request", [Kill, Kill]:
        "the server asks for a message or credentials, and no command was read that it could be to",
        "RFC 5321 §4.2.1, §4.3.2";

    UrgentData = 29, "urgent-data", [Kill, Kill]:
        "a segment has urgent data, of which receivers take a byte out of the stream",
        "RFC 6093 §2";
}
