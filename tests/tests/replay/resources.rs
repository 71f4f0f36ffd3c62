//! What runs out: a filter that is not loaded, a flow table that is full, a ring that should not be filled.
//! Each has a reason and a counter, and what lives goes on living.

use aya::maps::{MapData, ProgramArray};
use firewall_common::{
    event::{Bucket, Ring, Untold},
    filter::FilterId,
    flow::{Flow, State},
    layout::Counter,
    reason::Reason,
};
use firewall_user::{
    losses::{Loss, losses},
    policy::TableSizes,
    replay::Hook,
};
use lab::replaying::{
    Conversation, FAMILIES, Family, OPTIONS, REPLY, RTSP_PORT, RTSP_PROTOCOL, Rig, STEP_NS, drops,
    passes, rtsp_policy,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

#[test]
fn a_filter_that_is_not_loaded_stops_what_it_should_enforce_and_nothing_else() {
    for hook in HOOKS {
        for mode in ["enforce", "monitor"] {
            let mut rig = Rig::new(&rtsp_policy(mode, "standard"), hook);
            let array = if hook == Hook::Xdp { "FILTERS_XDP" } else { "FILTERS_TC" };
            let mut filters: ProgramArray<MapData> = rig.tables().open(array).expect("the array");
            filters.clear_index(&(FilterId::Rtsp as u32)).expect("the filter was loaded");

            for family in FAMILIES {
                let mut talk = Conversation::established(&mut rig, family, 40_000, RTSP_PORT);
                rig.events();
                let request = talk.client_sends("PA", OPTIONS);
                let (expected, kind) = match mode {
                    "enforce" => (
                        drops(Reason::FilterUnavailable).in_state(State::Established),
                        "packet_dropped",
                    ),
                    _ => (passes(State::Established), "filter_finding"),
                };
                rig.expect(mode, &request, expected);
                let events = rig.events();
                let [event] = &events[..] else { panic!("one event, not {events:#?}") };
                assert_eq!(event.event, kind, "{mode} {hook:?} {family:?}");
                assert_eq!(event.reason.as_deref(), Some("FWX_E_FILTER_UNAVAILABLE"));
                assert_eq!(event.code.as_deref(), Some("0xc0f00002"));
                let ack = talk.server_sends("A", b"");
                rig.expect("what has no payload needs no filter", &ack, passes(State::Established));
                let mut other = Conversation::established(&mut rig, family, 40_001, 80);
                let other = other.client_sends("PA", b"GET /");
                rig.expect("another protocol", &other, passes(State::Established));
            }
            // What passed is no drop, and is counted for itself.
            let unread = rig.tables().counter(Counter::PassedUnread).expect("the counter");
            let counts = (rig.count(Reason::FilterUnavailable), unread);
            assert_eq!(counts, if mode == "enforce" { (2, 0) } else { (0, 2) }, "{mode} {hook:?}");
        }
    }
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old() {
    const ROOM: u16 = 8;
    let sizes = TableSizes { completed: ROOM.into(), half_open: 64 };
    for hook in HOOKS {
        let mut rig = Rig::with_sizes(sizes, hook);
        for family in FAMILIES {
            let mut flows: Vec<_> = (1..=ROOM)
                .map(|port| Conversation::established(&mut rig, family, port, 80))
                .collect();
            rig.events();

            let mut late = Conversation::new(family, 100, 80);
            let syn = late.syn();
            rig.expect("a SYN finds room among the half-open", &syn, passes(State::SynSent));
            let answer = late.syn_ack();
            rig.expect("its answer too", &answer, passes(State::SynReceived));
            let ack = late.client_sends("A", b"");
            for shows in ["the last ACK does not", "nor does its repetition"] {
                let outcome = rig.frame(&ack.build());
                assert_eq!(outcome.reason, Reason::OutOfResources, "{hook:?}: {shows}");
            }
            let events = rig.events();
            assert_eq!(events.len(), 2, "{events:#?}");
            for event in &events {
                assert_eq!(event.event, "packet_dropped");
                assert_eq!(event.reason.as_deref(), Some("FWX_E_OUT_OF_RESOURCES"));
                assert_eq!(event.code.as_deref(), Some("0xc0040024"));
            }
            let there = family.udp(100, 53);
            rig.expect("UDP without an answer", &there, passes(State::Unreplied));
            let back = family.udp_back(53, 100);
            let outcome = rig.frame(&back.build());
            assert_eq!(outcome.reason, Reason::OutOfResources, "{hook:?}: its answer");

            for flow in &mut flows {
                let data = flow.client_sends("PA", b"still here");
                rig.expect("a flow that was there before", &data, passes(State::Established));
            }
            // One of them ends for good, and a new SYN takes its ports to the other table.
            let close = flows[0].client_sends("RA", b"");
            rig.expect("one closes", &close, passes(State::Closed));
            let syn = Conversation::new(family, 1, 80).syn();
            rig.expect("a SYN with its ports", &syn, passes(State::SynSent));
            let passed = rig.expect("there is room again", &ack, passes(State::Established));
            if family == Family::V4 {
                let flows = rig.tables().flows_v4().expect("the table");
                let mut flows = flows.iter().flatten().map(|(_, flow)| flow);
                let flow = flows.find(|flow| flow.id == passed.flow_id).expect("it is there");
                assert_eq!(flow.tallies.map(|tally| tally.packets), [2, 1], "what passed");
            }
        }
    }
}

/// What a flow has counted in each direction.
fn counted(rig: &Rig) -> Vec<[u64; 2]> {
    let flows = rig.tables().flows_v4().expect("the table");
    let counted = |flow: Flow| flow.tallies.map(|tally| tally.packets);
    flows.iter().flatten().map(|(_, flow)| counted(flow)).collect()
}

#[test]
fn what_a_filter_does_not_let_pass_is_not_counted_as_passed() {
    for hook in HOOKS {
        let mut rig = Rig::new(&rtsp_policy("enforce", "standard"), hook);
        let mut talk = Conversation::established(&mut rig, Family::V4, 40_000, RTSP_PORT);
        assert_eq!(counted(&rig), [[2, 1]], "the handshake");
        let request = talk.client_sends("PA", OPTIONS);
        let next = talk.client_sends("PA", OPTIONS);
        let held = drops(Reason::FilterSegmentHeld).in_state(State::Established);
        rig.expect("beyond a gap", &next, held);
        let fragment = request.clone().identification(1).build_fragment(0..48);
        let refused = drops(Reason::FragmentDropped).in_state(State::Established);
        rig.expect_frame("a fragment", &fragment, refused);
        assert_eq!(counted(&rig), [[2, 1]], "{hook:?}: neither passed");
        rig.expect("in order", &request, passes(State::Established));
        rig.expect("and again", &next, passes(State::Established));
        assert_eq!(counted(&rig), [[4, 1]], "{hook:?}");
    }
}

/// A line of replay has the flow's state after the packet, and this packet changed nothing.
#[test]
fn a_flow_that_found_no_room_is_reported_as_it_was() {
    let mut rig = Rig::with_sizes(TableSizes { completed: 1, half_open: 64 }, Hook::Xdp);
    Conversation::established(&mut rig, Family::V4, 1, 80);
    let mut late = Conversation::new(Family::V4, 2, 80);
    rig.expect("a SYN", &late.syn(), passes(State::SynSent));
    rig.expect("its answer", &late.syn_ack(), passes(State::SynReceived));
    let refused = drops(Reason::OutOfResources).in_state(State::SynReceived);
    rig.expect("the ACK finds no room", &late.client_sends("A", b""), refused);
}

#[test]
fn a_flood_of_syns_costs_no_established_flow() {
    const FLOOD: u16 = 2_000;
    let sizes = TableSizes { completed: 64, half_open: 64 };
    for hook in HOOKS {
        let mut rig = Rig::with_sizes(sizes, hook);
        let mut flows: Vec<_> = FAMILIES
            .into_iter()
            .map(|family| Conversation::established(&mut rig, family, 40_000, 80))
            .collect();
        for family in FAMILIES {
            for port in 1..=FLOOD {
                rig.expect("a SYN", &family.tcp(port, 80), passes(State::SynSent));
            }
        }
        for flow in &mut flows {
            let data = flow.server_sends("PA", b"still here");
            rig.expect("it lives", &data, passes(State::Established));
        }
        let half_open = rig.tables().half_open_v4().expect("the table").keys().count();
        assert!(half_open <= 64, "{half_open} half-open flows in a table of 64");
    }
}

#[test]
fn drops_are_all_counted_however_few_are_told() {
    const SENT: u64 = 2_000;
    stay_on_one_cpu();
    let mut rig = Rig::open(Hook::Xdp);
    let ack = Family::V4.tcp(40_000, 80).flags("A").build();
    let mut told = Vec::new();
    for _ in 0..SENT {
        // Without waiting, so that the limit has no time to let more through.
        rig.rewind(STEP_NS);
        rig.expect_frame("a lone ACK", &ack, drops(Reason::TcpNotSyn));
        told.extend(rig.events());
    }
    assert_eq!(rig.count(Reason::TcpNotSyn), SENT);
    assert_eq!(told.len() as u64, Bucket::BURST);
    assert!(told.iter().all(|event| event.suppressed == Some(0)));
    let untold = losses(rig.tables()).expect("what went untold");
    let held_back = Untold { held_back: SENT - Bucket::BURST, ..Untold::default() };
    let reason = Reason::TcpNotSyn;
    assert_eq!(untold, [Loss { ring: Ring::Events, reason, untold: held_back }]);

    // Another reason has a limit of its own, and a second later there is room again.
    rig.expect("port 0", &Family::V4.tcp(0, 80), drops(Reason::PortZero));
    assert_eq!(rig.events().len(), 1);
    rig.wait(1_000_000_000);
    rig.expect_frame("a lone ACK", &ack, drops(Reason::TcpNotSyn));
    let events = rig.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].suppressed, Some(SENT - Bucket::BURST), "what went unsaid is said");
}

