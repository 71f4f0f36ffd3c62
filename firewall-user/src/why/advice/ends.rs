//! Ends of connections, and findings.

use super::{Advice, Cure, Gravity, How};

const POLICY_BACK: Cure = Cure {
    how: How::Command("rollback"),
    does: "Puts the policy in force that was in force before.",
    gives_up: "What the new policy was made for.",
};

pub(super) const NONE: Advice = Advice {
    gravity: Gravity::Normal,
    short: "it passed",
    means: "Nothing was refused and nothing ended.",
    usually: &[],
    cures: &[],
};

pub(super) const GRACEFUL_SHUTDOWN: Advice = Advice {
    gravity: Gravity::Normal,
    short: "closed by FIN from both sides",
    means: "Both ends said that they had nothing more to send.",
    usually: &[],
    cures: &[],
};

pub(super) const ABORTIVE_SHUTDOWN: Advice = Advice {
    gravity: Gravity::Notice,
    short: "closed by a RST of one end",
    means: "One end cut the connection off; the firewall did not.",
    usually: &[
        "The end that sent the RST has closed the port, or its program ended in the midst: the event has its address \
         as the source.",
        "Many programs close in this way on purpose.",
        "Another firewall on the way cut it, in the name of that end.",
    ],
    cures: &[Cure {
        how: How::Elsewhere("Look into the log of the program at the end that sent the RST."),
        does: "It knows why it cut the connection off.",
        gives_up: "Nothing.",
    }],
};

pub(super) const CONNECTION_KILLED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "killed by a filter, or by `fwx conn kill`",
    means: "The connection was ended by RSTs to both ends. What the ends send after that belongs to no connection and \
            is dropped; those drops are no trouble of their own.",
    usually: &[
        "A device speaks a dialect that the filter's profile does not live with.",
        "Something else than the protocol is spoken on its port, or somebody abuses it.",
        "Where no filter is named: somebody ended it by `fwx conn kill`.",
    ],
    cures: &[Cure {
        how: How::Filter,
        does: "Lets it live.",
        gives_up: "What the filter would have kept out.",
    }],
};

pub(super) const TCP_NO_SERVER_REPLY: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "nobody answered the SYN",
    means: "The firewall let the SYN pass, and no SYN and ACK came back by it within the timeout `syn_sent`.",
    usually: &[
        "The server is down, or drops what it does not want.",
        "The way to the server does not work: routes, its network card, another firewall behind this one.",
        "The answer goes another way than by this gateway.",
    ],
    cures: &[
        Cure {
            how: How::Elsewhere(
                "Capture at the interface toward the server, `tcpdump -ni INTERFACE host ADDRESS`: does the SYN leave, \
                 does an answer come?",
            ),
            does: "Tells a server that is silent from an answer that goes another way.",
            gives_up: "Nothing.",
        },
        Cure {
            how: How::Policy("[[asymmetric]]\nprefixes = [\"{destination}\"]\n"),
            does: "Lets connections with this address live of which only one direction comes by here.",
            gives_up: "For this address nothing is held against SYNs and sequence numbers any more.",
        },
    ],
};

pub(super) const IDLE_TIMEOUT: Advice = Advice {
    gravity: Gravity::Notice,
    short: "silent for longer than its state allows",
    means: "No packet passed for as long as `[timeouts]` allows in the state that the connection was in, and it was \
            forgotten. If an end goes on with it later, its segments are of no known connection.",
    usually: &[
        "An end vanished without a word.",
        "A program holds a connection open and says nothing for hours, without keep-alives.",
        "UDP has no end: that is how its flows end.",
    ],
    cures: &[
        Cure {
            how: How::Elsewhere("Let the program send keep-alives (TCP: SO_KEEPALIVE)."),
            does: "Keeps the connection known to all firewalls on its way.",
            gives_up: "A packet every few minutes.",
        },
        Cure {
            how: How::Policy(
                "# Of TCP between two ends that both closed nothing; UDP with an answer: udp_stream.\n\
                 [timeouts]\nestablished = \"14d\"\n",
            ),
            does: "Remembers such connections for longer.",
            gives_up: "Room in the flow table, for connections whose ends are gone.",
        },
    ],
};

pub(super) const POLICY_CONNECTION_CLOSED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a live flow that a new policy would not let in was ended: `fwx apply --live`",
    means: "A policy came in force that would not let the connection in, and live ones were to be judged by it, too.",
    usually: &[
        "The rule that had let it in is gone, was narrowed, or stands behind another one now.",
        "The policy says `live = \"reevaluate\"` or `\"kill\"`, or `fwx apply` was told so.",
    ],
    cures: &[
        Cure {
            how: How::AllowingRule,
            does: "Lets such connections in again.",
            gives_up: "Whoever has this address may begin such connections.",
        },
        POLICY_BACK,
        Cure {
            how: How::Policy("[gateway]\nlive = \"keep\"\n"),
            does: "Leaves live connections alone when the next policy comes in force.",
            gives_up: "What a policy forbids goes on for as long as the connection lasts.",
        },
    ],
};

pub(super) const IPS_BLOCKED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a finding that is acted on",
    means: "A filter acted on what it found. This version of fwx does not raise it.",
    usually: &["The events are of another version of fwx."],
    cures: &[Cure {
        how: How::Filter,
        does: "Lets it live.",
        gives_up: "What the filter would have kept out.",
    }],
};

pub(super) const IPS_DETECTED: Advice = Advice {
    gravity: Gravity::Notice,
    short: "a finding that is only reported",
    means: "The packet passed: the filter's mode is `monitor`, or its profile lives with what was found.",
    usually: &[
        "A device speaks a dialect. A stricter profile or the mode `enforce` may kill its connections.",
    ],
    cures: &[],
};

pub(super) const ADDRESS_NOT_ALLOWED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a pinhole asked for on behalf of another host: nothing is opened",
    means: "A message names the address of a third host for its media or data. Nothing was opened for it; the message \
            itself passed, unless the filter killed for it.",
    usually: &[
        "The named host is an end of the connection under another name, as behind a second address translation.",
        "Somebody tries to have the firewall open ports to a host that did not ask (an FTP bounce).",
    ],
    cures: &[
        Cure {
            how: How::AllowingRule,
            does: "Lets flows between these two hosts in by a rule; put in the host and the ports that the message names.",
            gives_up: "Whoever has this address may begin such flows, announced or not.",
        },
        Cure {
            how: How::Elsewhere(
                "Have the client use passive mode (FTP), or TCP for the media (RTSP).",
            ),
            does: "Needs no pinhole toward the client.",
            gives_up: "Nothing.",
        },
    ],
};
