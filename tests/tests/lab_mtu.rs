//! Paths that carry less than their first link: ICMP errors, fragments and what traceroute lives on get through,
//! without and with NAT.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::ensure;
use firewall_common::{layout::Counter, wire::ip_protocol};
use lab::{
    Fwx, Lab, Mode, Packet,
    flows::{self, Flows},
    peers::{
        bulk,
        echo::{self, Echo},
        pair::Pair,
    },
    policy, wait,
};
use nix::sys::socket::{setsockopt, sockopt};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const MODES: [Mode; 3] = [Mode::Native, Mode::Generic, Mode::Tc];
const PORT: u16 = 5001;
/// What the camera's link carries.
const FAR_MTU: u32 = 1400;
/// Many times what is on its way at once.
const BYTES: usize = 20_000_000;
/// Of each fragmented datagram: fourteen fragments.
const DATAGRAM: usize = 20_000;
const UNRELATED: &str = "FWX_E_ICMP_UNRELATED_DROPPED";
const FRAGMENT: &str = "FWX_E_FRAGMENT_PACKET_DROPPED";

/// What leaves by wan0 bears the gateway's own address.
const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade
    }
}";

/// The kernel tracks connections, which makes it put fragments together, and translates nothing.
const TRACK: &str = "table inet track {
    chain forward {
        type filter hook forward priority filter
        ct state invalid counter
    }
}";

#[test]
fn tcp_learns_the_path_s_mtu() {
    bulk_tcp_completes(None);
}

#[test]
fn tcp_learns_the_path_s_mtu_through_masquerade() {
    bulk_tcp_completes(Some(MASQUERADE));
}

fn bulk_tcp_completes(rules: Option<&str>) {
    for mode in MODES {
        let lab = Lab::routed(FAR_MTU).unwrap();
        if let Some(rules) = rules {
            lab.gateway().nft(rules).unwrap();
        }
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for address in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            bulk::transfer(&lab.client, &lab.camera, address, BYTES)
                .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            let learned = route_mtu(&lab, address.ip());
            assert_eq!(learned, Some(FAR_MTU), "{mode}: {address}: the lab's path is not narrow");
        }
        let drops = fwx.status().unwrap().drops;
        assert_eq!(drops.get(UNRELATED), None, "{mode}: {drops:?}");
    }
}

#[test]
fn an_icmp_error_about_an_unknown_flow_is_dropped() {
    for mode in MODES {
        let lab = Lab::routed(FAR_MTU).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        let mut expected = 0;
        for (from, to) in [
            (lab.client.socket_v4(40_000), lab.camera.socket_v4(PORT)),
            (lab.client.socket_v6(40_000), lab.camera.socket_v6(PORT)),
        ] {
            for unknown in [Packet::tcp(from, to).flags("A"), Packet::udp(from, to)] {
                let error = too_big(&lab, &unknown, from);
                lab.router().send_packet("in0", error).unwrap();
                expected += 1;
                wait::until("the error is dropped", || {
                    let drops = fwx.status()?.drops.get(UNRELATED).copied();
                    ensure!(drops == Some(expected), "{drops:?}");
                    Ok(())
                })
                .unwrap();
            }
        }
        fwx.wait_for_event("the drop", |event| event.is_drop(UNRELATED)).unwrap();
    }
}

/// Who does not see a connection cannot slow it down by a number that he guesses.
#[test]
fn an_icmp_error_about_what_was_never_sent_is_dropped() {
    let lab = Lab::routed(FAR_MTU).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::open(&INTERFACES), Mode::Auto).unwrap();
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = lab.camera.run(|| std::net::TcpListener::bind(to)).unwrap().unwrap();
        let from = if to.is_ipv4() { lab.client.socket_v4(0) } else { lab.client.socket_v6(0) };
        let pair = Pair::connect(&lab.client, from, to, &listener).unwrap();
        pair.talk().unwrap();
        let [near, _] = pair.near_ends();
        let dropped = || fwx.status().unwrap().drops.get(UNRELATED).copied().unwrap_or(0);
        let before = dropped();
        let sent = flows::wait_for(&fwx, near, to, "there", |flow| flow.completed).unwrap();
        let [original, _] = sent.flow.halves;
        let guess = Packet::tcp(near, to).flags("A").seq(original.end.wrapping_add(1_000_000));
        lab.router().send_packet("in0", too_big(&lab, &guess, near)).unwrap();
        wait::until("the error is dropped", || {
            ensure!(dropped() == before + 1);
            Ok(())
        })
        .unwrap();
        assert_eq!(route_mtu(&lab, to.ip()), None);
        pair.talk().unwrap();
    }
}

