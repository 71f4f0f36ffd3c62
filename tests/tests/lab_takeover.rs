//! Connections whose beginning the firewall did not see, or of which it sees one direction alone.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::ensure;
use firewall_common::{
    flow::{Flow, State},
    reason::Reason,
};
use lab::{
    Fwx, Host, Lab, Mode,
    flows::{self, Flows},
    peers::{bulk, pair::Pair, recorder::Recorder, viewer::Viewer},
    policy,
};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const MODES: [Mode; 3] = [Mode::Native, Mode::Generic, Mode::Tc];
const PORT: u16 = 5001;
const NOT_SYN: &str = Reason::TcpNotSyn.name();

/// What leaves by wan0 bears the gateway's own address.
const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade random
    }
}";

#[test]
fn with_new_flow_monitor_connections_older_than_the_firewall_go_on() {
    for mode in MODES {
        let lab = Lab::single().unwrap();
        let pairs = older_connections(&lab);
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&monitor(&policy::open(&INTERFACES)), mode).unwrap();
        for pair in &pairs {
            for _ in 0..3 {
                pair.talk()
                    .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            }
            let [near, to] = pair.near_ends();
            let flow = flows::wait_for(&fwx, near, to, "known by its answer", |flow| {
                flow.completed && flow.flow.flags & Flow::ADOPTED != 0
            })
            .unwrap();
            assert_eq!(flow.state(), State::Established, "{flow:?}");
            fwx.wait_for_event("the connection without a beginning", |event| {
                event.kind == "filter_finding"
                    && event.reason.as_deref() == Some(NOT_SYN)
                    && event.is_between_ports(near.port(), to.port())
            })
            .unwrap();
        }
        let drops = fwx.status().unwrap().drops;
        assert_eq!(drops.get(NOT_SYN), None, "{mode}: what passed counts as dropped: {drops:?}");
        for pair in pairs {
            let [near, to] = pair.near_ends();
            pair.close().unwrap();
            flows::wait_for(&fwx, near, to, "over", |flow| flow.state() == State::TimeWait)
                .unwrap();
        }
    }
}

#[test]
fn with_new_flow_monitor_an_older_transfer_completes() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 20;
    for mode in MODES {
        let lab = Lab::single().unwrap();
        for pair in older_connections(&lab) {
            // In full flight while the firewall is switched on; then in the other direction.
            let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
            let Pair { near, far } = &pair;
            std::thread::scope(|scope| {
                let sending = scope.spawn(move || {
                    let mut near = near;
                    (0..CHUNKS).try_for_each(|_| near.write_all(&[7; CHUNK]))
                });
                let mut far = far;
                let mut chunk = vec![0; CHUNK];
                far.read_exact(&mut chunk).unwrap();
                fwx.run(&monitor(&policy::open(&INTERFACES)), mode).unwrap();
                for _ in 1..CHUNKS {
                    far.read_exact(&mut chunk)
                        .unwrap_or_else(|error| panic!("{mode}: {error}\n{}", fwx.diagnostics()));
                }
                sending.join().unwrap().unwrap();
            });
            std::thread::scope(|scope| {
                let sending = scope.spawn(move || {
                    let mut far = far;
                    (0..CHUNKS).try_for_each(|_| far.write_all(&[7; CHUNK]))
                });
                let mut near = near;
                let mut chunk = vec![0; CHUNK];
                for _ in 0..CHUNKS {
                    near.read_exact(&mut chunk)
                        .unwrap_or_else(|error| panic!("{mode}: {error}\n{}", fwx.diagnostics()));
                }
                sending.join().unwrap().unwrap();
            });
            fwx.down().unwrap();
        }
    }
}

#[test]
fn with_new_flow_enforce_connections_older_than_the_firewall_end_there() {
    let lab = Lab::single().unwrap();
    let pairs = older_connections(&lab);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for pair in &pairs {
        let [near, to] = pair.near_ends();
        (&pair.near).write_all(b"anybody there?").unwrap();
        fwx.wait_for_event("the drop", |event| {
            event.is_drop(NOT_SYN) && event.is_between_ports(near.port(), to.port())
        })
        .unwrap();
    }
    assert!(Flows::of(&fwx).unwrap().flows.is_empty());
}

