//! The shortcut past the kernel's stack: what takes it arrives whole and is counted, and what needs the kernel goes
//! through it.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::ensure;
use firewall_common::{
    layout::Counter,
    shortcut::{FOR_TCP, FOR_UDP},
};
use lab::{
    Fwx, Host, Lab, Mode, Options,
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
const XDP_MODES: [Mode; 2] = [Mode::Native, Mode::Generic];
const PORT: u16 = 5001;
const RTSP_PORT: u16 = 554;
/// Many times what is on its way at once.
const BYTES: usize = 20_000_000;
/// More than the sixteen of which one is noted.
const DATAGRAMS: u64 = 100;
/// Client and camera fill in whole checksums: XDP would lose what a network card is to finish.
const WHOLE_CHECKSUMS: Options = Options { mtu: 1500, tx_checksum_offload: false };

/// What leaves by wan0 bears the gateway's own address.
const MASQUERADE: &str = "table inet nat {
    chain post {
        type nat hook postrouting priority srcnat
        oifname wan0 masquerade
    }
}";

/// A stateful firewall of the kernel's own, which counts what conntrack takes for the first packet of a flow.
const STATEFUL: &str = "table inet stateful {
    counter new {}
    counter invalid {}
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state invalid counter name invalid drop
        ct state new counter name new accept
        ct state established,related accept
    }
}";

/// Drops what the gateway forwards of UDP.
const NO_UDP: &str = "table inet late {
    chain forward {
        type filter hook forward priority filter
        meta l4proto udp drop
    }
}";

fn with_shortcut(policy: &str) -> String {
    policy.replacen("[gateway]\n", "[gateway]\nshortcut = true\n", 1)
}

/// A lab whose kernel does not mind TCP that it does not wholly see.
fn liberal_lab(options: Options) -> Lab {
    let lab = Lab::single_with(options).unwrap();
    lab.gateway().sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1").unwrap();
    lab
}

fn start<'lab>(lab: &'lab Lab, policy: &str, mode: Mode) -> Fwx<'lab> {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(policy, mode).unwrap();
    fwx
}

#[test]
fn a_bulk_transfer_takes_the_shortcut_and_arrives_whole() {
    for mode in XDP_MODES {
        let lab = liberal_lab(WHOLE_CHECKSUMS);
        let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), mode);
        // Frames as they are on a wire. The client's own stack would hand over segments of 64 KiB.
        ethtool(&lab.client, &["tso", "off", "gso", "off"]);
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let before = short_cut(&fwx);
            bulk::transfer(&lab.client, &lab.camera, to, BYTES)
                .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));
            let taken = short_cut(&fwx) - before;
            let segments = (BYTES / 1448) as u64;
            assert!(taken > segments / 2, "{mode} {to}: {taken}: {}", fwx.diagnostics());
        }
        assert_eq!(fwx.status().unwrap().drops.values().sum::<u64>(), 0, "{}", fwx.diagnostics());
    }
}

#[test]
fn datagrams_take_the_shortcut_and_each_is_counted_once() {
    for mode in XDP_MODES {
        let lab = liberal_lab(WHOLE_CHECKSUMS);
        let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), mode);
        for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
            let before = short_cut(&fwx);
            let _echo = Echo::start(&lab.camera, to).unwrap();
            let socket = client_socket(&lab, to);
            ask_often(&fwx, &socket, to, DATAGRAMS);
            let flows = Flows::of(&fwx).unwrap();
            let flow = flows.find(from(&lab, &socket, to), to).unwrap();
            assert_eq!(flow.packets(), [DATAGRAMS, DATAGRAMS], "{mode} {to}");
            let bytes = flow.flow.tallies.map(|tally| tally.bytes);
            let headers = if to.is_ipv4() { 28 } else { 48 };
            let sent: u64 =
                (0..DATAGRAMS).map(|number| datagram(number).len() as u64 + headers).sum();
            assert_eq!(bytes, [sent, sent], "{mode} {to}");
            let taken = short_cut(&fwx) - before;
            assert!(taken > DATAGRAMS, "{mode} {to}: {taken}: {}", fwx.diagnostics());
            assert!(taken < 2 * DATAGRAMS, "the first of them prove the flow");
        }
        assert_what_left_is_counted(&lab, &fwx);
    }
}

