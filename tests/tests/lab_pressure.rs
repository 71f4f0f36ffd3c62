//! Tables that fill and attacks that begin: what the controller does about them, and whom it tells.

use std::{net::UdpSocket, os::fd::AsRawFd as _, time::Duration};

use anyhow::Context as _;
use lab::{Event, Fwx, Lab, Mode, policy};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn a_table_that_fills_shortens_timeouts_and_says_so() {
    let small = policy::with_tables(&policy::open(&["lan0", "wan0"]), 1_024, 1_024)
        + "\n[timeouts]\nudp_stream = 30\n";
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&small, Mode::Auto).unwrap();
    let near = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(6000))).unwrap().unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    for port in 10_000..10_800 {
        let address = lab.camera.socket_v4(port);
        let far = lab.camera.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        near.send_to(b"to", address).unwrap();
        let (_, from) = far.recv_from(&mut [0; 8]).unwrap();
        far.send_to(b"fro", from).unwrap();
        near.recv_from(&mut [0; 8]).unwrap();
    }
    let says = |text: &'static str| {
        move |event: &Event| event.kind == "control" && event.line.contains(text)
    };
    fwx.wait_for_event("shorter timeouts", says("timeouts are shortened")).unwrap();
    let status = fwx.call(&["status", "-o", "json"]).unwrap().success().unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["timeouts_shortened"], true);
    assert_eq!(status["flows"]["ipv4"]["completed_size"], 1024);
    assert_eq!(status["flows"]["ipv4"]["completed_percent"], 78);
    fwx.call(&["conn", "flush", "--yes"]).unwrap().success().unwrap();
    fwx.wait_for_event("whole timeouts", says("timeouts are those of the policy")).unwrap();
    let status = fwx.call(&["status"]).unwrap().success().unwrap();
    assert!(status.contains("IPv4 tables: 0 % of 1024"), "{status}");
}

#[test]
fn a_full_table_is_told_with_those_who_hold_most() {
    let small = policy::with_tables(&policy::open(&["lan0", "wan0"]), 1_024, 4_096);
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&small, Mode::Auto).unwrap();
    let near = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(6000))).unwrap().unwrap();
    for port in 10_000..11_100 {
        let address = lab.camera.socket_v4(port);
        let far = lab.camera.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        near.send_to(b"to", address).unwrap();
        let (_, from) = far.recv_from(&mut [0; 8]).unwrap();
        far.send_to(b"fro", from).unwrap();
    }
    let event = fwx
        .wait_for_event("the full table", |event| {
            event.kind == "control" && event.reason.as_deref() == Some("FWX_E_OUT_OF_RESOURCES")
        })
        .unwrap();
    assert!(event.line.contains("IPv4 flows 1024 of 1024 (100 %)"), "{}", event.line);
    assert!(event.line.contains("held by 10.1.0.2 ("), "{}", event.line);
}

#[test]
fn a_syn_attack_is_told_when_it_begins_and_when_it_ends() {
    const LIMITS: &str = "\n[limits]\nsyn_attack = 100\n";
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&(policy::open(&["lan0", "wan0"]) + LIMITS), Mode::Auto).unwrap();
    lab.client.run(|| (1..=2_000).for_each(begin_and_forget)).unwrap();
    for (reason, code) in
        [("FWX_E_SYN_ATTACK_START", "0xc004002a"), ("FWX_E_SYN_ATTACK_END", "0xc004002b")]
    {
        let event = fwx
            .wait_for_event(reason, |event| {
                event.kind == "control" && event.reason.as_deref() == Some(reason)
            })
            .with_context(|| code)
            .unwrap();
        assert_eq!(event.code.as_deref(), Some(code), "{}", event.line);
    }
}

/// Sends a SYN to where nobody answers.
fn begin_and_forget(port: u16) {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let nobody = SockaddrIn::new(10, 2, 0, 77, port);
    assert_eq!(nix::sys::socket::connect(socket.as_raw_fd(), &nobody), Err(Errno::EINPROGRESS));
}
