//! Connections by hand: listed, looked at, killed, flushed; and those that end in silence.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::ensure;
use aya::maps::{HashMap, MapData};
use firewall_common::{
    flow::{Flow, KeyV4, State},
    reason::Reason,
};
use firewall_user::{instance::Instance, ring::monotonic_ns, tables::Tables};
use lab::{
    Event, Fwx, Host, Lab, Mode, Outcome,
    peers::{
        camera::Camera,
        player::{Player, Transport},
    },
    policy, wait,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(5);
/// Within this time both ends have to have their RST. They send nothing themselves.
const AT_ONCE: Duration = Duration::from_secs(1);
const KILLED: &str = "FWX_E_CONNECTION_KILLED";

/// What the gateway does with connections whose client is behind it.
const MASQUERADE: &str = "
table ip gateway {
    chain translate {
        type nat hook postrouting priority srcnat
        iifname lan0 oifname wan0 masquerade
    }
}";

/// Both ends of a TCP connection.
struct Conversation {
    near: TcpStream,
    far: TcpStream,
    _listener: TcpListener,
}

impl Conversation {
    fn between(client: &Host, server: &Host, address: SocketAddr) -> Self {
        // A child that another test starts at this moment has a copy of the listener before, until it runs its program.
        let listener =
            wait::until("the address is free", || Ok(server.run(|| TcpListener::bind(address))??))
                .unwrap();
        let near = client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
        let (far, _) = listener.accept().unwrap();
        let mut talk = Self { near, far, _listener: listener };
        talk.converse();
        talk
    }

    /// Something goes each way.
    fn converse(&mut self) {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"hello").unwrap();
            to.set_read_timeout(Some(PATIENCE)).unwrap();
            to.read_exact(&mut [0; 5]).unwrap();
        }
    }

    fn port(&self) -> u16 {
        self.near.local_addr().unwrap().port()
    }

    fn assert_reset(&self, what: &str) {
        let started = Instant::now();
        for (end, mut stream) in [("client", &self.near), ("server", &self.far)] {
            stream.set_read_timeout(Some(AT_ONCE)).unwrap();
            let error = stream.read(&mut [0; 5]).expect_err("nobody sent anything");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{what}, {end}: {error}");
        }
        assert!(started.elapsed() < AT_ONCE, "{what}: {:?}", started.elapsed());
    }

    fn assert_lives(&self, what: &str) {
        for mut stream in [&self.near, &self.far] {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let error = stream.read(&mut [0; 5]).expect_err("nobody sent anything");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{what}: {error}");
        }
    }
}

fn two_protocols() -> String {
    let rest = r#"
[protocol.rtsp]
transport = "tcp"
ports = [554]

[[rule]]
name = "everything"
action = "allow"
"#;
    policy::open(&["lan0", "wan0"]) + rest
}

