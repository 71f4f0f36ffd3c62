//! `fwx apply --shadow`: a policy that tells what it would do to real traffic, and does nothing.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    time::Duration,
};

use lab::{Fwx, Host, Lab, Mode, Outcome, policy};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(5);
/// For what is refused.
const SHORT: Duration = Duration::from_millis(300);

/// A policy that lets in what these rules say, each of one protocol, and nothing else.
fn rules(rules: &[(&str, &str)]) -> String {
    let mut text = policy::open(&["lan0", "wan0"]).replace("\"allow\"", "\"deny\"");
    for (protocol, port) in [("web", 80), ("rtsp", 554)] {
        text += &format!("[protocol.{protocol}]\ntransport = \"tcp\"\nports = [{port}]\n");
    }
    for (name, protocol) in rules {
        text += &format!(
            "[[rule]]\nname = \"{name}\"\naction = \"allow\"\nprotocols = [\"{protocol}\"]\n"
        );
    }
    text
}

/// Policy files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

fn apply(fwx: &Fwx<'_>, file: &str) -> Outcome {
    fwx.call(&["apply", file]).unwrap()
}

fn apply_shadow(fwx: &Fwx<'_>, file: &str) -> Outcome {
    fwx.call(&["apply", "--shadow", file]).unwrap()
}

