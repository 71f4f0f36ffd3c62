//! The firewall is switched on under connections that live: none is cut where somebody remembers them, or where
//! it is told to take over what talks.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use firewall_common::{
    flow::{Flow, Half, KeyV4, State},
    layout::Counter,
    reason::Reason,
};
use firewall_user::{instance::Instance, tables::Tables};
use lab::{Fwx, Host, Lab, Mode, Packet, peers::crowd::Crowd, wait};

/// Talking connections of each address family.
const TALKERS: usize = 100;
const TALKERS_PORT: u16 = 7_000;
const IDLE_PORT: u16 = 22;
const PACE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
/// Messages after which a connection's windows are known.
const TALKED: u64 = 20;
const NOT_SYN: &str = Reason::TcpNotSyn.name();

/// Nothing may begin: what goes on goes on because it was there.
const CLOSED: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"

[tables]
completed = 4096
half_open = 4096
"#;

const TRACKED: &str = "
table inet gateway {
    chain forward {
        type filter hook forward priority filter
        ct state established,related counter
    }
}";

const MASQUERADED: &str = "
table inet gateway {
    chain translate {
        type nat hook postrouting priority srcnat
        iifname lan0 oifname wan0 masquerade fully-random
    }
}";

#[test]
fn tracked_connections_go_on() {
    tracked_connections_go_on_in(Mode::Auto);
}

#[test]
fn tracked_connections_go_on_in_mode_native() {
    tracked_connections_go_on_in(Mode::Native);
}

fn tracked_connections_go_on_in(mode: Mode) {
    let lab = Lab::single().unwrap();
    rules(&lab, TRACKED);
    let server = &lab.camera;
    let peers = Peers::gather(&lab, server, server.first_interface());
    let (fwx, said) = switch_on(&lab, CLOSED, mode, &[]);
    assert!(said.contains("took over 202 connections"), "{said}");
    peers.go_on(&fwx);
    assert_eq!(fwx.status().unwrap().drops, [].into(), "{mode}: nothing is refused");
    windows_are_known(&fwx, 2 * TALKERS);
    forgeries_are_refused(&lab, &fwx, &peers);
    peers.finish(mode);
}

#[test]
fn masqueraded_connections_go_on() {
    masqueraded_connections_go_on_in(Mode::Auto);
}

#[test]
fn masqueraded_connections_go_on_in_mode_native() {
    masqueraded_connections_go_on_in(Mode::Native);
}

fn masqueraded_connections_go_on_in(mode: Mode) {
    let lab = Lab::single().unwrap();
    rules(&lab, MASQUERADED);
    let server = &lab.camera;
    let peers = Peers::gather(&lab, server, server.first_interface());
    let (fwx, said) = switch_on(&lab, CLOSED, mode, &[]);
    assert!(said.contains("took over 202 connections"), "{said}");
    assert!(said.contains("202 of them behind NAT"), "{said}");
    peers.go_on(&fwx);
    assert_eq!(fwx.status().unwrap().drops, [].into(), "{mode}: nothing is refused");
    windows_are_known(&fwx, 2 * TALKERS);
    forgeries_are_refused(&lab, &fwx, &peers);
    peers.finish(mode);
}

#[test]
fn the_gateway_s_own_connections_go_on() {
    the_gateway_s_own_connections_go_on_in(Mode::Auto);
}

#[test]
fn the_gateway_s_own_connections_go_on_in_mode_native() {
    the_gateway_s_own_connections_go_on_in(Mode::Native);
}

fn the_gateway_s_own_connections_go_on_in(mode: Mode) {
    let lab = Lab::single().unwrap();
    let server = lab.gateway();
    let peers = Peers::gather(&lab, server, server.interface("lan0"));
    let (fwx, said) = switch_on(&lab, CLOSED, mode, &[]);
    assert!(said.contains("took over 202 connections"), "{said}");
    peers.go_on(&fwx);
    assert_eq!(fwx.status().unwrap().drops, [].into(), "{mode}: nothing is refused");
    windows_are_known(&fwx, 2 * TALKERS);
    forgeries_are_refused(&lab, &fwx, &peers);
    peers.finish(mode);
}

