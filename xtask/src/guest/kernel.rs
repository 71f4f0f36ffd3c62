//! Debian's kernel for virtual machines: fetched and unpacked below the target directory, never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{debian, process, workspace::Workspace};

/// The package that depends on the newest kernel's.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel that was unpacked.
pub(super) struct Kernel {
    /// The version of its package, e.g. `6.1.192-2`.
    pub(super) version: String,
    /// What the boot loader loads.
    pub(super) image: PathBuf,
    /// `lib/modules/RELEASE/kernel` of the package.
    pub(super) modules: PathBuf,
}

/// The newest kernel of Debian's whose version begins with `wanted`, fetched if it is not there yet.
pub(super) fn ensure(workspace: &Workspace, wanted: &str) -> Result<Kernel> {
    let version = newest_version(wanted)?;
    let directory = workspace.target_dir.join("guest").join(format!("linux-{version}"));
    if !directory.is_dir() {
        let package = package(&version)?;
        debian::unpack(&package, std::slice::from_ref(&package), &directory)?;
    }
    let image = only_entry(&directory.join("boot"), "vmlinuz-")?;
    let modules = only_entry(&directory.join("lib/modules"), "")?.join("kernel");
    Ok(Kernel { version, image, modules })
}

fn newest_version(wanted: &str) -> Result<String> {
    let list = || process::output(process::isolated("apt-cache").args(["madison", METAPACKAGE]));
    let mut listed = list()?;
    if listed.is_empty() {
        debian::update()?;
        listed = list()?;
    }
    let versions = versions(&listed);
    let found = versions.iter().find(|version| begins_with(version, wanted));
    let Some(found) = found else {
        bail!(
            "--kernel {wanted}: Debian's archive, as /etc/apt names it, has no such kernel; it has {}",
            if versions.is_empty() { "none".to_owned() } else { versions.join(", ") }
        );
    };
    Ok((*found).to_owned())
}

/// The versions in what `apt-cache madison` printed, newest first as it has them: `NAME | VERSION | WHERE` a line.
fn versions(listed: &str) -> Vec<&str> {
    listed.lines().filter_map(|line| Some(line.split('|').nth(1)?.trim())).collect()
}

/// Whether `version` is `prefix`, or goes on behind it with another number.
fn begins_with(version: &str, prefix: &str) -> bool {
    version
        .strip_prefix(prefix)
        .is_some_and(|rest| !prefix.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The package of the kernel that has this version.
fn package(version: &str) -> Result<String> {
    let metapackage = format!("{METAPACKAGE}={version}");
    let shown = process::output(process::isolated("apt-cache").args(["show", &metapackage]))?;
    let package = image_package(&shown)
        .with_context(|| format!("the package {metapackage} names no package of a kernel"))?;
    Ok(format!("{package}={version}"))
}

/// The kernel's package in the description of [`METAPACKAGE`]: `Depends: linux-image-6.1.0-56-cloud-amd64 (= …)`.
fn image_package(shown: &str) -> Option<&str> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends:"))?;
    depends.split([',', ' ']).find(|word| word.starts_with("linux-image-"))
}

/// The one entry of `directory` whose name begins with `prefix`.
fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = entries
        .iter()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(fs::DirEntry::path);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        _ => bail!("{} should hold one {prefix}…", directory.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_and_chosen_by_whole_numbers() {
        let listed = "linux-image-cloud-amd64 |  6.1.192-2 | http://deb.debian.org bookworm-security/main\n\
                      linux-image-cloud-amd64 |  6.1.176-1 | http://deb.debian.org bookworm/main\n";
        assert_eq!(versions(listed), ["6.1.192-2", "6.1.176-1"]);
        for prefix in ["6", "6.1", "6.1.192", "6.1.192-2"] {
            assert!(begins_with("6.1.192-2", prefix), "{prefix}");
        }
        for prefix in ["", "6.12", "6.1.19", "6.1.192-20", "5", "x"] {
            assert!(!begins_with("6.1.192-2", prefix), "{prefix}");
        }
        assert!(!begins_with("6.12.9-1", "6.1"));
    }

    #[test]
    fn the_kernels_package_is_found_in_the_description() {
        let shown = "Package: linux-image-cloud-amd64\n\
                     Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n";
        assert_eq!(image_package(shown), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(image_package("Package: x\nDepends: libc6\n"), None);
    }
}
