//! What the FTP filter can object to.

use super::super::finding::findings;

findings! {
    /// The findings of the FTP filter. The numbers are codes in events: append only.
    ///
    /// The standard profile kills what is not FTP, what abuses resources and what is said only to be understood
    /// differently by two readers. What servers and clients are seen to do is noted, and where a data connection
    /// is in doubt nothing is opened for it. The strict profile kills on any departure.
    pub enum Finding;

    NotFtp = 0, "not-ftp", [Kill, Kill]:
        "neither a command nor a reply begins here, but another protocol or binary data",
        "RFC 959 §4.2, §5.3";

    LineTooLong = 1, "line-too-long", [Kill, Kill]:
        "the line is longer than a command with the longest path",
        "RFC 959 §5.3; RFC 2640 §2";

    CommandNotAllowed = 2, "command-not-allowed", [Kill, Kill]:
        "the policy does not allow this command",
        "RFC 959 §4.1";

    UnknownCommand = 3, "unknown-command", [Note, Kill]:
        "the command is not one of the standards'",
        "RFC 959 §4.1; RFC 5797 §3";

    MalformedCommand = 4, "malformed-command", [Note, Kill]:
        "the command is not made of letters, or blanks stand before it",
        "RFC 959 §5.3";

    BareLineEnd = 5, "bare-line-end", [Note, Kill]:
        "the line ends with LF alone, or a reply has a CR in it",
        "RFC 959 §4.2, §5.3.1";

    BareCr = 6, "bare-cr", [Kill, Kill]:
        "a CR stands in a command, which some servers take for its end",
        "RFC 959 §5.3.1; RFC 2640 §3.1";

    ControlByte = 7, "control-byte", [Note, Kill]:
        "control characters stand in the line",
        "RFC 959 §5.3.2";

    MalformedReply = 8, "malformed-reply", [Note, Kill]:
        "the line begins with no reply code, or nothing follows the code",
        "RFC 959 §4.2";

    AmbiguousReply = 9, "ambiguous-reply", [Note, Kill]:
        "a line within a reply begins with another code, which some clients take for the reply's end",
        "RFC 959 §4.2";

    UnaskedReply = 10, "unasked-reply", [Note, Kill]:
        "a reply comes although all commands have theirs",
        "RFC 959 §5.4";

    UnaskedPassive = 11, "unasked-passive", [Note, Kill]:
        "an address for a data connection comes although it was not asked for: nothing is opened",
        "RFC 959 §4.1.2; RFC 2428 §3";

    MalformedPort = 12, "malformed-port", [Note, Kill]:
        "the address for a data connection is not as the grammar has it: nothing is opened",
        "RFC 959 §4.1.2; RFC 2428 §2, §3";

    ForeignAddress = 13, "foreign-address", [Note, Kill]:
        "the data connection would lead to somebody else: nothing is opened",
        "RFC 2577 §2, §3";

    LowPort = 14, "low-port", [Note, Kill]:
        "the data connection would lead to a port of the system: nothing is opened",
        "RFC 2577 §3";

    BehindNat = 15, "behind-nat", [Note, Note]:
        "the server cannot begin a data connection through this machine's address translation",
        "RFC 1579 §2";

    PipelinedAfterAuth = 16, "pipelined-after-auth", [Kill, Kill]:
        "the client goes on before TLS begins: servers may take that for a part of what TLS protects",
        "RFC 4217 §15.1";

    NotTls = 17, "not-tls", [Kill, Kill]:
        "what follows the reply that begins TLS is not TLS",
        "RFC 4217 §4";

    SegmentsDisagree = 18, "segments-disagree", [Kill, Kill]:
        "a segment repeats bytes that were read before, and they are not the same",
        "RFC 9293 §3.4";
}