/// The interfaces' own counters know every frame that they sent, whichever way it came to them.
fn assert_what_left_is_counted(lab: &Lab, fwx: &Fwx<'_>) {
    let tables = flows::tables(fwx).unwrap();
    let counted = || {
        [Counter::EgressPackets, Counter::EgressBytes]
            .map(|counter| tables.counter(counter).unwrap())
    };
    let sent = || {
        let [lan, wan] = INTERFACES.map(|interface| sent_by(lab.gateway(), interface));
        [lan[0] + wan[0], lan[1] + wan[1]]
    };
    let (counted_before, sent_before) = (counted(), sent());
    let to = lab.camera.socket_v4(PORT + 1);
    let _echo = Echo::start(&lab.camera, to).unwrap();
    let socket = client_socket(lab, to);
    let before = short_cut(fwx);
    ask_often(fwx, &socket, to, DATAGRAMS);
    assert!(short_cut(fwx) > before);
    wait::until("what left is counted", || {
        let more = |now: [u64; 2], before: [u64; 2]| [now[0] - before[0], now[1] - before[1]];
        let (counted, sent) = (more(counted(), counted_before), more(sent(), sent_before));
        ensure!(counted == sent, "fwx counted {counted:?}, the interfaces {sent:?}");
        Ok(())
    })
    .unwrap();
}

/// Frames and bytes that an interface sent.
fn sent_by(host: &Host, interface: &str) -> [u64; 2] {
    let mut ip = host.command("ip");
    let text = host.output(ip.args(["-j", "-s", "link", "show", interface])).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    ["packets", "bytes"].map(|what| json[0]["stats64"]["tx"][what].as_u64().unwrap())
}

#[test]
fn what_is_translated_never_takes_it() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    lab.gateway().nft(MASQUERADE).unwrap();
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        bulk::transfer(&lab.client, &lab.camera, to, BYTES)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        let _echo = Echo::start(&lab.camera, to).unwrap();
        let socket = client_socket(&lab, to);
        ask_often(&fwx, &socket, to, DATAGRAMS);
    }
    assert_eq!(short_cut(&fwx), 0);
    assert_eq!(fwx.status().unwrap().shortcut.long_ways.len(), 0, "{}", fwx.diagnostics());
}

#[test]
fn the_last_hop_is_told_by_the_kernel() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let before = long_ways(&fwx, "hops");
        let _echo = Echo::start(&lab.camera, to).unwrap();
        let socket = client_socket(&lab, to);
        let taken = short_cut(&fwx);
        ask_often(&fwx, &socket, to, DATAGRAMS);
        assert!(short_cut(&fwx) > taken, "{}", fwx.diagnostics());
        if to.is_ipv4() {
            socket.set_ttl(1).unwrap();
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
        } else {
            setsockopt(&socket, sockopt::Ipv6Ttl, &1).unwrap();
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true).unwrap();
        }
        socket.connect(to).unwrap();
        socket.send(b"how far?").unwrap();
        wait::until_within(20, "the expiry is told", || {
            let error = socket.recv(&mut [0; 100]).unwrap_err();
            ensure!(error.raw_os_error() == Some(libc::EHOSTUNREACH), "{error}");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{to}: {error:#}\n{}", fwx.diagnostics()));
        assert_eq!(long_ways(&fwx, "hops"), before + 1);
    }
}

#[test]
fn what_is_too_long_for_the_next_link_is_told_by_the_kernel() {
    const NARROW: u32 = 1400;
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    lab.gateway().ip(&format!("link set wan0 mtu {NARROW}\n")).unwrap();
    lab.camera.ip(&format!("link set eth0 mtu {NARROW}\n")).unwrap();
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let before = long_ways(&fwx, "too_long");
        let _echo = Echo::start(&lab.camera, to).unwrap();
        let socket = client_socket(&lab, to);
        let taken = short_cut(&fwx);
        ask_often(&fwx, &socket, to, DATAGRAMS);
        assert!(short_cut(&fwx) > taken, "{}", fwx.diagnostics());
        assert_eq!(route_mtu(&lab, to.ip()), None);
        // Not to be taken apart: the gateway has to say how long it may be.
        echo::ask(&socket, to, &[7; 1440])
            .unwrap_or_else(|error| panic!("{to}: {error:#}\n{}", fwx.diagnostics()));
        assert_eq!(route_mtu(&lab, to.ip()), Some(NARROW));
        assert!(long_ways(&fwx, "too_long") > before, "{}", fwx.diagnostics());
    }
}

