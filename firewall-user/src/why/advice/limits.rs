//! Tables that are full, limits of the policy, and attacks.

use super::{Advice, Cure, Gravity, How};

const FIND_THE_SOURCE: Cure = Cure {
    how: How::Command("conn list --half-open --top 10"),
    does: "Tells who holds most connections: a scan, a broken program, or many hosts behind one NAT.",
    gives_up: "Nothing.",
};

const CHALLENGED: &str = "`syn_authentication` is \"on\", or it is \"auto\" and a SYN attack is on (`syn_attack` in `[limits]`).";

pub(super) const OUT_OF_RESOURCES: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "a table is full",
    means: "The flow table has no room for another connection with an answer, or the filter none for another \
            connection to read, or the tables of limits or pinholes are full. Connections that there are go on.",
    usually: &[
        "More connections than `[tables]` has room for: `fwx status` shows how full they are.",
        "A host opens connections without end.",
        "No controller runs, so nobody sweeps expired connections out.",
        "A filter in mode `enforce` reads 16,384 connections already.",
    ],
    cures: &[
        FIND_THE_SOURCE,
        Cure {
            how: How::Policy("[tables]\ncompleted = 4194304\n"),
            does: "Makes room for four times the default, when the firewall is started again with the policy; no \
                   connection is lost.",
            gives_up: "Kernel memory: `fwx preflight` tells how much.",
        },
        Cure {
            how: How::Filter,
            does: "Needs no room in the filter's table.",
            gives_up: "What the filter would have kept out.",
        },
    ],
};

pub(super) const NO_BACKLOG: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "too many flows without an answer, of a source or by a rule",
    means: "A limit of the policy on flows that nobody answered: `half_open_per_source` in `[limits]`, or `half_open` \
            of the rule that the event names.",
    usually: &[
        "The source scans, or floods under its own address.",
        "The server does not answer, so attempts add up.",
        "Many hosts behind one NAT are one source.",
        "The limit is too low.",
    ],
    cures: &[
        FIND_THE_SOURCE,
        Cure {
            how: How::Policy(
                "# 0 is no limit. A rule's own is its key half_open.\n[limits]\nhalf_open_per_source = 0\n",
            ),
            does: "Takes the limit of each source away; give the number that suits instead of 0.",
            gives_up: "That one source cannot fill the table of flows without an answer.",
        },
    ],
};

pub(super) const RULE_QUOTA_EXCEEDED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "more new flows a second than the rule lets in",
    means: "The rule that the event names lets in no more than `new_per_second` new flows a second, from all sources \
            together.",
    usually: &[
        "A flood or a scan, or a program that connects without end.",
        "More users than the limit was made for.",
    ],
    cures: &[
        FIND_THE_SOURCE,
        Cure {
            how: How::Elsewhere(
                "Raise `new_per_second` of the rule that the event names; 0 is no limit.",
            ),
            does: "Lets more new flows in by this rule.",
            gives_up: "What the limit protects: the servers behind the rule.",
        },
    ],
};

pub(super) const RATE_QUOTA_EXCEEDED: Advice = Advice {
    gravity: Gravity::Trouble,
    short: "more new flows a second than one source may begin",
    means: "A limit of the policy: `new_per_second_per_source` in `[limits]`.",
    usually: &[
        "The source scans, or a program there connects without end.",
        "Many hosts behind one NAT are one source.",
        "The limit is too low.",
    ],
    cures: &[
        FIND_THE_SOURCE,
        Cure {
            how: How::Policy("# 0 is no limit.\n[limits]\nnew_per_second_per_source = 0\n"),
            does: "Takes the limit away; give the number that suits instead of 0.",
            gives_up: "That no single source can keep all others out.",
        },
    ],
};

pub(super) const SYN_ATTACK_START: Advice = Advice {
    gravity: Gravity::Notice,
    short: "more connections begin without an answer than `syn_attack` takes for normal",
    means: "A SYN attack is on. Connections that there are are not touched by it.",
    usually: &[
        "A flood of SYNs, mostly under foreign addresses.",
        "A server that many want is down.",
    ],
    cures: &[Cure {
        how: How::Policy("[limits]\nsyn_authentication = \"auto\"\n"),
        does: "Has senders of SYNs show that their address is their own while an attack is on.",
        gives_up: "Each of them needs a second attempt then, which some programs take for a failure.",
    }],
};

pub(super) const SYN_ATTACK_END: Advice = Advice {
    gravity: Gravity::Normal,
    short: "they do no more",
    means: "The SYN attack is over.",
    usually: &[],
    cures: &[],
};

pub(super) const SYN_CHALLENGED: Advice = Advice {
    gravity: Gravity::Normal,
    short: "a SYN that was answered by a challenge; its sender repeats it",
    means: "A sender of a SYN has to show that its address is its own; then its next SYN is judged as any other, for \
            five minutes.",
    usually: &[CHALLENGED],
    cures: &[],
};

pub(super) const SYN_AUTHENTICATED: Advice = Advice {
    gravity: Gravity::Normal,
    short: "the RST by which a sender answered the challenge",
    means: "The sender has shown that its address is its own. The RST was for the firewall and goes no further.",
    usually: &[CHALLENGED],
    cures: &[],
};
