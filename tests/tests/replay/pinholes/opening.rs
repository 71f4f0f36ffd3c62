//! What is opened, when, and for whom.

use firewall_common::{
    flow::State,
    layout::Counter,
    policy::{Mode, Profile},
};
use firewall_user::replay::Hook;
use lab::{
    Packet, policy,
    replaying::{FAMILIES, Family, Rig, passes},
};

use super::{Control, HOOKS, MEDIA, OTHER, Ports, begins, denied, goes_on, rig};

/// Datagrams that look like those of `ports` and were not announced.
fn strangers(family: Family, ports: Ports) -> Vec<(&'static str, Packet)> {
    let Ports { client, server } = ports;
    let (stranger, camera) = (family.stranger(), family.camera());
    let at = |address, port| std::net::SocketAddr::new(address, port);
    vec![
        ("below the server's ports", family.udp(client, server - 1)),
        ("above the server's ports", family.udp(client, server + 2)),
        ("below the client's ports", family.udp_back(server, client - 1)),
        ("above the client's ports", family.udp_back(server, client + 2)),
        ("RTP from the port of RTCP", family.udp(client + 1, server)),
        ("RTCP from the port of RTP", family.udp_back(server, client + 1)),
        ("from another port of the client", family.udp(client + 2, server)),
        ("from another port of the camera", family.udp_back(server - 1, client)),
        ("to the camera's port at the client", family.udp_back(client, server)),
        ("from another host", Packet::udp(at(stranger, server), family.client_at(client))),
        ("to another host", Packet::udp(family.client_at(client), at(stranger, server))),
        ("from another host to the camera", Packet::udp(at(stranger, client), at(camera, server))),
        ("a SYN of the client", family.tcp(client, server)),
        ("a SYN of the camera", Packet::tcp(at(camera, server), family.client_at(client))),
    ]
}

fn all_denied(rig: &mut Rig, packets: Vec<(&'static str, Packet)>) {
    for (shows, packet) in packets {
        rig.expect(shows, &packet, denied());
    }
}

#[test]
fn a_setup_opens_what_its_transport_says_and_nothing_else() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            control.asks(&mut rig, "SETUP", &[&MEDIA.wanted()]);
            for ports in [MEDIA, MEDIA.rtcp()] {
                let both =
                    [("before the reply", ports.up(family)), ("the same", ports.down(family))];
                all_denied(&mut rig, both.into());
            }
            control.grants(&mut rig, &[&MEDIA.granted(), "Session: one"]);
            control.sets_up(&mut rig, OTHER, "Session: one");
            for ports in [MEDIA, OTHER] {
                all_denied(&mut rig, strangers(family, ports));
            }

            // Either end may begin, with RTP as with RTCP.
            for (first, answer) in [
                (MEDIA.up(family), MEDIA.down(family)),
                (MEDIA.rtcp().down(family), MEDIA.rtcp().up(family)),
                (OTHER.down(family), OTHER.up(family)),
                (OTHER.rtcp().up(family), OTHER.rtcp().down(family)),
            ] {
                rig.expect("announced", &first, begins());
                rig.expect("its answer", &answer, goes_on());
            }
            for ports in [MEDIA, OTHER] {
                all_denied(&mut rig, strangers(family, ports));
            }
        }
        let counted = |counter| rig.tables().counter(counter).unwrap();
        // Of each family two sessions' RTP and RTCP, both ways.
        assert_eq!(counted(Counter::PinholesOpened), 16, "{hook:?}");
        assert_eq!(counted(Counter::PinholeFlows), 8, "{hook:?}");
        assert_eq!(counted(Counter::PinholesRefused), 0, "{hook:?}");
    }
}

#[test]
fn without_a_port_of_the_camera_only_it_may_begin_and_from_any_port() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            control.asks(&mut rig, "SETUP", &[&MEDIA.wanted()]);
            control.grants(&mut rig, &[&MEDIA.wanted(), "Session: one"]);
            for (shows, packet) in [
                ("RTP of the client", MEDIA.up(family)),
                ("RTCP of the client", MEDIA.rtcp().up(family)),
                ("another port of the client", family.udp_back(9_000, MEDIA.client + 2)),
                ("one below", family.udp_back(9_000, MEDIA.client - 1)),
            ] {
                rig.expect(shows, &packet, denied());
            }
            for port in [1, 9_000, MEDIA.server, 65_535] {
                for ports in [MEDIA, MEDIA.rtcp()] {
                    let ports = Ports { server: port, ..ports };
                    rig.expect("the camera begins", &ports.down(family), begins());
                    rig.expect("the client answers", &ports.up(family), goes_on());
                }
            }
        }
    }
}

#[test]
fn one_port_opens_no_second_one() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            let transport = "Transport: RTP/AVP;unicast;client_port=15000";
            control.asks(&mut rig, "SETUP", &[transport]);
            let granted = format!("{transport};server_port=16000");
            control.grants(&mut rig, &[&granted, "Session: one"]);
            rig.expect("RTCP", &MEDIA.rtcp().up(family), denied());
            rig.expect("RTCP back", &MEDIA.rtcp().down(family), denied());
            MEDIA.flow(&mut rig, family);
        }
    }
}

