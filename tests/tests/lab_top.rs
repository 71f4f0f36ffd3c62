//! `fwx top` at work: the story with an audience beside it, looked at in a terminal as an administrator does, and a
//! filter toggled there.

use anyhow::ensure;
use firewall_common::{
    flow::{Flow, State, Tally},
    wire::ip_protocol,
};
use lab::{
    Fwx, Lab, Mode, flows, memory,
    peers::{
        audience::Audience,
        recorder::Recorder,
        stray,
        viewer::{End, Viewer},
    },
    policy,
    terminal::{Ended, Terminal},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const RTSP: u16 = 554;
const INTERFACES: [&str; 2] = ["lan0", "wan0"];
const LARGE: [u16; 2] = [120, 40];
const USUAL: [u16; 2] = [80, 24];
const NOT_SYN: &str = "TCP_NOT_SYN";
/// Connections that play beside the story.
const CONNECTIONS: usize = 12;
/// How a program ends that was asked to: the terminal is as it was.
const WELL: Ended = Ended { code: 0, on_other_screen: false };

#[test]
fn the_story_is_on_the_screen_and_a_filter_is_toggled_there() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&INTERFACES, "strict"), Mode::Auto).unwrap();
    let address = lab.camera.socket_v6(RTSP);
    let audience = Audience::gather(&lab.client, &lab.camera, address, CONNECTIONS).unwrap();
    let recorder = Recorder::start(&lab.camera, lab.camera.socket_v4(RTSP)).unwrap();
    let killed = is_killed(&lab, &fwx, &recorder);

    let terminal = Terminal::start(lab.gateway(), "top", LARGE, &fwx.command(&["top"])).unwrap();
    let screen = terminal
        .wait_until("flows, the kill and the drop", |screen| {
            let has = |words: &[&str]| {
                let line = screen.lines().find(|line| words.iter().all(|word| line.contains(word)));
                ensure!(line.is_some(), "no line has {words:?}");
                Ok(())
            };
            // An audience that plays has a rate, so that it stands before the connection that was killed.
            has(&["tcp/rtsp", "ESTABLISHED", "cameras", "rtsp enforce"])?;
            has(&["tcp/rtsp", "KILLED", &killed])?;
            let rated = screen.contains("in the last") && !screen.contains("without a rate");
            ensure!(rated, "there are no rates yet");
            has(&[NOT_SYN])?;
            has(&["KILL", "missing-cseq", &killed])?;
            has(&["drop", NOT_SYN, "because of event"])?;
            has(&["rtsp", "enforce", "strict"])
        })
        .unwrap();
    println!("{screen}");
    audience.plays_on(1).unwrap();

    is_toggled(&fwx, &terminal);
    the_log_is_filtered(&terminal);
    the_controller_goes_and_comes(&mut fwx, &terminal);

    terminal.resize(USUAL).unwrap();
    terminal
        .wait_for("all of it on a usual terminal", &["Flows", "Drops", "Filters", "Log"])
        .unwrap();
    terminal.resize([40, 10]).unwrap();
    terminal.wait_for("that it is too small", &["too small"]).unwrap();
    terminal.press(&["q"]).unwrap();
    assert_eq!(terminal.wait_for_end().unwrap(), WELL);
    audience.check().unwrap();
}

#[test]
fn a_signal_ends_the_screen_in_good_order() {
    let lab = Lab::single().unwrap();
    let fwx = up(&lab);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let name = format!("top-{signal}");
        let terminal =
            Terminal::start(lab.gateway(), &name, USUAL, &fwx.command(&["top"])).unwrap();
        terminal.wait_for("that no controller runs", &["no controller", "no flows"]).unwrap();
        kill(Pid::from_raw(terminal.pid().unwrap()), signal).unwrap();
        assert_eq!(terminal.wait_for_end().unwrap(), WELL, "{signal}");
    }
}

#[test]
fn ctrl_z_gives_the_screen_back_until_it_goes_on() {
    let lab = Lab::single().unwrap();
    let fwx = up(&lab);
    let terminal = Terminal::start(lab.gateway(), "top", USUAL, &fwx.command(&["top"])).unwrap();
    terminal.wait_for("that no controller runs", &["no controller", "no flows"]).unwrap();
    assert_eq!(terminal.given_back().unwrap(), 0);
    // Nobody's shell is there: tmux lets it go on at once.
    terminal.press(&["C-z"]).unwrap();
    terminal.press(&["?"]).unwrap();
    terminal.wait_for("help, on the screen that was taken again", &["Keys"]).unwrap();
    assert_eq!(terminal.given_back().unwrap(), 1);
}

#[test]
fn scripts_get_one_picture_and_no_screen() {
    let lab = Lab::single().unwrap();
    let fwx = up(&lab);
    let json = fwx.call(&["top", "-o", "json", "--interval", "0.2"]).unwrap().success().unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["instance"], fwx.instance());
    assert_eq!(json["controller"]["running"], false);
    assert_eq!(json["filters"][0]["mode"], "enforce");
    assert!(
        json["flows"].is_array() && json["traffic"]["ingress"]["bits_per_s"].is_u64(),
        "{json}"
    );
    assert_eq!(json["tables"].as_array().unwrap().len(), 4);

    let picture = fwx.call(&["top", "--once", "--interval", "0.2"]).unwrap().success().unwrap();
    assert!(picture.contains("Flows") && picture.contains("no controller"), "{picture}");

    let refused = fwx.call(&["top"]).unwrap();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("needs a terminal"), "{}", refused.stderr);
    let refused = fwx.call(&["top", "--log", "port=http"]).unwrap();
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("not a number"), "{}", refused.stderr);
}

