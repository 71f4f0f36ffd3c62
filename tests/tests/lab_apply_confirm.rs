//! `fwx apply --confirm`: a policy that nobody says is good is taken back, whoever dies meanwhile; and what else keeps
//! an administrator far away from cutting himself off: the word about his own connection.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use anyhow::ensure;
use firewall_user::{apply::watcher, instance::Instance};
use lab::{
    Event, Fwx, Lab, Mode,
    applying::{apply, apply_in, is_in_force},
    peers::pair::Pair,
    policy, wait,
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, getpgid, getsid},
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

struct Site {
    lab: Lab,
}

/// A connection of the administrator's to the gateway itself.
struct Admin {
    listener: TcpListener,
    to: SocketAddr,
    from: SocketAddr,
    pair: Pair,
}

impl Site {
    fn new() -> Self {
        Self { lab: Lab::single().unwrap() }
    }

    fn fwx(&self) -> Fwx<'_> {
        Fwx::new(self.lab.gateway(), self.lab.instance("gw")).unwrap()
    }

    fn admin(&self) -> Admin {
        let to = self.lab.gateway().socket_v4(22);
        let listener = self.lab.gateway().run(|| TcpListener::bind(to)).unwrap().unwrap();
        let from = self.lab.client.socket_v4(0);
        let pair = Pair::connect(&self.lab.client, from, to, &listener).unwrap();
        pair.talk().unwrap();
        Admin { listener, to, from, pair }
    }
}

impl Admin {
    /// As sshd tells it.
    fn variable(&self) -> String {
        let [client, server] = self.pair.near_ends();
        format!("{} {} {} {}", client.ip(), client.port(), server.ip(), server.port())
    }

    /// Whether another connection like it comes about, which is given little time.
    fn comes_back(&self, site: &Site) -> bool {
        let connect = || std::net::TcpStream::connect_timeout(&self.to, Duration::from_millis(500));
        let near = site.lab.client.run(connect).unwrap();
        near.is_ok_and(|near| {
            let (far, _) = self.listener.accept().unwrap();
            (near.local_addr().unwrap().ip(), far.local_addr().unwrap())
                == (self.from.ip(), self.to)
        })
    }
}

/// Waits until the policy before is back, and nothing waits any more.
fn wait_until_back(fwx: &Fwx<'_>, rules: &[(&str, &str)]) {
    wait::until_within(PATIENT, "the policy before is back", || {
        is_in_force(fwx, rules)?;
        ensure!(fwx.status()?.pending.is_none(), "it still waits");
        Ok(())
    })
    .unwrap();
}

fn wait_for_word(fwx: &Fwx<'_>, word: &str) -> Event {
    let is = |event: &Event| event.kind == "control" && event.line.contains(word);
    fwx.wait_for_event("why the policy before is back", is).unwrap()
}

fn watcher(fwx: &Fwx<'_>) -> Option<i32> {
    watcher::process(&Instance::new(fwx.instance()).unwrap())
}

/// Its own process is killed, as by whoever kills all of a session's.
fn kill_watcher(fwx: &Fwx<'_>) {
    kill(Pid::from_raw(watcher(fwx).unwrap()), Signal::SIGKILL).unwrap();
    wait_until_unwatched(fwx);
}

/// Its time is over, however long that would take.
fn let_time_pass(fwx: &Fwx<'_>) {
    let path = format!("/run/fwx/{}/pending.json", fwx.instance());
    let mut pending: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    pending["deadline_ns"] = 1.into();
    let new = format!("{path}.test");
    fs::write(&new, pending.to_string()).unwrap();
    fs::rename(&new, &path).unwrap();
}

