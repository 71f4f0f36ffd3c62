//! Files that cannot be read, or hold no text.

use std::{fs, path::Path};

use super::*;

fn load(bytes: &[u8]) -> Result<Policy, PolicyError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("policy.toml");
    fs::write(&path, bytes).expect("a temporary file");
    Policy::load(&path)
}

fn only_problem(error: &PolicyError) -> &Problem {
    assert_eq!(error.problems().len(), 1);
    &error.problems()[0]
}

#[test]
fn a_good_file_is_loaded() {
    assert_eq!(load(EXAMPLE.as_bytes()).expect("it is good"), parsed(EXAMPLE));
}

#[test]
fn the_example_to_copy_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cameras.toml");
    let policy = Policy::load(&path).unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!(policy.limits().half_open_per_source, 500);
}

#[test]
fn a_missing_file_is_named() {
    let error = Policy::load(Path::new("/nonexistent/policy.toml")).expect_err("no such file");
    let problem = only_problem(&error);
    assert_eq!((problem.file(), problem.line()), ("/nonexistent/policy.toml", None));
    assert!(matches!(problem.kind(), ProblemKind::Unreadable { .. }));
    for shown in [error.to_string(), error.render(false)] {
        assert!(shown.contains("/nonexistent/policy.toml"), "{shown}");
        assert!(shown.contains("No such file or directory"), "{shown}");
    }
}

#[test]
fn a_directory_is_refused() {
    let error = Policy::load(Path::new("/")).expect_err("a directory");
    assert!(error.to_string().contains("it is a directory"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let error = load(&vec![b'\n'; (4 << 20) + 1]).expect_err("it is too large");
    assert_eq!(only_problem(&error).kind(), &ProblemKind::FileTooLarge { bytes_max: 4 << 20 });
    load(&vec![b'\n'; 4 << 20]).expect_err("it is empty, but not too large");
    let error = load(&vec![b'#'; 50 << 20]).expect_err("it is far too large");
    assert_eq!(only_problem(&error).kind(), &ProblemKind::FileTooLarge { bytes_max: 4 << 20 });
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for (path, reason) in [
        (&*pipe, "it is a pipe: write the policy to a file first"),
        (&*socket, "it is a socket"),
        (Path::new("/dev/zero"), "it is a device"),
        (Path::new("/dev/tty"), "it is a device"),
    ] {
        let error = Policy::load(path).expect_err("it is no file");
        let reason = reason.to_owned();
        assert_eq!(only_problem(&error).kind(), &ProblemKind::Unreadable { reason });
    }
}

#[test]
fn bytes_that_are_not_utf8_are_shown() {
    let error = load(b"[gateway]\n# caf\xe9\n").expect_err("Latin-1");
    let problem = only_problem(&error);
    assert_eq!(problem.kind(), &ProblemKind::NotUtf8 { byte: 0xe9 });
    assert_eq!((problem.line(), problem.column()), (Some(2), Some(6)));
    assert_eq!(problem.help_text(), Some("save the file as UTF-8"));
    assert!(error.render(false).contains("# caf\u{fffd}"));
}

/// A copy that was interrupted ends anywhere.
#[test]
fn a_file_that_is_cut_off_is_a_policy_or_told() {
    let mut refused = 0;
    for (end, _) in EXAMPLE.char_indices() {
        let Err(error) = load(&EXAMPLE.as_bytes()[..end]) else { continue };
        refused += 1;
        let lines = EXAMPLE[..end].matches('\n').count() + 1;
        for problem in error.problems() {
            assert!(problem.line().is_none_or(|line| line <= lines), "{problem}");
        }
    }
    assert!(refused > EXAMPLE.len() / 2, "{refused}");
}

#[test]
fn an_empty_file_is_told_from_a_short_one() {
    for empty in [&b""[..], b" \n\t\n", b"\xef\xbb\xbf\n"] {
        let error = load(empty).expect_err("there is nothing in it");
        assert_eq!(only_problem(&error).kind(), &ProblemKind::Empty);
        assert!(only_problem(&error).help_text().is_some());
    }
    let error = load(b"# nothing but a comment\n").expect_err("there is nothing in it");
    assert_eq!(only_problem(&error).kind(), &ProblemKind::NoInterfaces);
}
