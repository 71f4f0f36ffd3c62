//! A VPN whose packets have no Ethernet header, between two gateways with fwx on both of its ends.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    time::Duration,
};

use firewall_common::reason::Reason;
use lab::{
    Event, Fwx, Host, Lab, Mode,
    peers::{
        bulk,
        camera::Camera,
        echo::{self, Echo},
        pair::Pair,
        ping::Pinger,
        player::{self, Transport},
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    policy, traces,
};
use serde_json::Value;

const CENTRAL: [&str; 2] = ["lan0", "vpn0"];
const BRANCH: [&str; 2] = ["vpn0", "cam0"];
const NOT_SYN: &str = Reason::TcpNotSyn.name();
const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";
const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 5001;
/// More than the windows of both ends hold.
const BULK_BYTES: usize = 10_000_000;

/// fwx on both gateways, with the policies that `policy` makes for their interfaces.
fn on_both<'lab>(lab: &'lab Lab, policy: impl Fn(&[&str]) -> String) -> [Fwx<'lab>; 2] {
    [(lab.central(), "central", CENTRAL), (lab.branch(), "branch", BRANCH)].map(
        |(gateway, role, interfaces)| {
            let mut fwx = Fwx::new(gateway, lab.instance(role)).unwrap();
            fwx.run(&policy(&interfaces), Mode::Auto).unwrap();
            fwx
        },
    )
}

fn addresses(host: &Host, port: u16) -> [SocketAddr; 2] {
    [host.socket_v4(port), host.socket_v6(port)]
}

/// A connection from client to camera, of each address family.
fn connect(lab: &Lab, port: u16) -> [Pair; 2] {
    addresses(&lab.camera, port).map(|to| {
        let listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
        let from = if to.is_ipv4() { lab.client.socket_v4(0) } else { lab.client.socket_v6(0) };
        Pair::connect(&lab.client, from, to, &listener).unwrap()
    })
}

/// Whether `stream` ends by a RST, and not by what comes of it otherwise.
fn assert_reset(what: &str, mut stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).expect_err("it ends in good order");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}: {error}");
}

