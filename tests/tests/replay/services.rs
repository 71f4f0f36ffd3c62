//! What rules say about protocols without ports: ICMP by its types and codes, others by their numbers.

use std::net::IpAddr;

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0"]
default = "deny"

[protocol.ping]
transport = "icmp"
types = ["echo-request", "timestamp-request", "redirect/1", "destination-unreachable"]

[protocol.ping6]
transport = "icmpv6"
types = ["echo-request", "node-information-query", 200]

[protocol.tunnels]
transport = "gre"

[protocol.experiments]
transport = 253

[[rule]]
name = "icmp"
action = "allow"
protocols = ["ping", "ping6"]

[[rule]]
name = "others"
action = "allow"
protocols = ["tunnels", "experiments"]
"#;

fn denied() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

fn unrelated() -> Expected {
    drops(Reason::IcmpUnrelated)
}

fn begins() -> Expected {
    passes(State::Unreplied)
}

fn there(family: Family, kind: u8, code: u8) -> Packet {
    Packet::icmp(family.client(), family.camera(), kind, code, 7 << 16)
}

fn back(family: Family, kind: u8, code: u8) -> Packet {
    Packet::icmp(family.camera(), family.client(), kind, code, 7 << 16)
}

#[test]
fn icmp_is_let_in_by_its_types_and_codes() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        let (v4, v6) = (Family::V4, Family::V6);
        for (shows, packet, expected) in [
            ("an echo", there(v4, 8, 0), begins()),
            ("its reply", back(v4, 0, 0), passes(State::Assured)),
            ("an echo the other way is a flow of its own", back(v4, 8, 0), begins()),
            ("a timestamp", there(v4, 13, 0), begins()),
            ("its reply", back(v4, 14, 0), passes(State::Assured)),
            ("a mask, between the same hosts", there(v4, 17, 0), denied()),
            ("its reply, which nobody asked for", back(v4, 18, 0), unrelated()),
            ("a redirect, between the same hosts", back(v4, 5, 0), denied()),
            ("of the code that is let in", back(v4, 5, 1), begins()),
            ("an error is judged by what it quotes", there(v4, 3, 1), unrelated()),
            ("an echo", there(v6, 128, 0), begins()),
            ("its reply", back(v6, 129, 0), passes(State::Assured)),
            ("node information", there(v6, 139, 1), begins()),
            ("its reply", back(v6, 140, 0), passes(State::Assured)),
            ("a number without a name", there(v6, 200, 255), begins()),
            ("the next number", there(v6, 201, 0), denied()),
            ("ICMP's type is not ICMPv6's", there(v6, 8, 0), denied()),
        ] {
            let shows = format!("{shows}, {packet:?}");
            rig.expect(&shows, &packet, expected);
        }
    }
}

#[test]
fn an_answer_without_its_question_is_refused_whatever_is_let_in() {
    let mut rig = Rig::open(Hook::Xdp);
    for (family, kinds) in
        [(Family::V4, &[0, 14, 16, 18, 43][..]), (Family::V6, &[129, 140, 161][..])]
    {
        for kind in kinds {
            rig.expect("an answer", &back(family, *kind, 0), unrelated());
        }
        rig.expect("ICMP that answers nothing", &back(family, 200, 0), begins());
    }
}

#[test]
fn other_protocols_are_let_in_by_their_numbers() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let (client, camera) = (family.client(), family.camera());
            let packet =
                |from: IpAddr, to, number| Packet::other(from, to, number).payload([7; 24]);
            for (number, expected) in
                [(47, begins()), (253, begins()), (50, denied()), (46, denied()), (254, denied())]
            {
                rig.expect(&format!("{number}"), &packet(client, camera, number), expected);
            }
            rig.expect("an answer", &packet(camera, client, 47), passes(State::Assured));
            rig.events();
        }
    }
}
