//! Policies of several files.

use std::{fs, path::PathBuf};

use super::*;

const MAIN: &str = "include = ['cameras.toml', 'rules.d/*.toml']\n\n\
                    [gateway]\ninterfaces = ['lan0']\n\n\
                    [[rule]]\nname = 'first'\naction = 'deny'\nfrom = ['inside']\n";
const CAMERAS: &str = "[network.inside]\nprefixes = ['10.1.0.0/24']\n";

/// A directory with these files, the first of which is the policy.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, text).expect("a temporary file");
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Policy, PolicyError> {
        Policy::load(&self.path("policy.toml"))
    }

    /// All that is wrong: file (below the directory), line, column and message.
    fn told(&self) -> Vec<(String, usize, usize, String)> {
        let error = self.load().expect_err("the policy is bad");
        let told = error.entries().into_iter().map(|entry| {
            let (line, column) = (entry.line.expect("a line"), entry.column.expect("a column"));
            (self.short(&entry.file), line, column, self.short(&entry.message))
        });
        told.collect()
    }

    /// Text without the name of the directory.
    fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn rule(name: &str) -> String {
    format!("[[rule]]\nname = '{name}'\naction = 'allow'\n")
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.rules().iter().map(|rule| rule.name.as_str()).collect()
}

#[test]
fn rules_follow_in_the_order_of_the_list_and_of_names() {
    let files = Files::new(&[
        ("policy.toml", MAIN),
        ("cameras.toml", &format!("include = ['more/*.toml']\n{CAMERAS}{}", rule("cameras"))),
        ("more/site.toml", &rule("site")),
        ("rules.d/20-b.toml", &rule("b")),
        ("rules.d/10-a.toml", &rule("a")),
        ("rules.d/.10-a.toml.swp.toml", "left by an editor"),
        ("rules.d/readme", "not asked for"),
    ]);
    let policy = files.load().unwrap_or_else(|error| panic!("{}", error.render(false)));
    assert_eq!(names(&policy), ["first", "cameras", "site", "a", "b"]);
    assert_eq!(policy.networks()[policy.rules()[0].from[0]].name, "inside");
}

#[test]
fn a_pattern_may_find_nothing_and_a_name_must_find_its_file() {
    let files = Files::new(&[("policy.toml", MAIN), ("cameras.toml", CAMERAS)]);
    assert_eq!(names(&files.load().expect("it is good")), ["first"]);
    let files = Files::new(&[("policy.toml", MAIN)]);
    let message = "cannot include `cameras.toml`: No such file or directory (os error 2)";
    assert_eq!(files.told(), [("policy.toml".to_owned(), 1, 12, message.to_owned())]);
}

#[test]
fn a_problem_names_its_own_file() {
    let files = Files::new(&[
        ("policy.toml", MAIN),
        ("cameras.toml", &format!("colour = 'red'\n{CAMERAS}")),
        ("rules.d/a.toml", "# a comment\n[[rule]]\nname = 'é'\naction = 'alow'"),
        ("rules.d/b.toml", "interfaces = ['wan0']\nrule = []"),
    ]);
    let expected = [
        ("cameras.toml", 1, 1, "unknown key `colour` in the policy"),
        ("rules.d/a.toml", 4, 10, "`alow` is no action"),
        ("rules.d/b.toml", 1, 1, "unknown key `interfaces` in the policy"),
    ];
    let expected =
        expected.map(|(file, line, column, told)| (file.to_owned(), line, column, told.to_owned()));
    assert_eq!(files.told(), expected);
}