#[test]
fn what_nobody_remembers_goes_on_where_it_is_adopted() {
    what_nobody_remembers_goes_on_where_it_is_adopted_in(Mode::Auto);
}

#[test]
fn what_nobody_remembers_goes_on_where_it_is_adopted_in_mode_native() {
    what_nobody_remembers_goes_on_where_it_is_adopted_in(Mode::Native);
}

fn what_nobody_remembers_goes_on_where_it_is_adopted_in(mode: Mode) {
    let lab = Lab::single().unwrap();
    let server = &lab.camera;
    let peers = Peers::gather(&lab, server, server.first_interface());
    let policy = CLOSED.replace("deny", "allow");
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.set_further_options(&["--adopt", "60"]);
    fwx.run(&policy, mode).unwrap();
    peers.go_on(&fwx);
    assert_eq!(fwx.status().unwrap().drops, [].into(), "{mode}: nothing is refused");
    windows_are_known(&fwx, 2 * TALKERS);
    let adopted = tables(&fwx).counter(Counter::FlowsAdopted).unwrap();
    assert!(adopted >= 2 * TALKERS as u64 + 2, "{mode}: {adopted}");
    // Those that talk may have been faster than the controller, which hears nothing before it listens.
    for (near, far) in &peers.idle {
        let ports = [near, far].map(|stream| stream.local_addr().unwrap().port());
        let opened = fwx
            .wait_for_event("the idle connection", |event| {
                event.kind == "connection_opened" && event.is_between_ports(ports[0], ports[1])
            })
            .unwrap();
        assert!(opened.adopted, "{}", opened.line);
    }
    forgeries_are_refused(&lab, &fwx, &peers);
    peers.finish(mode);
}

#[test]
fn what_nobody_remembers_is_cut_otherwise_and_that_is_said() {
    let lab = Lab::single().unwrap();
    let server = &lab.camera;
    let peers = Peers::gather(&lab, server, server.first_interface());
    let (fwx, said) = switch_on(&lab, &CLOSED.replace("deny", "allow"), Mode::Auto, &[]);
    assert!(said.contains("took over 0 connections"), "{said}");
    assert!(said.contains("the kernel tracks no connection now"), "{said}");
    assert!(said.contains("those that only pass through are not known"), "{said}");
    assert!(said.contains("--adopt"), "and what to do: {said}");
    wait::until("what belongs to no connection is dropped", || {
        let drops = fwx.status()?.drops;
        ensure!(drops.get(NOT_SYN).is_some_and(|&n| n >= 2 * TALKERS as u64), "{drops:?}");
        Ok(())
    })
    .unwrap();
    let before = peers.answered();
    // Nothing more comes, however long one looks: so one looks at what was dropped instead of at a clock.
    assert!(peers.talkers.iter().all(|crowd| crowd.goes_on(1, 50).is_err()));
    assert_eq!(peers.answered(), before, "nobody gets an answer any more");
    let drops = fwx.status().unwrap().drops;
    assert_eq!(drops.keys().collect::<Vec<_>>(), [NOT_SYN]);
}

#[test]
fn tracked_connections_that_begin_meanwhile_go_on() {
    connections_that_begin_meanwhile_go_on(TRACKED);
}

#[test]
fn masqueraded_connections_that_begin_meanwhile_go_on() {
    connections_that_begin_meanwhile_go_on(MASQUERADED);
}