fn diff(fwx: &Fwx<'_>) -> Value {
    let text = fwx.call(&["shadow", "diff", "-o", "json"]).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn status(fwx: &Fwx<'_>) -> Value {
    let text = fwx.call(&["status", "-o", "json"]).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn it_tells_what_it_would_deny_and_denies_nothing() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let files = Files::new();
    let live = rules(&[("pages", "web"), ("cameras", "rtsp")]);
    let live_file = files.write("live.toml", &live);
    let shadow_file = files.write("shadow.toml", &rules(&[("cameras", "rtsp")]));
    fwx.run(&live, Mode::Auto).unwrap();
    assert_eq!(fwx.call(&["shadow", "diff"]).unwrap().code, Some(1), "there is none");
    let said = apply_shadow(&fwx, &shadow_file);
    assert!(said.stderr.contains("compared with the policy in force, 1 rules"), "{}", said.stderr);
    said.success().unwrap();
    assert_eq!(status(&fwx)["shadow"]["policy"], *shadow_file);
    let told = |event: &lab::Event| event.line.contains("is compared with the one in force");
    fwx.wait_for_event("the shadow", told).unwrap();
    let nothing = diff(&fwx);
    assert_eq!(nothing["differences"], json!([]));

    let [web, rtsp] = [80, 554].map(|port| {
        let address = lab.camera.socket_v4(port);
        lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap()
    });
    let page = Talk::between(&lab.client, &web);
    let _camera = Talk::between(&lab.client, &rtsp);
    let found = diff(&fwx);
    let [pair] = &found["differences"].as_array().unwrap()[..] else { panic!("{found:#}") };
    let said = ["rule", "action", "shadow_rule", "shadow_action"].map(|key| pair[key].clone());
    assert_eq!(said, [json!("pages"), json!("allow"), json!(null), json!("deny")]);
    assert_eq!((&pair["count"], &pair["remembered"]), (&json!(1), &json!(1)));
    let flow = &pair["flows"][0];
    let ends = ["src_ip", "src_port", "dst_ip", "dst_port"].map(|key| flow[key].clone());
    let (near, far) = (page.near.local_addr().unwrap(), page.near.peer_addr().unwrap());
    let wanted = [json!(near.ip()), json!(near.port()), json!(far.ip()), json!(far.port())];
    assert_eq!(ends, wanted, "{flow:#}");
    assert_eq!((&flow["interface"], &flow["transport"]), (&json!("lan0"), &json!("tcp")));
    assert!(found["alike"].as_u64().unwrap() >= 1, "{found:#}");
    let text = fwx.call(&["shadow", "diff"]).unwrap().success().unwrap();
    for line in [
        "allow by \"pages\", shadow: deny by default: once",
        &format!("tcp {near} -> {far} on lan0"),
    ] {
        assert!(text.contains(line), "{text}");
    }

    // A bad file changes nothing.
    let bad = files.write("bad.toml", &rules(&[("same", "web"), ("same", "rtsp")]));
    assert_eq!(apply_shadow(&fwx, &bad).code, Some(2));
    let still = diff(&fwx);
    assert_eq!((&still["since"], &still["policy"]), (&found["since"], &found["policy"]));
    assert_eq!(still["differences"][0]["count"], 1, "{still:#}");

    // Nor does a controller that ends, or another that begins.
    fwx.kill_controller().unwrap();
    let _page = Talk::between(&lab.client, &web);
    fwx.run_again().unwrap();
    let later = diff(&fwx);
    assert_eq!((&later["since"], &later["policy"]), (&found["since"], &json!(shadow_file)));
    assert_eq!(later["differences"][0]["count"], 2, "{later:#}");

    // What was on trial comes in force, and what was in force on trial.
    apply(&fwx, &shadow_file).success().unwrap();
    assert!(is_refused(&lab.client, &web));
    let same = diff(&fwx);
    assert_ne!(same["since"], found["since"]);
    assert_eq!(same["differences"], json!([]), "it differs from itself in nothing");
    assert!(same["alike"].as_u64().unwrap() >= 1, "{same:#}");
    apply_shadow(&fwx, &live_file).success().unwrap();
    assert!(is_refused(&lab.client, &web));
    let back = diff(&fwx);
    let [pair] = &back["differences"].as_array().unwrap()[..] else { panic!("{back:#}") };
    let said = ["rule", "action", "shadow_rule", "shadow_action"].map(|key| pair[key].clone());
    assert_eq!(said, [json!(null), json!("deny"), json!("pages"), json!("allow")]);

    fwx.call(&["shadow", "off"]).unwrap().success().unwrap();
    assert_eq!(status(&fwx)["shadow"], json!(null));
    assert_eq!(fwx.call(&["shadow", "diff"]).unwrap().code, Some(1));
    assert!(is_refused(&lab.client, &web), "the policy in force stays");
}

#[test]
fn it_ends_with_the_firewall_and_not_with_another_policy() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let files = Files::new();
    let both = rules(&[("pages", "web"), ("cameras", "rtsp")]);
    let shadow_file = files.write("shadow.toml", &rules(&[("other", "web"), ("cameras", "rtsp")]));
    assert_eq!(apply_shadow(&fwx, &shadow_file).code, Some(1), "it is not up");
    fwx.up(&both, Mode::Auto).unwrap();
    apply_shadow(&fwx, &shadow_file).success().unwrap();
    let since = diff(&fwx)["since"].clone();
    let web = lab.camera.socket_v4(80);
    let web = lab.camera.run(|| TcpListener::bind(web)).unwrap().unwrap();
    // Brought up again, with a policy that has other rules.
    fwx.up(&rules(&[("new", "rtsp")]), Mode::Auto).unwrap();
    assert!(is_refused(&lab.client, &web));
    let found = diff(&fwx);
    assert_ne!(found["since"], since);
    assert_eq!(found["differences"][0]["shadow_rule"], "other", "{found:#}");
    fwx.down().unwrap();
    fwx.up(&both, Mode::Auto).unwrap();
    assert_eq!(status(&fwx)["shadow"], json!(null));
    let said = fwx.call(&["shadow", "status", "-o", "json"]).unwrap().success().unwrap();
    assert_eq!(said.trim(), "null");
}

/// A connection that stands.
struct Talk {
    near: TcpStream,
    _far: TcpStream,
}

impl Talk {
    fn between(client: &Host, listener: &TcpListener) -> Self {
        let near = connect(client, listener, PATIENCE).unwrap();
        let (far, _) = listener.accept().unwrap();
        Self { near, _far: far }
    }
}

fn is_refused(client: &Host, listener: &TcpListener) -> bool {
    connect(client, listener, SHORT).is_err()
}

fn connect(
    client: &Host,
    listener: &TcpListener,
    patience: Duration,
) -> std::io::Result<TcpStream> {
    let address: SocketAddr = listener.local_addr().unwrap();
    client.run(|| TcpStream::connect_timeout(&address, patience)).unwrap()
}
