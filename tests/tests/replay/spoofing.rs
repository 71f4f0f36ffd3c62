//! Sources that cannot come in by their interface, by the policy's lists. What the routing table says of them is
//! tested in the lab (`lab_spoofing.rs`): a capture comes without routes.

use std::net::IpAddr;

use firewall_common::{flow::State, reason::Reason};
use firewall_user::{generation::Over, policy::Policy, replay::Hook};
use lab::{
    Packet,
    replaying::{Conversation, Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

/// A policy that lets everything in but what `anti_spoofing`, the section, is against. Packets come in by lan0.
fn policy(anti_spoofing: &str) -> String {
    format!(
        r#"[gateway]
interfaces = ["lan0", "wan0"]
default = "allow"

[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[network.host]
prefixes = ["10.1.0.9/32", "fd00:1::9/128"]

[anti_spoofing]
{anti_spoofing}
"#
    )
}

fn spoofed() -> Expected {
    drops(Reason::Spoofing)
}

/// A datagram from `source` to the camera.
fn from(family: Family, source: &str) -> Packet {
    let source: IpAddr = source.parse().expect("an address");
    Packet::udp((source, 5000).into(), family.camera_at(6000))
}

#[test]
fn an_interface_takes_what_is_in_its_list_and_nothing_else() {
    for hook in HOOKS {
        let mut rig = Rig::new(
            &policy("[anti_spoofing.sources]\nwan0 = [\"branch\"]\nlan0 = [\"inside\", \"host\"]"),
            hook,
        );
        for (family, source, may) in [
            (Family::V4, "10.1.0.0", true),
            (Family::V4, "10.1.0.2", true),
            (Family::V4, "10.1.0.9", true),
            (Family::V4, "10.1.0.255", true),
            (Family::V4, "10.0.255.255", false),
            (Family::V4, "10.1.1.0", false),
            (Family::V4, "10.2.0.3", false),
            (Family::V4, "0.0.0.0", false),
            (Family::V4, "255.255.255.255", false),
            (Family::V6, "fd00:1::", true),
            (Family::V6, "fd00:1::9", true),
            (Family::V6, "fd00:1::ffff:ffff:ffff:ffff", true),
            (Family::V6, "fd00:1:0:1::", false),
            (Family::V6, "fd00:0:ffff:ffff::", false),
            (Family::V6, "fd00:2::3", false),
            (Family::V6, "::", false),
            (Family::V6, "fe80::1", true),
        ] {
            let expected = if may { passes(State::Unreplied) } else { spoofed() };
            rig.expect(source, &from(family, source), expected);
        }
        let event = rig.events_of("packet_dropped").pop().expect("the last one is told");
        assert_eq!(event.reason.as_deref(), Some("FWX_E_FWE_SPOOFING_PACKET_DROPPED"));
    }
}

#[test]
fn nothing_of_a_spoofed_source_is_answered_whatever_the_rules_say() {
    let text = policy("[anti_spoofing.sources]\nlan0 = [\"inside\"]");
    let text =
        format!("{text}[[rule]]\nname = \"tell\"\naction = \"reject\"\nfrom = [\"branch\"]\n");
    for hook in HOOKS {
        let mut rig = Rig::new(&text, hook);
        for family in FAMILIES {
            rig.expect("UDP", &family.udp_back(1, 2), spoofed());
            let (camera, client) = (family.camera_at(1), family.client_at(2));
            rig.expect("a SYN", &Packet::tcp(camera, client), spoofed());
            let ack = Packet::tcp(camera, client).flags("A").ack(7);
            rig.expect("a segment of nothing", &ack, spoofed());
            let echo = Packet::echo_request(family.camera(), family.client(), 1, 1);
            rig.expect("an echo request", &echo, spoofed());
            let first = family.udp_back(3, 4).payload([7; 100]).identification(5);
            rig.expect_frame("a first fragment", &first.build_fragment(0..64), spoofed());
            let later = first.build_fragment(64..first.datagram_len());
            rig.expect_frame("a later one", &later, drops(Reason::FragmentDropped));
        }
    }
}

#[test]
fn a_fragmented_datagram_of_a_credible_source_passes_once() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy("[anti_spoofing.sources]\nlan0 = [\"inside\"]"), hook);
        for family in FAMILIES {
            let datagram = family.udp(3, 4).payload([7; 100]).identification(5);
            let [first, later] = [0..64, 64..datagram.datagram_len()];
            let first = datagram.build_fragment(first);
            rig.expect_frame("the first", &first, passes(State::Unreplied));
            let later = datagram.build_fragment(later);
            rig.expect_frame("a later one", &later, passes(State::None));
        }
    }
}

