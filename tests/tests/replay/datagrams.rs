//! UDP, ICMP echo and other protocols: one direction seen, then both; and what passes without a flow.

use aya::maps::{HashMap, MapData};
use firewall_common::{
    flow::{Flow, State},
    reason::Reason,
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const DENY: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"deny\"\n";

#[test]
fn udp_and_echo_are_tracked_until_both_ends_were_seen() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let (client, camera) = (family.client(), family.camera());
            for (what, there, back) in [
                ("UDP", family.udp(5_000, 6_000), family.udp_back(6_000, 5_000)),
                (
                    "echo",
                    Packet::echo_request(client, camera, 7, 1),
                    Packet::echo_reply(camera, client, 7, 1),
                ),
                ("GRE", Packet::other(client, camera, 47), Packet::other(camera, client, 47)),
            ] {
                let (there, back) = (there.payload([0; 40]), back.payload([0; 40]));
                let first = rig.expect(what, &there, passes(State::Unreplied));
                let again = rig.expect(what, &there, passes(State::Unreplied));
                let reply = rig.expect(what, &back, passes(State::Assured));
                let last = rig.expect(what, &there, passes(State::Assured));
                let flows = [first.flow_id, again.flow_id, reply.flow_id, last.flow_id];
                assert_eq!(flows, [first.flow_id; 4], "{what}: it is one flow");
                assert_ne!(first.flow_id, 0, "{what}");
                let directions = [first, again, reply, last].map(|o| o.direction.name());
                assert_eq!(directions, ["original", "original", "reply", "original"], "{what}");
            }
        }
        let opened = rig.events_of("connection_opened");
        assert_eq!(opened.len(), 6, "a flow is told of when it has its answer: {opened:?}");
    }
}

#[test]
fn another_port_or_identifier_is_another_flow() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let (client, camera) = (family.client(), family.camera());
        let mut flows = Vec::new();
        for packet in [
            family.udp(5_000, 6_000),
            family.udp(5_001, 6_000),
            family.udp(5_000, 6_001),
            // The reply's ports do not fit the request's.
            family.udp_back(6_000, 5_002),
            Packet::echo_request(client, camera, 1, 1),
            Packet::echo_request(client, camera, 2, 1),
        ] {
            let outcome = rig.expect("a flow of its own", &packet, passes(State::Unreplied));
            flows.push(outcome.flow_id);
        }
        let distinct: std::collections::BTreeSet<_> = flows.iter().collect();
        assert_eq!(distinct.len(), flows.len(), "{flows:?}");
    }
}

#[test]
fn what_a_link_needs_passes_under_every_policy() {
    let (client, router) = ([10, 1, 0, 2].into(), [10, 1, 0, 1].into());
    let solicited = "ff02::1:ff00:2".parse().expect("an address");
    for hook in HOOKS {
        let mut rig = Rig::new(DENY, hook);
        let arp = Packet::arp_request(client, router);
        rig.expect("ARP", &arp, passes(State::None));
        rig.expect("ARP in a VLAN", &arp.clone().vlan(7), passes(State::None));
        for (shows, ether_type) in
            [("LLDP", 0x88cc_u16), ("spanning tree", 0x0026), ("EAPOL", 0x888e), ("PPPoE", 0x8864)]
        {
            let mut frame = arp.build();
            frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
            rig.expect_frame(shows, &frame, passes(State::None));
            // A header alone: there is nothing in it to look at.
            rig.expect_frame(shows, &frame[..14], passes(State::None));
        }
        for kind in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
            let shows = format!("ICMPv6 type {kind}");
            let signal = icmpv6(Family::V6.client(), solicited, kind);
            // RFC 4861 §7.1.1 and RFC 2710 §3: a router never lets these hop limits through.
            let hop_limit = if (133..=137).contains(&kind) { 255 } else { 1 };
            rig.expect(&shows, &signal.ttl(hop_limit), passes(State::None));
        }
        rig.expect(
            "a solicitation from another link",
            &icmpv6(Family::V6.client(), solicited, 135).ttl(254),
            drops(Reason::PolicyRulesDenied),
        );
        for (shows, error) in [
            ("ICMP unreachable", icmp(3)),
            ("ICMP time exceeded", icmp(11)),
            ("ICMP parameter problem", icmp(12)),
            ("ICMPv6 unreachable", icmpv6(Family::V6.camera(), Family::V6.client(), 1)),
            ("ICMPv6 packet too big", icmpv6(Family::V6.camera(), Family::V6.client(), 2)),
        ] {
            // They pass with their flow, and there is none.
            rig.expect(shows, &error, drops(Reason::IcmpUnrelated));
        }
        for (shows, other) in [
            ("an ICMP redirect is a flow like others", icmp(5)),
            ("an ICMP echo", Packet::echo_request(client.into(), router.into(), 1, 1)),
            ("ICMPv6 node information", icmpv6(Family::V6.camera(), Family::V6.client(), 139)),
        ] {
            rig.expect(shows, &other, drops(Reason::PolicyRulesDenied));
        }
        assert_eq!(rig.events().len(), 9, "only what was dropped is told");
    }
}

