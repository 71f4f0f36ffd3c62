//! How long what was opened stays so: the session's life, and what is left of it when its connection ends.

use std::net::IpAddr;

use firewall_common::{
    flow::{State, Timeout, Timeouts},
    reason::Reason,
};
use lab::{
    policy,
    replaying::{Conversation, FAMILIES, Family, RTSP_PORT, Rig, drops, passes},
};

use super::{Control, GRACE_NS, HOOKS, MEDIA, OTHER, SECOND, begins, denied, goes_on, killed, rig};

#[test]
fn teardown_closes_its_session_and_no_other() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            control.sets_up(&mut rig, OTHER, "Session: two");
            MEDIA.flow(&mut rig, family);
            OTHER.flow(&mut rig, family);

            control.does(&mut rig, "PAUSE", &["Session: one"]);
            rig.expect("paused", &MEDIA.up(family), goes_on());
            control.asks(&mut rig, "TEARDOWN", &["Session: one"]);
            for (shows, packet) in [
                ("a flow of the session", MEDIA.up(family)),
                ("its other direction", MEDIA.down(family)),
                ("what had not begun", MEDIA.rtcp().up(family)),
                ("the same from the camera", MEDIA.rtcp().down(family)),
            ] {
                rig.expect(shows, &packet, denied());
            }
            control.grants(&mut rig, &["Session: one"]);
            rig.expect("the other session", &OTHER.down(family), goes_on());
            rig.expect("what had not begun of it", &OTHER.rtcp().down(family), begins());

            // A name may be used again.
            control.sets_up(&mut rig, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
        }
    }
}

#[test]
fn pause_closes_nothing() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
            control.does(&mut rig, "PAUSE", &["Session: one"]);
            rig.wait(50 * SECOND);
            rig.expect("the flow", &MEDIA.down(family), goes_on());
            rig.expect("what had not begun", &MEDIA.rtcp().down(family), begins());
        }
    }
}

#[test]
fn a_session_may_be_silent_for_its_timeout_and_no_longer() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            for (session, timeout) in [
                ("Session: one", 60),
                ("Session: one;timeout=90", 90),
                ("Session: one;timeout=7", 7),
                ("Session: one;timeout=100", 100),
            ] {
                Control::of_session(&mut rig, family, 40_000, MEDIA, session);
                rig.wait(timeout * SECOND);
                rig.expect("at the timeout", &MEDIA.up(family), begins());
                rig.wait(0);
                rig.expect("what had not begun", &MEDIA.rtcp().down(family), begins());
                rig.wait(1);
                rig.expect("a nanosecond later", &MEDIA.up(family), denied());
                rig.wait(0);
                rig.expect("back", &MEDIA.down(family), denied());
                rig.wait(0);
                rig.expect("what had not begun", &OTHER.rtcp().down(family), denied());
                // So that the next one's SYN is not of this connection.
                rig.wait(6 * 24 * 3600 * SECOND);
            }
        }
    }
}

#[test]
fn a_sign_of_life_begins_the_timeout_anew() {
    type Sign = fn(&mut Rig, Family, &mut Control);
    let signs: [(&str, Sign); 6] = [
        ("a request with the session", |rig, _, control| {
            control.asks(rig, "GET_PARAMETER", &["Session: one"]);
        }),
        ("a reply with the session", |rig, _, control| {
            control.grants(rig, &["Session: one"]);
        }),
        ("a keep-alive without a session", |rig, _, control| control.asks(rig, "OPTIONS", &[])),
        ("a keep-alive of the other kind", |rig, _, control| {
            control.asks(rig, "GET_PARAMETER", &[]);
        }),
        ("media of the camera", |rig, family, _| {
            rig.expect("media", &MEDIA.down(family), goes_on());
        }),
        ("media of the client", |rig, family, _| {
            rig.expect("media", &MEDIA.up(family), goes_on());
        }),
    ];
    // The flow itself may be silent for longer than its session.
    let policy = policy::rtsp_alone(&["lan0"], "enforce");
    let policy = format!("{policy}\n[timeouts]\nudp_stream = 600\n");
    for hook in HOOKS {
        for family in FAMILIES {
            let mut rig = Rig::new(&policy, hook);
            for (port, (shows, sign)) in (40_000..).zip(signs) {
                let mut control =
                    Control::of_session(&mut rig, family, port, MEDIA, "Session: one");
                MEDIA.flow(&mut rig, family);
                for _ in 0..3 {
                    rig.wait(50 * SECOND);
                    sign(&mut rig, family, &mut control);
                }
                rig.wait(60 * SECOND);
                rig.expect(shows, &MEDIA.up(family), goes_on());
                // That was one too.
                rig.wait(60 * SECOND + 1);
                rig.expect(shows, &MEDIA.up(family), denied());
            }
        }
    }
}

