//! TCP through the real programs: what opens a flow, which states it goes through, what is refused.

use firewall_common::{flow::State, reason::Reason};
use firewall_user::replay::Hook;
use lab::replaying::{Conversation, FAMILIES, Rig, drops, passes};

const HOOKS: [Hook; 3] = [Hook::Xdp, Hook::Tc, Hook::Egress];
const PORT: u16 = 80;

#[test]
fn a_connection_goes_from_syn_to_time_wait() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
            for (shows, packet, state) in [
                ("a request", talk.client_sends("PA", b"GET /"), State::Established),
                ("a reply", talk.server_sends("PA", b"200"), State::Established),
                ("a window update", talk.client_sends("A", b""), State::Established),
                ("the client closes", talk.client_sends("FA", b""), State::FinWait),
                ("the server acknowledges", talk.server_sends("A", b""), State::CloseWait),
                ("the server says more", talk.server_sends("PA", b"more"), State::CloseWait),
                ("the server closes", talk.server_sends("FA", b""), State::LastAck),
                ("the last ACK", talk.client_sends("A", b""), State::TimeWait),
            ] {
                rig.expect(shows, &packet, passes(state));
            }
        }

        let events = rig.events();
        let kinds: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(kinds, ["connection_opened", "connection_closed"].repeat(2), "{hook:?}");
        assert_eq!(events[1].reason.as_deref(), Some("FWX_E_GRACEFUL_SHUTDOWN"));
        assert_eq!(events[1].code.as_deref(), Some("0x80074e20"));
        assert_eq!(events[0].flow_id, events[1].flow_id, "opening and end are of one flow");
        assert_ne!(events[0].flow_id, events[2].flow_id, "each family has a flow of its own");
        assert_eq!(rig.count(Reason::GracefulShutdown), 2);
    }
}

#[test]
fn the_server_may_close_first_and_a_rst_closes_at_once() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::established(&mut rig, family, 40_000, PORT);
        for (shows, packet, state) in [
            ("the server closes", talk.server_sends("FA", b""), State::FinWait),
            ("the client says more", talk.client_sends("PA", b"bye"), State::CloseWait),
            ("the client closes", talk.client_sends("FA", b""), State::LastAck),
            ("the last ACK", talk.server_sends("A", b""), State::TimeWait),
        ] {
            rig.expect(shows, &packet, passes(state));
        }

        let mut talk = Conversation::established(&mut rig, family, 40_001, PORT);
        for (shows, packet, state) in [
            ("a RST closes", talk.server_sends("RA", b""), State::Closed),
            ("an ACK that crossed it passes", talk.client_sends("A", b""), State::Closed),
        ] {
            rig.expect(shows, &packet, passes(state));
        }
        assert_eq!(
            rig.events().last().and_then(|event| event.reason.clone()).as_deref(),
            Some("FWX_E_ABORTIVE_SHUTDOWN")
        );
    }
}

#[test]
fn only_a_syn_begins_a_flow() {
    const NOT_SYN: &str = Reason::TcpNotSyn.name();
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            for (shows, flags) in [
                ("a lone ACK", "A"),
                ("data of no connection", "PA"),
                ("an answer to no SYN", "SA"),
                ("a RST of no connection", "R"),
                ("a RST with ACK", "RA"),
                ("a FIN with ACK", "FA"),
            ] {
                let packet = family.tcp(40_000, 554).flags(flags).seq(1_000_001).ack(2_000_001);
                rig.expect(shows, &packet, drops(Reason::TcpNotSyn));
                let events = rig.events();
                let [event] = &events[..] else { panic!("{shows}: one event, not {events:?}") };
                assert_eq!(event.event, "packet_dropped", "{shows}");
                assert_eq!(event.reason.as_deref(), Some(NOT_SYN), "{shows}");
                assert_eq!(event.code.as_deref(), Some("0xc0040017"), "{shows}");
                assert_eq!((event.src_port, event.dst_port), (Some(40_000), Some(554)), "{shows}");
                assert_eq!(event.src_ip, Some(family.client()), "{shows}");
                assert_eq!(event.dst_ip, Some(family.camera()), "{shows}");
                assert_eq!(event.flow_id, None, "{shows}");
                assert_eq!(event.caused_by, None, "{shows}");
                let tcp = event.tcp.as_ref().unwrap_or_else(|| panic!("{shows}: a TCP header"));
                assert_eq!((tcp.seq, tcp.ack, tcp.window), (1_000_001, 2_000_001, 64_240));
            }
            rig.expect("a SYN does", &family.tcp(40_000, 554), passes(State::SynSent));
            let ecn = family.tcp(40_001, 554).flags("SEW");
            rig.expect("a SYN that offers ECN does", &ecn, passes(State::SynSent));
        }
        assert_eq!(rig.count(Reason::TcpNotSyn), 12, "{hook:?}");
    }
}

#[test]
fn flags_that_no_stack_sends_are_refused_with_and_without_a_flow() {
    for hook in HOOKS {
        let mut rig = Rig::open(hook);
        for family in FAMILIES {
            Conversation::established(&mut rig, family, 40_000, PORT);
            for flags in ["", "F", "P", "U", "FPU", "SF", "SFA", "SR", "FRA", "SFRPAUEW"] {
                let shows = format!("flags {flags:?}");
                let lone = family.tcp(50_000, PORT).flags(flags);
                rig.expect(&shows, &lone, drops(Reason::IpHalfScan));
                let in_flow = family.tcp(40_000, PORT).flags(flags);
                let expected = drops(Reason::IpHalfScan).in_state(State::Established);
                rig.expect(&shows, &in_flow, expected);
            }
        }
    }
}

#[test]
fn a_half_open_flow_takes_only_what_the_handshake_has() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut talk = Conversation::new(family, 40_000, PORT);
        let syn = talk.syn();
        rig.expect("a SYN", &syn, passes(State::SynSent));
        rig.expect("its repetition", &syn, passes(State::SynSent));
        let mut aside = talk;
        let early = aside.client_sends("PA", b"too early");
        let mismatch = drops(Reason::SeqAckMismatch).in_state(State::SynSent);
        rig.expect("data before the answer", &early, mismatch);
        let answer = talk.syn_ack();
        rig.expect("the answer", &answer, passes(State::SynReceived));
        rig.expect("the answer again", &answer, passes(State::SynReceived));
        let banner = talk.server_sends("PA", b"220 hello");
        rig.expect("the server may speak first", &banner, passes(State::SynReceived));
        let ack = talk.client_sends("A", b"");
        rig.expect("the ACK completes", &ack, passes(State::Established));

        let mut refused = Conversation::new(family, 40_001, PORT);
        rig.expect("a SYN to a closed port", &refused.syn(), passes(State::SynSent));
        rig.expect("is refused", &refused.server_sends("RA", b""), passes(State::Closed));
    }
}

#[test]
fn a_port_pair_is_used_again_after_the_end_and_only_by_a_syn() {
    let mut rig = Rig::open(Hook::Xdp);
    for family in FAMILIES {
        let mut first = Conversation::established(&mut rig, family, 40_000, PORT);
        let reset = first.client_sends("RA", b"");
        let old = rig.expect("a RST closes", &reset, passes(State::Closed)).flow_id;

        let mut second = Conversation::new(family, 40_000, PORT);
        let new = rig.expect("a SYN opens", &second.syn(), passes(State::SynSent)).flow_id;
        assert!(old != 0 && new != 0 && old != new, "{old} and {new} are flows of their own");
        rig.expect("the answer", &second.syn_ack(), passes(State::SynReceived));
    }
}