fn refusal(host: &Host, to: SocketAddr) -> io::Error {
    host.run(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap().expect_err("it is let in")
}

#[test]
fn a_kill_at_the_branch_reaches_both_ends_and_unbinding_cures() {
    let lab = Lab::vpn(true).unwrap();
    let [central, branch] = on_both(&lab, |interfaces| policy::cameras(interfaces, "strict"));
    central.filter(&["unbind", "rtsp"]).unwrap();

    for address in addresses(&lab.camera, 554) {
        let recorder = Recorder::start(&lab.camera, address).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let port = viewer.local_address().port();
        let conversation = viewer.converse(1);
        assert_eq!(conversation.answered, ["OPTIONS"], "{conversation}");
        assert_eq!(conversation.end, Some(End::Reset), "{conversation}");
        let is_kill =
            |event: &Event| event.kind == "connection_killed" && event.is_between_ports(port, 554);
        let kill = branch.wait_for_event("the kill", is_kill).unwrap();

        // The recorder's kernel repeats what was not acknowledged.
        let is_drop = |event: &Event| {
            event.is_drop(NOT_SYN)
                && event.is_between_ports(port, 554)
                && event.caused_by == Some(kill.event_id)
        };
        branch.wait_for_event("a drop caused by the kill", is_drop).unwrap();
    }
    assert_eq!(branch.binding("rtsp").unwrap().kills, 2);
    assert_eq!(central.binding("rtsp").unwrap().kills, 0);

    branch.filter(&["unbind", "rtsp"]).unwrap();
    for address in addresses(&lab.camera, 554) {
        let recorder = Recorder::start(&lab.camera, address).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        assert_eq!(viewer.converse(20).end, None);
    }
}

/// The segment that comes in by the VPN becomes a RST to the camera, and the next one a RST back into the VPN.
#[test]
fn what_a_client_says_wrong_by_the_vpn_ends_the_connection_at_both_ends() {
    for offloads in [false, true] {
        let lab = Lab::vpn(offloads).unwrap();
        let mut branch = Fwx::new(lab.branch(), lab.instance("branch")).unwrap();
        branch.run(&policy::cameras(&BRANCH, "strict"), Mode::Auto).unwrap();
        for pair in connect(&lab, 554) {
            let port = pair.near_ends()[0].port();
            let nonsense = [b'x'; 20_000];
            (&pair.near).write_all(&nonsense).unwrap();
            assert_reset("the camera", &pair.far);
            let kill = branch
                .wait_for_event("the kill", |event| {
                    event.kind == "connection_killed" && event.is_between_ports(port, 554)
                })
                .unwrap();
            assert_eq!(kill.interface.as_deref(), Some("vpn0"), "{}", kill.line);
            assert_reset("the client", &pair.near);
            let drop = branch
                .wait_for_event("a drop caused by the kill", |event| {
                    event.is_drop(NOT_SYN) && event.caused_by == Some(kill.event_id)
                })
                .unwrap();
            assert_eq!(drop.interface.as_deref(), Some("vpn0"), "{}", drop.line);
        }
    }
}

#[test]
fn the_camera_plays_over_the_vpn() {
    let lab = Lab::vpn(true).unwrap();
    let [_central, _branch] = on_both(&lab, |interfaces| policy::cameras(interfaces, "standard"));
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let pictures = player::play(&lab.client, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");
    }
}

/// With offloads, segments of up to 64 KiB and partial checksums pass the hooks; without, what the VPN carries does. Its
/// MTU is the smaller one: the gateway tells both ends by ICMP errors.
#[test]
fn bulk_goes_through_whole_both_ways() {
    for offloads in [false, true] {
        let lab = Lab::vpn(offloads).unwrap();
        let [central, branch] = on_both(&lab, policy::open);
        for (from, to) in [(&lab.client, &lab.camera), (&lab.camera, &lab.client)] {
            for address in addresses(to, PORT) {
                bulk::transfer(from, to, address, BULK_BYTES).unwrap();
            }
        }
        for fwx in [&central, &branch] {
            let drops = fwx.status().unwrap().drops;
            assert!(drops.is_empty(), "offloads {offloads}: {drops:?}");
        }
    }
}

#[test]
fn datagrams_fragments_and_echoes_pass_and_errors_come_back() {
    let lab = Lab::vpn(true).unwrap();
    let [central, branch] = on_both(&lab, policy::open);
    let families = addresses(&lab.client, 6000).into_iter().zip(addresses(&lab.camera, 6001));
    for (from, to) in families {
        let _echo = Echo::start(&lab.camera, to).unwrap();
        let socket = echo::socket(&lab.client, from).unwrap();
        // The second is what teaches both ends the VPN's MTU: of a later fragment's error nobody can tell the flow.
        for len in [10, 1_400, 5_000] {
            echo::ask(&socket, to, &vec![7; len]).unwrap();
        }
        let mut pinger = Pinger::new(&lab.client, from).unwrap();
        for len in [0, 56, 1_300] {
            pinger.ask(to, &vec![3; len]).unwrap();
        }

        // Nobody listens there: the camera's error comes in by the VPN.
        let lonely = lab.client.run(|| UdpSocket::bind(SocketAddr::new(from.ip(), 0))).unwrap();
        let lonely = lonely.unwrap();
        lonely.connect(SocketAddr::new(to.ip(), 6002)).unwrap();
        lonely.set_read_timeout(Some(PATIENCE)).unwrap();
        lonely.send(b"anybody there?").unwrap();
        let error = lonely.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    }
    for fwx in [&central, &branch] {
        let drops = fwx.status().unwrap().drops;
        assert!(drops.is_empty(), "{drops:?}");
    }
}

/// Each packet is judged at one hook of each gateway, however many it passes.
#[test]
fn a_forwarded_packet_is_judged_once() {
    const PINGS: u64 = 5;
    let lab = Lab::vpn(false).unwrap();
    let both = on_both(&lab, policy::open);
    for (from, to) in addresses(&lab.client, 4242).into_iter().zip(addresses(&lab.camera, 0)) {
        let mut pinger = Pinger::new(&lab.client, from).unwrap();
        for _ in 0..PINGS {
            pinger.ask(to, b"once").unwrap();
        }
        for fwx in &both {
            let text = fwx.call(&["conn", "list", "-o", "json"]).unwrap().success().unwrap();
            let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
            let is_ours = |row: &&Value| row["src_ip"] == from.ip().to_string();
            let rows: Vec<_> = rows.iter().filter(is_ours).collect();
            let [row] = rows[..] else { panic!("{text}") };
            let packets = [&row["packets"]["original"], &row["packets"]["reply"]];
            assert_eq!(packets, [&Value::from(PINGS); 2], "{row}");
        }
    }
}

#[test]
fn what_no_rule_allows_is_refused_on_its_way_in_and_out_by_the_vpn() {
    let lab = Lab::vpn(false).unwrap();
    let closed = |interfaces: &[&str]| {
        policy::open(interfaces).replace("default = \"allow\"", "default = \"deny\"")
            + r#"
[protocol.no]
transport = "tcp"
ports = [81]

[protocol.yes]
transport = "tcp"
ports = [80]

[[rule]]
name = "no"
action = "reject"
protocols = ["no"]

[[rule]]
name = "yes"
action = "allow"
protocols = ["yes"]
"#
    };
    let mut central = Fwx::new(lab.central(), lab.instance("central")).unwrap();
    central.run(&closed(&["vpn0"]), Mode::Auto).unwrap();
    let mut drops = 0;
    for (to_camera, to_client) in
        addresses(&lab.camera, 81).into_iter().zip(addresses(&lab.client, 81))
    {
        // In by the VPN; out by it, forwarded and of its own: each time a RST comes back at once.
        for (host, to) in
            [(&lab.camera, to_client), (&lab.client, to_camera), (lab.central(), to_camera)]
        {
            let error = refusal(host, to);
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{} {to}: {error}", host.role());
        }
        let from = SocketAddr::new(to_camera.ip(), 6000);
        let socket = echo::socket(&lab.camera, from).unwrap();
        socket.send_to(b"nobody asked", SocketAddr::new(to_client.ip(), 6001)).unwrap();
        drops += 4;
        let drop = central
            .wait_for_event("the datagram is dropped", |event| {
                event.is_drop(DENIED) && event.is_between_ports(6000, 6001)
            })
            .unwrap();
        assert_eq!(drop.interface.as_deref(), Some("vpn0"), "{}", drop.line);
        stray::lone_ack(
            &lab.camera,
            SocketAddr::new(to_camera.ip(), 80),
            SocketAddr::new(to_client.ip(), 40_004),
        )
        .unwrap();
        let drop = central
            .wait_for_event("the lone ACK is dropped", |event| {
                event.is_drop(NOT_SYN) && event.is_between_ports(80, 40_004)
            })
            .unwrap();
        assert_eq!(drop.interface.as_deref(), Some("vpn0"), "{}", drop.line);
    }
    connect(&lab, 80).iter().for_each(|pair| pair.talk().unwrap());
    let counted = central.status().unwrap().drops;
    assert!(counted[DENIED] >= drops, "{counted:?}");
}

#[test]
fn a_connection_behind_the_vpn_is_killed_by_hand_at_both_ends() {
    let lab = Lab::vpn(true).unwrap();
    let [central, _branch] = on_both(&lab, policy::open);
    for pair in connect(&lab, PORT) {
        pair.talk().unwrap();
        let [from, to] = pair.near_ends().map(|end| end.to_string());
        central.call(&["conn", "kill", &from, &to]).unwrap().success().unwrap();
        assert_reset("the client", &pair.near);
        assert_reset("the camera", &pair.far);
    }
}

#[test]
fn connections_are_taken_over_and_outlive_the_controller_and_a_renewal() {
    let lab = Lab::vpn(true).unwrap();
    let track = "table inet track {
        chain through { type filter hook forward priority 0; ct state established accept; }
    }";
    for gateway in [lab.central(), lab.branch()] {
        gateway.nft(track).unwrap();
    }
    let older = connect(&lab, PORT);
    older.iter().for_each(|pair| pair.talk().unwrap());
    let [mut central, _branch] = on_both(&lab, policy::open);
    let younger = connect(&lab, PORT + 1);
    let all_talk = || older.iter().chain(&younger).for_each(|pair| pair.talk().unwrap());
    all_talk();
    let flows = |fwx: &Fwx<'_>| {
        let flows = fwx.status().unwrap().flows;
        (flows.ipv4.completed, flows.ipv6.completed)
    };
    assert_eq!(flows(&central), (2, 2));

    central.kill_controller().unwrap();
    all_talk();
    let attached = |interface| traces::attached_programs(lab.central(), interface).unwrap();
    let before = attached("vpn0");
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.is_disjoint(&attached("lan0")), "they are of other kinds");
    central.run_again().unwrap();
    all_talk();
    assert_eq!(flows(&central), (2, 2));
    let after = attached("vpn0");
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(before.is_disjoint(&after), "the new controller brought programs");
    assert!(traces::still_loaded(&before).is_empty(), "{before:?}");

    central.down().unwrap();
    assert!(attached("vpn0").is_empty() && attached("lan0").is_empty());
    assert!(traces::still_loaded(&after).is_empty(), "{after:?}");
    assert_eq!(traces::pins(central.instance()), Vec::<PathBuf>::new());
    all_talk();
}