#[test]
fn what_a_filter_reads_goes_through_the_kernel() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let policy = with_shortcut(&policy::filtering(&INTERFACES, "standard"));
    let fwx = start(&lab, &policy, Mode::Native);
    let to = lab.camera.socket_v4(RTSP_PORT);
    let play = || {
        bulk::play(&lab.client, &lab.camera, to, BYTES, || Ok(()))
            .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()))
    };
    play();
    assert_eq!(short_cut(&fwx), 0);
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
    fwx.filter(&["unbind", "rtsp"]).unwrap();
    play();
    assert!(short_cut(&fwx) > 0, "{}", fwx.diagnostics());
}

#[test]
fn a_new_policy_switches_it_for_live_flows() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let without = policy::open(&INTERFACES);
    let with = with_shortcut(&without);
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(&without, Mode::Native).unwrap();
    let to = lab.camera.socket_v4(PORT);
    let listener = lab.camera.run(|| std::net::TcpListener::bind(to)).unwrap().unwrap();
    let pair = Pair::connect(&lab.client, lab.client.socket_v4(0), to, &listener).unwrap();
    let talk = |fwx: &Fwx<'_>| {
        let before = short_cut(fwx);
        for _ in 0..DATAGRAMS {
            pair.talk().unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        }
        short_cut(fwx) - before
    };
    assert_eq!(talk(&fwx), 0);
    let said = fwx.up(&with, Mode::Native).unwrap();
    assert!(said.contains("lan0: shortcut: in tcp and udp, out on"), "{said}");
    let taken = talk(&fwx);
    assert!(taken > DATAGRAMS, "{taken} {}", fwx.diagnostics());
    fwx.up(&without, Mode::Native).unwrap();
    assert_eq!(talk(&fwx), 0);
}

/// A flow of which the kernel sees a packet now and then stays in its table, and in order.
#[test]
fn conntrack_keeps_what_takes_it() {
    /// How long it waits, in seconds.
    const TIMEOUT: u64 = 12;
    const PAUSE_MS: u64 = 100;
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    lab.gateway().nft(STATEFUL).unwrap();
    for timeout in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_established"] {
        let setting = format!("netfilter/nf_conntrack_{timeout}");
        lab.gateway().sysctl(&setting, &TIMEOUT.to_string()).unwrap();
    }
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    let to = lab.camera.socket_v4(PORT);
    let listener = lab.camera.run(|| std::net::TcpListener::bind(to)).unwrap().unwrap();
    let pair = Pair::connect(&lab.client, lab.client.socket_v4(0), to, &listener).unwrap();
    let _echo = Echo::start(&lab.camera, to).unwrap();
    let socket = client_socket(&lab, to);
    for _ in 0..2 * TIMEOUT * 1000 / PAUSE_MS {
        ask_often(&fwx, &socket, to, 5);
        for _ in 0..20 {
            pair.talk().unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        }
        thread::sleep(Duration::from_millis(PAUSE_MS));
    }
    assert!(short_cut(&fwx) > 8_000, "{}", fwx.diagnostics());
    // Fragments and what ends a connection conntrack sees. Has it forgotten the flows, the one is new to it, the
    // other invalid.
    echo::ask_once(&socket, to, &[7; 3000]).unwrap();
    pair.close().unwrap();
    assert_eq!(nft_counter(lab.gateway(), "new"), 2, "an entry was lost and made anew");
    assert_eq!(nft_counter(lab.gateway(), "invalid"), 0);
    // Windows are left behind many times between two segments that conntrack sees.
    bulk::transfer(&lab.client, &lab.camera, lab.camera.socket_v4(PORT + 1), 10 * BYTES)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
    assert_eq!(nft_counter(lab.gateway(), "invalid"), 0);
}