/// One connection after the other begins, before, while and after the firewall is switched on.
fn connections_that_begin_meanwhile_go_on(ruleset: &str) {
    const BEFORE: usize = 100;
    const AFTER: usize = 100;
    const MOST: usize = 4_000;
    const PAUSE: Duration = Duration::from_millis(3);
    let lab = Lab::single().unwrap();
    rules(&lab, ruleset);
    let addresses = [lab.camera.socket_v4(IDLE_PORT), lab.camera.socket_v6(IDLE_PORT)];
    let listen = |address| lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let listeners = addresses.map(listen);
    let (begun, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let connect = |number: usize| {
        let connected = TcpStream::connect_timeout(&addresses[number % 2], PATIENCE);
        let near = connected.unwrap_or_else(|error| panic!("connection {number}: {error}"));
        let far = listeners[number % 2].accept().unwrap().0;
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        talk(&near, &far).unwrap_or_else(|error| panic!("connection {number}: {error}"));
        begun.store(number + 1, Relaxed);
        thread::sleep(PAUSE);
        (near, far)
    };
    thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let goes_on = |number: &usize| *number < MOST && !stop.load(Relaxed);
            lab.client.run(|| (0..).take_while(goes_on).map(connect).collect::<Vec<_>>()).unwrap()
        });
        let wait_for = |count: usize| {
            wait::until(&format!("{count} connections have begun"), || {
                let is_over = connecting.is_finished();
                ensure!(is_over || begun.load(Relaxed) >= count, "{}", begun.load(Relaxed));
                Ok(())
            })
        };
        let before = wait_for(BEFORE).map(|()| begun.load(Relaxed));
        let policy = CLOSED.replace("deny", "allow");
        let (fwx, said) = switch_on(&lab, &policy, Mode::Auto, &[]);
        let meanwhile = begun.load(Relaxed);
        let after = wait_for(meanwhile + AFTER);
        stop.store(true, Relaxed);
        let connections = connecting.join().expect("all have come about");
        after.and(before.as_ref().map(|_| ()).map_err(|e| anyhow::anyhow!("{e:#}"))).unwrap();
        for (number, (near, far)) in connections.iter().enumerate() {
            talk(near, far).unwrap_or_else(|error| {
                panic!("connection {number} was cut, {before:?} {meanwhile}: {error}\n{said}")
            });
        }
        println!(
            "{:?} before, {meanwhile} when it was on, {} in the end; {}; drops {:?}",
            before.unwrap(),
            connections.len(),
            said.lines().next().unwrap_or_default(),
            fwx.status().unwrap().drops
        );
    });
}

/// Connections of both families: many that talk, and one each that is idle.
struct Peers {
    talkers: Vec<Crowd>,
    idle: Vec<(TcpStream, TcpStream)>,
}

impl Peers {
    fn gather(lab: &Lab, server: &Host, interface: &lab::Interface) -> Self {
        let addresses: [IpAddr; 2] = [interface.ipv4.into(), interface.ipv6.into()];
        let talkers = addresses.map(|address| {
            let address = SocketAddr::new(address, TALKERS_PORT);
            Crowd::gather(&lab.client, server, address, TALKERS, PACE).unwrap()
        });
        let idle = addresses.map(|address| {
            let address = SocketAddr::new(address, IDLE_PORT);
            let listener = server.run(|| TcpListener::bind(address)).unwrap().unwrap();
            let connect = || TcpStream::connect_timeout(&address, PATIENCE);
            let near = lab.client.run(connect).unwrap().unwrap();
            let far = listener.accept().unwrap().0;
            for stream in [&near, &far] {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            talk(&near, &far).unwrap();
            (near, far)
        });
        for crowd in &talkers {
            crowd.goes_on(3, 500).unwrap();
        }
        Self { talkers: talkers.into(), idle: idle.into() }
    }

    /// All of them go on.
    fn go_on(&self, fwx: &Fwx<'_>) {
        for crowd in &self.talkers {
            crowd
                .goes_on(TALKED, 1_500)
                .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        }
        for (near, far) in &self.idle {
            let address = near.peer_addr().unwrap();
            talk(near, far).unwrap_or_else(|error| panic!("idle, {address}: {error}"));
            talk(far, near).unwrap_or_else(|error| panic!("idle, back {address}: {error}"));
        }
    }

    fn answered(&self) -> u64 {
        self.talkers.iter().map(|crowd| crowd.report().answered).sum()
    }

    fn finish(self, mode: Mode) {
        for crowd in self.talkers {
            crowd.goes_on(3, 500).unwrap();
            let report = crowd.finish();
            assert_eq!(report.broken, [""; 0], "{mode}");
            println!(
                "{mode}: {} answers, the fewest of a connection {}, the longest took {:?}",
                report.answered, report.fewest, report.longest
            );
        }
    }
}

/// A word each way.
fn talk(mut near: &TcpStream, mut far: &TcpStream) -> io::Result<()> {
    let mut heard = [0; 4];
    near.write_all(b"ping")?;
    far.read_exact(&mut heard)?;
    far.write_all(b"pong")?;
    near.read_exact(&mut heard)
}

fn rules(lab: &Lab, text: &str) {
    let gateway = lab.gateway();
    let file = gateway.write_file("gateway.nft", text).unwrap();
    gateway.output(gateway.command("nft").arg("-f").arg(file)).unwrap();
}

/// Switches the firewall on. Returns it and what it said.
fn switch_on<'lab>(
    lab: &'lab Lab,
    policy: &str,
    mode: Mode,
    options: &[&str],
) -> (Fwx<'lab>, String) {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.set_further_options(options);
    let said = fwx.up(policy, mode).unwrap();
    (fwx, said)
}

