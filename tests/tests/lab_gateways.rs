//! The policies of `examples/` between real peers: each does what docs/gateways.md says.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use firewall_common::reason::Reason;
use lab::{
    Fwx, Host, Lab, Mode, Packet,
    peers::{
        camera::Camera,
        mailer,
        pair::Pair,
        ping::Pinger,
        player::{self, Transport},
        postfix::Postfix,
        stray,
    },
};

const OFFICE: &str = include_str!("../../examples/office.toml");
const BRANCH: &str = include_str!("../../examples/branch.toml");
const DMZ: &str = include_str!("../../examples/dmz.toml");

/// Many firewalls run at once in the tests, and the kernel keeps all of a table's memory ready.
const SMALL_TABLES: &str = "\n[tables]\ncompleted = 65536\nhalf_open = 16384\n";

const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade
    }
}";

const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";
const SPOOFED: &str = "FWX_E_FWE_SPOOFING_PACKET_DROPPED";
/// Shorter than the second after which a SYN is repeated: what is dropped in silence takes that long.
const SILENCE: Duration = Duration::from_millis(800);

fn start<'lab>(host: &'lab Host, lab: &Lab, policy: &str) -> Fwx<'lab> {
    let mut fwx = Fwx::new(host, lab.instance("gw")).unwrap();
    fwx.run(&format!("{policy}{SMALL_TABLES}"), Mode::Auto).unwrap();
    fwx
}

fn listen(host: &Host, at: SocketAddr) -> TcpListener {
    host.run(|| TcpListener::bind(at)).unwrap().unwrap()
}

/// What becomes of an attempt to connect.
fn connect(from: &Host, to: SocketAddr) -> io::Result<TcpStream> {
    from.run(|| TcpStream::connect_timeout(&to, SILENCE)).unwrap()
}

/// A connection can be made and carries something.
fn talks(from: &Host, to: &Host, at: SocketAddr) -> Pair {
    let any = if at.is_ipv4() { from.socket_v4(0) } else { from.socket_v6(0) };
    let pair = Pair::connect(from, any, at, &listen(to, at)).unwrap();
    pair.talk().unwrap();
    pair
}

