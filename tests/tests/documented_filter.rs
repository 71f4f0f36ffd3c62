//! ARCHITECTURE.md's section "Write a filter", done to the letter in a copy of the repository: its files written, its
//! lines put in, its commands run, and what they print compared with what the page says.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use lab::{Packet, pcap_bytes, replaying::Family};

const SECTION: &str = "\n## Write a filter\n";
const PORT: u16 = 7007;
/// When the capture begins: 2026-11-22, nanoseconds since 1970.
const BEGIN: u64 = 1_795_305_600_000_000_000;
const MILLISECOND: u64 = 1_000_000;

#[test]
fn the_filter_of_the_page_is_written_built_and_at_work() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the page is there");
    let blocks = blocks(&text);

    let copy = Copy::of(root);
    fs::write(copy.root().join("ping.pcap"), capture()).expect("the capture is written");
    let (mut commands, mut printed) = (None, None);
    for Block { language, caption, content } in &blocks {
        match (*language, Place::parse(caption)) {
            ("sh", _) => commands = Some(*content),
            ("text", _) => printed = Some(*content),
            (_, Some(place)) => copy.apply(&place, content),
            (_, None) => panic!("the page does not say where this is to go:\n{content}"),
        }
    }
    for workspace in ["Cargo.toml", "firewall-ebpf/Cargo.toml"] {
        // Where there is no rustfmt, nothing is checked with it.
        let format = format!("cargo fmt --all --manifest-path {workspace}");
        copy.run(&format!("! {format} --version || {format} --check"));
    }
    let commands = commands.expect("the page has commands").lines();
    let said: String = commands.map(|command| copy.run(command)).collect();
    let printed = printed.expect("the page has what they print");
    // Behind what cargo prints, which differs from run to run.
    assert!(said.ends_with(printed), "this is printed, and not what the page says:\n{said}");
}

/// A client that says what the page says it does.
fn capture() -> Vec<u8> {
    let family = Family::V4;
    let (client, server) = (family.client_at(40_000), family.camera_at(PORT));
    let mut next = 1001;
    let mut frames = vec![
        Packet::tcp(client, server).seq(next - 1),
        Packet::tcp(server, client).flags("SA").seq(5000).ack(next),
        Packet::tcp(client, server).flags("A").seq(next).ack(5001),
    ];
    for line in ["PING 1\n".to_owned(), "PUNG 2\n".to_owned(), format!("PING {:076}\n", 3)] {
        frames.push(Packet::tcp(client, server).flags("PA").seq(next).ack(5001).payload(&line));
        next += line.len() as u32;
    }
    let times = (0..).map(|number| BEGIN + number * MILLISECOND);
    let frames: Vec<_> = times.zip(frames.iter().map(Packet::build)).collect();
    pcap_bytes(&frames)
}

/// A fenced block of the page.
struct Block<'a> {
    language: &'a str,
    /// The paragraph before it.
    caption: &'a str,
    content: &'a str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let (_, section) = page.split_once(SECTION).expect("the page has the section");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let mut pieces = section.split("\n```");
    let mut before = pieces.next().unwrap_or_default();
    let mut blocks = Vec::new();
    while let (Some(block), Some(behind)) = (pieces.next(), pieces.next()) {
        let (language, content) = block.split_once('\n').unwrap_or((block, ""));
        // Without the line end in front of the fence, which belongs to the content.
        let content =
            &section[offset(section, content)..offset(section, content) + content.len() + 1];
        let caption = before.trim().rsplit("\n\n").next().unwrap_or_default();
        blocks.push(Block { language, caption, content });
        before = behind;
    }
    blocks
}

fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Where a block is to go.
#[derive(Debug, PartialEq)]
enum Place<'a> {
    NewFile { path: &'a str },
    Behind { path: &'a str, line: &'a str },
    InsteadOf { path: &'a str, line: &'a str },
}

impl<'a> Place<'a> {
    /// Of a paragraph that ends in "`PATH`, a new file:", "`PATH`, behind `LINE`:" or "`PATH`, instead of `LINE`:".
    fn parse(caption: &'a str) -> Option<Self> {
        let parts: Vec<&str> = caption.strip_suffix(':')?.split('`').collect();
        let same = |text: &str, words: &str| text.split_whitespace().eq(words.split_whitespace());
        match parts[..] {
            [.., path, how] if same(how, ", a new file") => Some(Self::NewFile { path }),
            [.., path, how, line, ""] if same(how, ", behind") => Some(Self::Behind { path, line }),
            [.., path, how, line, ""] if same(how, ", instead of") => {
                Some(Self::InsteadOf { path, line })
            }
            _ => None,
        }
    }
}

