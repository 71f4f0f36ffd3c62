//! The same frames on a wire: what an attached firewall counts, in each mode, is what replay says.

use std::{collections::BTreeMap, io, net::TcpStream, time::Duration};

use anyhow::ensure;
use firewall_common::layout::Verdict;
use firewall_user::replay::Hook;
use lab::{
    Fwx, Host, Lab, Mode, Packet, policy,
    replaying::{FAMILIES, Family, Rig},
    wait,
};

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "deny"

[network.inside]
prefixes = ["10.1.0.0/24", "fd00:1::/64"]

[protocol.web]
transport = "tcp"
ports = [80]

[protocol.locked]
transport = "tcp"
ports = [22]

[[rule]]
name = "web"
action = "allow"
from = ["inside"]
protocols = ["web"]

[[rule]]
name = "say-no"
action = "reject"
protocols = ["locked"]
"#;

#[test]
fn the_wire_and_replay_agree_in_mode_auto() {
    the_wire_and_replay_agree(Mode::Auto);
}

#[test]
fn the_wire_and_replay_agree_in_mode_native() {
    the_wire_and_replay_agree(Mode::Native);
}

#[test]
fn the_wire_and_replay_agree_in_mode_generic() {
    the_wire_and_replay_agree(Mode::Generic);
}

#[test]
fn the_wire_and_replay_agree_in_mode_tc() {
    the_wire_and_replay_agree(Mode::Tc);
}

fn the_wire_and_replay_agree(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(POLICY, mode).unwrap();
    let ingress = fwx.status().unwrap().interfaces[0].ingress.clone();
    let hook = if ingress == "tc" { Hook::Tc } else { Hook::Xdp };
    let mut rig = Rig::new(POLICY, hook);

    let mut expected = BTreeMap::new();
    let sent = [frames_of(&lab.client, true), frames_of(&lab.camera, false)];
    for (host, frames) in [&lab.client, &lab.camera].into_iter().zip(&sent) {
        for (shows, frame) in frames {
            let outcome = rig.frame(frame);
            if outcome.verdict != Verdict::Pass {
                *expected.entry(outcome.reason.name().to_owned()).or_insert(0_u64) += 1;
            }
            host.send_frame("eth0", frame)
                .unwrap_or_else(|error| panic!("{mode}: {shows}: {error:#}"));
        }
    }
    let frames: usize = sent.iter().map(Vec::len).sum();
    let dropped: u64 = expected.values().sum();
    assert!(expected.len() >= 10, "the frames show many reasons: {expected:?}");
    assert!(dropped < frames as u64, "some pass: {dropped} of {frames} do not");

    wait::until("the counters of the wire are those of replay", || {
        let drops = fwx.status()?.drops;
        ensure!(drops == expected, "{mode} ({ingress}): {drops:?}, and in replay {expected:?}");
        Ok(())
    })
    .unwrap();
    check_rejects(&lab, mode);
}

/// A reject reaches the program that asked: it learns at once that nobody will answer.
fn check_rejects(lab: &Lab, mode: Mode) {
    const PATIENCE: Duration = Duration::from_secs(5);
    // A veth end that has no XDP program itself is not woken for frames that native XDP transmits to it
    // (`veth_xdp_flush` in `drivers/net/veth.c`), so the client gets one. A real card needs none.
    let mut awake = Fwx::new(&lab.client, lab.instance("client")).unwrap();
    if mode == Mode::Native {
        awake.up(&policy::open(&["eth0"]), Mode::Native).unwrap();
    }
    for address in [lab.camera.socket_v4(22), lab.camera.socket_v6(22)] {
        let attempt = lab.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
        let error = attempt.expect_err("nobody listens there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{mode} {address}: {error}");
    }
}

