//! Beside the kernel's NAT: a flow has one name on each side of the gateway, and is tracked once.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::ensure;
use firewall_common::{
    flow::{Flow, KeyV4, State},
    layout::Counter,
    wire::{ECHO_PORT, ip_protocol},
};
use lab::{
    Fwx, Host, Lab, Mode,
    flows::{self, Flows, Tracked},
    peers::{
        camera::Camera,
        echo::{self, Echo},
        pair::Pair,
        ping::Pinger,
        player::{self, Transport},
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy, wait,
};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const PORT: u16 = 5001;

/// What leaves by wan0 bears the gateway's own address.
const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade
    }
}";

/// The same, and another port than the client's.
const MASQUERADE_RANDOM: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade random
    }
}";

/// The same, and one port for all TCP connections to one server, of which there can be only one at a time.
const MASQUERADE_ONE_PORT: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 meta l4proto tcp masquerade to :50000-50000
    }
}";

/// Who comes to the gateway's port 8554 gets to the camera.
const FORWARD_PORT: &str = "table inet nat {
    chain pre {
        type nat hook prerouting priority dstnat
        iifname lan0 meta nfproto ipv4 tcp dport 8554 dnat ip to 10.2.0.2:554
        iifname lan0 meta nfproto ipv6 tcp dport 8554 dnat ip6 to [fd00:2::2]:554
    }
}";

/// Counts the packets of TCP port 5001 as they come in, before they are tracked.
const COUNT: &str = "table inet count {
    counter to {}
    counter fro {}
    chain pre {
        type filter hook prerouting priority raw
        iifname lan0 tcp dport 5001 counter name to
        iifname wan0 tcp sport 5001 counter name fro
    }
}";

#[test]
fn the_camera_plays_through_masquerade_in_mode_native() {
    the_camera_plays_through_masquerade(Mode::Native);
}

#[test]
fn the_camera_plays_through_masquerade_in_mode_generic() {
    the_camera_plays_through_masquerade(Mode::Generic);
}

#[test]
fn the_camera_plays_through_masquerade_in_mode_tc() {
    the_camera_plays_through_masquerade(Mode::Tc);
}

fn the_camera_plays_through_masquerade(mode: Mode) {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&INTERFACES, "standard"), mode).unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let pictures = player::play(&lab.client, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");
    }
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
    let denied = "FWX_E_POLICY_RULES_DENIED";
    assert_eq!(fwx.status().unwrap().drops.get(denied), None, "{}", fwx.diagnostics());
    assert_tracked_once(&fwx);
}

#[test]
fn the_camera_plays_through_a_forwarded_port() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(FORWARD_PORT).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::filtering(&INTERFACES, "standard"), Mode::Auto).unwrap();
    let lan = lab.gateway().interface("lan0");
    for (listens, asked) in [
        (lab.camera.socket_v4(554), SocketAddr::new(lan.ipv4.into(), 8554)),
        (lab.camera.socket_v6(554), SocketAddr::new(lan.ipv6.into(), 8554)),
    ] {
        let _camera = Camera::start(&lab.camera, listens).unwrap();
        let url = format!("rtsp://{asked}/test");
        let pictures = player::play(&lab.client, &url, Transport::Tcp, 1).unwrap();
        assert!(pictures.count() >= 14, "{pictures:?}");
        assert_eq!(pictures.missing(), 0, "{pictures:?}");
    }
    assert!(fwx.binding("rtsp").unwrap().kills == 0);
    assert_tracked_once(&fwx);
}

