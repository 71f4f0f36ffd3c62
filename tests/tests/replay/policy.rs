//! What the policy says about a new flow: by default, by network, by protocol; and what a reject looks like
//! to the one who asked.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Mac, Packet,
    replaying::{
        Conversation, Expected, FAMILIES, Family, Rig, drops, passes, rejects, resets,
        with_partial_checksum,
    },
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"

[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[network.branch]
prefixes = ["10.2.0.0/24", "fd00:2::/64"]

[network.camera-to-hide]
prefixes = ["10.2.0.66/32", "fd00:2::42/128"]

[protocol.rtsp]
transport = "tcp"
ports = [554, "8000-8010"]

[protocol.media]
transport = "udp"
ports = ["5000-6000"]

[[rule]]
name = "hidden"
action = "deny"
to = ["camera-to-hide"]

[[rule]]
name = "cameras"
action = "allow"
from = ["inside"]
to = ["branch"]
protocols = ["rtsp", "media"]

[[rule]]
name = "tell-the-others"
action = "reject"
from = ["inside"]
"#;

fn denied() -> Expected {
    drops(Reason::PolicyRulesDenied)
}

/// Rejected, and not TCP: see `reject.rs`.
fn told() -> Expected {
    rejects(Reason::PolicyRulesDenied)
}

fn rejected() -> Expected {
    resets(Reason::PolicyRulesDenied)
}

#[test]
fn the_first_rule_that_matches_decides_and_the_default_decides_the_rest() {
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let hidden = match family {
                Family::V4 => "10.2.0.66:554",
                Family::V6 => "[fd00:2::42]:554",
            };
            let hidden = hidden.parse().expect("an address");
            let stranger = (family.stranger(), 40_000).into();
            let (client, camera) = (family.client_at(40_000), family.camera_at(554));
            let allowed = passes(State::SynSent);
            for (shows, packet, expected, rule) in [
                ("a port of the protocol", family.tcp(1, 554), allowed, None),
                ("the first of a range", family.tcp(2, 8000), allowed, None),
                ("the last of a range", family.tcp(3, 8010), allowed, None),
                ("behind the range", family.tcp(4, 8011), rejected(), Some("tell-the-others")),
                ("UDP", family.udp(5, 5500), passes(State::Unreplied), None),
                ("the other transport", family.udp(6, 554), told(), Some("tell-the-others")),
                ("a hidden camera", Packet::tcp(client, hidden), denied(), Some("hidden")),
                ("the camera itself asks", Packet::tcp(camera, client), denied(), None),
                ("a stranger asks", Packet::tcp(stranger, camera), denied(), None),
                (
                    "an echo has no protocol of the policy",
                    Packet::echo_request(family.client(), family.camera(), 1, 1),
                    told(),
                    Some("tell-the-others"),
                ),
            ] {
                rig.expect(shows, &packet, expected);
                let events = rig.events();
                if expected == allowed || expected == passes(State::Unreplied) {
                    assert!(events.is_empty(), "{shows}: {events:?}");
                    continue;
                }
                let [event] = &events[..] else { panic!("{shows}: one event, not {events:?}") };
                assert_eq!(event.reason.as_deref(), Some("FWX_E_POLICY_RULES_DENIED"), "{shows}");
                assert_eq!(event.rule.as_deref(), rule, "{shows}");
                assert_eq!(event.interface.as_deref(), Some("lan0"), "{shows}");
                assert_eq!(event.flow_id, None, "{shows}");
            }
        }
    }
}

#[test]
fn rules_speak_about_new_flows_only() {
    let mut rig = Rig::new(POLICY, Hook::Xdp);
    for family in FAMILIES {
        // From the camera nothing may begin, and yet its answers pass.
        let mut talk = Conversation::established(&mut rig, family, 40_000, 554);
        let opened = rig.events_of("connection_opened");
        assert_eq!(opened[0].rule.as_deref(), Some("cameras"));
        assert_eq!(opened[0].protocol.as_deref(), Some("rtsp"));
        rig.expect("an answer", &talk.server_sends("A", b""), passes(State::Established));
        rig.expect("media", &family.udp(7000, 5000), passes(State::Unreplied));
        rig.expect("its answer", &family.udp_back(5000, 7000), passes(State::Assured));
        rig.expect("not to another port", &family.udp_back(5000, 7001), denied());
        rig.events();
    }
}