/// Where conntrack judges TCP's numbers, TCP that it sees parts of would be invalid to it.
#[test]
fn a_strict_conntrack_keeps_tcp_on_the_long_way() {
    let lab = Lab::single_with(WHOLE_CHECKSUMS).unwrap();
    lab.gateway().sysctl("netfilter/nf_conntrack_tcp_be_liberal", "0").unwrap();
    lab.gateway().nft(STATEFUL).unwrap();
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    let to = lab.camera.socket_v4(PORT);
    bulk::transfer(&lab.client, &lab.camera, to, BYTES).unwrap();
    assert_eq!(short_cut(&fwx), 0);
    assert_eq!(nft_counter(lab.gateway(), "invalid"), 0);
    for interface in fwx.status().unwrap().interfaces {
        let shortcut = interface.shortcut.unwrap();
        assert_eq!(shortcut.comes_in, "udp");
        assert!(shortcut.why.iter().any(|why| why.contains("be_liberal")), "{shortcut:?}");
    }
    let _echo = Echo::start(&lab.camera, to).unwrap();
    ask_often(&fwx, &client_socket(&lab, to), to, DATAGRAMS);
    assert!(short_cut(&fwx) > DATAGRAMS, "{}", fwx.diagnostics());
    // The controller sees that it may.
    lab.gateway().sysctl("netfilter/nf_conntrack_tcp_be_liberal", "1").unwrap();
    wait::until_within(1000, "TCP may", || {
        let tables = flows::tables(&fwx)?;
        let allowed: aya::maps::Array<_, u32> = tables.open("SHORTCUT")?;
        ensure!(allowed.get(&0, 0)? == FOR_UDP | FOR_TCP);
        Ok(())
    })
    .unwrap();
    let before = short_cut(&fwx);
    bulk::transfer(&lab.client, &lab.camera, to, BYTES).unwrap();
    assert!(short_cut(&fwx) > before, "{}", fwx.diagnostics());
}

/// Another policy gives it to flows that there are, and takes it from them.
#[test]
fn another_policy_switches_it() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let without = policy::open(&INTERFACES);
    let fwx = start(&lab, &without, Mode::Native);
    let to = lab.camera.socket_v4(PORT);
    let (_echo, socket) = (Echo::start(&lab.camera, to).unwrap(), client_socket(&lab, to));
    ask_often(&fwx, &socket, to, DATAGRAMS);
    assert_eq!(short_cut(&fwx), 0);
    fwx.apply(&with_shortcut(&without)).unwrap().success().unwrap();
    assert!(fwx.status().unwrap().shortcut.wanted);
    ask_often(&fwx, &socket, to, DATAGRAMS);
    assert!(short_cut(&fwx) > DATAGRAMS, "{}", fwx.diagnostics());
    wait::until_within(1000, "the controller tells of it", || {
        ensure!(fwx.controller_log().contains("shortcut: in tcp and udp"));
        Ok(())
    })
    .unwrap();
    fwx.apply(&without).unwrap().success().unwrap();
    assert!(!fwx.status().unwrap().shortcut.wanted);
    // A controller that was about to look at it does so once more.
    wait::until_within(1000, "it is not taken", || {
        let before = short_cut(&fwx);
        ask_often(&fwx, &socket, to, DATAGRAMS);
        ensure!(short_cut(&fwx) == before);
        Ok(())
    })
    .unwrap();
}

/// What the kernel no longer forwards stops within seconds: a flow has to be proven again and again.
#[test]
fn a_new_rule_of_the_kernel_ends_it() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    let to = lab.camera.socket_v4(PORT);
    let _echo = Echo::start(&lab.camera, to).unwrap();
    let socket = client_socket(&lab, to);
    ask_often(&fwx, &socket, to, DATAGRAMS);
    assert!(short_cut(&fwx) > DATAGRAMS, "{}", fwx.diagnostics());
    lab.gateway().nft(NO_UDP).unwrap();
    wait::until_within(1000, "nothing is let through", || {
        let before = short_cut(&fwx);
        let mut answer = [0; 100];
        socket.send_to(b"still there?", to)?;
        ensure!(socket.recv_from(&mut answer).is_err(), "it is answered");
        ensure!(short_cut(&fwx) == before, "it takes the shortcut");
        Ok(())
    })
    .unwrap();
}

