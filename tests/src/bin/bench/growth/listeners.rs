//! What events cost the controller, by the number of those who listen to them, and how many arrive.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use firewall_common::{
    event::{Ring, Untold},
    reason::Reason,
};
use firewall_user::{
    events::Criteria,
    instance::Instance,
    losses::{Loss, losses, total},
    object::TC_INGRESS,
    subscribe::Request,
    tables::Tables,
};
use lab::{Fwx, Lab, Mode, wait};
use nix::unistd::{SysconfVar, sysconf};

use crate::{
    number::figure,
    packet::{Conversation, Family, Hook, Service},
    section::{Chart, ChartKind, Line, Section, Table},
};

/// What clients ask for: what is sent, and not that connections begin for it.
const KINDS: [&str; 2] = ["connection_killed", "packet_dropped"];
/// Events come in portions, so long after each other.
const TICK: Duration = Duration::from_millis(5);
/// What is on its way has arrived when nothing did for so long: of many events, and of a few.
const SILENCE: Duration = Duration::from_secs(2);
const SHORT_SILENCE: Duration = Duration::from_millis(100);

/// The filter enforces on the port of [`Service::Filtered`], strictly; whatever else may begin.
const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "allow"
[tables]
completed = 65536
half_open = 16384
[protocol.rtsp]
transport = "tcp"
ports = [556]
filter = "rtsp"
[filter.rtsp]
mode = "enforce"
profile = "strict"
"#;

pub(super) struct Plan {
    listeners: Vec<usize>,
    /// Events a second.
    rates: Vec<u32>,
    /// For how long they come.
    time: Duration,
    /// Drops that come at once.
    drops: u32,
}

impl Plan {
    pub(super) fn new(is_quick: bool) -> Self {
        let listeners = vec![1, 10, 100];
        if is_quick {
            let time = Duration::from_millis(700);
            Self { listeners, rates: vec![2_000, 20_000], time, drops: 1_000_000 }
        } else {
            let (rates, time) = (vec![1_000, 5_000, 20_000, 100_000], Duration::from_secs(3));
            Self { listeners, rates, time, drops: 10_000_000 }
        }
    }
}

pub(super) fn measure(plan: &Plan, progress: &impl Fn(&str)) -> Result<Section> {
    let lab = Lab::single()?;
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw"))?;
    fwx.run(POLICY, Mode::Tc)?;
    let mut source = Source::open(&fwx)?;
    let mut heard = Vec::new();
    for &listeners in &plan.listeners {
        for &rate in &plan.rates {
            heard.push(source.play(listeners, rate, plan.time)?);
        }
        progress(&format!("{listeners} listeners done"));
    }
    let drops = source.drop(plan.drops)?;
    progress("drops done");
    let method = format!(
        "A controller in a lab, and clients on its socket, as `fwx events` is one, who ask for kills and drops alone. \
         Events are kills by the strict RTSP filter, which no rate limit holds back: connections whose first reply \
         lacks a CSeq, each segment given to the very program that is attached, by test-run, at an even rate for \
         {:.1} s, as far as one CPU makes them. Lost in the ring: the kernel found no room in that of the kills, and \
         counted it. Missed: a client was more than 10,000 events behind, and was told how many it missed. The \
         controller's CPU time is what the kernel accounts to its process; 100 % is one CPU. It holds what the \
         controller takes for the beginnings of these connections too, of which 200 a second are events. Sender, \
         controller and clients share this machine's CPUs. Drops are limited to 200 events a second of one reason and \
         CPU; what is not said is counted.",
        plan.time.as_secs_f64()
    );
    Ok(Section {
        title: "Listeners",
        method,
        tables: vec![table(&heard), drops.table()],
        charts: vec![chart(plan, &heard)],
        goals: Vec::new(),
    })
}

/// What became of events.
struct Heard {
    listeners: usize,
    /// Events a second that were to come.
    rate: u32,
    sent: u64,
    /// How long sending took, and how long it was until the last arrived.
    sent_in: Duration,
    arrived_in: Duration,
    lost: u64,
    /// Of all listeners, on average.
    received: f64,
    missed: f64,
    /// The controller's.
    cpu: Duration,
}

fn table(heard: &[Heard]) -> Table {
    let columns = [
        "clients",
        "events a second",
        "events",
        "lost in the ring",
        "missed by a client",
        "reached a client",
        "a second",
        "controller's CPU, %",
        "us an event",
    ];
    let row = |heard: &Heard| {
        vec![
            heard.listeners.to_string(),
            figure((heard.sent as f64 / heard.sent_in.as_secs_f64()).round()),
            figure(heard.sent as f64),
            figure(heard.lost as f64),
            figure(heard.missed.round()),
            figure(heard.received.round()),
            figure((heard.received / heard.arrived_in.as_secs_f64()).round()),
            format!("{:.0}", heard.share() * 100.0),
            format!("{:.1}", heard.cpu.as_secs_f64() * 1e6 / heard.told()),
        ]
    };
    Table {
        title: "Events that nothing holds back".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: heard.iter().map(row).collect(),
    }
}

