//! Switching the filter under five hundred connections that carry interleaved media: none breaks or misses a byte,
//! and each switch counts from the next packet on.

use lab::{Fwx, Lab, Mode, peers::audience::Audience, policy};

const CONNECTIONS: usize = 500;
/// About three pieces of media: each connection has to have played this much after a switch.
const A_WHILE: usize = 6_000;
/// Rounds of switches, each of which is looked at.
const ROUNDS: u32 = 4;
/// Switches in a row without looking in between.
const SWITCHES: usize = 120;

/// A command of `fwx filter`, and whether the filter reads after it.
const ROUND: [(&[&str], bool); 6] = [
    (&["unbind", "rtsp"], false),
    (&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", "standard"], true),
    (&["mode", "rtsp", "off"], false),
    (&["mode", "rtsp", "monitor"], true),
    (&["unbind", "rtsp"], false),
    (&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", "standard"], true),
];

#[test]
fn five_hundred_streams_survive_every_switch_in_mode_native() {
    five_hundred_streams_survive_every_switch(Mode::Native, false);
}

#[test]
fn five_hundred_streams_survive_every_switch_in_mode_tc_over_ipv6() {
    five_hundred_streams_survive_every_switch(Mode::Tc, true);
}

fn five_hundred_streams_survive_every_switch(mode: Mode, v6: bool) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&["lan0", "wan0"], "enforce"), mode).unwrap();
    let address = if v6 { lab.camera.socket_v6(554) } else { lab.camera.socket_v4(554) };
    let audience = Audience::gather(&lab.client, &lab.camera, address, CONNECTIONS).unwrap();
    audience.plays_on(A_WHILE).unwrap();

    let segments = || fwx.binding("rtsp").unwrap().segments;
    for round in 0..ROUNDS {
        for (command, reads) in ROUND {
            fwx.filter(command).unwrap();
            let before = segments();
            audience.plays_on(A_WHILE).unwrap_or_else(|error| panic!("{command:?}: {error:#}"));
            let read = segments() - before;
            assert_eq!(read > 0, reads, "{mode}, round {round}, {command:?}: {read} segments");
            // Of each connection at least one.
            assert!(!reads || read >= CONNECTIONS as u64, "{mode}, {command:?}: {read} segments");
        }
    }
    for (command, _) in ROUND.iter().cycle().take(SWITCHES) {
        fwx.filter(command).unwrap();
    }
    audience.plays_on(A_WHILE).unwrap();

    let (played, answers) = audience.played();
    assert!(answers >= CONNECTIONS, "{answers} answers");
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!((binding.kills, binding.findings), (0, 0), "{binding:?}");
    let status = fwx.status().unwrap();
    println!(
        "{mode}: {played} bytes of media, {answers} answers; {} segments read, {} held back; drops: {:?}",
        binding.segments, binding.held, status.drops
    );
}