/// A checksum that was left to a network card would be lost on a virtual link.
#[test]
fn what_has_no_whole_checksum_goes_through_the_kernel() {
    let lab = liberal_lab(Options { tx_checksum_offload: true, ..WHOLE_CHECKSUMS });
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        bulk::transfer(&lab.client, &lab.camera, to, BYTES)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
        let _echo = Echo::start(&lab.camera, to).unwrap();
        ask_often(&fwx, &client_socket(&lab, to), to, DATAGRAMS);
    }
    assert_eq!(short_cut(&fwx), 0);
    assert!(long_ways(&fwx, "checksum") > DATAGRAMS, "{}", fwx.diagnostics());
}

/// Where the other end of a veth would drop redirected frames, the interface is no target.
#[test]
fn an_interface_that_sends_no_redirected_frames_is_left_out() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    ethtool(&lab.camera, &["gro", "off"]);
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Native);
    let to = lab.camera.socket_v4(PORT);
    bulk::transfer(&lab.client, &lab.camera, to, BYTES)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
    assert!(long_ways(&fwx, "device") > 0, "{}", fwx.diagnostics());
    let interfaces = fwx.status().unwrap().interfaces;
    let goes_out: Vec<_> = interfaces
        .iter()
        .map(|interface| (interface.name.as_str(), interface.shortcut.as_ref().unwrap().goes_out))
        .collect();
    assert_eq!(goes_out, [("lan0", true), ("wan0", false)]);
}

#[test]
fn behind_traffic_control_there_is_none() {
    let lab = liberal_lab(WHOLE_CHECKSUMS);
    let fwx = start(&lab, &with_shortcut(&policy::open(&INTERFACES)), Mode::Tc);
    let to = lab.camera.socket_v4(PORT);
    bulk::transfer(&lab.client, &lab.camera, to, BYTES).unwrap();
    assert_eq!(short_cut(&fwx), 0);
    for interface in fwx.status().unwrap().interfaces {
        let shortcut = interface.shortcut.unwrap();
        assert_eq!(shortcut.comes_in, "none");
        assert!(shortcut.why.iter().any(|why| why.contains("needs XDP")), "{shortcut:?}");
    }
}

/// Switches features of a host's card.
fn ethtool(host: &Host, features: &[&str]) {
    let mut ethtool = host.command("ethtool");
    host.output(ethtool.args(["-K", "eth0"]).args(features)).unwrap();
}

/// Packets that took the shortcut so far.
fn short_cut(fwx: &Fwx<'_>) -> u64 {
    flows::tables(fwx).unwrap().counter(Counter::ShortCut).unwrap()
}

/// Packets of proven flows that went the long way so far, for this reason.
fn long_ways(fwx: &Fwx<'_>, why: &str) -> u64 {
    fwx.status().unwrap().shortcut.long_ways.get(why).copied().unwrap_or(0)
}

fn ask_often(fwx: &Fwx<'_>, socket: &UdpSocket, to: SocketAddr, times: u64) {
    for number in 0..times {
        echo::ask_once(socket, to, &datagram(number))
            .unwrap_or_else(|error| panic!("{number}: {error:#}\n{}", fwx.diagnostics()));
    }
}

/// No two look alike, and their lengths differ.
fn datagram(number: u64) -> Vec<u8> {
    (0..20 + number * 7 % 900).flat_map(|index| [index as u8 ^ number as u8]).collect()
}

fn client_socket(lab: &Lab, to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { lab.client.socket_v4(0) } else { lab.client.socket_v6(0) };
    echo::socket(&lab.client, any).unwrap()
}

fn from(lab: &Lab, socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    let port = socket.local_addr().unwrap().port();
    if to.is_ipv4() { lab.client.socket_v4(port) } else { lab.client.socket_v6(port) }
}

/// The MTU that the client has learned for its way to `to`.
fn route_mtu(lab: &Lab, to: IpAddr) -> Option<u32> {
    let mut ip = lab.client.command("ip");
    let route = lab.client.output(ip.args(["route", "get", &to.to_string()])).unwrap();
    let mut words = route.split_whitespace();
    words.find(|word| *word == "mtu")?;
    words.next()?.parse().ok()
}

fn nft_counter(host: &Host, name: &str) -> u64 {
    let text = host.output(host.command("nft").args(["-j", "list", "counters"])).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let objects = json["nftables"].as_array().unwrap();
    let counter = objects.iter().find(|object| object["counter"]["name"] == name);
    counter.and_then(|object| object["counter"]["packets"].as_u64()).unwrap()
}
