//! The connections that a gateway's kernel knows, as the firewall finds them when it is switched on.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use firewall_common::wire::ip_protocol::{ICMP, ICMPV6, TCP, UDP};
use firewall_user::existing::{Existing, Found, Origin, Progress, Tuple, existing};
use lab::{Host, Lab, wait};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

const RTSP: u16 = 554;
const SSH: u16 = 22;
const ECHO_ID: u16 = 0x4711;
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the gateway track connections and put its own address in the place of the client's; what goes to
/// UDP port 9999 is tracked in a zone of its own.
const MASQUERADE: &str = "
table inet gateway {
    chain zones {
        type filter hook prerouting priority raw
        udp dport 9999 ct zone set 7
    }
    chain forward {
        type filter hook forward priority filter
        ct state invalid counter
    }
    chain translate {
        type nat hook postrouting priority srcnat
        meta nfproto ipv4 iifname lan0 oifname wan0 masquerade fully-random
    }
}";

/// Both ends of a TCP connection, and the window scales that each asked for.
struct Conversation {
    near: TcpStream,
    far: TcpStream,
    scales: [Option<u8>; 2],
}

#[test]
fn without_tracking_the_gateway_s_own_sockets_are_found() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    ask_for_the_largest_windows(&lab.client);
    // A socket of both families, and a client of IPv4.
    let ssh = listen(gateway, SocketAddr::new("::".parse().unwrap(), SSH));
    let lan = gateway.interface("lan0");
    let inward = connect(&lab.client, &ssh, SocketAddr::new(lan.ipv4.into(), SSH));
    let camera = listen(&lab.camera, lab.camera.socket_v6(RTSP));
    let outward = connect(gateway, &camera, lab.camera.socket_v6(RTSP));
    // Never beyond the gateway itself.
    let itself = connect(gateway, &ssh, SocketAddr::new("::1".parse().unwrap(), SSH));
    let datagrams = gateway.run(|| UdpSocket::bind("0.0.0.0:5000")).unwrap().unwrap();
    datagrams.connect(lab.camera.socket_v4(53)).unwrap();

    let found = look(gateway);
    assert!(found.notes.iter().any(|note| note.contains("tracks no connection")), "{found:#?}");
    let plain = |protocol, original: Tuple, state, scales, answered| Existing {
        version: if original.source.is_ipv4() { 4 } else { 6 },
        protocol,
        original,
        reply: way_back(original),
        state,
        scales,
        answered,
        expires_in_s: None,
        from: Origin::Socket,
    };
    let expected = [
        plain(TCP, tuple_of(&inward.near), Progress::Established, inward.scales, true),
        plain(TCP, tuple_of(&outward.near), Progress::Established, outward.scales, true),
        plain(
            UDP,
            between(
                SocketAddr::new(gateway.interface("wan0").ipv4.into(), 5000),
                lab.camera.socket_v4(53),
            ),
            Progress::Datagrams,
            [None; 2],
            false,
        ),
    ];
    assert_ne!(inward.scales[0], inward.scales[1], "so that one sees which is whose");
    for connection in &expected {
        assert!(found.connections.contains(connection), "{connection:#?} is not in {found:#?}");
    }
    assert_eq!(found.connections.len(), expected.len(), "{found:#?}");
    drop(itself);
}

