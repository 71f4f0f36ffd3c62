//! Video through the firewall, with the RTSP filter bound in its standard profile, in every mode.

use lab::{
    Fwx, Lab, Mode,
    peers::{
        camera::Camera,
        player::{self, Transport},
    },
    policy,
};

#[test]
fn the_camera_plays_in_mode_auto() {
    the_camera_plays(Mode::Auto);
}

#[test]
fn the_camera_plays_in_mode_native() {
    the_camera_plays(Mode::Native);
}

#[test]
fn the_camera_plays_in_mode_generic() {
    the_camera_plays(Mode::Generic);
}

#[test]
fn the_camera_plays_in_mode_tc() {
    the_camera_plays(Mode::Tc);
}

#[test]
fn the_camera_plays_over_ipv6() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v6(554)).unwrap();
    plays_without_loss(&lab, &camera, &fwx);
}

fn the_camera_plays(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), mode).unwrap();

    let status = fwx.status().unwrap();
    let names: Vec<_> = status.interfaces.iter().map(|interface| &interface.name[..]).collect();
    assert_eq!(names, ["lan0", "wan0"]);
    for interface in &status.interfaces {
        match mode {
            Mode::Auto => assert_ne!(interface.why, "", "auto says why: {interface:?}"),
            _ => assert_eq!(interface.ingress, mode.to_string(), "{interface:?}"),
        }
    }

    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    plays_without_loss(&lab, &camera, &fwx);
}

fn plays_without_loss(lab: &Lab, camera: &Camera<'_>, fwx: &Fwx<'_>) {
    for transport in [Transport::Tcp, Transport::Udp] {
        let before = fwx.status().unwrap().packets;
        let pictures = player::play(&lab.client, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");

        let after = fwx.status().unwrap().packets;
        assert!(after.ingress > before.ingress, "fwx saw nothing: {before:?}, {after:?}");
    }
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!(binding.filter.as_deref(), Some("rtsp"));
    assert_eq!(binding.kills, 0);
}
