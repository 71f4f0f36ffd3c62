//! Interfaces that come later, or go and come back, while the controller runs.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::ensure;
use firewall_common::reason::Reason;
use firewall_user::instance::Instance;
use lab::{Event, Fwx, Lab, Mode, policy, traces, wait};

const PATIENCE: Duration = Duration::from_secs(5);

/// A policy that lets the client talk to the camera's web server, and denies everything else.
fn one_service(interfaces: &[&str]) -> String {
    policy::open(interfaces).replace("\"allow\"", "\"deny\"")
        + "[protocol.web]\ntransport = \"tcp\"\nports = [80]\n[[rule]]\nname = \"pages\"\naction = \
           \"allow\"\nprotocols = [\"web\"]\n"
}

/// Gives the gateway an interface whose other end the camera has.
fn plug_in(lab: &Lab, name: &str) {
    let camera = lab.camera.namespace();
    lab.gateway()
        .ip(&format!(
            "link add {name} type veth peer name far_{name} netns {camera}\naddress add 10.8.0.1/24 dev \
             {name}\nlink set {name} up\n"
        ))
        .unwrap();
    let end = format!("address add 10.8.0.2/24 dev far_{name}\nlink set far_{name} up\n");
    lab.camera.ip(&end).unwrap();
}

fn unplug(lab: &Lab, name: &str) {
    lab.gateway().ip(&format!("link delete {name}\n")).unwrap();
}

fn index(lab: &Lab, name: &str) -> String {
    let mut command = lab.gateway().command("ip");
    let said = lab.gateway().output(command.args(["-o", "link", "show", name])).unwrap();
    said.split(':').next().unwrap().to_owned()
}

/// Indices of the interfaces that the instance has pins of.
fn pinned(fwx: &Fwx<'_>) -> Vec<String> {
    let pins = traces::pins(fwx.instance());
    let links = pins.iter().map(|pins| pins.join("links"));
    let names = links.filter_map(|links| std::fs::read_dir(links).ok()).flatten();
    let mut indices: Vec<_> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.split_once('_').map(|(index, _)| index.to_owned()))
        .collect();
    indices.sort();
    indices.dedup();
    indices
}

fn told(fwx: &Fwx<'_>, text: &str) {
    let is = |event: &Event| event.kind == "control" && event.line.contains(text);
    fwx.wait_for_event(text, is).unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
}

fn awaited(fwx: &Fwx<'_>) -> Vec<String> {
    fwx.status().unwrap().awaited
}

/// What comes by the interface is judged: from this port, which has not been seen.
fn is_judged(lab: &Lab, fwx: &Fwx<'_>, interface: &str, port: u16) {
    let sender = lab.camera.run(|| UdpSocket::bind(("10.8.0.2", port))).unwrap().unwrap();
    sender.send_to(b"noise", "10.8.0.1:9").unwrap();
    let is = |event: &Event| {
        event.kind == "packet_dropped"
            && event.src_port == Some(port)
            && event.interface.as_deref() == Some(interface)
    };
    fwx.wait_for_event("that it is refused", is)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", fwx.diagnostics()));
}

/// A connection over the interfaces that stay.
struct Page(TcpStream, TcpStream);

impl Page {
    fn open(lab: &Lab) -> Self {
        let address = lab.camera.socket_v4(80);
        let listener = lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let near = lab.client.run(connect).unwrap().unwrap();
        Self(near, listener.accept().unwrap().0)
    }

    fn goes_on(&mut self) {
        let Self(near, far) = self;
        near.write_all(b"hello").unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        far.read_exact(&mut [0; 5]).unwrap();
    }
}

#[test]
fn who_changes_the_instance_does_not_keep_the_controller_from_its_rings() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&one_service(&["lan0", "wan0", "usb0"]), Mode::Auto).unwrap();
    // As `fwx apply` does, which meanwhile waits for the controller to take kills out of their ring.
    let change = Instance::new(fwx.instance()).unwrap().lock_for_change().unwrap();
    plug_in(&lab, "usb0");
    for port in 30_001..30_011 {
        let sender = lab.client.run(|| UdpSocket::bind(("0.0.0.0", port))).unwrap().unwrap();
        sender.send_to(b"noise", lab.camera.socket_v4(9)).unwrap();
        let is = |event: &Event| event.kind == "packet_dropped" && event.src_port == Some(port);
        fwx.wait_for_event("that it is refused", is).unwrap();
    }
    assert_eq!(awaited(&fwx), ["usb0"]);
    drop(change);
    told(&fwx, "interface usb0 has come: attached, ingress tc");
    is_judged(&lab, &fwx, "usb0", 30_101);
}

