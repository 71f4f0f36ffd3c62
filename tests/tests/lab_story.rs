//! The story: two gateways, and the filter that kills is at the branch.

use lab::{
    Fwx, Lab, Mode,
    peers::{
        camera::Camera,
        player::{self, Transport},
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy,
};

const STRICT: &str = "strict";

#[test]
fn the_kill_is_reported_by_the_gateway_that_did_it_and_by_no_other() {
    let lab = Lab::story().unwrap();
    let mut central = Fwx::new(lab.central(), lab.instance("central")).unwrap();
    let mut branch = Fwx::new(lab.branch(), lab.instance("branch")).unwrap();
    central.run(&policy::cameras(&["lan0", "vpn0"], STRICT), Mode::Auto).unwrap();
    branch.run(&policy::cameras(&["vpn0", "cam0"], STRICT), Mode::Auto).unwrap();
    central.filter(&["unbind", "rtsp"]).unwrap();

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    let port = viewer.local_address().port();
    let conversation = viewer.converse(1);
    assert_eq!(conversation.answered, ["OPTIONS"], "{conversation}");
    assert_eq!(conversation.end, Some(End::Reset), "{conversation}");

    let kill = branch
        .wait_for_event("the kill", |event| {
            event.kind == "connection_killed" && event.is_between_ports(port, 554)
        })
        .unwrap();
    assert_eq!(kill.instance.as_deref(), Some(branch.instance()), "{}", kill.line);
    let asked = ["events", "-o", "json", "--event", "connection_killed", "--reason", "0x80074e24"];
    let asked = [&asked[..], &["--dst", "10.2.0.2", "--dst", "10.1.0.2", "--since", "1h"]].concat();
    assert_eq!(branch.call(&asked).unwrap().success().unwrap().trim(), kill.line);
    let asked = [&asked[..], &["--filter", "!rtsp/missing-cseq"]].concat();
    assert_eq!(branch.call(&asked).unwrap().success().unwrap(), "");

    // The RST has come through: the central gateway has reported all that it ever will.
    central
        .wait_for_event("the end of the connection", |event| {
            event.kind == "connection_closed" && event.is_between_ports(port, 554)
        })
        .unwrap();
    for event in central.events().unwrap() {
        assert_ne!(event.kind, "connection_killed", "{}", event.line);
        assert_ne!(event.kind, "filter_finding", "{}", event.line);
    }
    assert_eq!(central.binding("rtsp").unwrap().kills, 0);
    assert_eq!(branch.binding("rtsp").unwrap().kills, 1);

    // What cured it then: the filter unbound at the branch, too.
    branch.filter(&["unbind", "rtsp"]).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(20).end, None);
}

#[test]
fn the_camera_plays_through_two_gateways_and_their_tunnel() {
    let lab = Lab::story().unwrap();
    let mut central = Fwx::new(lab.central(), lab.instance("central")).unwrap();
    let mut branch = Fwx::new(lab.branch(), lab.instance("branch")).unwrap();
    central.run(&policy::cameras(&["lan0", "vpn0"], "standard"), Mode::Auto).unwrap();
    branch.run(&policy::cameras(&["vpn0", "cam0"], "standard"), Mode::Auto).unwrap();

    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let pictures = player::play(&lab.client, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");
    }
}
