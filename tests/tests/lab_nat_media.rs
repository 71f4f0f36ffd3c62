//! Pinholes beside the kernel's NAT: the client is behind masquerade, and the policy allows control connections
//! alone. Whatever the client itself begins gets through and is tracked under both of its names; what only the far
//! side could begin is not opened, and is told.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lab::{
    Connection, Event, Fwx, Lab, Mode,
    nat::{MASQUERADE, MASQUERADE_RANDOM},
    peers::{
        camera::Camera,
        files::{self, FileServer},
        player::{Player, Transport},
    },
    policy, wait,
};
use serde_json::Value;

const INTERFACES: [&str; 2] = ["lan0", "wan0"];

const DENIED: &str = "FWX_E_POLICY_RULES_DENIED";

#[test]
fn media_plays_by_the_client_s_own_datagrams_in_mode_native() {
    media_plays(Mode::Native);
}

#[test]
fn media_plays_by_the_client_s_own_datagrams_in_mode_generic() {
    media_plays(Mode::Generic);
}

#[test]
fn media_plays_by_the_client_s_own_datagrams_in_mode_tc() {
    media_plays(Mode::Tc);
}

fn media_plays(mode: Mode) {
    const PICTURES: usize = 30;
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE).unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::rtsp_alone(&INTERFACES, "enforce"), mode).unwrap();
    for at in [lab.camera.socket_v4(554), lab.camera.socket_v6(554)] {
        let camera = Camera::start(&lab.camera, at).unwrap();
        let mut player = Player::start(&lab.client, &camera.url(), Transport::Udp, 4).unwrap();
        player
            .wait_for_pictures(PICTURES)
            .unwrap_or_else(|error| panic!("{mode}: {error:#}\n{}", fwx.diagnostics()));

        // RTP is of the connection that set it up, and has another name on the camera's side.
        let (control, media) = wait::until("the media is listed", || media(&fwx)).unwrap();
        assert_eq!(control.dst_port, Some(554));
        let ports = (media.src_port, media.dst_port);
        assert_eq!((media.src_ip, media.dst_ip), (control.src_ip, at.ip()), "{mode} {ports:?}");
        let translated = translated_source(&fwx, &media.flow_id.into()).unwrap();
        assert_eq!(translated.ip(), outside(&lab, at), "{mode}");

        let pictures = player.finish().unwrap();
        assert_eq!(pictures.missing(), 0, "{mode}: {pictures:?}");
    }
    assert_eq!(fwx.binding("rtsp").unwrap().kills, 0);
    let findings = findings(&fwx);
    assert!(findings.is_empty(), "{mode}: {findings:?}");
    assert_eq!(fwx.status().unwrap().drops.get(DENIED), None, "{mode}: {}", fwx.diagnostics());
}

#[test]
fn a_passive_data_connection_gets_through() {
    for mode in [Mode::Native, Mode::Generic, Mode::Tc] {
        let lab = Lab::single().unwrap();
        lab.gateway().nft(MASQUERADE_RANDOM).unwrap();
        let fwx = firewall(&lab, mode);
        for (at, ways) in [
            (lab.camera.socket_v4(21), &[&["--disable-epsv"][..], &[]][..]),
            (lab.camera.socket_v6(21), &[&[]]),
        ] {
            let content = vec![b'x'; 200_000];
            let server = FileServer::start(&lab.camera, at, "file", &content).unwrap();
            for options in ways {
                let fetched = files::fetch(&lab.client, &server.url("file"), options);
                let fetched = fetched.unwrap_or_else(|error| {
                    panic!("{mode} {options:?}: {error:#}\n{}", fwx.diagnostics())
                });
                assert!(fetched == content, "{mode}: {} bytes", fetched.len());
            }
            let (control, data) = newest_announced(&fwx).unwrap();
            assert_eq!(control["dst_port"], 21, "{mode}: {control}");
            assert_eq!(data["src_ip"], control["src_ip"], "{mode}: {data}");
            let translated = translated_source(&fwx, &data["flow_id"]).unwrap();
            assert_eq!(translated.ip(), outside(&lab, at), "{mode}");
            assert_ne!(data["src_port"], translated.port(), "{mode}");
        }
        assert_eq!(fwx.status().unwrap().pinholes.flows, 3, "{mode}");
        assert!(findings(&fwx).is_empty(), "{mode}: {}", fwx.diagnostics());
    }
}