#[test]
fn tcp_is_tracked_once_and_each_packet_counts_once() {
    for mode in [Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        lab.gateway().nft(COUNT).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();

        let mut sum = [0, 0];
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let listener = listen(&lab.camera, to);
            let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
            for _ in 0..20 {
                pair.talk().unwrap();
            }
            let [near, _] = pair.near_ends();
            let [seen, _] = pair.far_ends();
            assert_eq!(seen.ip(), outside(&lab, to), "nothing is translated");
            let flow =
                flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed)
                    .unwrap();
            assert_only_name(&fwx, &flow, seen, to);
            pair.close().unwrap();
            flows::wait_for(&fwx, near, to, "over", |flow| flow.state() == State::TimeWait)
                .unwrap();
            wait::until("each packet is counted once", || {
                let flows = Flows::of(&fwx)?;
                let counted = flows.find(near, to).map(Tracked::packets);
                let expected = {
                    let all = counters(lab.gateway());
                    [all[0] - sum[0], all[1] - sum[1]]
                };
                ensure!(counted == Some(expected), "{counted:?}, nftables says {expected:?}");
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{mode}: {error:#}"));
            sum = counters(lab.gateway());
        }
        assert_opened(&fwx, 2);
    }
}

#[test]
fn udp_through_masquerade_is_answered_and_tracked_once() {
    const DATAGRAMS: u64 = 10;
    for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let _echo = Echo::start(&lab.camera, to).unwrap();
            let socket = echo::socket(&lab.client, any(&lab.client, to)).unwrap();
            for number in 0..DATAGRAMS {
                echo::ask_once(&socket, to, format!("datagram {number}").as_bytes())
                    .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            }
            let from = SocketAddr::new(lab_address(&lab, to), socket.local_addr().unwrap().port());
            let flows = Flows::of(&fwx).unwrap();
            let flow = flows.find(from, to).unwrap();
            assert_eq!(flow.packets(), [DATAGRAMS, DATAGRAMS], "{mode}: {flow:?}");
            assert!(flow.completed && flow.state() == State::Assured, "{flow:?}");
            let [name] = flows.names_of(flow)[..] else { panic!("{flows:#?}") };
            assert_eq!((name.source.ip(), name.destination), (outside(&lab, to), to));
            assert!(name.completed, "the name is where a flood can evict it: {name:?}");
        }
        assert_opened(&fwx, 2);
    }
}

#[test]
fn an_echo_through_masquerade_is_answered_and_tracked_once() {
    const ID: u16 = 4711;
    for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for (from, to) in [
            (lab.client.socket_v4(ID), lab.camera.socket_v4(ECHO_PORT)),
            (lab.client.socket_v6(ID), lab.camera.socket_v6(ECHO_PORT)),
        ] {
            let mut pinger = Pinger::new(&lab.client, from).unwrap();
            for data in [&b"12345678"[..], b"", b"the third"] {
                pinger
                    .ask(to, data)
                    .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            }
            let flows = Flows::of(&fwx).unwrap();
            let flow = flows.find(from, to).unwrap();
            assert_eq!(flow.packets(), [3, 3], "{mode}: {flow:?}");
            assert!(flow.completed, "{flow:?}");
            assert_eq!(flows.names_of(flow).len(), 1, "{flows:#?}");
        }
        assert_opened(&fwx, 2);
    }
}

#[test]
fn the_translated_port_may_be_any() {
    const CONNECTIONS: usize = 5;
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE_RANDOM).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = listen(&lab.camera, to);
        let pairs: Vec<_> = (0..CONNECTIONS)
            .map(|_| Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap())
            .collect();
        for pair in &pairs {
            pair.talk().unwrap();
            let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
            let flow =
                flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed)
                    .unwrap();
            assert_only_name(&fwx, &flow, seen, to);
        }
        let kept =
            pairs.iter().filter(|pair| pair.near_ends()[0].port() == pair.far_ends()[0].port());
        assert!(kept.count() < CONNECTIONS, "no port was translated");
    }
    assert_opened(&fwx, 2 * CONNECTIONS as u64);
}