#[test]
fn with_tracking_what_passes_is_found_with_its_translation() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    masquerade(gateway);
    ask_for_the_largest_windows(&lab.client);
    let outside = IpAddr::V4(gateway.interface("wan0").ipv4);

    let camera = [lab.camera.socket_v4(RTSP), lab.camera.socket_v6(RTSP)];
    for address in camera {
        let listener = listen(&lab.camera, address);
        let conversation = connect(&lab.client, &listener, address);
        assert_ne!(conversation.scales[0], conversation.scales[1]);
        let original = tuple_of(&conversation.near);
        let found = wait_for(gateway, original, Progress::Established);
        // What the camera sees is what the gateway translated it to.
        let far = way_back(between(conversation.far.peer_addr().unwrap(), address));
        assert_eq!((found.protocol, found.reply), (TCP, far));
        assert_eq!(found.reply.destination == outside, address.is_ipv4());
        assert_eq!(found.scales, conversation.scales);
        assert_eq!((found.answered, found.from), (true, Origin::Conntrack));
        assert!(found.expires_in_s.is_some_and(|left| left > 300), "{found:?}");

        conversation.near.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for(gateway, original, Progress::HalfClosed);
        conversation.far.shutdown(std::net::Shutdown::Write).unwrap();
        wait_for(gateway, original, Progress::Closing);
    }

    for (local, remote) in [
        (lab.client.socket_v4(6000), lab.camera.socket_v4(6001)),
        (lab.client.socket_v6(6000), lab.camera.socket_v6(6001)),
    ] {
        let near = lab.client.run(|| UdpSocket::bind(local)).unwrap().unwrap();
        let far = lab.camera.run(|| UdpSocket::bind(remote)).unwrap().unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        near.send_to(b"to", remote).unwrap();
        let (_, from) = far.recv_from(&mut [0; 16]).unwrap();
        let found = wait_for(gateway, between(local, remote), Progress::Datagrams);
        assert_eq!((found.protocol, found.answered), (UDP, false));
        assert_eq!(found.reply, between(remote, from));
        assert_eq!(from.ip() == outside, local.is_ipv4());
        far.send_to(b"fro", from).unwrap();
        wait::until("the answer is seen", || {
            ensure!(find(&look(gateway), between(local, remote)).is_some_and(|udp| udp.answered));
            Ok(())
        })
        .unwrap();
    }

    for (local, remote, protocol) in [
        (lab.client.socket_v4(ECHO_ID), lab.camera.socket_v4(ECHO_ID), ICMP),
        (lab.client.socket_v6(ECHO_ID), lab.camera.socket_v6(ECHO_ID), ICMPV6),
    ] {
        ping(&lab.client, remote);
        let found = wait_for(gateway, between(local, remote), Progress::Datagrams);
        assert_eq!((found.protocol, found.answered), (protocol, true));
        assert_eq!(found.reply.source, remote.ip());
        assert_eq!(found.reply.destination == outside, local.is_ipv4());
        assert_eq!(found.reply.source_port, found.reply.destination_port);
    }
}

#[test]
fn a_connection_that_conntrack_took_up_in_the_middle_gets_its_scales_from_the_socket() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    ask_for_the_largest_windows(&lab.client);
    let address = SocketAddr::new(gateway.interface("lan0").ipv4.into(), SSH);
    let ssh = listen(gateway, address);
    let own = connect(&lab.client, &ssh, address);
    let camera = listen(&lab.camera, lab.camera.socket_v6(RTSP));
    let passing = connect(&lab.client, &camera, lab.camera.socket_v6(RTSP));
    masquerade(gateway);
    for conversation in [&own, &passing] {
        use std::io::Write as _;
        (&conversation.near).write_all(b"and on").unwrap();
        (&conversation.far).write_all(b"it goes").unwrap();
    }

    let found = wait_for(gateway, tuple_of(&own.near), Progress::Established);
    assert_eq!((found.from, found.scales), (Origin::Conntrack, own.scales));
    let found_passing = wait_for(gateway, tuple_of(&passing.near), Progress::Established);
    assert_eq!((found_passing.from, found_passing.scales), (Origin::Conntrack, [None, None]));
    assert_eq!(look(gateway).connections.len(), 2, "none is given twice");
}

#[test]
fn a_connection_without_an_answer_is_half_open() {
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    masquerade(gateway);
    let nobody = SocketAddr::new("10.2.0.77".parse().unwrap(), RTSP);
    for host in [&lab.client, gateway] {
        let connect = || TcpStream::connect_timeout(&nobody, Duration::from_millis(50));
        assert!(host.run(connect).unwrap().is_err());
    }
    let found = look(gateway);
    assert_eq!(found.connections.len(), 2, "{found:#?}");
    for connection in &found.connections {
        assert_eq!((connection.state, connection.answered), (Progress::HalfOpen, false));
        assert_eq!(connection.scales, [None, None]);
    }
}

