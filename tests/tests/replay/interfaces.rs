//! Networks and rules that speak about the interface a flow comes in by.

use firewall_common::{
    flow::{Direction, State},
    reason::Reason,
};
use firewall_user::{
    flows::{Entry, FlowTable, Key},
    replay::Hook,
};
use lab::replaying::{Conversation, Expected, FAMILIES, Family, Rig, drops, passes};

const INGRESS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "lan1", "wan0"]
default = "deny"

[network.lans]
interfaces = ["lan0"]
networks = ["branch"]

[network.branch]
networks = ["cameras"]

[network.cameras]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[protocol.web]
transport = "tcp"
ports = [80]

[protocol.dns]
transport = "udp"
ports = [53]

[[rule]]
name = "web from the lans"
action = "allow"
from = ["lans"]
protocols = ["web"]

[protocol.back]
transport = "tcp"
ports = [40000, 40001]

[[rule]]
name = "back by wan0"
action = "allow"
interface = ["wan0"]
protocols = ["back"]

[[rule]]
name = "dns by lan1"
action = "allow"
interface = ["lan1"]
protocols = ["dns"]
"#;

fn denied() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

#[test]
fn the_interface_of_the_first_packet_decides() {
    for hook in INGRESS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let opens = passes(State::SynSent);
            for (by, port, web, dns) in [
                (Some("lan0"), 1_000, opens, denied()),
                (Some("lan1"), 1_001, denied(), passes(State::Unreplied)),
                (Some("wan0"), 1_002, denied(), denied()),
                (None, 1_003, denied(), denied()),
            ] {
                rig.come_in_by(by);
                let shows = format!("by {by:?}");
                rig.expect(&shows, &family.tcp(port, 80), web);
                rig.expect(&shows, &family.tcp(port, 81), denied());
                rig.expect(&shows, &family.udp(port, 53), dns);
                // The cameras are of the lans by their prefix, however they come in.
                let of_prefix = lab::Packet::tcp(family.camera_at(port), family.client_at(80));
                rig.expect(&shows, &of_prefix, opens);
            }
            // Neither answers nor what follows are asked again.
            rig.come_in_by(Some("wan0"));
            rig.expect("an answer", &family.udp_back(53, 1_001), passes(State::Assured));
            rig.expect("another of the flow", &family.udp(1_001, 53), passes(State::Assured));
            rig.events();
        }
    }
}

/// Notes of the flow from the client's `port` that its answers come in by the interface with this index.
fn note_beyond(rig: &Rig, family: Family, port: u16, beyond: u32) {
    let tables = rig.tables();
    let table = match family {
        Family::V4 => FlowTable::CompletedV4,
        Family::V6 => FlowTable::CompletedV6,
    };
    let mut entries = Vec::new();
    let is = |entry: &Entry| entry.endpoints().iter().any(|end| end.port() == port);
    let each = tables.each_entry(table, |entry| entries.extend(is(entry).then_some(*entry)));
    each.expect("the table can be read");
    let [Entry { key, mut flow }] = entries[..] else { panic!("one flow, not {entries:?}") };
    flow.note_passage(Direction::Original, flow.interface, beyond, rig.now());
    let written = match key {
        Key::V4(key) => tables.flows_v4().expect("the table").insert(key, flow, 0),
        Key::V6(key) => tables.flows_v6().expect("the table").insert(key, flow, 0),
    };
    written.expect("a write");
}

/// The server lost the connection and begins it anew, and the client answers: that is a flow the other way, which came
/// in by the interface where the first one's answers do.
#[test]
fn a_flow_that_turned_round_came_in_on_the_other_side() {
    const WAN0: u32 = 3;
    for hook in INGRESS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            rig.come_in_by(Some("lan0"));
            let denied = denied().in_state(State::Established);
            for (port, beyond, expected) in
                [(40_000, WAN0, passes(State::SynReceived)), (40_001, 0, denied)]
            {
                let talk = Conversation::established(&mut rig, family, port, 80);
                note_beyond(&rig, family, port, beyond);
                let (seq, ack) = (talk.server_next().wrapping_add(1 << 30), talk.client_next());
                let syn = talk.as_server("S").seq(seq).ack(0);
                rig.expect("the server's SYN", &syn, passes(State::Established));
                let answer = talk.as_client("SA").seq(ack).ack(seq.wrapping_add(1));
                rig.expect(&format!("the answer to {port}"), &answer, expected);
            }
            rig.events();
        }
    }
}

#[test]
fn what_the_gateway_sends_came_in_by_none() {
    let mut rig = Rig::new(POLICY, Hook::Egress);
    for family in FAMILIES {
        for by in [Some("lan0"), Some("lan1"), None] {
            rig.come_in_by(by);
            rig.expect("it leaves by a lan", &family.tcp(1_000, 80), denied());
            rig.expect("it leaves by a lan", &family.udp(1_000, 53), denied());
        }
        let of_prefix = lab::Packet::tcp(family.camera_at(1_000), family.client_at(80));
        rig.expect("a source of a prefix", &of_prefix, passes(State::SynSent));
        rig.events();
    }
}

/// What the gateway itself sends may go out, whatever its address is; and no interface passes for it.
#[test]
fn what_the_gateway_sends_is_told_from_what_comes_in() {
    let own = "[[rule]]\nname = \"its own\"\naction = \"allow\"\ninterface = [\"self\"]\n";
    let policy = format!("{POLICY}{own}");
    for hook in INGRESS {
        let mut rig = Rig::new(&policy, hook);
        for family in FAMILIES {
            for by in [Some("lan0"), Some("lan1"), Some("wan0")] {
                rig.come_in_by(by);
                rig.expect("it comes in", &family.tcp(1_000, 443), denied());
            }
            rig.events();
        }
    }
    let mut rig = Rig::new(&policy, Hook::Egress);
    for family in FAMILIES {
        for (by, port) in [(Some("lan0"), 1_000), (Some("wan0"), 1_001)] {
            rig.come_in_by(by);
            rig.expect("its own", &family.tcp(port, 443), passes(State::SynSent));
            rig.expect("its own", &family.udp(port, 53), passes(State::Unreplied));
        }
        rig.events();
    }
}