fn icmp(kind: u8) -> Packet {
    const ICMP: u8 = 1;
    let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0x45; 28]].concat();
    Packet::other(Family::V4.camera(), Family::V4.client(), ICMP).payload(body)
}

fn icmpv6(from: std::net::IpAddr, to: std::net::IpAddr, kind: u8) -> Packet {
    const ICMPV6: u8 = 58;
    let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
    Packet::other(from, to, ICMPV6).payload(body)
}

/// SCTP, GRE and ESP have no ports that are looked at: all between two hosts is one flow.
#[test]
fn other_protocols_are_tracked_by_their_addresses() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let (client, camera) = (family.client(), family.camera());
            let mut flows = Vec::new();
            for (what, protocol) in [("SCTP", 132), ("GRE", 47), ("ESP", 50)] {
                let there = |fill| Packet::other(client, camera, protocol).payload([fill; 24]);
                let first = rig.expect(what, &there(1), passes(State::Unreplied)).flow_id;
                let other = rig.expect(what, &there(2), passes(State::Unreplied)).flow_id;
                assert_eq!(first, other, "{what}: whatever stands where ports would");
                let back = Packet::other(camera, client, protocol).payload([3; 24]);
                let back = rig.expect(what, &back, passes(State::Assured)).flow_id;
                assert_eq!(first, back, "{what}: both ways");
                flows.push(first);
            }
            flows.dedup();
            assert_eq!(flows.len(), 3, "{hook:?} {family:?}: each protocol has its own");
        }
    }
}

#[test]
fn a_killed_flow_of_datagrams_stays_killed() {
    const KILL: u64 = 77 << 10;
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let (there, back) = (family.udp(5_000, 6_000), family.udp_back(6_000, 5_000));
            rig.expect("it begins", &there, passes(State::Unreplied));
            rig.expect("an answer", &back, passes(State::Assured));
            match family {
                Family::V4 => kill(rig.tables().flows_v4().expect("the table"), KILL),
                Family::V6 => kill(rig.tables().flows_v6().expect("the table"), KILL),
            }
            rig.events();
            let refused = drops(Reason::KilledFlow).in_state(State::Killed);
            for (shows, packet) in [("original", &there), ("reply", &back), ("again", &there)] {
                rig.expect(shows, packet, refused);
            }
            let causes: Vec<_> = rig.events().iter().map(|event| event.caused_by).collect();
            assert_eq!(causes, [Some(KILL); 3], "each drop leads back to the kill");
        }
    }
}

/// Leaves tombstones in the place of all flows of a table.
fn kill<K: aya::Pod>(mut table: HashMap<MapData, K, Flow>, event: u64) {
    let flows: Vec<_> = table.iter().collect::<Result<_, _>>().expect("they can be read");
    for (key, flow) in flows {
        let killed = Flow { state: State::Killed as u8, kin: event, ..flow };
        table.insert(key, killed, 0).expect("it is there");
    }
}
