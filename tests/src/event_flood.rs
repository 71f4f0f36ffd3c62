//! Drops as fast as they come together with kills at an even rate, and whether what was told of both is right: each kill
//! told, before the drops that it caused, and each drop counted and accounted for.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::maps::{HashMap, MapData};
use firewall_common::{
    event::Untold,
    flow::{Flow, KeyV4, State},
    reason::Reason,
    wire::{self, ip_protocol},
};
use firewall_user::{
    instance::Instance,
    losses::{losses, total},
    tables::Tables,
};

use crate::{
    Event, Fwx, Host, Lab, Packet, Process, cpu,
    flood::{self, Flood, Segment},
    raw, wait,
};

/// What the gateway has to do: a filter kills on port 554, and nothing is let in without a SYN.
pub const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "allow"
[tables]
completed = 65536
half_open = 16384
[protocol.rtsp]
transport = "tcp"
ports = [554]
filter = "rtsp"
[filter.rtsp]
mode = "enforce"
profile = "strict"
"#;

const NOT_SYN: &str = Reason::TcpNotSyn.name();
/// Where the flood goes to.
const FLOODED_PORT: u16 = 8_000;
/// From one kill to the next: a hundred a second.
const PACE: Duration = Duration::from_millis(10);
/// Both ends of what is killed, at the link that is not flooded. No machine has these addresses.
const SPEAKER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 200);
const LISTENER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 201);
const RTSP_PORT: u16 = 554;
const REQUEST: &[u8] = b"OPTIONS rtsp://camera/ RTSP/1.0\r\nCSeq: 1\r\n\r\n";
/// The strict profile kills for want of a CSeq.
const REPLY: &[u8] = b"RTSP/1.0 200 OK\r\n\r\n";
const SPEAKER_ISN: u32 = 1_000;
const LISTENER_ISN: u32 = 5_000;
/// How long a segment may take to show in the tables.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of it. All that is counted is what changed meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long the flood and the kills went on.
    pub took: Duration,
    /// Frames of the flood that the link took.
    pub flood: u64,
    /// Segments of killed connections that were dropped.
    pub strays: u64,
    /// Drops for want of a SYN, by the gateway's counter.
    pub counted: u64,
    /// Connections that were killed, by their tombstones.
    pub kills: u64,
    /// Kills that were told, each once.
    pub kills_told: u64,
    /// Drops for want of a SYN that were told.
    pub drops_told: u64,
    /// Those of them that name a kill.
    pub with_cause: u64,
    /// Those of these that were told before the kill that they name.
    pub before_their_kill: u64,
    /// What nobody was told, of all reasons and rings.
    pub untold: Untold,
}

impl Seen {
    /// Whether every kill was told once, and before whatever it caused.
    pub fn kills_are_in_order(&self) -> bool {
        self.kills_told == self.kills && self.before_their_kill == 0
    }

    /// Whether there is nothing more to come.
    fn is_accounted_for(&self) -> bool {
        self.kills_told >= self.kills && self.is_exact()
    }

    /// Whether the counters tell of every packet, and the events with what is counted as untold of every drop.
    pub fn is_exact(&self) -> bool {
        self.counted == self.flood + self.strays
            && self.drops_told + self.untold.held_back + self.untold.lost == self.counted
    }
}

