//! Records what real RTSP software says, for `replay_rtsp_captures.rs`: short conversations with small pictures, as
//! seen at the gateway's `lan0` without a firewall.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use lab::{
    Host, Lab, Process,
    peers::{
        camera::Camera,
        gst_player::GstPlayer,
        player::{self, Transport},
        pusher::Pusher,
    },
    wait,
};
use nix::sys::signal::Signal;

use crate::{Software, push_path, retina, retina::Farewell};

/// Pictures of a conversation.
const PICTURES: usize = 8;
/// All captures together.
const BYTES_MAX: u64 = 400_000;

/// Who talks in a capture.
#[derive(Clone, Copy)]
enum Talk {
    Play(Software),
    Push,
}

/// Name of the capture, who talks, how media travel, whether over IPv6, and whether with a password.
const CAPTURES: [(&str, Talk, Transport, bool, bool); 8] = [
    ("ffmpeg-tcp", Talk::Play(Software::Ffmpeg), Transport::Tcp, false, false),
    ("ffmpeg-udp-digest-v6", Talk::Play(Software::Ffmpeg), Transport::Udp, true, true),
    ("gstreamer-tcp-digest", Talk::Play(Software::Gstreamer), Transport::Tcp, false, true),
    ("gstreamer-udp", Talk::Play(Software::Gstreamer), Transport::Udp, false, false),
    ("retina-tcp-v6", Talk::Play(Software::Retina), Transport::Tcp, true, false),
    ("retina-udp-digest", Talk::Play(Software::Retina), Transport::Udp, false, true),
    ("push-tcp-digest-v6", Talk::Push, Transport::Tcp, true, true),
    ("push-udp", Talk::Push, Transport::Udp, false, false),
];

/// Writes the captures anew. What is expected of them may change with them.
#[test]
#[ignore = "records the captures that other tests read: run it to make others"]
fn record_what_real_software_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/rtsp");
    fs::create_dir_all(&directory).unwrap();
    let mut sum = 0;
    for (name, talk, way, v6, guarded) in CAPTURES {
        let lab = Lab::single().unwrap();
        let address = if v6 { lab.camera.socket_v6(554) } else { lab.camera.socket_v4(554) };
        let start = if guarded { Camera::start_guarded } else { Camera::start };
        let camera = start(&lab.camera, address).unwrap();
        let path = directory.join(format!("{name}.pcap"));
        let mut tcpdump = capture(lab.gateway(), &path).unwrap();
        let said = match talk {
            Talk::Play(software) => play(software, &lab.client, &camera, way),
            Talk::Push => push(&lab.client, &camera, way),
        };
        said.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        wait_for_the_end(lab.gateway(), &path).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        tcpdump.signal(Signal::SIGINT).unwrap();
        tcpdump.wait().unwrap();
        let size = fs::metadata(&path).unwrap().len();
        println!("{name}: {size} bytes");
        sum += size;
    }
    assert!(sum < BYTES_MAX, "{sum} bytes are too many to keep");
}

fn play(software: Software, host: &Host, camera: &Camera<'_>, way: Transport) -> Result<()> {
    let url = camera.url_of("small");
    match software {
        Software::Ffmpeg => player::play(host, &url, way, 1).map(drop),
        Software::Gstreamer => GstPlayer::start(host, &url, way, PICTURES)?.finish().map(drop),
        Software::Retina => {
            retina::play(host, camera, "small", way, PICTURES, Farewell::Teardown).map(drop)
        }
    }
}

fn push(host: &Host, camera: &Camera<'_>, way: Transport) -> Result<()> {
    Pusher::start(host, &camera.url_of(&push_path(way)), way, "160x120", PICTURES)?.finish()
}

fn capture(gateway: &Host, path: &PathBuf) -> Result<Process> {
    let mut tcpdump = gateway.command("tcpdump");
    tcpdump.args(["-i", "lan0", "-Z", "root", "-s", "0", "--immediate-mode", "-U", "-w"]).arg(path);
    tcpdump.args(["tcp", "or", "udp"]);
    let tcpdump = gateway.start("tcpdump", tcpdump)?;
    wait::until("tcpdump listens", || {
        ensure!(tcpdump.stderr()?.contains("listening on"), "{}", tcpdump.stderr()?);
        Ok(())
    })?;
    Ok(tcpdump)
}

/// Waits until either end has closed every connection that one began.
fn wait_for_the_end(gateway: &Host, path: &Path) -> Result<()> {
    wait::until("the connections have ended", || {
        let mut list = gateway.command("tcpdump");
        let list = gateway.output(list.args(["-n", "-r"]).arg(path))?;
        let count = |flag: &str| list.lines().filter(|line| line.contains(flag)).count();
        let begun = count("Flags [S");
        // ffmpeg closes without waiting for the reply to its TEARDOWN, and refuses that with a RST.
        let ended = count("Flags [F") + count("Flags [R");
        ensure!(begun > 0 && ended >= begun, "{begun} SYN, {ended} FIN and RST");
        Ok(())
    })
}
