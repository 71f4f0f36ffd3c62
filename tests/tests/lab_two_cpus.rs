//! Both directions of a flow on two CPUs at once: no packet is counted twice or not at all, windows are what was
//! said last, and an end is an end.
//!
//! Threads of this process, one to a CPU, run the very programs by the kernel's test-run. On a machine with one
//! CPU they take turns there, and the tests hold nothing against it.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use aya::{
    Ebpf,
    programs::{Program, TestRun as _, TestRunOptions},
};
use firewall_common::{
    flow::{Flow, KeyV4, KeyV6, State},
    layout::{Command, Counter, Order},
    reason::Reason,
    wire::{self, Parsed},
};
use firewall_user::{
    generation::Over,
    object::{self, Purpose, TC_INGRESS, XDP_INGRESS},
    policy::{Policy, TableSizes},
    tables::Tables,
};
use lab::{
    Packet, cpu,
    replaying::{FAMILIES, Family},
};

/// Packets of each direction.
const PACKETS: u32 = 1_000_000;
/// In so many rounds, which both directions begin together.
const ROUNDS: u32 = 10;
/// Different frames of a round.
const FRAMES: u32 = 4;
const PAYLOAD: [u8; 100] = [b'x'; 100];
/// Where each packet is a call of its own: so many of each direction before the end, and after it.
const PACKETS_AROUND_THE_END: u64 = 20_000;
/// How many there are at most, should the end not come or one of the CPUs have no time.
const PACKETS_MAX: usize = 5_000_000;
/// Flows of the test that begins many.
const DATAGRAM_FLOWS: u16 = 3_000;
/// Packets of each direction in each of them.
const DATAGRAMS: u32 = 20;

/// What both ends begin with: one of them near the end of the circle.
const CLIENT_ISN: u32 = u32::MAX - 1_000;
const SERVER_ISN: u32 = 5_000;
const WINDOW: u16 = 64_240;
const PORT: u16 = 40_000;
const SERVER_PORT: u16 = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Xdp,
    Tc,
}

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

/// The programs, with a policy that allows everything.
struct Rig {
    ebpf: Ebpf,
    tables: Tables,
    hook: Hook,
}

impl Rig {
    fn new(hook: Hook) -> Self {
        let sizes = TableSizes { completed: 16_384, half_open: 16_384 };
        let ebpf = object::load(Purpose::Bench, sizes).unwrap();
        let tables = Tables::of_loaded(&ebpf).unwrap();
        let mut policy = Policy::builtin().compile();
        policy.bindings.clear();
        tables.write_policy(&policy, Over::Nothing).unwrap();
        Self { ebpf, tables, hook }
    }

    /// Gives the program `frame` so many times. Whether the last of them passed.
    fn passes(&self, frame: &[u8], repeat: u32) -> bool {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let (name, pass) = match self.hook {
            Hook::Xdp => (XDP_INGRESS, 2),
            Hook::Tc => (TC_INGRESS, u32::MAX),
        };
        let result = match self.ebpf.program(name).unwrap() {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            other => panic!("{other:?}"),
        };
        result.unwrap().return_value == pass
    }

    fn command(&self, command: &Command) -> bool {
        let frame = bytemuck::bytes_of(command);
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let Program::SchedClassifier(program) = self.ebpf.program(object::COMMAND).unwrap() else {
            panic!("the command is a classifier");
        };
        program.test_run(options).unwrap().return_value == 1
    }

    fn handshake(&self, family: Family) {
        for packet in [
            client(family).flags("S").seq(CLIENT_ISN),
            server(family).flags("SA").seq(SERVER_ISN).ack(CLIENT_ISN.wrapping_add(1)),
            client(family).flags("A").seq(client_at(0)).ack(server_at(0)),
        ] {
            assert!(self.passes(&packet.build(), 1));
        }
    }

