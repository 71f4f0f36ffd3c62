//! Interleaved media over a path that loses packets at random: the filter neither kills nor finds anything, and
//! holds next to nothing back. What it costs in throughput is a matter of `cargo xtask bench`.

use lab::{Binding, Fwx, Lab, Mode, loss, peers::bulk, policy};

/// Media of one connection: some 30,000 packets.
const BYTES: usize = 32 << 20;

#[test]
fn media_pass_a_path_that_loses_one_percent_in_mode_native() {
    media_pass_a_path_that_loses(1, Mode::Native);
}

#[test]
fn media_pass_a_path_that_loses_three_percent_in_mode_tc() {
    media_pass_a_path_that_loses(3, Mode::Tc);
}

fn media_pass_a_path_that_loses(percent: u32, mode: Mode) {
    let lab = Lab::routed(1500).unwrap();
    loss::packet_by_packet(&lab).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&["lan0", "wan0"], "enforce"), mode).unwrap();
    for address in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        // Not before media flow: a filter that waits for the head of a message holds back what comes behind it.
        loss::lose(lab.router(), 0).unwrap();
        let begun = || loss::lose(lab.router(), percent);
        let transferred = bulk::play(&lab.client, &lab.camera, address, BYTES, begun).unwrap();
        let lost = loss::lost(lab.router()).unwrap();
        println!("{percent} %, {mode}: {BYTES} bytes, {lost} packets lost, {transferred:?}");
        assert!(lost > 0, "the path loses nothing");
        // What is held back has to be repeated, too; and once in a while TCP repeats a window for one loss.
        let repeated = u64::from(transferred.repeated);
        assert!(repeated > 0 && repeated < 10 * lost, "{lost} lost, {transferred:?}");
    }
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!((binding.kills, binding.findings), (0, 0), "{binding:?}");
    assert!(binding.segments > 2 * (BYTES / 1500) as u64, "{binding:?}");
    assert_next_to_nothing_is_held(&binding);
}

/// Sender and receiver run on any CPU, and so do the segments of one direction: two may be there at once, of which
/// the filter reads one after the other.
#[test]
fn media_whose_segments_come_on_two_cpus_are_read_in_order() {
    const TRANSFERS: u32 = 100;
    let lab = Lab::routed(1500).unwrap();
    loss::packet_by_packet(&lab).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    // Native XDP on a virtual link has one queue, and so one CPU at a time.
    fwx.run(&policy::rtsp_alone(&["lan0", "wan0"], "enforce"), Mode::Tc).unwrap();
    for transfer in 0..TRANSFERS {
        let address = lab.camera.socket_v4(554);
        bulk::play(&lab.client, &lab.camera, address, 8 << 20, || Ok(()))
            .unwrap_or_else(|error| panic!("{transfer}: {error:#}\n{}", fwx.diagnostics()));
    }
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!((binding.kills, binding.findings), (0, 0), "{binding:?}");
    assert_next_to_nothing_is_held(&binding);
}

/// A segment is held back if the one before it is being read on another CPU in this very moment.
fn assert_next_to_nothing_is_held(binding: &Binding) {
    println!("{binding:?}");
    assert!(binding.held * 500 < binding.segments, "{binding:?}");
}