#[test]
fn two_clients_may_have_the_same_port() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    lab.client.ip("address add 10.1.0.3/24 dev eth0\n").unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    let clients: [SocketAddr; 2] =
        ["10.1.0.2:40000", "10.1.0.3:40000"].map(|it| it.parse().unwrap());

    let to = lab.camera.socket_v4(PORT);
    let listener = listen(&lab.camera, to);
    let pairs = clients.map(|from| Pair::connect(&lab.client, from, to, &listener).unwrap());
    assert_ne!(pairs[0].far_ends(), pairs[1].far_ends());
    for pair in pairs.iter().chain(&pairs) {
        pair.talk().unwrap();
    }
    for pair in &pairs {
        let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
        let flow = flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed);
        assert_only_name(&fwx, &flow.unwrap(), seen, to);
    }

    let _echo = Echo::start(&lab.camera, to).unwrap();
    let sockets = clients.map(|from| echo::socket(&lab.client, from).unwrap());
    for (socket, words) in sockets.iter().zip(["the first", "the second"]) {
        for _ in 0..3 {
            // The first eight bytes are what a datagram is known again by, and both clients' are the same.
            echo::ask_once(socket, to, format!("here is {words}").as_bytes()).unwrap();
        }
    }
    let flows = Flows::of(&fwx).unwrap();
    for from in clients {
        let udp = flows.flows.iter().find(|flow| {
            flow.protocol == ip_protocol::UDP && (flow.source, flow.destination) == (from, to)
        });
        assert_eq!(udp.map(Tracked::packets), Some([3, 3]), "{flows:#?}");
    }
    assert_opened(&fwx, 4);
}

#[test]
fn a_kill_behind_masquerade_reaches_both_ends() {
    for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::filtering(&INTERFACES, "strict"), mode).unwrap();
        for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
            check_kill(&lab, &fwx, address, address, mode);
        }
        assert_eq!(fwx.binding("rtsp").unwrap().kills, 2);
    }
}

#[test]
fn a_kill_behind_a_forwarded_port_reaches_both_ends() {
    for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(FORWARD_PORT).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::filtering(&INTERFACES, "strict"), mode).unwrap();
        let lan = lab.gateway().interface("lan0");
        check_kill(&lab, &fwx, lab.camera.socket_v4(554), (lan.ipv4, 8554).into(), mode);
        check_kill(&lab, &fwx, lab.camera.socket_v6(554), (lan.ipv6, 8554).into(), mode);
        assert_eq!(fwx.binding("rtsp").unwrap().kills, 2);
    }
}