    fn flow(&self, frame: &[u8]) -> Flow {
        let packet = parsed(frame);
        match packet.version {
            4 => self.tables.flows_v4().unwrap().get(&KeyV4::of(&packet).key, 0).unwrap(),
            _ => self.tables.flows_v6().unwrap().get(&KeyV6::of(&packet).key, 0).unwrap(),
        }
    }

    fn count(&self, reason: Reason) -> u64 {
        self.tables.reason_count(reason).unwrap()
    }

    fn drops(&self) -> Vec<(Reason, u64)> {
        let counts = Reason::ALL.iter().map(|&reason| (reason, self.count(reason)));
        counts.filter(|(reason, count)| reason.is_drop() && *count > 0).collect()
    }
}

#[test]
fn both_directions_at_once_keep_counters_and_windows_right() {
    for hook in HOOKS {
        let rig = Rig::new(hook);
        for family in FAMILIES {
            rig.handshake(family);
            let barrier = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| rounds(&rig, 0, &barrier, |round, n| client_says(family, round, n)));
                scope.spawn(|| rounds(&rig, 1, &barrier, |round, n| server_says(family, round, n)));
            });
            let [last_client, last_server] =
                [client_says, server_says].map(|says| says(family, ROUNDS - 1, FRAMES - 1));
            let flow = rig.flow(&last_client);
            let context = format!("{hook:?} {family:?}: {flow:?}");
            assert_eq!(flow.state(), State::Established, "{context}");
            let empty = ip_len(&client(family).flags("A").build());
            let full = ip_len(&last_client);
            let sent = u64::from(PACKETS);
            let [original, reply] = flow.tallies;
            assert_eq!((original.packets, reply.packets), (sent + 2, sent + 1), "{context}");
            let bytes = (sent * full + 2 * empty, sent * full + empty);
            assert_eq!((original.bytes, reply.bytes), bytes, "{context}");
            for (half, last) in flow.halves.iter().zip([&last_client, &last_server]) {
                let said = parsed(last);
                let end = said.seq.wrapping_add(PAYLOAD.len() as u32);
                let edge = said.ack.wrapping_add(WINDOW.into());
                assert_eq!((half.end, half.acked, half.edge), (end, said.ack, edge), "{context}");
            }
        }
        assert_eq!(rig.drops(), [], "{hook:?}");
        let given = 2 * (2 * u64::from(PACKETS) + 3);
        assert_eq!(rig.tables.counter(Counter::IngressPackets).unwrap(), given);
        assert_eq!(rig.tables.counter(Counter::FlowsOpened).unwrap(), 2);
        assert_eq!(rig.tables.counter(Counter::FlowsCompleted).unwrap(), 2);
    }
}

/// One direction's packets, a round at a time.
fn rounds(rig: &Rig, cpu: usize, barrier: &Barrier, frame: impl Fn(u32, u32) -> Vec<u8>) {
    cpu::stay_on_nth(cpu).unwrap();
    for round in 0..ROUNDS {
        let frames: Vec<_> = (0..FRAMES).map(|number| frame(round, number)).collect();
        barrier.wait();
        for frame in &frames {
            assert!(rig.passes(frame, PACKETS / ROUNDS / FRAMES), "round {round}");
        }
    }
}

#[test]
fn a_kill_in_between_is_the_end_for_both() {
    const EVENT: u64 = 4_711;
    for hook in HOOKS {
        let rig = Rig::new(hook);
        let mut refused = 0;
        for family in FAMILIES {
            rig.handshake(family);
            let frame = client_says(family, 0, 0);
            let packet = parsed(&frame);
            let mut command = Command {
                id: rig.flow(&frame).id,
                event: EVENT,
                now: monotonic_ns(),
                order: Order::KillChild as u32,
                version: packet.version.into(),
                ..Command::default()
            };
            if packet.version == 4 {
                command.key_v4 = KeyV4::of(&packet).key;
            } else {
                command.key_v6 = KeyV6::of(&packet).key;
            }
            let ended = || assert!(rig.command(&command), "{hook:?}: the flow is killed");
            let [original, reply] = until_the_end(&rig, family, ended);
            let flow = rig.flow(&frame);
            let context = format!("{hook:?} {family:?}: {flow:?}");
            assert_eq!((flow.state(), flow.killed_by()), (State::Killed, EVENT), "{context}");
            for passed in [&original, &reply] {
                let first = passed.iter().position(|&passed| !passed).expect("the end is seen");
                assert!(passed[first..].iter().all(|&passed| !passed), "{context}");
                refused += (passed.len() - first) as u64;
            }
            let packets = flow.tallies.map(|tally| tally.packets);
            assert_eq!(packets, [count(&original) + 2, count(&reply) + 1], "{context}");
            assert!(!rig.command(&command), "a flow is killed once");
        }
        assert_eq!(rig.drops(), [(Reason::TcpNotSyn, refused)], "{hook:?}");
    }
}