fn chart(plan: &Plan, heard: &[Heard]) -> Chart {
    let line = |&rate: &u32| Line {
        name: format!("up to {} events a second", figure(f64::from(rate))),
        points: heard
            .iter()
            .filter(|heard| heard.rate == rate)
            .map(|heard| (heard.listeners as f64, heard.cpu.as_secs_f64() * 1e6 / heard.told()))
            .collect(),
    };
    Chart {
        name: "listeners".to_owned(),
        title: "The controller's CPU time for an event".to_owned(),
        value: "us an event".to_owned(),
        kind: ChartKind::Lines {
            over: "clients that listen".to_owned(),
            lines: plan.rates.iter().map(line).collect(),
        },
    }
}

impl Heard {
    /// The share of a CPU that the controller took, from the first event to the last that arrived.
    fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.arrived_in.as_secs_f64()
    }

    /// Events that the controller got.
    fn told(&self) -> f64 {
        (self.sent - self.lost).max(1) as f64
    }
}

/// What became of drops that came at once.
struct Drops {
    count: u64,
    told: u64,
    suppressed: u64,
    lost: u64,
    took: Duration,
}

impl Drops {
    fn table(&self) -> Table {
        let columns = ["drops", "a second", "told", "suppressed", "lost in the ring"];
        let Self { count, told, suppressed, lost, took } = self;
        let rate = (*count as f64 / took.as_secs_f64()).round();
        let figures = [*count as f64, rate, *told as f64, *suppressed as f64, *lost as f64];
        Table {
            title: "Drops of one reason, by one CPU".to_owned(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: vec![figures.map(figure).to_vec()],
        }
    }
}

/// Where events come from: the program that the controller attached, given packets of a connection.
struct Source {
    program: SchedClassifier,
    tables: Tables,
    socket: std::path::PathBuf,
    controller: u32,
    /// A connection from its SYN to what it is killed for.
    segments: Vec<Vec<u8>>,
}

impl Source {
    fn open(fwx: &Fwx<'_>) -> Result<Self> {
        let instance = Instance::new(fwx.instance())?;
        let pin = instance.programs().join(TC_INGRESS);
        let program = SchedClassifier::from_pin(&pin)
            .with_context(|| format!("cannot open {}", pin.display()))?;
        let controller = fwx.status()?.controller.pid.context("the controller has no number")?;
        let connection = Conversation::new(Family::V4, Service::Filtered, 1);
        let [request, _] = connection.asks_for_media();
        let segments = connection.handshake().into_iter().chain([request, connection.odd_reply(0)]);
        Ok(Self {
            program,
            tables: Tables::pinned(&instance.maps()),
            socket: instance.socket(),
            controller,
            segments: segments.collect(),
        })
    }

    fn run(&self, frame: &[u8], repeat: u32, verdict: u32) -> Result<()> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let result = self.program.test_run(options).context("cannot run the attached program")?;
        ensure!(result.return_value == verdict, "the verdict was {}", result.return_value);
        Ok(())
    }

    /// One event: the connection begins over its own tombstone, and is killed. The segment that it is killed for becomes
    /// a RST and passes.
    fn say(&self) -> Result<()> {
        self.segments.iter().try_for_each(|segment| self.run(segment, 1, Hook::Tc.pass()))
    }

