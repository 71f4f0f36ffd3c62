//! A reject as real programs see it: a UDP socket is told at once, by the gateway, in every mode; and so is a program
//! on the gateway itself.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use lab::{Fwx, Host, Lab, Mode, policy, wait};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Nobody listens there.
const PORT: u16 = 9;
/// So long a test waits for what has to come; how long it took does not matter.
const PATIENCE: Duration = Duration::from_secs(10);
const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";

const TABLES: &str = "[tables]\ncompleted = 65536\nhalf_open = 16384\n";
const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"

[protocol.echo]
transport = "udp"
ports = [7]

[[rule]]
name = "echo"
action = "allow"
protocols = ["echo"]

[[rule]]
name = "tell"
action = "reject"
"#;

#[test]
fn a_datagram_is_told_in_mode_native() {
    a_datagram_is_told(Mode::Native);
}

#[test]
fn a_datagram_is_told_in_mode_generic() {
    a_datagram_is_told(Mode::Generic);
}

#[test]
fn a_datagram_is_told_in_mode_tc() {
    a_datagram_is_told(Mode::Tc);
}

/// The error that a socket on `host` gets for a datagram to `to`.
fn told(host: &Host, to: SocketAddr, payload: &[u8]) -> i32 {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = host.run(|| UdpSocket::bind((any, 0))).unwrap().expect("a socket");
    socket.connect(to).expect("a route");
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(payload).expect("it is sent");
    let error = socket.recv(&mut [0; 100]).expect_err("nobody answers by a datagram");
    error.raw_os_error().expect("an error of the kernel")
}

/// What Linux makes of "administratively prohibited" (icmp_err_convert in net/ipv4/icmp.c, icmpv6_err_convert in
/// net/ipv6/icmp.c).
fn expected(to: SocketAddr) -> i32 {
    if to.is_ipv4() { libc::EHOSTUNREACH } else { libc::EACCES }
}

fn answered(fwx: &Fwx<'_>) -> u64 {
    let status = fwx.call(&["status", "-o", "json"]).unwrap().success().unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["rejects"]["answered"].as_u64().expect("a number")
}

fn a_datagram_is_told(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&format!("{POLICY}{TABLES}"), mode).unwrap();
    // A veth end that has no XDP program itself is not woken for frames that native XDP transmits to it
    // (`veth_xdp_flush` in `drivers/net/veth.c`), so the client gets one. A real card needs none.
    let mut awake = Fwx::new(&lab.client, lab.instance("client")).unwrap();
    if mode == Mode::Native {
        awake.up(&policy::open(&["eth0"]), mode).unwrap();
    }
    let mut before = 0;
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        // Short, of an odd length, and longer than what is quoted.
        for payload in [&b"hi"[..], &[7; 333], &[7; 1_400]] {
            let what = format!("{mode}, {to}, {} bytes", payload.len());
            assert_eq!(told(&lab.client, to, payload), expected(to), "{what}");
            before += 1;
            assert_eq!(answered(&fwx), before, "{what}");
        }
    }

    // What this machine itself sends: the answer comes in by the interface that it was to leave by.
    for to in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        for attempt in 1..=2 {
            let what = format!("{mode}, {to}, from the gateway, attempt {attempt}");
            assert_eq!(told(lab.gateway(), to, b"hello"), expected(to), "{what}");
            before += 1;
            assert_eq!(answered(&fwx), before, "{what}");
        }
    }
    assert!(fwx.status().unwrap().drops[DENIED] >= before);
}

/// The controller notes the addresses again and again.
#[test]
fn the_answer_comes_from_an_address_of_the_gateway_and_follows_it() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&format!("{POLICY}{TABLES}"), Mode::Tc).unwrap();
    let to = lab.camera.socket_v4(PORT);
    assert_eq!(told_by(&lab.client, to), "10.1.0.1".parse::<IpAddr>().unwrap());
    lab.gateway()
        .ip("address delete 10.1.0.1/24 dev lan0\naddress add 10.1.0.9/24 dev lan0\n")
        .unwrap();
    lab.client.ip("route replace default via 10.1.0.9\n").unwrap();
    wait::until("the answers come from the new address", || {
        let by = told_by(&lab.client, to);
        anyhow::ensure!(by == "10.1.0.9".parse::<IpAddr>().unwrap(), "it is {by}");
        Ok(())
    })
    .unwrap();
}

/// Who says that a datagram from `host` to `to` is prohibited.
fn told_by(host: &Host, to: SocketAddr) -> IpAddr {
    const IP_HEADER_LEN: usize = 20;
    const PROHIBITED: [u8; 2] = [3, 13];
    let listening = host.run(|| {
        let (raw, icmp) = (SockType::Raw, SockProtocol::Icmp);
        socket(AddressFamily::Inet, raw, SockFlag::SOCK_CLOEXEC, icmp).map(UdpSocket::from)
    });
    let listening = listening.unwrap().expect("a raw socket");
    listening.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(told(host, to, b"hello"), expected(to));
    let mut packet = [0; 600];
    loop {
        let (len, from) = listening.recv_from(&mut packet).expect("the error came by");
        if packet[..len].get(IP_HEADER_LEN..IP_HEADER_LEN + 2) == Some(&PROHIBITED) {
            return from.ip();
        }
    }
}