#[test]
fn an_interface_is_attached_to_when_it_comes_and_when_it_is_back() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    // Another firewall, in a network namespace where the interface never comes.
    let mut other = Fwx::new(&lab.client, lab.instance("other")).unwrap();
    other.run(&policy::open(&["eth0", "usb0"]), Mode::Auto).unwrap();
    fwx.run(&one_service(&["lan0", "wan0", "usb0"]), Mode::Auto).unwrap();
    assert_eq!(awaited(&fwx), ["usb0"]);
    told(&fwx, "attached when they come: usb0; there are: lo, lan0, wan0");
    let text = fwx.call(&["status"]).unwrap().success().unwrap();
    assert!(text.contains("interface usb0: awaited; the controller attaches it"), "{text}");
    let mut page = Page::open(&lab);

    plug_in(&lab, "usb0");
    told(&fwx, "interface usb0 has come: attached, ingress tc");
    assert!(awaited(&fwx).is_empty());
    is_judged(&lab, &fwx, "usb0", 30_001);
    page.goes_on();
    let names: Vec<_> = fwx.status().unwrap().interfaces.into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["lan0", "wan0", "usb0"]);

    let first = index(&lab, "usb0");
    assert!(pinned(&fwx).contains(&first));
    unplug(&lab, "usb0");
    told(&fwx, "interface usb0 vanished, and what was attached to it; it is attached again");
    assert_eq!(awaited(&fwx), ["usb0"]);
    assert!(!pinned(&fwx).contains(&first), "{:?}", pinned(&fwx));
    page.goes_on();
    plug_in(&lab, "usb0");
    told(&fwx, "interface usb0 is back: attached");
    is_judged(&lab, &fwx, "usb0", 30_002);
    page.goes_on();

    // At once again, faster than anybody looks.
    unplug(&lab, "usb0");
    plug_in(&lab, "usb0");
    let now = index(&lab, "usb0");
    wait::until("the new one has programs", || {
        let pinned = pinned(&fwx);
        ensure!(pinned.contains(&now) && pinned.len() == 3, "{pinned:?}, not {now}");
        Ok(())
    })
    .unwrap();
    is_judged(&lab, &fwx, "usb0", 30_003);
    assert_eq!(awaited(&other), ["usb0"], "it came in another namespace");

    // While no controller runs.
    fwx.kill_controller().unwrap();
    unplug(&lab, "usb0");
    plug_in(&lab, "usb0");
    fwx.run_again().unwrap();
    assert!(awaited(&fwx).is_empty());
    let now = index(&lab, "usb0");
    assert!(pinned(&fwx).contains(&now) && pinned(&fwx).len() == 3, "{:?}", pinned(&fwx));
    is_judged(&lab, &fwx, "usb0", 30_004);

    // Gone for good.
    fwx.kill_controller().unwrap();
    unplug(&lab, "usb0");
    fwx.run_again().unwrap();
    assert_eq!(awaited(&fwx), ["usb0"]);
    assert_eq!(pinned(&fwx).len(), 2);
    page.goes_on();
    let drops = fwx.status().unwrap().drops;
    assert!(!drops.contains_key(Reason::TcpNotSyn.name()), "{drops:?}");
}

#[test]
fn what_cannot_be_attached_to_is_told_and_ends_nothing() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&one_service(&["lan0", "wan0", "later0"]), Mode::Native).unwrap();
    // A tunnel without Ethernet headers.
    lab.gateway().ip("tuntap add later0 mode tun\n").unwrap();
    told(&fwx, "interface later0 is there and cannot be attached to");
    told(&fwx, "without an Ethernet header");
    Page::open(&lab).goes_on();
    unplug(&lab, "later0");
    plug_in(&lab, "later0");
    told(&fwx, "interface later0 has come: attached, ingress native");
    is_judged(&lab, &fwx, "later0", 30_001);
}

#[test]
fn a_policy_that_is_applied_may_bring_an_interface() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&one_service(&["lan0", "wan0"]), Mode::Auto).unwrap();
    plug_in(&lab, "usb0");
    let said = fwx.apply(&one_service(&["lan0", "usb0"])).unwrap();
    assert!(said.stderr.contains("programs stay on wan0"), "{}", said.stderr);
    said.success().unwrap();
    told(&fwx, "interface usb0 has come: attached");
    is_judged(&lab, &fwx, "usb0", 30_001);
    assert_eq!(pinned(&fwx).len(), 3);
}

#[test]
fn what_is_named_by_hand_or_has_nobody_to_wait_for_it_must_be_there() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let error = format!("{:#}", fwx.up(&one_service(&["lan0", "lna1"]), Mode::Auto).unwrap_err());
    for part in ["no interface \"lna1\"", "there are: lo, lan0, wan0", "use `fwx run`"] {
        assert!(error.contains(part), "{error}");
    }
    fwx.set_further_options(&["--interface", "lan0", "--interface", "lna1"]);
    let failed = fwx.run_expecting_failure(&one_service(&["lan0", "wan0"]), Mode::Auto).unwrap();
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.stderr.contains("no interface \"lna1\""), "{failed:?}");

    // Named by hand and there, it is attached to again when it is back.
    plug_in(&lab, "usb0");
    fwx.set_further_options(&["--interface", "lan0", "--interface", "usb0"]);
    fwx.run(&one_service(&["lan0", "wan0"]), Mode::Auto).unwrap();
    unplug(&lab, "usb0");
    told(&fwx, "interface usb0 vanished");
    plug_in(&lab, "usb0");
    told(&fwx, "interface usb0 is back: attached");
    // What a policy says of interfaces does not count then.
    let said = fwx.apply(&one_service(&["lan0", "wan0"])).unwrap();
    assert!(said.stderr.contains("interfaces stay as they are, lan0, usb0"), "{}", said.stderr);
}
