//! The controller ends without warning: traffic and enforcement go on, and the next one finds all.

use anyhow::ensure;
use firewall_common::reason::Reason;
use lab::{
    Fwx, Lab, Mode,
    peers::{
        camera::{Camera, PICTURES_PER_SECOND},
        player::{Player, Transport},
        stray,
    },
    policy, wait,
};

const NOT_SYN: &str = Reason::TcpNotSyn.name();
/// Long enough to kill, look and start again while it plays.
const SECONDS: u32 = 30;

#[test]
fn a_stream_outlives_the_controller_and_no_flow_is_lost() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let mut player = Player::start(&lab.client, &camera.url(), Transport::Tcp, SECONDS).unwrap();
    let flows = |fwx: &Fwx<'_>| fwx.status().unwrap().flows.ipv4.completed;

    player.wait_for_pictures(15).unwrap();
    let before = flows(&fwx);
    assert!(before >= 1, "the stream is a flow");

    fwx.kill_controller().unwrap();
    let orphan = fwx.status().unwrap();
    assert!(orphan.attached && !orphan.controller.running, "{orphan:?}");
    assert!(orphan.flows.ipv4.completed >= before, "{orphan:?}");
    player.wait_for_pictures(45).unwrap();

    // Nobody listens for events now, but the rule holds and the counter counts.
    let dropped = |fwx: &Fwx<'_>| fwx.status().unwrap().drops.get(NOT_SYN).copied().unwrap_or(0);
    let drops = dropped(&fwx);
    let (source, destination) = (lab.client.socket_v4(40_004), lab.camera.socket_v4(554));
    stray::lone_ack(&lab.client, source, destination).unwrap();
    wait::until("the lone ACK is counted as dropped", || {
        ensure!(dropped(&fwx) > drops, "it stays at {drops}");
        Ok(())
    })
    .unwrap();

    fwx.run_again().unwrap();
    assert!(flows(&fwx) >= before, "{} flows, {before} before", flows(&fwx));
    stray::lone_ack(&lab.client, source, destination).unwrap();
    fwx.wait_for_event("drops again", |event| event.is_drop(NOT_SYN)).unwrap();

    let pictures = player.finish().unwrap();
    assert_eq!(pictures.missing(), 0, "{pictures:?}");
    let expected = (SECONDS * PICTURES_PER_SECOND) as usize;
    assert!(pictures.count() >= expected - 1, "{} of {expected}", pictures.count());
}
