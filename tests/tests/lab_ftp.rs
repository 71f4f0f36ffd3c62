//! Files through a firewall that lets nothing in but FTP's control connection: data connections of every kind
//! come by pinholes, and whole.

use std::net::SocketAddr;

use lab::{
    Fwx, Lab, Mode,
    peers::files::{self, FileServer},
    policy,
};

/// The ways to a data connection, as options of curl.
const WAYS: [(&str, &[&str]); 4] = [
    ("PASV", &["--disable-epsv"]),
    ("EPSV", &[]),
    ("PORT", &["--ftp-port", "-", "--disable-eprt"]),
    ("EPRT", &["--ftp-port", "-"]),
];

#[test]
fn files_travel_in_mode_auto() {
    files_travel(Mode::Auto);
}

#[test]
fn files_travel_in_mode_tc() {
    files_travel(Mode::Tc);
}

#[test]
fn files_travel_over_ipv6() {
    let lab = Lab::single().unwrap();
    // RFC 2428 is there because the older commands have no room for such addresses.
    travel(&lab, Mode::Auto, lab.camera.socket_v6(21), &["EPSV", "EPRT"]);
}

#[test]
fn a_client_that_does_much_is_let_do_it() {
    let lab = Lab::single().unwrap();
    let fwx = firewall(&lab, Mode::Auto);
    let content = &content()[..100_000];
    let server = FileServer::start(&lab.camera, lab.camera.socket_v4(21), "a", content).unwrap();
    for passive in ["on", "off"] {
        // More data connections than one session may have pinholes at a time.
        const TIMES: usize = 80;
        let fetch = "cat a | wc -c;".repeat(TIMES);
        let commands = format!(
            "set ftp:passive-mode {passive}; open {}; ls; mkdir -p -f d; cd d; cd ..; {fetch} mv a b; mv b a; \
             rmdir d; close",
            server.url("")
        );
        let said = files::lftp(&lab.client, &commands).unwrap_or_else(|error| {
            panic!("{error:#}\n{}{}", fwx.diagnostics(), server.log_tail())
        });
        let whole = said.lines().filter(|line| line.trim() == content.len().to_string()).count();
        assert_eq!(whole, TIMES, "{said}");
    }
    nothing_is_wrong(&fwx);
}

#[test]
fn a_data_connection_that_nobody_announced_is_refused() {
    let lab = Lab::single().unwrap();
    let fwx = firewall(&lab, Mode::Auto);
    let server = FileServer::start(&lab.camera, lab.camera.socket_v4(21), "a", b"a").unwrap();
    assert_eq!(files::fetch(&lab.client, &server.url("a"), &[]).unwrap(), b"a");

    // The same server at a port where no filter reads what it announces.
    let other = FileServer::start(&lab.camera, lab.camera.socket_v4(2121), "a", b"a").unwrap();
    let quickly = ["--connect-timeout", "2"];
    files::fetch(&lab.client, &other.url("a"), &quickly).expect_err("no rule allows it");
    assert_eq!(fwx.status().unwrap().pinholes.flows, 1);
}

#[test]
fn what_the_policy_does_not_allow_is_killed() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let reading =
        r#"commands = ["USER", "PASS", "PWD", "CWD", "TYPE", "SIZE", "EPSV", "RETR", "QUIT"]"#;
    let policy = policy::files(&["lan0", "wan0"], "standard", reading);
    fwx.run(&policy, Mode::Auto).unwrap();
    let server = FileServer::start(&lab.camera, lab.camera.socket_v4(21), "a", b"a").unwrap();
    assert_eq!(files::fetch(&lab.client, &server.url("a"), &[]).unwrap(), b"a");

    files::bring(&lab.client, b"b", &server.url("b"), &[]).expect_err("STOR is not on the list");
    server.read("b").expect_err("it did not arrive");
    let kill = fwx
        .wait_for_event("the kill", |event| {
            event.filter.as_ref().is_some_and(|found| found.name == "ftp")
        })
        .unwrap();
    assert!(kill.line.contains("command-not-allowed") && kill.line.contains("STOR b"), "{kill:?}");
    assert_eq!(fwx.binding("ftp").unwrap().kills, 1);
}

fn files_travel(mode: Mode) {
    let lab = Lab::single().unwrap();
    travel(&lab, mode, lab.camera.socket_v4(21), &["PASV", "EPSV", "PORT", "EPRT"]);
}

fn travel(lab: &Lab, mode: Mode, address: SocketAddr, ways: &[&str]) {
    let fwx = firewall(lab, mode);
    let content = content();
    let server = FileServer::start(&lab.camera, address, "a file", &content).unwrap();
    let mut flows = 0;
    for (way, options) in WAYS.iter().filter(|(way, _)| ways.contains(way)) {
        let told = || format!("{way}\n{}{}", fwx.diagnostics(), server.log_tail());
        let fetched = files::fetch(&lab.client, &server.url("a%20file"), options)
            .unwrap_or_else(|error| panic!("{error:#} by {}", told()));
        assert!(fetched == content, "{} of {} bytes by {}", fetched.len(), content.len(), told());

        files::bring(&lab.client, &content, &server.url(way), options)
            .unwrap_or_else(|error| panic!("{error:#} by {}", told()));
        assert!(server.read(way).unwrap() == content, "{}", told());

        flows += 2;
        assert_eq!(fwx.status().unwrap().pinholes.flows, flows, "{}", told());
    }
    nothing_is_wrong(&fwx);
}

/// Denies all but the control connection of FTP.
fn firewall(lab: &Lab, mode: Mode) -> Fwx<'_> {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let policy = policy::files(&["lan0", "wan0"], "standard", "");
    fwx.run(&policy, mode).unwrap();
    fwx
}

/// Nobody was killed, nothing was found, and there was room for everything.
fn nothing_is_wrong(fwx: &Fwx<'_>) {
    let told: Vec<_> = fwx.events().unwrap().into_iter().filter(|e| e.filter.is_some()).collect();
    assert_eq!(told.iter().map(|event| &event.line).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(fwx.binding("ftp").unwrap().kills, 0);
    assert_eq!(fwx.status().unwrap().pinholes.refused, 0);
}

/// More than a window's worth of bytes that do not repeat.
fn content() -> Vec<u8> {
    (0..1_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