fn wait_until_unwatched(fwx: &Fwx<'_>) {
    wait::until("nobody looks after it any more", || {
        ensure!(watcher(fwx).is_none(), "process {:?} does", watcher(fwx));
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_policy_that_cuts_the_administrator_off_is_taken_back() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    let admin = site.admin();
    let own = admin.variable();
    let cuts =
        |options: &[&str]| apply_in(&fwx, &[("SSH_CONNECTION", &own)], &rules(&CUTS), options);
    // Told, and not done.
    for options in [&[][..], &["--confirm", "5", "--live", "kill"]] {
        let said = cuts(options);
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains("nothing was changed"), "{}", said.stderr);
        assert!(said.stderr.contains("the default refuses it"), "{}", said.stderr);
    }
    is_in_force(&fwx, &GOOD).unwrap();
    assert!(fwx.status().unwrap().pending.is_none());

    // It ends the connection, and it is back when the time is over.
    cuts(&["--confirm", "3", "--live", "kill", "--force"]).success().unwrap();
    let error = std::io::Read::read(&mut &admin.pair.near, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    wait_until_back(&fwx, &GOOD);
    assert!(admin.comes_back(&site));
    let event = wait_for_word(&fwx, "no `fwx confirm` came within 3 s: back to ");
    assert!(event.line.contains(".toml"), "{}", event.line);
    wait_until_unwatched(&fwx);
}

#[test]
fn whoever_could_not_come_back_is_warned_and_only_refused_without_a_way_back() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    let admin = site.admin();
    let own = admin.variable();
    let own = [("SSH_CONNECTION", own.as_str())];
    let named = rules(&CUTS).replace(
        "[[rule]]",
        "[[rule]]\nname = \"no-ssh\"\naction = \"reject\"\nprotocols = [\"ssh\"]\n[[rule]]",
    );
    let said = apply_in(&fwx, &own, &named, &["--dry-run"]);
    assert!(said.stderr.contains("rule \"no-ssh\" refuses it"), "{}", said.stderr);
    said.success().unwrap();
    let said = apply_in(&fwx, &own, &named, &["--confirm", LONG]);
    assert!(said.stderr.contains("could not come back"), "{}", said.stderr);
    said.success().unwrap();
    admin.pair.talk().unwrap();
    assert!(!admin.comes_back(&site));
    // Before its time is over.
    assert_eq!(fwx.call(&["rollback", "--live", "kill"]).unwrap().code, Some(2));
    fwx.call(&["rollback"]).unwrap().success().unwrap();
    is_in_force(&fwx, &GOOD).unwrap();
    wait_for_word(&fwx, "`fwx rollback`: back to ");
    wait_until_unwatched(&fwx);
    assert!(admin.comes_back(&site));

    // sudo takes the variable away: that of a process above counts.
    let file = site.lab.gateway().write_file("cuts.toml", &named).unwrap();
    let fwx_line = format!(
        "env -u SSH_CONNECTION {} --instance {} apply {}; exit $?",
        lab::find_binary().unwrap().display(),
        fwx.instance(),
        file.display()
    );
    let mut shell = site.lab.gateway().command("sh");
    shell.args(["-c", &fwx_line]).envs(own).env("FWX_STATE_DIRECTORY", fwx.state_directory());
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("rule \"no-ssh\" refuses it"), "{said}");
    // Of a connection that is none of this firewall's there is nothing to say.
    let other = [("SSH_CONNECTION", "192.0.2.1 40000 192.0.2.2 22")];
    apply_in(&fwx, &other, &named, &[]).success().unwrap();
    is_in_force(&fwx, &[("no-ssh", "ssh"), ("pages", "web")]).unwrap();
    apply_in(&fwx, &own, &rules(&GOOD), &[]).success().unwrap();
}

#[test]
fn a_word_keeps_it_and_another_one_has_to_wait() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    assert_eq!(fwx.call(&["confirm"]).unwrap().code, Some(1), "nothing waits");
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    let pending = fwx.status().unwrap().pending.unwrap();
    assert!(pending.watched && (1..=600).contains(&pending.seconds_left), "{pending:?}");
    let text = fwx.call(&["status"]).unwrap().success().unwrap();
    assert!(text.contains("waits for `fwx confirm`"), "{text}");

    // Its own process belongs to no session that could end, and has no terminal.
    let process = Pid::from_raw(watcher(&fwx).unwrap());
    assert_eq!(
        (getsid(Some(process)).unwrap(), getpgid(Some(process)).unwrap()),
        (process, process)
    );
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    assert_eq!(behind_name.split_whitespace().nth(4), Some("0"), "its terminal");

    let another = rules(&[("another", "rtsp")]);
    for options in [&[][..], &["--confirm", LONG]] {
        let said = apply(&fwx, &another, options);
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains("waits for `fwx confirm`"), "{}", said.stderr);
    }
    assert_eq!(fwx.call(&["rollback", "1"]).unwrap().code, Some(1));
    apply(&fwx, &another, &["--dry-run"]).success().unwrap();
    is_in_force(&fwx, &CUTS).unwrap();
    // In its place, and the way back is that of the first.
    apply(&fwx, &another, &["--confirm", LONG, "--replace"]).success().unwrap();
    assert_ne!(watcher(&fwx), Some(process.as_raw()));
    assert_eq!(fwx.status().unwrap().pending.unwrap().before, pending.before);

    fwx.call(&["confirm"]).unwrap().success().unwrap();
    assert!(fwx.status().unwrap().pending.is_none());
    assert_eq!(watcher(&fwx), None);
    wait_for_word(&fwx, "stays in force");
    is_in_force(&fwx, &[("another", "rtsp")]).unwrap();
    apply(&fwx, &rules(&CUTS), &[]).success().unwrap();
}