/// A connection from the client to `asked`, taken in at `listens`, is killed for its server's answer.
fn check_kill(lab: &Lab, fwx: &Fwx<'_>, listens: SocketAddr, asked: SocketAddr, mode: Mode) {
    let listener = listen(&lab.camera, listens);
    let pair = Pair::connect(&lab.client, any(&lab.client, asked), asked, &listener).unwrap();
    let [near, _] = pair.near_ends();
    (&pair.near).write_all(b"OPTIONS rtsp://camera/ RTSP/1.0\r\nCSeq: 1\r\n\r\n").unwrap();
    let read = (&pair.far).read(&mut [0; 100]).unwrap();
    assert!(read > 0);
    (&pair.far).write_all(b"RTSP/1.0 200 OK\r\n\r\n").unwrap();
    let error = (&pair.near).read(&mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{mode}: the client's end");
    // The packet that it is killed for comes in by the far name.
    let kill = fwx.wait_for_event("the kill", |event| {
        event.kind == "connection_killed" && event.is_between_ports(near.port(), listens.port())
    });
    let kill = kill.unwrap();

    // The server learns of it by its next segment, but for a veth pair in native mode: a RST that XDP sends back
    // gets lost where the other end has no XDP program.
    let more = || (&pair.far).write_all(b"$\0\0\x04more");
    if mode == Mode::Native {
        more().unwrap();
    } else {
        let reset = wait::until("the server's end is reset", || {
            ensure!(more().is_err(), "it goes on");
            Ok(())
        });
        reset.unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
    }
    fwx.wait_for_event("a drop caused by the kill", |event| event.caused_by == Some(kill.event_id))
        .unwrap();
    let flow = flows::wait_for(fwx, near, asked, "dead", |flow| flow.state() == State::Killed);
    flow.unwrap();
}

#[test]
fn a_translated_port_may_be_used_again_by_another_client() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    gateway.nft(MASQUERADE_ONE_PORT).unwrap();
    // The kernel's tracker forgets a connection at once that was reset; the firewall remembers it for longer.
    gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_close", "1").unwrap();
    gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "1").unwrap();
    let mut fwx = Fwx::new(gateway, lab.instance("gw")).unwrap();
    fwx.run(&format!("{}\n[timeouts]\nclose = 100\n", policy::open(&INTERFACES)), Mode::Auto)
        .unwrap();

    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = listen(&lab.camera, to);
        let mut numbers = Vec::new();
        for turn in 0..3 {
            // While the port is taken the kernel drops the SYN; the client repeats it.
            let pair = wait::until_within(20, "the port is free again", || {
                Pair::connect(&lab.client, any(&lab.client, to), to, &listener)
            })
            .unwrap();
            let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
            assert_eq!(seen.port(), 50_000, "the port is not the one that all have");
            pair.talk().unwrap_or_else(|error| {
                panic!("turn {turn}: {error:#}\n{}\n{:#?}", fwx.diagnostics(), Flows::of(&fwx))
            });
            let flow =
                flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed)
                    .unwrap();
            assert_only_name(&fwx, &flow, seen, to);
            numbers.push(flow.flow.id);
            if turn == 1 {
                // Closed in order, not reset; it stays in TIME_WAIT.
                pair.close().unwrap();
            } else {
                reset(&pair.near);
                drop(pair);
            }
            flows::wait_for(&fwx, near, to, "over", |flow| flow.state().is_over()).unwrap();
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 3, "each is a flow of its own");
        // The flows that are over are still there, and the name leads to the last.
        let flows = Flows::of(&fwx).unwrap();
        let names: Vec<_> = flows.names.iter().filter(|name| name.destination == to).collect();
        assert_eq!(names.len(), 1, "{flows:#?}");
    }
}

/// Who asks the gateway's port 8554 from inside gets to another machine inside, by the gateway.
const HAIRPIN: &str = "table inet nat {
    chain pre {
        type nat hook prerouting priority dstnat
        iifname lan0 ip daddr 10.1.0.1 tcp dport 8554 dnat ip to 10.1.0.3:5001
    }
    chain post {
        type nat hook postrouting priority srcnat
        oifname lan0 ip daddr 10.1.0.3 masquerade random
    }
}";

#[test]
fn both_ends_may_be_translated_and_on_one_link() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(HAIRPIN).unwrap();
    lab.gateway().sysctl("ipv4/conf/all/send_redirects", "0").unwrap();
    lab.client.ip("address add 10.1.0.3/24 dev eth0\n").unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    let inner: SocketAddr = "10.1.0.3:5001".parse().unwrap();
    let asked: SocketAddr = "10.1.0.1:8554".parse().unwrap();
    let listener = listen(&lab.client, inner);
    let pair = Pair::connect(&lab.client, lab.client.socket_v4(0), asked, &listener).unwrap();
    pair.talk().unwrap();
    let ([near, _], [seen, far]) = (pair.near_ends(), pair.far_ends());
    assert_eq!((seen.ip(), far), (asked.ip(), inner));
    let flow = flows::wait_for(&fwx, near, asked, "known by its answer", |flow| flow.completed);
    assert_only_name(&fwx, &flow.unwrap(), seen, inner);
    assert_opened(&fwx, 1);
}

