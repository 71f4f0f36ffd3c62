//! The lab without a firewall: what the other tests take for granted.

use std::{
    env, fs,
    io::Read as _,
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use lab::{
    Lab, Options,
    peers::{
        bulk,
        camera::Camera,
        player::{self, Transport},
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    traces, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const RTSP: u16 = 554;
const MEGABYTE: usize = 1_000_000;

#[test]
fn client_reaches_camera_in_both_shapes_and_families() {
    for lab in [Lab::single().unwrap(), Lab::story().unwrap()] {
        for address in [lab.camera.socket_v4(7), lab.camera.socket_v6(7)] {
            let listener = lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
            lab.client
                .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)))
                .unwrap()
                .unwrap_or_else(|error| panic!("{} to {address}: {error}", lab.name()));
            drop(listener);
        }
    }
}

#[test]
fn several_labs_live_side_by_side() {
    let labs = [Lab::single().unwrap(), Lab::single().unwrap(), Lab::story().unwrap()];
    let listeners = labs.each_ref().map(|lab| {
        let address = lab.camera.socket_v4(RTSP);
        lab.camera.run(|| TcpListener::bind(address)).unwrap().expect("each has its own port 554")
    });
    assert_eq!(labs.each_ref().map(|lab| traces::namespaces(lab.name()).len()), [3, 3, 4]);
    drop(listeners);
}

#[test]
fn a_dropped_lab_leaves_no_namespace_and_no_process() {
    let lab = Lab::story().unwrap();
    let mut sleep = lab.client.command("sleep");
    let sleep = lab
        .client
        .start("sleep", {
            sleep.arg("1000");
            sleep
        })
        .unwrap();
    let (name, pid) = (lab.name().to_owned(), sleep.pid());
    assert_eq!(traces::namespaces(&name).len(), 4);

    // The lab first: it must not rely on others to end what runs in it.
    drop(lab);
    drop(sleep);
    assert_eq!(traces::namespaces(&name), Vec::<String>::new());
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "process {pid} lives on");
    assert!(!fs::exists(env::temp_dir().join(name)).unwrap(), "the directory is left");
}

#[test]
fn a_panic_leaves_nothing() {
    let name = std::thread::spawn(|| {
        let lab = Lab::single().unwrap();
        std::panic::panic_any(lab.name().to_owned());
    })
    .join()
    .unwrap_err();
    let name = name.downcast::<String>().unwrap();
    assert_eq!(traces::namespaces(&name), Vec::<String>::new());
}

#[test]
fn sigterm_leaves_nothing() {
    let mut helper = Helper::start();
    helper.signal(Signal::SIGTERM);
    assert_eq!(helper.end(), Some(Signal::SIGTERM as i32));
    assert_eq!(traces::namespaces(&helper.lab), Vec::<String>::new());
    assert!(!fs::exists(env::temp_dir().join(&helper.lab)).unwrap(), "the directory is left");
    helper.wait_for_sleep_to_end();
}

#[test]
fn what_sigkill_leaves_is_swept_by_the_next_process() {
    let mut killed = Helper::start();
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.end(), Some(Signal::SIGKILL as i32));
    killed.wait_for_sleep_to_end();
    // Other tests' processes may have swept already.
    let mut next = Helper::start();
    assert_eq!(traces::namespaces(&killed.lab), Vec::<String>::new());
    assert!(!fs::exists(env::temp_dir().join(&killed.lab)).unwrap(), "the directory is left");
    next.signal(Signal::SIGINT);
    next.end();
}

#[test]
fn ffmpeg_plays_the_camera_over_tcp_and_udp() {
    let lab = Lab::single().unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v4(RTSP)).unwrap();
    for transport in [Transport::Tcp, Transport::Udp] {
        let pictures = player::play(&lab.client, &camera.url(), transport, 1).unwrap();
        assert!(pictures.count() >= 14, "{transport}: {pictures:?}");
        assert_eq!(pictures.missing(), 0, "{transport}: {pictures:?}");
    }
}

#[test]
fn ffmpeg_plays_the_camera_over_ipv6_through_the_tunnel() {
    let lab = Lab::story().unwrap();
    let camera = Camera::start(&lab.camera, lab.camera.socket_v6(RTSP)).unwrap();
    let pictures = player::play(&lab.client, &camera.url(), Transport::Tcp, 1).unwrap();
    assert!(pictures.count() >= 14, "{pictures:?}");
    assert_eq!(pictures.missing(), 0, "{pictures:?}");
}

#[test]
fn ffmpeg_without_a_camera_fails_with_its_own_words() {
    let lab = Lab::single().unwrap();
    let url = format!("rtsp://{}/test", lab.camera.socket_v4(RTSP));
    let error = player::play(&lab.client, &url, Transport::Tcp, 1).unwrap_err();
    assert!(format!("{error:#}").contains("Connection refused"), "{error:#}");
}

#[test]
fn recorder_and_viewer_converse_with_pings_from_both_sides() {
    let lab = Lab::single().unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(RTSP)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();

    let conversation = viewer.converse(60);
    assert_eq!(conversation.answered, ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]);
    assert_eq!((conversation.frames, conversation.pings, conversation.end), (60, 2, None));

    assert_eq!(viewer.request("X_PING", "").unwrap().status(), Some(200));
    assert_eq!(viewer.request("TEARDOWN", "").unwrap().header("session"), Some("7083"));
    assert_eq!(viewer.read_to_end(), End::Closed);
}

