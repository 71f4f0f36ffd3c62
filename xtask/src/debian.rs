//! Packages: which are wanted, which are missing, and apt-get to install them.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress, version::Version};

/// Debian 12's LLVM for its newest Rust.
pub(crate) const LLVM: u32 = 22;

/// The lab's mail server.
const POSTFIX: &str = "postfix";

/// A package by name, and the oldest version that will do if that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) at_least: Option<Version>,
}

/// Debian 12's newest Rust. The main archive has an older one of the same name.
pub(crate) fn rust() -> Vec<Wanted> {
    let at_least = Some(Version::new(1, 96));
    ["rustc-web", "cargo-web", "rust-web-src"]
        .map(|name| Wanted { name: name.to_owned(), at_least })
        .to_vec()
}

pub(crate) fn llvm(major: u32) -> Wanted {
    Wanted { name: format!("llvm-{major}-dev"), at_least: None }
}

/// A compiler for C++.
pub(crate) fn cpp() -> Wanted {
    Wanted { name: "g++".to_owned(), at_least: None }
}

/// What demo, tests and benchmarks run in network namespaces.
pub(crate) fn lab() -> Vec<Wanted> {
    [
        "iproute2",
        "nftables",
        "tcpdump",
        "ethtool",
        "ffmpeg",
        // The RTSP server is a library with a Python binding; the elements of pipelines, the RTSP
        // client and h264parse among them, are in the plugins.
        "gir1.2-gst-rtsp-server-1.0",
        "python3-gi",
        "gstreamer1.0-plugins-base",
        "gstreamer1.0-plugins-good",
        "gstreamer1.0-plugins-bad",
        "gstreamer1.0-plugins-ugly",
        "gstreamer1.0-tools",
        // The FTP server is a library: no package of a server, which would start one on this machine.
        "python3-pyftpdlib",
        "curl",
        "lftp",
        // A terminal that nobody sits at.
        "tmux",
        // A mail server, and its certificate.
        POSTFIX,
        "openssl",
        // What the benchmark loads links with, and other firewalls beside fwx.
        "iperf3",
        "iptables",
        "xdp-tools",
        // What others make of what fwx sends and writes. Prometheus and rsyslog see `receivers.rs`.
        "tshark",
    ]
    .map(|name| Wanted { name: name.to_owned(), at_least: None })
    .to_vec()
}

/// Whether packages can be installed on this machine at all.
pub(crate) fn has_apt() -> bool {
    process::find_on_path("apt-get").is_some()
}

