//! Real RTSP software at both ends, behind a policy with one rule: who talks RTSP may get what RTSP announces.
//! Nobody is killed, nothing is found that is not listed here, no picture is lost, and no pinhole is left.

mod record;
mod retina;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Fwx, Host, Lab, Mode, Packet,
    peers::{
        camera::{Camera, PICTURES_PER_SECOND},
        gst_player::{GstPlayer, Played},
        player::{self, Player, Transport},
        pusher::Pusher,
    },
    policy, wait,
};
use retina::Farewell;

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
/// How long each stream plays.
const SECONDS: u32 = 10;
const PICTURES: usize = (SECONDS * PICTURES_PER_SECOND) as usize;
/// Pictures after which a peer is ended that ends without a word.
const SOME: usize = 30;
/// Attempts of [`wait`] for the end of the pinholes of a connection that ended without a word: they outlive it by
/// half a minute.
const GRACE_ATTEMPTS: u32 = 40 * 50;

/// What these peers do that the filter finds: none of it kills.
const EXPECTED_FINDINGS: [&str; 0] = [];

/// Why a packet that no rule and no pinhole speaks for is refused.
const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";

/// The programs that play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Software {
    Ffmpeg,
    Gstreamer,
    Retina,
}

const ALL: [Software; 3] = [Software::Ffmpeg, Software::Gstreamer, Software::Retina];

impl Software {
    /// Plays [`SECONDS`] of the camera's video, to the end, and takes its leave.
    fn play(self, host: &Host, camera: &Camera<'_>, transport: Transport) -> Result<Played> {
        match self {
            Self::Ffmpeg => {
                let pictures = player::play(host, &camera.url(), transport, SECONDS)?;
                Ok(Played { pictures: pictures.count(), lost: pictures.missing() })
            }
            Self::Gstreamer => GstPlayer::start(host, &camera.url(), transport, PICTURES)?.finish(),
            Self::Retina => {
                retina::play(host, camera, "test", transport, PICTURES, Farewell::Teardown)
            }
        }
    }
}

#[test]
fn every_client_plays_by_one_rule_over_ipv4() {
    every_client_plays(Mode::Native, false);
}

#[test]
fn every_client_plays_by_one_rule_over_ipv6() {
    every_client_plays(Mode::Tc, true);
}

fn every_client_plays(mode: Mode, v6: bool) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&INTERFACES, "enforce"), mode).unwrap();
    let at = |port| if v6 { lab.camera.socket_v6(port) } else { lab.camera.socket_v4(port) };
    let open = Camera::start(&lab.camera, at(554)).unwrap();
    let guarded = Camera::start_guarded(&lab.camera, at(8554)).unwrap();

    let mut players = Vec::new();
    for camera in [&open, &guarded] {
        for software in ALL {
            players.extend([Transport::Tcp, Transport::Udp].map(|way| (camera, software, way)));
        }
    }
    // One with a password, one without.
    let pushers = [(&open, Transport::Tcp), (&guarded, Transport::Udp)];
    let played: Vec<_> = thread::scope(|scope| {
        let players: Vec<_> = players
            .iter()
            .map(|(camera, software, way)| scope.spawn(|| software.play(&lab.client, camera, *way)))
            .collect();
        let pushers: Vec<_> = pushers
            .iter()
            .map(|(camera, way)| scope.spawn(|| push(&lab.client, camera, *way)))
            .collect();
        // Of each of these streams RTP at least, and RTCP of most.
        let streams = 2 * ALL.len() + 1;
        let announced = wait::until_within(1500, "all media by UDP has been let in", || {
            media_of_known_parents(&fwx, streams)
        });
        let played = players.into_iter().chain(pushers).map(|thread| thread.join().unwrap());
        let played: Vec<_> = played.collect();
        if let Err(error) = announced {
            panic!("{error:#}\n{played:?}");
        }
        played
    });
    let what = players
        .iter()
        .map(|(camera, software, way)| format!("{software:?} by {way} from {}", camera.url()));
    let what = what
        .chain(pushers.iter().map(|(camera, way)| format!("a push by {way} to {}", camera.url())));
    for (what, played) in what.zip(played) {
        let played = played.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        assert_eq!(played, Played { pictures: PICTURES, lost: 0 }, "{what}");
    }

    wait::until("no pinhole is left", || no_pinhole_is_left(&fwx)).unwrap();
    late_media_is_refused(&lab, &fwx);
    check_findings(&fwx);
}

/// Pushes [`SECONDS`] of video to `camera`, which has to get every picture.
fn push(host: &Host, camera: &Camera<'_>, transport: Transport) -> Result<Played> {
    // The server decodes none before it has seen where one ends, and hears of the end of the last one only if
    // another one begins before TEARDOWN does.
    let url = camera.url_of(&push_path(transport));
    Pusher::start(host, &url, transport, "320x240", PICTURES + 1)?.finish()?;
    wait::until("all that was pushed has come", || {
        let pictures = camera.pushed(transport)?;
        ensure!(pictures >= PICTURES, "{pictures} pictures have come; {}", camera.log_tail());
        Ok(Played { pictures: PICTURES, lost: 0 })
    })
}

/// Where a camera takes what is pushed by `transport`.
fn push_path(transport: Transport) -> String {
    format!("push/{transport}")
}

