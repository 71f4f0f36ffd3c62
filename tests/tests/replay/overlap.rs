//! A segment that repeats bytes and changes them: one thing for the filter, another for the receiver.

use firewall_common::{
    flow::State,
    policy::{Mode, Profile},
    reason::Reason,
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{
        Conversation, Expected, FAMILIES, Family, OPTIONS, REPLY, RTSP_PORT, Rig, passes, resets,
        rtsp_policy,
    },
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

fn lives() -> Expected {
    passes(State::Established)
}

fn killed() -> Expected {
    resets(Reason::ConnectionKilled).in_state(State::Killed)
}

/// A segment of the client's that begins `at` bytes into what it said since `start`.
fn client_at(talk: &Conversation, start: u32, at: usize, payload: &[u8]) -> Packet {
    Packet::tcp(talk.client(), talk.server())
        .flags("PA")
        .seq(start.wrapping_add(at as u32))
        .ack(talk.server_next())
        .payload(payload)
}

fn findings(rig: &mut Rig) -> Vec<String> {
    let filters = rig.events().into_iter().filter_map(|event| event.filter);
    filters.map(|filter| filter.finding).collect()
}

/// A conversation in which the client has said OPTIONS, which begins at the returned number.
fn spoken(rig: &mut Rig, family: Family, port: u16) -> (Conversation, u32) {
    let mut talk = Conversation::established(rig, family, port, RTSP_PORT);
    let start = talk.client_next();
    rig.expect("a request", &talk.client_sends("PA", OPTIONS), lives());
    (talk, start)
}

#[test]
fn what_is_repeated_as_it_was_passes_however_it_is_cut() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), hook);
        for family in FAMILIES {
            let (talk, start) = spoken(&mut rig, family, 40_000);
            for at in 0..OPTIONS.len() {
                rig.expect("the rest", &client_at(&talk, start, at, &OPTIONS[at..]), lives());
                rig.expect("the front", &client_at(&talk, start, 0, &OPTIONS[..=at]), lives());
            }
            let again = [OPTIONS, OPTIONS].concat();
            rig.expect("and more", &client_at(&talk, start, 0, &again), lives());
            assert_eq!(findings(&mut rig), [""; 0], "{hook:?} {family:?}");
        }
    }
}

#[test]
fn one_byte_that_differs_kills_wherever_it_is() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
        let mut ports = 1000..;
        for family in FAMILIES {
            for at in 0..OPTIONS.len() {
                let port = ports.next().expect("there are enough ports");
                let (talk, start) = spoken(&mut rig, family, port);
                let mut changed = OPTIONS.to_vec();
                changed[at] ^= 1;
                changed.extend(OPTIONS);
                rig.expect("the change", &client_at(&talk, start, 0, &changed), killed());
                assert_eq!(findings(&mut rig), ["segments-disagree"], "{hook:?} {family:?} {at}");
            }
        }
    }
}

#[test]
fn it_is_a_finding_in_monitor_mode_once_a_segment() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), Hook::Tc);
    rig.bind(Mode::Monitor, Profile::Standard);
    let (talk, start) = spoken(&mut rig, Family::V4, 40_000);
    let other = vec![b'x'; OPTIONS.len()];
    for _ in 0..2 {
        rig.expect("another", &client_at(&talk, start, 0, &other), lives());
        assert_eq!(findings(&mut rig), ["segments-disagree"]);
    }
}

/// RFC 9293 §3.8.4: a keep-alive may carry one byte that was sent before, of any value; who sends it knows that the
/// byte has arrived.
#[test]
fn a_keep_alive_with_a_byte_of_its_own_is_none() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    let (mut talk, start) = spoken(&mut rig, Family::V6, 40_000);
    rig.expect("an acknowledgment", &talk.server_sends("A", b""), lives());
    rig.expect("a keep-alive", &client_at(&talk, start, OPTIONS.len() - 1, b"\0"), lives());
    assert_eq!(findings(&mut rig), [""; 0]);
}

/// Else a whole stream could be told anew, byte by byte.
#[test]
fn a_byte_that_has_not_arrived_is_no_keep_alive() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), Hook::Tc);
    let (talk, start) = spoken(&mut rig, Family::V4, 40_000);
    rig.expect("the same", &client_at(&talk, start, 0, &OPTIONS[..1]), lives());
    rig.expect("another", &client_at(&talk, start, 1, b"\0"), killed());
    assert_eq!(findings(&mut rig), ["segments-disagree"]);
}

/// RFC 6093 §2: a receiver takes the urgent byte out of the stream.
#[test]
fn urgent_data_is_no_part_of_the_protocol() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
        for family in FAMILIES {
            let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
            rig.expect("an urgent byte", &talk.client_sends("PAU", OPTIONS), killed());
            assert_eq!(findings(&mut rig), ["urgent-data"]);
        }
    }
}

/// Nobody reads a body: what is repeated of it is not compared, and what stands before it is.
#[test]
fn the_head_before_a_body_is_still_known_behind_it() {
    let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), Hook::Xdp);
    let mut talk = Conversation::established(&mut rig, Family::V4, 40_000, RTSP_PORT);
    rig.expect("a request", &talk.client_sends("PA", OPTIONS), lives());
    let start = talk.server_next();
    let head = b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 4000\r\n\r\n";
    let reply = [&head[..], &[b'b'; 4000]].concat();
    rig.expect("a reply", &talk.server_sends("PA", &reply), lives());
    rig.expect("another", &talk.server_sends("PA", REPLY), lives());
    let server_at = |at: usize, payload: &[u8]| {
        Packet::tcp(talk.server(), talk.client())
            .flags("PA")
            .seq(start.wrapping_add(at as u32))
            .ack(talk.client_next())
            .payload(payload)
    };
    rig.expect("another body", &server_at(1000, &[b'c'; 1000]), lives());
    assert_eq!(findings(&mut rig), [""; 0]);
    let changed =
        [b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nContent-Length: 5000\r\n\r\n", &[b'b'; 900][..]].concat();
    rig.expect("another length", &server_at(0, &changed), killed());
}