#[test]
fn nothing_is_open_before_the_reply_has_ended_however_it_is_cut() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut cuts = 0;
            for number in 0.. {
                let ports = Ports { client: 20_000 + 2 * number, server: 16_000 };
                let mut control = Control::begin(&mut rig, family, 30_000 + number);
                control.asks(&mut rig, "SETUP", &[&ports.wanted()]);
                // Of a session of its own: one has no room for so many.
                let session = format!("Session: {number}");
                let reply = control.reply(&[&ports.granted(), &session]);
                let cut = reply.find("Transport:").unwrap() + usize::from(number);
                // The CR of the empty line ends the head, whatever follows it.
                if cut + "\n".len() == reply.len() {
                    break;
                }
                let (front, rest) = reply.as_bytes().split_at(cut);
                let (front, rest) =
                    (control.talk.server_sends("PA", front), control.talk.server_sends("PA", rest));
                // Twice, as if it got lost behind the firewall.
                for _ in 0..2 {
                    rig.expect("the front", &front, passes(State::Established));
                    for ports in [ports, ports.rtcp()] {
                        rig.expect("too early", &ports.up(family), denied());
                        rig.expect("too early", &ports.down(family), denied());
                    }
                }
                rig.expect("the rest", &rest, passes(State::Established));
                ports.flow(&mut rig, family);
                ports.rtcp().flow(&mut rig, family);
                cuts += 1;
            }
            assert!(cuts > MEDIA.granted().len(), "{cuts} cuts");
        }
    }
}

#[test]
fn a_reply_that_is_sent_again_opens_nothing_again() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let opened = |rig: &Rig| rig.tables().counter(Counter::PinholesOpened).unwrap();
            let mut control = Control::begin(&mut rig, family, 40_000);
            control.asks(&mut rig, "SETUP", &[&MEDIA.wanted()]);
            let reply = control.reply(&[&MEDIA.granted(), "Session: one"]);
            let reply = control.talk.server_sends("PA", reply.as_bytes());
            rig.expect("the reply", &reply, passes(State::Established));
            let before = opened(&rig);
            rig.expect("once more", &reply, passes(State::Established));
            assert_eq!(opened(&rig), before, "{hook:?} {family:?}");
            MEDIA.flow(&mut rig, family);

            control.does(&mut rig, "TEARDOWN", &["Session: one"]);
            rig.expect("and once more", &reply, passes(State::Established));
            assert_eq!(opened(&rig), before, "{hook:?} {family:?}");
            rig.expect("it is over", &MEDIA.up(family), denied());
        }
    }
}

#[test]
fn a_foreign_destination_opens_nothing_and_is_told() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut control = Control::begin(&mut rig, family, 40_000);
            let to = format!("destination={}", family.stranger());
            let wanted = format!("{};{to}", MEDIA.wanted());
            rig.events();
            control.asks(&mut rig, "SETUP", &[&wanted]);
            control.grants(&mut rig, &[&format!("{};{to}", MEDIA.granted()), "Session: one"]);
            let events = rig.events_of("filter_finding");
            let found: Vec<_> =
                events.iter().filter_map(|e| e.filter.as_ref()).map(|f| &f.finding).collect();
            assert!(!found.is_empty(), "{hook:?} {family:?}");
            assert!(found.iter().all(|name| *name == "foreign-address"), "{found:?}");

            for ports in [MEDIA, MEDIA.rtcp()] {
                rig.expect("the client", &ports.up(family), denied());
                rig.expect("to the client", &ports.down(family), denied());
                let there = (family.stranger(), ports.client).into();
                let packet = Packet::udp(family.camera_at(ports.server), there);
                rig.expect("to the one who is named", &packet, denied());
            }
            // Naming the one who asks confirms him.
            let to = format!("destination={}", family.client());
            control.asks(&mut rig, "SETUP", &[&format!("{};{to}", OTHER.wanted())]);
            control.grants(&mut rig, &[&format!("{};{to}", OTHER.granted()), "Session: two"]);
            OTHER.flow(&mut rig, family);
        }
    }
}

#[test]
fn monitor_mode_opens_as_enforce_does() {
    for hook in HOOKS {
        let mut rig = Rig::new(&policy::rtsp_alone(&["lan0"], "monitor"), hook);
        for family in FAMILIES {
            Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
            all_denied(&mut rig, strangers(family, MEDIA));
            MEDIA.flow(&mut rig, family);
            rig.expect("the camera's RTCP", &MEDIA.rtcp().down(family), begins());
        }
    }
}

#[test]
fn off_or_unbound_lets_nothing_new_in_and_leaves_what_has_begun() {
    type Switch = fn(&Rig);
    let switches: [(&str, Switch); 2] =
        [("off", |rig| rig.bind(Mode::Off, Profile::Standard)), ("unbound", Rig::unbind)];
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            for (port, (shows, switch)) in (40_000..).zip(switches) {
                rig.bind(Mode::Enforce, Profile::Standard);
                let mut control =
                    Control::of_session(&mut rig, family, port, MEDIA, "Session: one");
                MEDIA.flow(&mut rig, family);

                switch(&rig);
                control.sets_up(&mut rig, OTHER, "Session: one");
                rig.expect(shows, &OTHER.up(family), denied());
                rig.expect(shows, &OTHER.down(family), denied());
                rig.expect(shows, &MEDIA.up(family), goes_on());
                rig.expect(shows, &MEDIA.rtcp().down(family), denied());
                // Nothing of it is left for the next one.
                rig.wait(121 * super::SECOND);
                rig.expect(shows, &MEDIA.up(family), denied());
            }
        }
    }
}

#[test]
fn the_egress_hook_opens_for_what_the_gateway_itself_asks() {
    let mut rig = rig(Hook::Egress);
    for family in FAMILIES {
        Control::of_session(&mut rig, family, 40_000, MEDIA, "Session: one");
        MEDIA.flow(&mut rig, family);
        all_denied(&mut rig, strangers(family, MEDIA));
    }
}