#[test]
fn a_reset_in_between_is_noted_once_and_stays() {
    for hook in HOOKS {
        let rig = Rig::new(hook);
        for (done, family) in (1..).zip(FAMILIES) {
            rig.handshake(family);
            let frame = client_says(family, 0, 0);
            let reset = server(family).flags("R").seq(parsed(&server_says(family, 0, 0)).seq);
            let ended = || assert!(rig.passes(&reset.build(), 1), "{hook:?}: the RST is right");
            let [original, reply] = until_the_end(&rig, family, ended);
            let flow = rig.flow(&frame);
            let context = format!("{hook:?} {family:?}: {flow:?}");
            assert_eq!(flow.state(), State::Closed, "{context}");
            // What was on its way when the RST came still passes.
            let sent = [&original, &reply].map(|passed| passed.len() as u64);
            assert_eq!([count(&original), count(&reply)], sent, "{context}");
            assert_eq!(rig.count(Reason::AbortiveShutdown), done, "{context}");
            let [original, reply] = flow.tallies.map(|tally| tally.packets);
            assert_eq!(original, sent[0] + 2, "{context}");
            // The RST comes on another CPU than the rest of its direction, and one of two that are counted at the
            // same moment may be lost.
            assert!((sent[1] + 1..=sent[1] + 2).contains(&reply), "{context}");
        }
        assert_eq!(rig.drops(), [], "{hook:?}");
    }
}

/// Both directions, packet by packet, and in their midst `end`. Which of the packets passed.
fn until_the_end(rig: &Rig, family: Family, end: impl FnOnce()) -> [Vec<bool>; 2] {
    let progress = [AtomicU64::new(0), AtomicU64::new(0)];
    let ended = AtomicBool::new(false);
    let run = |cpu: usize, frame: Vec<u8>| {
        cpu::stay_on_nth(cpu).unwrap();
        let mut passed = Vec::new();
        let mut left = PACKETS_AROUND_THE_END;
        while left > 0 && passed.len() < PACKETS_MAX {
            passed.push(rig.passes(&frame, 1));
            progress[cpu].fetch_add(1, Relaxed);
            left -= u64::from(ended.load(Relaxed));
        }
        passed
    };
    thread::scope(|scope| {
        let original = scope.spawn(|| run(0, client_says(family, 0, 0)));
        let reply = scope.spawn(|| run(1, server_acks(family)));
        while progress.iter().any(|progress| progress.load(Relaxed) < PACKETS_AROUND_THE_END) {
            thread::yield_now();
        }
        end();
        ended.store(true, Relaxed);
        [original, reply].map(|thread| thread.join().unwrap())
    })
}

