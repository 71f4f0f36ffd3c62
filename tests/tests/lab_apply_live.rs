//! `fwx apply` and the connections that are there: what it tells of them, and what `--live` does to them.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::ensure;
use aya::maps::{HashMap, MapData};
use firewall_common::flow::{Flow, KeyV4, State};
use firewall_user::{flows::FlowTable, instance::Instance, ring::monotonic_ns, tables::Tables};
use lab::{Event, Fwx, Host, Lab, Mode, peers::pair::Pair, policy, wait};
use serde_json::Value;

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const PATIENCE: Duration = Duration::from_secs(10);
const CLOSED_BY_POLICY: &str = "FWX_E_POLICY_CONNECTION_CLOSED";

fn rules(rules: &[(&str, &str)]) -> String {
    policy::by_rules(&INTERFACES, rules)
}

/// A connection from the client to a port of the camera.
fn connect(lab: &Lab, port: u16) -> Pair {
    let pair = connect_silently(lab, port);
    pair.talk().unwrap();
    pair
}

fn connect_silently(lab: &Lab, port: u16) -> Pair {
    let to = lab.camera.socket_v4(port);
    let listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
    Pair::connect(&lab.client, lab.client.socket_v4(0), to, &listener).unwrap()
}

fn port_of(pair: &Pair) -> u16 {
    pair.near_ends()[0].port()
}

