//! The recorder's dialect under the strict profile: the kill, and what comes after it, in every mode.

use firewall_common::reason::Reason;
use lab::{
    Event, Fwx, Lab, Mode,
    peers::{
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    policy,
};

const NOT_SYN: &str = Reason::TcpNotSyn.name();

#[test]
fn the_strict_filter_kills_the_dialect_in_mode_auto() {
    the_strict_filter_kills_the_dialect(Mode::Auto);
}

#[test]
fn the_strict_filter_kills_the_dialect_in_mode_native() {
    the_strict_filter_kills_the_dialect(Mode::Native);
}

#[test]
fn the_strict_filter_kills_the_dialect_in_mode_generic() {
    the_strict_filter_kills_the_dialect(Mode::Generic);
}

#[test]
fn the_strict_filter_kills_the_dialect_in_mode_tc() {
    the_strict_filter_kills_the_dialect(Mode::Tc);
}

#[test]
fn the_standard_filter_lets_the_dialect_live() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();

    for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        let recorder = Recorder::start(&lab.camera, address).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let conversation = viewer.converse(60);
        assert_eq!((conversation.frames, conversation.end), (60, None), "{conversation}");
    }
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
}

#[test]
fn a_lone_ack_is_dropped_and_reported() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();

    for (port, source, destination) in [
        (40_004, lab.client.socket_v4(40_004), lab.camera.socket_v4(554)),
        (40_006, lab.client.socket_v6(40_006), lab.camera.socket_v6(554)),
    ] {
        stray::lone_ack(&lab.client, source, destination).unwrap();
        let drop = fwx
            .wait_for_event("the lone ACK", |event| {
                event.is_drop(NOT_SYN) && event.is_between_ports(port, 554)
            })
            .unwrap();
        assert_eq!(drop.code.as_deref(), Some("0xc0040017"), "{}", drop.line);
        assert_eq!(drop.interface.as_deref(), Some("lan0"), "{}", drop.line);
        assert_eq!(drop.caused_by, None, "{}", drop.line);
    }
    assert!(fwx.status().unwrap().drops[NOT_SYN] >= 2);
}

fn the_strict_filter_kills_the_dialect(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "strict"), mode).unwrap();

    for v6 in [false, true] {
        let address = if v6 { lab.camera.socket_v6(554) } else { lab.camera.socket_v4(554) };
        let recorder = Recorder::start(&lab.camera, address).unwrap();
        let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
        let port = viewer.local_address().port();

        let conversation = viewer.converse(1);
        assert_eq!(conversation.answered, ["OPTIONS"], "{conversation}");
        assert_eq!(conversation.end, Some(End::Reset), "{conversation}");

        let kill = fwx
            .wait_for_event("the kill", |event| {
                event.kind == "connection_killed" && event.is_between_ports(port, 554)
            })
            .unwrap();
        check_kill(&kill);

        // Whatever the kernels at both ends still send, this one belongs to the dead connection.
        stray::lone_ack(&lab.client, viewer.local_address(), address).unwrap();
        fwx.wait_for_event("a drop caused by the kill", |event| {
            event.is_drop(NOT_SYN)
                && event.is_between_ports(port, 554)
                && event.caused_by == Some(kill.event_id)
        })
        .unwrap();
    }
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 2);
}

fn check_kill(kill: &Event) {
    assert_eq!(kill.reason.as_deref(), Some("FWX_E_CONNECTION_KILLED"), "{}", kill.line);
    assert_eq!(kill.code.as_deref(), Some("0x80074e24"), "{}", kill.line);
    assert_eq!(kill.protocol.as_deref(), Some("rtsp"), "{}", kill.line);
    let finding = kill.filter.as_ref().expect("the kill says which filter");
    assert_eq!(finding.name, "rtsp", "{}", kill.line);
    assert_eq!(finding.finding.as_deref(), Some("missing-cseq"), "{}", kill.line);
    assert!(finding.offset.is_some_and(|offset| offset > 0), "{}", kill.line);
    assert!(finding.excerpt.as_ref().is_some_and(|text| !text.is_empty()), "{}", kill.line);
}