#[test]
fn what_is_no_sign_of_life_begins_nothing_anew() {
    type Sign = fn(&mut Rig, Family, &mut Control);
    let signs: [(&str, Sign); 4] = [
        ("another session", |rig, _, control| {
            control.asks(rig, "GET_PARAMETER", &["Session: two"]);
        }),
        ("a request that keeps nothing alive", |rig, _, control| {
            control.asks(rig, "DESCRIBE", &[]);
        }),
        ("an acknowledgment", |rig, _, control| {
            let ack = control.talk.client_sends("A", b"");
            rig.expect("an ACK", &ack, passes(State::Established));
        }),
        ("what is refused", |rig, family, _| {
            let other = family.udp(MEDIA.client, MEDIA.server + 2);
            rig.expect("another port", &other, denied());
        }),
    ];
    for hook in HOOKS {
        for family in FAMILIES {
            let mut rig = rig(hook);
            for (port, (shows, sign)) in (40_000..).zip(signs) {
                let mut control =
                    Control::of_session(&mut rig, family, port, MEDIA, "Session: one");
                rig.wait(50 * SECOND);
                sign(&mut rig, family, &mut control);
                rig.wait(10 * SECOND);
                rig.expect(shows, &MEDIA.up(family), begins());
                rig.wait(1);
                rig.expect(shows, &MEDIA.down(family), denied());
            }
        }
    }
}

#[test]
fn a_session_that_has_ended_does_not_come_back() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
            rig.wait(60 * SECOND + 1);
            control.does(&mut rig, "OPTIONS", &[]);
            control.does(&mut rig, "GET_PARAMETER", &["Session: one"]);
            rig.expect("it was silent for too long", &MEDIA.up(family), denied());

            control.sets_up(&mut rig, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
            control.is_killed(&mut rig);
            let mut second = Control::begin(&mut rig, family, 40_001);
            second.does(&mut rig, "GET_PARAMETER", &["Session: one"]);
            rig.expect("it was killed", &MEDIA.rtcp().up(family), denied());
            second.sets_up(&mut rig, OTHER, "Session: one");
            OTHER.flow(&mut rig, family);
        }
    }
}

/// How a connection ends. What it does last begins the grace.
type Ending = fn(&mut Rig, &mut Control);

const ENDINGS: [(&str, Ending); 4] = [
    ("closed", |rig, control| control.closes(rig)),
    ("reset", |rig, control| {
        let reset = control.talk.server_sends("RA", b"");
        rig.expect("a RST", &reset, passes(State::Closed));
    }),
    ("expired", |rig, control| {
        rig.wait(ESTABLISHED * SECOND + 1);
        let late = control.talk.client_sends("A", b"");
        rig.expect("its flow expired", &late, drops(Reason::TcpNotSyn));
    }),
    ("pushed out", |rig, control| is_pushed_out(rig, control)),
];

/// The sweep finds that a connection is not in its table any more.
fn is_pushed_out(rig: &mut Rig, control: &mut Control) {
    let packet = control.talk.client_sends("A", b"");
    let id = rig.expect("it lives", &packet, passes(State::Established)).flow_id;
    rig.commander().forget(id, rig.now()).unwrap();
}

/// Seconds that a connection may be silent in the policy of these tests.
const ESTABLISHED: u64 = 20;

