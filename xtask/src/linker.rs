//! bpf-linker: turns the compiler's LLVM bitcode into one BPF object with BTF. It must contain an
//! LLVM no older than the compiler's, so it is built here against a matching one.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress, toolchain::Toolchain, version::Version};

/// The version that is built. Another one gets another directory, so changing this is enough.
pub(crate) const VERSION: &str = "0.13.0";

/// Major versions of LLVM that this bpf-linker can be built against, and the variable by which its
/// dependency llvm-sys finds each.
const SUPPORTED: [(u32, &str); 3] =
    [(21, "LLVM_SYS_211_PREFIX"), (22, "LLVM_SYS_221_PREFIX"), (23, "LLVM_SYS_231_PREFIX")];

/// Whether a linker for this LLVM has been built, or can be with what is installed.
pub(crate) fn is_obtainable(llvm: u32) -> Result<bool> {
    let supported = SUPPORTED.iter().any(|(major, _)| *major == llvm);
    Ok(works(&path(llvm)?) || supported && llvm_prefix(llvm).is_some())
}

/// The linker for this tool chain, built if it is not there. Building needs the development
/// package of the same LLVM.
pub(crate) fn ensure(toolchain: &Toolchain) -> Result<PathBuf> {
    let linker = path(toolchain.llvm)?;
    if !works(&linker) {
        install(toolchain)?;
    }
    if !works(&linker) {
        bail!("{} was just built, but `bpf-linker --version` fails", linker.display());
    }
    Ok(linker)
}

/// It lives with the user, not in a clone: `cargo clean` and further clones need not build it again.
fn path(llvm: u32) -> Result<PathBuf> {
    Ok(root(llvm)?.join("bin/bpf-linker"))
}

fn root(llvm: u32) -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        // The specification has relative paths ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: no place to keep bpf-linker")?;
    Ok(cache.join("fwx").join(format!("bpf-linker-{VERSION}-llvm{llvm}")))
}

/// It is there and finds its LLVM: the library may have been removed since.
fn works(linker: &Path) -> bool {
    linker.exists() && process::succeeds(process::isolated(linker).arg("--version"))
}

fn install(toolchain: &Toolchain) -> Result<()> {
    let llvm = toolchain.llvm;
    let Some((_, prefix_variable)) = SUPPORTED.iter().find(|(major, _)| *major == llvm) else {
        bail!(
            "{} contains LLVM {llvm}, which bpf-linker {VERSION} cannot be built against",
            toolchain.name
        );
    };
    let prefix = llvm_prefix(llvm).with_context(|| {
        format!("no headers and library of LLVM {llvm} to build bpf-linker with")
    })?;

    // The tool chain's own cargo: it is new enough, the one for the host need not be.
    let mut cargo = process::isolated(&toolchain.cargo);
    cargo
        .args(["install", "bpf-linker", "--version", VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(root(llvm)?)
        .env("RUSTC", &toolchain.rustc)
        .env(prefix_variable, &prefix)
        // For bpf-linker itself: without it, it links whatever llvm-config comes first on PATH.
        .env("LLVM_PREFIX", &prefix);
    progress::run(&format!("building bpf-linker {VERSION} for LLVM {llvm}"), &mut cargo)
        .context("bpf-linker could not be built")
}

/// Where this LLVM's headers and library are.
fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let configs = [format!("/usr/lib/llvm-{llvm}/bin/llvm-config").into()]
        .into_iter()
        .chain(process::find_on_path(&format!("llvm-config-{llvm}")))
        .chain(process::find_on_path("llvm-config"));
    configs.filter(|config: &PathBuf| config.exists()).find_map(|config| {
        let ask = |question| process::output(process::isolated(&config).arg(question)).ok();
        let prefix = PathBuf::from(ask("--prefix")?.trim());
        let matches = Version::parse(ask("--version")?.trim())?.major == llvm;
        (matches && prefix.join("include/llvm-c/Core.h").exists()).then_some(prefix)
    })
}
