//! Which compiler builds the kernel programs. The one that builds everything else will not do:
//! `core` has to be compiled for the BPF target, from its source, with unstable options.
//!
//! Two will do: a rustup nightly that has the rust-src component, and the packages of Debian 12.

use std::{
    env,
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{debian, debian::OsRelease, linker, process, version::Version};

/// A compiler that can build the kernel programs.
pub(crate) struct Toolchain {
    /// For people: version and origin.
    pub(crate) name: String,
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// Major version of the LLVM inside. The linker must not have an older one.
    pub(crate) llvm: u32,
}

/// What the machine has, as far as it decides.
pub(crate) struct Facts {
    pub(crate) os: OsRelease,
    pub(crate) nightly: Option<Nightly>,
    /// A bpf-linker that the user installed.
    pub(crate) linker_on_path: Option<PathBuf>,
    /// Whether we have built a linker for the nightly's LLVM, or could without installing anything.
    pub(crate) linker_for_nightly: bool,
}

/// The rustup toolchain of that name.
pub(crate) struct Nightly {
    pub(crate) sysroot: PathBuf,
    pub(crate) rust_src: bool,
    pub(crate) llvm: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The nightly in this sysroot.
    Nightly { sysroot: PathBuf, llvm: u32, linker: LinkerSource },
    /// Debian's packages, installed or to be installed, with a bpf-linker of our own.
    Debian,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkerSource {
    OnPath(PathBuf),
    /// Built by us, once for each user and LLVM.
    Own,
}

/// Picks the nightly where it is complete, then Debian's packages.
///
/// # Errors
/// When neither is possible; the message says what to install.
pub(crate) fn choose(facts: Facts) -> Result<Choice> {
    let debian = facts.os.is_debian_12();
    let lacking = match facts.nightly {
        None => "there is no rustup toolchain named `nightly`".to_owned(),
        Some(Nightly { rust_src: false, .. }) => {
            "the nightly lacks the component rust-src".to_owned()
        }
        Some(Nightly { sysroot, llvm, .. }) => {
            let debian_has_llvm = debian && llvm == debian::LLVM;
            if let Some(path) = facts.linker_on_path {
                return Ok(Choice::Nightly { sysroot, llvm, linker: LinkerSource::OnPath(path) });
            }
            if facts.linker_for_nightly || debian_has_llvm {
                return Ok(Choice::Nightly { sysroot, llvm, linker: LinkerSource::Own });
            }
            format!(
                "there is no bpf-linker on PATH, and no LLVM {llvm} to build one with (headers and \
                 library, often called llvm-{llvm}-dev or llvm{llvm}-devel)"
            )
        }
    };
    if debian {
        return Ok(Choice::Debian);
    }
    bail!(
        "no compiler for the kernel programs on {os}. Two will do:\n  \
         * a rustup nightly with rust-src and a bpf-linker; but {lacking}. To install:\n      \
             rustup toolchain install nightly --component rust-src\n      \
             and LLVM's development package in the version that `rustc +nightly -vV` names (a \
         bpf-linker is then built by `cargo xtask setup`), or a bpf-linker {version} of your own\n  \
         * the packages of Debian 12, which are installed by `cargo xtask setup` on that system",
        os = facts.os.pretty_name,
        version = linker::VERSION,
    )
}

impl Facts {
    pub(crate) fn gather() -> Result<Self> {
        let nightly = Nightly::find()?;
        Ok(Self {
            os: OsRelease::read(),
            linker_on_path: process::find_on_path("bpf-linker"),
            linker_for_nightly: match &nightly {
                Some(nightly) => linker::is_obtainable(nightly.llvm)?,
                None => false,
            },
            nightly,
        })
    }
}

impl Nightly {
    /// Looks into rustup's directory instead of asking rustup, which may take the question as a
    /// wish to install.
    fn find() -> Result<Option<Self>> {
        let rustup_home = env::var_os("RUSTUP_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")));
        let toolchains = rustup_home.and_then(|home| fs::read_dir(home.join("toolchains")).ok());
        let sysroot =
            toolchains.into_iter().flatten().flatten().find_map(|entry| {
                is_plain_nightly(entry.file_name().to_str()?).then(|| entry.path())
            });
        let Some(sysroot) = sysroot else { return Ok(None) };
        // An installation that broke off half-way is none.
        let rustc = sysroot.join("bin/rustc");
        if !rustc.exists() || !sysroot.join("bin/cargo").exists() {
            return Ok(None);
        }
        let rust_src = has_source_of_core(&sysroot);
        Ok(Some(Self { llvm: Compiler::ask(&rustc)?.llvm, rust_src, sysroot }))
    }
}

impl Toolchain {
    pub(crate) fn nightly(sysroot: &Path) -> Result<Self> {
        Self::in_bin(&sysroot.join("bin"), "rustup's nightly")
    }

