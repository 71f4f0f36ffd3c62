//! A kill on one CPU while another drops the flow's packets: whoever kills, it is told before any drop that it caused.
//!
//! Threads of this process, one to a CPU, run the very programs by the kernel's test-run, and this one reads the rings as
//! the controller does.

use std::{
    collections::HashSet,
    sync::atomic::{
        AtomicBool, AtomicU16, AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, PerCpuArray, PerCpuValues},
    programs::{Program, TestRun as _, TestRunOptions},
    util::nr_cpus,
};
use firewall_common::{
    event::{Bucket, EventKind},
    flow::{Flow, KeyV4},
    layout::Answer,
    reason::Reason,
    wire::{self, Parsed},
};
use firewall_user::{
    command::{Commander, Kill},
    event::Caught,
    flows::Key,
    generation::Over,
    object::{self, Purpose, TC_INGRESS},
    policy::{Policy, TableSizes},
    ring::{Rings, monotonic_ns},
    tables::Tables,
};
use lab::{
    Packet,
    replaying::{Family, OPTIONS, REPLY_WITHOUT_CSEQ, RTSP_PORT, rtsp_policy},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Connections that are killed, one after the other.
const KILLS: u16 = 400;
const FIRST_PORT: u16 = 10_000;
/// Packets that the other CPU gives the flow after the kill before the next one begins.
const AFTER: u64 = 20;
const CLIENT_ISN: u32 = 1_000;
const SERVER_ISN: u32 = 5_000;

/// Who kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killer {
    Filter,
    Command,
}

#[test]
fn a_filters_kill_comes_before_the_drops_of_another_cpu() {
    kills_come_first(Killer::Filter);
}

#[test]
fn a_commands_kill_comes_before_the_drops_of_another_cpu() {
    kills_come_first(Killer::Command);
}

fn kills_come_first(killer: Killer) {
    let rig = Rig::new();
    let mut rings = Rings::open(&rig.tables).unwrap();
    let (port, given, over) = (AtomicU16::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut told: Vec<Caught> = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(0);
            for number in 0..KILLS {
                rig.begin(FIRST_PORT + number);
                port.store(FIRST_PORT + number, SeqCst);
                wait_for_more(&given, 2);
                rig.kill(killer, FIRST_PORT + number, u64::from(number) + 1);
                wait_for_more(&given, AFTER);
                rig.fill_buckets();
            }
            over.store(true, SeqCst);
        });
        scope.spawn(|| {
            pin(1);
            while !over.load(SeqCst) {
                let port = port.load(SeqCst);
                if port != 0 {
                    rig.give(&client(port).flags("A").seq(client_at(0)).ack(SERVER_ISN + 1));
                }
                given.fetch_add(1, SeqCst);
            }
        });
        while !over.load(Relaxed) {
            told.extend(rings.look());
        }
    });
    told.extend(rings.all());

    let (mut killed, mut caused) = (HashSet::new(), HashSet::new());
    for Caught { record, .. } in &told {
        if record.kind == EventKind::ConnectionKilled as u8 {
            assert!(killed.insert(record.id), "told once");
            assert!(record.started > 0 && record.packets[0] >= 2, "{record:?}");
        } else if record.reason == Reason::TcpNotSyn as u8 {
            assert_ne!(record.caused_by, 0, "{killer:?}: a drop without a cause: {record:?}");
            assert!(killed.contains(&record.caused_by), "{killer:?}: {record:?} before its kill");
            caused.insert(record.caused_by);
        }
    }
    println!("{killer:?}: drops of {} of {} kills were told", caused.len(), killed.len());
    assert_eq!(killed.len(), usize::from(KILLS));
    assert!(caused.len() > usize::from(KILLS) / 2, "{} kills caused drops", caused.len());
}

/// Waits until `counter` has gone on by `more`.
fn wait_for_more(counter: &AtomicU64, more: u64) {
    let until = counter.load(SeqCst) + more;
    while counter.load(SeqCst) < until {
        thread::yield_now();
    }
}