fn tables(fwx: &Fwx<'_>) -> Tables {
    Tables::pinned(&Instance::new(fwx.instance()).unwrap().maps())
}

/// The flows of both families that lead to the talkers' port.
fn flows(fwx: &Fwx<'_>) -> Result<Vec<Flow>> {
    let tables = tables(fwx);
    let mut flows = Vec::new();
    for entry in tables.flows_v4()?.iter() {
        let (key, flow) = entry?;
        flows.extend(key.ports.contains(&TALKERS_PORT).then_some(flow));
    }
    for entry in tables.flows_v6()?.iter() {
        let (key, flow) = entry?;
        flows.extend(key.ports.contains(&TALKERS_PORT).then_some(flow));
    }
    flows.retain(|flow| flow.state() != State::Alias);
    Ok(flows)
}

/// Every flow is marked, and its windows are learnt.
fn windows_are_known(fwx: &Fwx<'_>, count: usize) {
    wait::until("the windows of all are known", || {
        let flows = flows(fwx)?;
        ensure!(flows.len() == count, "{} flows", flows.len());
        for flow in &flows {
            ensure!(
                flow.state() == State::Established && flow.flags & Flow::ADOPTED != 0,
                "{flow:?}"
            );
            let learning = flow.halves.iter().any(|half| half.flags & Half::LEARNING != 0);
            ensure!(!learning, "{flow:?}");
        }
        Ok(())
    })
    .unwrap();
}

/// Somebody who knows a connection's addresses and ports can neither end it nor put anything in.
fn forgeries_are_refused(lab: &Lab, fwx: &Fwx<'_>, peers: &Peers) {
    let (near, far) = peers.talkers[0].addresses()[0];
    let tables = tables(fwx);
    let refused = || tables.reason_count(Reason::SeqAckMismatch).unwrap();
    // Its numbers move on meanwhile, but not so far.
    let flow = {
        let packet = firewall_common::wire::Packet {
            source: [address(near.ip()), 0, 0, 0],
            destination: [address(far.ip()), 0, 0, 0],
            source_port: near.port(),
            destination_port: far.port(),
            protocol: 6,
            version: 4,
            ..Default::default()
        };
        tables.flows_v4().unwrap().get(&KeyV4::of(&packet).key, 0).context("its flow").unwrap()
    };
    let [client, server] = flow.halves;
    let window = server.window();
    for (shows, flags, seq) in [
        ("a RST in the window", "R", client.end.wrapping_add(window / 2)),
        ("a RST anywhere", "R", client.end.wrapping_add(1 << 31)),
        ("data beyond the window", "A", server.edge.wrapping_add(1 << 28)),
        ("data long before it", "A", client.end.wrapping_sub(1 << 28)),
    ] {
        let before = refused();
        let forged = Packet::tcp(near, far).flags(flags).seq(seq).ack(server.end).payload(b"x");
        lab.client.send_packet("eth0", forged).unwrap();
        wait::until(&format!("{shows} is refused"), || {
            ensure!(refused() == before + 1, "{} where {before} were", refused());
            Ok(())
        })
        .unwrap();
    }
    peers.talkers[0].goes_on(3, 500).unwrap();
}

fn address(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from_ne_bytes(address.octets()),
        IpAddr::V6(_) => panic!("the first crowd is of IPv4"),
    }
}