/// Installs what is missing; silent when nothing is.
pub(crate) fn ensure(wanted: &[Wanted]) -> Result<()> {
    let lacking = missing(wanted)?;
    if lacking.is_empty() {
        return Ok(());
    }
    let names = names(&lacking);
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "missing packages: {names}. Installing them needs root: \
             apt-get install --no-install-recommends {names}"
        );
    }
    if lacking.iter().any(|package| package.name == POSTFIX) {
        leave_postfix_alone()?;
    }
    // The package lists may be absent, or so old that they name files that are gone. Fetching them
    // takes a while, so it is done only when doing without has failed.
    if install(&lacking).is_ok() && missing(&lacking)?.is_empty() {
        return Ok(());
    }
    eprintln!("that was not enough: fetching the package lists, then once more");
    update()?;
    install(&lacking)?;

    let still = missing(&lacking)?;
    if !still.is_empty() {
        bail!(
            "apt-get succeeded, but these packages are still missing or too old: {}. Rust 1.96 and \
             LLVM 22 are in Debian 12's security archive: is the suite bookworm-security enabled \
             in /etc/apt?",
            still.iter().map(described).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

fn install(packages: &[Wanted]) -> Result<()> {
    let mut command = apt_get();
    // Nothing of the user's goes to make room: a conflict shall be seen and decided by people.
    command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
    command.args(packages.iter().map(|package| &package.name));
    progress::run(&format!("installing {}", names(packages)), &mut command)
        .context("packages could not be installed")
}

/// Fetches packages and unpacks them to `directory`, which is there once it is complete. Nothing is installed: so
/// they take the place of nothing. A version may stand behind a name: `NAME=VERSION`.
pub(crate) fn unpack(what: &str, packages: &[String], directory: &Path) -> Result<()> {
    let unfinished = directory.with_extension("unfinished");
    if unfinished.is_dir() {
        fs::remove_dir_all(&unfinished)?;
    }
    let archives = unfinished.join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("cannot make {}", archives.display()))?;
    let mut download = apt_get();
    download.arg("download").args(packages).current_dir(&archives);
    progress::run(&format!("fetching {what}"), &mut download)?;
    for archive in fs::read_dir(&archives)? {
        let mut extract = Command::new("dpkg-deb");
        process::run(extract.arg("--extract").arg(archive?.path()).arg(&unfinished))?;
    }
    fs::remove_dir_all(&archives)?;
    fs::rename(&unfinished, directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

/// What installing `packages` would install, by name: they themselves, unless they are there, and what they depend on
/// and is not.
pub(crate) fn lacking_for(packages: &[&str]) -> Result<Vec<String>> {
    let ask = || {
        let mut simulation = apt_get();
        simulation.args(["install", "--simulate", "--no-install-recommends"]).args(packages);
        process::output(&mut simulation)
    };
    let simulated = match ask() {
        Ok(simulated) => simulated,
        Err(_) => {
            update()?;
            ask()?
        }
    };
    Ok(simulated
        .lines()
        .filter_map(|line| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned()))
        .collect())
}

/// Fetches the package lists.
pub(crate) fn update() -> Result<()> {
    progress::run("apt-get update", apt_get().arg("update"))
}

/// Has the package of Postfix install its programs and no more: it would make up a configuration, and start. The
/// lab starts its own.
fn leave_postfix_alone() -> Result<()> {
    let mut command = process::isolated("debconf-set-selections");
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .context("could not start `debconf-set-selections`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(b"postfix postfix/main_mailer_type select No configuration\n")?;
    }
    if !child.wait()?.success() {
        bail!("`debconf-set-selections` failed");
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut command = process::isolated("apt-get");
    command
        // Another apt, such as the daily one, may be at work: wait rather than fail.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    command
}

fn missing(wanted: &[Wanted]) -> Result<Vec<Wanted>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n"])
        .args(wanted.iter().map(|package| &package.name))
        .output()
        .context("could not start `dpkg-query`")?;
    // It also fails when it has not heard of a package: what it prints about the others counts.
    Ok(missing_from(&String::from_utf8_lossy(&output.stdout), wanted))
}

/// Those of `wanted` that dpkg's list, one `STATUS NAME VERSION` a line, does not have new enough.
fn missing_from(list: &str, wanted: &[Wanted]) -> Vec<Wanted> {
    let installed = |package: &Wanted| {
        list.lines().any(|line| {
            let [status, name, version] = line.split(' ').collect::<Vec<_>>()[..] else {
                return false;
            };
            status == "installed"
                && name == package.name
                && package.at_least.is_none_or(|oldest| Version::parse(version) >= Some(oldest))
        })
    };
    wanted.iter().filter(|package| !installed(package)).cloned().collect()
}

fn names(packages: &[Wanted]) -> String {
    packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>().join(" ")
}

fn described(package: &Wanted) -> String {
    match package.at_least {
        Some(oldest) => format!("{} (at least {oldest})", package.name),
        None => package.name.clone(),
    }
}

/// What `/etc/os-release` says (os-release(5)).
#[derive(Debug)]
pub(crate) struct OsRelease {
    /// The name for people.
    pub(crate) pretty_name: String,
    id: String,
    version_id: String,
}

impl OsRelease {
    /// Of this machine. A system without the file is simply not Debian 12.
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    pub(crate) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
        };
        Self {
            pretty_name: field("PRETTY_NAME").unwrap_or_else(|| "this system".to_owned()),
            id: field("ID").unwrap_or_default(),
            version_id: field("VERSION_ID").unwrap_or_default(),
        }
    }

    pub(crate) fn is_debian_12(&self) -> bool {
        self.id == "debian" && self.version_id == "12"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_12_is_recognised_and_others_are_not() {
        let bookworm = OsRelease::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
        );
        assert!(bookworm.is_debian_12());
        assert_eq!(bookworm.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        for other in [
            "ID=debian\nVERSION_ID=\"13\"\n",
            "ID=ubuntu\nID_LIKE=debian\nVERSION_ID='12'\n",
            "VARIANT_ID=debian\nVERSION_ID=12\n",
            "",
        ] {
            assert!(!OsRelease::parse(other).is_debian_12(), "{other}");
        }
    }

    #[test]
    fn packages_count_only_when_installed_and_new_enough() {
        let list = "installed rustc-web 1.85.0+dfsg3-1~deb12u3\n\
                    installed cargo-web 1.96.0+dfsg1-1~deb12u2\n\
                    config-files rust-web-src 1.96.0+dfsg1-1~deb12u2\n\
                    not-installed ffmpeg \n\
                    installed ethtool 1:6.1-1\n";
        let plain = |name: &str| Wanted { name: name.to_owned(), at_least: None };
        let wanted: Vec<_> =
            rust().into_iter().chain(["ffmpeg", "ethtool", "unheard-of"].map(plain)).collect();
        assert_eq!(names(&missing_from(list, &wanted)), "rustc-web rust-web-src ffmpeg unheard-of");
    }
}
