//! Any bytes at all: the programs always decide, a drop always has a reason, and the parser on the host
//! refuses exactly what the one in the kernel refuses.

use std::cell::RefCell;

use firewall_common::{
    layout::Verdict,
    reason::Reason,
    wire::{self, Parsed},
};
use firewall_user::replay::Hook;
use lab::{
    Packet,
    replaying::{
        Conversation, FAMILIES, Family, OPTIONS, REPLY, REPLY_WITHOUT_CSEQ, RTSP_PORT, Rig,
        rtsp_policy,
    },
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};

/// Frames that each hook is given.
const CASES: u32 = 2_000;
/// The kernel's test-run takes whole Ethernet headers.
const SHORTEST: usize = 14;
const LONGEST: usize = 1_600;

/// The reasons that only the parser gives.
const OF_THE_PARSER: [Reason; 6] = [
    Reason::BadLength,
    Reason::IpOptions,
    Reason::PortZero,
    Reason::IpVersion,
    Reason::ExtensionHeaders,
    Reason::VlanDepth,
];

#[test]
fn any_frame_gets_a_verdict_through_xdp() {
    any_frame_gets_a_verdict(Hook::Xdp);
}

#[test]
fn any_frame_gets_a_verdict_through_traffic_control() {
    any_frame_gets_a_verdict(Hook::Tc);
}

fn any_frame_gets_a_verdict(hook: Hook) {
    let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
    // Flows for the mutated segments to belong to.
    for family in FAMILIES {
        Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
    }
    let rig = RefCell::new(rig);
    let seen = RefCell::new([0_u32; 3]);
    // Nothing is stored: a frame that fails is printed, and becomes a test with a name.
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&any_frame(), |frame| {
        let mut rig = rig.borrow_mut();
        let mut packet = wire::Packet::default();
        let parsed = wire::parse(frame.as_slice(), &mut packet);
        // The rig checks that a drop has a reason and is counted once, and that what passes is unchanged.
        let outcome = rig.frame(&frame);
        rig.events();
        seen.borrow_mut()[outcome.verdict as usize] += 1;
        match parsed {
            Parsed::Arp | Parsed::NotIp => prop_assert_eq!(outcome.verdict, Verdict::Pass),
            Parsed::Refused(reason) => {
                prop_assert_eq!((outcome.verdict, outcome.reason), (Verdict::Drop, reason));
            }
            Parsed::Ip => prop_assert!(!OF_THE_PARSER.contains(&outcome.reason)),
        }
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, frame)) => {
            let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{hook:?}: {why}; the smallest such frame is {hex}");
        }
        Err(TestError::Abort(why)) => panic!("{hook:?}: {why}"),
    }
    let [passed, dropped, reset] = *seen.borrow();
    println!("{hook:?}: {CASES} frames, {passed} passed, {dropped} dropped, {reset} became a RST");
    assert!(passed > CASES / 20 && dropped > CASES / 20, "both ways are walked");
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), SHORTEST..LONGEST);
    // Noise behind a good Ethernet and IP header gets further.
    let behind_a_header = (prop::sample::select(good_frames()), 14..60_usize, noise.clone())
        .prop_map(|(frame, keep, noise)| {
            let keep = keep.min(frame.len());
            [&frame[..keep], &noise].concat()
        });
    prop_oneof![1 => noise, 2 => behind_a_header, 7 => mutated()]
}

/// Good frames with a few bytes changed, cut or lengthened.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![0, 1, 4, 6, 17, 43, 44, 51, 58, 60, 69, 96, 128, 255]),
    ];
    // Most changes hit headers.
    let place = prop_oneof![3 => 12..80_usize, 1 => 0..LONGEST];
    let changes = prop::collection::vec((place, byte), 0..4);
    let length = prop_oneof![4 => Just(None), 1 => (SHORTEST..300).prop_map(Some)];
    (prop::sample::select(good_frames()), changes, length).prop_map(
        |(mut frame, changes, length)| {
            for (at, byte) in changes {
                let at = at % frame.len();
                frame[at] = byte;
            }
            if let Some(length) = length {
                frame.resize(length, 0);
            }
            frame
        },
    )
}

fn good_frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for family in FAMILIES {
        let segment = |payload: &[u8]| family.tcp(40_000, RTSP_PORT).flags("PA").payload(payload);
        let back = Packet::tcp(family.camera_at(RTSP_PORT), family.client_at(40_000)).flags("PA");
        let fragmented = family.udp(5_000, 6_000).payload([7; 200]).identification(9);
        frames.extend([
            family.tcp(40_001, 80).build(),
            family.tcp(40_002, 80).tcp_options(&[1; 12]).vlan(5).build(),
            segment(OPTIONS).build(),
            segment(b"").qinq(5, 6).build(),
            back.clone().payload(REPLY).build(),
            back.payload(REPLY_WITHOUT_CSEQ).build(),
            family.udp(5_000, 6_000).payload([7; 100]).build(),
            fragmented.build_fragment(0..80),
            fragmented.build_fragment(80..208),
            Packet::echo_request(family.client(), family.camera(), 1, 1).payload([7; 56]).build(),
        ]);
    }
    let syn = |family: Family| family.tcp(40_003, 80);
    frames.extend([
        syn(Family::V4).ip_options(&[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 148, 4, 0, 0]).build(),
        syn(Family::V6).hop_by_hop(&[]).routing(4, 0, &[0; 4]).destination_options(&[]).build(),
        Packet::arp_request([10, 1, 0, 2].into(), [10, 1, 0, 1].into()).build(),
    ]);
    frames
}