#[test]
fn the_recorder_leaves_the_cseq_out_of_one_reply() {
    let lab = Lab::single().unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v6(RTSP)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.request("OPTIONS", "").unwrap().header("cseq"), Some("1"));
    assert_eq!(viewer.request("DESCRIBE", "").unwrap().header("cseq"), None);
    assert_eq!(viewer.setup().unwrap().header("cseq"), Some("3"));
}

#[test]
fn a_viewer_whose_packets_are_lost_sees_silence() {
    let lab = Lab::single().unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(RTSP)).unwrap();
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    assert_eq!(viewer.converse(1).end, None);

    let gateway = lab.gateway();
    gateway.output(gateway.command("ip").args(["link", "set", "wan0", "down"])).unwrap();
    assert_eq!(viewer.read_to_end(), End::TimedOut);
}

#[test]
fn a_stray_ack_is_answered_with_a_reset_by_the_camera() {
    let lab = Lab::single().unwrap();
    for (source, destination) in [
        (lab.client.socket_v4(40_000), lab.camera.socket_v4(RTSP)),
        (lab.client.socket_v6(40_000), lab.camera.socket_v6(RTSP)),
    ] {
        let resets = || tcp_counter(&lab.camera, "TcpOutRsts");
        let before = resets();
        stray::lone_ack(&lab.client, source, destination).unwrap();
        wait::until("the camera's kernel refuses the ACK", || {
            ensure!(resets() == before + 1, "{} resets before, {} now", before, resets());
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_udp_frame_built_by_hand_is_received_with_its_payload() {
    let lab = Lab::single().unwrap();
    let (source, destination) = (lab.client.socket_v4(40_001), lab.camera.socket_v4(40_002));
    let socket = lab.camera.run(|| UdpSocket::bind(destination)).unwrap().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();

    let packet = lab::Packet::udp(source, destination).identification(1).payload([7; 2000]);
    let end = packet.datagram_len();
    // IP options, and fragments in the wrong order: the camera's kernel puts them together.
    for part in [1000..end, 0..1000] {
        let interface = lab.client.interface("eth0");
        let packet = packet.clone().macs(interface.mac, interface.peer_mac).ip_options(&[1; 4]);
        lab.client.send_frame("eth0", &packet.build_fragment(part)).unwrap();
    }
    let mut buffer = [0; 4000];
    let (length, from) = socket.recv_from(&mut buffer).expect("the datagram arrives");
    assert_eq!((&buffer[..length], from), (&[7; 2000][..], source));
}

#[test]
fn bulk_tcp_arrives_whole_with_large_segments_and_jumbo_frames() {
    let plain = Options { tx_checksum_offload: false, ..Options::default() };
    let jumbo = Options { mtu: 9000, ..Options::default() };
    for options in [Options::default(), plain, jumbo] {
        let lab = Lab::single_with(options).unwrap();
        bulk::transfer(&lab.client, &lab.camera, lab.camera.socket_v4(5001), 100 * MEGABYTE)
            .unwrap_or_else(|error| panic!("{options:?}: {error:#}"));
    }
}

fn tcp_counter(host: &lab::Host, name: &str) -> u64 {
    let mut nstat = host.command("nstat");
    let text = host.output(nstat.args(["--zeros", "--reset", "--ignore", "--noupdate", name]));
    let text = text.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    value.unwrap_or_else(|| panic!("nstat printed no {name}:\n{text}"))
}

/// Another process with a lab and a program in it, to be ended by a signal: this very test program,
/// running [`makes_a_lab_and_waits`].
struct Helper {
    child: std::process::Child,
    lab: String,
    sleep: u32,
}

impl Helper {
    fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "makes_a_lab_and_waits", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // "READY lab sleep-pid", among what the test harness prints.
        let mut text = String::new();
        let mut stdout = child.stdout.take().unwrap();
        let words: Vec<String> = loop {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the helper ended: {text}");
            text.push(byte[0].into());
            if let Some((_, rest)) = text.split_once("READY ")
                && let Some((line, _)) = rest.split_once('\n')
            {
                break line.split(' ').map(str::to_owned).collect();
            }
        };
        let [lab, sleep] = &words[..] else { panic!("{words:?}") };
        Self { child, lab: lab.clone(), sleep: sleep.parse().unwrap() }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// The signal that ended it.
    fn end(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = wait::until("the helper ends", || {
            self.child.try_wait().context("cannot wait")?.context("it runs on")
        });
        status.unwrap().signal()
    }

    fn wait_for_sleep_to_end(&self) {
        wait::until("the program in the lab ends", || {
            // Once it has ended, its number may be given to another.
            match fs::read_to_string(format!("/proc/{}/comm", self.sleep)) {
                Ok(name) if name == "sleep\n" => bail!("{} lives on", self.sleep),
                _ => Ok(()),
            }
        })
        .unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
#[ignore = "not a test: what Helper runs"]
fn makes_a_lab_and_waits() {
    let lab = Lab::single().unwrap();
    let mut sleep = lab.client.command("sleep");
    sleep.arg("1000");
    let sleep = lab.client.start("sleep", sleep).unwrap();
    println!("READY {} {}", lab.name(), sleep.pid());
    // Until the signal comes, or the process that started this one has ended.
    let _ = std::io::stdin().read(&mut [0]);
}