/// A flow moves from one table to the other when it gets its answer. Whoever looks for it meanwhile finds it.
#[test]
fn a_flow_is_found_while_it_moves() {
    for hook in HOOKS {
        let rig = Rig::new(hook);
        for family in FAMILIES {
            let barrier = Barrier::new(2);
            let there = |port| family.udp(port, 53).payload([7; 20]).build();
            let back = |port| family.udp_back(53, port).payload([7; 20]).build();
            let run = |cpu: usize| {
                cpu::stay_on_nth(cpu).unwrap();
                for port in 1..=DATAGRAM_FLOWS {
                    let frame = if cpu == 0 { there(port) } else { back(port) };
                    if cpu == 0 {
                        assert!(rig.passes(&frame, 1));
                    }
                    barrier.wait();
                    for _ in 0..DATAGRAMS {
                        assert!(rig.passes(&frame, 1));
                    }
                }
            };
            thread::scope(|scope| {
                scope.spawn(|| run(0));
                scope.spawn(|| run(1));
            });
        }
        assert_eq!(rig.drops(), [], "{hook:?}");
        let flows = 2 * u64::from(DATAGRAM_FLOWS);
        let [opened, completed] = [Counter::FlowsOpened, Counter::FlowsCompleted]
            .map(|counter| rig.tables.counter(counter).unwrap());
        assert_eq!((opened, completed), (flows, flows), "{hook:?}");
        let half_open = rig.tables.half_open_v4().unwrap().keys().count()
            + rig.tables.half_open_v6().unwrap().keys().count();
        assert_eq!(half_open, 0, "{hook:?}");
        // What another CPU counts in the moment of the move itself is lost with the place that it moved from.
        let exact = [u64::from(DATAGRAMS) + 1, u64::from(DATAGRAMS)];
        let (v4, v6) = (rig.tables.flows_v4().unwrap(), rig.tables.flows_v6().unwrap());
        let v4 = v4.iter().map(|entry| entry.unwrap().1);
        let v6 = v6.iter().map(|entry| entry.unwrap().1);
        let mut missed = [0, 0];
        for flow in v4.chain(v6) {
            for ((missed, tally), exact) in missed.iter_mut().zip(flow.tallies).zip(exact) {
                assert!(tally.packets <= exact, "{hook:?}: {flow:?}");
                *missed += exact - tally.packets;
            }
        }
        println!("{hook:?}: {missed:?} packets of {flows} flows counted where they were no more");
        assert_eq!(missed[1], 0, "{hook:?}: the packet that moves the flow counts first");
        assert!(missed[0] <= flows, "{hook:?}: not more than one of each flow");
    }
}

fn client(family: Family) -> Packet {
    family.tcp(PORT, SERVER_PORT).window(WINDOW)
}

fn server(family: Family) -> Packet {
    Packet::tcp(family.camera_at(SERVER_PORT), family.client_at(PORT)).window(WINDOW)
}

/// Sequence number of the client's byte number `offset`.
fn client_at(offset: u32) -> u32 {
    CLIENT_ISN.wrapping_add(1 + offset)
}

fn server_at(offset: u32) -> u32 {
    SERVER_ISN.wrapping_add(1 + offset)
}

/// Bytes before frame `number` of a round.
fn said(round: u32, number: u32) -> u32 {
    (round * FRAMES + number) * PAYLOAD.len() as u32
}

/// New bytes, and an acknowledgment of all that the other end said in the rounds before.
fn client_says(family: Family, round: u32, number: u32) -> Vec<u8> {
    let (seq, ack) = (client_at(said(round, number)), server_at(said(round, 0)));
    client(family).flags("PA").seq(seq).ack(ack).payload(PAYLOAD).build()
}

fn server_says(family: Family, round: u32, number: u32) -> Vec<u8> {
    let (seq, ack) = (server_at(said(round, number)), client_at(said(round, 0)));
    server(family).flags("PA").seq(seq).ack(ack).payload(PAYLOAD).build()
}

fn server_acks(family: Family) -> Vec<u8> {
    server(family).flags("A").seq(server_at(0)).ack(client_at(0)).build()
}

fn parsed(frame: &[u8]) -> wire::Packet {
    let mut packet = wire::Packet::default();
    assert_eq!(wire::parse(frame, &mut packet), Parsed::Ip);
    packet
}

fn ip_len(frame: &[u8]) -> u64 {
    parsed(frame).ip_len.into()
}

fn count(passed: &[bool]) -> u64 {
    passed.iter().filter(|&&passed| passed).count() as u64
}

fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap()
}
