//! `fwx rules`: what each rule let in and refused, while policies, tables and connections come and go.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::ensure;
use lab::{Fwx, Lab, Mode, policy, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(5);

/// A policy with these rules, each of which speaks about one protocol.
fn policy_with(rules: &[(&str, &str, &str)], completed: u32) -> String {
    let mut text = policy::open(&["lan0", "wan0"])
        .replace("\"allow\"", "\"deny\"")
        .replace("completed = 65536", &format!("completed = {completed}"));
    for (protocol, transport, port) in
        [("web", "tcp", 80), ("rtsp", "tcp", 554), ("noise", "udp", 9)]
    {
        text += &format!("[protocol.{protocol}]\ntransport = \"{transport}\"\nports = [{port}]\n");
    }
    for (name, action, protocol) in rules {
        text += &format!(
            "[[rule]]\nname = \"{name}\"\naction = \"{action}\"\nprotocols = [\"{protocol}\"]\n"
        );
    }
    text
}

/// Both ends of a connection over which some came and went.
fn converse(lab: &Lab, listener: &TcpListener, address: SocketAddr) -> (TcpStream, TcpStream) {
    let near = lab.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    let ends = (near, far);
    talk(&ends);
    ends
}

/// Something goes each way, and is acknowledged: nothing is left to come.
fn talk((near, far): &(TcpStream, TcpStream)) {
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from, to);
        from.write_all(&[0x55; 3000]).unwrap();
        to.set_read_timeout(Some(PATIENCE)).unwrap();
        to.read_exact(&mut [0; 3000]).unwrap();
    }
    for end in [near, far] {
        wait::until("all is acknowledged", || {
            let mut left = 0;
            // SAFETY: the kernel writes a number to where there is room for one.
            unsafe { not_acknowledged(end.as_raw_fd(), &raw mut left) }?;
            ensure!(left == 0, "{left} bytes are not");
            Ok(())
        })
        .unwrap();
    }
}

nix::ioctl_read_bad!(
    /// How many bytes were sent and not acknowledged: tcp(7), SIOCOUTQ.
    not_acknowledged,
    nix::libc::TIOCOUTQ,
    nix::libc::c_int
);

fn json(fwx: &Fwx<'_>, command: &[&str]) -> Vec<Value> {
    let text = fwx.call(command).unwrap().success().unwrap();
    serde_json::from_str(&text).unwrap()
}

fn rules(fwx: &Fwx<'_>) -> Vec<Value> {
    json(fwx, &["rules", "-o", "json"])
}

fn named(rules: &[Value], name: &str) -> Value {
    rules.iter().find(|rule| rule["name"] == name).unwrap_or_else(|| panic!("{rules:#?}")).clone()
}

/// What a rule has counted besides its live flows.
fn counts(rule: &Value) -> [u64; 5] {
    ["flows", "packets", "bytes", "refused_packets", "refused_bytes"]
        .map(|field| rule[field].as_u64().unwrap_or_else(|| panic!("{rule:#}")))
}

/// Packets and bytes of the rule's connections, as `fwx conn list` has them.
fn of_connections(fwx: &Fwx<'_>, rule: &str) -> [u64; 2] {
    let rows = json(fwx, &["conn", "list", "--half-open", "-o", "json"]);
    let of_rule = rows.iter().filter(|row| row["rule"] == rule);
    let both = |row: &Value, what: &str| {
        ["original", "reply"].map(|way| row[what][way].as_u64().unwrap()).iter().sum::<u64>()
    };
    of_rule.fold([0, 0], |[packets, bytes], row| {
        [packets + both(row, "packets"), bytes + both(row, "bytes")]
    })
}

/// What the rule has counted, once its connections say the same.
fn settled(fwx: &Fwx<'_>, rule: &str) -> [u64; 5] {
    wait::until("the rule and its connections agree", || {
        let counted = counts(&named(&rules(fwx), rule));
        let connections = of_connections(fwx, rule);
        ensure!(counted[1..3] == connections, "{counted:?} and {connections:?}");
        Ok(counted)
    })
    .unwrap()
}