    fn play(&mut self, count: usize, rate: u32, time: Duration) -> Result<Heard> {
        let listeners = self.listeners(count)?;
        let lost = self.lost_kills()?;
        let cpu = cpu_time(self.controller)?;
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while sent < due && start.elapsed() < time {
                self.say()?;
                sent += 1;
            }
            thread::sleep(TICK);
        }
        let sent_in = start.elapsed();
        let lost = self.lost_kills()? - lost;
        let arrived_in = arrival(&listeners, sent - lost, start, SILENCE);
        let cpu = cpu_time(self.controller)?.saturating_sub(cpu);
        for one in &listeners {
            let (received, missed) = (one.received(), one.missed());
            ensure!(
                received + missed + lost == sent,
                "{sent} kills, of which {lost} were lost, and a client received {received} and missed {missed}"
            );
        }
        let mean = |of: fn(&Listener) -> u64| {
            listeners.iter().map(of).sum::<u64>() as f64 / listeners.len().max(1) as f64
        };
        let (received, missed) = (mean(Listener::received), mean(Listener::missed));
        Ok(Heard { listeners: count, rate, sent, sent_in, arrived_in, lost, received, missed, cpu })
    }

    /// Kills that found no room in their ring, so far.
    fn lost_kills(&self) -> Result<u64> {
        Ok(self.untold(|loss| loss.ring == Ring::Kills)?.lost)
    }

    /// Events of a kind that nobody got to read, so far.
    fn untold(&self, is_of_kind: impl Fn(&Loss) -> bool) -> Result<Untold> {
        let mut losses = losses(&self.tables)?;
        losses.retain(is_of_kind);
        Ok(total(&losses))
    }

    /// Segments of no connection come, and are dropped.
    fn drop(&mut self, count: u32) -> Result<Drops> {
        let listeners = self.listeners(1)?;
        let untold = || self.untold(|loss| loss.reason == Reason::TcpNotSyn);
        let before = untold()?;
        let frame = Conversation::new(Family::V4, Service::Fresh, 2).acknowledgment();
        let start = Instant::now();
        self.run(&frame, count, Hook::Tc.drop())?;
        let took = start.elapsed();
        let after = untold()?;
        let (suppressed, lost) = (after.held_back - before.held_back, after.lost - before.lost);
        let count = u64::from(count);
        arrival(&listeners, count - suppressed - lost, start, SILENCE);
        let told = listeners.iter().map(Listener::received).sum();
        ensure!(
            told + suppressed + lost == count,
            "{count} drops, of which {told} were told, {suppressed} suppressed and {lost} lost"
        );
        Ok(Drops { count, told, suppressed, lost, took })
    }

    /// So many listeners, all of whom hear.
    fn listeners(&mut self, count: usize) -> Result<Vec<Listener>> {
        let listeners =
            (0..count).map(|_| Listener::connect(&self.socket)).collect::<Result<Vec<_>>>()?;
        wait::until("every listener hears", || {
            self.say()?;
            let heard = listeners.iter().filter(|listener| listener.received() > 0).count();
            ensure!(heard == count, "{heard} of {count} do");
            Ok(())
        })?;
        // What else was said meanwhile is to arrive before anything is counted.
        arrival(&listeners, u64::MAX, Instant::now(), SHORT_SILENCE);
        listeners.iter().for_each(Listener::forget);
        Ok(listeners)
    }
}

/// Waits until `count` events have reached or missed every listener, or none does for `silence`. Returns how long after
/// `start` the last one did.
fn arrival(listeners: &[Listener], count: u64, start: Instant, silence: Duration) -> Duration {
    let total = || listeners.iter().map(|one| one.received() + one.missed()).sum::<u64>();
    let wanted = count.saturating_mul(listeners.len() as u64);
    let (mut seen, mut at) = (total(), Instant::now());
    while seen < wanted && at.elapsed() < silence {
        thread::sleep(Duration::from_millis(2));
        let now = total();
        if now != seen {
            (seen, at) = (now, Instant::now());
        }
    }
    at.duration_since(start)
}

/// A client on the controller's socket.
struct Listener {
    stream: UnixStream,
    received: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    reader: Option<JoinHandle<()>>,
}

impl Listener {
    fn connect(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        let criteria = Criteria { event: KINDS.map(str::to_owned).to_vec(), ..Criteria::default() };
        let request = Request { follow: true, last: Some(0), criteria, ..Request::default() };
        writeln!(stream, "{}", serde_json::to_string(&request)?)?;
        let (received, missed) = (Arc::default(), Arc::default());
        let counts = (Arc::clone(&received), Arc::clone(&missed));
        let lines = BufReader::new(stream.try_clone()?);
        let reader = thread::spawn(move || count(lines, &counts.0, &counts.1));
        Ok(Self { stream, received, missed, reader: Some(reader) })
    }

    fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    fn forget(&self) {
        self.received.store(0, Relaxed);
        self.missed.store(0, Relaxed);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Counts the events that come, and those that a line says are missing.
fn count(mut lines: BufReader<UnixStream>, received: &AtomicU64, missed: &AtomicU64) {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|len| len > 0) {
        match missing(&line) {
            Some(count) => missed.fetch_add(count, Relaxed),
            None => received.fetch_add(1, Relaxed),
        };
        line.clear();
    }
}

/// How many events a line says that this client missed, if it says so.
fn missing(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" events are missing here")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// CPU time of a process so far, in the kernel and outside (proc_pid_stat(5)).
pub(super) fn cpu_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} says {stat:?}"))?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the clock has no ticks")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The fields `utime` and `stime`, of which the name in parentheses may have any letters before them.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_was_too_slow_counts_what_it_missed() {
        let line = r#"{"event":"control","message":"this subscriber was too slow: 1234 events are missing here"}"#;
        assert_eq!(missing(line), Some(1_234));
        assert_eq!(missing(r#"{"event":"filter_finding","event_id":7}"#), None);
    }

    #[test]
    fn a_processs_time_stands_behind_its_name() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 1 0 0 0 250 17 0 0 20 0 5 0 100 0";
        assert_eq!(ticks(stat), Some(267));
        assert_eq!(ticks("42 (fwx) S 1"), None);
    }
}
