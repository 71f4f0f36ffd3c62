//! Packets cut off at every length from 0 to 200 bytes: each is refused with a reason, counted once, and
//! nothing panics.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Expected, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
/// The longest cut.
const LONGEST: usize = 200;
const ETHERNET: usize = 14;

/// Good packets, each longer than the longest cut, and what becomes of them when they are whole.
fn packets() -> Vec<(&'static str, Packet, Expected)> {
    let mut packets = Vec::new();
    for family in FAMILIES {
        let syn = |port| family.tcp(port, 80).payload([7; LONGEST]);
        let opens = passes(State::SynSent);
        packets.extend([
            ("TCP with data", syn(1), opens),
            ("TCP with options", syn(2).tcp_options(&[1; 40]), opens),
            ("TCP in a VLAN", syn(3).vlan(5), opens),
            ("TCP in QinQ", syn(4).qinq(5, 6), opens),
            ("UDP", family.udp(5, 80).payload([7; LONGEST]), passes(State::Unreplied)),
            (
                "an echo",
                Packet::echo_request(family.client(), family.camera(), 6, 1).payload([7; LONGEST]),
                passes(State::Unreplied),
            ),
        ]);
    }
    let syn = |family: Family, port| family.tcp(port, 80).payload([7; LONGEST]);
    packets.extend([
        (
            "IPv4 options",
            syn(Family::V4, 10).ip_options(&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 148, 4, 0, 0]),
            passes(State::SynSent),
        ),
        (
            "IPv6 extension headers",
            syn(Family::V6, 10)
                .hop_by_hop(&[])
                .routing(4, 0, &[0; 20])
                .destination_options(&[1; 9]),
            passes(State::SynSent),
        ),
    ]);
    packets
}

#[test]
fn a_packet_cut_at_any_length_is_refused_and_counted_once() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for (shows, packet, whole) in packets() {
            let frame = packet.build();
            assert!(frame.len() > LONGEST, "{shows}: {} bytes are too few", frame.len());
            let before = rig.count(Reason::BadLength);
            for len in 0..=LONGEST {
                // The rig checks that one counter rose by one, or none for what no card delivers.
                let shows = format!("{shows}, {len} bytes");
                rig.expect_frame(&shows, &frame[..len], drops(Reason::BadLength));
            }
            let seen = (0..=LONGEST).filter(|len| rig.takes(&frame[..*len])).count() as u64;
            assert_eq!(rig.count(Reason::BadLength), before + seen, "{shows}");
            if hook == Hook::Xdp {
                assert_eq!(seen, (LONGEST + 1 - ETHERNET) as u64, "{shows}");
            }
            rig.expect_frame(shows, &frame, whole);
        }
    }
}

/// The other kind of cut: lengths that are true, and a packet that ends early.
#[test]
fn a_packet_that_ends_early_and_says_so_is_judged_by_what_it_has() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let ip_header = if family == Family::V4 { 20 } else { 40 };
            for (shows, packet, headers, whole) in [
                ("TCP", family.tcp(40_000, 80).payload([7; LONGEST]), 20, passes(State::SynSent)),
                (
                    "TCP with options",
                    family.tcp(40_000, 80).tcp_options(&[1; 40]).payload([7; LONGEST]),
                    60,
                    passes(State::SynSent),
                ),
                (
                    "an echo",
                    Packet::echo_request(family.client(), family.camera(), 1, 1)
                        .payload([7; LONGEST]),
                    8,
                    passes(State::Unreplied),
                ),
                (
                    "UDP, whose own length then lies",
                    family.udp(40_000, 80).payload([7; LONGEST]),
                    LONGEST + 8,
                    passes(State::Unreplied),
                ),
            ] {
                let frame = packet.build();
                for len in ETHERNET + ip_header..=LONGEST {
                    let cut = shortened(&frame[..len], family);
                    let is_whole = len >= ETHERNET + ip_header + headers;
                    let expected = if is_whole { whole } else { drops(Reason::BadLength) };
                    rig.expect_frame(&format!("{shows}, {len} bytes"), &cut, expected);
                }
            }
        }
    }
}

/// `frame` with its IP length field made true.
fn shortened(frame: &[u8], family: Family) -> Vec<u8> {
    let (at, counted_from) = match family {
        Family::V4 => (ETHERNET + 2, ETHERNET),
        Family::V6 => (ETHERNET + 4, ETHERNET + 40),
    };
    let mut frame = frame.to_vec();
    let len = (frame.len() - counted_from) as u16;
    frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
    frame
}
