//! Networks and rules that speak about the interface a flow comes in by.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::replaying::{Expected, FAMILIES, Rig, drops, passes};

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