/// A frame from `host` and what it shows, whole and in all the ways in which one can be wrong. Each has
/// ports of its own, so that no answer to one changes what becomes of another.
fn frames_of(host: &Host, is_client: bool) -> Vec<(String, Vec<u8>)> {
    let interface = host.first_interface();
    let (mac, peer_mac) = (interface.mac, interface.peer_mac);
    let mut frames = Vec::new();
    let mut next_port = 20_000;
    let mut add = |shows: &str, family: Family, packet: &dyn Fn(Ends) -> Vec<u8>| {
        next_port += 1;
        let ends = Ends { family, is_client, port: next_port, macs: (mac, peer_mac) };
        frames.push((format!("{shows} {family:?}"), packet(ends)));
    };
    for family in FAMILIES {
        for (shows, flags) in [
            ("a lone ACK", "A"),
            ("a lone SYN with ACK", "SA"),
            ("a lone RST", "R"),
            ("no flags", ""),
            ("SYN with FIN", "SF"),
        ] {
            add(shows, family, &|ends| ends.tcp(80).flags(flags).build());
            add(shows, family, &|ends| ends.tcp(80).flags(flags).vlan(5).build());
        }
        add("a SYN that a rule allows", family, &|ends| ends.tcp(80).build());
        add("a SYN that no rule allows", family, &|ends| ends.tcp(81).build());
        add("a SYN that is rejected", family, &|ends| ends.tcp(22).build());
        add("port 0", family, &|ends| ends.tcp(0).build());
        add("UDP", family, &|ends| ends.udp(53).payload([7; 40]).build());
        add("UDP to port 0", family, &|ends| ends.udp(0).build());
        add("an echo", family, &|ends| ends.echo().build());
        add("a land attack", family, &|ends| {
            Packet::tcp(ends.here(80), ends.here(80)).macs(mac, peer_mac).build()
        });
        add("two tags", family, &|ends| ends.tcp(80).flags("A").qinq(5, 6).build());
        add("a tiny first fragment", family, &|ends| {
            ends.tcp(80).payload([7; 80]).build_fragment(0..8)
        });
        add("a fragment without its first", family, &|ends| {
            ends.udp(53).payload([7; 80]).identification(5).build_fragment(40..88)
        });
        add("padding behind a lone ACK", family, &|ends| {
            [&ends.tcp(80).flags("A").build()[..], &[0; 30]].concat()
        });
        for len in (14..60).step_by(5) {
            add("a SYN that is cut", family, &|ends| {
                let frame = ends.tcp(80).payload([7; 60]).build();
                frame[..len].to_vec()
            });
        }
    }
    let (v4, v6) = (Family::V4, Family::V6);
    add("a source route", v4, &|ends| ends.tcp(80).ip_options(&[131, 7, 4, 1, 2, 3, 4]).build());
    add("an option of length 0", v4, &|ends| ends.tcp(80).ip_options(&[68, 0]).build());
    add("a router alert", v4, &|ends| ends.tcp(81).ip_options(&[148, 4, 0, 0]).build());
    add("version 6 in IPv4", v4, &|ends| {
        let mut frame = ends.tcp(80).build();
        frame[14] = 0x65;
        frame
    });
    add("source routing", v6, &|ends| ends.tcp(80).routing(0, 1, &[0; 4]).build());
    add("extension headers", v6, &|ends| {
        ends.tcp(80).flags("A").hop_by_hop(&[]).destination_options(&[]).build()
    });
    add("too many extension headers", v6, &|ends| {
        (0..10).fold(ends.tcp(80), |packet, _| packet.destination_options(&[])).build()
    });
    frames
}

/// Who sends a frame to whom.
#[derive(Clone, Copy)]
struct Ends {
    family: Family,
    is_client: bool,
    port: u16,
    macs: (lab::Mac, lab::Mac),
}

impl Ends {
    fn here(self, port: u16) -> std::net::SocketAddr {
        if self.is_client { self.family.client_at(port) } else { self.family.camera_at(port) }
    }

    fn there(self, port: u16) -> std::net::SocketAddr {
        Self { is_client: !self.is_client, ..self }.here(port)
    }

    fn tcp(self, port: u16) -> Packet {
        Packet::tcp(self.here(self.port), self.there(port)).macs(self.macs.0, self.macs.1)
    }

    fn udp(self, port: u16) -> Packet {
        Packet::udp(self.here(self.port), self.there(port)).macs(self.macs.0, self.macs.1)
    }

    fn echo(self) -> Packet {
        Packet::echo_request(self.here(0).ip(), self.there(0).ip(), self.port, 1)
            .macs(self.macs.0, self.macs.1)
    }
}

#[test]
fn a_third_tag_is_refused_by_xdp() {
    a_third_tag_is_refused(Mode::Native);
    a_third_tag_is_refused(Mode::Generic);
}

/// Before traffic control the kernel moves the outermost tag out of the frame, into the skb.
#[test]
fn a_third_tag_is_refused_by_traffic_control() {
    a_third_tag_is_refused(Mode::Tc);
}

fn a_third_tag_is_refused(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(POLICY, mode).unwrap();
    for packet in [
        Family::V4.tcp(40_000, 80).qinq(5, 6).vlan(7),
        // Two tags hide nothing: this tells that the one before it was seen.
        Family::V4.tcp(40_001, 80).flags("A").qinq(5, 6),
    ] {
        lab.client.send_packet("eth0", packet).unwrap();
    }
    let expected =
        ["FWX_E_TCP_NOT_SYN_PACKET_DROPPED", "FWX_E_VLAN_DEPTH_DROPPED"].map(|r| (r.to_owned(), 1));
    let seen = wait::until("the frame with two tags is counted", || {
        let drops = fwx.status()?.drops;
        ensure!(drops.contains_key(&expected[0].0), "{mode}: {drops:?}");
        Ok(drops)
    });
    assert_eq!(seen.unwrap(), expected.into(), "{mode}");
}