/// A copy of the workspace in which things may be changed and built.
struct Copy {
    directory: tempfile::TempDir,
}

impl Copy {
    /// Copies the sources, and what was built of other people's: only the workspace's own crates are compiled again.
    fn of(root: &Path) -> Self {
        let target = target_directory();
        let directory = tempfile::tempdir_in(&target).expect("a directory beside what was built");
        let copy = Self { directory };
        fs::create_dir(copy.root()).expect("the directory is new");
        for entry in fs::read_dir(root).expect("the workspace can be read") {
            let entry = entry.expect("the workspace can be read");
            // Nothing here is fuzzed, and what lies in its directory may be large.
            if !["target", ".git", "fuzz"].iter().any(|name| entry.file_name() == *name) {
                // With its times, by which cargo sees what has changed.
                shell(Command::new("cp").arg("-a").arg(entry.path()).arg(copy.root()));
            }
        }
        let built = copy.directory.path().join("target");
        adopt(&target.join("debug"), &built.join("debug"));
        let bpf = "bpf-build/bpfel-unknown-none/release";
        adopt(&target.join(bpf), &built.join(bpf));
        adopt(&target.join("bpf-build/release"), &built.join("bpf-build/release"));
        copy
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("fwx")
    }

    fn apply(&self, place: &Place, content: &str) {
        let (Place::NewFile { path } | Place::Behind { path, .. } | Place::InsteadOf { path, .. }) =
            place;
        let path = self.root().join(path);
        let new = match place {
            Place::NewFile { .. } => {
                assert!(!path.exists(), "{} is there already", path.display());
                content.to_owned()
            }
            Place::Behind { line, .. } => replaced(&path, line, &format!("{line}\n{content}")),
            Place::InsteadOf { line, .. } => replaced(&path, line, content),
        };
        fs::write(&path, new).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Runs a command as one would in the copy, and returns what it prints.
    fn run(&self, command: &str) -> String {
        let target = self.directory.path().join("target");
        let path = env::var("PATH").unwrap_or_default();
        let mut run = Command::new("sh");
        run.args(["-c", command])
            .current_dir(self.root())
            .env("PATH", format!("{}:{path}", target.join("debug").display()))
            .env("CARGO_TARGET_DIR", &target)
            // All that it needs was fetched for the workspace itself.
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("LD_LIBRARY_PATH");
        shell(&mut run)
    }
}

/// The file with `new` in the place of its only line `line`.
fn replaced(path: &Path, line: &str, new: &str) -> String {
    let old = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let line = format!("\n{line}\n");
    assert_eq!(old.matches(&line).count(), 1, "{} has this once: {line}", path.display());
    old.replace(&line, &format!("\n{new}"))
}

/// Where cargo put this program.
fn target_directory() -> PathBuf {
    // target/debug/deps/documented_filter-0123456789abcdef
    let program = env::current_exe().expect("a program knows where it is");
    program.ancestors().nth(3).expect("it lies in target/debug/deps").to_owned()
}

/// Gives a build directory what another has of crates that are not the workspace's own.
fn adopt(from: &Path, to: &Path) {
    for part in [".fingerprint", "build", "deps"] {
        let Ok(entries) = fs::read_dir(from.join(part)) else { continue };
        fs::create_dir_all(to.join(part)).expect("the copy can be written to");
        let foreign = entries.flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = name.strip_prefix("lib").unwrap_or(&name);
            !["firewall", "fwx", "xtask"].iter().any(|own| name.starts_with(own))
        });
        // Cargo writes none of it anew, so links will do, of which there may be thousands.
        let list: Vec<_> = foreign.collect();
        for some in list.chunks(500) {
            shell(Command::new("cp").arg("-al").args(some).arg(to.join(part)));
        }
    }
}

/// Runs a command to its end and returns what it prints.
fn shell(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{said}", output.status);
    printed
}

#[test]
fn captions_say_where_a_block_goes() {
    for (caption, place) in [
        ("Text. `a/b.rs`, a new file:", Some(Place::NewFile { path: "a/b.rs" })),
        ("`x` is `y`. `b.rs`, behind\n`  c;`:", Some(Place::Behind { path: "b.rs", line: "  c;" })),
        ("`b.rs`, instead of `c`:", Some(Place::InsteadOf { path: "b.rs", line: "c" })),
        ("It prints:", None),
    ] {
        assert_eq!(Place::parse(caption), place, "{caption}");
    }
}