/// What `fwx conn list -o json` prints with `options`.
fn list(fwx: &Fwx<'_>, options: &[&str]) -> Vec<Value> {
    let arguments = [&["conn", "list", "-o", "json"], options].concat();
    let text = fwx.call(&arguments).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn source_ports(rows: &[Value]) -> Vec<u64> {
    let mut ports: Vec<_> = rows.iter().filter_map(|row| row["src_port"].as_u64()).collect();
    ports.sort_unstable();
    ports
}

fn call(fwx: &Fwx<'_>, arguments: &[&str]) -> Outcome {
    fwx.call(arguments).unwrap()
}

#[test]
fn filters_choose_what_is_listed() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&two_protocols(), Mode::Auto).unwrap();
    let camera = |port| [lab.camera.socket_v4(port), lab.camera.socket_v6(port)];
    let [rtsp_v4, rtsp_v6] =
        camera(554).map(|address| Conversation::between(&lab.client, &lab.camera, address));
    let [web_v4, _web_v6] =
        camera(80).map(|address| Conversation::between(&lab.client, &lab.camera, address));
    let udp = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(6000))).unwrap().unwrap();
    udp.send_to(b"nobody answers", "10.2.0.77:6001").unwrap();

    assert_eq!(list(&fwx, &[]).len(), 4);
    assert_eq!(
        source_ports(&list(&fwx, &["--protocol", "rtsp"])),
        sorted([rtsp_v4.port(), rtsp_v6.port()])
    );
    assert_eq!(
        source_ports(&list(&fwx, &["--network", "10.2.0.0/24"])),
        sorted([rtsp_v4.port(), web_v4.port()])
    );
    let v6 = lab.camera.socket_v6(0).ip().to_string();
    assert_eq!(list(&fwx, &["--network", &v6, "--network", "10.9.0.0/16"]).len(), 2);
    assert_eq!(list(&fwx, &["--port", "80"]).len(), 2);
    assert_eq!(list(&fwx, &["--port", "80", "--network", &v6]).len(), 1);
    assert_eq!(list(&fwx, &["--protocol", "udp"]).len(), 0, "it has no answer");
    let half_open = list(&fwx, &["--protocol", "udp", "--half-open"]);
    assert_eq!(source_ports(&half_open), [6000]);
    assert_eq!(half_open[0]["state"], "UNREPLIED");
    assert_eq!(list(&fwx, &["--state", "established"]).len(), 4);
    assert_eq!(list(&fwx, &["--state", "CLOSE", "--state", "UNREPLIED"]).len(), 1);
    assert_eq!(list(&fwx, &["--idle", "1000"]).len(), 0);
    assert_eq!(list(&fwx, &["--limit", "3"]).len(), 3);

    let rows = list(&fwx, &["--protocol", "rtsp", "--network", "10.1.0.0/24"]);
    let [row] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!((&row["src_ip"], &row["dst_ip"]), (&"10.1.0.2".into(), &"10.2.0.2".into()));
    assert_eq!((&row["transport"], &row["protocol"]), (&"tcp".into(), &"rtsp".into()));
    assert_eq!((&row["rule"], &row["interface"]), (&"everything".into(), &"lan0".into()));
    assert_eq!((&row["adopted"], &row["dst_port"]), (&false.into(), &554.into()));
    for direction in ["original", "reply"] {
        assert!(row["packets"][direction].as_u64().unwrap() >= 2, "{row}");
        assert!(row["bytes"][direction].as_u64().unwrap() > 100, "{row}");
    }
    assert!(row["expires_in_s"].as_u64().unwrap() > 400_000, "{row}");

    let top = list(&fwx, &["--top", "1"]);
    assert_eq!((top.len(), &top[0]["connections"]), (1, &2.into()), "{top:?}");
    let text = call(&fwx, &["conn", "list", "--limit", "1"]);
    assert_eq!(text.stdout.lines().count(), 2, "{}", text.stdout);
    assert!(text.stderr.contains("3 more"), "{}", text.stderr);
    for wrong in [["--state", "open"], ["--protocol", "ftp"], ["--network", "10"]] {
        let arguments = [&["conn", "list"], &wrong[..]].concat();
        assert_eq!(call(&fwx, &arguments).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn a_connection_is_shown_in_full_by_its_number_and_by_its_ends() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&two_protocols(), Mode::Auto).unwrap();
    for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        let talk = Conversation::between(&lab.client, &lab.camera, address);
        let ends = [talk.near.local_addr().unwrap(), address].map(|end| end.to_string());
        let show = |words: &[&str]| {
            let arguments = [&["conn", "show", "-o", "json"], words].concat();
            let text = fwx.call(&arguments).unwrap().success().unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let by_ends = show(&[&ends[0], &ends[1]]);
        let id = by_ends["flow_id"].as_u64().unwrap().to_string();
        let by_id = show(&[&id]);
        assert_eq!(by_id["flow_id"], by_ends["flow_id"]);
        assert_eq!(
            show(&[&format!("tcp {} -> {}", ends[1], ends[0])])["flow_id"],
            by_ends["flow_id"]
        );
        let windows = &by_id["windows"];
        assert_eq!(windows["original"]["end"], windows["reply"]["acked"], "{by_id}");
        assert!(windows["reply"]["edge"].is_u64(), "{by_id}");
        let text = call(&fwx, &["conn", "show", &id]);
        assert!(text.stdout.contains(&ends.join(" -> ")), "{}", text.stdout);
        assert_eq!(call(&fwx, &["conn", "show", "udp", &ends[0], &ends[1]]).code, Some(1));
    }
    assert_eq!(call(&fwx, &["conn", "show", "7"]).code, Some(1));
    assert_eq!(call(&fwx, &["conn", "show", "x"]).code, Some(2));
}