fn is_refused_in_silence(fwx: &Fwx<'_>, from: &Host, to: SocketAddr, rule: Option<&str>) {
    let error = connect(from, to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{to}: {error}");
    let event = fwx
        .wait_for_event("the drop", |event| {
            event.is_drop(DENIED) && event.dst_port == Some(to.port())
        })
        .unwrap();
    assert_eq!(event.rule.as_deref(), rule, "{}", event.line);
}

fn is_rejected(from: &Host, to: SocketAddr) {
    let error = connect(from, to).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{to}: {error}");
}

fn pings(from: &Host, source: SocketAddr, to: SocketAddr) {
    Pinger::new(from, source).unwrap().ask(to, b"are you there").unwrap();
}

#[test]
fn the_office_goes_out_and_nothing_comes_in() {
    let lab = Lab::single().unwrap();
    let (office, gateway, internet) = (&lab.client, lab.gateway(), &lab.camera);
    gateway.nft(MASQUERADE).unwrap();
    let fwx = start(gateway, &lab, OFFICE);

    let pair = talks(office, internet, internet.socket_v4(443));
    let outer = gateway.interface("wan0").ipv4;
    assert_eq!(pair.far.peer_addr().unwrap().ip(), outer, "translated");
    talks(office, internet, internet.socket_v6(443));
    pings(office, office.socket_v4(0), internet.socket_v4(0));

    let inner = gateway.interface("lan0").ipv4;
    let inside = |port| SocketAddr::new(inner.into(), port);
    talks(office, gateway, inside(22));
    let _web = listen(gateway, inside(80));
    is_rejected(office, inside(80));
    talks(gateway, internet, internet.socket_v4(80));

    let _server = listen(office, office.socket_v4(3389));
    is_refused_in_silence(&fwx, internet, office.socket_v4(3389), None);
    pings(internet, internet.socket_v4(0), SocketAddr::new(outer.into(), 0));
}

#[test]
fn nobody_outside_passes_for_the_office() {
    let lab = Lab::single().unwrap();
    let (office, internet) = (&lab.client, &lab.camera);
    let fwx = start(lab.gateway(), &lab, OFFICE);
    let syn = Packet::tcp(office.socket_v4(4000), SocketAddr::from(([10, 1, 0, 1], 22)));
    internet.send_packet("eth0", syn.flags("S").seq(1)).unwrap();
    let drop = fwx.wait_for_event("the drop", |event| event.is_drop(SPOOFED)).unwrap();
    assert_eq!(drop.interface.as_deref(), Some("wan0"), "{}", drop.line);
}

#[test]
fn noise_is_counted_and_not_told() {
    let lab = Lab::single().unwrap();
    let office = &lab.client;
    let fwx = start(lab.gateway(), &lab, OFFICE);
    let before = fwx.status().unwrap().drops.get(DENIED).copied().unwrap_or(0);
    let socket = office.run(|| UdpSocket::bind(office.socket_v4(137))).unwrap().unwrap();
    for _ in 0..3 {
        socket.send_to(b"who is there", lab.camera.socket_v4(137)).unwrap();
    }
    // Behind it, so that what would have been told of it is told by then.
    stray::lone_ack(office, office.socket_v4(4000), lab.camera.socket_v4(80)).unwrap();
    fwx.wait_for_event("the stray's drop", |event| event.is_drop(Reason::TcpNotSyn.name()))
        .unwrap();
    assert_eq!(fwx.status().unwrap().drops[DENIED], before + 3);
    let told = fwx.events().unwrap();
    assert!(!told.iter().any(|event| event.is_drop(DENIED)), "{told:#?}");
}

#[test]
fn guards_watch_the_cameras_of_the_branch_and_do_nothing_else() {
    let lab = Lab::story().unwrap();
    let (guard, branch) = (&lab.client, lab.branch());
    let fwx = start(branch, &lab, BRANCH);
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let pictures = player::play(guard, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");
    }
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!((binding.mode.as_deref(), binding.kills), (Some("monitor"), 0));

    is_rejected(guard, lab.camera.socket_v4(80));
    is_refused_in_silence(&fwx, &lab.camera, guard.socket_v4(22), None);
    // The operators' end of the VPN.
    let _web = listen(&lab.camera, lab.camera.socket_v4(80));
    connect(lab.central(), lab.camera.socket_v4(80)).unwrap();

    let spoofed = Packet::udp(guard.socket_v4(4000), lab.camera.socket_v4(123));
    lab.camera.send_packet("eth0", spoofed.payload(b"x")).unwrap();
    let drop = fwx.wait_for_event("the drop", |event| event.is_drop(SPOOFED)).unwrap();
    assert_eq!(drop.interface.as_deref(), Some("cam0"), "{}", drop.line);
}

#[test]
fn mail_comes_in_and_the_server_cannot_begin_anything_inside() {
    let lab = Lab::zones().unwrap();
    let (office, server, outside) = (&lab.client, &lab.camera, lab.outside());
    let fwx = start(lab.gateway(), &lab, DMZ);

    let mut postfix = Postfix::start(server).unwrap();
    let mail = b"From: <sender@outside.example>\r\nSubject: hello\r\n\r\nhello\r\n";
    for (sender, tls) in [(outside, false), (outside, true), (office, false)] {
        mailer::send(sender, postfix.address(), mail, tls).unwrap();
        assert_eq!(postfix.receive().unwrap(), b"hello\n");
    }
    let binding = fwx.binding("smtp").unwrap();
    assert_eq!((binding.mode.as_deref(), binding.kills), (Some("enforce"), 0));
    drop(postfix);

    let mut elsewhere = Postfix::start(outside).unwrap();
    mailer::send(server, elsewhere.address(), mail, false).unwrap();
    assert_eq!(elsewhere.receive().unwrap(), b"hello\n");
    drop(elsewhere);
    talks(office, server, server.socket_v4(993));
    talks(office, lab.gateway(), SocketAddr::from(([10, 1, 0, 1], 22)));
    let inwards = Some("nothing from the DMZ into the office");
    is_refused_in_silence(&fwx, server, office.socket_v4(25), inwards);
    is_refused_in_silence(&fwx, server, outside.socket_v4(80), None);
    is_refused_in_silence(&fwx, outside, server.socket_v4(993), None);
    is_refused_in_silence(&fwx, outside, office.socket_v4(22), None);
}
