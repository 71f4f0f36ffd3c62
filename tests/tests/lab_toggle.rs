//! Switching a filter while a connection is open: it counts from the next packet.

use lab::{
    Fwx, Lab, Mode,
    peers::{
        recorder::Recorder,
        viewer::{End, Viewer},
    },
    policy, traces,
};

const INTERFACES: [&str; 2] = ["lan0", "wan0"];

#[test]
fn every_switch_takes_effect_on_an_open_connection() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&INTERFACES, "strict"), Mode::Auto).unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    let port = viewer.local_address().port();
    let binding = |fwx: &Fwx<'_>| {
        let binding = fwx.binding("rtsp").unwrap();
        (binding.filter, binding.mode, binding.profile)
    };
    let text = |text: &str| Some(text.to_owned());

    // In order: enforced, and nothing wrong so far.
    assert_eq!(viewer.request("OPTIONS", "").unwrap().status(), Some(200));
    assert_eq!(binding(&fwx), (text("rtsp"), text("enforce"), text("strict")));

    // Monitored: the reply without CSeq is reported and passes.
    fwx.filter(&["mode", "rtsp", "monitor"]).unwrap();
    assert_eq!(binding(&fwx), (text("rtsp"), text("monitor"), text("strict")));
    assert_eq!(viewer.request("DESCRIBE", "").unwrap().status(), Some(200));
    fwx.wait_for_event("the finding", |event| {
        event.kind == "filter_finding" && event.is_between_ports(port, 554)
    })
    .unwrap();

    // Off: bound, but it reads nothing.
    fwx.filter(&["mode", "rtsp", "off"]).unwrap();
    let findings = fwx.binding("rtsp").unwrap().findings;
    assert_eq!(viewer.request("DESCRIBE", "").unwrap().status(), Some(200));
    assert_eq!(fwx.binding("rtsp").unwrap().findings, findings);

    // Unbound: the same.
    fwx.filter(&["unbind", "rtsp"]).unwrap();
    assert_eq!(binding(&fwx).0, None);
    assert_eq!(viewer.request("DESCRIBE", "").unwrap().status(), Some(200));
    assert_eq!(fwx.binding("rtsp").unwrap().findings, findings);

    // Bound again, to enforce: the next reply without CSeq kills.
    fwx.filter(&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", "strict"]).unwrap();
    assert_eq!(binding(&fwx), (text("rtsp"), text("enforce"), text("strict")));
    assert_eq!(viewer.request("DESCRIBE", "").unwrap_err(), End::Reset);
    fwx.wait_for_event("the kill", |event| {
        event.kind == "connection_killed" && event.is_between_ports(port, 554)
    })
    .unwrap();

    let status = fwx.status().unwrap();
    assert!(status.attached && status.controller.running, "{status:?}");
}

#[test]
fn a_filter_bound_in_the_middle_of_a_stream_lets_it_live() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&INTERFACES, "standard"), Mode::Auto).unwrap();
    fwx.filter(&["unbind", "rtsp"]).unwrap();

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(20).end, None);
    fwx.filter(&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", "standard"]).unwrap();
    viewer.read_frames(100).unwrap();
    assert_eq!(viewer.request("X_PING", "").unwrap().status(), Some(200));
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
}

#[test]
fn switches_need_no_controller() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(&policy::cameras(&INTERFACES, "strict"), Mode::Auto).unwrap();
    let status = fwx.status().unwrap();
    assert!(status.attached && !status.controller.running, "{status:?}");

    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let converse = || Viewer::connect(&lab.client, recorder.address()).unwrap().converse(5);
    assert_eq!(converse().end, Some(End::Reset));
    fwx.filter(&["mode", "rtsp", "monitor"]).unwrap();
    assert_eq!(converse().end, None);
    fwx.filter(&["unbind", "rtsp"]).unwrap();
    assert_eq!(converse().end, None);
}

#[test]
fn down_leaves_nothing_attached_and_nothing_pinned() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&INTERFACES, "strict"), Mode::Auto).unwrap();
    for interface in INTERFACES {
        let programs = traces::attached_programs(lab.gateway(), interface).unwrap();
        assert!(programs.len() >= 2, "ingress and egress of {interface}: {programs:?}");
    }
    assert_ne!(traces::pins(fwx.instance()), Vec::<std::path::PathBuf>::new());

    fwx.down().unwrap();
    for interface in INTERFACES {
        let programs = traces::attached_programs(lab.gateway(), interface).unwrap();
        assert!(programs.is_empty(), "{interface}: {programs:?}");
    }
    assert_eq!(traces::pins(fwx.instance()), Vec::<std::path::PathBuf>::new());
}