#[test]
fn a_kill_resets_both_ends_at_once() {
    for mode in [Mode::Auto, Mode::Native] {
        let lab = Lab::single().unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&two_protocols(), mode).unwrap();
        assert_eq!(call(&fwx, &["conn", "kill"]).code, Some(2), "not everything");
        assert_eq!(call(&fwx, &["conn", "kill", "--half-open"]).code, Some(2));
        for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
            let other = address.port() + 1;
            let other =
                Conversation::between(&lab.client, &lab.camera, (address.ip(), other).into());
            let mut numbers = Vec::new();
            for by in ["id", "ends", "filter"] {
                let talk = Conversation::between(&lab.client, &lab.camera, address);
                let network = format!("{}", address.ip());
                let near = talk.near.local_addr().unwrap().to_string();
                let row = list(&fwx, &["--port", &talk.port().to_string()]);
                let id = row[0]["flow_id"].to_string();
                let far = address.to_string();
                let words = match by {
                    "id" => vec![id.as_str()],
                    "ends" => vec![near.as_str(), far.as_str()],
                    _ => vec!["--network", &network, "--protocol", "rtsp"],
                };
                let killed = call(&fwx, &[&["conn", "kill"], &words[..]].concat());
                talk.assert_reset(by);
                assert_eq!(killed.code, Some(0), "{by}: {}", killed.stderr);
                assert!(killed.stderr.contains("1 connection killed"), "{}", killed.stderr);
                let event = fwx
                    .wait_for_event("the kill", |event| {
                        event.kind == "connection_killed"
                            && event.is_between_ports(talk.port(), 554)
                    })
                    .unwrap();
                assert_eq!(event.reason.as_deref(), Some(KILLED), "{}", event.line);
                assert_eq!(event.protocol.as_deref(), Some("rtsp"), "{}", event.line);
                assert_eq!(event.flow_id.map(|id| id.to_string()), Some(id), "{}", event.line);
                let tombstone = list(&fwx, &["--port", &talk.port().to_string()]);
                assert_eq!(tombstone[0]["state"], "KILLED", "{tombstone:?}");
                numbers.push(event.event_id);
            }
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), 3);
            other.assert_lives("another connection");
        }
    }
}

#[test]
fn a_translated_connection_is_known_by_both_names_and_killed_at_both_ends() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    let rules = gateway.write_file("masquerade.nft", MASQUERADE).unwrap();
    gateway.output(gateway.command("nft").arg("-f").arg(rules)).unwrap();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&two_protocols(), Mode::Auto).unwrap();
    let address = lab.camera.socket_v4(554);
    let talk = Conversation::between(&lab.client, &lab.camera, address);
    let seen_by_camera = talk.far.peer_addr().unwrap();
    assert_ne!(seen_by_camera.ip(), talk.near.local_addr().unwrap().ip(), "it is translated");

    let rows = list(&fwx, &[]);
    let [row] = &rows[..] else { panic!("{rows:#?}") };
    assert_eq!(row["src_ip"], "10.1.0.2", "{row}");
    assert_eq!(row["translated"]["src_ip"], seen_by_camera.ip().to_string(), "{row}");
    let flows = fwx.status().unwrap().flows.ipv4;
    assert_eq!(flows.completed, 1, "a second name is no flow");
    let ends = [seen_by_camera.to_string(), address.to_string()];
    let killed = call(&fwx, &["conn", "kill", &ends[0], &ends[1]]);
    talk.assert_reset("by its other name");
    assert_eq!(killed.code, Some(0), "{}", killed.stderr);
}

