//! The controller's socket: many readers, slow ones, other users, nonsense, and events that outlive the controller.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::UdpSocket,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use firewall_common::reason::Reason;
use firewall_user::{
    event::{Event, rfc3339},
    events::{EventSettings, schema},
    hub::SEATS,
    instance::{Instance, State},
};
use lab::{
    Fwx, Lab, Mode, find_binary,
    peers::{
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use serde_json::{Value, json};

/// A user and a group that every system has, `nobody` and `daemon`, and who have no more rights than any other.
const USER: u32 = 65_534;
const GROUP: u32 = 1;
const GROUP_NAME: &str = "daemon";
const FOLLOW: &str = r#"{"follow":true,"last":0}"#;

/// A program that has the socket open.
struct Reader {
    lines: BufReader<UnixStream>,
}

impl Reader {
    fn connect(fwx: &Fwx<'_>, request: &str) -> Result<Self> {
        let path = instance(fwx).socket();
        let mut stream = UnixStream::connect(&path)
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        // One that is refused may be gone already.
        let _ = stream.write_all(format!("{request}\n").as_bytes());
        Ok(Self { lines: BufReader::new(stream) })
    }

    /// The next line; `None`: the controller ended the connection.
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        // One that it did not listen to the end to is told so by an error.
        match self.lines.read_line(&mut line) {
            Ok(1..) => Some(serde_json::from_str(&line).unwrap()),
            _ => None,
        }
    }

    fn all(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// What comes up to the event `number`, which is the last.
    fn up_to(&mut self, number: u64) -> Vec<Value> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|last: &Value| last["event_id"] != number) {
            lines.push(self.next().expect("the controller ended the connection"));
        }
        lines
    }
}

fn instance(fwx: &Fwx<'_>) -> Instance {
    Instance::new(fwx.instance()).unwrap()
}

/// Does what `[events]` of a policy does.
fn set(fwx: &Fwx<'_>, events: EventSettings) {
    let instance = instance(fwx);
    let _lock = instance.lock_for_change().unwrap();
    let state = instance.state().unwrap().unwrap();
    instance.write_state(&State { events, ..state }).unwrap();
}

/// An event with a number of its own, now.
fn event(kind: &str, number: u64) -> Value {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let control = Event::control(number, None, now, Reason::None, "x".repeat(100));
    serde_json::to_value(Event { event: kind.to_owned(), ..control }).unwrap()
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["event_id"].as_u64().unwrap()).collect()
}

fn has_ended(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_err()
}

#[test]
fn the_status_tells_all_but_what_only_a_stuck_controller_knows() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("stuck")).unwrap();
    fwx.run(&policy::open(&["lan0", "wan0"]), Mode::Auto).unwrap();
    let controller = Pid::from_raw(instance(&fwx).controller().flatten().unwrap());
    kill(controller, Signal::SIGSTOP).unwrap();
    let stuck = fwx.call(&["status"]);
    let as_json = fwx.call(&["status", "-o", "json"]);
    kill(controller, Signal::SIGCONT).unwrap();
    let stuck = stuck.unwrap().success().unwrap();
    assert!(stuck.contains("exports: not known: the controller does not answer"), "{stuck}");
    assert!(stuck.contains("packets: "), "{stuck}");
    let status: Value = serde_json::from_str(&as_json.unwrap().success().unwrap()).unwrap();
    let why = status["exports_unknown"].as_str().unwrap();
    assert!(why.starts_with("the controller does not answer"), "{why}");
    let status = fwx.call(&["status"]).unwrap().success().unwrap();
    assert!(!status.contains("not known"), "{status}");
}

