//! Large frames and large segments: neither stops an attachment nor damages a byte.

use lab::{Fwx, Lab, Mode, Options, peers::bulk, policy};

/// In each transfer.
const BYTES: usize = 150_000_000;
const JUMBO_MTU: u32 = 9000;

#[test]
fn bulk_tcp_passes_whole_in_mode_auto() {
    bulk_tcp_passes_whole(Mode::Auto);
}

#[test]
fn bulk_tcp_passes_whole_in_mode_native() {
    bulk_tcp_passes_whole(Mode::Native);
}

#[test]
fn bulk_tcp_passes_whole_in_mode_generic() {
    bulk_tcp_passes_whole(Mode::Generic);
}

#[test]
fn bulk_tcp_passes_whole_in_mode_tc() {
    bulk_tcp_passes_whole(Mode::Tc);
}

fn bulk_tcp_passes_whole(mode: Mode) {
    for mtu in [Options::default().mtu, JUMBO_MTU] {
        let lab = Lab::single_with(Options { mtu, ..Options::default() }).unwrap();
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        fwx.run(&policy::open(&["lan0", "wan0"]), mode)
            .unwrap_or_else(|error| panic!("MTU {mtu}: {error:#}"));
        for address in [lab.camera.socket_v4(5001), lab.camera.socket_v6(5001)] {
            bulk::transfer(&lab.client, &lab.camera, address, BYTES)
                .unwrap_or_else(|error| panic!("MTU {mtu}, {address}: {error:#}"));
        }
        let status = fwx.status().unwrap();
        assert!(status.drops.is_empty() || status.drops.values().sum::<u64>() < 10, "{status:?}");
    }
}