#[test]
fn an_announced_flow_that_is_killed_is_not_let_in_again() {
    const DEAD: &str = "FWX_E_KILLED_FLOW_PACKET_DROPPED";
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&["lan0", "wan0"], "enforce"), Mode::Auto).unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut player = Player::start(&lab.client, &camera.url(), Transport::Udp, 60).unwrap();
    player.wait_for_pictures(15).unwrap();
    let media = list(&fwx, &["--protocol", "udp"]);
    assert!(!media.is_empty() && media.iter().all(|row| row["parent"].is_u64()), "{media:#?}");
    let let_in = fwx.status().unwrap().pinholes.flows;
    for row in &media {
        let killed = call(&fwx, &["conn", "kill", &row["flow_id"].to_string()]);
        assert_eq!(killed.code, Some(0), "{}", killed.stderr);
    }
    // The camera goes on sending, and its pinholes stand open.
    wait::until("what it sends is dropped", || {
        let dropped = fwx.status()?.drops.get(DEAD).copied().unwrap_or_default();
        ensure!(dropped > 10, "{dropped} packets");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
    assert_eq!(fwx.status().unwrap().pinholes.flows, let_in);
    player.kill().unwrap();
}

#[test]
fn without_a_controller_a_kill_kills_and_says_that_nobody_heard() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(&two_protocols(), Mode::Auto).unwrap();
    let talk = Conversation::between(&lab.client, &lab.camera, lab.camera.socket_v4(554));
    let killed = call(&fwx, &["conn", "kill", "--port", &talk.port().to_string()]);
    talk.assert_reset("without a controller");
    assert_eq!(killed.code, Some(0));
    assert!(killed.stderr.contains("no controller"), "{}", killed.stderr);
    assert_eq!(call(&fwx, &["conn", "kill", "--port", "554"]).code, Some(1), "it is dead already");
}

#[test]
fn a_flush_forgets_without_a_word() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&two_protocols(), Mode::Auto).unwrap();
    let [v4, v6] = [lab.camera.socket_v4(554), lab.camera.socket_v6(554)]
        .map(|address| Conversation::between(&lab.client, &lab.camera, address));
    let udp = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(6000))).unwrap().unwrap();
    udp.send_to(b"nobody answers", "10.2.0.77:6001").unwrap();
    assert_eq!(call(&fwx, &["conn", "flush"]).code, Some(2));
    assert_eq!(list(&fwx, &["--half-open"]).len(), 3);

    let flushed = call(&fwx, &["conn", "flush", "--yes"]);
    assert_eq!(flushed.code, Some(0), "{}", flushed.stderr);
    assert!(flushed.stderr.contains("2 connections forgotten"), "{}", flushed.stderr);
    assert_eq!(list(&fwx, &["--half-open"]).len(), 1);
    call(&fwx, &["conn", "flush", "--yes", "--half-open"]).success().unwrap();
    assert_eq!(list(&fwx, &["--half-open"]).len(), 0);
    for talk in [&v4, &v6] {
        talk.assert_lives("its ends know nothing");
    }
    (&v4.near).write_all(b"into the void").unwrap();
    fwx.wait_for_event("the drop of what belongs to no connection", |event| {
        event.is_drop(Reason::TcpNotSyn.name()) && event.is_between_ports(v4.port(), 554)
    })
    .unwrap();
}

