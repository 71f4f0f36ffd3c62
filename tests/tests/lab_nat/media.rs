//! Cameras play through it, and outlive the controller.

use std::net::SocketAddr;

use lab::{
    Fwx, Lab, Mode,
    nat::MASQUERADE,
    peers::{
        camera::Camera,
        player::{self, Transport},
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy,
};

use super::{FORWARD_PORT, INTERFACES, assert_opened, assert_tracked_once};

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
