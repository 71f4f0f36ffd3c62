//! `fwx apply`: another policy while the firewall and its controller run.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use lab::{Event, Fwx, Host, Lab, Mode, Outcome, policy};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(5);

/// Both ends of a TCP connection.
struct Conversation {
    near: TcpStream,
    far: TcpStream,
}

impl Conversation {
    fn between(client: &Host, listener: &TcpListener, address: SocketAddr) -> Self {
        let near = client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
        let (far, _) = listener.accept().unwrap();
        let mut talk = Self { near, far };
        talk.converse();
        talk
    }

    /// Something goes each way.
    fn converse(&mut self) {
        for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            let (mut from, mut to) = (from, to);
            from.write_all(b"hello").unwrap();
            to.set_read_timeout(Some(PATIENCE)).unwrap();
            to.read_exact(&mut [0; 5]).unwrap();
        }
    }

    fn port(&self) -> u16 {
        self.near.local_addr().unwrap().port()
    }
}

/// A policy with these rules, each of which allows everything of one protocol.
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

fn apply(fwx: &Fwx<'_>, text: &str) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    fwx.call(&["apply", file.to_str().unwrap()]).unwrap()
}

/// The rule and the protocol that `fwx conn list` shows of a connection.
fn shown(fwx: &Fwx<'_>, talk: &Conversation) -> (Value, Value) {
    let text = fwx.call(&["conn", "list", "-o", "json"]).unwrap().success().unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = rows.iter().find(|row| row["src_port"] == talk.port()).unwrap();
    (row["rule"].clone(), row["protocol"].clone())
}

/// The rule that the event about the connection's beginning has.
fn opened(fwx: &Fwx<'_>, talk: &Conversation) -> Value {
    let is = |it: &Event| it.kind == "connection_opened" && it.src_port == Some(talk.port());
    let event = fwx.wait_for_event("that the connection is open", is).unwrap();
    serde_json::from_str::<Value>(&event.line).unwrap()["rule"].clone()
}

#[test]
fn connections_go_on_under_the_names_of_the_rules_that_let_them_in() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&rules(&[("pages", "web"), ("cameras", "rtsp")]), Mode::Auto).unwrap();
    let [web, rtsp] = [80, 554].map(|port| lab.camera.socket_v4(port));
    let [web_listener, rtsp_listener] =
        [web, rtsp].map(|address| lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap());
    let mut page = Conversation::between(&lab.client, &web_listener, web);
    let mut camera = Conversation::between(&lab.client, &rtsp_listener, rtsp);

    // One is gone, one is new and the first, and one has another place.
    let said = apply(&fwx, &rules(&[("new", "web"), ("nothing", "web"), ("cameras", "rtsp")]));
    assert!(said.stderr.contains("is in force, 3 rules"), "{}", said.stderr);
    said.success().unwrap();
    let told = |event: &Event| event.line.contains("is in force, 3 rules");
    fwx.wait_for_event("the new policy", told).unwrap();
    page.converse();
    camera.converse();
    assert_eq!(shown(&fwx, &page), ("pages".into(), "web".into()));
    assert_eq!(shown(&fwx, &camera), ("cameras".into(), "rtsp".into()));
    let page_2 = Conversation::between(&lab.client, &web_listener, web);
    let camera_2 = Conversation::between(&lab.client, &rtsp_listener, rtsp);
    for (talk, rule) in [(&page_2, "new"), (&camera_2, "cameras")] {
        assert_eq!(shown(&fwx, talk).0, rule);
        assert_eq!(opened(&fwx, talk), rule);
    }

    // A bad policy changes nothing.
    let bad = apply(&fwx, &rules(&[("new", "web"), ("new", "rtsp")]));
    assert_eq!(bad.code, Some(2), "{}", bad.stderr);
    let page_3 = Conversation::between(&lab.client, &web_listener, web);
    assert_eq!(shown(&fwx, &page_3).0, "new");

    // A name that comes back is the one that it was.
    apply(&fwx, &rules(&[("pages", "web")])).success().unwrap();
    let page_4 = Conversation::between(&lab.client, &web_listener, web);
    for (talk, rule) in [(&page, "pages"), (&page_2, "new"), (&page_4, "pages")] {
        assert_eq!(shown(&fwx, talk).0, rule);
    }
    assert_eq!(shown(&fwx, &camera), ("cameras".into(), "rtsp".into()), "its rule is gone");
}

#[test]
fn a_filter_that_was_switched_by_hand_stays_so_until_the_policy_says_something_new() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let one = rules(&[("pages", "web"), ("cameras", "rtsp")]);
    fwx.up(&one, Mode::Auto).unwrap();
    fwx.filter(&["bind", "rtsp", "rtsp"]).unwrap();
    apply(&fwx, &one).success().unwrap();
    assert_eq!(fwx.binding("rtsp").unwrap().filter.as_deref(), Some("rtsp"));
    apply(&fwx, &rules(&[("cameras", "rtsp")])).success().unwrap();
    assert_eq!(fwx.binding("rtsp").unwrap().filter, None);
    let other = rules(&[("cameras", "rtsp")])
        .replace("rtsp]", "cameras]")
        .replace("\"rtsp\"", "\"cameras\"");
    apply(&fwx, &other).success().unwrap();
    assert!(fwx.binding("rtsp").is_err(), "the protocol is gone");
    assert_eq!(fwx.binding("cameras").unwrap().filter, None);
    assert_ne!(fwx.call(&["filter", "bind", "rtsp", "rtsp"]).unwrap().code, Some(0));
}

#[test]
fn what_takes_effect_later_is_told() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let text = rules(&[("pages", "web")]);
    assert_eq!(apply(&fwx, &text).code, Some(1), "it is not up");
    fwx.up(&text, Mode::Auto).unwrap();
    let other = text.replace("[\"lan0\", \"wan0\"]", "[\"lan0\"]").replace("65536", "32768");
    let said = apply(&fwx, &other);
    for told in ["interfaces stay as they are, lan0, wan0", "the flow tables keep their size"] {
        assert!(said.stderr.contains(told), "{}", said.stderr);
    }
    said.success().unwrap();
}
