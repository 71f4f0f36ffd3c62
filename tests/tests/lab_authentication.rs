//! SYN authentication, always on: whoever is really there gets in, in every mode and by either family, and is
//! asked once.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use firewall_common::layout::Counter;
use firewall_user::{instance::Instance, tables::Tables};
use lab::{Fwx, Host, Lab, Mode, flood};

const PORT: u16 = 8_000;
const PATIENCE: Duration = Duration::from_secs(5);

const POLICY: &str = r#"
[gateway]
interfaces = ["lan0", "wan0"]
default = "allow"

[tables]
completed = 4096
half_open = 4096

[limits]
syn_authentication = "on"
"#;

#[test]
fn a_client_gets_in_by_showing_its_address_in_mode_native() {
    a_client_gets_in_by_showing_its_address(Mode::Native);
}

#[test]
fn a_client_gets_in_by_showing_its_address_in_mode_generic() {
    a_client_gets_in_by_showing_its_address(Mode::Generic);
}

#[test]
fn a_client_gets_in_by_showing_its_address_in_mode_tc() {
    a_client_gets_in_by_showing_its_address(Mode::Tc);
}

fn a_client_gets_in_by_showing_its_address(mode: Mode) {
    let lab = Lab::single().unwrap();
    let awake = (mode == Mode::Native).then(|| flood::listen_to_xdp(&lab.client).unwrap());
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(POLICY, mode).unwrap();
    let tables = tables(&fwx);
    let counts = || {
        [Counter::SynsChallenged, Counter::SourcesAuthenticated, Counter::FlowsOpened]
            .map(|counter| tables.counter(counter).unwrap())
    };
    for (done, address) in (1..).zip([lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)]) {
        let listener = lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
        visit(&lab.client, &listener, address);
        assert_eq!(counts(), [done, done, 2 * done - 1], "{mode}: it is asked");
        visit(&lab.client, &listener, address);
        assert_eq!(counts(), [done, done, 2 * done], "{mode}: and not again");
    }
    drop(awake);
}

/// The gateway's own SYNs need no proof.
#[test]
fn the_gateway_itself_gets_out_in_mode_native() {
    the_gateway_itself_gets_out(Mode::Native);
}

#[test]
fn the_gateway_itself_gets_out_in_mode_tc() {
    the_gateway_itself_gets_out(Mode::Tc);
}

fn the_gateway_itself_gets_out(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(POLICY, mode).unwrap();
    for address in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let listener = lab.camera.run(|| TcpListener::bind(address)).unwrap().unwrap();
        visit(lab.gateway(), &listener, address);
    }
    assert_eq!(tables(&fwx).counter(Counter::SynsChallenged).unwrap(), 0, "{mode}");
}

/// A refusal reaches the gateway's own programs too.
#[test]
fn the_gateway_itself_hears_that_it_is_rejected_in_mode_native() {
    the_gateway_itself_hears_that_it_is_rejected(Mode::Native);
}

#[test]
fn the_gateway_itself_hears_that_it_is_rejected_in_mode_tc() {
    the_gateway_itself_hears_that_it_is_rejected(Mode::Tc);
}

fn the_gateway_itself_hears_that_it_is_rejected(mode: Mode) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let reject = "[[rule]]\nname = \"say-no\"\naction = \"reject\"\n";
    fwx.run(&format!("{POLICY}\n{reject}"), mode).unwrap();
    for address in [lab.camera.socket_v4(PORT), lab.camera.socket_v6(PORT)] {
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let error = lab.gateway().run(connect).unwrap().expect_err("it is rejected");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{mode} {address}: {error}");
    }
}

fn tables(fwx: &Fwx<'_>) -> Tables {
    Tables::pinned(&Instance::new(fwx.instance()).unwrap().maps())
}

/// Connects from `host` and has a word heard.
fn visit(host: &Host, listener: &TcpListener, address: SocketAddr) {
    let connected = host.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    let mut near =
        connected.unwrap_or_else(|error| panic!("{} to {address}: {error}", host.role()));
    let mut far = listener.accept().unwrap().0;
    near.write_all(b"ping").unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = [0; 4];
    far.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"ping");
}
