//! What cannot work is refused with its cause, and leaves nothing attached and nothing pinned.

use lab::{Fwx, Lab, Mode, policy, traces};

/// Exit code: it failed.
const FAILED: i32 = 1;
/// Exit code: wrong usage or bad input.
const BAD_INPUT: i32 = 2;

#[test]
fn an_interface_that_does_not_exist() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let policy = policy::cameras(&["lan0", "wan0"], "standard");
    // One that the policy names is awaited.
    fwx.set_further_options(&["--interface", "lan0", "--interface", "nosuch0"]);
    let outcome = fwx.run_expecting_failure(&policy, Mode::Auto).unwrap();
    assert!([Some(FAILED), Some(BAD_INPUT)].contains(&outcome.code), "{outcome:?}");
    assert!(outcome.stderr.contains("nosuch0"), "{outcome:?}");
    check_nothing_is_left(&lab, &fwx);
}

#[test]
fn xdp_on_an_interface_without_ethernet_headers() {
    let lab = Lab::single().unwrap();
    let added = lab.gateway().command("ip").args(["tuntap", "add", "tun0", "mode", "tun"]).status();
    assert!(added.unwrap().success());
    let policy = policy::cameras(&["lan0", "tun0"], "standard");
    for mode in [Mode::Native, Mode::Generic] {
        let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
        let outcome = fwx.run_expecting_failure(&policy, mode).unwrap();
        assert_eq!(outcome.code, Some(BAD_INPUT), "{outcome:?}");
        for words in ["tun0", "Ethernet", "--mode auto"] {
            assert!(outcome.stderr.contains(words), "{outcome:?}");
        }
        check_nothing_is_left(&lab, &fwx);
    }
}

#[test]
fn a_policy_with_an_unknown_filter() {
    let policy = policy::cameras(&["lan0", "wan0"], "standard")
        .replace("filter = \"rtsp\"", "filter = \"rtps\"");
    check_bad_policy(&policy, "rtps");
}

#[test]
fn a_policy_with_an_unknown_key() {
    let policy = policy::cameras(&["lan0", "wan0"], "standard")
        .replace("default = \"deny\"", "defalt = \"deny\"");
    check_bad_policy(&policy, "defalt");
}

#[test]
fn a_policy_with_an_unknown_profile() {
    check_bad_policy(&policy::cameras(&["lan0", "wan0"], "lenient"), "lenient");
}

#[test]
fn another_instance_on_the_same_interface() {
    let lab = Lab::single().unwrap();
    let policy = policy::cameras(&["lan0", "wan0"], "standard");
    let mut first = Fwx::new(lab.gateway(), lab.instance("first")).unwrap();
    first.run(&policy, Mode::Auto).unwrap();
    let attached = || traces::attached_programs(lab.gateway(), "lan0").unwrap();
    let before = attached();

    let mut second = Fwx::new(lab.gateway(), lab.instance("second")).unwrap();
    let outcome = second.run_expecting_failure(&policy, Mode::Auto).unwrap();
    assert_eq!(outcome.code, Some(FAILED), "{outcome:?}");
    assert!(outcome.stderr.contains("lan0"), "{outcome:?}");
    assert_eq!(traces::pins(second.instance()), Vec::<std::path::PathBuf>::new());
    assert_eq!(attached(), before);
    assert!(first.status().unwrap().controller.running);
}

#[test]
fn another_controller_of_the_same_instance() {
    let lab = Lab::single().unwrap();
    let policy = policy::cameras(&["lan0", "wan0"], "standard");
    let mut first = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    first.run(&policy, Mode::Auto).unwrap();
    let before = traces::attached_programs(lab.gateway(), "lan0").unwrap();

    let outcome = first.run_expecting_failure(&policy, Mode::Auto).unwrap();
    assert_eq!(outcome.code, Some(FAILED), "{outcome:?}");
    assert!(first.status().unwrap().controller.running);
    assert_eq!(traces::attached_programs(lab.gateway(), "lan0").unwrap(), before);
}

/// A kernel that refuses BPF looks like this: every system call for it fails. Here because the process lacks
/// the capabilities, which `setpriv` takes away.
#[test]
fn a_kernel_that_refuses_bpf() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let policy = policy::cameras(&["lan0", "wan0"], "standard");
    // So that pins and options are as in a start that succeeds.
    fwx.up(&policy, Mode::Auto).unwrap();
    fwx.down().unwrap();

    let mut command = lab.gateway().command("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(lab::find_binary().unwrap());
    command.args(["--instance", fwx.instance(), "up", "--interface", "lan0"]);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(FAILED), "{stderr}");
    assert!(stderr.contains("CAP_BPF"), "{stderr}");
    assert!(stderr.contains("Operation not permitted"), "{stderr}");
    check_nothing_is_left(&lab, &fwx);
}

#[test]
fn switches_of_what_does_not_exist() {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    fwx.run(&policy::cameras(&["lan0", "wan0"], "standard"), Mode::Auto).unwrap();
    for (arguments, culprit) in [
        (&["filter", "mode", "rtps", "monitor"][..], "rtps"),
        (&["filter", "mode", "rtsp", "watch"], "watch"),
        (&["filter", "bind", "rtsp", "smpt"], "smpt"),
        (&["filter", "unbind", "rtps"], "rtps"),
    ] {
        let outcome = fwx.call(arguments).unwrap();
        assert_eq!(outcome.code, Some(BAD_INPUT), "{outcome:?}");
        assert!(outcome.stderr.contains(culprit), "{outcome:?}");
    }
    let binding = fwx.binding("rtsp").unwrap();
    assert_eq!(
        (binding.filter.as_deref(), binding.mode.as_deref()),
        (Some("rtsp"), Some("enforce"))
    );
}

/// The message points at `culprit`, with the file's name.
fn check_bad_policy(policy: &str, culprit: &str) {
    let lab = Lab::single().unwrap();
    let mut fwx = Fwx::new(lab.gateway(), lab.instance("gw")).unwrap();
    let outcome = fwx.run_expecting_failure(policy, Mode::Auto).unwrap();
    assert_eq!(outcome.code, Some(BAD_INPUT), "{outcome:?}");
    assert!(outcome.stderr.contains(culprit), "{outcome:?}");
    let file = format!("{}.toml", fwx.instance());
    assert!(outcome.stderr.contains(&file), "{outcome:?}");
    check_nothing_is_left(&lab, &fwx);
}

fn check_nothing_is_left(lab: &Lab, fwx: &Fwx<'_>) {
    for interface in ["lan0", "wan0"] {
        let programs = traces::attached_programs(lab.gateway(), interface).unwrap();
        assert!(programs.is_empty(), "{interface}: {programs:?}");
    }
    assert_eq!(traces::pins(fwx.instance()), Vec::<std::path::PathBuf>::new());
}