#[test]
fn each_reader_has_all_but_what_it_was_too_slow_for() {
    const BURST: u64 = 500;
    const BURSTS: u64 = 60;
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();

    let connect = || Reader::connect(&fwx, FOLLOW).unwrap();
    let mut readers: Vec<_> = (0..8).map(|_| connect()).collect();
    let mut idle = connect();
    let mut victim =
        lab.gateway().start("events", fwx.command(&["events", "-f", "-o", "json"])).unwrap();
    fwx.publish([event("control", 1)].into_iter()).unwrap();
    readers.iter_mut().for_each(|reader| drop(reader.up_to(1)));
    idle.up_to(1);
    wait::until("`fwx events` follows", || {
        ensure!(victim.stdout()?.contains("\"event_id\":1,"), "it has not said so");
        Ok(())
    })
    .unwrap();

    for burst in 0..BURSTS {
        let first = 1_000 + burst * BURST;
        let kind = |number| if number == first { "connection_killed" } else { "packet_dropped" };
        fwx.publish((first..first + BURST).map(|number| event(kind(number), number))).unwrap();
        for reader in &mut readers {
            let told = numbers(&reader.up_to(first + BURST - 1));
            assert_eq!(told, (first..first + BURST).collect::<Vec<_>>());
        }
        if burst == 1 {
            victim.signal(Signal::SIGKILL).unwrap();
        }
    }
    wait::until("the killed reader is gone", || {
        ensure!(has_ended(victim.pid()) || victim.exit_status()?.is_some(), "it is there");
        Ok(())
    })
    .unwrap();

    let last = 1_000 + BURST * BURSTS;
    fwx.publish([event("connection_killed", last)].into_iter()).unwrap();
    let late = idle.up_to(last);
    let kills: Vec<_> =
        late.iter().filter(|line| line["event"] == "connection_killed").cloned().collect();
    let wanted: Vec<_> = (0..=BURSTS).map(|burst| 1_000 + burst * BURST).collect();
    assert_eq!(numbers(&kills), wanted, "a drop has crowded out a kill");
    let missing: Vec<u64> = late.iter().filter_map(missing).collect();
    assert!(!missing.is_empty(), "{} lines and none is missing", late.len());
    let told = (late.len() - missing.len()) as u64;
    assert_eq!(told + missing.iter().sum::<u64>(), BURST * BURSTS + 1);
}

/// How many events are missing, if a line says so.
fn missing(line: &Value) -> Option<u64> {
    let message = line["message"].as_str()?;
    let message = message.strip_prefix("this subscriber was too slow: ")?;
    let (count, rest) = message.split_once(' ').unwrap();
    assert_eq!(rest, format!("events are missing here: {count} packet_dropped"));
    count.parse().ok()
}

/// `fwx events` in a place where every user may run it.
fn copy_for_all(directory: &Path) -> std::path::PathBuf {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.join("fwx");
    fs::copy(find_binary().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// What `work` returns as another user, who is in the groups.
fn as_user<T: Send + 'static>(
    groups: &'static [u32],
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    thread::spawn(move || {
        // The system calls themselves, because those of the C library change all threads of the process.
        // SAFETY: they take numbers, and a list that lives on; and this thread does nothing but `work` behind them.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()), 0);
            assert_eq!(libc::syscall(libc::SYS_setresgid, USER, USER, USER), 0);
            assert_eq!(libc::syscall(libc::SYS_setresuid, USER, USER, USER), 0);
        }
        assert_eq!(geteuid().as_raw(), USER);
        work()
    })
    .join()
    .unwrap()
}