/// Floods the gateway and has `kills` connections killed meanwhile. `fwx` runs there by [`POLICY`], in native XDP.
pub fn play(lab: &Lab, fwx: &Fwx<'_>, kills: u16) -> Result<Seen> {
    let (client, gateway, camera) = (&lab.client, lab.gateway(), &lab.camera);
    let SocketAddr::V4(server) = camera.socket_v4(FLOODED_PORT) else { bail!("no IPv4 address") };
    prepare(gateway, camera)?;
    let tables = Tables::pinned(&Instance::new(fwx.instance())?.maps());
    let told = Follower::start(fwx, gateway)?;
    let flood = Flood::of(Segment::Ack, client, server)?;
    let mut condemned = Condemned::open(camera, &tables)?;

    let sent = flood::sent(client)?;
    let before = Counted::now(&tables)?;
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood.run_alone(&stop));
        let killed = condemned.kill_all(kills, &stop);
        stop.store(true, Relaxed);
        let flooded = flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        killed.and(flooded)
    })?;
    let took = start.elapsed();
    let flood = flood::sent(client)? - sent;

    let look = || {
        let after = Counted::now(&tables)?;
        let now = told.read()?;
        Ok(Seen {
            took,
            flood,
            strays: condemned.sent - condemned.passed()?,
            counted: after.dropped - before.dropped,
            kills: kills.into(),
            kills_told: now.kills,
            drops_told: now.drops,
            with_cause: now.with_cause,
            before_their_kill: now.before_their_kill,
            untold: Untold {
                held_back: after.untold.held_back - before.untold.held_back,
                lost: after.untold.lost - before.untold.lost,
                unheard: after.untold.unheard - before.untold.unheard,
            },
        })
    };
    let mut seen: Result<Seen> = Err(anyhow!("nobody looked"));
    // What is not accounted for in the end is for the caller to judge. That it cannot be looked at is an error at once.
    let _ = wait::until("everything is accounted for", || {
        seen = look();
        ensure!(seen.as_ref().map_or(true, Seen::is_accounted_for), "not yet");
        Ok(())
    });
    seen
}

/// The gateway passes on what goes to the ends that no machine has, and says nothing about the detour.
fn prepare(gateway: &Host, camera: &Host) -> Result<()> {
    let mac = camera.first_interface().mac;
    for end in [SPEAKER, LISTENER] {
        gateway.ip(&format!("neigh replace {end} lladdr {mac} dev wan0"))?;
    }
    gateway.sysctl("ipv4/conf/all/send_redirects", "0")?;
    gateway.sysctl("ipv4/conf/wan0/send_redirects", "0")
}

/// What is counted by the kernel programs.
struct Counted {
    dropped: u64,
    untold: Untold,
}

impl Counted {
    fn now(tables: &Tables) -> Result<Self> {
        let dropped = tables.reason_count(Reason::TcpNotSyn)?;
        Ok(Self { dropped, untold: total(&losses(tables)?) })
    }
}

/// Connections that are begun, killed and gone on with.
struct Condemned<'a> {
    host: &'a Host,
    flows: HashMap<MapData, KeyV4, Flow>,
    half_open: HashMap<MapData, KeyV4, Flow>,
    keys: Vec<KeyV4>,
    link: raw::Sender,
    /// Segments so far.
    sent: u64,
}

impl<'a> Condemned<'a> {
    fn open(host: &'a Host, tables: &Tables) -> Result<Self> {
        let (flows, half_open) = (tables.flows_v4()?, tables.half_open_v4()?);
        let link = host.run(|| raw::Sender::open(host.first_interface().name))??;
        Ok(Self { host, flows, half_open, keys: Vec::new(), link, sent: 0 })
    }

    /// So many, one every [`PACE`].
    fn kill_all(&mut self, count: u16, stop: &AtomicBool) -> Result<()> {
        let host = self.host;
        host.run(|| {
            // What the gateway does with a segment it does within the call that sends it, whoever floods meanwhile.
            cpu::have_alone()?;
            let start = Instant::now();
            for number in 0..count {
                let due = start + PACE * u32::from(number);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                ensure!(!stop.load(Relaxed), "the flood has ended");
                self.kill(1_024 + number).with_context(|| format!("connection {number}"))?;
            }
            Ok(())
        })?
    }

