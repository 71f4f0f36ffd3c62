//! `cargo xtask setup`: from whatever the machine has to everything that the commands need.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::{
    debian, fuzz,
    guest::{self, Guest},
    linker, process, receivers,
    toolchain::{self, Choice, Facts, LinkerSource, Toolchain},
    workspace::Workspace,
};

/// What a command cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Build,
    BuildAndLab,
    /// Fuzzing too, another kernel, and those who receive events and metrics.
    Everything,
}

/// What there is once set-up is done.
pub(crate) struct Ready {
    pub(crate) toolchain: Toolchain,
    pub(crate) linker: PathBuf,
    lab: bool,
}

/// Installs what is missing and says so; when all is there, it is quick and silent.
pub(crate) fn ensure(needs: Needs) -> Result<Ready> {
    let choice = toolchain::choose(Facts::gather()?)?;
    let lab = needs != Needs::Build;
    ensure_packages(&choice, lab)?;
    if needs == Needs::Everything {
        ensure_fuzzing()?;
        receivers::ensure(&Workspace::locate()?)?;
        ensure_guest()?;
    }

    let (toolchain, source) = match choice {
        Choice::Nightly { sysroot, linker, .. } => (Toolchain::nightly(&sysroot)?, linker),
        Choice::Debian => (Toolchain::debian()?, LinkerSource::Own),
    };
    let linker = match source {
        LinkerSource::OnPath(path) => path,
        LinkerSource::Own => linker::ensure(&toolchain)?,
    };
    Ok(Ready { toolchain, linker, lab })
}

/// What fuzzing needs: cargo-fuzz, and a compiler for C++, as libFuzzer is built with the targets.
pub(crate) fn ensure_fuzzing() -> Result<()> {
    if process::find_on_path("c++").is_none() {
        if !debian::has_apt() {
            bail!("fuzzing needs a compiler for C++, called `c++`, and there is none on PATH");
        }
        debian::ensure(&[debian::cpp()])?;
    }
    fuzz::ensure_tool()
}

/// The kernel that tests run in besides this machine's, where it can be had.
fn ensure_guest() -> Result<()> {
    if guest::is_out_of_reach().is_none() {
        Guest::ensure(&Workspace::locate()?, guest::DEBIAN_12)?;
    }
    Ok(())
}

/// Says what is there, for those who asked for the set-up itself.
pub(crate) fn report(ready: &Ready) -> Result<()> {
    println!("kernel programs: {} (LLVM {})", ready.toolchain.name, ready.toolchain.llvm);
    println!("bpf-linker:      {}", ready.linker.display());
    println!("lab:             {}", if ready.lab { "complete" } else { "not looked at" });
    println!("Nothing is missing.");
    Ok(())
}

/// All in one go where possible: apt-get takes its time to start.
fn ensure_packages(choice: &Choice, lab: bool) -> Result<()> {
    let mut packages = Vec::new();
    match choice {
        Choice::Debian => {
            packages.extend(debian::rust());
            packages.push(debian::llvm(debian::LLVM));
        }
        // Chosen without a linker and without its LLVM only where Debian has that LLVM.
        Choice::Nightly { llvm, linker: LinkerSource::Own, .. }
            if !linker::is_obtainable(*llvm)? =>
        {
            packages.push(debian::llvm(*llvm));
        }
        Choice::Nightly { .. } => {}
    }
    if lab && debian::has_apt() {
        packages.extend(debian::lab());
    } else if lab {
        check_lab_by_hand()?;
    }
    if packages.is_empty() { Ok(()) } else { debian::ensure(&packages) }
}

/// On a system whose packages we do not know: is all that the lab starts there?
fn check_lab_by_hand() -> Result<()> {
    let commands = [
        "ip",
        "nft",
        "tcpdump",
        "ethtool",
        "ffmpeg",
        "gst-inspect-1.0",
        "postfix",
        "curl",
        "lftp",
        "openssl",
        "tshark",
        "tmux",
    ];
    let mut missing: Vec<&str> =
        commands.into_iter().filter(|name| process::find_on_path(name).is_none()).collect();
    let import = "import gi; gi.require_version('GstRtspServer', '1.0')";
    if !process::succeeds(process::isolated("/usr/bin/python3").args(["-c", import])) {
        missing.push("GStreamer's RTSP server with its Python binding (GstRtspServer 1.0)");
    }
    if !process::succeeds(process::isolated("/usr/bin/python3").args(["-c", "import pyftpdlib"])) {
        missing.push("pyftpdlib");
    }
    if !missing.is_empty() {
        bail!(
            "the lab needs what is not on this machine, and without apt-get it cannot be installed \
             from here: {}",
            missing.join(", ")
        );
    }
    Ok(())
}