/// Both ends lost the connection without a word, and the one that began it does so again, from the same port.
#[test]
fn a_connection_that_is_begun_anew_keeps_its_other_name() {
    const MUTE: &str = "table inet mute {
        chain out {
            type filter hook output priority filter
            tcp flags & (fin | rst) != 0 drop
        }
    }";
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE_RANDOM).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = listen(&lab.camera, to);
        let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
        pair.talk().unwrap();
        let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
        let first = flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed);
        for host in [&lab.client, &lab.camera] {
            host.nft(MUTE).unwrap();
        }
        reset(&pair.near);
        reset(&pair.far);
        drop(pair);
        for host in [&lab.client, &lab.camera] {
            host.nft("delete table inet mute").unwrap();
        }

        let pair = Pair::connect(&lab.client, near, to, &listener).unwrap();
        assert_eq!(pair.far_ends()[0], seen, "the kernel gives it another name");
        pair.talk().unwrap();
        let again = flows::wait_for(&fwx, near, to, "there", |flow| flow.completed).unwrap();
        assert_ne!(again.flow.id, first.unwrap().flow.id);
        assert_only_name(&fwx, &again, seen, to);
    }
}

#[test]
fn a_flow_that_was_silent_for_too_long_may_begin_anew_from_its_other_end() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let server = echo::socket(&lab.camera, to).unwrap();
        let client = echo::socket(&lab.client, any(&lab.client, to)).unwrap();
        client.send_to(b"first", to).unwrap();
        let seen = echo::hear(&server).unwrap();
        server.send_to(b"its answer", seen).unwrap();
        echo::hear(&client).unwrap();
        let from = SocketAddr::new(lab_address(&lab, to), client.local_addr().unwrap().port());
        let first = flows::wait_for(&fwx, from, to, "there", |_| true).unwrap();

        flows::age(&fwx, from, to).unwrap();
        server.send_to(b"once more", seen).unwrap();
        echo::hear(&client).unwrap();
        client.send_to(b"and back", to).unwrap();
        assert_eq!(echo::hear(&server).unwrap(), seen);

        let flows = Flows::of(&fwx).unwrap();
        let second = flows.find(to, seen).unwrap_or_else(|| panic!("{flows:#?}"));
        assert_ne!(second.flow.id, first.flow.id);
        assert_eq!(second.packets(), [1, 1], "{flows:#?}");
        let [name] = flows.names_of(second)[..] else { panic!("{flows:#?}") };
        assert_eq!((name.source, name.destination), (to, from));
        assert!(flows.find(from, to).is_none(), "the old flow is still there: {flows:#?}");
    }
}

#[test]
fn the_name_of_a_flow_that_lives_is_not_swept() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    let to = lab.camera.socket_v4(PORT);
    let listener = listen(&lab.camera, to);
    let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
    pair.talk().unwrap();
    let ([near, _], [seen, _]) = (pair.near_ends(), pair.far_ends());
    let flow = flows::wait_for(&fwx, near, to, "known by its answer", |flow| flow.completed);
    let flow = flow.unwrap();
    assert_only_name(&fwx, &flow, seen, to);

    // As if the connection were older than every timeout but its own. Beside it, a flow that is to go, so that
    // one sees when the sweep has been, and a name that leads nowhere.
    let mut table = flows::tables(&fwx).unwrap().flows_v4().unwrap();
    let key = table.keys().map(Result::unwrap);
    let key = key.max_by_key(|key| table.get(key, 0).unwrap().state == State::Alias as u8).unwrap();
    let name = table.get(&key, 0).unwrap();
    assert_eq!(name.state(), State::Alias);
    table.insert(key, Flow { last_seen: 0, ..name }, 0).unwrap();
    let stale = KeyV4 { ports: [1, 2], ..key };
    let nowhere = KeyV4 { ports: [3, 4], ..key };
    let old = Flow { last_seen: 0, state: State::Closed as u8, ..flow.flow };
    table.insert(stale, Flow { id: 1, ..old }, 0).unwrap();
    table.insert(nowhere, Flow { id: 2, ..name }, 0).unwrap();
    wait::until_within(1000, "the sweep has been", || {
        ensure!(table.get(&stale, 0).is_err(), "the old flow is there");
        ensure!(table.get(&nowhere, 0).is_err(), "the name that leads nowhere is there");
        Ok(())
    })
    .unwrap();
    assert_only_name(&fwx, &flow, seen, to);
    pair.talk().unwrap();
}

