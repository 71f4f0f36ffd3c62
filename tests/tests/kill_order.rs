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
    event::{Bucket, EventKind, Ring, Untold},
    flow::{Flow, KeyV4, State},
    layout::{Command, CommandResult, Order},
    number::{COMMAND_CPU, numbered},
    reason::Reason,
    wire::{self, Parsed},
};
use firewall_user::{
    command::{Commander, Kill},
    event::Caught,
    flows::Key,
    generation::Over,
    losses::{Loss, losses},
    object::{self, COMMAND, Purpose, TC_INGRESS},
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
    let counted = rig.tables.reason_count(Reason::ConnectionKilled).unwrap();
    assert_eq!(counted, u64::from(KILLS), "{killer:?}");
    assert!(caused.len() > usize::from(KILLS) / 2, "{} kills caused drops", caused.len());
}

/// The ring of kills is open, and nobody reads it.
#[test]
fn where_kills_find_no_room_a_command_may_wait_or_kill_untold() {
    /// More than a ring has room for.
    const ENOUGH: u16 = 5_000;
    let rig = Rig::new();
    let mut rings = Rings::open(&rig.tables).unwrap();
    // Each CPU has a ring of its own.
    pin(0);
    let counted = || rig.tables.reason_count(Reason::ConnectionKilled).unwrap();
    let full = (0..ENOUGH).find(|number| {
        let port = FIRST_PORT + number;
        rig.give(&client(port).flags("S").seq(CLIENT_ISN));
        match rig.command(Order::TellAndKill, port, u64::from(*number) + 1) {
            CommandResult::Done => false,
            answer => {
                assert_eq!(answer, CommandResult::NoRoom);
                true
            }
        }
    });
    let full = full.expect("the ring of kills has an end");
    let told = u64::from(full);
    let port = FIRST_PORT + full;
    assert!(told > 500, "{told} kills found room");
    assert_eq!(rig.flow(port).state(), State::SynSent, "nothing was done");
    assert_eq!((counted(), losses(&rig.tables).unwrap()), (told, vec![]));

    assert_eq!(rig.command(Order::KillAnyway, port, told + 1), CommandResult::Untold);
    let flow = rig.flow(port);
    assert_eq!((flow.state(), flow.killed_by()), (State::Killed, event_number(told + 1)));
    let reason = Reason::ConnectionKilled;
    let lost = Untold { lost: 1, ..Untold::default() };
    assert_eq!(losses(&rig.tables).unwrap(), [Loss { ring: Ring::Kills, reason, untold: lost }]);
    assert_eq!(counted(), told + 1, "counted all the same");
    assert_eq!(
        rig.command(Order::KillAnyway, port, told + 2),
        CommandResult::NotDone,
        "dead already"
    );

    let heard: Vec<_> = rings.all().iter().map(|caught| caught.record.id).collect();
    assert_eq!(heard, (1..=told).map(event_number).collect::<Vec<_>>());
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
                let (event, now) = (event_number(number), monotonic_ns());
                let kill = Kill { event, reason: Reason::ConnectionKilled, now };
                let commander = Commander::loaded(&self.ebpf).unwrap();
                let flow = self.flow(port);
                let answer = commander.tell_and_kill(&Key::V4(key(port)), flow.id, kill).unwrap();
                assert_eq!(answer, CommandResult::Done);
            }
        }
    }

    /// Gives a command once, as [`Commander`] does again and again while there is no room.
    fn command(&self, order: Order, port: u16, number: u64) -> CommandResult {
        let command = Command {
            id: self.flow(port).id,
            event: event_number(number),
            now: monotonic_ns(),
            key_v4: key(port),
            order: order as u32,
            version: 4,
            reason: Reason::ConnectionKilled as u32,
            ..Command::default()
        };
        let options =
            TestRunOptions { data_in: Some(bytemuck::bytes_of(&command)), ..TestRunOptions::new() };
        let Program::SchedClassifier(program) = self.ebpf.program(COMMAND).unwrap() else {
            panic!("commands are a classifier's");
        };
        CommandResult::from_raw(program.test_run(options).unwrap().return_value).unwrap()
    }

    /// The flow from this port of the client's, in whichever table.
    fn flow(&self, port: u16) -> Flow {
        let key = key(port);
        let in_table = |name| {
            let flows: HashMap<MapData, KeyV4, Flow> = self.tables.open(name).unwrap();
            flows.get(&key, 0)
        };
        in_table("FLOWS_V4").or_else(|_| in_table("HALF_OPEN_V4")).unwrap()
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

/// Numbers as commands give them: no CPU has this one.
const fn event_number(number: u64) -> u64 {
    numbered(number, COMMAND_CPU)
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
