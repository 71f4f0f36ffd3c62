//! Programs with emptied tables behave as programs that were just loaded: what all other tests rely on that use them
//! again.

use firewall_user::{
    event::Event,
    policy::Policy,
    replay::{Hook, Outcome, Replay},
};
use lab::{
    Packet,
    replaying::{
        Conversation, DESCRIBE, FAMILIES, Family, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ, RTSP_PORT,
        rtsp_policy,
    },
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

const SECOND: u64 = 1_000_000_000;

/// The policy under which the story has something to leave in most tables.
fn policy() -> Policy {
    let limits = "[limits]\nnew_per_second_per_source = 5\nsyn_authentication = \"auto\"\n";
    let text = rtsp_policy("enforce", "strict") + limits;
    Policy::parse("test.toml", &text).expect("the test's own policy")
}

/// A kill, a flow that is refused, an echo, a lone ACK, fragments and bytes that are no packet.
fn story(family: Family) -> Vec<Vec<u8>> {
    let mut talk = Conversation::new(family, 40_000, RTSP_PORT);
    let mut packets = vec![
        talk.syn(),
        talk.syn_ack(),
        talk.client_sends("A", b""),
        talk.client_sends("PA", OPTIONS),
        talk.server_sends("PA", REPLY),
        talk.client_sends("PA", DESCRIBE),
        talk.server_sends("PA", REPLY_WITHOUT_CSEQ),
        talk.client_sends("A", b""),
        Packet::echo_request(family.client(), family.camera(), 7, 1),
        family.tcp(40_001, 80).flags("A"),
        family.udp(40_002, 53),
        family.udp_back(53, 40_002),
    ];
    packets.extend((0..8).map(|port| family.tcp(50_000 + port, 80)));
    let mut frames: Vec<_> = packets.iter().map(Packet::build).collect();
    let datagram = family.udp(40_003, 53).payload([0x55; 64]);
    frames.push(datagram.build_fragment(0..32));
    frames.push(datagram.build_fragment(32..64));
    frames.push(vec![0xff; 60]);
    frames
}

/// What the programs make of the story.
fn told(replay: &mut Replay) -> (Vec<Outcome>, Vec<Event>) {
    let frames = FAMILIES.into_iter().flat_map(story);
    let outcomes = (1..)
        .zip(frames)
        .map(|(number, frame)| {
            replay.packet(1_000_000 * SECOND + number, &frame).expect("it takes packets")
        })
        .collect();
    (outcomes, replay.events().expect("it has events"))
}

#[test]
fn nothing_is_left_of_what_came_before() {
    // Numbers of flows and events hold that of the CPU.
    let mut first_cpu = CpuSet::new();
    first_cpu.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &first_cpu).unwrap();
    for hook in [Hook::Xdp, Hook::Egress] {
        let policy = policy();
        let mut replay = Replay::new(Some(&policy), None, hook).unwrap();
        let first = told(&mut replay);
        assert!(first.1.len() > 10, "{:?}", first.1);
        assert_ne!(told(&mut replay), first, "the tables make a difference");

        replay.begin_anew(None, None).unwrap();
        assert_ne!(told(&mut replay), first, "the policy makes a difference");
        replay.begin_anew(Some(&policy), None).unwrap();
        assert_eq!(told(&mut replay), first, "{hook:?}");
    }
}