#[test]
fn what_rules_counted_outlives_connections_policies_and_tables() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let first = [
        ("pages", "allow", "web"),
        ("noise", "deny", "noise"),
        ("cameras", "allow", "rtsp"),
        ("spare", "allow", "noise"),
    ];
    fwx.run(&policy_with(&first, 65_536), Mode::Auto).unwrap();
    let [web, rtsp] = [80, 554].map(|port| lab.camera.socket_v4(port));
    let [web_listener, rtsp_listener] =
        [web, rtsp].map(|address| lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap());
    let page = converse(&lab, &web_listener, web);
    let camera = converse(&lab, &rtsp_listener, rtsp);
    let noise = lab.client.run(|| UdpSocket::bind(lab.client.socket_v4(0))).unwrap().unwrap();
    for _ in 0..3 {
        noise.send_to(&[0; 100], lab.camera.socket_v4(9)).unwrap();
    }

    let pages = settled(&fwx, "pages");
    assert_eq!((pages[0], pages[3]), (1, 0), "{pages:?}");
    assert!(pages[2] > 6000, "{pages:?}");
    let cameras = settled(&fwx, "cameras");
    let told = rules(&fwx);
    // IPv4 and UDP take 28 bytes.
    assert_eq!(counts(&named(&told, "noise")), [0, 0, 0, 3, 3 * 128]);
    let order: Vec<_> = told.iter().filter_map(|rule| rule["name"].as_str()).collect();
    assert_eq!(order, ["pages", "noise", "cameras", "spare"]);
    let actions: Vec<_> = told.iter().map(|rule| rule["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["allow", "deny", "allow", "allow", "deny"], "the default is the last");
    assert_eq!(named(&told, "pages")["live_flows"], 1);
    assert!(named(&told, "noise")["last_hit"].is_string());
    let unused = json(&fwx, &["rules", "--unused", "-o", "json"]);
    assert_eq!(unused.len(), 1, "{unused:#?}");
    assert_eq!(unused[0]["name"], "spare");
    let text = fwx.call(&["rules", "--unused"]).unwrap().success().unwrap();
    assert!(text.contains("never") && !text.contains("pages"), "{text}");

    // Another order, and one is gone: numbers stay, and what was counted.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    let second =
        [("new", "allow", "web"), ("cameras", "allow", "rtsp"), ("noise", "deny", "noise")];
    fs::write(&file, policy_with(&second, 65_536)).unwrap();
    fwx.call(&["apply", file.to_str().unwrap()]).unwrap().success().unwrap();
    talk(&page);
    assert_eq!(settled(&fwx, "cameras"), cameras);
    let told = rules(&fwx);
    let gone = told.last().unwrap();
    assert_eq!(
        (&gone["name"], &gone["gone"], &gone["live_flows"]),
        (&"pages".into(), &true.into(), &1.into())
    );
    assert!(counts(gone)[2] > pages[2] + 6000, "{gone:#}");
    assert_eq!(counts(&named(&told, "noise"))[3], 3);

    // Connections are forgotten, what they counted is not.
    let more = settled(&fwx, "pages");
    fwx.call(&["conn", "flush", "--half-open", "--yes"]).unwrap().success().unwrap();
    assert_eq!(counts(&named(&rules(&fwx), "cameras")), cameras);
    assert!(rules(&fwx).iter().all(|rule| rule["name"] != "pages"), "nothing of it lives");
    drop((page, camera));

    // A table of another size.
    let _camera = converse(&lab, &rtsp_listener, rtsp);
    let of_second = wait::until("both connections are counted", || {
        let counted = counts(&named(&rules(&fwx), "cameras"));
        let now = of_connections(&fwx, "cameras");
        ensure!(counted[1] == cameras[1] + now[0] && counted[0] == 2, "{counted:?} {now:?}");
        Ok(counted)
    })
    .unwrap();
    fwx.stop_controller().unwrap();
    fwx.up(&policy_with(&first, 32_768), Mode::Auto).unwrap();
    let told = rules(&fwx);
    assert_eq!(counts(&named(&told, "cameras")), of_second);
    assert_eq!(counts(&named(&told, "pages")), more, "it is back under its name");

    // Taken down and brought up, all begins anew.
    fwx.call(&["down"]).unwrap().success().unwrap();
    assert_ne!(fwx.call(&["rules"]).unwrap().code, Some(0), "it is not up");
    fwx.up(&policy_with(&first, 32_768), Mode::Auto).unwrap();
    assert_eq!(counts(&named(&rules(&fwx), "noise")), [0; 5]);
}