    pub(crate) fn debian() -> Result<Self> {
        if !has_source_of_core(Path::new("/usr")) {
            bail!("the package rust-web-src is installed, but /usr/lib/rustlib/src is incomplete");
        }
        Self::in_bin(Path::new("/usr/bin"), "Debian's rustc-web")
    }

    fn in_bin(bin: &Path, origin: &str) -> Result<Self> {
        let rustc = bin.join("rustc");
        let Compiler { release, llvm } = Compiler::ask(&rustc)?;
        Ok(Self {
            name: format!("rustc {release}, {origin}"),
            cargo: bin.join("cargo"),
            rustc,
            llvm,
        })
    }
}

/// `nightly` or `nightly-x86_64-…`, not `nightly-2026-01-31-x86_64-…`.
fn is_plain_nightly(name: &str) -> bool {
    name == "nightly"
        || name
            .strip_prefix("nightly-")
            .is_some_and(|rest| rest.strip_prefix(ARCH).is_some_and(|rest| rest.starts_with('-')))
}

fn has_source_of_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists()
}

/// What a compiler says about itself.
struct Compiler {
    release: String,
    llvm: u32,
}

impl Compiler {
    fn ask(rustc: &Path) -> Result<Self> {
        let text = process::output(process::isolated(rustc).arg("-vV"))?;
        Self::parse(&text)
            .with_context(|| format!("`{} -vV` names no release and LLVM version", rustc.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            release: field("release: ")?.to_owned(),
            llvm: Version::parse(field("LLVM version: ")?)?.major,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n";
    const FEDORA: &str = "ID=fedora\nVERSION_ID=44\nPRETTY_NAME=\"Fedora Linux 44\"\n";

    fn facts(os: &str, nightly: Option<(u32, bool)>) -> Facts {
        Facts {
            os: OsRelease::parse(os),
            nightly: nightly.map(|(llvm, rust_src)| Nightly {
                sysroot: PathBuf::from("/n"),
                rust_src,
                llvm,
            }),
            linker_on_path: None,
            linker_for_nightly: false,
        }
    }

    fn nightly(llvm: u32, linker: LinkerSource) -> Choice {
        Choice::Nightly { sysroot: PathBuf::from("/n"), llvm, linker }
    }

    #[test]
    fn debian_12_needs_no_nightly() {
        assert_eq!(choose(facts(DEBIAN, None)).unwrap(), Choice::Debian);
    }

    #[test]
    fn a_nightly_without_source_or_linker_is_passed_over_on_debian_12() {
        assert_eq!(choose(facts(DEBIAN, Some((22, false)))).unwrap(), Choice::Debian);
        assert_eq!(choose(facts(DEBIAN, Some((24, true)))).unwrap(), Choice::Debian);
    }

    #[test]
    fn debian_12_has_the_llvm_for_a_nightly_of_the_same_version() {
        let choice = choose(facts(DEBIAN, Some((22, true)))).unwrap();
        assert_eq!(choice, nightly(22, LinkerSource::Own));
    }

    #[test]
    fn a_linker_of_the_users_own_is_taken() {
        let path = PathBuf::from("/bin/bpf-linker");
        let facts = Facts { linker_on_path: Some(path.clone()), ..facts(FEDORA, Some((23, true))) };
        assert_eq!(choose(facts).unwrap(), nightly(23, LinkerSource::OnPath(path)));
    }

    #[test]
    fn a_linker_is_built_where_its_llvm_is() {
        let facts = Facts { linker_for_nightly: true, ..facts(FEDORA, Some((23, true))) };
        assert_eq!(choose(facts).unwrap(), nightly(23, LinkerSource::Own));
    }

    #[test]
    fn elsewhere_the_message_says_what_is_lacking() {
        for (has, says) in [
            (None, "no rustup toolchain named `nightly`"),
            (Some((23, false)), "the nightly lacks the component rust-src"),
            (Some((23, true)), "no LLVM 23 to build one with"),
        ] {
            let message = choose(facts(FEDORA, has)).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
            assert!(message.contains("on Fedora Linux 44."), "{message}");
            assert!(message.contains("rustup toolchain install nightly --component rust-src"));
        }
    }

    #[test]
    fn reads_what_a_compiler_says_about_itself() {
        let compiler = Compiler::parse(
            "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
             host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n",
        )
        .unwrap();
        assert_eq!((compiler.release.as_str(), compiler.llvm), ("1.96.0", 22));
        assert!(Compiler::parse("rustc 1.96.0\nrelease: 1.96.0\n").is_none());
    }

    #[test]
    fn dated_nightlies_are_not_meant() {
        assert!(is_plain_nightly("nightly"));
        assert!(is_plain_nightly(&format!("nightly-{ARCH}-unknown-linux-gnu")));
        assert!(!is_plain_nightly(&format!("nightly-2026-01-31-{ARCH}-unknown-linux-gnu")));
        assert!(!is_plain_nightly("stable"));
    }
}