#[test]
fn what_a_connection_announced_outlives_it_for_the_grace_and_no_longer() {
    let policy = policy::rtsp_alone(&["lan0"], "enforce");
    let policy = format!("{policy}\n[timeouts]\nestablished = {ESTABLISHED}\n");
    for hook in HOOKS {
        for family in FAMILIES {
            let mut rig = Rig::new(&policy, hook);
            for (port, (shows, ending)) in (40_000..).zip(ENDINGS) {
                let session = "Session: one;timeout=90";
                let mut control = Control::of_session(&mut rig, family, port, MEDIA, session);
                MEDIA.flow(&mut rig, family);
                ending(&mut rig, &mut control);
                rig.wait(GRACE_NS - 1);
                rig.expect(shows, &MEDIA.down(family), goes_on());
                rig.wait(0);
                rig.expect(shows, &MEDIA.rtcp().down(family), begins());
                rig.wait(1);
                for ports in [MEDIA, MEDIA.rtcp()] {
                    rig.expect(shows, &ports.down(family), denied());
                    rig.wait(0);
                    rig.expect(shows, &ports.up(family), denied());
                    rig.wait(0);
                }
            }
        }
    }
}

#[test]
fn a_kill_ends_at_once_what_the_connection_announced() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            control.sets_up(&mut rig, OTHER, "Session: two");
            MEDIA.flow(&mut rig, family);
            OTHER.flow(&mut rig, family);
            let kill = control.is_killed(&mut rig);

            let dead = drops(Reason::KilledFlow).in_state(State::Killed);
            for packet in
                [MEDIA.down(family), MEDIA.up(family), OTHER.down(family), OTHER.up(family)]
            {
                rig.wait(0);
                let outcome = rig.expect("media of a killed session", &packet, dead);
                let event = rig.events().pop().expect("the drop is told");
                assert_eq!(event.event, "packet_dropped");
                assert_eq!(event.reason.as_deref(), Some("FWX_E_KILLED_FLOW_PACKET_DROPPED"));
                assert_eq!(event.caused_by, Some(kill.event_id), "{event:#?}");
                assert_eq!(event.flow_id, Some(outcome.flow_id));
            }
            rig.expect("what had not begun", &MEDIA.rtcp().down(family), denied());

            // A tombstone is forgotten as that of any flow.
            rig.wait(Timeouts::default().get(Timeout::Killed) + 5 * SECOND);
            rig.expect("long after", &MEDIA.down(family), denied());
        }
    }
}

#[test]
fn a_killed_flow_names_no_parent_but_its_own() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
            Control::of_session(&mut rig, family, 40_001, OTHER, "Session: two");
            OTHER.flow(&mut rig, family);
            let kill = control.is_killed(&mut rig);
            for _ in 0..2 {
                rig.expect("media of another connection", &OTHER.down(family), goes_on());
                rig.events();
                let dead = drops(Reason::KilledFlow).in_state(State::Killed);
                rig.expect("media of the killed one", &MEDIA.down(family), dead);
                let event = rig.events().pop().expect("the drop is told");
                assert_eq!(event.caused_by, Some(kill.event_id), "{event:#?}");
                assert!(event.parent.is_none() || event.parent == kill.flow_id, "{event:#?}");
            }
            rig.wait(6 * 24 * 3600 * SECOND);
        }
    }
}

#[test]
fn a_second_connection_takes_a_session_up() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let session = "Session: one;timeout=90";
            let mut first = Control::of_session(&mut rig, family, 40_000, MEDIA, session);
            MEDIA.flow(&mut rig, family);
            first.closes(&mut rig);
            rig.wait(GRACE_NS - SECOND);
            let mut second = Control::begin(&mut rig, family, 40_001);
            second.does(&mut rig, "GET_PARAMETER", &["Session: one"]);
            for _ in 0..3 {
                rig.wait(60 * SECOND);
                rig.expect("it goes on", &MEDIA.down(family), goes_on());
            }
            // It is the second one's now, and ends with it, and not a second time.
            let kill = second.is_killed(&mut rig);
            let dead = drops(Reason::KilledFlow).in_state(State::Killed);
            rig.expect("its media", &MEDIA.down(family), dead);
            let event = rig.events().pop().expect("the drop is told");
            assert_eq!((event.caused_by, event.parent), (Some(kill.event_id), kill.flow_id));
            rig.commander().forget(kill.flow_id.unwrap(), rig.now()).unwrap();
            rig.expect("its media", &MEDIA.up(family), dead);
            rig.wait(6 * 24 * 3600 * SECOND);
        }
    }
}