#[test]
fn filters_that_were_switched_by_hand_are_so_again() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.up(&rules(&[("cameras", "rtsp")]), Mode::Auto).unwrap();
    fwx.filter(&["bind", "rtsp", "rtsp", "--mode", "enforce", "--profile", "strict"]).unwrap();
    apply(&fwx, &rules(&[("cameras", "rtsp"), ("pages", "web")]), &["--confirm", LONG])
        .success()
        .unwrap();
    assert_eq!(fwx.binding("rtsp").unwrap().filter, None);
    fwx.call(&["rollback"]).unwrap().success().unwrap();
    let bound = fwx.binding("rtsp").unwrap();
    assert_eq!((bound.filter.as_deref(), bound.mode.as_deref()), (Some("rtsp"), Some("enforce")));
}

#[test]
fn without_a_controller_it_is_taken_back_too_and_told_later() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    let admin = site.admin();
    apply(&fwx, &rules(&CUTS), &["--confirm", "2"]).success().unwrap();
    wait_until_back(&fwx, &GOOD);
    assert!(admin.comes_back(&site));
    fwx.run_again().unwrap();
    let event = wait_for_word(&fwx, "no `fwx confirm` came within 2 s");
    assert!(event.line.contains("when no controller ran"), "{}", event.line);
}

#[test]
fn a_controller_takes_it_back_where_its_own_process_was_killed() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    let admin = site.admin();
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    kill_watcher(&fwx);
    assert!(!fwx.status().unwrap().pending.unwrap().watched);
    let_time_pass(&fwx);
    wait_until_back(&fwx, &GOOD);
    assert!(admin.comes_back(&site));
    wait_for_word(&fwx, "no `fwx confirm` came within 600 s");
}

#[test]
fn a_controller_that_starts_again_keeps_what_waits_and_takes_it_back_in_time() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    let admin = site.admin();
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    kill_watcher(&fwx);
    fwx.kill_controller().unwrap();
    // With the file of the policy before.
    fwx.run_again().unwrap();
    assert!(fwx.controller_log().contains("stays so"), "{}", fwx.controller_log());
    is_in_force(&fwx, &CUTS).unwrap();
    assert!(fwx.status().unwrap().pending.is_some());
    assert!(!admin.comes_back(&site));
    let_time_pass(&fwx);
    wait_until_back(&fwx, &GOOD);
    assert!(admin.comes_back(&site));
    wait_for_word(&fwx, "no `fwx confirm` came within 600 s");
}

#[test]
fn a_controller_that_starts_too_late_takes_it_back_at_once() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.run(&rules(&GOOD), Mode::Auto).unwrap();
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    fwx.kill_controller().unwrap();
    kill_watcher(&fwx);
    let_time_pass(&fwx);
    assert_eq!(fwx.status().unwrap().pending.unwrap().seconds_left, 0);
    let late = fwx.call(&["confirm"]);
    assert_eq!(late.unwrap().code, Some(1), "too late");
    is_in_force(&fwx, &GOOD).unwrap();
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    kill_watcher(&fwx);
    let_time_pass(&fwx);
    is_in_force(&fwx, &CUTS).unwrap();
    fwx.run_again().unwrap();
    is_in_force(&fwx, &GOOD).unwrap();
    assert!(fwx.status().unwrap().pending.is_none());
    wait_for_word(&fwx, "no `fwx confirm` came within 600 s");
}

#[test]
fn down_ends_what_waits() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    apply(&fwx, &rules(&CUTS), &["--confirm", LONG]).success().unwrap();
    let process = watcher(&fwx).unwrap();
    fwx.call(&["down"]).unwrap().success().unwrap();
    wait::until("the process is gone", || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        Ok(())
    })
    .unwrap();
    assert!(!fs::exists(format!("/run/fwx/{}", fwx.instance())).unwrap());
    assert!(!fs::exists(format!("/run/fwx/{}.change", fwx.instance())).unwrap());
}

/// The session is cut off in the midst of it, as a line that goes down does.
#[test]
fn it_is_taken_back_when_the_session_is_cut_off() {
    let site = Site::new();
    let mut fwx = site.fwx();
    fwx.up(&rules(&GOOD), Mode::Auto).unwrap();
    let file = site.lab.gateway().write_file("cuts.toml", rules(&CUTS)).unwrap();
    // A shell that gives the command and then sits there.
    let line = format!(
        "{} --instance {} apply --confirm 2 {}; sleep 1000",
        lab::find_binary().unwrap().display(),
        fwx.instance(),
        file.display()
    );
    let mut shell = site.lab.gateway().command("sh");
    shell.args(["-c", &line]).env("FWX_STATE_DIRECTORY", fwx.state_directory());
    let mut shell =
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait::until("it waits", || {
        is_in_force(&fwx, &CUTS)?;
        ensure!(fwx.status()?.pending.is_some(), "nothing waits");
        Ok(())
    })
    .unwrap();
    let group = Pid::from_raw(shell.id().cast_signed());
    killpg(group, Signal::SIGHUP).unwrap();
    killpg(group, Signal::SIGKILL).unwrap();
    shell.wait().unwrap();
    wait_until_back(&fwx, &GOOD);
}
