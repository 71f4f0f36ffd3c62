//! What `fwx apply` leaves behind: the policies that were in force, and one policy as a whole whatever is given to it,
//! however many do it at once, and whenever it is killed.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lab::{
    Fwx, Lab, Mode,
    applying::{apply, is_in_force, rules_in_force},
    policy, wait,
};
use serde_json::Value;

const INTERFACES: [&str; 2] = ["lan0", "wan0"];
/// Longer than any test takes.
const LONG: &str = "600";
/// Attempts of a wait that has a deadline of some seconds in it: a minute.
const PATIENT: u32 = 3000;
const GOOD: [(&str, &str); 2] = [("admin", "ssh"), ("pages", "web")];
const CUTS: [(&str, &str); 1] = [("pages", "web")];

fn rules(rules: &[(&str, &str)]) -> String {
    policy::by_rules(&INTERFACES, rules)
}

fn firewall(lab: &Lab) -> Fwx<'_> {
    Fwx::new(lab.gateway(), lab.instance("gw")).unwrap()
}

#[test]
fn what_was_in_force_comes_back() {
    let lab = Lab::single().unwrap();
    let mut fwx = firewall(&lab);
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    let other = [("cameras", "rtsp")];
    apply(&fwx, &rules(&CUTS), &[]).success().unwrap();
    apply(&fwx, &rules(&other), &[]).success().unwrap();
    // The same again is no other.
    apply(&fwx, &rules(&other), &[]).success().unwrap();
    let list = || -> Vec<Value> {
        let text = fwx.call(&["rollback", "--list", "-o", "json"]).unwrap().success().unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let there = list();
    assert_eq!(there.iter().map(|it| it["back"].clone()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(there.iter().all(|it| it["sha256"].as_str().is_some_and(|sum| sum.len() == 64)));
    let directory = fwx.state_directory().join(fwx.instance()).join("policies");
    let metadata = fs::metadata(&directory).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o700, 0));
    let copy = directory.join("00000001").join("1-policy.toml");
    let first = directory.join("00000001").read_dir().unwrap().count();
    assert_eq!(first, 2, "its text and what is known of it");
    assert!(!copy.exists() || fs::metadata(copy).unwrap().mode() & 0o777 == 0o600);

    // The files that they came from are gone by now.
    fwx.call(&["rollback", "2"]).unwrap().success().unwrap();
    is_in_force(&fwx, &GOOD).unwrap();
    fwx.call(&["rollback"]).unwrap().success().unwrap();
    is_in_force(&fwx, &other).unwrap();
    assert_eq!(list().len(), 5);
    let said = fwx.call(&["rollback", "9"]).unwrap();
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    // One that nobody confirmed is none of them.
    apply(&fwx, &rules(&GOOD), &["--confirm", LONG]).success().unwrap();
    assert_eq!((list().len(), list()[0]["back"].clone()), (5, 1.into()));
    fwx.call(&["confirm"]).unwrap().success().unwrap();
    assert_eq!((list().len(), list()[0]["back"].clone()), (6, 0.into()));
}

#[test]
fn what_is_no_policy_changes_nothing() {
    let lab = Lab::single().unwrap();
    let mut fwx = firewall(&lab);
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    let good = rules(&CUTS);
    let cut_off = good.trim_end().trim_end_matches("\"]");
    let nonsense: Vec<u8> =
        (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = "# padding\n".repeat(5 << 20);
    let gateway = lab.gateway();
    for (name, bytes) in [
        ("cut-off", cut_off.as_bytes()),
        ("not-utf-8", &[good.as_bytes(), b"# \xff\xfe\n"].concat()),
        ("nonsense", &nonsense),
        ("large", large.as_bytes()),
        ("empty", b""),
    ] {
        let file = gateway.write_file(name, bytes).unwrap();
        for options in [&[][..], &["--confirm", LONG]] {
            let arguments = [&["apply", file.to_str().unwrap()], options].concat();
            let said = fwx.call(&arguments).unwrap();
            assert_eq!(said.code, Some(2), "{name}: {}", said.stderr);
        }
        is_in_force(&fwx, &GOOD).unwrap();
        assert!(fwx.status().unwrap().pending.is_none(), "{name}");
    }
    for path in ["/nowhere/policy.toml", "/tmp", "/dev/null"] {
        assert_eq!(fwx.call(&["apply", path]).unwrap().code, Some(2), "{path}");
    }
    is_in_force(&fwx, &GOOD).unwrap();
}

#[test]
fn of_two_at_once_each_is_done_as_a_whole() {
    const EACH: usize = 15;
    let lab = Lab::single().unwrap();
    let mut fwx = firewall(&lab);
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    let policies = [("a", "web"), ("b", "rtsp"), ("c", "ssh")];
    thread::scope(|scope| {
        for (index, policy) in policies.iter().enumerate() {
            let (fwx, text) = (&fwx, rules(&[*policy]));
            scope.spawn(move || {
                for _ in 0..EACH {
                    apply(fwx, &text, &[]).success().with_context(|| format!("{index}")).unwrap();
                }
            });
        }
    });
    // The one that was the last is in force, in all that is known of it.
    let name = rules_in_force(&fwx).unwrap().remove(0);
    let (_, protocol) = policies.iter().find(|(rule, _)| name == format!("{rule:?}")).unwrap();
    for (known, port) in [("web", 80), ("rtsp", 554), ("ssh", 22)] {
        let to = lab.camera.socket_v4(port);
        let _listener = lab.camera.run(|| TcpListener::bind(to)).unwrap().unwrap();
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(500));
        let connected = lab.client.run(connect).unwrap().is_ok();
        assert_eq!(connected, known == *protocol, "{known} under {name}");
    }
    let newest = fwx.call(&["rollback", "--list", "-o", "json"]).unwrap().success().unwrap();
    let newest: Vec<Value> = serde_json::from_str(&newest).unwrap();
    assert_eq!((&newest[0]["back"], newest.len()), (&0.into(), 20));
}

/// Killed at any moment of it, the next one finds nothing in its way, and a way back that was written down is taken.
#[test]
fn an_apply_that_is_killed_leaves_one_policy_or_the_other() {
    const KILLS: u64 = 24;
    let lab = Lab::single().unwrap();
    let mut fwx = firewall(&lab);
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    let file = lab.gateway().write_file("cuts.toml", rules(&CUTS)).unwrap();
    let file = file.to_str().unwrap();
    for kill_number in 0..KILLS {
        let mut command = fwx.command(&["apply", "--confirm", "1", file]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // From before it began to after it is done.
        thread::sleep(Duration::from_millis(kill_number * 10));
        child.kill().unwrap();
        child.wait().unwrap();
        wait::until_within(PATIENT, "nothing waits", || {
            ensure!(fwx.status()?.pending.is_none(), "it waits");
            Ok(())
        })
        .unwrap();
        let to = lab.gateway().socket_v4(22);
        let _listener = lab.gateway().run(|| TcpListener::bind(to)).unwrap().unwrap();
        let connect = || TcpStream::connect_timeout(&to, Duration::from_secs(5));
        assert!(lab.client.run(connect).unwrap().is_ok(), "after {kill_number}");
        is_in_force(&fwx, &GOOD).unwrap();
    }
    apply(&fwx, &rules(&CUTS), &[]).success().unwrap();
    is_in_force(&fwx, &CUTS).unwrap();
}