#[test]
fn events_are_for_root_and_the_group_and_publishing_for_root() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let binary = copy_for_all(directory.path());
    let events = |groups: &[&str]| {
        let mut command = lab.gateway().command("setpriv");
        command.args(["--reuid=65534", "--regid=65534"]).args(groups).arg(&binary);
        command.args(["--instance", fwx.instance(), "events", "-o", "json"]);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (is_done, _, said) = events(&["--clear-groups"]);
    assert!(!is_done && said.contains("are root's to read: try it with sudo"), "{said}");

    let socket = instance(&fwx).socket();
    let owner = |mode: u32, group: u32| {
        wait::until("the socket changes hands", || {
            let now = fs::metadata(&socket)?;
            ensure!((now.mode() & 0o777, now.gid()) == (mode, group), "{now:?}");
            Ok(())
        })
        .unwrap();
    };
    set(&fwx, EventSettings { group: Some(GROUP_NAME.to_owned()), ..EventSettings::default() });
    owner(0o660, GROUP);
    let (is_done, _, said) = events(&["--clear-groups"]);
    assert!(!is_done && said.contains("for root and the group \"daemon\""), "{said}");
    let (is_done, told, said) = events(&["--groups", "1"]);
    assert!(is_done && told.contains("controller started"), "{said}");

    let path = socket.clone();
    let answer = as_user(&[GROUP], move || -> Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.write_all(b"{\"publish\":true}\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    assert_eq!(answer.unwrap().trim(), r#"{"error":"only root may publish events"}"#);
    let directory = instance(&fwx).run_directory();
    let files: Vec<_> =
        fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    for name in ["state.json", "lock"] {
        assert!(files.contains(&directory.join(name)), "{name} is not in {files:?}");
    }
    let readable = as_user(&[GROUP], move || {
        let readable = files.into_iter().filter(|file| fs::File::open(file).is_ok());
        (readable.collect::<Vec<_>>(), fs::read_dir(directory).is_ok())
    });
    assert_eq!(readable, (vec![], false));

    set(
        &fwx,
        EventSettings { group: Some("no-such-group".to_owned()), ..EventSettings::default() },
    );
    fwx.wait_for_event("that the group is missing", |event| {
        event.line.contains("there is no group \\\"no-such-group\\\": events are root's alone")
    })
    .unwrap();
    set(&fwx, EventSettings::default());
    owner(0o600, GROUP);
    let (is_done, _, said) = events(&["--groups", "1"]);
    assert!(!is_done && said.contains("are root's to read"), "{said}");
}

#[test]
fn nonsense_and_crowds_harm_nobody() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    for (request, why) in [
        ("\u{1b}[2J", "this is no request"),
        (r#"{"where":{"port":["x"]}}"#, "--port x: not a number"),
        (&"[".repeat(20_000), "a line has at most 16384 bytes"),
        (&"[".repeat(10_000), "this is no request"),
    ] {
        let answer = Reader::connect(&fwx, request).unwrap().all();
        let [line] = &answer[..] else { panic!("{answer:?}") };
        assert!(line["error"].as_str().unwrap().starts_with(why), "{line}");
    }

    let mut crowd: Vec<_> = (0..300).map(|_| Reader::connect(&fwx, FOLLOW).unwrap()).collect();
    // Whoever got a place asks for events to come; who did not is told so.
    let refused = crowd.split_off(SEATS);
    for reader in refused {
        let answer = reader.all();
        let error = answer[0]["error"].as_str().unwrap();
        assert!(error.starts_with("too many programs read events already"), "{error}");
    }
    fwx.filter(&["mode", "rtsp", "monitor"]).unwrap();
    for reader in &mut crowd {
        let line = reader.next().unwrap();
        assert!(line["message"].as_str().unwrap().starts_with("filter of protocol rtsp"), "{line}");
    }
    drop(crowd);
    fwx.wait_for_event("what happened", |event| event.line.contains("filter of protocol rtsp"))
        .unwrap();
}

#[test]
fn what_really_happens_is_valid_by_the_schema() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "strict"), Mode::Auto).unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(1).end, Some(End::Reset));
    let _ = lab.client.run(|| UdpSocket::bind("0.0.0.0:0")?.send_to(b"x", "10.1.0.1:9")).unwrap();
    fwx.wait_for_event("a drop", |event| event.kind == "packet_dropped").unwrap();

    let schema = jsonschema::draft202012::new(&schema().to_value()).unwrap();
    let lines = Reader::connect(&fwx, r#"{"packets":true}"#).unwrap().all();
    for line in &lines {
        let errors: Vec<_> = schema.iter_errors(line).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
    }
    for kind in ["control", "connection_opened", "connection_killed", "packet_dropped"] {
        let mut these = lines.iter().filter(|line| line["event"] == kind);
        let line = these.next().unwrap_or_else(|| panic!("no {kind}: {lines:?}"));
        assert_eq!(line["src_ip"].is_string(), line["community_id"].is_string(), "{line}");
    }
    let id = |kind| {
        let line = lines.iter().find(|line| line["event"] == kind).unwrap();
        line["community_id"].clone()
    };
    assert_eq!(id("connection_opened"), id("connection_killed"));
}