/// Packets of both directions may be the first at once, each by another name of the connection.
#[test]
fn with_new_flow_monitor_an_older_connection_behind_masquerade_is_one_flow() {
    const ROUNDS: usize = 2000;
    for mode in MODES {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        for pair in older_connections(&lab) {
            let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
            let Pair { near, far } = &pair;
            let exchange = |mut own: &TcpStream| {
                // Each end is always saying something while it hears the other.
                (0..ROUNDS).try_for_each(|_| {
                    own.write_all(&[7; 1000])?;
                    own.read_exact(&mut [0; 1000])
                })
            };
            std::thread::scope(|scope| {
                let ends = [near, far].map(|end| scope.spawn(move || exchange(end)));
                fwx.run(&monitor(&policy::open(&INTERFACES)), mode).unwrap();
                for end in ends {
                    end.join()
                        .unwrap()
                        .unwrap_or_else(|error| panic!("{mode}: {error}\n{}", fwx.diagnostics()));
                }
            });
            for _ in 0..3 {
                pair.talk().unwrap();
            }
            let tracked = Flows::of(&fwx).unwrap();
            let ends = [pair.near_ends(), pair.far_ends()];
            // The other pair's connection is in the tables too: the kernel tracks it.
            let own: Vec<_> = tracked
                .flows
                .iter()
                .filter(|flow| ends.iter().flatten().any(|end| *end == flow.source))
                .collect();
            let [flow] = &own[..] else { panic!("{mode}: {tracked:#?}") };
            let names = tracked.names_of(flow);
            let [name] = &names[..] else { panic!("{mode}: {tracked:#?}") };
            assert!(flow.completed && name.completed && name.id == flow.flow.id, "{tracked:#?}");
            // Whichever end was first seen began it, by its own name.
            let expected = if flow.source == ends[0][0] { ends } else { turned_round(ends) };
            let names = [[flow.source, flow.destination], [name.source, name.destination]];
            assert_eq!(names, expected, "{mode}: {tracked:#?}");
            fwx.down().unwrap();
        }
    }
}

/// Monitoring lets older connections live, not those that the rules refuse.
#[test]
fn with_new_flow_monitor_the_rules_still_decide() {
    let lab = Lab::single().unwrap();
    let pairs = older_connections(&lab);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&monitor(&policy::cameras(&INTERFACES, "standard")), Mode::Auto).unwrap();
    for pair in &pairs {
        let [near, to] = pair.near_ends();
        (&pair.near).write_all(b"anybody there?").unwrap();
        fwx.wait_for_event("the drop", |event| {
            event.is_drop("FWX_E_POLICY_RULES_DENIED")
                && event.is_between_ports(near.port(), to.port())
        })
        .unwrap();
    }
}

#[test]
fn with_new_flow_monitor_an_older_stream_plays_on_under_the_filter() {
    let lab = Lab::single().unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(20).end, None);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&monitor(&policy::filtering(&INTERFACES, "standard")), Mode::Auto).unwrap();
    viewer.read_frames(100).unwrap();
    assert_eq!(viewer.request("X_PING", "").unwrap().status(), Some(200));
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
}

#[test]
fn of_an_asymmetric_prefix_the_way_there_is_enough() {
    asymmetric(Way::There);
}

#[test]
fn of_an_asymmetric_prefix_the_way_back_is_enough() {
    asymmetric(Way::Back);
}

/// The direction that passes the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the client to the camera.
    There,
    /// From the camera to the client.
    Back,
}