#[test]
fn fragmented_datagrams_arrive() {
    fragmented_datagrams_arrive_through(None);
}

#[test]
fn fragmented_datagrams_arrive_where_the_kernel_tracks() {
    fragmented_datagrams_arrive_through(Some(TRACK));
}

#[test]
fn fragmented_datagrams_arrive_through_masquerade() {
    fragmented_datagrams_arrive_through(Some(MASQUERADE));
}

fn fragmented_datagrams_arrive_through(rules: Option<&str>) {
    for mode in MODES {
        let lab = Lab::single().unwrap();
        if let Some(rules) = rules {
            lab.gateway().nft(rules).unwrap();
        }
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let _echo = Echo::start(&lab.camera, to).unwrap();
            let socket = client_socket(&lab, to);
            for round in 1..=3 {
                echo::ask_once(&socket, to, &datagram(round))
                    .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            }
            let from = from(&lab, &socket, to);
            let tracked = Flows::of(&fwx).unwrap();
            let flow = tracked.find(from, to).unwrap();
            // Only the first fragment of each counts: the others have no ports. More would be egress counting
            // what ingress has counted.
            assert_eq!(flow.packets(), [3, 3], "{mode}: {tracked:#?}");
        }
        let opened = flows::tables(&fwx).unwrap().counter(Counter::FlowsOpened).unwrap();
        assert_eq!(opened, 2, "{mode}: {:#?}", Flows::of(&fwx));
        let drops = fwx.status().unwrap().drops;
        assert_eq!(drops.get(FRAGMENT), None, "{mode}: {drops:?}");
    }
}

#[test]
fn fragmented_datagrams_arrive_over_a_narrow_path() {
    fragmented_datagrams_arrive_over_a_narrow_path_through(None);
}

#[test]
fn fragmented_datagrams_arrive_over_a_narrow_path_through_masquerade() {
    fragmented_datagrams_arrive_over_a_narrow_path_through(Some(MASQUERADE));
}

fn fragmented_datagrams_arrive_over_a_narrow_path_through(rules: Option<&str>) {
    for mode in MODES {
        let lab = Lab::routed(FAR_MTU).unwrap();
        if let Some(rules) = rules {
            lab.gateway().nft(rules).unwrap();
        }
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let _echo = Echo::start(&lab.camera, to).unwrap();
            let socket = client_socket(&lab, to);
            for round in 1..=3 {
                // Of IPv6 the first is lost: a router makes no fragments, but says how long they may be.
                echo::ask(&socket, to, &datagram(round))
                    .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            }
        }
        // The errors about the other fragments are dropped: those have no ports, and one error is enough.
        let drops = fwx.status().unwrap().drops;
        assert_eq!(drops.get(FRAGMENT), None, "{mode}: {drops:?}");
    }
}

/// The gateway itself takes apart what is too long for the next link: what leaves is not what came in.
#[test]
fn a_datagram_that_the_gateway_itself_fragments_is_answered_through_masquerade() {
    for mode in MODES {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE).unwrap();
        lab.gateway().ip(&format!("link set wan0 mtu {FAR_MTU}\n")).unwrap();
        lab.camera.ip(&format!("link set eth0 mtu {FAR_MTU}\n")).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        let to = lab.camera.socket_v4(PORT);
        let _echo = Echo::start(&lab.camera, to).unwrap();
        // Routers may take the client's datagrams apart.
        lab.client.sysctl("ipv4/ip_no_pmtu_disc", "1").unwrap();
        let socket = client_socket(&lab, to);
        for len in [1472, DATAGRAM] {
            echo::ask_once(&socket, to, &datagram(1)[..len])
                .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
        }
        let from = from(&lab, &socket, to);
        let tracked = Flows::of(&fwx).unwrap();
        let flow = tracked.find(from, to).unwrap();
        assert_eq!(tracked.names_of(flow).len(), 1, "{tracked:#?}");
        assert_eq!(tracked.flows.len(), 1, "{tracked:#?}");
    }
}