#[test]
fn the_connection_that_a_session_left_ends_without_it() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let session = "Session: one;timeout=90";
            let mut first = Control::of_session(&mut rig, family, 40_000, MEDIA, session);
            MEDIA.flow(&mut rig, family);
            let mut second = Control::begin(&mut rig, family, 40_001);
            second.does(&mut rig, "GET_PARAMETER", &["Session: one"]);
            first.is_killed(&mut rig);
            rig.expect("it is not of the first", &MEDIA.up(family), goes_on());
            rig.wait(GRACE_NS);
            rig.expect("nor has it ended", &MEDIA.up(family), goes_on());
            second.does(&mut rig, "TEARDOWN", &["Session: one"]);
            rig.expect("it ends by the second", &MEDIA.up(family), denied());
        }
    }
}

/// Another host of the client's network.
fn neighbour(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 1, 0, 3].into(),
        Family::V6 => [0xfd00, 1, 0, 0, 0, 0, 0, 3].into(),
    }
}

#[test]
fn nobody_else_moves_a_session_by_its_name() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            MEDIA.flow(&mut rig, family);
            let at = (neighbour(family), 40_000).into();
            let talk = Conversation::between(at, family.camera_at(RTSP_PORT));
            let mut other = Control::over(&mut rig, talk);
            other.does(&mut rig, "TEARDOWN", &["Session: one"]);
            rig.expect("it is not torn down", &MEDIA.up(family), goes_on());
            other.does(&mut rig, "GET_PARAMETER", &["Session: one"]);
            other.is_killed(&mut rig);
            rig.expect("nor taken up", &MEDIA.up(family), goes_on());
        }
    }
}

#[test]
fn a_flow_that_was_announced_has_a_state_and_a_timeout_of_its_own_and_names_its_parent() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control =
                Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one;timeout=600");
            let asks = control.talk.client_sends("A", b"");
            let parent = rig.expect("an ACK", &asks, passes(State::Established)).flow_id;
            let timeouts = Timeouts::default();
            rig.events();

            let alone = rig.expect("it begins", &MEDIA.up(family), begins()).flow_id;
            rig.wait(timeouts.get(Timeout::Udp));
            let same = rig.expect("at its timeout", &MEDIA.up(family), begins()).flow_id;
            assert_eq!(same, alone);
            rig.wait(timeouts.get(Timeout::Udp) + 1);
            let next = rig.expect("a nanosecond later", &MEDIA.up(family), begins()).flow_id;
            assert_ne!(next, alone);

            rig.expect("its answer", &MEDIA.down(family), goes_on());
            let opened = rig.events_of("connection_opened");
            let [opened] = opened.as_slice() else { panic!("{opened:#?}") };
            assert_eq!((opened.flow_id, opened.parent), (Some(next), Some(parent)));
            assert_eq!(opened.rule.as_deref(), Some("cameras"), "the rule of its parent");

            rig.wait(timeouts.get(Timeout::UdpStream));
            let same = rig.expect("at its timeout", &MEDIA.down(family), goes_on()).flow_id;
            assert_eq!(same, next);
            rig.wait(timeouts.get(Timeout::UdpStream) + 1);
            let third = rig.expect("a nanosecond later", &MEDIA.down(family), begins()).flow_id;
            assert_ne!(third, next);

            // What belongs to no connection has no parent.
            rig.events();
            rig.expect("not announced", &OTHER.up(family), denied());
            assert_eq!(rig.events().pop().expect("it is told").parent, None);
        }
    }
}

#[test]
fn a_kill_of_one_session_by_its_sender_is_not_of_others() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut first = Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            Control::of_session(&mut rig, family, 40_001, OTHER, "Session: two");
            MEDIA.flow(&mut rig, family);
            OTHER.flow(&mut rig, family);
            let bad = first.talk.server_sends("PA", super::NOT_RTSP);
            rig.expect("the camera's offence", &bad, killed());
            rig.expect("the other connection's", &OTHER.up(family), goes_on());
            let dead = drops(Reason::KilledFlow).in_state(State::Killed);
            rig.expect("its own", &MEDIA.up(family), dead);
        }
    }
}