#[test]
fn what_leaves_by_the_vpn_under_another_name_is_known_again() {
    let lab = Lab::vpn(true).unwrap();
    let masquerade = "table inet nat {
        chain post { type nat hook postrouting priority srcnat; oifname vpn0 masquerade random; }
    }";
    lab.central().nft(masquerade).unwrap();
    let [central, _branch] = on_both(&lab, policy::open);
    for pair in connect(&lab, PORT) {
        assert_ne!(pair.near_ends()[0], pair.far_ends()[0], "it is translated");
        for _ in 0..3 {
            pair.talk().unwrap();
        }
    }
    for (from, to) in addresses(&lab.client, 6000).into_iter().zip(addresses(&lab.camera, 6001)) {
        let _echo = Echo::start(&lab.camera, to).unwrap();
        echo::ask_once(&echo::socket(&lab.client, from).unwrap(), to, b"hello").unwrap();
    }
    let drops = central.status().unwrap().drops;
    assert!(drops.is_empty(), "{drops:?}");
    let text = central.call(&["status", "-o", "json"]).unwrap().success().unwrap();
    let status: Value = serde_json::from_str(&text).unwrap();
    // TCP and UDP, of each family.
    assert_eq!(status["flows_translated"], 4, "{text}");
}

#[test]
fn the_mode_there_is_traffic_control_and_says_why() {
    let lab = Lab::vpn(false).unwrap();
    let shortcut =
        policy::open(&CENTRAL).replacen("[gateway]\n", "[gateway]\nshortcut = true\n", 1);
    for mode in [Mode::Auto, Mode::Tc] {
        let mut fwx = Fwx::new(lab.central(), lab.instance("central")).unwrap();
        fwx.up(&shortcut, mode).unwrap();
        let status = fwx.status().unwrap();
        let vpn = status.interfaces.iter().find(|it| it.name == "vpn0").unwrap();
        assert_eq!(vpn.ingress, "tc");
        if mode == Mode::Auto {
            assert!(vpn.why.contains("no Ethernet header"), "{}", vpn.why);
        }
        let there = vpn.shortcut.as_ref().expect("the policy wants it");
        assert_eq!((there.comes_in.as_str(), there.goes_out), ("none", false));
        assert!(there.why[0].contains("no Ethernet header"), "{there:?}");
        fwx.down().unwrap();
    }
}