#[test]
fn the_viewer_s_connection_outlives_the_controller_behind_masquerade() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::filtering(&INTERFACES, "standard"), Mode::Auto).unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(20).end, None);
    fwx.kill_controller().unwrap();
    viewer.read_frames(20).unwrap();
    fwx.run_again().unwrap();
    viewer.read_frames(20).unwrap();
    assert_ne!(viewer.request("X_PING", "").map(|reply| reply.status()), Err(End::Reset));
    assert_opened(&fwx, 1);
}

/// Exactly so many flows were begun, and all of them have an answer.
fn assert_opened(fwx: &Fwx<'_>, flows: u64) {
    let opened = flows::tables(fwx).unwrap().counter(Counter::FlowsOpened).unwrap();
    let tracked = Flows::of(fwx).unwrap();
    assert_eq!(opened, flows, "{tracked:#?}");
    let status = fwx.status().unwrap().flows;
    let completed = status.ipv4.completed + status.ipv6.completed;
    let half_open = status.ipv4.half_open + status.ipv6.half_open;
    assert_eq!((completed, half_open), (flows, 0), "{tracked:#?}");
    assert_tracked_once(fwx);
}

/// Every translated flow has one other name, none lies under two names, and no name leads nowhere.
fn assert_tracked_once(fwx: &Fwx<'_>) {
    let tracked = Flows::of(fwx).unwrap();
    for name in &tracked.names {
        let flow = tracked.flows.iter().find(|flow| flow.flow.id == name.id);
        let flow = flow.unwrap_or_else(|| panic!("{name:?} leads nowhere: {tracked:#?}"));
        assert_eq!(tracked.names_of(flow).len(), 1, "{tracked:#?}");
        let as_flow = tracked.flows.iter().find(|flow| {
            (flow.source, flow.destination) == (name.source, name.destination)
                && flow.protocol != ip_protocol::UDP
        });
        assert!(as_flow.is_none(), "{name:?} is a flow too: {tracked:#?}");
    }
}

/// The flow has one other name: that by which the far end knows it.
fn assert_only_name(fwx: &Fwx<'_>, flow: &Tracked, seen: SocketAddr, to: SocketAddr) {
    let flows = Flows::of(fwx).unwrap();
    let names = flows.names_of(flow);
    let [name] = names[..] else { panic!("{names:?} of {flow:?} in {flows:#?}") };
    assert_eq!((name.source, name.destination), (seen, to), "{flows:#?}");
}

/// What `nft` counted: towards the camera and back.
fn counters(gateway: &Host) -> [u64; 2] {
    let text = gateway.output(gateway.command("nft").args(["-j", "list", "counters"])).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["to", "fro"].map(|name| {
        let objects = json["nftables"].as_array().unwrap();
        let counter = objects.iter().find(|object| object["counter"]["name"] == name);
        counter.and_then(|object| object["counter"]["packets"].as_u64()).unwrap()
    })
}

fn listen(host: &Host, address: SocketAddr) -> TcpListener {
    host.run(|| TcpListener::bind(address)).unwrap().unwrap()
}

/// Any port of `host`, in the address family of `to`.
fn any(host: &Host, to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { host.socket_v4(0) } else { host.socket_v6(0) }
}

/// The gateway's address on the far side, in the address family of `to`.
fn outside(lab: &Lab, to: SocketAddr) -> IpAddr {
    let wan = lab.gateway().interface("wan0");
    if to.is_ipv4() { wan.ipv4.into() } else { wan.ipv6.into() }
}

/// The client's address, in the address family of `to`.
fn lab_address(lab: &Lab, to: SocketAddr) -> IpAddr {
    any(&lab.client, to).ip()
}

/// Has the kernel reset the connection when this end of it is closed.
fn reset(end: &TcpStream) {
    use nix::sys::socket::{setsockopt, sockopt};
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(end, sockopt::Linger, &at_once).unwrap();
}
