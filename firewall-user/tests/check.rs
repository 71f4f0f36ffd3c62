//! `fwx check` as an administrator calls it: what it prints where, and its exit codes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const GOOD: i32 = 0;
const WARNED: i32 = 1;
const BAD: i32 = 2;

const POLICY: &str = "[gateway]\ninterfaces = ['lan0', 'wan0']\n\
                      [network.inside]\nprefixes = ['10.1.0.0/24']\n\
                      [protocol.web]\ntransport = 'tcp'\nports = [80]\n\
                      [[rule]]\nname = 'pages'\naction = 'allow'\nfrom = ['inside']\nprotocols = ['web']\n";
const HARDLY_MEANT: &str =
    "[[rule]]\nname = 'again'\naction = 'deny'\nfrom = ['inside']\nprotocols = ['web']\n";

fn check(path: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
    command.arg("check").arg(path).args(arguments).output().expect("it runs")
}

/// Exit code, standard output and standard error of a check of `text`.
fn check_text(text: impl AsRef<[u8]>, arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("policy.toml");
    fs::write(&path, text).expect("a temporary file");
    told(&check(&path, arguments))
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_good_policy_is_good() {
    let (code, stdout, stderr) = check_text(POLICY, &["--strict"]);
    assert_eq!((code, stderr.as_str()), (GOOD, ""));
    assert!(stdout.ends_with("policy.toml: good\n"), "{stdout}");
    let (code, stdout, _) = check_text(POLICY, &["-o", "json"]);
    let summary = json(&stdout);
    assert_eq!(code, GOOD);
    assert_eq!(summary["rules"][0]["name"], "pages");
    assert_eq!(summary["warnings"], Value::Array(Vec::new()));
}

#[test]
fn warnings_are_told_and_are_a_failure_if_wanted() {
    let text = format!("{POLICY}{HARDLY_MEANT}");
    for (arguments, expected) in [(&[][..], GOOD), (&["--strict"], WARNED)] {
        let (code, stdout, stderr) = check_text(&text, arguments);
        assert_eq!(code, expected);
        assert!(stdout.ends_with("policy.toml: good, with 1 warning\n"), "{stdout}");
        for shown in ["⚠ rule `again` can never match", "policy.toml:13:1", "help: put it before"]
        {
            assert!(stderr.contains(shown), "{shown}: {stderr}");
        }
    }
    let (code, stdout, stderr) = check_text(&text, &["--strict", "-o", "json"]);
    assert_eq!((code, stderr.as_str()), (WARNED, ""));
    let warning = &json(&stdout)["warnings"][0];
    assert_eq!(
        (&warning["code"], &warning["line"], &warning["column"]),
        (&"contradicted-rule".into(), &13.into(), &1.into())
    );
    assert!(warning["help"].is_string() && warning["text"] == "[[rule]]", "{warning}");
}

#[test]
fn what_is_bad_is_told_with_its_place() {
    let text = POLICY.replace("'allow'", "'alow'");
    let (code, stdout, stderr) = check_text(&text, &[]);
    assert_eq!((code, stdout.as_str()), (BAD, ""));
    assert!(stderr.contains("policy.toml:10:10") && stderr.contains("`alow` is no action"));
    let (code, stdout, _) = check_text(&text, &["-o", "json"]);
    assert_eq!((code, &json(&stdout)[0]["line"]), (BAD, &10.into()));
}

#[test]
fn what_is_no_policy_is_refused() {
    for (bytes, reason) in [
        (Vec::new(), "the policy is empty"),
        (POLICY.as_bytes()[..38].to_vec(), "not TOML"),
        (b"[gateway]\ninterfaces = ['caf\xe9']\n".to_vec(), "not UTF-8"),
        (vec![b'#'; 50 << 20], "larger than 4194304 bytes"),
        ((0..=255).cycle().take(10_000).collect(), "not UTF-8"),
        (b"][}{=,\"'".repeat(1000), "not TOML"),
        (b"[".repeat(100_000), "not TOML"),
    ] {
        for arguments in [&[][..], &["-o", "json"]] {
            let (code, stdout, stderr) = check_text(&bytes, arguments);
            assert_eq!(code, BAD, "{reason}: {stderr}");
            let told = if arguments.is_empty() { stderr } else { stdout };
            assert!(told.contains(reason), "{reason}: {told}");
            assert!(told.len() < 200_000, "{reason}: it says {} bytes", told.len());
        }
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name| directory.path().join(name);
    nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    symlink("itself", path("itself")).expect("a link");
    for (path, reason) in [
        (directory.path().to_owned(), "it is a directory"),
        (path("pipe"), "it is a pipe"),
        (path("itself"), "Too many levels of symbolic links"),
        (path("missing"), "No such file or directory"),
        ("/dev/zero".into(), "it is a device"),
    ] {
        let (code, _, stderr) = told(&check(&path, &[]));
        assert_eq!(code, BAD);
        assert!(
            stderr.contains(reason) && stderr.contains(path.to_str().expect("UTF-8")),
            "{stderr}"
        );
    }
}

#[test]
fn a_problem_of_an_included_file_is_shown_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name| directory.path().join(name);
    fs::write(path("policy.toml"), format!("include = ['more.toml']\n{POLICY}")).expect("a file");
    fs::write(path("more.toml"), "# more\n[[rule]]\nname = 'pages'\naction = 'deny'\n")
        .expect("it");
    let (code, _, stderr) = told(&check(&path("policy.toml"), &[]));
    assert_eq!(code, BAD);
    for shown in ["two rules are named `pages`", "more.toml:3:8", "policy.toml:10:8"] {
        assert!(stderr.contains(shown), "{shown}: {stderr}");
    }
    // By a name relative to the working directory, too.
    fs::write(path("more.toml"), HARDLY_MEANT).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
    command.args(["check", "policy.toml", "-o", "json"]).current_dir(directory.path());
    let (code, stdout, _) = told(&command.output().expect("it runs"));
    let warning = &json(&stdout)["warnings"][0];
    assert_eq!((code, &warning["file"]), (GOOD, &"more.toml".into()));
}

#[test]
fn a_decision_is_explained() {
    let (code, stdout, stderr) =
        check_text(POLICY, &["--explain", "tcp 10.1.0.2:4000 -> 10.2.0.2:80"]);
    assert_eq!((code, stderr.as_str()), (GOOD, ""));
    assert!(stdout.contains("-> 10.2.0.2:80: allow, by rule `pages`"), "{stdout}");
    let arguments = ["-o", "json", "--explain", "tcp 10.1.0.2:4000 -> 10.2.0.2:81"];
    let (_, stdout, _) = check_text(POLICY, &arguments);
    let explanation = json(&stdout);
    assert_eq!(explanation["decision"], "deny");
    assert_eq!(explanation["passed_over"][0]["because"][0]["key"], "protocols");
    let (code, _, stderr) = check_text(POLICY, &["--explain", "tcp 10.1.0.2 -> 10.2.0.2"]);
    assert_eq!(code, BAD);
    assert!(stderr.contains("the destination lacks its port"), "{stderr}");
}

#[test]
fn the_schema_is_printed_without_a_file() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
    let (code, stdout, _) = told(&command.args(["check", "--schema"]).output().expect("it runs"));
    assert_eq!(code, GOOD);
    assert_eq!(json(&stdout)["properties"]["rule"]["type"], "array");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
    let (code, _, stderr) = told(&command.arg("check").output().expect("it runs"));
    assert_eq!(code, BAD);
    assert!(stderr.contains("<FILE>"), "{stderr}");
}

