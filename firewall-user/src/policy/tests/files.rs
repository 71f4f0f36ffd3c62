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
    assert!(error.to_string().contains("Is a directory"), "{error}");
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let error = load(&vec![b'\n'; (4 << 20) + 1]).expect_err("it is too large");
    assert_eq!(only_problem(&error).kind(), &ProblemKind::FileTooLarge { bytes_max: 4 << 20 });
    let error = Policy::load(Path::new("/dev/zero")).expect_err("it has no end");
    assert_eq!(only_problem(&error).kind(), &ProblemKind::FileTooLarge { bytes_max: 4 << 20 });
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