#[test]
fn many_entries_are_all_read_and_other_zones_are_left_out_with_a_note() {
    const FLOWS: u16 = 5000;
    let lab = Lab::single().unwrap();
    let gateway = lab.gateway();
    masquerade(gateway);
    let socket = lab.client.run(|| UdpSocket::bind("10.1.0.2:7000")).unwrap().unwrap();
    for port in 10_000..10_000 + FLOWS {
        // The camera's kernel says now and then that nobody is there.
        let _ = socket.send_to(b"one of many", lab.camera.socket_v4(port));
    }
    socket.send_to(b"elsewhere", lab.camera.socket_v4(9999)).unwrap();
    let found = wait::until("all are tracked", || {
        let found = look(gateway);
        ensure!(found.connections.len() >= usize::from(FLOWS), "{}", found.connections.len());
        Ok(found)
    })
    .unwrap();
    let mut ports: Vec<_> =
        found.connections.iter().map(|connection| connection.original.destination_port).collect();
    ports.sort_unstable();
    assert_eq!(ports, (10_000..10_000 + FLOWS).collect::<Vec<_>>());
    assert!(found.notes.iter().any(|note| note.ends_with("zones other than 0: 1")));
}

/// What `host` knows.
fn look(host: &Host) -> Found {
    host.run(existing).unwrap().unwrap()
}

fn find(found: &Found, original: Tuple) -> Option<&Existing> {
    found.connections.iter().find(|connection| connection.original == original)
}

fn wait_for(host: &Host, original: Tuple, state: Progress) -> Existing {
    wait::until(&format!("{original:?} is {state:?}"), || {
        let found = look(host);
        let connection =
            find(&found, original).with_context(|| format!("it is not in {found:#?}"))?;
        ensure!(connection.state == state, "it is {connection:?}");
        Ok(connection.clone())
    })
    .unwrap()
}

fn masquerade(gateway: &Host) {
    let rules = gateway.write_file("masquerade.nft", MASQUERADE).unwrap();
    gateway.output(gateway.command("nft").arg("-f").arg(rules)).unwrap();
}

/// Has `host` ask for another window scale than the other machines.
fn ask_for_the_largest_windows(host: &Host) {
    host.run(|| fs::write("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 1073741824"))
        .unwrap()
        .unwrap();
}

fn listen(host: &Host, address: SocketAddr) -> TcpListener {
    host.run(|| TcpListener::bind(address)).unwrap().unwrap()
}

fn connect(host: &Host, listener: &TcpListener, address: SocketAddr) -> Conversation {
    let near = host.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    let scales = [&near, &far].map(own_scale);
    Conversation { near, far, scales }
}

/// The window scale that the socket's own end asked for, as its kernel says.
fn own_scale(stream: &TcpStream) -> Option<u8> {
    let mut info = [0_u8; 104];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    Some(info[6] >> 4)
}

/// Sends an echo request with [`ECHO_ID`].
fn ping(host: &Host, remote: SocketAddr) {
    let (family, protocol, kind) = match remote {
        SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    let [id_high, id_low] = ECHO_ID.to_be_bytes();
    let mut message = [kind, 0, 0, 0, id_high, id_low, 0, 1];
    if remote.is_ipv4() {
        // RFC 1071, over words of which only three are not 0. For ICMPv6 the kernel does it.
        let sum = u32::from(kind) * 256 + u32::from(ECHO_ID) + 1;
        let folded = (sum & 0xffff) + (sum >> 16);
        message[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    }
    let socket =
        host.run(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)).unwrap();
    let target = SockaddrStorage::from(SocketAddr::new(remote.ip(), 0));
    sendto(socket.unwrap().as_raw_fd(), &message, &target, MsgFlags::empty()).unwrap();
}

fn tuple_of(stream: &TcpStream) -> Tuple {
    between(stream.local_addr().unwrap(), stream.peer_addr().unwrap())
}

fn between(source: SocketAddr, destination: SocketAddr) -> Tuple {
    Tuple {
        source: source.ip().to_canonical(),
        destination: destination.ip().to_canonical(),
        source_port: source.port(),
        destination_port: destination.port(),
    }
}

fn way_back(tuple: Tuple) -> Tuple {
    Tuple {
        source: tuple.destination,
        destination: tuple.source,
        source_port: tuple.destination_port,
        destination_port: tuple.source_port,
    }
}