fn udp(host: &Host, port: u16) -> UdpSocket {
    let at = host.socket_v4(port);
    let socket = host.run(|| UdpSocket::bind(at)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// What `fwx apply` shows to programs of a change to `text`.
fn apply(fwx: &Fwx<'_>, text: &str, options: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let shown = fwx.call(&[&["apply", "-o", "json", file], options].concat()).unwrap();
    serde_json::from_str(&shown.success().unwrap()).unwrap()
}

/// The rule, the protocol and the state that `fwx conn list` shows of a connection from `port`.
fn shown(fwx: &Fwx<'_>, port: u16) -> [Value; 3] {
    let text = fwx.call(&["conn", "list", "-o", "json", "--half-open"]).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text.success().unwrap()).unwrap();
    let row = rows.iter().find(|row| row["src_port"] == port).expect("it is in the list");
    ["rule", "protocol", "state"].map(|key| row[key].clone())
}

#[test]
fn what_changes_is_told_and_a_dry_run_changes_nothing() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let before = rules(&[("pages", "web"), ("cameras", "rtsp"), ("last", "noise")]);
    fwx.run(&before, Mode::Auto).unwrap();
    let pages = [connect(&lab, 80), connect(&lab, 80)];
    let camera = connect(&lab, 554);

    let after = rules(&[("last", "noise"), ("cameras", "rtsp"), ("new", "rtsp")]).replace(
        "[protocol.rtsp]",
        "[timeouts]\nudp = \"20s\"\n[protocol.rtsp]\nfilter = \"rtsp\"",
    );
    let told = apply(&fwx, &after, &["--dry-run"]);
    assert_eq!(told["applied"], false);
    let of = |rule: &str| {
        let rules = told["changes"]["rules"].as_array().unwrap();
        rules.iter().find(|change| change["rule"] == rule).cloned().unwrap_or_default()
    };
    assert_eq!(of("pages")["change"], "removed");
    assert_eq!((&of("pages")["flows"], &of("pages")["not_admitted"]), (&2.into(), &2.into()));
    assert_eq!(of("new")["change"], "added");
    assert_eq!(of("last")["change"], "moved");
    assert_eq!((&of("last")["place_before"], &of("last")["place"]), (&3.into(), &1.into()));
    assert_eq!(of("cameras"), Value::Null, "it says the same, in the same order");
    let settings = told["changes"]["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|change| change["key"] == key).unwrap();
    assert_eq!(setting("timeouts.udp")["after"], 20);
    assert_eq!(setting("protocols.rtsp.filter")["after"], "rtsp");
    assert_eq!(told["bindings"][0]["before"], "unbound");
    assert_eq!(told["bindings"][0]["after"], "rtsp monitor (standard)");
    assert_eq!(told["live_flows"]["flows"], 3);
    assert_eq!(told["live_flows"]["by_rule"][0]["rule"], "pages");

    // Nothing of it is in force.
    let another = connect(&lab, 80);
    assert_eq!(shown(&fwx, port_of(&another))[0], "pages");
    assert_eq!(fwx.binding("rtsp").unwrap().filter, None);
    pages.iter().chain([&camera]).for_each(|pair| pair.talk().unwrap());

    // For people, the same in words.
    let said = fwx.apply(&after).unwrap().success().unwrap();
    for line in [
        "- rule \"pages\" was number 1 (live flows: 3, no longer admitted: 3)",
        "+ rule \"new\" as number 3",
        "~ rule \"last\" moved from number 3 to 1",
        "timeouts.udp: ",
        "filter of protocol rtsp: unbound -> rtsp monitor (standard)",
        "the new policy would not let in 3 of them, which go on (--live keep)",
        "let in by rule \"pages\": 3 of 3",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
    pages.iter().chain([&camera]).for_each(|pair| pair.talk().unwrap());
}

#[test]
fn flows_that_are_judged_again_take_their_new_rule_or_end_in_silence() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&rules(&[("pages", "web"), ("cameras", "rtsp"), ("data", "data")]), Mode::Auto)
        .unwrap();
    let (page, camera) = (connect(&lab, 80), connect(&lab, 554));
    let [near, far] = [udp(&lab.client, 5001), udp(&lab.camera, 5000)];
    near.send_to(b"data", lab.camera.socket_v4(5000)).unwrap();
    far.recv(&mut [0; 9]).unwrap();

    let after = rules(&[("new", "rtsp")])
        .replace("rtsp]\n", "cam]\nfilter = \"rtsp\"\n")
        .replace("[\"rtsp\"]", "[\"cam\"]")
        .replace("default", "live = \"reevaluate\"\ndefault");
    let told = apply(&fwx, &after, &[]);
    assert_eq!((&told["ended"], &told["reassigned"]), (&2.into(), &1.into()), "{told}");
    assert_eq!((&told["live"], &told["resets"]), (&"reevaluate".into(), &0.into()));

    assert_eq!(shown(&fwx, port_of(&camera)), ["new", "cam", "ESTABLISHED"]);
    camera.talk().unwrap();
    let bound = fwx.binding("cam").unwrap();
    assert!(bound.segments > 0, "the filter that is bound now reads it: {bound:?}");

    let ended = |port: u16| {
        let is = |it: &Event| {
            it.kind == "connection_killed"
                && it.reason.as_deref() == Some(CLOSED_BY_POLICY)
                && it.src_port == Some(port)
        };
        fwx.wait_for_event("that the policy ended the connection", is).unwrap()
    };
    let event = ended(port_of(&page));
    assert!(event.line.contains("\"rule\":\"pages\""), "{}", event.line);
    assert!(event.line.contains("0xc0040039"), "{}", event.line);
    // Nobody was told: the end that talks next is.
    page.far.set_nonblocking(true).unwrap();
    assert_eq!((&page.far).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    (&page.near).write_all(b"late").unwrap();
    let drop = |event_id: u64| {
        let is = |it: &Event| it.kind == "packet_dropped" && it.caused_by == Some(event_id);
        fwx.wait_for_event("a drop that points to the end of its connection", is).unwrap()
    };
    drop(event.event_id);
    let error = (&page.near).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let event = ended(5001);
    near.send_to(b"late", lab.camera.socket_v4(5000)).unwrap();
    drop(event.event_id);
    assert_eq!(shown(&fwx, 5001)[2], "KILLED");
}

#[test]
fn flows_that_are_killed_tell_both_ends_at_once() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let both = [("pages", "web"), ("cameras", "rtsp")];
    fwx.up(&rules(&both), Mode::Auto).unwrap();
    let (page, camera) = (connect(&lab, 80), connect(&lab, 554));
    let told = apply(&fwx, &rules(&both[1..]), &["--live", "kill"]);
    assert_eq!((&told["ended"], &told["resets"]), (&1.into(), &2.into()), "{told}");
    for end in [&page.near, &page.far] {
        let error = { end }.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    camera.talk().unwrap();
    assert_eq!(shown(&fwx, port_of(&camera))[0], "cameras");
}

/// What one connection announced to a filter goes on as that connection does, whatever the rules say of it.
#[test]
fn what_a_connection_announced_shares_its_fate() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let files = policy::files(&INTERFACES, "standard", "");
    fwx.run(&files, Mode::Auto).unwrap();
    let control = connect_silently(&lab, 21);
    let say = |mut from: &TcpStream, mut to: &TcpStream, text: &str| {
        from.write_all(text.as_bytes()).unwrap();
        let mut heard = vec![0; text.len()];
        to.read_exact(&mut heard).unwrap();
    };
    say(&control.far, &control.near, "220 here\r\n");
    say(&control.near, &control.far, "PASV\r\n");
    say(&control.far, &control.near, "227 Entering Passive Mode (10,2,0,2,8,0)\r\n");
    let data = connect(&lab, 8 << 8);

    // Its connection is let in by another rule, so that is the rule of both.
    let renamed = files
        .replace("[[rule]]\nname = \"", "[[rule]]\nname = \"other-")
        .replace("[protocol.ftp]", "[protocol.files]")
        .replace("[\"ftp\"]", "[\"files\"]");
    assert_ne!(renamed, files);
    let told = apply(&fwx, &renamed, &["--live", "reevaluate"]);
    assert_eq!((&told["ended"], &told["reassigned"]), (&0.into(), &2.into()), "{told}");
    let [rule, protocol, _] = shown(&fwx, port_of(&data));
    assert_eq!((&rule, &protocol), (&shown(&fwx, port_of(&control))[0], &Value::Null));
    assert!(rule.as_str().is_some_and(|rule| rule.starts_with("other-")), "{rule}");
    data.talk().unwrap();
    // The protocol before is gone; what the connection announces goes by that of now.
    say(&control.near, &control.far, "PASV\r\n");
    say(&control.far, &control.near, "227 Entering Passive Mode (10,2,0,2,9,0)\r\n");
    connect(&lab, 9 << 8);

    let told = apply(&fwx, &rules(&[]), &["--live", "kill"]);
    assert_eq!((&told["ended"], &told["resets"]), (&2.into(), &4.into()), "{told}");
    for end in [&data.near, &data.far, &control.near, &control.far] {
        let error = { end }.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Behind NAT a flow is judged by the name by which its first packet was.
#[test]
fn a_translated_flow_is_judged_by_its_first_name() {
    let lab = Lab::single().unwrap();
    lab.gateway()
        .nft(
            "table ip nat {\n chain out { type nat hook postrouting priority srcnat; oifname \"wan0\" \
             masquerade; }\n}",
        )
        .unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let inside = rules(&[("pages", "web")])
        .replace("[protocol.web]", "[network.in]\nprefixes = [\"10.1.0.0/24\"]\n[protocol.web]")
        .replace("action = \"allow\"", "action = \"allow\"\nfrom = [\"in\"]");
    fwx.run(&inside, Mode::Auto).unwrap();
    let page = connect(&lab, 80);
    wait::until("the flow is known to be translated", || {
        page.talk()?;
        let text = fwx.call(&["conn", "list", "-o", "json"])?.success()?;
        ensure!(text.contains("\"translated\""), "{text}");
        Ok(())
    })
    .unwrap();
    let renamed = inside.replace("\"pages\"", "\"other\"");
    let told = apply(&fwx, &renamed, &["--live", "reevaluate"]);
    assert_eq!((&told["ended"], &told["reassigned"]), (&0.into(), &1.into()), "{told}");
    assert_eq!(shown(&fwx, port_of(&page))[0], "other");
    page.talk().unwrap();
    // From the gateway's own address nothing is let in: it is not the flow's first name.
    let outside = inside.replace("10.1.0.0/24", "10.2.0.0/24");
    let told = apply(&fwx, &outside, &["--live", "kill"]);
    assert_eq!((&told["ended"], &told["resets"]), (&1.into(), &2.into()), "{told}");
    for end in [&page.near, &page.far] {
        let error = { end }.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// More flows than are ended at a time. Not a limit that a busy machine could miss: it prints what it took.
#[test]
fn very_many_flows_are_judged_again() {
    const FLOWS: u32 = 200_000;
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let large = |rules: &[(&str, &str)]| {
        let text = policy::with_tables(&policy::by_rules(&INTERFACES, rules), 1 << 18, 16_384);
        // None of the flows is too old by the time it is looked at.
        text.replace("[tables]", "[timeouts]\nudp_stream = \"1h\"\n[tables]")
    };
    fwx.up(&large(&[("data", "data"), ("noise", "noise")]), Mode::Auto).unwrap();
    let tables = Tables::pinned(&Instance::new(fwx.instance()).unwrap().maps());
    let mut flows: HashMap<MapData, KeyV4, Flow> = tables.flows_v4().unwrap();
    for number in 0..FLOWS {
        let (rule, port) = if number % 2 == 0 { (1, 5000) } else { (2, 6000) };
        let addresses = [(0x0a00_0000 + number).to_be(), 0xffff_ffff];
        let key = KeyV4 { addresses, ports: [1, port], protocol: 17 };
        let flow = Flow {
            id: u64::from(number + 1) << 10,
            last_seen: monotonic_ns(),
            state: State::Assured as u8,
            ip_protocol: 17,
            rule,
            ..Flow::default()
        };
        flows.insert(key, flow, 0).unwrap();
    }
    let after = large(&[("other", "data")]);
    let half = u64::from(FLOWS) / 2;
    let [dry_run, done] = [&["--dry-run"][..], &["--live", "reevaluate"]].map(|options| {
        let started = Instant::now();
        let told = apply(&fwx, &after, options);
        eprintln!("{options:?}: {:?}", started.elapsed());
        told
    });
    for told in [&dry_run, &done] {
        assert_eq!(told["live_flows"]["flows"], u64::from(FLOWS));
        assert_eq!(told["live_flows"]["not_admitted"], half);
        assert_eq!(told["changes"]["rules"][0]["gains"], half);
    }
    assert_eq!((&done["ended"], &done["reassigned"]), (&half.into(), &half.into()));
    // Rule 3 is the new one's number: those that are gone keep theirs.
    let (mut ended, mut moved) = (0, 0);
    tables
        .each_entry(FlowTable::CompletedV4, |entry| match entry.flow.state() {
            State::Killed => ended += 1,
            _ => moved += u64::from((entry.flow.rule, entry.flow.protocol) == (3, 4)),
        })
        .unwrap();
    assert_eq!((ended, moved), (half, half));
}
