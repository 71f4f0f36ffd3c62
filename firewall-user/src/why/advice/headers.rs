//! Packets that no policy lets pass, for what their headers say.

use super::{Advice, Cure, Gravity, How};

const CAPTURE: Cure = Cure {
    how: How::Elsewhere(
        "Capture it (`tcpdump -e`), and look for the sender by its hardware address.",
    ),
    does: "Tells who sends it: the address in such a packet need not be true.",
    gives_up: "Nothing. No key of the policy lets such packets pass.",
};

pub(super) const FRAGMENT_DROPPED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a fragment that cannot be judged",
    means: "A later fragment follows the verdict on its first one. Its first one did not pass within the last 30 s, or \
            it overlaps another or came twice, or the first one is too short for the transport header; or it is TCP \
            for a filter in mode `enforce`.",
    usually: &[
        "A wrong MTU on the way, so that what should not be is cut into pieces.",
        "The first fragment was refused, lost, or went another way.",
        "Somebody hides something in overlapping fragments.",
    ],
    cures: &[
        Cure {
            how: How::Elsewhere(
                "Look for a wrong MTU on the way (`tracepath ADDRESS`), and let ICMP \"too big\" through everywhere.",
            ),
            does: "Has the sender make packets that need not be cut.",
            gives_up: "Nothing.",
        },
        CAPTURE,
    ],
};

pub(super) const BAD_LENGTH: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "length fields contradict each other or the frame",
    means: "What the headers say about lengths cannot be true, so nobody can tell what the packet holds.",
    usually: &["A broken sender or network card.", "An attack on whoever reads it more kindly."],
    cures: &[CAPTURE],
};

pub(super) const IP_HALF_SCAN: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "TCP flags that no stack sends together",
    means: "SYN with FIN or RST, FIN with RST, FIN alone, or no flag that counts.",
    usually: &["A port scan.", "A broken sender."],
    cures: &[CAPTURE],
};

pub(super) const LAND_ATTACK: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "source address equals destination address",
    means: "No host sends packets to itself by a network.",
    usually: &["An attack.", "A NAT rule that sends a host to itself."],
    cures: &[Cure {
        how: How::Elsewhere(
            "Look at the NAT rules of the gateway: one may send a host to itself (hairpin).",
        ),
        does: "Ends it where it is no attack.",
        gives_up: "Nothing.",
    }],
};

pub(super) const IP_OPTIONS: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "source routing",
    means: "The packet says by itself which way it wants to go: IPv4 options 131 and 137, or an IPv6 routing header of \
            type 0.",
    usually: &["An attack, or a very old tool."],
    cures: &[CAPTURE],
};

pub(super) const PORT_ZERO: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "source or destination port 0",
    means: "Port 0 is reserved: nobody listens there and nobody sends from there.",
    usually: &["A scan.", "A broken sender."],
    cures: &[CAPTURE],
};

pub(super) const IP_VERSION: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "IP version and Ethernet type differ; where packets have no Ethernet header, something stands before IP's",
    means: "What the frame says it holds is not what it holds.",
    usually: &[
        "A broken sender.",
        "If it is all that comes in by a tunnel's interface: its driver leaves the outer header in front of each packet.",
    ],
    cures: &[CAPTURE],
};

pub(super) const EXTENSION_HEADERS: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "eight or more IPv6 extension headers",
    means: "So many headers stand before the transport's that nobody sends them without a purpose.",
    usually: &["An attack on whoever has to read them."],
    cures: &[CAPTURE],
};

pub(super) const VLAN_DEPTH: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "more than two VLAN tags",
    means: "At most two tags are looked behind.",
    usually: &["A switch that adds a tag too many.", "An attempt to hop into another VLAN."],
    cures: &[Cure {
        how: How::Elsewhere("Look at the configuration of the switch's port."),
        does: "Ends the tag too many.",
        gives_up: "Nothing.",
    }],
};
