//! Packets that were judged by the policy, by what is known of their connection, or by the firewall's own state.

use super::{Advice, Cure, Gravity, How};

/// Sequence numbers and SYNs are not judged for one address.
const ASYMMETRIC: Cure = Cure {
    how: How::Policy("[[asymmetric]]\nprefixes = [\"{destination}\"]\n"),
    does: "Lets connections with this address live of which only one direction comes by here.",
    gives_up: "For this address a connection may begin in its midst, and sequence numbers are not judged.",
};

const LOAD_AGAIN: Cure = Cure {
    how: How::Elsewhere(
        "Start the controller again (`fwx run`), which loads what is missing, and report it.",
    ),
    does: "Loads the programs and the policy again; flows stay.",
    gives_up: "Nothing.",
};

pub(super) const POLICY_RULES_DENIED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a rule or the default refused the new flow",
    means: "Rules are tried in the order of the policy, and the first that matches decides; where none does, the \
            default does. Packets of flows that were let in are not judged again.",
    usually: &[
        "No rule names this source, destination and port together.",
        "A rule that denies stands before the one that would allow.",
        "A flow that was announced to a filter came after its session had ended: then rules decide again.",
    ],
    cures: &[
        Cure {
            how: How::AllowingRule,
            does: "Lets just this in: the source, the destination, the port.",
            gives_up: "Whoever has this source address may begin such flows.",
        },
        Cure {
            how: How::Command("apply --shadow FILE"),
            does: "Tries a changed policy beside the one in force: `fwx shadow diff` tells what it would do.",
            gives_up: "Nothing: it only compares.",
        },
    ],
};

pub(super) const TCP_NOT_SYN: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a TCP segment of no known connection that is no SYN",
    means: "A TCP connection begins with a SYN, and the firewall knows no connection that the segment could be of.",
    usually: &[
        "Only one direction comes by this gateway (asymmetric routing): the SYN went another way.",
        "The connection is older than the firewall, and the kernel's connection tracking did not know it.",
        "It was silent for longer than its timeout, and was forgotten.",
        "It is a straggler of a connection that has ended.",
    ],
    cures: &[
        Cure {
            how: How::Command("run --policy {policy} --adopt 300"),
            does: "At the start of the firewall, lets connections go on for five minutes whose beginning nobody saw, \
                   until each has shown itself.",
            gives_up: "For that time a connection may begin in its midst, if the rules allow it.",
        },
        ASYMMETRIC,
        Cure {
            how: How::Policy("[gateway]\nnew_flow = \"monitor\"\n"),
            does: "Lets such segments pass, as far as the rules allow, and tells of each.",
            gives_up: "That every connection begins with a SYN: scans by other segments get through.",
        },
    ],
};

pub(super) const SEQ_ACK_MISMATCH: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "sequence or acknowledgment number outside the window",
    means: "The segment says something that its end could not have said at that moment, by what both ends said before.",
    usually: &[
        "A few are old segments that were delayed: nothing is wrong.",
        "Many: answers go another way and the firewall sees one direction only.",
        "Something on the way changes sequence numbers on one side of the firewall.",
        "Somebody guesses, to cut or fill the connection from outside.",
    ],
    cures: &[ASYMMETRIC],
};

pub(super) const SPOOFING: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a source address that cannot come in by this interface",
    means: "`[anti_spoofing]` of the policy: the source is in none of the interface's networks, or, where the \
            interface has no list, the routing table does not lead back to it.",
    usually: &[
        "The list of the interface lacks a network.",
        "The way back is another one than the way there, and the mode is `strict`.",
        "A host has the address of another network, as after a move, or behind a bridge that it should not be behind.",
        "Somebody lies about its address.",
    ],
    cures: &[
        Cure {
            how: How::Policy(
                "# Name all of the interface's networks: the list decides alone.\n\
                 [network.seen-at-{interface}]\nprefixes = [\"{source}\"]\n\n\
                 [anti_spoofing.sources]\n{interface} = [\"seen-at-{interface}\"]\n",
            ),
            does: "Lets this source come in by this interface.",
            gives_up: "Whoever is behind this interface may use this address.",
        },
        Cure {
            how: How::Policy("[[asymmetric]]\nprefixes = [\"{source}\"]\n"),
            does: "Judges this source as the mode `loose` does: there has to be a way back, by any interface.",
            gives_up: "For this address a connection may begin in its midst, and sequence numbers are not judged.",
        },
    ],
};

pub(super) const ICMP_UNRELATED: Advice = Advice {
    gravity: Gravity::Notice,
    short: "an ICMP error about no known flow, or an answer (such as an echo reply) without its question",
    means: "Of ICMP, errors and answers belong to a packet that passed here before; none is known.",
    usually: &[
        "It answers a packet that somebody sent under a foreign address.",
        "The question went another way than by this gateway.",
        "The flow was forgotten before the answer came.",
    ],
    cures: &[Cure {
        how: How::Elsewhere(
            "Nothing, unless the question went another way: then let both ways go by this gateway.",
        ),
        does: "An answer passes where its question passed.",
        gives_up: "Nothing.",
    }],
};

pub(super) const KILLED_FLOW: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a packet of a flow that was killed and is not TCP",
    means: "The flow was killed, or the connection that announced it was: the event that the drop names as its cause \
            tells by whom.",
    usually: &["The connection that announced it was killed by a filter."],
    cures: &[Cure {
        how: How::Filter,
        does: "Lets it live.",
        gives_up: "What the filter would have kept out.",
    }],
};

pub(super) const ARP_DENIED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "an ARP frame, where the policy leaves `arp` out of what is essential",
    means: "Without ARP the hosts of a link do not find each other, unless their addresses are written down by hand.",
    usually: &["`essential` in `[gateway]` was given and lacks \"arp\"."],
    cures: &[Cure {
        how: How::Policy(
            "[gateway]\nessential = [\"arp\", \"neighbour-discovery\", \"dhcp-client\"]\n",
        ),
        does: "Lets ARP pass again, beside what is essential by default.",
        gives_up: "That nobody on the link is found whose address is not written down.",
    }],
};

pub(super) const FILTER_SEGMENT_HELD: Advice = Advice {
    gravity: Gravity::Normal,
    short: "a filter waits for the segment before it",
    means: "A filter reads in order; a segment that came before its predecessor was dropped once, and its sender \
            repeats it.",
    usually: &["Packets are lost or reordered before they come to the gateway."],
    cures: &[],
};

pub(super) const FILTER_UNAVAILABLE: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "the filter that is bound is not loaded",
    means: "The filter is in mode `enforce` and its program is not there, so nothing that it ought to read passes.",
    usually: &["A fault of fwx."],
    cures: &[LOAD_AGAIN],
};

pub(super) const NO_POLICY: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "the programs run and no policy was ever loaded",
    means: "The head of the policy is missing in the kernel's tables, so nothing passes.",
    usually: &["A fault of fwx, or somebody wrote into the pinned tables."],
    cures: &[LOAD_AGAIN],
};

pub(super) const INTERNAL: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a state that cannot be; nothing raises it today",
    means: "The kernel program met a state that it is written never to meet.",
    usually: &["A fault of fwx."],
    cures: &[LOAD_AGAIN],
};