/// The flows are walked through beside the screen, which answers meanwhile.
#[test]
fn a_million_flows_do_not_stall_the_screen() {
    const FLOWS: u32 = 1_000_000;
    const WALKED: &str = "1,000,000 flows";
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let roomy = policy::with_tables(&policy::open(&INTERFACES), 1_200_000, 16_384);
    fwx.up(&roomy, Mode::Auto).unwrap();
    let flow = |number| Flow {
        state: State::Assured as u8,
        ip_protocol: ip_protocol::UDP,
        // The first one has counted most.
        tallies: [Tally { packets: 1, bytes: u64::from(FLOWS - number) }; 2],
        ..Flow::default()
    };
    flows::fill(&flows::tables(&fwx).unwrap(), 0..FLOWS, flow).unwrap();
    let top = fwx.command(&["top", "--interval", "0.1", "--sort", "bytes"]);
    let terminal = Terminal::start(lab.gateway(), "top", USUAL, &top).unwrap();
    terminal.press(&["?"]).unwrap();
    terminal.wait_for("help", &["Keys"]).unwrap();
    terminal.press(&["Escape"]).unwrap();
    let screen = terminal
        .wait_until("no help any more", |screen| {
            ensure!(!screen.contains("Keys"), "it is there");
            Ok(())
        })
        .unwrap();
    assert!(!screen.contains(WALKED), "the first walk goes on: {screen}");
    // Of all that there are the first are kept, and rates are known of nearly all at the second walk.
    let wanted = ["500 of 1,000,000 by bytes", "100.64.0.0:40000", WALKED];
    let screen = terminal.wait_for("all flows", &wanted).unwrap();
    println!("{screen}");
    let peak = memory::peak_kib(terminal.pid().unwrap().unsigned_abs()).unwrap();
    assert!(peak < 200 * 1024, "{peak} KiB");
}

/// A firewall without a controller.
fn up(lab: &Lab) -> Fwx<'_> {
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.up(&policy::cameras(&INTERFACES, "strict"), Mode::Auto).unwrap();
    fwx
}

/// A viewer is killed, and its next packet dropped. Returns its end of the connection.
fn is_killed(lab: &Lab, fwx: &Fwx<'_>, recorder: &Recorder<'_>) -> String {
    let mut viewer = Viewer::connect(&lab.client, recorder.address()).unwrap();
    let conversation = viewer.converse(100);
    assert_eq!(conversation.end, Some(End::Reset), "{conversation}");
    stray::lone_ack(&lab.client, viewer.local_address(), recorder.address()).unwrap();
    let port = viewer.local_address().port();
    fwx.wait_for_event("the drop that the kill caused", |event| {
        event.is_between_ports(port, RTSP) && event.caused_by.is_some()
    })
    .unwrap();
    viewer.local_address().to_string()
}

/// Asked back, and only then done.
fn is_toggled(fwx: &Fwx<'_>, terminal: &Terminal<'_>) {
    let mode = || fwx.binding("rtsp").unwrap().mode.unwrap();
    let position = fwx.bindings().unwrap().iter().position(|it| it.protocol == "rtsp").unwrap();
    terminal.press(&["Tab", "Tab"]).unwrap();
    terminal.press(&vec!["Down"; position]).unwrap();
    terminal.press(&["m"]).unwrap();
    let command = format!("fwx --instance {} filter mode rtsp monitor", fwx.instance());
    let question = ["rtsp", "goes from enforce to monitor?", "Gives up", &command];
    println!("{}", terminal.wait_for("the question", &question).unwrap());
    terminal.press(&["n"]).unwrap();
    terminal
        .wait_until("no question any more", |screen| {
            ensure!(!screen.contains("Gives up"), "it is there");
            Ok(())
        })
        .unwrap();
    assert_eq!(mode(), "enforce", "no is no");
    terminal.press(&["m"]).unwrap();
    terminal.wait_for("the question again", &question).unwrap();
    terminal.press(&["y"]).unwrap();
    let done = "rtsp: filter rtsp, mode monitor, profile strict";
    terminal.wait_for("what was done", &[done]).unwrap();
    assert_eq!(mode(), "monitor", "`fwx filter list` says so too");
}

fn the_log_is_filtered(terminal: &Terminal<'_>) {
    terminal.press(&["/"]).unwrap();
    terminal.write("reason=nonsense").unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal.wait_for("what is wrong with the line", &["there is no such result code"]).unwrap();
    terminal.press(&["C-u"]).unwrap();
    terminal.write("reason=tcp_not_syn port=554 !event=control").unwrap();
    terminal.press(&["Enter"]).unwrap();
    terminal
        .wait_until("drops and nothing else in the log", |screen| {
            let log = screen.split("[Log]").nth(1).unwrap_or_default();
            let (title, events) = log.split_once('\n').unwrap_or_default();
            ensure!(title.contains("reason=tcp_not_syn port=554"), "its title does not say so");
            ensure!(events.contains(" drop "), "no drop");
            ensure!(!["KILL", "opened", "note"].iter().any(|it| events.contains(it)));
            Ok(())
        })
        .unwrap();
}

/// Without a controller only the log stands still, and it goes on with the next one.
fn the_controller_goes_and_comes(fwx: &mut Fwx<'_>, terminal: &Terminal<'_>) {
    fwx.stop_controller().unwrap();
    terminal.wait_for("that no controller runs", &["no controller:", "ESTABLISHED"]).unwrap();
    fwx.run_again().unwrap();
    terminal
        .wait_until("the controller again", |screen| {
            ensure!(!screen.contains("no controller"), "none");
            ensure!(screen.contains("[Log]─ reason=tcp_not_syn"), "its log is not told");
            Ok(())
        })
        .unwrap();
}