#[test]
fn events_on_disk_outlive_the_controller() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    let settings = EventSettings { keep_bytes: KEEP, ..EventSettings::default() };
    let directory = keep(&fwx, settings.clone());
    let is_on_disk = |number| wait_until_on_disk(&directory, number);
    fwx.publish((1_000..2_000).map(|number| event("packet_dropped", number))).unwrap();
    is_on_disk(1_999);
    fwx.kill_controller().unwrap();
    // As a crash may leave it.
    for file in fs::read_dir(&directory).unwrap() {
        let mut file = fs::OpenOptions::new().append(true).open(file.unwrap().path()).unwrap();
        file.write_all(b"{\"timestamp\":\"20").unwrap();
    }

    fwx.run_again().unwrap();
    set(&fwx, settings);
    wait::until("events are kept again", || {
        let asked = ["events", "-o", "json", "--since", "1h", "--event", "packet_dropped"];
        let told = fwx.call(&asked)?.success()?;
        ensure!(told.lines().count() == 1_000, "{} are", told.lines().count());
        Ok(())
    })
    .unwrap();
    fwx.publish((2_000..2_500).map(|number| event("packet_dropped", number))).unwrap();
    is_on_disk(2_499);
    let drops = |request: &str| numbers(&Reader::connect(&fwx, request).unwrap().all());
    let since = r#"{"where":{"since":"1h","event":["packet_dropped"]}}"#;
    assert_eq!(drops(since), (1_000..2_500).collect::<Vec<_>>());
    let last = r#"{"last":700,"where":{"event":["packet_dropped"]}}"#;
    assert_eq!(drops(last), (1_800..2_500).collect::<Vec<_>>());
    assert_eq!(
        drops(r#"{"where":{"event":["packet_dropped"]}}"#),
        (2_000..2_500).collect::<Vec<_>>()
    );

    // More than there is room for: the oldest go, and no file is anybody else's.
    let many = 4 * KEEP / 250;
    fwx.publish((10_000..10_000 + many).map(|number| event("connection_killed", number))).unwrap();
    is_on_disk(10_000 + many - 1);
    let mut total = 0;
    for file in fs::read_dir(&directory).unwrap() {
        let metadata = file.unwrap().metadata().unwrap();
        assert_eq!(metadata.mode() & 0o777, 0o600);
        total += metadata.blocks() * 512;
    }
    assert!(total <= KEEP, "{total}");
    let future = rfc3339(time::OffsetDateTime::now_utc().unix_timestamp_nanos() + 60_000_000_000);
    let none = format!(r#"{{"where":{{"since":"{future}"}}}}"#);
    assert_eq!(drops(&none), [] as [u64; 0]);
}

#[test]
fn a_flood_of_drops_takes_no_kill_from_the_disk() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    let directory = keep(&fwx, EventSettings { keep_bytes: KEEP, ..EventSettings::default() });
    let many = 4 * KEEP / 250;
    let drops = (10_000..10_000 + many).map(|number| event("packet_dropped", number));
    fwx.publish([event("connection_killed", 5_000)].into_iter().chain(drops)).unwrap();
    wait_until_on_disk(&directory, 10_000 + many - 1);
    fwx.kill_controller().unwrap();

    // Nobody remembers anything any more.
    let told = fwx.call(&["events", "-o", "json", "--since", "1h"]).unwrap().success().unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |number: u64| told.iter().position(|event| event["event_id"] == number);
    let (kill, gap) = (place(5_000).unwrap(), place(0).unwrap());
    assert_eq!(place(10_000), None);
    assert!(kill < gap && told[..gap].iter().all(|event| event["event"] != "packet_dropped"));
    let rest: Vec<_> = told[gap + 1..].iter().map(|event| &event["event_id"]).collect();
    assert!(rest.len() > 1_000 && *rest[rest.len() - 1] == json!(10_000 + many - 1));
    let said = told[gap]["message"].as_str().unwrap();
    assert!(said.ends_with("they made room on disk for later ones"), "{said}");

    let why = fwx.call(&["why", "-o", "json", "--event", "5000"]).unwrap().success().unwrap();
    let why: Value = serde_json::from_str(&why).unwrap();
    let missing = why["not_known"].as_array().unwrap();
    assert!(missing.iter().any(|it| it.as_str().unwrap().contains(said)), "{why}");
}

/// What the lab's disk has room for, in bytes.
const KEEP: u64 = 1 << 20;

/// Has events kept. Returns the directory in which they are.
fn keep(fwx: &Fwx, settings: EventSettings) -> PathBuf {
    set(fwx, settings);
    let directory = fwx.state_directory().join(fwx.instance()).join("events");
    // The controller's own word comes first, or else the store may have begun behind some of what follows.
    wait::until("events are kept", || {
        fwx.publish([event("control", 9)].into_iter())?;
        ensure!(directory.is_dir(), "there is no directory");
        Ok(())
    })
    .unwrap();
    directory
}

fn wait_until_on_disk(directory: &Path, number: u64) {
    wait::until("it is on disk", || {
        let mut text = String::new();
        for file in fs::read_dir(directory)? {
            text += &fs::read_to_string(file?.path())?;
        }
        ensure!(text.contains(&format!("\"event_id\":{number},")), "event {number} is not there");
        Ok(())
    })
    .unwrap();
}