#[test]
fn a_rejected_syn_becomes_a_rst_to_its_sender() {
    const SEQ: u32 = u32::MAX;
    for hook in HOOKS {
        let mut rig = Rig::new(POLICY, hook);
        for family in FAMILIES {
            let (from, to) = (family.client_at(40_000), family.camera_at(22));
            let (there, here) = (Mac([2, 9, 9, 9, 9, 9]), Mac([2, 8, 8, 8, 8, 8]));
            let syn =
                || Packet::tcp(from, to).macs(here, there).seq(SEQ).tcp_options(&[2, 4, 5, 180]);
            // The SYN counts for one, so the answer's ack is one behind it.
            let rst = || {
                let rst = Packet::tcp(to, from).macs(there, here).flags("RA").seq(0).window(0);
                rst.ack(SEQ.wrapping_add(1))
            };
            let mut table = vec![
                ("a SYN", syn(), rst()),
                ("a SYN with data", syn().payload(b"fast"), rst().ack(SEQ.wrapping_add(5))),
                ("a SYN in a VLAN", syn().vlan(5), rst().vlan(5)),
                ("a SYN in QinQ", syn().qinq(5, 6), rst().qinq(5, 6)),
            ];
            match family {
                Family::V4 => {
                    let alert = [148, 4, 0, 0];
                    table.push(("options", syn().ip_options(&alert), rst().ip_options(&alert)));
                }
                Family::V6 => table.push((
                    "extension headers",
                    syn().hop_by_hop(&[5, 2, 0, 0]).destination_options(&[]),
                    rst().hop_by_hop(&[5, 2, 0, 0]).destination_options(&[]),
                )),
            }
            for (shows, syn, rst) in table {
                let outcome = rig.expect(shows, &syn, rejected());
                assert_eq!(outcome.frame, rst.build(), "{hook:?} {family:?}: {shows}");
            }

            // Ethernet's padding does not come back.
            let padded = [&syn().build()[..], &[0xff; 40]].concat();
            let outcome = rig.expect_frame("a padded SYN", &padded, rejected());
            assert_eq!(outcome.frame, rst().build(), "{hook:?} {family:?}");

            // XDP sends the frame as it is; behind traffic control the device finishes the checksum.
            let unfinished = with_partial_checksum(&syn().build());
            let outcome =
                rig.expect_frame("a SYN as a local stack sends it", &unfinished, rejected());
            let expected = match hook {
                Hook::Xdp => rst().build(),
                Hook::Tc | Hook::Egress => with_partial_checksum(&rst().build()),
            };
            assert_eq!(outcome.frame, expected, "{hook:?} {family:?}");
        }
    }
}

#[test]
fn what_begins_no_flow_is_not_told_of_a_reject() {
    let mut rig = Rig::new(POLICY, Hook::Xdp);
    for family in FAMILIES {
        let ack = family.tcp(40_000, 22).flags("A");
        rig.expect("a lone ACK is no new flow", &ack, drops(Reason::TcpNotSyn));
    }
}

#[test]
fn without_a_policy_in_the_tables_nothing_passes() {
    use aya::maps::{Array, MapData};
    use firewall_common::policy::InForce;
    let mut rig = Rig::open(Hook::Xdp);
    let mut in_force: Array<MapData, InForce> = rig.tables().open("POLICY").expect("the table");
    let there = in_force.get(&0, 0).expect("a read");
    in_force.set(0, InForce { slot: 1 - there.slot, ..there }, 0).expect("a write");
    for family in FAMILIES {
        let syn = family.tcp(40_000, 80);
        rig.expect("a slot without a policy", &syn, drops(Reason::NoPolicy));
    }
}