/// Who spoofs both ends of a connection would begin it anew in their name, or end it.
#[test]
fn a_syn_or_a_rst_of_a_known_connection_has_to_come_from_its_side() {
    let both = policy("[anti_spoofing.sources]\nlan0 = [\"inside\", \"branch\"]");
    let one = policy("[anti_spoofing.sources]\nlan0 = [\"inside\"]");
    let one = Policy::parse("test.toml", &one).expect("a policy").compile();
    for hook in HOOKS {
        let mut rig = Rig::new(&both, hook);
        let mut talks = FAMILIES.map(|it| Conversation::established(&mut rig, it, 40_000, 80));
        rig.tables().write_policy(&one, Over::Policy).expect("a write");
        rig.events();
        for talk in &mut talks {
            let of_the_flow = spoofed().in_state(State::Established);
            for flags in ["R", "RA", "S", "SA"] {
                let segment = talk.as_server(flags);
                rig.expect(flags, &segment, of_the_flow);
                let event = rig.events().pop().expect("it is told");
                assert!(event.flow_id.is_some(), "{flags}: it is told of which flow");
            }
            let data = talk.server_sends("PA", b"hello");
            rig.expect("data of the flow", &data, passes(State::Established));
            let data = talk.client_sends("PA", b"hello");
            rig.expect("data the other way", &data, passes(State::Established));
            let reset = talk.as_client("R");
            rig.expect("a RST from the right side", &reset, passes(State::Closed));
        }
    }
}

#[test]
fn an_interface_without_a_list_is_judged_by_the_mode() {
    let lists = "[anti_spoofing.sources]\nwan0 = [\"branch\"]";
    for hook in HOOKS {
        for (mode, martians) in
            [("off", passes(State::Unreplied)), ("loose", spoofed()), ("strict", spoofed())]
        {
            let mut rig = Rig::new(&policy(&format!("mode = \"{mode}\"\n{lists}")), hook);
            for (family, sources) in [
                (Family::V4, ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "250.1.2.3"]),
                (Family::V6, ["::", "::1", "::ffff:10.1.0.2", "ff02::1", "ff0e::9"]),
            ] {
                for source in sources {
                    rig.expect(&format!("{mode} {source}"), &from(family, source), martians);
                }
                rig.expect(mode, &family.udp(1, 2), passes(State::Unreplied));
            }
        }
    }
}

#[test]
fn who_has_no_address_yet_may_ask_for_one() {
    for hook in HOOKS {
        for section in [
            "[anti_spoofing.sources]\nlan0 = [\"inside\"]",
            "mode = \"strict\"",
            "mode = \"loose\"",
        ] {
            let mut rig = Rig::new(&policy(section), hook);
            let at = |address: &str, port: u16| (address.parse::<IpAddr>().unwrap(), port).into();
            let discover = Packet::udp(at("0.0.0.0", 68), at("255.255.255.255", 67));
            rig.expect("DHCP", &discover, passes(State::Unreplied));
            let solicit = Packet::udp(at("fe80::1", 546), at("ff02::1:2", 547));
            rig.expect("DHCPv6", &solicit, passes(State::Unreplied));
            let nobody = "::".parse().unwrap();
            let group = "ff02::1:ff00:2".parse().unwrap();
            // Type 135, hop limit 255: is the address free (RFC 4862 §5.4.2)?
            let solicitation = Packet::icmp(nobody, group, 135, 0, 0).ttl(255).payload([0xfd; 16]);
            rig.expect("a test for another's address", &solicitation, passes(State::None));
            let other = Packet::udp(at("0.0.0.0", 5000), at("255.255.255.255", 6000));
            rig.expect("any other datagram", &other, spoofed());
        }
    }
}

#[test]
fn what_goes_out_is_not_checked() {
    let text = policy("mode = \"strict\"\n[anti_spoofing.sources]\nlan0 = [\"inside\"]");
    let mut rig = Rig::new(&text, Hook::Egress);
    for family in FAMILIES {
        rig.expect("UDP", &family.udp_back(1, 2), passes(State::Unreplied));
    }
}
