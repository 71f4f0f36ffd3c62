//! Beside the kernel's NAT: a flow has one name on each side of the gateway, and is tracked once.

mod anew;
mod kill;
mod media;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::ensure;
use firewall_common::{
    flow::State,
    layout::Counter,
    wire::{ECHO_PORT, ip_protocol},
};
use lab::{
    Fwx, Host, Lab, Mode,
    flows::{self, Flows, Tracked},
    nat::{MASQUERADE, MASQUERADE_RANDOM},
    peers::{
        echo::{self, Echo},
        pair::Pair,
        ping::Pinger,
    },
    policy, wait,
};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const PORT: u16 = 5001;

/// What leaves by wan0 bears the gateway's own address, and one port for all TCP connections to one server, of which there can be only one at a time.
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
