//! FTP: a pinhole for each data connection, and each for one.

use firewall_common::{flow::State, layout::Counter, reason::Reason};
use lab::{
    Packet, policy,
    replaying::{Conversation, FAMILIES, Family, Rig, drops, passes},
};

use super::{HOOKS, denied};

const FTP_PORT: u16 = 21;
/// 200·256 + 10.
const DATA_PORT: u16 = 51_210;

/// How the client asks the server for a place to come to, and what it is answered.
fn passive(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["PASV\r\n", "227 Entering Passive Mode (10,2,0,2,200,10).\r\n"],
        Family::V6 => ["EPSV\r\n", "229 Entering Extended Passive Mode (|||51210|)\r\n"],
    }
}

/// How the client says where it may be called.
fn active(family: Family) -> &'static str {
    match family {
        Family::V4 => "PORT 10,1,0,2,200,10\r\n",
        Family::V6 => "EPRT |2|fd00:1::2|51210|\r\n",
    }
}

/// A control connection whose server has greeted.
fn control(rig: &mut Rig, family: Family) -> Conversation {
    let mut talk = Conversation::established(rig, family, 40_000, FTP_PORT);
    server_says(rig, &mut talk, "220 ready\r\n");
    talk
}

fn client_says(rig: &mut Rig, talk: &mut Conversation, line: &str) {
    let packet = talk.client_sends("PA", line.as_bytes());
    rig.expect(line, &packet, passes(State::Established));
}

fn server_says(rig: &mut Rig, talk: &mut Conversation, line: &str) {
    let packet = talk.server_sends("PA", line.as_bytes());
    rig.expect(line, &packet, passes(State::Established));
}

/// What must not begin it, then the one connection, then that there is no second.
fn one_connection_gets_in(rig: &mut Rig, to: impl Fn(u16, u16) -> Packet, udp: Packet) {
    rig.expect("another transport", &udp, denied());
    rig.expect("the port below", &to(50_000, DATA_PORT - 1), denied());
    rig.expect("the port above", &to(50_000, DATA_PORT + 1), denied());
    let ack = to(50_000, DATA_PORT).flags("A").seq(7).ack(9);
    rig.expect("no SYN", &ack, drops(Reason::TcpNotSyn));

    rig.expect("the connection", &to(50_001, DATA_PORT), passes(State::SynSent));
    rig.expect("its SYN again", &to(50_001, DATA_PORT), passes(State::SynSent));
    rig.expect("a second connection", &to(50_002, DATA_PORT), denied());
}

fn rig(hook: firewall_user::replay::Hook) -> Rig {
    Rig::new(&policy::files(&["lan0"], "standard", ""), hook)
}

#[test]
fn a_passive_data_connection_comes_once() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut talk = control(&mut rig, family);
            let syn = |from, to| family.tcp(from, to);
            let [command, reply] = passive(family);
            client_says(&mut rig, &mut talk, command);
            rig.expect("before the reply", &syn(50_001, DATA_PORT), denied());
            server_says(&mut rig, &mut talk, reply);
            one_connection_gets_in(&mut rig, syn, family.udp(50_000, DATA_PORT));

            let back = Packet::tcp(family.camera_at(20), family.client_at(DATA_PORT));
            rig.expect("the other way", &back, denied());
        }
        assert_eq!(rig.tables().counter(Counter::PinholeFlows).unwrap(), 2, "{hook:?}");
    }
}

#[test]
fn an_active_data_connection_comes_once() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut talk = control(&mut rig, family);
            let syn = |from, to| Packet::tcp(family.camera_at(from), family.client_at(to));
            rig.expect("before the command", &syn(50_001, DATA_PORT), denied());
            client_says(&mut rig, &mut talk, active(family));
            one_connection_gets_in(&mut rig, syn, family.udp_back(50_000, DATA_PORT));
            let back = family.tcp(50_003, DATA_PORT);
            rig.expect("the other way", &back, denied());
        }
        assert_eq!(rig.tables().counter(Counter::PinholeFlows).unwrap(), 2, "{hook:?}");
    }
}

#[test]
fn a_data_connection_names_its_parent_and_is_killed_with_it() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        for family in FAMILIES {
            let mut talk = control(&mut rig, family);
            let [command, reply] = passive(family);
            client_says(&mut rig, &mut talk, command);
            server_says(&mut rig, &mut talk, reply);
            rig.events();
            let mut data = Conversation::established(&mut rig, family, 50_001, DATA_PORT);
            let opened = rig.events_of("connection_opened").pop().expect("it is told");
            assert_eq!(opened.protocol, None, "no filter reads it");

            let bad = talk.client_sends("PA", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
            let killed = lab::replaying::resets(Reason::ConnectionKilled).in_state(State::Killed);
            rig.expect("TLS that nobody asked for", &bad, killed);
            let kill = rig.events_of("connection_killed").pop().expect("the kill is told");
            assert_eq!(opened.parent, kill.flow_id);

            let told = lab::replaying::resets(Reason::TcpNotSyn).in_state(State::Killed);
            let more = data.client_sends("PA", b"data");
            rig.expect("its data connection", &more, told);
            let event = rig.events().pop().expect("the drop is told");
            assert_eq!((event.caused_by, event.parent), (Some(kill.event_id), kill.flow_id));
        }
    }
}

/// An FTP session has one data connection at a time: who announces another one has given the last one up. So no
/// client fills the table, and none is locked out for having tried often.
#[test]
fn what_is_announced_next_takes_the_place_of_what_nobody_came_for() {
    for hook in HOOKS {
        let mut rig = rig(hook);
        let mut talk = control(&mut rig, Family::V4);
        for port in 0..100 {
            client_says(&mut rig, &mut talk, &format!("PORT 10,1,0,2,200,{port}\r\n"));
            server_says(&mut rig, &mut talk, "200 Ok\r\n");
        }
        let syn = |to| Packet::tcp(Family::V4.camera_at(20), Family::V4.client_at(to));
        for port in 0..99 {
            rig.expect("given up", &syn(51_200 + port), denied());
        }
        rig.expect("the last one", &syn(51_200 + 99), passes(State::SynSent));
        assert_eq!(rig.tables().counter(Counter::PinholesRefused).unwrap(), 0, "{hook:?}");
    }
}