#[test]
fn findings_are_all_counted_and_a_flood_of_one_holds_no_other_back() {
    const SENT: u64 = 600;
    const WITHOUT_CSEQ: &[u8] = b"RTSP/1.0 200 OK\r\n\r\n";
    const MALFORMED_CSEQ: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: x\r\n\r\n";
    stay_on_one_cpu();
    let mut rig = Rig::new(&rtsp_policy("monitor", "standard"), Hook::Xdp);
    let mut talk = Conversation::established(&mut rig, Family::V4, 40_000, RTSP_PORT);
    rig.events();
    let mut say = |rig: &mut Rig, reply| {
        let reply = talk.server_sends("PA", reply);
        rig.expect("a reply", &reply, passes(State::Established));
        let told = rig.events().into_iter().map(|event| {
            let filter = event.filter.as_ref().expect("a filter found it");
            (filter.finding.clone(), event.suppressed)
        });
        let told: Vec<_> = told.collect();
        rig.expect("its ACK", &talk.client_sends("A", b""), passes(State::Established));
        told
    };
    let mut told = Vec::new();
    for _ in 0..SENT {
        // Without waiting, so that the limit has no time to let more through.
        rig.rewind(2 * STEP_NS);
        told.extend(say(&mut rig, WITHOUT_CSEQ));
    }
    assert_eq!(told.len() as u64, Bucket::BURST);
    assert!(told.iter().all(|told| *told == ("missing-cseq".into(), Some(0))));

    let reason = Reason::IpsDetected;
    let held_back = Untold { held_back: SENT - Bucket::BURST, ..Untold::default() };
    let untold = losses(rig.tables()).expect("what went untold");
    assert_eq!(untold, [Loss { ring: Ring::Events, reason, untold: held_back }]);

    assert_eq!(say(&mut rig, MALFORMED_CSEQ), [("malformed-cseq".into(), Some(0))]);
    rig.wait(1_000_000_000);
    let news = [("missing-cseq".into(), Some(SENT - Bucket::BURST))];
    assert_eq!(say(&mut rig, WITHOUT_CSEQ), news, "what went unsaid is said");
    let found = rig.tables().filter_counters(RTSP_PROTOCOL).expect("the counters").findings;
    assert_eq!((found, rig.count(reason)), (SENT + 2, SENT + 2));
}

/// The rate limits are each CPU's own.
fn stay_on_one_cpu() {
    let mut one = CpuSet::new();
    one.set(0).expect("CPU 0");
    sched_setaffinity(Pid::from_raw(0), &one).expect("this thread may run on CPU 0");
}

#[test]
fn kills_are_never_held_back_by_a_rate_limit() {
    const KILLS: u16 = 500;
    let mut rig = Rig::new(&rtsp_policy("enforce", "strict"), Hook::Xdp);
    let mut kills = 0;
    for port in 1..=KILLS {
        let mut talk = Conversation::established(&mut rig, Family::V4, port, RTSP_PORT);
        rig.expect("a reply", &talk.server_sends("PA", REPLY), passes(State::Established));
        rig.rewind(4 * STEP_NS);
        let offence = talk.server_sends("PA", b"X\r\n\r\n");
        let outcome = rig.frame(&offence.build());
        assert_eq!(outcome.state, State::Killed);
        kills += rig.events_of("connection_killed").len();
    }
    assert_eq!(kills, usize::from(KILLS));
}