#[test]
fn an_active_data_connection_does_not_and_that_is_told() {
    let lab = Lab::single().unwrap();
    lab.gateway().nft(MASQUERADE_RANDOM).unwrap();
    let fwx = firewall(&lab, Mode::Auto);
    for (at, command) in [
        (lab.camera.socket_v4(21), Some("--disable-eprt")),
        (lab.camera.socket_v4(21), None),
        (lab.camera.socket_v6(21), None),
    ] {
        let server = FileServer::start(&lab.camera, at, "file", b"content").unwrap();
        let mut options = vec!["--ftp-port", "-", "--connect-timeout", "3"];
        options.extend(command);
        files::fetch(&lab.client, &server.url("file"), &options)
            .expect_err("nobody can come in by an address that means nothing outside");
    }
    let told = wait::until("the findings are told", || {
        let told = findings(&fwx);
        ensure!(told.len() >= 3, "{told:?}");
        Ok(told)
    });
    let told = told.unwrap();
    assert!(told.iter().all(|name| name == "behind-nat"), "{told:?}");
    let status = fwx.status().unwrap();
    assert_eq!((status.pinholes.opened, status.pinholes.flows), (0, 0));
    assert_eq!(fwx.binding("ftp").unwrap().kills, 0, "it is not the client's fault");
}

/// Denies all but the control connection of FTP.
fn firewall(lab: &Lab, mode: Mode) -> Fwx<'_> {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::files(&INTERFACES, "standard", ""), mode).unwrap();
    fwx
}

/// A connection, and a flow over UDP that it announced: the newest.
fn media(fwx: &Fwx<'_>) -> Result<(Connection, Connection)> {
    let list = fwx.connections()?;
    let child = list
        .iter()
        .filter(|flow| flow.transport == "udp" && flow.parent.is_some())
        .max_by_key(|flow| flow.flow_id);
    let child = child.with_context(|| format!("no child in {list:#?}"))?;
    let parent = list.iter().find(|flow| Some(flow.flow_id) == child.parent);
    let parent = parent.with_context(|| format!("no parent of {child:?} in {list:#?}"))?;
    Ok((parent.clone(), child.clone()))
}

/// What is told of the opening of a connection, and of one that it announced: the newest. Both may be over.
fn newest_announced(fwx: &Fwx<'_>) -> Result<(Value, Value)> {
    let events = fwx.events()?;
    let opened = events.iter().filter(|event| event.kind == "connection_opened");
    let opened: Vec<Value> =
        opened.map(|event| serde_json::from_str(&event.line)).collect::<Result<_, _>>()?;
    let child = opened.iter().rfind(|event| event.get("parent").is_some());
    let child = child.with_context(|| format!("no child in {opened:#?}"))?;
    let parent = opened.iter().find(|event| event["flow_id"] == child["parent"]);
    let parent = parent.with_context(|| format!("no parent of {child} in {opened:#?}"))?;
    Ok((parent.clone(), child.clone()))
}

/// What the end that began the flow is called on the far side, by `fwx conn list -o json`.
fn translated_source(fwx: &Fwx<'_>, flow_id: &Value) -> Result<SocketAddr> {
    let text = fwx.call(&["conn", "list", "-o", "json"])?.success()?;
    let list: Value = serde_json::from_str(&text)?;
    let flows = list.as_array().context("a list")?;
    let flow = flows.iter().find(|flow| flow["flow_id"] == *flow_id).context("it is not listed")?;
    let source = &flow["translated"]["src_ip"];
    let ip: IpAddr =
        source.as_str().with_context(|| format!("no other name in {flow}"))?.parse()?;
    let port = flow["translated"]["src_port"].as_u64().context("a port")?;
    Ok((ip, u16::try_from(port)?).into())
}

/// Names of all findings so far.
fn findings(fwx: &Fwx<'_>) -> Vec<String> {
    let of = |event: Event| event.filter.and_then(|filter| filter.finding);
    fwx.events().unwrap().into_iter().filter_map(of).collect()
}

/// The gateway's address on the far side, in the address family of `to`.
fn outside(lab: &Lab, to: SocketAddr) -> IpAddr {
    let wan = lab.gateway().interface("wan0");
    if to.is_ipv4() { wan.ipv4.into() } else { wan.ipv6.into() }
}