fn asymmetric(way: Way) {
    const BYTES: usize = 20_000_000;
    for mode in MODES {
        let lab = Lab::single().unwrap();
        let bypassed = match way {
            Way::There => (&lab.camera, &lab.client),
            Way::Back => (&lab.client, &lab.camera),
        };
        bypass(bypassed.0, bypassed.1);
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        let open = policy::open(&INTERFACES);
        let prefixes = r#"prefixes = ["10.2.0.0/24", "fd00:2::/64"]"#;
        fwx.run(&format!("{open}\n[[asymmetric]]\n{prefixes}\n"), mode).unwrap();
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let talk = || {
                let listener = listen(&lab.camera, to);
                let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener)?;
                for _ in 0..3 {
                    pair.talk()?;
                }
                let [near, _] = pair.near_ends();
                let (source, destination) = if way == Way::There { (near, to) } else { (to, near) };
                let flow = flows::wait_for(&fwx, source, destination, "there", |_| true)?;
                ensure!(flow.packets()[1] == 0, "the other direction passes, too: {flow:?}");
                pair.close()?;
                drop(listener);
                // The gateway sees nothing but the data, or nothing but what acknowledges it.
                bulk::transfer(&lab.client, &lab.camera, to, BYTES)
            };
            talk().unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
        }
        let drops = fwx.status().unwrap().drops;
        assert!(drops.is_empty(), "{mode}: {drops:?}");
    }
}

#[test]
fn without_the_asymmetric_prefix_one_way_is_not_enough() {
    let lab = Lab::single().unwrap();
    bypass(&lab.client, &lab.camera);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    let to = lab.camera.socket_v4(PORT);
    let _listener = listen(&lab.camera, to);
    let near = begin_to_connect(&lab.client, to);
    fwx.wait_for_event("the drop of the SYN's answer", |event| {
        event.is_drop(NOT_SYN) && event.src_port == Some(PORT)
    })
    .unwrap();
    drop(near);
}

/// The same names of a connection that its far end began.
fn turned_round([near, far]: [[SocketAddr; 2]; 2]) -> [[SocketAddr; 2]; 2] {
    [far, near].map(|[source, destination]| [destination, source])
}

/// Connections over IPv4 and IPv6 between client and camera, that have talked.
fn older_connections(lab: &Lab) -> Vec<Pair> {
    [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)]
        .map(|to| {
            let listener = listen(&lab.camera, to);
            let pair = Pair::connect(&lab.client, any(&lab.client, to), to, &listener).unwrap();
            pair.talk().unwrap();
            pair
        })
        .into()
}

/// The policy, but that what is no SYN begins a flow, too.
fn monitor(policy: &str) -> String {
    policy.replacen("[gateway]\n", "[gateway]\nnew_flow = \"monitor\"\n", 1)
}

/// Gives `from` a way to `to` that does not lead by the gateway.
fn bypass(from: &Host, to: &Host) {
    let target = to.first_interface();
    from.ip(&format!(
        "link add side0 type veth peer name side0 netns {}\n\
         address add 10.8.0.1/24 dev side0\naddress add fd00:8::1/64 dev side0 nodad\n\
         link set side0 up\n",
        to.namespace()
    ))
    .unwrap();
    to.ip("address add 10.8.0.2/24 dev side0\naddress add fd00:8::2/64 dev side0 nodad\n\
         link set side0 up\n")
        .unwrap();
    let own = from.first_interface();
    from.ip(&format!(
        "route add {} via 10.8.0.2 src {}\nroute add {} via fd00:8::2 src {}\n",
        target.ipv4, own.ipv4, target.ipv6, own.ipv6
    ))
    .unwrap();
    // It comes in by another interface than its answer goes out by.
    for interface in ["all", "side0"] {
        to.sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0").unwrap();
    }
}

fn listen(host: &Host, address: SocketAddr) -> TcpListener {
    host.run(|| TcpListener::bind(address)).unwrap().unwrap()
}

fn any(host: &Host, to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { host.socket_v4(0) } else { host.socket_v6(0) }
}

/// A connection that is on its way and waits for no answer.
fn begin_to_connect(host: &Host, to: SocketAddr) -> std::os::fd::OwnedFd {
    use std::os::fd::AsRawFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = host.run(|| socket(AddressFamily::Inet, SockType::Stream, flags, None));
    let socket = socket.unwrap().unwrap();
    let begun = connect(socket.as_raw_fd(), &SockaddrStorage::from(to));
    assert_eq!(begun, Err(nix::Error::EINPROGRESS));
    socket
}
