//! Sources held against the routing table of a real gateway (RFC 3704).

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::ensure;
use lab::{Fwx, Host, Lab, Mode, Packet, wait};

const SPOOFED: &str = "FWX_E_FWE_SPOOFING_PACKET_DROPPED";
const PORT: u16 = 9;

fn policy(further: &str) -> String {
    format!(
        "[gateway]\ninterfaces = [\"lan0\", \"wan0\"]\ndefault = \"allow\"\n\
         [tables]\ncompleted = 65536\nhalf_open = 16384\n{further}"
    )
}

/// Sends a datagram from `source` out of the only interface of `host`.
fn send(host: &Host, source: SocketAddr, to: SocketAddr) {
    host.send_packet(host.first_interface().name, Packet::udp(source, to)).unwrap();
}

fn refused(fwx: &Fwx<'_>, what: &str, port: u16) {
    let drop = fwx
        .wait_for_event(what, |event| event.is_drop(SPOOFED) && event.is_between_ports(port, PORT));
    drop.unwrap_or_else(|error| panic!("{what}: {error:#}"));
}

fn let_in(fwx: &Fwx<'_>, what: &str, port: u16) {
    wait::until(&format!("{what} has a flow"), || {
        let port = port.to_string();
        let list = ["conn", "list", "--half-open", "--port", &port, "-o", "json"];
        let listed = fwx.call(&list)?.success()?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        ensure!(listed.as_array().is_some_and(|all| all.len() == 1), "there are {listed}");
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
}

/// Sends from each source, and checks what becomes of it. Each has a port of its own.
fn check(lab: &Lab, fwx: &Fwx<'_>, what: &str, cases: &[(&str, bool)]) {
    for (port, (source, passes)) in (20_000..).zip(cases) {
        let source: IpAddr = source.parse().unwrap();
        let to =
            if source.is_ipv4() { lab.camera.socket_v4(PORT) } else { lab.camera.socket_v6(PORT) };
        send(&lab.client, (source, port).into(), to);
        let what = format!("{what}: {source}");
        if *passes { let_in(fwx, &what, port) } else { refused(fwx, &what, port) }
    }
    let refused = cases.iter().filter(|(_, passes)| !passes).count() as u64;
    assert_eq!(fwx.status().unwrap().drops.get(SPOOFED).copied().unwrap_or(0), refused, "{what}");
}

fn the_routing_table_is_asked(mode: Mode) {
    let lab = Lab::single().unwrap();
    lab.gateway()
        .ip("route add blackhole 10.8.0.0/16\nroute add unreachable 10.7.0.0/16\n\
             route add blackhole fd00:8::/32\nroute add 10.6.0.0/16 via 10.1.0.2\n\
             route add fd00:6::/32 via fd00:1::2\n")
        .unwrap();

    let mut fwx = Fwx::new(lab.gateway(), lab.instance("strict")).unwrap();
    let exempt = "[[asymmetric]]\nprefixes = [\"10.2.0.88/32\", \"fd00:2::88/128\"]\n";
    fwx.run(&policy(&format!("[anti_spoofing]\nmode = \"strict\"\n{exempt}")), mode).unwrap();
    check(
        &lab,
        &fwx,
        &format!("{mode}, strict"),
        &[
            ("10.1.0.77", true),
            ("10.6.0.1", true),
            ("10.2.0.77", false),
            ("10.2.0.88", true),
            ("10.9.9.9", false),
            ("10.8.0.1", false),
            ("10.7.0.1", false),
            // The gateway's own.
            ("10.1.0.1", false),
            ("127.0.0.1", false),
            ("fd00:1::77", true),
            ("fd00:6::1", true),
            ("fd00:2::77", false),
            ("fd00:2::88", true),
            ("fd00:99::1", false),
            ("fd00:8::1", false),
            ("fd00:1::1", false),
        ],
    );
    drop(fwx);

    let mut fwx = Fwx::new(lab.gateway(), lab.instance("loose")).unwrap();
    fwx.run(&policy("[anti_spoofing]\nmode = \"loose\"\n"), mode).unwrap();
    check(
        &lab,
        &fwx,
        &format!("{mode}, loose"),
        &[
            ("10.1.0.77", true),
            ("10.2.0.77", true),
            ("10.9.9.9", false),
            ("10.8.0.1", false),
            ("10.7.0.1", false),
            ("fd00:2::77", true),
            ("fd00:99::1", false),
            ("fd00:8::1", false),
        ],
    );
}

#[test]
fn the_routing_table_is_asked_in_mode_native() {
    the_routing_table_is_asked(Mode::Native);
}

#[test]
fn the_routing_table_is_asked_in_mode_generic() {
    the_routing_table_is_asked(Mode::Generic);
}

#[test]
fn the_routing_table_is_asked_in_mode_tc() {
    the_routing_table_is_asked(Mode::Tc);
}

/// A list has the first word, each interface its own; whoever has none is left to the mode.
#[test]
fn lists_of_interfaces_are_kept_apart() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let networks = "[network.inside]\nprefixes = [\"10.1.0.0/24\", \"fd00:1::/64\"]\n\
                    [network.far]\nprefixes = [\"10.9.0.0/16\"]\n";
    let lists = "[anti_spoofing]\nmode = \"strict\"\n\
                 [anti_spoofing.sources]\nlan0 = [\"inside\", \"far\"]\n";
    fwx.run(&policy(&format!("{networks}{lists}")), Mode::Auto).unwrap();
    let cases =
        [("10.9.9.9", true), ("10.1.0.77", true), ("10.2.0.77", false), ("fd00:2::7", false)];
    check(&lab, &fwx, "lists", &cases);

    let (inside, far) =
        ("10.1.0.77".parse::<IpAddr>().unwrap(), "10.9.9.9".parse::<IpAddr>().unwrap());
    for (port, source) in [(30_000, inside), (30_001, far)] {
        send(&lab.camera, (source, port).into(), lab.client.socket_v4(PORT));
        refused(&fwx, &format!("{source} by the other interface"), port);
    }
    send(&lab.camera, lab.camera.socket_v4(30_002), lab.client.socket_v4(PORT));
    let_in(&fwx, "the camera by its own", 30_002);
}

/// Who sits on the camera's side and speaks in the client's name neither ends the connection nor begins it anew.
#[test]
fn a_live_connection_is_not_ended_in_the_name_of_its_ends() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy("[anti_spoofing]\nmode = \"strict\"\n"), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(7000), lab.camera.socket_v6(7000)] {
        let listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
        let client = lab.client.run(|| TcpStream::connect(to)).unwrap().unwrap();
        let (server, from) = listener.accept().unwrap();
        for flags in ["R", "S"] {
            let forged = Packet::tcp(from, to).flags(flags).seq(7);
            lab.camera.send_packet("eth0", forged).unwrap();
        }
        wait::until("both are refused", || {
            let events = fwx.events()?;
            let refused = events.iter().filter(|event| {
                event.is_drop(SPOOFED) && event.is_between_ports(from.port(), to.port())
            });
            let count = refused.count();
            ensure!(count == 2, "there are {count}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        exchange(&client, &server);
    }
}

/// A word each way.
fn exchange(mut client: &TcpStream, mut server: &TcpStream) {
    use std::io::{Read as _, Write as _};
    let mut word = [0; 5];
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut word).unwrap();
    server.write_all(&word).unwrap();
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
}