#[test]
fn what_ends_on_its_way_is_told() {
    expiry_is_told(None);
}

#[test]
fn what_ends_on_its_way_is_told_through_masquerade() {
    expiry_is_told(Some(MASQUERADE));
}

/// As traceroute does it: the hop limit ends the datagram at the gateway, then at the router behind it.
fn expiry_is_told(rules: Option<&str>) {
    for mode in MODES {
        let lab = Lab::routed(FAR_MTU).unwrap();
        if let Some(rules) = rules {
            lab.gateway().nft(rules).unwrap();
        }
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&INTERFACES), mode).unwrap();
        for to in [lab.camera.socket_v4(33_434), lab.camera.socket_v6(33_434)] {
            for hops in [1, 2] {
                let socket = client_socket(&lab, to);
                if to.is_ipv4() {
                    socket.set_ttl(hops).unwrap();
                    setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
                } else {
                    setsockopt(&socket, sockopt::Ipv6Ttl, &hops.cast_signed()).unwrap();
                    setsockopt(&socket, sockopt::Ipv6RecvErr, &true).unwrap();
                }
                socket.connect(to).unwrap();
                socket.send(b"how far?").unwrap();
                wait::until_within(20, "the expiry is told", || {
                    let error = socket.recv(&mut [0; 100]).unwrap_err();
                    ensure!(error.raw_os_error() == Some(libc::EHOSTUNREACH), "{error}");
                    Ok(())
                })
                .unwrap_or_else(|error| {
                    panic!("{mode}: {to} with {hops} hops: {error:#}\n{}", fwx.diagnostics())
                });
            }
        }
        let drops = fwx.status().unwrap().drops;
        assert_eq!(drops.get(UNRELATED), None, "{mode}: {drops:?}");
    }
}

/// What the router would say to `to` about a packet that is too long.
fn too_big(lab: &Lab, about: &Packet, to: SocketAddr) -> Packet {
    const ETHERNET_LEN: usize = 14;
    let router = lab.router().interface("in0");
    let frame = about.clone().payload([0; 16]).build();
    let quoted = &frame[ETHERNET_LEN..];
    let mtu = FAR_MTU.to_be_bytes();
    let (from, protocol, head): (IpAddr, _, _) = if to.is_ipv4() {
        (router.ipv4.into(), ip_protocol::ICMP, [3, 4])
    } else {
        (router.ipv6.into(), ip_protocol::ICMPV6, [2, 0])
    };
    // The checksum is of no matter to the firewall, and the error must get no further.
    let message = [&head[..], &[0, 0], &mtu, quoted].concat();
    Packet::other(from, to.ip(), protocol).payload(message)
}

/// The MTU that the client has learned for its way to `to`.
fn route_mtu(lab: &Lab, to: IpAddr) -> Option<u32> {
    let mut ip = lab.client.command("ip");
    let route = lab.client.output(ip.args(["route", "get", &to.to_string()])).unwrap();
    let mut words = route.split_whitespace();
    words.find(|word| *word == "mtu")?;
    words.next()?.parse().ok()
}

fn client_socket(lab: &Lab, to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { lab.client.socket_v4(0) } else { lab.client.socket_v6(0) };
    echo::socket(&lab.client, any).unwrap()
}

fn from(lab: &Lab, socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    let port = socket.local_addr().unwrap().port();
    if to.is_ipv4() { lab.client.socket_v4(port) } else { lab.client.socket_v6(port) }
}

/// No two rounds have the same.
fn datagram(round: u8) -> Vec<u8> {
    (0..DATAGRAM).map(|index| (index / 8) as u8 ^ (index as u8) ^ round).collect()
}