/// The programs, with the strict RTSP filter.
struct Rig {
    ebpf: Ebpf,
    tables: Tables,
}

impl Rig {
    fn new() -> Self {
        let sizes = TableSizes { completed: 16_384, half_open: 16_384 };
        let mut ebpf = object::load(Purpose::Bench, sizes).unwrap();
        object::register_filters(&mut ebpf).unwrap();
        let tables = Tables::of_loaded(&ebpf).unwrap();
        let policy = Policy::parse("test.toml", &rtsp_policy("enforce", "strict")).unwrap();
        tables.write_policy(&policy.compile(), Over::Nothing).unwrap();
        Self { ebpf, tables }
    }

    fn give(&self, packet: &Packet) {
        let frame = packet.build();
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        let Program::SchedClassifier(program) = self.ebpf.program(TC_INGRESS).unwrap() else {
            panic!("ingress of traffic control is a classifier");
        };
        program.test_run(options).unwrap();
    }

    /// A connection in which the server is to answer.
    fn begin(&self, port: u16) {
        self.give(&client(port).flags("S").seq(CLIENT_ISN));
        self.give(&server(port).flags("SA").seq(SERVER_ISN).ack(CLIENT_ISN + 1));
        self.give(&client(port).flags("A").seq(CLIENT_ISN + 1).ack(SERVER_ISN + 1));
        let request = client(port).flags("PA").seq(CLIENT_ISN + 1).ack(SERVER_ISN + 1);
        self.give(&request.payload(OPTIONS));
    }

    fn kill(&self, killer: Killer, port: u16, number: u64) {
        match killer {
            Killer::Filter => {
                let reply = server(port).flags("PA").seq(SERVER_ISN + 1).ack(client_at(0));
                self.give(&reply.payload(REPLY_WITHOUT_CSEQ));
            }
            Killer::Command => {
                let key = key(port);
                let flows: HashMap<MapData, KeyV4, Flow> = self.tables.flows_v4().unwrap();
                let id = flows.get(&key, 0).unwrap().id;
                // As commands number theirs: no CPU has this one.
                let event = number << 10 | 1022;
                let kill = Kill { event, reason: Reason::ConnectionKilled, now: monotonic_ns() };
                let commander = Commander::loaded(&self.ebpf).unwrap();
                let answer = commander.tell_and_kill(&Key::V4(key), id, kill).unwrap();
                assert_eq!(answer, Answer::Done);
            }
        }
    }

    /// So that drops of the next kill are told too.
    fn fill_buckets(&self) {
        let mut buckets: PerCpuArray<MapData, Bucket> = self.tables.open("BUCKETS").unwrap();
        let full = vec![Bucket::default(); nr_cpus().unwrap()];
        buckets.set(Reason::TcpNotSyn as u32, PerCpuValues::try_from(full).unwrap(), 0).unwrap();
    }
}

fn client(port: u16) -> Packet {
    Family::V4.tcp(port, RTSP_PORT)
}

fn server(port: u16) -> Packet {
    Packet::tcp(Family::V4.camera_at(RTSP_PORT), Family::V4.client_at(port))
}

/// The client's sequence number `offset` bytes behind its request.
fn client_at(offset: u32) -> u32 {
    CLIENT_ISN + 1 + OPTIONS.len() as u32 + offset
}

fn key(port: u16) -> KeyV4 {
    let mut packet = wire::Packet::default();
    assert_eq!(wire::parse(&client(port).build()[..], &mut packet), Parsed::Ip);
    KeyV4::of(&packet).key
}

/// Keeps this thread on a CPU, if there is one of this number.
fn pin(cpu: usize) {
    let mut only = CpuSet::new();
    only.set(cpu).unwrap();
    let _ = sched_setaffinity(Pid::from_raw(0), &only);
}
