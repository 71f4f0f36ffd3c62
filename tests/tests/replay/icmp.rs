//! ICMP: echoes that were asked for, and errors about packets of a known flow.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{Conversation, FAMILIES, Family, Rig, drops, passes},
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;
const WHOLE: usize = usize::MAX;

/// The types of the errors of a family.
fn errors(family: Family) -> &'static [u8] {
    match family {
        Family::V4 => &[3, 11, 12],
        Family::V6 => &[1, 2, 3, 4],
    }
}

/// An error of a router, to the client.
fn error(family: Family, kind: u8) -> Packet {
    Packet::icmp(family.stranger(), family.client(), kind, 0, 1280)
}

fn unrelated() -> lab::replaying::Expected {
    drops(Reason::IcmpUnrelated)
}

#[test]
fn an_error_about_a_known_flow_passes() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let segment = talk.client_sends("PA", b"too big");
            rig.expect("data", &segment, passes(State::Established));
            let udp = family.udp(5_000, 6_000).payload(b"hello");
            rig.expect("UDP", &udp, passes(State::Unreplied));
            let echo = Packet::echo_request(family.client(), family.camera(), 7, 1);
            rig.expect("echo", &echo, passes(State::Unreplied));
            for kind in errors(family) {
                for (shows, quoted, state) in [
                    ("about TCP", &segment, State::Established),
                    ("about UDP", &udp, State::Unreplied),
                    ("about an echo", &echo, State::Unreplied),
                ] {
                    let error = error(family, *kind).quoting(quoted, WHOLE);
                    let shows = format!("{shows}, type {kind}");
                    let outcome = rig.expect(&shows, &error, passes(state));
                    assert_eq!(outcome.direction.name(), "reply", "{shows}");
                }
            }
        }
    }
}

#[test]
fn an_error_about_no_known_flow_is_refused() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for kind in errors(family) {
                for quoted in [
                    family.tcp(40_000, PORT),
                    family.udp(5_000, 6_000),
                    Packet::echo_request(family.client(), family.camera(), 7, 1),
                ] {
                    let error = error(family, *kind).quoting(&quoted, WHOLE);
                    rig.expect(&format!("type {kind}"), &error, unrelated());
                }
            }
        }
    }
}

#[test]
fn an_error_about_a_number_that_was_not_sent_is_a_guess() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let segment = talk.client_sends("PA", b"too big");
            rig.expect("data", &segment, passes(State::Established));
            let next = talk.client_next();
            let guess = unrelated().in_state(State::Established);
            for kind in errors(family) {
                for (shows, seq, expected) in [
                    ("what was sent last", next.wrapping_sub(7), passes(State::Established)),
                    ("the next number", next, passes(State::Established)),
                    ("one ahead", next.wrapping_add(1), guess),
                    ("far ahead", next.wrapping_add(1 << 30), guess),
                    ("more than any window ago", next.wrapping_sub((1 << 30) + 1), guess),
                ] {
                    let quoted = segment.clone().seq(seq);
                    let error = error(family, *kind).quoting(&quoted, WHOLE);
                    rig.expect(&format!("{shows}, type {kind}"), &error, expected);
                }
            }
            rig.expect("it lives", &talk.as_server("A"), passes(State::Established));
        }
    }
}

#[test]
fn eight_bytes_of_the_quoted_transport_header_are_enough() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let talk = Conversation::established(&mut rig, family, 40_000, PORT);
        let segment = talk.as_client("A");
        let ip_header = if family == Family::V4 { 20 } else { 40 };
        for len in 0..=ip_header + 20 {
            let error = error(family, errors(family)[0]).quoting(&segment, len);
            let expected =
                if len < ip_header + 8 { unrelated() } else { passes(State::Established) };
            rig.expect(&format!("{len} bytes"), &error, expected);
        }
    }
}

#[test]
fn a_quoted_fragment_without_ports_belongs_to_nothing() {
    const ETHERNET: usize = 14;
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let udp = family.udp(5_000, 6_000).payload([7; 100]).identification(1);
        rig.expect("a datagram", &udp, passes(State::Unreplied));
        let first = &udp.build_fragment(0..40)[ETHERNET..];
        let later = &udp.build_fragment(40..80)[ETHERNET..];
        let error = error(family, errors(family)[0]);
        let about_first = error.clone().payload(first);
        rig.expect("about the first", &about_first, passes(State::Unreplied));
        rig.expect("about a later one", &error.payload(later), unrelated());
    }
}

#[test]
fn an_error_keeps_no_flow_alive_and_ends_none() {
    const SECOND: u64 = 1_000_000_000;
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let udp = family.udp(5_000, 6_000);
        rig.expect("a datagram", &udp, passes(State::Unreplied));
        let error = error(family, errors(family)[0]).quoting(&udp, WHOLE);
        rig.wait(30 * SECOND);
        rig.expect("an error at its timeout", &error, passes(State::Unreplied));
        rig.wait(1);
        rig.expect("a nanosecond later", &error, unrelated());
    }
}

#[test]
fn an_echo_reply_has_to_be_asked_for() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let (client, camera) = (family.client(), family.camera());
            let reply = Packet::echo_reply(camera, client, 7, 1);
            rig.expect("a reply to nothing", &reply, unrelated());
            let request = Packet::echo_request(client, camera, 7, 1);
            let first = rig.expect("a request", &request, passes(State::Unreplied)).flow_id;
            let other = Packet::echo_reply(camera, client, 8, 1);
            rig.expect("a reply to another", &other, unrelated());
            let own = Packet::echo_reply(client, camera, 7, 1);
            rig.expect("a reply of the one who asked", &own, unrelated());
            let back = Packet::echo_request(camera, client, 7, 1);
            let second = rig.expect("a request back", &back, passes(State::Unreplied)).flow_id;
            assert_ne!(first, second, "{hook:?} {family:?}: a flow of its own");
            rig.expect("the reply", &reply, passes(State::Assured));
            rig.expect("the reply the other way", &own, passes(State::Assured));
        }
    }
}

/// A known flow is no key to other hosts (CVE-2019-5598).
#[test]
fn an_error_goes_to_the_sender_of_what_it_quotes_and_to_nobody_else() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            let segment = talk.client_sends("PA", b"too big");
            rig.expect("data", &segment, passes(State::Established));
            for kind in errors(family) {
                let astray = Packet::icmp(family.stranger(), family.camera(), *kind, 0, 1280);
                let shows = format!("type {kind} to the receiver");
                rig.expect(&shows, &astray.quoting(&segment, WHOLE), unrelated());
                let right = error(family, *kind).quoting(&segment, WHOLE);
                rig.expect("to the sender", &right, passes(State::Established));
            }
        }
    }
}