#[test]
fn what_is_silent_for_too_long_goes_and_is_told() {
    const TIMEOUTS: &str =
        "\n[timeouts]\nestablished = 2\nsyn_sent = 1\nudp = 1\nunacknowledged = 2\nclose = 1\n";
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&(two_protocols() + TIMEOUTS), Mode::Auto).unwrap();
    let [v4, v6] = [lab.camera.socket_v4(554), lab.camera.socket_v6(554)]
        .map(|address| Conversation::between(&lab.client, &lab.camera, address));
    let unanswered: SocketAddr = "10.2.0.77:7777".parse().unwrap();
    let connect = || TcpStream::connect_timeout(&unanswered, Duration::from_millis(200));
    assert!(lab.client.run(connect).unwrap().is_err());
    let udp = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(6000))).unwrap().unwrap();
    udp.send_to(b"nobody answers", "10.2.0.77:6001").unwrap();

    wait::until_within(1000, "all flows are swept", || {
        let rows = list(&fwx, &["--half-open"]);
        ensure!(rows.is_empty(), "{rows:#?}");
        Ok(())
    })
    .unwrap();
    let end = |reason: &'static str, port: u16| {
        move |event: &Event| {
            event.kind == "connection_closed"
                && event.reason.as_deref() == Some(reason)
                && (event.src_port == Some(port) || event.dst_port == Some(port))
        }
    };
    for talk in [&v4, &v6] {
        fwx.wait_for_event("the end", end("FWX_E_IDLE_TIMEOUT", talk.port())).unwrap();
    }
    fwx.wait_for_event("no answer", end("FWX_E_TCP_NO_SERVER_REPLY", 7777)).unwrap();
    let about_udp =
        |event: &Event| event.kind == "connection_closed" && event.src_port == Some(6000);
    assert!(!fwx.events().unwrap().iter().any(about_udp), "a datagram begins no connection");
}

/// Not a limit that a busy machine could miss: it prints what it took.
#[test]
fn a_million_connections_are_listed_killed_and_swept() {
    const CONNECTIONS: u32 = 1_000_000;
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let large = policy::with_tables(&two_protocols(), 1 << 20, 16_384);
    fwx.up(&large, Mode::Auto).unwrap();
    let tables = Tables::pinned(&Instance::new(fwx.instance()).unwrap().maps());
    let mut flows: HashMap<MapData, KeyV4, Flow> = tables.flows_v4().unwrap();
    let now = monotonic_ns();
    for number in 0..CONNECTIONS {
        let address = (0x0a00_0000 + number).to_be();
        let key = KeyV4 { addresses: [address, address ^ 1], ports: [1, 2], protocol: 6 };
        let flow = Flow {
            id: u64::from(number + 1) << 10,
            // All but a few were silent for long.
            last_seen: if number % 1000 == 0 { now } else { 1 },
            state: State::FinWait as u8,
            ip_protocol: 6,
            ..Flow::default()
        };
        flows.insert(key, flow, 0).unwrap();
    }
    for arguments in [
        &["conn", "list"][..],
        &["conn", "list", "--sort", "bytes", "--limit", "10", "-o", "json"],
        &["conn", "list", "--limit", "0"],
        &["conn", "list", "-o", "json"],
        &["conn", "list", "--top", "3"],
        &["conn", "show", "1024"],
        &["conn", "kill", "1024"],
        &["status"],
    ] {
        let started = Instant::now();
        let outcome = call(&fwx, arguments);
        eprintln!("{arguments:?}: {:?}", started.elapsed());
        let lines = outcome.success().unwrap().lines().count();
        match arguments {
            ["conn", "list"] => assert_eq!(lines, 1001),
            ["conn", "list", "--limit", "0"] => assert_eq!(lines, CONNECTIONS as usize + 1),
            _ => {}
        }
    }
    fwx.run_again().unwrap();
    let started = Instant::now();
    wait::until_within(3000, "the silent ones are swept", || {
        let completed = fwx.status()?.flows.ipv4.completed;
        ensure!(completed <= u64::from(CONNECTIONS / 1000), "{completed} are left");
        Ok(())
    })
    .unwrap();
    eprintln!("swept within {:?}", started.elapsed());
    let ends = fwx.events().unwrap();
    let ends = ends.iter().filter(|event| event.kind == "connection_closed").count();
    eprintln!("{ends} of their ends were told");
    assert!((1..10_000).contains(&ends), "{ends}");
}

fn sorted<const N: usize>(ports: [u16; N]) -> Vec<u64> {
    let mut ports: Vec<_> = ports.into_iter().map(u64::from).collect();
    ports.sort_unstable();
    ports
}