#[test]
fn the_documentation_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/policy.md")).expect("it is there");
    let shown = page.split("    $ fwx check ").nth(1).expect("an example");
    let mut lines = shown.lines();
    let arguments = lines.next().expect("its arguments");
    let (file, flow) = arguments.split_once(" --explain ").expect("a flow");
    let expected: String =
        lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
    command.args(["check", file, "--explain", flow.trim_matches('\'')]).current_dir(root);
    let (code, stdout, stderr) = told(&command.output().expect("it runs"));
    assert_eq!((code, stdout), (GOOD, expected), "{stderr}");
}

/// The examples are good, and nothing in them is hardly meant.
#[test]
fn the_examples_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for example in ["cameras", "office", "branch", "dmz"] {
        let file = format!("examples/{example}.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
        command.args(["check", "--strict", &file]).current_dir(&root);
        let expected = (GOOD, format!("{file}: good\n"), String::new());
        assert_eq!(told(&command.output().expect("it runs")), expected);
    }
}

/// Each `fwx check --explain` of docs/gateways.md comes to what stands behind it.
#[test]
fn the_gateways_decide_as_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/gateways.md")).expect("it is there");
    let mut count = 0;
    for shown in page.split("fwx check ").filter(|it| it.contains("--explain '")) {
        let Some((file, rest)) = shown.split_once(" --explain '") else { continue };
        if !file.starts_with("examples/") || file.contains('\n') {
            continue;
        }
        let (flow, rest) = rest.split_once('\'').expect("the flow ends");
        let expected = rest.lines().next().and_then(|line| line.trim().strip_prefix("# "));
        let expected =
            expected.unwrap_or_else(|| panic!("{flow}: say what comes of it behind a #"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwx"));
        command.args(["check", file, "--explain", flow]).current_dir(&root);
        let (code, stdout, stderr) = told(&command.output().expect("it runs"));
        let first = stdout.lines().next().unwrap_or_default();
        let decision = first.split_once(": ").map(|(_, decision)| decision).unwrap_or_default();
        assert_eq!(code, GOOD, "{stderr}");
        assert!(decision.starts_with(expected), "{flow}: {decision}, not {expected}");
        count += 1;
    }
    assert!(count >= 6, "{count}");
}
