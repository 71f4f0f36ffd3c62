//! A kill reaches both ends by the names that they know.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use anyhow::ensure;
use firewall_common::flow::State;
use lab::{Fwx, Lab, Mode, flows, nat::MASQUERADE, peers::pair::Pair, policy, wait};

use super::{FORWARD_PORT, INTERFACES, any, listen};

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
