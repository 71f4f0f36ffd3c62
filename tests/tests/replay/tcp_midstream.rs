//! Connections whose beginning was not seen: where the policy or the one who switched the firewall on lets them
//! pass, and what is held against them.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::replaying::{Conversation, FAMILIES, Rig, STEP_NS, drops, passes};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];
const PORT: u16 = 80;
const GATEWAY: &str = "[gateway]\ninterfaces = [\"lan0\"]\ndefault = \"allow\"\n";
const ASYMMETRIC: &str = "[[asymmetric]]\nprefixes = [\"10.1.0.0/24\", \"fd00:1::/64\"]\n";

#[test]
fn a_gateway_that_monitors_tells_of_it_once_and_lets_it_pass() {
    for hook in HOOKS {
        let mut rig = Rig::new(&format!("{GATEWAY}new_flow = \"monitor\"\n"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            let midstream = passes(State::Midstream);
            rig.expect("an ACK", &talk.client_sends("A", b""), midstream);
            let events = rig.events();
            let [event] = &events[..] else { panic!("one event, not {events:#?}") };
            assert_eq!(event.event, "filter_finding");
            assert_eq!(event.reason.as_deref(), Some("FWX_E_TCP_NOT_SYN_PACKET_DROPPED"));
            assert!(event.adopted && event.flow_id.is_some(), "{event:#?}");
            assert_eq!(rig.count(Reason::TcpNotSyn), 0, "what passes is no drop");

            rig.expect("data", &talk.client_sends("PA", b"data"), midstream);
            assert_eq!(rig.events(), [], "it is told once");
            let reply = talk.server_sends("PA", b"reply");
            rig.expect("the other end", &reply, passes(State::Established));
            let opened = rig.events_of("connection_opened");
            assert!(opened.len() == 1 && opened[0].adopted, "{opened:#?}");
        }
    }
}

#[test]
fn one_direction_alone_stays_in_its_midst() {
    let mut rig = Rig::new(&format!("{GATEWAY}new_flow = \"monitor\"\n"), Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        for _ in 0..40 {
            let data = talk.client_sends("PA", &[7; 100]);
            rig.expect("data", &data, passes(State::Midstream));
        }
        rig.expect(
            "a RST is for its receiver to judge",
            &talk.as_client("R"),
            passes(State::Midstream),
        );
    }
}

#[test]
fn what_was_learnt_is_held_against_it() {
    for hook in HOOKS {
        let mut rig = Rig::new(&format!("{GATEWAY}new_flow = \"monitor\"\n"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            rig.expect("an ACK", &talk.client_sends("A", b""), passes(State::Midstream));
            let lives = passes(State::Established);
            for _ in 0..20 {
                rig.expect("reply", &talk.server_sends("PA", b"reply"), lives);
                rig.expect("data", &talk.client_sends("PA", b"data"), lives);
                rig.expect("its ACK", &talk.server_sends("A", b""), lives);
            }
            // The scale was not seen, so the window is taken for the widest there is.
            let beyond = talk.as_client("PA").seq(talk.client_next().wrapping_add(3 << 29));
            let refused = drops(Reason::SeqAckMismatch).in_state(State::Established);
            rig.expect("a guess", &beyond.payload(b"x"), refused);
            let reset = talk.as_client("R").seq(talk.client_next().wrapping_add(1));
            rig.expect("a RST that is not exact", &reset, refused);
            rig.expect("one that is", &talk.as_client("R"), passes(State::Closed));
        }
    }
}

#[test]
fn connections_are_adopted_until_the_time_is_up() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let segments = [40_000, 40_001, 40_002, 40_003].map(|port| {
                let talk = Conversation::new(family, port, PORT);
                [talk.as_client("A"), talk.as_client("R"), talk.as_client("SA")]
            });
            let [[ack, reset, _], [_, _, answer], [late, ..], [later, ..]] = &segments;
            let adopt = |rig: &Rig, until| rig.tables().adopt_until(until).expect("a write");
            adopt(&rig, 0);
            rig.expect("before it", ack, drops(Reason::TcpNotSyn));
            adopt(&rig, rig.now() + 3 * STEP_NS + 1);
            rig.expect("a RST begins nothing", reset, drops(Reason::TcpNotSyn));
            rig.events();
            rig.expect("an ACK", ack, passes(State::Midstream));
            rig.expect("at the last nanosecond", answer, passes(State::Midstream));
            assert_eq!(rig.events(), [], "it was asked for");
            adopt(&rig, rig.now() + STEP_NS);
            rig.expect("one later", late, drops(Reason::TcpNotSyn));
            rig.expect("and then", later, drops(Reason::TcpNotSyn));
            rig.expect("what was adopted lives", ack, passes(State::Midstream));
        }
    }
}

#[test]
fn nothing_is_held_against_what_goes_another_way_back() {
    for hook in HOOKS {
        let mut rig = Rig::new(&format!("{GATEWAY}{ASYMMETRIC}"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::new(family, 40_000, PORT);
            let midstream = passes(State::Midstream);
            rig.expect("a SYN", &talk.syn(), midstream);
            rig.expect("an ACK without an answer", &talk.client_sends("A", b""), midstream);
            let far = talk.as_client("PA").seq(talk.client_next().wrapping_add(1 << 31));
            rig.expect("anything", &far.payload(b"x"), midstream);
            assert_eq!(rig.events(), [], "the policy says so");

            let talk = Conversation::new(family, 40_001, PORT);
            rig.expect("a segment in its midst", &talk.as_client("PA").payload(b"x"), midstream);
            rig.expect("the other end", &talk.as_server("A"), passes(State::Established));
            let far = talk.as_server("A").seq(talk.server_next().wrapping_add(1 << 31));
            rig.expect("anything", &far, passes(State::Established));
            let impossible = drops(Reason::IpHalfScan).in_state(State::Established);
            rig.expect("but no nonsense", &talk.as_client("SF"), impossible);
            let reset = talk.as_server("R").seq(talk.server_next().wrapping_add(1 << 30));
            rig.expect("a RST from anywhere", &reset, passes(State::Established));

            let other =
                lab::Packet::tcp((family.stranger(), 40_000).into(), family.camera_at(PORT));
            rig.expect("of others", &other.flags("A"), drops(Reason::TcpNotSyn));
            rig.events();
        }
    }
}