    /// From this host's network namespace. The link may be read by another CPU: each step waits for the one before.
    fn kill(&mut self, port: u16) -> Result<()> {
        let speaker = SocketAddr::from((SPEAKER, port));
        let listener = SocketAddr::from((LISTENER, RTSP_PORT));
        let key = key(port);
        let request = REQUEST.len() as u32;
        let says = |flags: &str, seq: u32| {
            let ack = LISTENER_ISN + 1;
            Packet::tcp(speaker, listener).flags(flags).seq(SPEAKER_ISN + seq).ack(ack)
        };
        let answers = |flags: &str, seq: u32, acked: u32| {
            let ack = SPEAKER_ISN + 1 + acked;
            Packet::tcp(listener, speaker).flags(flags).seq(LISTENER_ISN + seq).ack(ack)
        };
        self.send(Packet::tcp(speaker, listener).seq(SPEAKER_ISN))?;
        until("the SYN", || self.half_open.get(&key, 0).is_ok())?;
        self.send(answers("SA", 0, 0))?;
        until("its answer", || self.is_answered(&key))?;
        self.send(says("A", 1))?;
        until("the end of the handshake", || self.flow(&key).is_some())?;
        self.send(says("PA", 1).payload(REQUEST))?;
        until("the request", || self.flow(&key).is_some_and(|flow| flow.tallies[0].packets == 3))?;
        self.send(answers("PA", 1, request).payload(REPLY))?;
        until("the kill", || self.flow(&key).is_some_and(|flow| flow.state() == State::Killed))?;
        let next = 1 + REPLY.len() as u32;
        for _ in 0..2 {
            self.send(answers("PA", next, request).payload(REPLY))?;
            self.send(says("A", 1 + request))?;
        }
        self.keys.push(key);
        Ok(())
    }

    fn is_answered(&self, key: &KeyV4) -> bool {
        self.half_open.get(key, 0).is_ok_and(|flow| flow.state() == State::SynReceived)
            || self.flow(key).is_some()
    }

    fn flow(&self, key: &KeyV4) -> Option<Flow> {
        self.flows.get(key, 0).ok()
    }

    fn send(&mut self, packet: Packet) -> Result<()> {
        let interface = self.host.first_interface();
        let frame = packet.macs(interface.mac, interface.peer_mac).build();
        self.link.send(&frame)?;
        self.sent += 1;
        Ok(())
    }

    /// Segments that passed, or became the RST of a kill: those that the flows have counted.
    fn passed(&self) -> Result<u64> {
        self.keys.iter().try_fold(0, |sum, key| {
            let [original, reply] = self.flow(key).context("a tombstone is gone")?.tallies;
            Ok(sum + original.packets + reply.packets)
        })
    }
}

fn key(port: u16) -> KeyV4 {
    let packet = wire::Packet {
        version: 4,
        protocol: ip_protocol::TCP,
        source: [u32::from_ne_bytes(SPEAKER.octets()), 0, 0, 0],
        destination: [u32::from_ne_bytes(LISTENER.octets()), 0, 0, 0],
        source_port: port,
        destination_port: RTSP_PORT,
        ..wire::Packet::default()
    };
    KeyV4::of(&packet).key
}

/// Until the tables show what a segment did. No longer than it has to be: kills come at an even rate.
fn until(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        ensure!(start.elapsed() < PATIENCE, "{what} does not show in the tables");
        thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// One who follows the events, as an administrator does.
struct Follower(Process);

#[derive(Default)]
struct Told {
    kills: u64,
    drops: u64,
    with_cause: u64,
    before_their_kill: u64,
}

impl Follower {
    fn start(fwx: &Fwx<'_>, gateway: &Host) -> Result<Self> {
        let command = fwx.command(&["events", "--follow", "-o", "json"]);
        let follower = Self(gateway.start("follower", command)?);
        wait::until("somebody follows the events", || {
            ensure!(follower.0.stdout()?.contains("controller started"), "not yet");
            Ok(())
        })?;
        Ok(follower)
    }

    /// What has been told so far.
    fn read(&self) -> Result<Told> {
        let text = self.0.stdout()?;
        let mut told = Told::default();
        let mut killed = HashSet::new();
        // The last line may still be written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            ensure!(!line.contains("events are missing here"), "the follower was too slow");
            let event: Event = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if event.kind == "connection_killed" {
                told.kills += 1;
                ensure!(killed.insert(event.event_id), "told twice: {line}");
            } else if event.is_drop(NOT_SYN) {
                told.drops += 1;
                if let Some(cause) = event.caused_by {
                    told.with_cause += 1;
                    told.before_their_kill += u64::from(!killed.contains(&cause));
                }
            }
        }
        Ok(told)
    }
}