#[test]
fn two_places_of_a_problem_may_be_in_two_files() {
    let files = Files::new(&[
        ("policy.toml", MAIN),
        ("cameras.toml", CAMERAS),
        ("rules.d/a.toml", "[gateway]\ndefault = 'allow'\n"),
        ("rules.d/b.toml", "\n\n\n[network.inside]\nprefixes = []\n"),
        ("rules.d/c.toml", &rule("first")),
    ]);
    let told = files.told();
    let expected = [
        ("rules.d/a.toml", 1, 1, "[gateway] is given twice"),
        ("rules.d/b.toml", 4, 10, "[network.inside] is given twice"),
        ("rules.d/c.toml", 2, 8, "two rules are named `first`"),
    ];
    let expected =
        expected.map(|(file, line, column, told)| (file.to_owned(), line, column, told.to_owned()));
    assert_eq!(told, expected);
    let shown = files.short(&files.load().expect_err("it is bad").render(false));
    for place in ["cameras.toml:1:", "rules.d/b.toml:4:", "policy.toml:7:", "rules.d/c.toml:2:"] {
        assert!(shown.contains(place), "{place}: {shown}");
    }
    for label in ["first given here", "first used here"] {
        assert!(shown.contains(label), "{label}: {shown}");
    }
}

#[test]
fn what_is_no_toml_is_told_of_each_file() {
    let files = Files::new(&[
        ("policy.toml", MAIN),
        ("cameras.toml", "[network.inside"),
        ("rules.d/a.toml", "\n= 1"),
    ]);
    let told: Vec<_> = files.told().into_iter().map(|(file, line, ..)| (file, line)).collect();
    assert_eq!(told, [("cameras.toml".to_owned(), 1), ("rules.d/a.toml".to_owned(), 2)]);
}

#[test]
fn a_file_is_included_once() {
    let again = |place| format!("it was included before, at {place}");
    let itself = "it is the file that includes it, or includes that".to_owned();
    for (main, other, at, file, reason) in [
        ("include = ['policy.toml']\n", "", ("policy.toml", 12), "policy.toml", itself.clone()),
        ("include = ['*.toml']\n", "", ("policy.toml", 12), "policy.toml", itself.clone()),
        (
            "include = ['other.toml']\n",
            "include = ['./policy.toml']",
            ("other.toml", 12),
            "./policy.toml",
            itself,
        ),
        (
            "include = ['other.toml', './other.toml']\n",
            "",
            ("policy.toml", 26),
            "./other.toml",
            again("policy.toml:1:12"),
        ),
        (
            "include = ['other.toml', 'o*.toml']\n",
            "",
            ("policy.toml", 26),
            "other.toml",
            again("policy.toml:1:12"),
        ),
    ] {
        let main = format!("{main}[gateway]\ninterfaces = ['lan0']\n");
        let files = Files::new(&[("policy.toml", &main), ("other.toml", other)]);
        let message = format!("cannot include `{file}`: {reason}");
        assert_eq!(files.told(), [(at.0.to_owned(), 1, at.1, message)], "{main}");
    }
}

#[test]
fn a_chain_of_symbolic_links_is_no_way_around() {
    let files = Files::new(&[("policy.toml", "include = ['link.toml']\n")]);
    std::os::unix::fs::symlink("policy.toml", files.path("link.toml")).expect("a link");
    assert!(files.told()[0].3.contains("it is the file that includes it"));
}