/// Peers that are ended by SIGKILL or close their connection just so; and a camera that is.
#[test]
fn peers_that_end_without_a_word_leave_no_pinhole() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&INTERFACES, "enforce"), Mode::Auto).unwrap();
    let stays = Camera::start(&lab.camera, lab.camera.socket_v4(554)).unwrap();
    let goes = Camera::start(&lab.camera, lab.camera.socket_v6(554)).unwrap();

    let mut players = Vec::new();
    let mut gst_players = Vec::new();
    let mut pushers = Vec::new();
    for camera in [&stays, &goes] {
        for way in [Transport::Tcp, Transport::Udp] {
            let url = camera.url();
            players.push(Player::start(&lab.client, &url, way, 60).unwrap());
            gst_players.push(GstPlayer::start(&lab.client, &url, way, 60 * PICTURES).unwrap());
            let url = camera.url_of(&push_path(way));
            pushers.push(Pusher::start(&lab.client, &url, way, "320x240", 60 * PICTURES).unwrap());
            let played = retina::play(&lab.client, camera, "test", way, SOME, Farewell::None);
            assert_eq!(played.unwrap(), Played { pictures: SOME, lost: 0 }, "{way}");
        }
    }
    players.iter_mut().for_each(|player| player.wait_for_pictures(SOME).unwrap());
    gst_players.iter_mut().for_each(|player| player.wait_for_pictures(SOME).unwrap());
    for (camera, way) in
        [&stays, &goes].map(|c| [(c, Transport::Tcp), (c, Transport::Udp)]).as_flattened()
    {
        wait::until("the push goes on", || {
            let pictures = camera.pushed(*way)?;
            ensure!(pictures >= SOME, "{pictures} pictures have come; {}", camera.log_tail());
            Ok(())
        })
        .unwrap();
    }
    assert_ne!(fwx.pinholes().unwrap().len(), 0, "{}", fwx.diagnostics());

    goes.kill().unwrap();
    players.into_iter().for_each(|player| player.kill().unwrap());
    gst_players.into_iter().for_each(|player| player.kill().unwrap());
    pushers.into_iter().for_each(|pusher| pusher.kill().unwrap());
    wait::until_within(GRACE_ATTEMPTS, "no pinhole is left", || no_pinhole_is_left(&fwx)).unwrap();
    late_media_is_refused(&lab, &fwx);
    check_findings(&fwx);
}

/// Checks that there are flows of media of at least `streams` connections, and each is the child of one.
fn media_of_known_parents(fwx: &Fwx<'_>, streams: usize) -> Result<()> {
    let connections = fwx.connections()?;
    let controls: BTreeMap<_, _> = connections
        .iter()
        .filter(|connection| connection.transport == "tcp")
        .map(|connection| (connection.flow_id, connection))
        .collect();
    let mut parents = BTreeSet::new();
    for media in connections.iter().filter(|connection| connection.transport == "udp") {
        let parent = media.parent.with_context(|| format!("nobody announced {media:?}"))?;
        let control = controls.get(&parent).with_context(|| format!("no parent of {media:?}"))?;
        let mut hosts = [media.src_ip, media.dst_ip];
        hosts.sort();
        let mut of_parent = [control.src_ip, control.dst_ip];
        of_parent.sort();
        ensure!(hosts == of_parent, "{media:?} is between others than {control:?}");
        parents.insert(parent);
    }
    ensure!(parents.len() >= streams, "{} of {streams} streams have begun", parents.len());
    Ok(())
}

fn no_pinhole_is_left(fwx: &Fwx<'_>) -> Result<()> {
    let pinholes = fwx.pinholes()?;
    ensure!(pinholes.is_empty(), "open: {pinholes:?}");
    Ok(())
}

/// Sends one more packet for every flow of media that the firewall remembers, from the camera: none goes on.
fn late_media_is_refused(lab: &Lab, fwx: &Fwx<'_>) {
    let refused = || fwx.status().unwrap().drops.get(DENIED).copied().unwrap_or(0);
    let before = refused();
    let connections = fwx.connections().unwrap();
    let media: Vec<_> = connections.iter().filter(|c| c.transport == "udp").collect();
    for connection in &media {
        let mut ends = [
            (connection.src_ip, connection.src_port.unwrap()),
            (connection.dst_ip, connection.dst_port.unwrap()),
        ];
        let camera = lab.camera.first_interface();
        if ends[1].0 == camera.ipv4 || ends[1].0 == camera.ipv6 {
            ends.reverse();
        }
        let [from, to] = ends.map(SocketAddr::from);
        lab.camera.send_packet("eth0", Packet::udp(from, to).payload([0x80; 12])).unwrap();
    }
    wait::until("late media is refused", || {
        let refused = refused() - before;
        ensure!(refused >= media.len() as u64, "{refused} of {}", media.len());
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{media:?}\n{}", fwx.diagnostics()));
}

/// Nobody was killed, and nothing was found that is not known.
fn check_findings(fwx: &Fwx<'_>) {
    let binding = fwx.binding("rtsp").unwrap();
    let mut found = BTreeMap::new();
    for event in fwx.events().unwrap() {
        if let Some(finding) = event.filter.and_then(|filter| filter.finding) {
            *found.entry(finding).or_insert(0_u32) += 1;
        }
    }
    let status = fwx.status().unwrap();
    println!("{binding:?}\nfound: {found:?}\ndrops: {:?}", status.drops);
    assert_eq!(binding.kills, 0, "{}", fwx.diagnostics());
    let unexpected: Vec<_> =
        found.keys().filter(|name| !EXPECTED_FINDINGS.contains(&name.as_str())).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}: {}", fwx.diagnostics());
}