#[test]
fn what_cannot_be_included_is_told() {
    for (entry, reason) in [
        ("rules.d", "it is a directory"),
        ("pipe", "it is a pipe: write the policy to a file first"),
        ("/dev/zero", "it is a device"),
        ("**/x.toml", "`**` is not supported: name each directory"),
        ("[.toml", "invalid range pattern"),
        ("large.toml", "with it the policy is larger than 4194304 bytes"),
        ("", "it is a directory"),
    ] {
        let main = format!("include = ['{entry}']\n[gateway]\ninterfaces = ['lan0']\n");
        let large = "#".repeat((4 << 20) - main.len() + 1);
        let files =
            Files::new(&[("policy.toml", &main), ("rules.d/x", ""), ("large.toml", &large)]);
        nix::unistd::mkfifo(&files.path("pipe"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        let shown = if entry.is_empty() { "." } else { entry };
        let told = files.told();
        assert_eq!(told.len(), 1, "{shown}: {told:?}");
        assert_eq!((told[0].1, told[0].2), (1, 12), "{shown}");
        assert!(told[0].3.ends_with(reason), "{shown}: {}", told[0].3);
    }
}

#[test]
fn the_list_is_a_list_at_the_top() {
    for (text, line, message) in [
        ("include = 'cameras.toml'\n", 1, "`include` must be a list of strings, not a string"),
        ("include = [1]\n", 1, "an item of `include` must be a string, not an integer"),
        ("[gateway]\ninclude = ['a']\n", 2, "unknown key `include` in [gateway]"),
    ] {
        let separator = if text.starts_with("[gateway]") { "" } else { "[gateway]\n" };
        let files =
            Files::new(&[("policy.toml", &format!("{text}{separator}interfaces = ['lan0']\n"))]);
        let told = files.told();
        assert_eq!((told[0].1, told[0].3.as_str()), (line, message));
    }
    let error = Policy::parse("p", "[gateway]\ninterfaces = ['lan0']\ninclude = ['a']");
    let error = error.expect_err("it is in the wrong place");
    assert_eq!(
        error.problems()[0].help_text(),
        Some("`include` stands at the top of the file, above its first table")
    );
}

#[test]
fn bytes_that_are_not_utf8_are_shown_in_the_file_that_is_included() {
    let files = Files::new(&[("policy.toml", MAIN)]);
    fs::write(files.path("cameras.toml"), b"# caf\xe9\n").expect("a file");
    let told = files.told();
    let message = "the file is not UTF-8: byte 0xe9 is out of place".to_owned();
    assert_eq!(told, [("cameras.toml".to_owned(), 1, 6, message)]);
}

#[test]
fn a_policy_has_256_files_at_most() {
    let chain = |count: usize| {
        let files = Files::new(&[("policy.toml", "include = ['d/*']\n")]);
        fs::create_dir(files.path("d")).expect("a directory");
        for n in 1..count {
            fs::write(files.path("d").join(format!("{n:03}")), rule(&n.to_string())).expect("it");
        }
        Sources::load(&files.path("policy.toml")).map(|sources| sources.files().len())
    };
    assert_eq!(chain(256).expect("it is the most"), 256);
    let error = chain(257).expect_err("it is one too many");
    assert!(error.to_string().ends_with("a policy is made of 256 files at most"), "{error}");
}

/// What was read once is enough to make the policy again, whatever became of the files.
#[test]
fn a_policy_is_made_of_its_files_without_the_disk() {
    let files = Files::new(&[
        ("policy.toml", MAIN),
        ("cameras.toml", CAMERAS),
        ("rules.d/a.toml", &rule("a")),
    ]);
    let policy = files.load().expect("it is good");
    let sources = Sources::load(&files.path("policy.toml")).expect("they are there");
    drop(files);
    let mut kept = sources.files().to_vec();
    let again = Sources::new(kept.remove(0), kept.clone());
    assert_eq!(again, sources);
    assert_eq!(again.parse().expect("it is good"), policy);
    let without = Sources::new(sources.files()[0].clone(), kept.split_off(1));
    let error = without.parse().expect_err("a file is gone");
    assert!(error.to_string().contains("`cameras.toml`: it is not among the files"), "{error}");
}

#[test]
fn a_relative_path_is_relative_to_the_file() {
    let files = Files::new(&[
        ("policy.toml", "include = ['a/b.toml']\n[gateway]\ninterfaces = ['lan0']\n"),
        ("a/b.toml", "include = ['c.toml', '../d.toml']\n"),
        ("a/c.toml", &rule("c")),
        ("d.toml", &rule("d")),
    ]);
    assert_eq!(names(&files.load().expect("it is good")), ["c", "d"]);
}
